-- Who may see for how long a workspace keeps what: members. The functions change it for owners and admins.

grant select on public.retention_settings to authenticated;
grant select, insert, update on public.retention_settings to switchboard;
grant all on public.retention_settings to service_role;

create policy "Members read their workspace's retention"
    on public.retention_settings for select to authenticated
    using (workspace_id in (select private.member_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.retention_settings for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it manages"
    on public.retention_settings for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard changes the workspace it manages"
    on public.retention_settings for update to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid)
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);
