-- Who may see deliveries: admins and owners; they hold answers of servers.

grant select on public.event_deliveries to authenticated;
grant select, insert, update on public.event_deliveries to switchboard;
grant all on public.event_deliveries to service_role;

create policy "Admins read their workspace's event deliveries"
    on public.event_deliveries for select to authenticated
    using (workspace_id in (select private.admin_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.event_deliveries for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it manages"
    on public.event_deliveries for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard changes the workspace it entered"
    on public.event_deliveries for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));
