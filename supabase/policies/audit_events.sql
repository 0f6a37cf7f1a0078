-- Who may see the audit: admins and owners. It only grows.

grant insert on public.audit_events to switchboard;
grant select on public.audit_events to authenticated;
grant all on public.audit_events to service_role;

create policy "Admins read their workspace's audit events"
    on public.audit_events for select to authenticated
    using (workspace_id in (select private.admin_workspaces()));

create policy "Switchboard adds to the workspace it entered"
    on public.audit_events for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));
