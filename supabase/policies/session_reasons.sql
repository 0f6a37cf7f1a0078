-- Who may see why a session was paused or ended: the members who see the session.

grant select on public.session_reasons to authenticated;
grant select, insert on public.session_reasons to switchboard;
grant all on public.session_reasons to service_role;

create policy "Members read the reasons of the sessions they see"
    on public.session_reasons for select to authenticated
    using (
        workspace_id in (select private.member_workspaces())
        and (workspace_id in (select private.admin_workspaces()) or session_id in (select private.own_sessions()))
    );

create policy "Switchboard reads the workspace it entered"
    on public.session_reasons for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.session_reasons for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));
