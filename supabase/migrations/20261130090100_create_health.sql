-- Generated from supabase/schemas/91_health.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- Health: what `switchboard doctor` asks the database.

create function private.schedule_interval(schedule text)
    returns interval language sql immutable set search_path = ''
as $$
    -- Of the forms that our schedules have; a daily one, or one that is not known, is a day.
    select case
               when schedule ~ '^\d+ seconds?$' then schedule::interval
               when fields.hour = '*' and fields.minute = '*' then interval '1 minute'
               when fields.hour = '*' and fields.minute ~ '/\d+$' then make_interval(mins => substring(fields.minute, '\d+$')::integer)
               when fields.hour = '*' then interval '1 hour'
               when fields.hour ~ '/\d+$' then make_interval(hours => substring(fields.hour, '\d+$')::integer)
               else interval '1 day'
           end
      from (select split_part(schedule, ' ', 1) as minute, split_part(schedule, ' ', 2) as hour) fields;
$$;
comment on function private.schedule_interval is 'How long it is from one run of a schedule to the next.';

create function private.up_since()
    returns timestamptz language sql stable set search_path = ''
as $$
    select pg_postmaster_start_time();
$$;
comment on function private.up_since is 'Since when schedules can run: what became due while the database was down is late an interval after that.';

create function private.is_swept(name text, since timestamptz, allowed interval)
    returns boolean language sql stable set search_path = ''
as $$
    select greatest(private.up_since(), coalesce((select s.swept_at from private.sweeps s where s.name = is_swept.name), since))
           > now() - allowed;
$$;
comment on function private.is_swept is 'Whether a sweep came to its end lately: what is due all the same came after it. One that never ran is late from the given time.';

create function private.schedule_findings()
    returns table (name text, example text) language sql stable set search_path = ''
as $$
    with declared as (
        -- The migrations say which schedules there have to be.
        select distinct found.match[1] as name
          from supabase_migrations.schema_migrations m
         cross join lateral unnest(m.statements) s (statement)
         cross join lateral regexp_matches(s.statement, 'cron\.schedule\(\s*''(switchboard-[\w-]+)''', 'g') found (match)
    ), ours as (
        select j.*,
               (select max(d.end_time) from cron.job_run_details d where d.jobid = j.jobid and d.status = 'succeeded') as succeeded_at,
               (select d.status from cron.job_run_details d
                 where d.jobid = j.jobid and d.end_time is not null order by d.runid desc limit 1) as last_status
          from cron.job j
         where j.jobname like 'switchboard-%' and j.active
    ), known as (
        -- A schedule that has never run is late an interval after the first run of any.
        select coalesce((select min(d.start_time) from cron.job_run_details d join ours o on o.jobid = d.jobid),
                        private.up_since()) as since
    )
    select 'schedules_missing', d.name
      from declared d
     where not exists (select from ours o where o.jobname = d.name)
    union all
    select 'schedules_late', o.jobname
      from ours o
     cross join known k
     where greatest(coalesce(o.succeeded_at, k.since), private.up_since()) < now() - 2 * private.schedule_interval(o.schedule) - interval '5 minutes'
    union all
    select 'schedules_failing', o.jobname from ours o where o.last_status = 'failed'
    union all
    select 'addresses_missing', n.name
      from (select distinct substring(o.command, 'call_function\(''(\w+)''\)') || '_url' from ours o
            union all
            select 'cron_secret') n (name)
     where n.name is not null
       and not exists (select from vault.decrypted_secrets s where s.name = n.name and s.decrypted_secret <> '');
$$;
comment on function private.schedule_findings is 'Schedules that do not run as they should, and the names of secrets that they need and Vault lacks.';

create function private.work_findings(idle_hours integer, only_workspace uuid default null)
    returns table (name text, example text) language sql stable set search_path = ''
