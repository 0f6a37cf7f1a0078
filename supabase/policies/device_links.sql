-- Who may see device links: the user whom the device belongs to, admins and owners.

grant select on public.device_links to authenticated;
grant select, insert, update on public.device_links to switchboard;
grant all on public.device_links to service_role;

create policy "Users read their own device links, admins their workspace's"
    on public.device_links for select to authenticated
    using (user_id = (select auth.uid()) or workspace_id in (select private.admin_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.device_links for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.device_links for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.device_links for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));
