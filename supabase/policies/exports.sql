-- Who may see exports: owners and admins.

grant select on public.exports to authenticated;
grant select, insert, update, delete on public.exports to switchboard;
grant all on public.exports to service_role;

create policy "Admins read their workspace's exports"
    on public.exports for select to authenticated
    using (workspace_id in (select private.admin_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.exports for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.exports for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.exports for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard deletes in the workspace it entered"
    on public.exports for delete to switchboard
    using (workspace_id = (select private.entered_workspace()));