as $$
    -- Each takes much longer than the sweep or the worker that should have dealt with it.
    select 'turns_stuck', t.id::text
      from public.turns t
     where t.status = 'active' and t.lease_until < now() - interval '5 minutes'
       and private.up_since() < now() - interval '5 minutes'
       and (only_workspace is null or t.workspace_id = only_workspace)
    union all
    select 'sessions_stuck', s.id::text
      from public.workspaces w
      join public.sessions s on s.workspace_id = w.id
     where coalesce(w.session_timeout_hours, idle_hours) > 0
       and (only_workspace is null or w.id = only_workspace)
       and s.status in ('active', 'paused')
       and s.last_activity_at < now() - make_interval(hours => coalesce(w.session_timeout_hours, idle_hours) + 12)
       and not private.is_swept('idle_sessions', w.created_at, interval '12 hours')
       and not exists (select from public.turns t where t.session_id = s.id and t.status = 'active')
    union all
    select 'jobs_dead', j.id::text
      from public.workspaces w
      join public.jobs j on j.workspace_id = w.id and j.status = 'dead'
     where (only_workspace is null or w.id = only_workspace)
    union all
    select 'jobs_waiting', j.id::text
      from public.workspaces w
      join public.jobs j on j.workspace_id = w.id and j.status = 'queued'
     where j.next_attempt_at < now() - interval '15 minutes'
       and private.up_since() < now() - interval '15 minutes'
       -- One behind another of its key waits for that.
       and not exists (select
                         from public.jobs other
                        where other.workspace_id = j.workspace_id
                          and other.ordering_key = j.ordering_key
                          and other.status in ('queued', 'running')
                          and (other.seq < j.seq or other.status = 'running')
                          and other.id <> j.id)
       and (only_workspace is null or w.id = only_workspace)
    union all
    select 'jobs_waiting', j.id::text
      from public.jobs j
     where j.status = 'running' and j.lease_until < now() - interval '15 minutes'
       and private.up_since() < now() - interval '15 minutes'
       and (only_workspace is null or j.workspace_id = only_workspace)
    union all
    select 'workspaces_unarchived', w.id::text
      from public.workspaces w
     where (only_workspace is null or w.id = only_workspace)
       and not private.is_swept('archive', w.created_at, interval '2 days')
       and exists (select
                     from public.sessions s
                    where s.workspace_id = w.id
                      and s.status in ('completed', 'failed', 'timeout', 'cancelled')
                      and s.status = any (w.archive_statuses)
                      and s.ended_at < now() - make_interval(days => w.archive_after_days + 2)
                      and not private.was_restored(s, w.archive_after_days))
    union all
    select 'transcripts_waiting', q.session_id::text
      from public.archive_queue q
     where q.queued_at < now() - interval '1 day'
       and (only_workspace is null or q.workspace_id = only_workspace)
    union all
    select 'workspaces_without_owner', w.id::text
      from public.workspaces w
     where only_workspace is null
       and not exists (select from public.workspace_members m where m.workspace_id = w.id and m.role = 'owner');
$$;
comment on function private.work_findings is 'Turns, sessions, jobs and workspaces that something should have dealt with, of all workspaces or of one. Sessions time out after so many idle hours where their workspace sets none.';

create function private.catalogue_findings()
    returns table (name text, example text) language sql stable set search_path = ''
as $$
    select 'tables_open', c.oid::regclass::text
      from pg_catalog.pg_class c
     where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relrowsecurity
    union all
    -- A table that a role of the API may use, and no policy lets it see a row of.
    select 'tables_without_policy', c.oid::regclass::text
      from pg_catalog.pg_class c
     where c.relnamespace = 'public'::regnamespace
       and c.relkind in ('r', 'p')
       and c.relrowsecurity
       and not exists (select from pg_catalog.pg_policy p where p.polrelid = c.oid)
       and exists (select
                     from unnest(array['anon', 'authenticated', 'contact', 'switchboard']) r (name)
                    where has_any_column_privilege(r.name, c.oid, 'select, insert, update'))
    union all
    select 'keys_without_index', c.conrelid::regclass || '.' || c.conname
      from pg_catalog.pg_constraint c
     where c.contype = 'f'
       and c.connamespace in ('public'::regnamespace, 'private'::regnamespace)
       -- An index leads with one of the key's columns; with workspace_id only if the rest of the key follows.
       and not exists (select
                         from pg_catalog.pg_index i
                         join pg_catalog.pg_attribute a on a.attrelid = c.conrelid and a.attnum = i.indkey[0]
                        where i.indrelid = c.conrelid
                          and i.indisvalid
                          and a.attnum = any (c.conkey)
                          and (i.indpred is null
                               or pg_get_expr(i.indpred, i.indrelid) = format('(%I IS NOT NULL)', a.attname))
                          and (a.attname <> 'workspace_id'
                               or c.conkey <@ (i.indkey::int2[])[0:array_length(c.conkey, 1) - 1]))
    union all
    select 'indexes_invalid', i.indexrelid::regclass::text
      from pg_catalog.pg_index i
      join pg_catalog.pg_class c on c.oid = i.indexrelid
     where c.relnamespace in ('public'::regnamespace, 'private'::regnamespace) and not i.indisvalid;
