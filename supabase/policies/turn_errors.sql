-- Who may see what went wrong in words: admins and owners. A caller is told the turn's error code.

grant select, insert on public.turn_errors to switchboard;
grant select on public.turn_errors to authenticated;
grant all on public.turn_errors to service_role;

create policy "Admins read their workspace's turn errors"
    on public.turn_errors for select to authenticated
    using (workspace_id in (select private.admin_workspaces()));

create policy "Switchboard adds to the workspace it entered"
    on public.turn_errors for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard reads the workspace it entered"
    on public.turn_errors for select to switchboard
    using (workspace_id = (select private.entered_workspace()));
