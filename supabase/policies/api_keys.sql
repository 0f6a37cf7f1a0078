-- Who may see API keys: members, who see what a key did. No role reads the hashes; the functions that check them are definers.

grant select (id, workspace_id, name, role, prefix, created_by, created_at, expires_at, last_used_at, revoked_at)
    on public.api_keys to authenticated;
grant select, insert, update on public.api_keys to switchboard;
grant all on public.api_keys to service_role;

create policy "Members read their workspace's keys"
    on public.api_keys for select to authenticated
    using (workspace_id in (select private.member_workspaces()));

create policy "Switchboard reads the workspace it manages"
    on public.api_keys for select to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard adds to the workspace it manages"
    on public.api_keys for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard changes the workspace it manages"
    on public.api_keys for update to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid)
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);
