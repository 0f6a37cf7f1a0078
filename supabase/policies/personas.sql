-- Who may see personas: members; persona_settings shows config to owners and admins. Their secrets are in Vault.

grant select (
    id, workspace_id, kind, name, secret_id, callback_secret_id, session_policy, history_limit, time_limit_seconds, enabled,
    created_at, turn_policy, breaker_failures, breaker_seconds, picture, fallback_persona_id, collect_seconds,
    memory_model, recall_limit, remember_turns
) on public.personas to authenticated;
grant select, insert, update, delete on public.personas to switchboard;
grant all on public.personas to service_role;

create policy "Members read their workspace's personas"
    on public.personas for select to authenticated
    using (workspace_id in (select private.member_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.personas for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it manages"
    on public.personas for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard changes the workspace it manages"
    on public.personas for update to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid)
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard deletes in the workspace it manages"
    on public.personas for delete to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);
