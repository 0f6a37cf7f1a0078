-- Who may see what a turn knew: the members who read its session. Its contact or user never.

grant select on public.turn_memories to authenticated;
grant select, insert on public.turn_memories to switchboard;
grant all on public.turn_memories to service_role;

create policy "Admins read what all turns knew, agents that of their sessions"
    on public.turn_memories for select to authenticated
    using (
        workspace_id in (select private.admin_workspaces())
        or (workspace_id in (select private.member_workspaces()) and session_id in (select private.own_sessions()))
    );

create policy "Switchboard reads the workspace it entered"
    on public.turn_memories for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.turn_memories for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));
