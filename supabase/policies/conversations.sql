-- Who may see conversations: admins and owners, the user whose it is, the agent it is assigned to, and the contact whose
-- token is for it.

grant select on public.conversations to authenticated, contact;
grant select, insert, update on public.conversations to switchboard;
grant all on public.conversations to service_role;

create policy "Admins read all conversations, users and agents their own"
    on public.conversations for select to authenticated
    using (workspace_id in (select private.admin_workspaces()) or id in (select private.own_conversations()));

create policy "Contacts read their token's conversation"
    on public.conversations for select to contact
    using (id = (select private.token_conversation()));

create policy "Switchboard reads the workspace it entered"
    on public.conversations for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.conversations for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.conversations for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));
