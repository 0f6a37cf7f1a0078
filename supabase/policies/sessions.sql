-- Who may see sessions: admins and owners, the user whose it is, the agent it is assigned to, and the contact whose token
-- is for its conversation. Its metadata (context, template, address and browser) and its members are for members.

grant select (
    id, workspace_id, conversation_id, contact_id, user_id, persona_id, space_id, channel, status, turn_count,
    message_count, error_message, created_at, last_activity_at, ended_at, archived_at, status_before_archive,
    workflow, workflow_step, request_id, taken_over_at, first_message_at, updated_at
) on public.sessions to contact, authenticated;
grant select on public.sessions to member;
grant select, insert, update on public.sessions to switchboard;
grant all on public.sessions to service_role;

create policy "Admins read all sessions, users and agents their own"
    on public.sessions for select to authenticated
    using (workspace_id in (select private.admin_workspaces()) or id in (select private.own_sessions()));

create policy "Only members read the columns for members"
    on public.sessions as restrictive for select to member
    using (workspace_id in (select private.member_workspaces()));

create policy "Contacts read their conversation's sessions"
    on public.sessions for select to contact
    using (conversation_id = (select private.token_conversation()));

create policy "Switchboard reads the workspace it entered"
    on public.sessions for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.sessions for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.sessions for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));
