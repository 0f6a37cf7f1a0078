-- Who may see identities: members. A contact is not shown what the workspace knows it by.

grant select on public.contact_identities to authenticated;
grant select, insert, update, delete on public.contact_identities to switchboard;
grant all on public.contact_identities to service_role;

create policy "Members read their workspace's identities"
    on public.contact_identities for select to authenticated
    using (workspace_id in (select private.member_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.contact_identities for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.contact_identities for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.contact_identities for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard deletes in the workspace it entered"
    on public.contact_identities for delete to switchboard
    using (workspace_id = (select private.entered_workspace()));
