-- The inbox and its queue: record_event stores a delivery and queues its job in one transaction; workers claim jobs.

set lock_timeout = '5s';
set statement_timeout = '60s';

create function private.callback_secret(turn_id uuid)
    returns jsonb
    language plpgsql
    stable
    security definer
    set search_path = ''
as $$
begin
    perform private.require_system();
    return (select pg_catalog.jsonb_build_object('workspace_id', t.workspace_id, 'secret', v.decrypted_secret)
              from public.turns t
              join public.sessions s on s.id = t.session_id
              join public.personas p on p.id = s.persona_id
              join vault.decrypted_secrets v on v.id = p.callback_secret_id
             where t.id = callback_secret.turn_id
               -- Whoever answers in the stream has no second way to answer.
               and p.config ->> 'mode' = 'async');
end;
$$;
comment on function private.callback_secret(uuid) is 'What an asynchronous answer to a turn must carry, and the turn''s workspace; null for any other id.';
grant execute on function private.callback_secret(uuid) to switchboard;

create function public.webhook_secret(provider text, reference text)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    found_secret jsonb;
begin
    perform private.require_system();
    if provider = 'n8n' and reference ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then
        found_secret := private.callback_secret(reference::uuid);
    end if;
    if found_secret is null then
        raise sqlstate 'PT404' using message = 'not_found', detail = 'There is no secret for this delivery.';
    end if;
    return found_secret;
end;
$$;
comment on function public.webhook_secret(text, text) is 'Whose delivery it would be, and the secret it must prove to know. n8n: reference is the turn''s id.';
grant execute on function public.webhook_secret(text, text) to switchboard;

create function public.record_event(
    source       text,
    delivery_key text,
    headers      jsonb,
    raw_body     text,
    job_kind     text,
    ordering_key text default null
)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    workspace constant uuid := private.enter();
    event     uuid;
    job       uuid;
begin
    insert into public.inbound_events as e (workspace_id, source, delivery_key, headers, raw_body)
    values (workspace, record_event.source, record_event.delivery_key, record_event.headers, record_event.raw_body)
    on conflict on constraint inbound_events_delivery_key do nothing
    returning e.id into event;
    if event is null then
        select e.id, case when j.status in ('queued', 'running') then j.id end
          into event, job
          from public.inbound_events e
          left join public.jobs j on j.event_id = e.id
         where e.workspace_id = workspace
           and e.source = record_event.source
           and e.delivery_key = record_event.delivery_key;
        return pg_catalog.jsonb_build_object('event_id', event, 'job_id', job, 'duplicate', true);
    end if;
    insert into public.jobs (workspace_id, kind, event_id, ordering_key)
    values (workspace, record_event.job_kind, event, record_event.ordering_key)
    returning id into job;
    return pg_catalog.jsonb_build_object('event_id', event, 'job_id', job, 'duplicate', false);
end;
$$;
comment on function public.record_event(text, text, jsonb, text, text, text) is
    'Stores a verified delivery as it came and queues its job; a delivery that came before is only found again. job_id is null once its job is done.';
grant execute on function public.record_event(text, text, jsonb, text, text, text) to switchboard;

create function private.claim_due_jobs(max_jobs integer, lease_seconds integer, only_job uuid)
    returns setof public.jobs
    language plpgsql
    volatile
    security definer
    set search_path = ''
as $$
declare
    -- One moment for the whole claim, and one that an index can be asked for: clock_timestamp() itself cannot.
    moment constant timestamptz := pg_catalog.clock_timestamp();
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
       set status = 'running', attempts = j.attempts + 1, lease_until = moment + pg_catalog.make_interval(secs => lease_seconds)
      from due
     where j.id = due.id
    returning j.*;
end;
$$;
comment on function private.claim_due_jobs(integer, integer, uuid) is 'Takes due jobs of any workspace under a lease; in order within an ordering key.';
grant execute on function private.claim_due_jobs(integer, integer, uuid) to switchboard;

create function private.event_of_job(job public.jobs)
    returns jsonb
    language plpgsql
    stable
    security definer
    set search_path = ''
as $$
begin
    perform private.require_system();
    return (select pg_catalog.jsonb_build_object('id', e.id, 'source', e.source, 'headers', e.headers, 'raw_body', e.raw_body)
              from public.inbound_events e
             where e.id = job.event_id);
end;
$$;
comment on function private.event_of_job(public.jobs) is 'The delivery that a claimed job is about.';
grant execute on function private.event_of_job(public.jobs) to switchboard;

create function public.claim_jobs(max_jobs integer default 10, lease_seconds integer default 60, only_job uuid default null)
    returns jsonb
    language sql
    volatile
    set search_path = ''
as $$
    select pg_catalog.jsonb_build_object('jobs', coalesce(pg_catalog.jsonb_agg(
               pg_catalog.jsonb_build_object('id', j.id, 'workspace_id', j.workspace_id, 'kind', j.kind, 'attempts', j.attempts,
                                             'payload', j.payload, 'event', private.event_of_job(j))
               order by j.seq), '[]'))
      from private.claim_due_jobs(max_jobs, lease_seconds, only_job) j;
$$;
comment on function public.claim_jobs(integer, integer, uuid) is 'Claims due jobs for a worker: {jobs: [{id, workspace_id, kind, attempts, payload, event}]}. A lease in seconds.';
grant execute on function public.claim_jobs(integer, integer, uuid) to switchboard;

create function public.complete_job(job_id uuid, attempt integer)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
begin
    perform private.enter();
    update public.jobs j
       set status = 'succeeded', lease_until = null, finished_at = pg_catalog.clock_timestamp(), last_error = null
     where j.id = complete_job.job_id
       and j.status = 'running'
       and j.attempts = attempt;
    return private.job_state(job_id);
end;
$$;
comment on function public.complete_job(uuid, integer) is
    'Ends the claimed attempt of a job well; repeating it changes nothing, and neither does a worker whose lease ran out meanwhile.';

create function public.fail_job(job_id uuid, attempt integer, error text, retryable boolean)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
begin
    perform private.enter();
    update public.jobs j
       set status          = case when retryable and j.attempts < j.max_attempts then 'queued' else 'failed' end::public.job_status,
           -- 2 s, 4 s, 8 s … up to an hour, up to a quarter more at random, so that what failed together does not return together.
           next_attempt_at = pg_catalog.clock_timestamp()
                             + least(2 ^ j.attempts, 3600) * (1 + pg_catalog.random() / 4) * interval '1 second',
           lease_until     = null,
           finished_at     = case when retryable and j.attempts < j.max_attempts then null else pg_catalog.clock_timestamp() end,
           last_error      = pg_catalog.left(error, 2000)
     where j.id = fail_job.job_id
       and j.status = 'running'
       and j.attempts = attempt;
    return private.job_state(job_id);
end;
$$;
comment on function public.fail_job(uuid, integer, text, boolean) is
    'Puts the claimed attempt of a job back for another try, later each time, or ends it as failed.';

create function private.job_state(job_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    state jsonb;
begin
    select pg_catalog.jsonb_build_object('status', j.status, 'next_attempt_at', case when j.status = 'queued' then j.next_attempt_at end)
      into state
      from public.jobs j
     where j.id = job_state.job_id;
    if not found then
        raise sqlstate 'PT404' using message = 'job_not_found', detail = 'There is no such job.';
    end if;
    return state;
end;
$$;
comment on function private.job_state(uuid) is 'What stands of a job: {status, next_attempt_at}.';
grant execute on function public.complete_job(uuid, integer), public.fail_job(uuid, integer, text, boolean), private.job_state(uuid) to switchboard;
