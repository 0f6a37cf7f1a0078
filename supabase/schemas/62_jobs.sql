-- Jobs: the queue of background work.

create type public.job_status as enum ('queued', 'running', 'succeeded', 'failed');
comment on type public.job_status is 'queued -> running -> succeeded | queued (to be tried again) | failed (tries used up, or not worth another)';

create table public.jobs (
    id              uuid              not null default private.uuid7(),
    seq             bigint            not null generated always as identity,
    workspace_id    uuid              not null,
    kind            text              not null,
    status          public.job_status not null default 'queued',
    ordering_key    text,
    event_id        uuid,
    item_key        text,
    payload         jsonb             not null default '{}',
    attempts        integer           not null default 0,
    max_attempts    integer           not null default 8,
    next_attempt_at timestamptz       not null default now(),
    lease_until     timestamptz,
    last_error      text,
    created_at      timestamptz       not null default now(),
    finished_at     timestamptz,
    constraint jobs_pkey              primary key (id),
    constraint jobs_workspace_id_fkey foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint jobs_event_id_fkey     foreign key (workspace_id, event_id) references public.inbound_events (workspace_id, id) on delete cascade,
    constraint jobs_lengths           check (length(kind) between 1 and 64 and length(ordering_key) between 1 and 400
        and length(item_key) between 1 and 400),
    constraint jobs_running           check ((status = 'running') = (lease_until is not null)),
    constraint jobs_finished          check ((status in ('succeeded', 'failed')) = (finished_at is not null))
);
comment on table public.jobs is 'One piece of background work, queued in the transaction that causes it.';
comment on column public.jobs.seq is 'The order in which jobs were queued.';
comment on column public.jobs.ordering_key is 'Jobs of one key run one at a time, in the order they were queued.';
comment on column public.jobs.item_key is 'The item of a delivery that it is about: each item is queued once for a kind, however often it comes.';
comment on column public.jobs.lease_until is 'Past it the worker is taken for dead and the job may be claimed again.';
alter table public.jobs enable row level security;
create index jobs_due_idx on public.jobs (next_attempt_at, id) where status in ('queued', 'running');
create index jobs_ordering_key_idx on public.jobs (workspace_id, ordering_key, seq) where status in ('queued', 'running');
create index jobs_lease_until_idx on public.jobs (lease_until) where status = 'running';
create unique index jobs_item_key_idx on public.jobs (workspace_id, kind, item_key) where item_key is not null;
create index jobs_event_id_idx on public.jobs (event_id);
create index jobs_workspace_id_idx on public.jobs (workspace_id, status, created_at);

create table private.wakes (
    name     text        not null,
    woken_at timestamptz not null default now(),
    constraint wakes_pkey primary key (name)
);
comment on table private.wakes is 'When a function was last called out of turn; keeps the calls to one a second.';
alter table private.wakes enable row level security;

create function private.claim_due_jobs(max_jobs integer, lease_seconds integer, only_job uuid)
    returns setof public.jobs language plpgsql security definer set search_path = ''
as $$
declare
    -- One moment for the whole claim, and one that an index can be asked for: clock_timestamp() itself cannot.
    moment constant timestamptz := clock_timestamp();
begin
    perform private.require_system();
    -- A worker died with it once too often: it is not worth another.
    update public.jobs j
       set status = 'failed', lease_until = null, finished_at = moment, last_error = 'The worker did not come back.'
     where j.status = 'running'
       and j.lease_until < moment
       and j.attempts >= j.max_attempts;
    -- Chosen once, before anything is updated: a subquery in the update's condition may be run again for each row it
    -- compares, and would then choose more than max_jobs.
    return query
    with due as materialized (
        select d.id
          from public.jobs d
         where d.status in ('queued', 'running')
           and d.next_attempt_at <= moment
           and (d.status = 'queued' or d.lease_until < moment)
           and (only_job is null or d.id = only_job)
           -- Within a key nothing overtakes, and nothing runs beside what runs already, even if that was queued later.
           and not exists (select
                             from public.jobs other
                            where other.workspace_id = d.workspace_id
                              and other.ordering_key = d.ordering_key
                              and other.status in ('queued', 'running')
                              and (other.seq < d.seq
                                   or (other.seq > d.seq and other.status = 'running' and other.lease_until >= moment)))
         order by d.next_attempt_at, d.seq
         limit max_jobs
           for update of d skip locked
    )
    update public.jobs j
       set status = 'running', attempts = j.attempts + 1, lease_until = moment + make_interval(secs => lease_seconds)
      from due
     where j.id = due.id
    returning j.*;
end;
$$;
comment on function private.claim_due_jobs is 'Takes due jobs of any workspace under a lease; in order within an ordering key.';

create function private.event_of_job(job public.jobs)
    returns jsonb language plpgsql stable security definer set search_path = ''
as $$
begin
    perform private.require_system();
    return (select jsonb_build_object('id', e.id, 'source', e.source, 'headers', e.headers, 'raw_body', e.raw_body)
              from public.inbound_events e
             where e.id = job.event_id);
end;
$$;
comment on function private.event_of_job is 'The delivery that a claimed job is about.';

create function public.claim_jobs(max_jobs integer default 10, lease_seconds integer default 60, only_job uuid default null)
    returns jsonb language sql set search_path = ''
as $$
    select jsonb_build_object('jobs', coalesce(jsonb_agg(
               jsonb_build_object('id', j.id, 'workspace_id', j.workspace_id, 'kind', j.kind, 'attempts', j.attempts,
                                             'payload', j.payload, 'event', private.event_of_job(j))
               order by j.seq), '[]'))
      from private.claim_due_jobs(max_jobs, lease_seconds, only_job) j;
$$;
comment on function public.claim_jobs is 'Claims due jobs for a worker: {jobs: [{id, workspace_id, kind, attempts, payload, event}]}. A lease in seconds.';

create function public.complete_job(job_id uuid, attempt integer)
    returns jsonb language plpgsql set search_path = ''
as $$
begin
    perform private.enter();
    update public.jobs j
       set status = 'succeeded', lease_until = null, finished_at = clock_timestamp(), last_error = null
     where j.id = complete_job.job_id
       and j.status = 'running'
       and j.attempts = attempt;
    return private.job_state(job_id);
end;
$$;
comment on function public.complete_job is 'Ends the claimed attempt of a job well; repeating it changes nothing, and neither does a worker whose lease ran out meanwhile.';

create function public.fail_job(job_id uuid, attempt integer, error text, retryable boolean)
    returns jsonb language plpgsql set search_path = ''
as $$
begin
    perform private.enter();
    update public.jobs j
       set status          = case when retryable and j.attempts < j.max_attempts then 'queued' else 'failed' end::public.job_status,
           -- 2 s, 4 s, 8 s … up to an hour, up to a quarter more at random, so that what failed together does not return together.
           next_attempt_at = clock_timestamp()
                             + least(2 ^ j.attempts, 3600) * (1 + random() / 4) * interval '1 second',
           lease_until     = null,
           finished_at     = case when retryable and j.attempts < j.max_attempts then null else clock_timestamp() end,
           last_error      = left(error, 2000)
     where j.id = fail_job.job_id
       and j.status = 'running'
       and j.attempts = attempt;
    return private.job_state(job_id);
end;
$$;
comment on function public.fail_job is 'Puts the claimed attempt of a job back for another try, later each time, or ends it as failed.';

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
    private.claim_due_jobs, private.event_of_job, public.claim_jobs, public.complete_job, public.fail_job,
    private.job_state
    to switchboard;
