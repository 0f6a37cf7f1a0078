-- Who may see which sessions wait for the archive: owners and admins.

grant select on public.archive_queue to authenticated;
grant select, insert, update, delete on public.archive_queue to switchboard;
grant all on public.archive_queue to service_role;

create policy "Admins read their workspace's queue"
    on public.archive_queue for select to authenticated
    using (workspace_id in (select private.admin_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.archive_queue for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.archive_queue for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.archive_queue for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard deletes in the workspace it entered"
    on public.archive_queue for delete to switchboard
    using (workspace_id = (select private.entered_workspace()));
