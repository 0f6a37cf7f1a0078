-- Idle sessions: the sweep that times them out.

create table private.sweeps (
    name     text        not null,
    swept_at timestamptz not null,
    constraint sweeps_pkey primary key (name)
);
comment on table private.sweeps is 'When a sweep last came to its end; it is due again an interval later.';
alter table private.sweeps enable row level security;

create function private.start_sweep(name text, interval_hours integer)
    returns boolean language plpgsql security definer set search_path = ''
as $$
begin
    perform private.require_system();
    -- One at a time: the second one finds nothing to do.
    return pg_try_advisory_xact_lock(hashtextextended('switchboard.sweep.' || name, 0))
       and not exists (select
                         from private.sweeps s
                        where s.name = start_sweep.name
                          -- A schedule is not on time to the second.
                          and s.swept_at > clock_timestamp() - make_interval(hours => interval_hours)
                                           + interval '10 minutes');
end;
$$;
comment on function private.start_sweep is 'Whether a sweep is due and no other transaction runs it; holds the lock until the transaction ends.';

create function private.end_sweep(name text)
    returns void language plpgsql security definer set search_path = ''
as $$
begin
    perform private.require_system();
    insert into private.sweeps (name, swept_at) values (end_sweep.name, clock_timestamp())
    on conflict on constraint sweeps_pkey do update set swept_at = excluded.swept_at;
end;
$$;
comment on function private.end_sweep is 'Notes that a sweep has come to its end.';

create function private.workspaces_with_idle_sessions(default_hours integer)
    returns table (workspace_id uuid, idle_hours integer)
    language plpgsql
    stable
    security definer
    set search_path = ''
as $$
begin
    perform private.require_system();
    return query
    select w.id, coalesce(w.session_timeout_hours, default_hours)
      from public.workspaces w
     where coalesce(w.session_timeout_hours, default_hours) > 0
       and exists (select
                     from public.sessions s
                    where s.workspace_id = w.id
                      and s.status in ('active', 'paused')
                      and s.last_activity_at < clock_timestamp()
                          - make_interval(hours => coalesce(w.session_timeout_hours, default_hours))
                      and not exists (select from public.turns t where t.session_id = s.id and t.status = 'active'))
     order by w.id;
end;
$$;
comment on function private.workspaces_with_idle_sessions is 'The workspaces that hold sessions past their idle time-out, and its hours.';

create function private.expire_idle_sessions(idle_hours integer, max_sessions integer)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid        := private.entered_workspace();
    oldest    constant timestamptz := clock_timestamp() - make_interval(hours => idle_hours);
    due     uuid[];
    expired integer;
begin
    select coalesce(array_agg(d.id), '{}') into due
      from (select s.id
              from public.sessions s
             where s.workspace_id = workspace
               and s.status in ('active', 'paused')
               and s.last_activity_at < oldest
               and not exists (select from public.turns t where t.session_id = s.id and t.status = 'active')
             order by s.last_activity_at
             limit max_sessions
               for no key update of s skip locked) d;
    -- Asked again now that they are locked, by a statement that sees all that was committed before: a message may have come in
    -- between. A turn under way has a clock of its own, the lease; a session outlives it.
    with expired_sessions as (
        update public.sessions s
           set status = 'timeout', ended_at = clock_timestamp(), error_message = null
         where s.id = any (due)
           and s.workspace_id = workspace
           and s.status in ('active', 'paused')
           and s.last_activity_at < oldest
           and not exists (select from public.turns t where t.session_id = s.id and t.status = 'active')
        returning s.id, s.workspace_id
    ), audited as (
        insert into public.audit_events (workspace_id, verb, object_id, actor_id, code)
        select e.workspace_id, 'session.timeout', e.id, private.calling_actor(), 'idle' from expired_sessions e
    )
    select count(*) into expired from expired_sessions;
    return jsonb_build_object('timed_out', expired, 'remaining', cardinality(due) >= max_sessions);
end;
$$;
comment on function private.expire_idle_sessions is 'Times out up to so many sessions of the entered workspace in which nothing came in for so many hours, longest idle first: {timed_out, remaining}.';

create function public.expire_idle_sessions(
    default_hours  integer default 24,
    interval_hours integer default 6,
    max_sessions   integer default 500
)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    idle  record;
    swept jsonb;
    total integer := 0;
begin
    if not private.start_sweep('idle_sessions', interval_hours) then
        return jsonb_build_object('timed_out', 0, 'remaining', false);
    end if;
    for idle in select w.* from private.workspaces_with_idle_sessions(default_hours) w loop
        perform private.enter_workspace(idle.workspace_id);
        swept := private.expire_idle_sessions(idle.idle_hours, max_sessions - total);
        total := total + (swept ->> 'timed_out')::integer;
        if (swept ->> 'remaining')::boolean then
            return jsonb_build_object('timed_out', total, 'remaining', true);
        end if;
    end loop;
    perform private.end_sweep('idle_sessions');
    return jsonb_build_object('timed_out', total, 'remaining', false);
end;
$$;
comment on function public.expire_idle_sessions is 'Times out idle sessions of all workspaces, unless that was done within the interval: {timed_out, remaining}; remaining: call again.';

create function public.clean_up_sessions(
    workspace_id  uuid    default null,
    max_age_hours integer default null,
    max_sessions  integer default 500,
    default_hours integer default 24
)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_to_manage('workspace', workspace_id, 'admin');
    hours     integer       := max_age_hours;
begin
    if max_age_hours < 1 then
        raise sqlstate 'PT422' using message = 'invalid_body', detail = 'max_age_hours_too_small';
    end if;
    if hours is null then
        select coalesce(w.session_timeout_hours, default_hours) into hours from public.workspaces w where w.id = workspace;
        if hours = 0 then
            return jsonb_build_object('timed_out', 0, 'remaining', false);
        end if;
    end if;
    return private.expire_idle_sessions(hours, max_sessions);
end;
$$;
comment on function public.clean_up_sessions is 'Times out a workspace''s (default: the caller''s only one) sessions that have been idle for so many hours (default: its idle timeout), now: {timed_out, remaining}. For its owners and admins, the service role, and the database''s owner.';

grant execute on function
    private.start_sweep, private.workspaces_with_idle_sessions, public.expire_idle_sessions
    to switchboard;

grant execute on function
    private.end_sweep, private.expire_idle_sessions, public.clean_up_sessions
    to service_role, switchboard;
