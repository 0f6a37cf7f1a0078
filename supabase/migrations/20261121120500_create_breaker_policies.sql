-- Row-level security as supabase/policies/ says it; written by `python -m local policies`.

set lock_timeout = '5s';
set statement_timeout = '60s';

-- Who may see how a persona is doing: members.

create policy "Members read their workspace's breakers"
    on public.persona_breakers for select to authenticated
    using (workspace_id in (select private.member_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.persona_breakers for select to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard adds to the workspace it entered"
    on public.persona_breakers for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard changes the workspace it entered"
    on public.persona_breakers for update to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid)
    with check (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);
