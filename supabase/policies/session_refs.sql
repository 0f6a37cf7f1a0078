-- Who may see by what other systems know a session: the members who see the session.

grant select on public.session_refs to authenticated;
grant select, insert, delete on public.session_refs to switchboard;
grant all on public.session_refs to service_role;

create policy "Members read the references of the sessions they see"
    on public.session_refs for select to authenticated
    using (
        workspace_id in (select private.member_workspaces())
        and (workspace_id in (select private.admin_workspaces()) or session_id in (select private.own_sessions()))
    );

create policy "Switchboard reads the workspace it entered"
    on public.session_refs for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.session_refs for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard deletes in the workspace it entered"
    on public.session_refs for delete to switchboard
    using (workspace_id = (select private.entered_workspace()));
