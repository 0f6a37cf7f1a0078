-- Generated from supabase/schemas/70_archive.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- The archive: old sessions are marked, and queued to be written to the store.

create function private.was_restored(session public.sessions, days integer)
    returns boolean language sql stable set search_path = ''
as $$
    select exists (select
                     from public.session_archives a
                    where a.session_id = session.id
                      and a.is_current
                      and a.restored_at > now() - make_interval(days => was_restored.days));
$$;
comment on function private.was_restored is 'Whether a session was restored less than so many days ago: it is not archived again before.';

create function private.workspaces_to_archive()
    returns setof uuid language plpgsql stable security definer set search_path = ''
as $$
begin
    perform private.require_system();
    return query
    select w.id
      from public.workspaces w
     where exists (select
                     from public.sessions s
                    where s.workspace_id = w.id
                      and s.status in ('completed', 'failed', 'timeout', 'cancelled')
                      and s.status = any (w.archive_statuses)
                      and s.ended_at < now() - make_interval(days => w.archive_after_days)
                      and not private.was_restored(s, w.archive_after_days))
        or (w.archive_retention = 'drop'
            and exists (select
                          from public.archive_objects o
                         where o.workspace_id = w.id
                           and o.status = 'stored'
                           and not o.dropped));
end;
$$;
comment on function private.workspaces_to_archive is 'The workspaces that hold sessions old enough to be archived, or archived ones whose messages are to be dropped by now.';

create function private.archive_workspace(max_sessions integer)
    returns integer language plpgsql set search_path = ''
as $$
declare
    workspace public.workspaces;
    oldest    timestamptz;
    marked    integer;
begin
    select w.* into workspace from public.workspaces w where w.id = private.entered_workspace();
    oldest := now() - make_interval(days => workspace.archive_after_days);
    with due as (
        select s.id
          from public.sessions s
         where s.workspace_id = workspace.id
           and s.status in ('completed', 'failed', 'timeout', 'cancelled')
           and s.status = any (workspace.archive_statuses)
           and s.ended_at < oldest
           and not private.was_restored(s, workspace.archive_after_days)
         order by s.ended_at
         limit max_sessions
           for update of s skip locked
    ), archived as (
        update public.sessions s
           set status_before_archive = s.status, status = 'archived', archived_at = clock_timestamp()
          from due
         where s.id = due.id
        returning s.id, s.workspace_id, s.created_at
    ), queued as (
        insert into public.archive_queue (session_id, workspace_id, month)
        select a.id, a.workspace_id, date_trunc('month', a.created_at at time zone 'utc')::date from archived a
        on conflict (session_id) do nothing
    ), audited as (
        insert into public.audit_events (workspace_id, verb, object_id)
        select a.workspace_id, 'session.archived', a.id from archived a
    )
    select count(*) into marked from archived;
    if workspace.archive_retention = 'drop' then
        perform private.queue_kept_archives(max_sessions);
    end if;
    return marked;
end;
$$;
comment on function private.archive_workspace is 'Marks and queues up to so many old sessions of the entered workspace, oldest first; how many.';

create function private.queue_kept_archives(max_sessions integer)
    returns void language sql set search_path = ''
as $$
    insert into public.archive_queue (session_id, workspace_id, month)
    select a.session_id, a.workspace_id, a.month
      from public.archive_objects o
      join public.session_archives a on a.object_id = o.id
      join public.sessions s on s.id = a.session_id and s.status = 'archived'
     where o.workspace_id = private.entered_workspace()
       and o.status = 'stored'
       and not o.dropped
       and a.is_current
       and not a.messages_dropped
     limit max_sessions
    on conflict (session_id) do nothing;
$$;
comment on function private.queue_kept_archives is 'Queues archived sessions whose messages were kept, after their workspace has decided to drop them: they are written anew, as they are now.';

create function public.archive_sessions_of_workspace(workspace_id uuid default null, max_sessions integer default 1000)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid    := private.enter_to_manage('workspace', workspace_id, 'admin');
    marked    constant integer := private.archive_workspace(max_sessions);
begin
    return jsonb_build_object('archived', marked, 'workspaces', (marked > 0)::integer, 'remaining', marked >= max_sessions,
                              'workspace_id', workspace);
end;
$$;
comment on function public.archive_sessions_of_workspace is 'As archive_old_chat_sessions, for one workspace (default: the caller''s only one), for its owners and admins: {archived, workspaces, remaining, workspace_id}.';

create function public.archive_old_chat_sessions(max_sessions integer default 1000)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace  uuid;
    marked     integer;
    total      integer := 0;
    workspaces integer := 0;
begin
    for workspace in select w.id from private.workspaces_to_archive() as w (id) loop
        perform private.enter_workspace(workspace);
        marked     := private.archive_workspace(max_sessions - total);
        total      := total + marked;
        workspaces := workspaces + (marked > 0)::integer;
        exit when total >= max_sessions;
    end loop;
    if total < max_sessions then
        perform private.end_sweep('archive');
    end if;
    return jsonb_build_object('archived', total, 'workspaces', workspaces, 'remaining', total >= max_sessions);
end;
$$;
comment on function public.archive_old_chat_sessions is 'Marks and queues sessions that ended longer ago than their workspace''s archive age: {archived, workspaces, remaining}; remaining: call again. For the functions, the service role and the database''s owner.';

grant execute on function
    private.workspaces_to_archive, private.was_restored, private.archive_workspace, private.queue_kept_archives,
    public.archive_old_chat_sessions, public.archive_sessions_of_workspace
    to service_role, switchboard;
