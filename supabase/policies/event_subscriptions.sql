-- Who may see event subscriptions: admins and owners; an address often holds a key. A worker switches one off.

grant select on public.event_subscriptions to authenticated;
grant select, insert, update, delete on public.event_subscriptions to switchboard;
grant all on public.event_subscriptions to service_role;

create policy "Admins read their workspace's event subscriptions"
    on public.event_subscriptions for select to authenticated
    using (workspace_id in (select private.admin_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.event_subscriptions for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it manages"
    on public.event_subscriptions for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard changes the workspace it entered"
    on public.event_subscriptions for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard deletes in the workspace it manages"
    on public.event_subscriptions for delete to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);