$$;
comment on function private.catalogue_findings is 'Tables without row-level security or a policy, foreign keys without an index, and indexes that are not valid.';

create function private.drift_findings()
    returns table (name text, example text) language sql stable set search_path = ''
as $$
    -- The migrations say which indexes and policies there have to be, and what is in the functions.
    with statements as materialized (
        select s.statement
          from supabase_migrations.schema_migrations m
         cross join lateral unnest(m.statements) s (statement)
    ), indexes as (
        select distinct found.match[1] as name
          from statements s
         cross join lateral regexp_matches(s.statement, '\mcreate (?:unique )?index (?:concurrently )?(?:if not exists )?(\w+)\s+on\M', 'g') found (match)
    ), policies as (
        select distinct left(found.match[1], 63) as name, to_regclass(found.match[2]) as relation
          from statements s
         cross join lateral regexp_matches(s.statement, '\mcreate policy "([^"]+)"\s+on\s+([\w.]+)', 'g') found (match)
    ), dropped as materialized (
        select s.statement from statements s where s.statement ~ '^drop policy'
    ), bodies as materialized (
        select substring(s.statement, '\mfunction ([\w.]+)\(') as name, split_part(s.statement, repeat('$', 2), 2) as body
          from statements s
         where s.statement ~ '\mcreate (or replace )?function\M'
    ), functions as (
        select p.oid, p.prosrc, p.pronamespace::regnamespace || '.' || p.proname as name
          from pg_catalog.pg_proc p
         where p.pronamespace in ('public'::regnamespace, 'private'::regnamespace) and p.prosqlbody is null
    ), changed as materialized (
        -- Apart from the rest, so that these are compared by hash: each function with each body takes a second.
        select f.* from functions f where not exists (select from bodies b where b.name = f.name and b.body = f.prosrc)
    )
    select 'indexes_missing', i.name
      from indexes i
     where not exists (select from pg_catalog.pg_class c where c.relname = i.name and c.relkind in ('i', 'I'))
       and not exists (select from statements s where s.statement ~ ('\mdrop index[^;]*\m' || i.name || '\M'))
    union all
    select 'policies_missing', p.relation || ': ' || p.name
      from policies p
     where p.relation is not null
       and not exists (select from pg_catalog.pg_policy c where c.polrelid = p.relation and c.polname = p.name)
       and not exists (select from dropped d where strpos(d.statement, p.name) > 0)
    union all
    select 'functions_changed', c.oid::regprocedure::text
      from changed c
     where exists (select from bodies b where b.name = c.name)
       -- A block makes the function only on some servers.
       and not exists (select from bodies b
                        where b.name = c.name and b.body ~ '\mcreate function\M' and strpos(b.body, c.prosrc) > 0);
$$;
comment on function private.drift_findings is 'Indexes and policies of the migrations that are missing, and functions whose body no migration has.';

create function public.check_health(idle_hours integer default 24)
    returns jsonb language plpgsql stable security definer set search_path = ''
