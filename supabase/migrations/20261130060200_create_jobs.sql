-- Generated from supabase/schemas/62_jobs.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- Jobs: the queue of background work.

create type public.job_status as enum ('queued', 'running', 'succeeded', 'dead', 'discarded');
comment on type public.job_status is 'queued -> running -> succeeded | queued (to be tried again) | dead (attempts used up, or not worth another); dead | discarded -> queued (replayed); queued | dead -> discarded';

create table public.jobs (
    id              uuid              not null default private.uuid7(),
    seq             bigint            not null generated always as identity,
    workspace_id    uuid              not null,
    kind            text              not null,
    runs_in         text              not null default 'worker',
    status          public.job_status not null default 'queued',
    ordering_key    text,
    lane            uuid              not null generated always as (coalesce((payload ->> 'subscription_id')::uuid, workspace_id)) stored,
    event_id        uuid,
    item_key        text,
    payload         jsonb             not null default '{}',
    attempts        integer           not null default 0,
    uncounted       integer           not null default 0,
    max_attempts    integer           not null default 12,
    next_attempt_at timestamptz       not null default now(),
    lease_until     timestamptz,
    last_error      text,
    created_at      timestamptz       not null default now(),
    finished_at     timestamptz,
    constraint jobs_pkey              primary key (id),
    constraint jobs_workspace_id_fkey foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint jobs_event_id_fkey     foreign key (workspace_id, event_id) references public.inbound_events (workspace_id, id) on delete cascade,
    constraint jobs_runs_in           check (runs_in in ('worker', 'archive')),
    constraint jobs_lengths           check (length(kind) between 1 and 64 and length(ordering_key) between 1 and 400
        and length(item_key) between 1 and 400),
    constraint jobs_running           check ((status = 'running') = (lease_until is not null)),
    constraint jobs_finished          check ((status in ('succeeded', 'dead', 'discarded')) = (finished_at is not null))
);
comment on table public.jobs is 'One piece of background work, queued in the transaction that causes it.';
comment on column public.jobs.runs_in is 'The function that runs it: archive for what touches the object store, else worker.';
comment on column public.jobs.seq is 'The order in which jobs were queued.';
comment on column public.jobs.ordering_key is 'Jobs of one key run one at a time, in the order in which they were queued. A dead or discarded job does not hold its key.';
comment on column public.jobs.lane is 'What shares the workers evenly with the others: a subscription to events, or the workspace with all of its other jobs.';
comment on column public.jobs.item_key is 'The item of a delivery that it is about: each item is queued once for a kind, however often it comes.';
comment on column public.jobs.attempts is 'Claims so far; the number names the worker that may end the job.';
comment on column public.jobs.uncounted is 'Attempts that do not count towards max_attempts: those before the last replay, and those that the handler postponed.';
comment on column public.jobs.max_attempts is 'After so many attempts that count the job is dead. The default takes more than an hour.';
comment on column public.jobs.lease_until is 'Past it the worker is taken for dead and the job may be claimed again.';
alter table public.jobs enable row level security;
create index jobs_due_idx on public.jobs (runs_in, lane, next_attempt_at, seq) where status = 'queued';
create index jobs_ordering_key_idx on public.jobs (workspace_id, ordering_key, seq) where status in ('queued', 'running');
create unique index jobs_one_running_idx on public.jobs (workspace_id, ordering_key) where status = 'running';
create index jobs_lease_until_idx on public.jobs (lease_until) where status = 'running';
create unique index jobs_item_key_idx on public.jobs (workspace_id, kind, item_key) where item_key is not null;
create index jobs_event_id_idx on public.jobs (event_id);
create index jobs_newest_idx on public.jobs (workspace_id, created_at, id);
create index jobs_status_idx on public.jobs (workspace_id, status, created_at, id);

create table private.wakes (
    name     text        not null,
    woken_at timestamptz not null default now(),
    constraint wakes_pkey primary key (name)
);
comment on table private.wakes is 'When a function was last called out of turn; keeps the calls to one a second.';
alter table private.wakes enable row level security;

create view public.job_details with (security_invoker = true) as
select j.id, j.workspace_id, j.kind, j.status, j.ordering_key, j.event_id, j.payload, j.attempts - j.uncounted as attempts,
       j.max_attempts, case when j.status = 'queued' then j.next_attempt_at end as next_attempt_at, j.last_error, j.created_at,
       j.finished_at,
       j.status in ('queued', 'running') and j.created_at < now() - interval '15 minutes' as stuck,
       (select other.id
          from public.jobs other
         where other.workspace_id = j.workspace_id
           and other.ordering_key = j.ordering_key
           and other.status in ('queued', 'running')
           and other.seq < j.seq
           and j.status = 'queued'
         order by other.seq
         limit 1) as waits_for
  from public.jobs j;
