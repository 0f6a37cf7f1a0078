-- Who may see quotes: members who see the session that asked, or one that works on the request. Whose session it is does
-- not: what operators ask is between them and the workspace.

grant select on public.quotes to authenticated;
grant select, insert, update on public.quotes to switchboard;
grant all on public.quotes to service_role;

create policy "Admins read all quotes, agents those of their sessions"
    on public.quotes for select to authenticated
    using (
        workspace_id in (select private.member_workspaces())
        and (workspace_id in (select private.admin_workspaces())
             or session_id in (select private.own_sessions())
             or request_id in (select private.own_requests()))
    );

create policy "Switchboard reads the workspace it entered"
    on public.quotes for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.quotes for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.quotes for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));