as $$
declare
    checks constant text[] := array[
        'schedules_missing', 'schedules_late', 'schedules_failing', 'addresses_missing', 'turns_stuck', 'sessions_stuck',
        'jobs_dead', 'jobs_waiting', 'workspaces_unarchived', 'transcripts_waiting', 'workspaces_without_owner',
        'tables_open', 'tables_without_policy', 'policies_missing', 'keys_without_index', 'indexes_missing', 'indexes_invalid',
        'functions_changed'];
begin
    return jsonb_build_object(
        'checks', (
            with findings as (
                select f.name, f.example from private.schedule_findings() f
                union all
                select f.name, f.example from private.work_findings(idle_hours) f
                union all
                select f.name, f.example from private.catalogue_findings() f
                union all
                select f.name, f.example from private.drift_findings() f
            ), counted as (
                select f.name, count(*) as found, (array_agg(f.example order by f.example))[1:5] as examples
                  from findings f
                 group by f.name
            )
            select jsonb_agg(jsonb_build_object('name', c.name, 'found', coalesce(n.found, 0), 'examples', coalesce(to_jsonb(n.examples), '[]'))
                             order by c.place)
              from unnest(checks) with ordinality c (name, place)
              left join counted n on n.name = c.name),
        'migrations', (
            select coalesce(jsonb_object_agg(m.version, md5(array_to_string(m.statements, ';'))), '{}')
              from supabase_migrations.schema_migrations m));
end;
$$;
comment on function public.check_health is 'What is not as it should be: {checks: [{name, found, examples}], migrations: {version: md5 of its statements}}. For the service role.';

create function public.workspace_health(workspace_id uuid, idle_hours integer default 24)
    returns jsonb language plpgsql stable security definer set search_path = ''
as $$
declare
    checks constant text[] := array[
        'schedules_missing', 'schedules_late', 'schedules_failing', 'addresses_missing', 'turns_stuck', 'sessions_stuck',
        'jobs_dead', 'jobs_waiting', 'workspaces_unarchived', 'transcripts_waiting'];
begin
    if not exists (select from private.member_workspaces() m where m = workspace_id) then
        raise sqlstate 'PT404' using message = 'workspace_not_found';
    elsif not exists (select from private.admin_workspaces() m where m = workspace_id) then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'owners_and_admins_only';
    end if;
    return jsonb_build_object(
        'checks', (
            with findings as (
                -- Which secrets Vault has is for operators: of those that it lacks only the number is told.
                select f.name, nullif(f.example, case f.name when 'addresses_missing' then f.example end) as example
                  from private.schedule_findings() f
                union all
                select f.name, f.example from private.work_findings(idle_hours, workspace_id) f
            ), counted as (
                select f.name, count(*) as found,
                       (array_agg(f.example order by f.example) filter (where f.example is not null))[1:5] as examples
                  from findings f
                 group by f.name
            )
            select jsonb_agg(jsonb_build_object('name', c.name, 'found', coalesce(n.found, 0), 'examples', coalesce(to_jsonb(n.examples), '[]'))
                             order by c.place)
              from unnest(checks) with ordinality c (name, place)
              left join counted n on n.name = c.name),
        'schedules', (
            select coalesce(jsonb_agg(jsonb_build_object(
                       'name', j.jobname, 'schedule', j.schedule, 'active', j.active, 'last_run_at', last.start_time,
                       'last_status', last.status,
                       'next_run_at', case when j.active then date_trunc('second', last.start_time) + private.schedule_interval(j.schedule) end)
                       order by j.jobname), '[]')
              from cron.job j
              left join lateral (select d.start_time, d.status
                                   from cron.job_run_details d
                                  where d.jobid = j.jobid
                                  order by d.runid desc
                                  limit 1) last on true
             where j.jobname like 'switchboard-%'));
end;
$$;
comment on function public.workspace_health is 'What is not as it should be, as far as it concerns a workspace: {checks: [{name, found, examples}], schedules: [{name, schedule, active, last_run_at, last_status, next_run_at}]}; the schedules are the deployment''s. For its owners and admins.';

grant execute on function public.workspace_health to authenticated;

grant execute on function public.check_health to service_role;
