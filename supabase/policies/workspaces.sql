-- Who may see a workspace: its members. Nobody changes one over the API.

create policy "Members read their workspaces"
    on public.workspaces for select to authenticated
    using (id in (select private.member_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.workspaces for select to switchboard
    using (id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);
