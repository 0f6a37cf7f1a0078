-- Who may see a workspace: its members; workspace_settings shows allowed_networks to owners and admins. They change it
-- through the functions, which enter it to manage it.

grant select (
    id, name, archive_after_days, archive_statuses, created_at, messages_per_minute_by_contact, messages_per_minute_by_user,
    messages_per_minute_by_address, messages_per_minute_by_space, session_timeout_hours, archive_retention
) on public.workspaces to authenticated;
grant select, insert, update, delete on public.workspaces to switchboard;
grant all on public.workspaces to service_role;

create policy "Members read their workspaces"
    on public.workspaces for select to authenticated
    using (id in (select private.member_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.workspaces for select to switchboard
    using (id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it manages"
    on public.workspaces for insert to switchboard
    with check (id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard changes the workspace it manages"
    on public.workspaces for update to switchboard
    using (id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid)
    with check (id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard deletes the workspace it manages"
    on public.workspaces for delete to switchboard
    using (id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);
