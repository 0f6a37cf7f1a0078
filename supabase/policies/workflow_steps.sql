-- Who may see which steps a session took: the members who see the session.

grant select on public.workflow_steps to authenticated;
grant select, insert on public.workflow_steps to switchboard;
grant all on public.workflow_steps to service_role;

create policy "Members read the steps of the sessions they see"
    on public.workflow_steps for select to authenticated
    using (
        workspace_id in (select private.member_workspaces())
        and (workspace_id in (select private.admin_workspaces()) or session_id in (select private.own_sessions()))
    );

create policy "Switchboard reads the workspace it entered"
    on public.workflow_steps for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.workflow_steps for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));
