-- Who may see raw deliveries: admins and owners; they may hold anything a sender sent.

grant select on public.inbound_events to authenticated;
grant select, insert on public.inbound_events to switchboard;
grant all on public.inbound_events to service_role;

create policy "Admins read their workspace's inbound events"
    on public.inbound_events for select to authenticated
    using (workspace_id in (select private.admin_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.inbound_events for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.inbound_events for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));