comment on view public.job_details is 'Jobs as admins see them. stuck: not done 15 minutes after it was created; waits_for: the first job of its key that must end before.';

create view public.webhook_deliveries with (security_invoker = true) as
select e.id, e.workspace_id, e.source as provider, e.delivery_key, e.headers, left(e.raw_body, 4000) as body,
       length(e.raw_body) > 4000 as body_is_cut, e.received_at, e.received_at as created_at, work.status, work.error,
       coalesce(work.jobs, '[]') as jobs
  from public.inbound_events e
  left join lateral (
           select jsonb_agg(jsonb_build_object('id', j.id, 'kind', j.kind, 'status', j.status) order by j.seq) as jobs,
                  case
                      when bool_or(j.status = 'dead') then 'dead'
                      when bool_or(j.status in ('queued', 'running')) then 'queued'
                      when bool_or(j.status = 'succeeded') then 'succeeded'
                      else min(j.status::text)
                  end as status,
                  (array_agg(j.last_error order by j.seq desc) filter (where j.status <> 'succeeded' and j.last_error is not null))[1] as error
             from public.jobs j
            where j.event_id = e.id) work on true;
comment on view public.webhook_deliveries is 'Deliveries of providers as admins see them: the beginning of what came, and what became of its jobs.';
comment on column public.webhook_deliveries.status is 'dead, queued, succeeded or discarded: the worst of its jobs; null: nothing was to be done.';

create function private.end_lost_jobs(moment timestamptz)
    returns void language sql set search_path = ''
as $$
    -- A job with which a worker was lost too often is not worth another.
    with lost as materialized (
        select l.id, l.attempts - l.uncounted >= l.max_attempts as is_last
          from public.jobs l
         where l.status = 'running'
           and l.lease_until < moment
           for update skip locked
    )
    update public.jobs j
       set status      = case when l.is_last then 'dead' else 'queued' end::public.job_status,
           lease_until = null,
           finished_at = case when l.is_last then moment end,
           last_error  = 'worker_lost'
      from lost l
     where j.id = l.id;
$$;
comment on function private.end_lost_jobs is 'Takes jobs from workers whose lease ran out: they are queued again, or dead after their last attempt.';

create function private.claim_due_jobs(max_jobs integer, lease_seconds integer, only_job uuid, runs_in text)
    returns setof public.jobs language plpgsql security definer set search_path = ''
as $$
declare
    -- One moment for the whole claim, and one that an index can be asked for: clock_timestamp() itself cannot.
    moment constant timestamptz := clock_timestamp();
    taken  uuid[];
begin
    perform private.require_system();
    perform private.end_lost_jobs(moment);
    for round in 1..5 loop
        begin
            -- Chosen once, before anything is updated: a subquery in the update's condition may be run again for each row it
            -- compares, and would then choose more than max_jobs.
            with recursive lanes as (
                -- Each lane is found in the index behind the one before.
                (select q.lane
                   from public.jobs q
                  where q.status = 'queued'
                    and q.runs_in = claim_due_jobs.runs_in
                  order by q.lane
                  limit 1)
                 union all
                select (select q.lane
                          from public.jobs q
                         where q.status = 'queued'
                           and q.runs_in = claim_due_jobs.runs_in
                           and q.lane > l.lane
                         order by q.lane
                         limit 1)
                  from lanes l
                 where l.lane is not null
            ), busy as materialized (
                select r.lane, count(*) as running
                  from public.jobs r
                 where r.status = 'running'
                   and r.runs_in = claim_due_jobs.runs_in
                 group by r.lane
            ), ready as materialized (
                select d.id, d.next_attempt_at, d.seq,
                       row_number() over (partition by l.lane order by d.next_attempt_at, d.seq) + coalesce(b.running, 0) as place
                  from lanes l
                  left join busy b on b.lane = l.lane
                 cross join lateral (
                    select d.id, d.next_attempt_at, d.seq
                      from public.jobs d
                     where d.lane = l.lane
                       and d.runs_in = claim_due_jobs.runs_in
                       and d.status = 'queued'
                       and d.next_attempt_at <= moment
                       and (only_job is null or d.id = only_job)
                       -- Within a key nothing overtakes, and nothing runs beside what runs already, even if that was queued
                       -- later.
                       and not exists (select
                                         from public.jobs other
                                        where other.workspace_id = d.workspace_id
                                          and other.ordering_key = d.ordering_key
                                          and other.status in ('queued', 'running')
                                          and (other.seq < d.seq or other.status = 'running')
                                          and other.id <> d.id)
                     order by d.next_attempt_at, d.seq
                     -- Another claim may hold as many.
                     limit 2 * max_jobs) d
            ), due as materialized (
                select d.id
                  from ready r
                  join public.jobs d on d.id = r.id
                 where d.status = 'queued'
                 order by r.place, r.next_attempt_at, r.seq
                 limit max_jobs
                   for update of d skip locked
            ), claimed as (
                update public.jobs j
                   set status = 'running', attempts = j.attempts + 1, lease_until = moment + make_interval(secs => lease_seconds)
                  from due
                 where j.id = due.id
                returning j.id
            )
            select array_agg(c.id) into taken from claimed c;
            return query select j.* from public.jobs j where j.id = any (taken);
            return;
        exception when unique_violation then
            -- Another claim took another job of the same key, which was queued or replayed at this moment. The next statement
            -- sees it.
        end;
    end loop;
