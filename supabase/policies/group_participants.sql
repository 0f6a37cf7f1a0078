-- Who may see who is in a group: members. Participants do not see each other.

grant select on public.group_participants to authenticated;
grant select, insert, update on public.group_participants to switchboard;
grant all on public.group_participants to service_role;

create policy "Members read their workspace's groups"
    on public.group_participants for select to authenticated
    using (workspace_id in (select private.member_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.group_participants for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.group_participants for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.group_participants for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));
