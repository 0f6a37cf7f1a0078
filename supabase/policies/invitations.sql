-- Who may see invitations: the workspace's owners and admins, and the invited user while it is open. Its sender is in the audit.

grant select (id, workspace_id, workspace_name, email, email_key, role, created_at, expires_at, accepted_at)
    on public.invitations to authenticated;
grant select, insert, update, delete on public.invitations to switchboard;
grant all on public.invitations to service_role;

create policy "Admins read their workspace's invitations, users their own"
    on public.invitations for select to authenticated
    using (workspace_id in (select private.admin_workspaces())
           or ((select private.confirmed_email()) in (email_key, lower(email)) and accepted_at is null and expires_at > now()));

create policy "Switchboard reads the workspace it entered"
    on public.invitations for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it manages"
    on public.invitations for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard changes the workspace it manages"
    on public.invitations for update to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid)
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard deletes in the workspace it manages"
    on public.invitations for delete to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);