end;
$$;
comment on function private.claim_due_jobs is 'Takes due jobs of any workspace under a lease: in order within an ordering key, of which an index lets one run; first for the lanes with the fewest running jobs.';

create function private.event_of_job(job public.jobs)
    returns jsonb language plpgsql security definer set search_path = ''
as $$
begin
    -- Not stable: it would not see a delivery that was stored after the claim's statement began, whose job the claim takes.
    perform private.require_system();
    return (select jsonb_build_object('id', e.id, 'source', e.source, 'headers', e.headers, 'raw_body', e.raw_body)
              from public.inbound_events e
             where e.id = job.event_id);
end;
$$;
comment on function private.event_of_job is 'The delivery that a claimed job is about.';

create function public.claim_jobs(
    max_jobs integer default 10, lease_seconds integer default 60, only_job uuid default null, runs_in text default 'worker')
    returns jsonb language sql set search_path = ''
as $$
    select jsonb_build_object('jobs', coalesce(jsonb_agg(
               jsonb_build_object('id', j.id, 'workspace_id', j.workspace_id, 'kind', j.kind, 'attempts', j.attempts,
                                             'tries', j.attempts - j.uncounted, 'payload', j.payload,
                                             'event', private.event_of_job(j))
               order by j.seq), '[]'))
      from private.claim_due_jobs(max_jobs, lease_seconds, only_job, runs_in) j;
$$;
comment on function public.claim_jobs is 'Claims due jobs for the function that runs them: {jobs: [{id, workspace_id, kind, attempts, tries, payload, event}]}; tries are the attempts that count. A lease in seconds.';

create function public.renew_job(job_id uuid, attempt integer, lease_seconds integer)
    returns jsonb language plpgsql set search_path = ''
as $$
begin
    perform private.enter();
    update public.jobs j
       set lease_until = clock_timestamp() + make_interval(secs => lease_seconds)
     where j.id = renew_job.job_id
       and j.status = 'running'
       and j.attempts = attempt;
    return private.job_state(job_id);
end;
$$;
comment on function public.renew_job is 'Renews the lease of the claimed attempt of a job that takes long.';

create function public.complete_job(job_id uuid, attempt integer)
    returns jsonb language plpgsql set search_path = ''
as $$
begin
    perform private.enter();
    update public.jobs j
       set status = 'succeeded', lease_until = null, finished_at = clock_timestamp(), last_error = null,
           -- The key of a chat is the contact's id there.
           ordering_key = case when j.kind <> 'erase_delivery' then j.ordering_key end
     where j.id = complete_job.job_id
       and j.status = 'running'
       and j.attempts = attempt;
    return private.job_state(job_id);
end;
$$;
comment on function public.complete_job is 'Ends the claimed attempt of a job well; repeating it changes nothing, and neither does a worker whose lease ran out meanwhile.';

create function private.hold_followers(job public.jobs)
    returns void language sql set search_path = ''
as $$
    -- They cannot run before it anyway; those that are due would be looked at by every claim.
    update public.jobs j
       set next_attempt_at = job.next_attempt_at
     where j.workspace_id = job.workspace_id
       and j.ordering_key = job.ordering_key
       and j.status = 'queued'
       and j.seq > job.seq
       and j.next_attempt_at < job.next_attempt_at;
$$;
comment on function private.hold_followers is 'Lets the jobs behind a waiting one wait as long.';

create function private.release_followers(job public.jobs)
    returns void language sql set search_path = ''
as $$
    update public.jobs j
       set next_attempt_at = now()
     where j.workspace_id = job.workspace_id
       and j.ordering_key = job.ordering_key
       and j.status = 'queued'
       and j.seq > job.seq
       and j.next_attempt_at > now();
$$;
comment on function private.release_followers is 'Makes the jobs behind one due that no longer waits.';

