-- The archive: old sessions are marked and queued.

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
                      and s.ended_at < now() - make_interval(days => w.archive_after_days));
end;
$$;
comment on function private.workspaces_to_archive is 'The workspaces that hold sessions old enough to be archived.';

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
         order by s.ended_at
         limit max_sessions
           for update of s skip locked
    ), archived as (
        update public.sessions s
           set status_before_archive = s.status, status = 'archived', archived_at = clock_timestamp()
          from due
         where s.id = due.id
        returning s.id, s.workspace_id
    ), audited as (
        insert into public.audit_events (workspace_id, verb, object_id)
        select a.workspace_id, 'session.archived', a.id from archived a
    )
    select count(*) into marked from archived;
    return marked;
end;
$$;
comment on function private.archive_workspace is 'Marks up to so many old sessions of the entered workspace, oldest first; how many.';

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
    return jsonb_build_object('archived', total, 'workspaces', workspaces, 'remaining', total >= max_sessions);
end;
$$;
comment on function public.archive_old_chat_sessions is 'Marks sessions that ended longer ago than their workspace''s archive age: {archived, workspaces, remaining}; remaining: call again. For the functions, the service role and the database''s owner.';

grant execute on function
    private.workspaces_to_archive, private.archive_workspace, public.archive_old_chat_sessions
    to service_role, switchboard;
