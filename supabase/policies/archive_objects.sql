-- Who may see the objects of the archive: owners and admins.

grant select on public.archive_objects to authenticated;
grant select, insert, update on public.archive_objects to switchboard;
grant all on public.archive_objects to service_role;

create policy "Admins read their workspace's objects"
    on public.archive_objects for select to authenticated
    using (workspace_id in (select private.admin_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.archive_objects for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.archive_objects for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.archive_objects for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));
