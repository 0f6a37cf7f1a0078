-- Who may see where a session is archived: the readers of the session. The object is for members.

grant select (
    object_id, session_id, workspace_id, conversation_id, message_count, stored_at, is_current, messages_dropped
) on public.session_archives to contact, authenticated;
grant select on public.session_archives to member;
grant select, insert, update, delete on public.session_archives to switchboard;
grant all on public.session_archives to service_role;

create policy "Admins read all archives, users and agents their own"
    on public.session_archives for select to authenticated
    using (workspace_id in (select private.admin_workspaces()) or session_id in (select private.own_sessions()));

create policy "Only members read the columns for members"
    on public.session_archives as restrictive for select to member
    using (workspace_id in (select private.member_workspaces()));

create policy "Contacts read their conversation's archives"
    on public.session_archives for select to contact
    using (conversation_id = (select private.token_conversation()));

create policy "Switchboard reads the workspace it entered"
    on public.session_archives for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.session_archives for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.session_archives for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard deletes in the workspace it entered"
    on public.session_archives for delete to switchboard
    using (workspace_id = (select private.entered_workspace()));
