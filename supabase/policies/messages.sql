-- Who may see messages: the readers of their session. Their metadata and the member who wrote one are for members.

grant select (
    id, workspace_id, conversation_id, session_id, turn_id, role, contact_id, persona_id, text, partial, created_at,
    speaker, changed_at
) on public.messages to contact, authenticated;
grant select on public.messages to member;
grant select, insert, update on public.messages to switchboard;
grant all on public.messages to service_role;

create policy "Admins read all messages, users and agents their own"
    on public.messages for select to authenticated
    using (workspace_id in (select private.admin_workspaces()) or session_id in (select private.own_sessions()));

create policy "Only members read the columns for members"
    on public.messages as restrictive for select to member
    using (workspace_id in (select private.member_workspaces()));

create policy "Contacts read their conversation's messages"
    on public.messages for select to contact
    using (conversation_id = (select private.token_conversation()));

create policy "Switchboard reads the workspace it entered"
    on public.messages for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.messages for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.messages for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));
