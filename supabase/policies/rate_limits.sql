-- Who may see what the limits count: members, where the subject is an id (a contact, a user, a space). Anything else is a
-- person's address, which is for admins and owners.

grant select on public.rate_limits to authenticated;
grant select, insert, update on public.rate_limits to switchboard;
grant all on public.rate_limits to service_role;

create policy "Members read their workspace's rate limits"
    on public.rate_limits for select to authenticated
    using (workspace_id in (select private.member_workspaces())
           and (subject ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                or workspace_id in (select private.admin_workspaces())));

create policy "Switchboard reads the workspace it entered"
    on public.rate_limits for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.rate_limits for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.rate_limits for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));
