-- Row-level security as supabase/policies/ says it; written by `python -m local policies`.

set lock_timeout = '5s';
set statement_timeout = '60s';

-- Who may see the audit: admins and owners. It only grows.

create policy "Admins read their workspace's audit events"
    on public.audit_events for select to authenticated
    using (workspace_id in (select private.admin_workspaces()));

create policy "Switchboard adds to the workspace it entered"
    on public.audit_events for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

-- Who may see identities: members. A contact is not shown what the workspace knows it by.

create policy "Members read their workspace's identities"
    on public.contact_identities for select to authenticated
    using (workspace_id in (select private.member_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.contact_identities for select to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard adds to the workspace it entered"
    on public.contact_identities for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard changes the workspace it entered"
    on public.contact_identities for update to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid)
    with check (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

-- Who may see a contact: members, and the contact once there is proof of who it is.

create policy "Members read their workspace's contacts"
    on public.contacts for select to authenticated
    using (workspace_id in (select private.member_workspaces()));

create policy "Contacts with proof read themselves"
    on public.contacts for select to contact
    using (id = (select private.verified_contact()));

create policy "Switchboard reads the workspace it entered"
    on public.contacts for select to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard adds to the workspace it entered"
    on public.contacts for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard changes the workspace it entered"
    on public.contacts for update to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid)
    with check (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

-- Who may see conversations: admins and owners, the user whose it is, the agent it is assigned to, and the contact whose
-- token is for it.

create policy "Admins read all conversations, users and agents their own"
    on public.conversations for select to authenticated
    using (workspace_id in (select private.admin_workspaces()) or id in (select private.own_conversations()));

create policy "Contacts read their token's conversation"
    on public.conversations for select to contact
    using (id = (select private.token_conversation()));

create policy "Switchboard reads the workspace it entered"
    on public.conversations for select to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard adds to the workspace it entered"
    on public.conversations for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard changes the workspace it entered"
    on public.conversations for update to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid)
    with check (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

-- Who may see raw deliveries: admins and owners; they may hold anything a sender sent.

create policy "Admins read their workspace's inbound events"
    on public.inbound_events for select to authenticated
    using (workspace_id in (select private.admin_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.inbound_events for select to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard adds to the workspace it entered"
    on public.inbound_events for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

-- Who may see the queue: admins and owners.

create policy "Admins read their workspace's jobs"
    on public.jobs for select to authenticated
    using (workspace_id in (select private.admin_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.jobs for select to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard adds to the workspace it entered"
    on public.jobs for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard changes the workspace it entered"
    on public.jobs for update to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid)
    with check (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

-- Who may see messages: whoever may see their session.

create policy "Admins read all messages, users and agents their own"
    on public.messages for select to authenticated
    using (workspace_id in (select private.admin_workspaces()) or session_id in (select private.own_sessions()));

create policy "Contacts read their conversation's messages"
    on public.messages for select to contact
    using (conversation_id = (select private.token_conversation()));

create policy "Switchboard reads the workspace it entered"
    on public.messages for select to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard adds to the workspace it entered"
    on public.messages for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

-- Who may see personas: members. Their secrets are in Vault.

create policy "Members read their workspace's personas"
    on public.personas for select to authenticated
    using (workspace_id in (select private.member_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.personas for select to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

-- Who may see what the limits count: admins and owners; a subject may be a person's address.

create policy "Admins read their workspace's rate limits"
    on public.rate_limits for select to authenticated
    using (workspace_id in (select private.admin_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.rate_limits for select to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard adds to the workspace it entered"
    on public.rate_limits for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard changes the workspace it entered"
    on public.rate_limits for update to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid)
    with check (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

-- Who may see sessions: admins and owners, the user whose it is, the agent it is assigned to, and the contact whose token
-- is for its conversation.

create policy "Admins read all sessions, users and agents their own"
    on public.sessions for select to authenticated
    using (workspace_id in (select private.admin_workspaces()) or id in (select private.own_sessions()));

create policy "Contacts read their conversation's sessions"
    on public.sessions for select to contact
    using (conversation_id = (select private.token_conversation()));

create policy "Switchboard reads the workspace it entered"
    on public.sessions for select to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard adds to the workspace it entered"
    on public.sessions for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard changes the workspace it entered"
    on public.sessions for update to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid)
    with check (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

-- Who may see spaces: members.

create policy "Members read their workspace's spaces"
    on public.spaces for select to authenticated
    using (workspace_id in (select private.member_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.spaces for select to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

-- Who may see an answer in the making: whoever may see its turn.

create policy "Admins read all chunks, users and agents their own"
    on public.turn_chunks for select to authenticated
    using (workspace_id in (select private.admin_workspaces()) or turn_id in (select private.own_active_turns()));

create policy "Contacts read their conversation's chunks"
    on public.turn_chunks for select to contact
    using (conversation_id = (select private.token_conversation()));

create policy "Switchboard reads the workspace it entered"
    on public.turn_chunks for select to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard adds to the workspace it entered"
    on public.turn_chunks for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard deletes in the workspace it entered"
    on public.turn_chunks for delete to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

-- Who may see what went wrong in words: admins and owners. A caller is told the turn's error code.

create policy "Admins read their workspace's turn errors"
    on public.turn_errors for select to authenticated
    using (workspace_id in (select private.admin_workspaces()));

create policy "Switchboard adds to the workspace it entered"
    on public.turn_errors for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

-- Who may see turns: whoever may see their session.

create policy "Admins read all turns, users and agents their own"
    on public.turns for select to authenticated
    using (workspace_id in (select private.admin_workspaces()) or session_id in (select private.own_sessions()));

create policy "Contacts read their conversation's turns"
    on public.turns for select to contact
    using (conversation_id = (select private.token_conversation()));

create policy "Switchboard reads the workspace it entered"
    on public.turns for select to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard adds to the workspace it entered"
    on public.turns for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard changes the workspace it entered"
    on public.turns for update to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid)
    with check (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

-- Who may see who works in a workspace: everybody who does.

create policy "Members read their workspace's members"
    on public.workspace_members for select to authenticated
    using (workspace_id in (select private.member_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.workspace_members for select to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

-- Who may see a workspace: its members. Nobody changes one over the API.

create policy "Members read their workspaces"
    on public.workspaces for select to authenticated
    using (id in (select private.member_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.workspaces for select to switchboard
    using (id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);
