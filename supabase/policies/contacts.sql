-- Who may see a contact: members, and the contact once there is proof of who it is. Its source, attributes and merges are
-- for members.

grant select (id, workspace_id, first_name, last_name, created_at, kind, title) on public.contacts to contact;
grant select on public.contacts to authenticated;
grant select, insert, update on public.contacts to switchboard;
grant all on public.contacts to service_role;

create policy "Members read their workspace's contacts"
    on public.contacts for select to authenticated
    using (workspace_id in (select private.member_workspaces()));

create policy "Contacts with proof read themselves"
    on public.contacts for select to contact
    using (id = (select private.verified_contact()));

create policy "Switchboard reads the workspace it entered"
    on public.contacts for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.contacts for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.contacts for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));
