-- Who may see tags: members, on contacts all of them, on sessions those of the sessions they may see. Tags are said among
-- members: not even the user whose session it is reads them.

grant select on public.tags to authenticated;
grant select, insert, update, delete on public.tags to switchboard;
grant all on public.tags to service_role;

create policy "Members read tags of contacts and of the sessions they see"
    on public.tags for select to authenticated
    using (
        workspace_id in (select private.member_workspaces())
        and (session_id is null
             or workspace_id in (select private.admin_workspaces())
             or session_id in (select private.own_sessions()))
    );

create policy "Switchboard reads the workspace it entered"
    on public.tags for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.tags for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.tags for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard deletes in the workspace it entered"
    on public.tags for delete to switchboard
    using (workspace_id = (select private.entered_workspace()));
