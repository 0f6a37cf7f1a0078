-- Who may see which contacts were called the same: members, who see the contacts.

grant select on public.contact_conflicts to authenticated;
grant select, insert, update on public.contact_conflicts to switchboard;
grant all on public.contact_conflicts to service_role;

create policy "Members read their workspace's conflicts"
    on public.contact_conflicts for select to authenticated
    using (workspace_id in (select private.member_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.contact_conflicts for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.contact_conflicts for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.contact_conflicts for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));
