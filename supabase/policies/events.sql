-- Who may see events: admins and owners; they hold what people wrote.

grant select on public.events to authenticated;
grant select, insert on public.events to switchboard;
grant all on public.events to service_role;

create policy "Admins read their workspace's events"
    on public.events for select to authenticated
    using (workspace_id in (select private.admin_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.events for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it manages"
    on public.events for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);
