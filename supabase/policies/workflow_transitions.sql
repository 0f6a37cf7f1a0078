-- Who may see workflows: the built-in ones everybody who signed in, a workspace's own its members.

grant select on public.workflow_transitions to authenticated;
grant select, insert, delete on public.workflow_transitions to switchboard;
grant all on public.workflow_transitions to service_role;

create policy "Users read built-in workflows, members their workspace's"
    on public.workflow_transitions for select to authenticated
    using (workspace_id is null or workspace_id in (select private.member_workspaces()));

create policy "Switchboard reads built-in ones and the workspace it entered"
    on public.workflow_transitions for select to switchboard
    using (
        coalesce(workspace_id, (select private.entered_workspace()))
        = (select private.entered_workspace())
    );

create policy "Switchboard adds to the workspace it manages"
    on public.workflow_transitions for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard deletes in the workspace it manages"
    on public.workflow_transitions for delete to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);