create function public.fail_job(job_id uuid, attempt integer, error text, retryable boolean, retry_after_seconds double precision default 0)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    job public.jobs;
begin
    perform private.enter();
    update public.jobs j
       set status          = case when retryable and j.attempts - j.uncounted < j.max_attempts then 'queued' else 'dead' end::public.job_status,
           -- 2 s, 4 s, 8 s … up to an hour, or what was asked for, and up to a quarter more at random, so that what failed
           -- together does not return together.
           next_attempt_at = clock_timestamp()
                             + greatest(least(2 ^ (j.attempts - j.uncounted), 3600), retry_after_seconds)
                             * (1 + random() / 4) * interval '1 second',
           lease_until     = null,
           finished_at     = case when retryable and j.attempts - j.uncounted < j.max_attempts then null else clock_timestamp() end,
           last_error      = left(error, 2000)
     where j.id = fail_job.job_id
       and j.status = 'running'
       and j.attempts = attempt
    returning j.* into job;
    if job.status = 'queued' then
        perform private.hold_followers(job);
    end if;
    return private.job_state(job_id);
end;
$$;
comment on function public.fail_job is 'Puts the claimed attempt of a job back for another try, later each time and not before retry_after_seconds, or ends it as dead.';

create function public.postpone_job(job_id uuid, attempt integer, seconds double precision)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    job public.jobs;
begin
    perform private.enter();
    update public.jobs j
       set status = 'queued', lease_until = null, uncounted = j.uncounted + 1,
           next_attempt_at = clock_timestamp() + seconds * interval '1 second'
     where j.id = postpone_job.job_id
       and j.status = 'running'
       and j.attempts = attempt
    returning j.* into job;
    if found then
        perform private.hold_followers(job);
    end if;
    return private.job_state(job_id);
end;
$$;
comment on function public.postpone_job is 'Puts the claimed attempt of a job back, because its handler is to go on later: it does not count as failed.';

create function private.lock_job(job_id uuid, verb text, allowed public.job_status[])
    returns public.jobs language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_to_manage('job', job_id, 'admin');
    job       public.jobs;
begin
    select j.* into job from public.jobs j where j.id = lock_job.job_id and j.workspace_id = workspace for update;
    if not found then
        raise sqlstate 'PT404' using message = 'job_not_found';
    elsif job.status <> all (allowed) then
        if job.status = 'running' then
            raise sqlstate 'PT409' using message = 'transition_not_allowed', detail = 'job_running';
        end if;
        raise sqlstate 'PT409' using message = 'transition_not_allowed', detail = 'job_succeeded';
    end if;
    perform private.record_change(workspace, verb, job_id);
    return job;
end;
$$;
comment on function private.lock_job is 'A job of a status that is allowed, locked for an admin''s change, which is audited.';

create function public.replay_job(job_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    job constant public.jobs := private.lock_job(job_id, 'job.replayed', '{queued,dead,discarded}');
begin
    update public.jobs j
       set status = 'queued', next_attempt_at = now(), uncounted = j.attempts, finished_at = null
     where j.id = replay_job.job_id;
    perform private.release_followers(job);
    return private.job_state(job_id);
end;
$$;
comment on function public.replay_job is 'Lets a dead, discarded or waiting job be tried now, with all of its attempts; ahead of the jobs of its key that were queued after it. For owners and admins.';

create function public.discard_job(job_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    job constant public.jobs := private.lock_job(job_id, 'job.discarded', '{queued,dead,discarded}');
begin
    update public.jobs j
       set status = 'discarded', finished_at = coalesce(j.finished_at, now())
     where j.id = discard_job.job_id;
    perform private.release_followers(job);
    return private.job_state(job_id);
end;
$$;
comment on function public.discard_job is 'Sets a dead or waiting job aside, without trying it again; the jobs behind it go on. For owners and admins.';

create function private.job_state(job_id uuid)
    returns jsonb language plpgsql stable set search_path = ''
as $$
declare
    state jsonb;
begin
    select jsonb_build_object('status', j.status, 'next_attempt_at', case when j.status = 'queued' then j.next_attempt_at end)
      into state
      from public.jobs j
     where j.id = job_state.job_id;
    if not found then
        raise sqlstate 'PT404' using message = 'job_not_found';
    end if;
    return state;
end;
$$;
comment on function private.job_state is 'What stands of a job: {status, next_attempt_at}.';

grant execute on function
    private.claim_due_jobs, private.event_of_job, private.hold_followers, public.claim_jobs, public.renew_job, public.complete_job,
    public.fail_job, public.postpone_job
    to switchboard;

grant execute on function
    private.lock_job, private.release_followers, private.job_state, public.replay_job, public.discard_job
    to service_role, switchboard;
