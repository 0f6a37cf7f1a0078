-- Generated from supabase/policies/.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- Who may see answer templates: members. Owners and admins change them through the functions, which enter to manage.

grant select on public.answer_templates to authenticated;
grant select, insert, update, delete on public.answer_templates to switchboard;
grant all on public.answer_templates to service_role;

create policy "Members read their workspace's answer templates"
    on public.answer_templates for select to authenticated
    using (workspace_id in (select private.member_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.answer_templates for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it manages"
    on public.answer_templates for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard changes the workspace it manages"
    on public.answer_templates for update to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid)
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard deletes in the workspace it manages"
    on public.answer_templates for delete to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

-- Who may see API keys: members, who see what a key did. No role reads the hashes; the functions that check them are definers.

grant select (id, workspace_id, name, role, prefix, created_by, created_at, expires_at, last_used_at, revoked_at)
    on public.api_keys to authenticated;
grant select, insert, update on public.api_keys to switchboard;
grant all on public.api_keys to service_role;

create policy "Members read their workspace's keys"
    on public.api_keys for select to authenticated
    using (workspace_id in (select private.member_workspaces()));

create policy "Switchboard reads the workspace it manages"
    on public.api_keys for select to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard adds to the workspace it manages"
    on public.api_keys for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard changes the workspace it manages"
    on public.api_keys for update to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid)
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

-- Who may see the objects of the archive: owners and admins.

grant select on public.archive_objects to authenticated;
grant select, insert, update on public.archive_objects to switchboard;
grant all on public.archive_objects to service_role;

create policy "Admins read their workspace's objects"
    on public.archive_objects for select to authenticated
    using (workspace_id in (select private.admin_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.archive_objects for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.archive_objects for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.archive_objects for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));

-- Who may see which sessions wait for the archive: owners and admins.

grant select on public.archive_queue to authenticated;
grant select, insert, update, delete on public.archive_queue to switchboard;
grant all on public.archive_queue to service_role;

create policy "Admins read their workspace's queue"
    on public.archive_queue for select to authenticated
    using (workspace_id in (select private.admin_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.archive_queue for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.archive_queue for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.archive_queue for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard deletes in the workspace it entered"
    on public.archive_queue for delete to switchboard
    using (workspace_id = (select private.entered_workspace()));

-- Who may see attachments: the members who read the message.

grant select on public.attachments to authenticated;
grant select, insert on public.attachments to switchboard;
grant all on public.attachments to service_role;

create policy "Members read the attachments of messages that they read"
    on public.attachments for select to authenticated
    using (workspace_id in (select private.admin_workspaces())
           or (workspace_id in (select private.member_workspaces()) and conversation_id in (select private.own_conversations())));

create policy "Switchboard reads the workspace it entered"
    on public.attachments for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.attachments for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

-- Who may see the audit: admins and owners. It only grows.

grant insert on public.audit_events to switchboard;
grant select on public.audit_events to authenticated;
grant all on public.audit_events to service_role;

create policy "Admins read their workspace's audit events"
    on public.audit_events for select to authenticated
    using (workspace_id in (select private.admin_workspaces()));

create policy "Switchboard adds to the workspace it entered"
    on public.audit_events for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

-- Who may see channels' settings: members; the view reads public.channels with its reader's rights.

grant select on public.channel_settings to authenticated, service_role, switchboard;

-- Who may see channels: members.

grant select on public.channels to authenticated;
grant select, insert, update, delete on public.channels to switchboard;
grant all on public.channels to service_role;

create policy "Members read their workspace's channels"
    on public.channels for select to authenticated
    using (workspace_id in (select private.member_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.channels for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it manages"
    on public.channels for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard changes the workspace it manages"
    on public.channels for update to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid)
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard deletes in the workspace it manages"
    on public.channels for delete to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

-- Who may see contacts' activity: members, for the sessions that they may see.

grant select on public.contact_activity to authenticated, service_role;

-- Who may see conflicts with their contacts: members.

grant select on public.contact_conflict_details to authenticated, service_role, switchboard;

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

-- Who may see contacts' details: members; the view reads with its reader's rights.

grant select on public.contact_details to authenticated, service_role, switchboard;

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

-- Who may see which contacts were merged: members, who see the contacts.

grant select on public.contact_merges to authenticated;
grant select, insert, update on public.contact_merges to switchboard;
grant all on public.contact_merges to service_role;

create policy "Members read their workspace's merges"
    on public.contact_merges for select to authenticated
    using (workspace_id in (select private.member_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.contact_merges for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.contact_merges for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.contact_merges for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));

-- Who may see the rows that merges moved: only the functions that merge and undo.

grant select, insert on public.contact_moves to switchboard;
grant all on public.contact_moves to service_role;

create policy "Switchboard reads the workspace it entered"
    on public.contact_moves for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.contact_moves for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

-- Who may read a contact's session details: the contact, those of its token's conversation; users, those that they may see.

grant select on public.contact_session_details to contact, authenticated;

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

-- Who may see contacts by their last activity: members, for the sessions that they may see.

grant select on public.contacts_by_activity to authenticated, service_role;

-- Who may see contacts by the spaces of their conversations: members, for the conversations that they may see.

grant select on public.contacts_by_space to authenticated, service_role;

-- Who may see contacts by their tags: members.

grant select on public.contacts_by_tag to authenticated, service_role;

-- Who may see contacts without a session: members, for the sessions that they may see.

grant select on public.contacts_without_session to authenticated, service_role;

-- Who may read a conversation's messages: the readers of its sessions, each with their own rights.

grant select on public.conversation_messages to authenticated, contact, service_role;

-- Who may see how far a conversation was read: the member who read it.

grant select on public.conversation_reads to authenticated;
grant select, insert, update on public.conversation_reads to switchboard;
grant all on public.conversation_reads to service_role;

create policy "Members read their own reads"
    on public.conversation_reads for select to authenticated
    using (user_id = (select auth.uid()));

create policy "Switchboard reads the workspace it entered"
    on public.conversation_reads for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.conversation_reads for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.conversation_reads for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));

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

-- Who may see device links: the user whom the device belongs to, admins and owners.

grant select on public.device_links to authenticated;
grant select, insert, update on public.device_links to switchboard;
grant all on public.device_links to service_role;

create policy "Users read their own device links, admins their workspace's"
    on public.device_links for select to authenticated
    using (user_id = (select auth.uid()) or workspace_id in (select private.admin_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.device_links for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.device_links for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.device_links for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));

-- Who may see device sessions, without their claim code: the user to whom one is attached, admins and owners.

grant select (
    id, workspace_id, provider, external_id, external_conversation_id, uid, user_id, linked_with, linked_at, conversation_id,
    created_at, last_segment_at, closed_at
) on public.device_sessions to authenticated;
grant select, insert, update on public.device_sessions to switchboard;
grant all on public.device_sessions to service_role;

create policy "Users read their own device sessions, admins their workspace's"
    on public.device_sessions for select to authenticated
    using (user_id = (select auth.uid()) or workspace_id in (select private.admin_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.device_sessions for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.device_sessions for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.device_sessions for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));

-- Who may see what was erased: admins and owners.

grant select on public.erasures to authenticated;
grant select on public.erasures to switchboard;
grant all on public.erasures to service_role;

create policy "Admins read their workspace's erasures"
    on public.erasures for select to authenticated
    using (workspace_id in (select private.admin_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.erasures for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

-- Who may see deliveries: admins and owners; they hold answers of servers.

grant select on public.event_deliveries to authenticated;
grant select, insert, update on public.event_deliveries to switchboard;
grant all on public.event_deliveries to service_role;

create policy "Admins read their workspace's event deliveries"
    on public.event_deliveries for select to authenticated
    using (workspace_id in (select private.admin_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.event_deliveries for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it manages"
    on public.event_deliveries for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard changes the workspace it entered"
    on public.event_deliveries for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));

-- Who may see deliveries: admins and owners; the view reads its tables with its reader's rights.

grant select on public.event_delivery_details to authenticated, service_role;

-- Who may see event subscriptions: admins and owners; the view reads public.event_subscriptions with its reader's rights.

grant select on public.event_subscription_settings to authenticated, service_role, switchboard;

-- Who may see event subscriptions: admins and owners; an address often holds a key. A worker switches one off.

grant select on public.event_subscriptions to authenticated;
grant select, insert, update, delete on public.event_subscriptions to switchboard;
grant all on public.event_subscriptions to service_role;

create policy "Admins read their workspace's event subscriptions"
    on public.event_subscriptions for select to authenticated
    using (workspace_id in (select private.admin_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.event_subscriptions for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it manages"
    on public.event_subscriptions for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard changes the workspace it entered"
    on public.event_subscriptions for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard deletes in the workspace it manages"
    on public.event_subscriptions for delete to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

-- Who may see events: admins and owners; they hold what people wrote.

grant select on public.events to authenticated;
grant select, insert on public.events to switchboard;
grant all on public.events to service_role;

create policy "Admins read their workspace's events"
    on public.events for select to authenticated
    using (workspace_id in (select private.admin_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.events for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it manages"
    on public.events for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

-- Who may see exports: owners and admins.

grant select on public.exports to authenticated;
grant select, insert, update, delete on public.exports to switchboard;
grant all on public.exports to service_role;

create policy "Admins read their workspace's exports"
    on public.exports for select to authenticated
    using (workspace_id in (select private.admin_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.exports for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.exports for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.exports for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard deletes in the workspace it entered"
    on public.exports for delete to switchboard
    using (workspace_id = (select private.entered_workspace()));

-- Who may see who is in a group: members. Participants do not see each other.

grant select on public.group_participants to authenticated;
grant select, insert, update on public.group_participants to switchboard;
grant all on public.group_participants to service_role;

create policy "Members read their workspace's groups"
    on public.group_participants for select to authenticated
    using (workspace_id in (select private.member_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.group_participants for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.group_participants for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.group_participants for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));

-- Who may see the external ids of imports: owners and admins, who import.

grant select on public.import_refs to authenticated;
grant select, insert on public.import_refs to switchboard;
grant all on public.import_refs to service_role;

create policy "Admins read their workspace's external ids"
    on public.import_refs for select to authenticated
    using (workspace_id in (select private.admin_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.import_refs for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.import_refs for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

-- Who may see raw deliveries: admins and owners; they may hold anything a sender sent.

grant select on public.inbound_events to authenticated;
grant select, insert on public.inbound_events to switchboard;
grant all on public.inbound_events to service_role;

create policy "Admins read their workspace's inbound events"
    on public.inbound_events for select to authenticated
    using (workspace_id in (select private.admin_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.inbound_events for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.inbound_events for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

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

-- Who may see the queue: admins and owners; the view reads public.jobs with its reader's rights.

grant select on public.job_details to authenticated, service_role;

-- Who may see the queue: admins and owners.

grant select on public.jobs to authenticated;
grant select, insert, update on public.jobs to switchboard;
grant all on public.jobs to service_role;

create policy "Admins read their workspace's jobs"
    on public.jobs for select to authenticated
    using (workspace_id in (select private.admin_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.jobs for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.jobs for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.jobs for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));

-- Who may see members with their emails: the members of the workspace.

grant select on public.member_details to authenticated, service_role;

-- Who may see memories: admins and owners all, agents the owner's side and their contacts', users and contacts with proof their
-- own, contacts without proof those of their conversation. What a member or a machine wrote, and what is superseded, is for
-- members.

grant select (
    id, workspace_id, persona_id, contact_id, conversation_id, scope_id, session_id, message_id, speaker, kind, content,
    importance, previous_id, valid_from, expires_at, created_at, updated_at
) on public.memories to contact, authenticated;
grant select on public.memories to member;
grant select, insert, update, delete on public.memories to switchboard;
grant all on public.memories to service_role;

create policy "Admins read all memories, agents and users their own"
    on public.memories for select to authenticated
    using (
        workspace_id in (select private.admin_workspaces())
        or (workspace_id in (select private.member_workspaces())
            and (scope_id = workspace_id or scope_id in (select private.own_memory_scopes())))
        or (scope_id in (select private.own_memory_scopes())
            and not internal
            and superseded_by is null
            and (expires_at is null or expires_at > now()))
    );

create policy "Only members read the columns for members"
    on public.memories as restrictive for select to member
    using (workspace_id in (select private.member_workspaces()));

create policy "Contacts read the memories of their scope"
    on public.memories for select to contact
    using (
        scope_id = (select private.token_memory_scope())
        and not internal
        and superseded_by is null
        and (expires_at is null or expires_at > now())
    );

create policy "Switchboard reads the workspace it entered"
    on public.memories for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.memories for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.memories for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard deletes in the workspace it entered"
    on public.memories for delete to switchboard
    using (workspace_id = (select private.entered_workspace()));

-- Who may see the history of memories: owners and admins.

grant select on public.memory_history to authenticated;
grant select, insert, update, delete on public.memory_history to switchboard;
grant all on public.memory_history to service_role;

create policy "Admins read their workspace's memory history"
    on public.memory_history for select to authenticated
    using (workspace_id in (select private.admin_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.memory_history for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.memory_history for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.memory_history for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard deletes in the workspace it entered"
    on public.memory_history for delete to switchboard
    using (workspace_id = (select private.entered_workspace()));

-- Who may see what became of a sent message: the members who read the message.

grant select on public.message_deliveries to authenticated;
grant select, insert, update on public.message_deliveries to switchboard;
grant all on public.message_deliveries to service_role;

create policy "Members read the deliveries of messages that they read"
    on public.message_deliveries for select to authenticated
    using (workspace_id in (select private.admin_workspaces())
           or (workspace_id in (select private.member_workspaces()) and conversation_id in (select private.own_conversations())));

create policy "Switchboard reads the workspace it entered"
    on public.message_deliveries for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.message_deliveries for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.message_deliveries for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));

-- Who may read the words of messages: the readers of the messages.

grant select on public.message_words to authenticated, contact, service_role;

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

-- Who may see how a persona is doing: members.

grant select on public.persona_breakers to authenticated;
grant select, insert, update on public.persona_breakers to switchboard;
grant all on public.persona_breakers to service_role;

create policy "Members read their workspace's breakers"
    on public.persona_breakers for select to authenticated
    using (workspace_id in (select private.member_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.persona_breakers for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.persona_breakers for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.persona_breakers for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));

-- Who may see personas' settings: members; the view reads public.personas with its reader's rights.

grant select on public.persona_settings to authenticated, service_role, switchboard;

-- Who may see personas: members; persona_settings shows config to owners and admins. Their secrets are in Vault.

grant select (
    id, workspace_id, kind, name, secret_id, callback_secret_id, session_policy, history_limit, time_limit_seconds, enabled,
    created_at, turn_policy, breaker_failures, breaker_seconds, picture, fallback_persona_id, collect_seconds,
    memory_model, recall_limit, remember_turns
) on public.personas to authenticated;
grant select, insert, update, delete on public.personas to switchboard;
grant all on public.personas to service_role;

create policy "Members read their workspace's personas"
    on public.personas for select to authenticated
    using (workspace_id in (select private.member_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.personas for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it manages"
    on public.personas for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard changes the workspace it manages"
    on public.personas for update to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid)
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard deletes in the workspace it manages"
    on public.personas for delete to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

-- Who may see proposals: the readers of their session; drafts and details only members.

grant select (
    id, workspace_id, request_id, session_id, status, title, amount, currency, text, created_at, updated_at
) on public.proposals to contact, authenticated;
grant select on public.proposals to member;
grant select, insert, update on public.proposals to switchboard;
grant all on public.proposals to service_role;

create policy "Admins read all proposals, users and agents their own"
    on public.proposals for select to authenticated
    using (
        workspace_id in (select private.admin_workspaces())
        or (session_id in (select private.own_sessions())
            and (status <> 'draft' or workspace_id in (select private.member_workspaces())))
    );

create policy "Only members read the columns for members"
    on public.proposals as restrictive for select to member
    using (workspace_id in (select private.member_workspaces()));

create policy "Contacts read what was proposed to them"
    on public.proposals for select to contact
    using (
        status <> 'draft'
        and session_id in (select s.id from public.sessions s where s.conversation_id = (select private.token_conversation()))
    );

create policy "Switchboard reads the workspace it entered"
    on public.proposals for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.proposals for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.proposals for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));

-- Who may see quotes: members who see the session that asked, or one that works on the request. Whose session it is does
-- not: what operators ask is between them and the workspace.

grant select on public.quotes to authenticated;
grant select, insert, update on public.quotes to switchboard;
grant all on public.quotes to service_role;

create policy "Admins read all quotes, agents those of their sessions"
    on public.quotes for select to authenticated
    using (
        workspace_id in (select private.member_workspaces())
        and (workspace_id in (select private.admin_workspaces())
             or session_id in (select private.own_sessions())
             or request_id in (select private.own_requests()))
    );

create policy "Switchboard reads the workspace it entered"
    on public.quotes for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.quotes for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.quotes for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));

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

-- Who may read requests: the readers of a session that works on them, each with their own rights.

grant select on public.request_details to authenticated, contact, service_role;

-- Who may see requests: the readers of a session that works on them. Their details are for members, and what
-- a session with proof works on is hidden from a conversation without.

grant select (
    id, workspace_id, session_id, origin, destination, departs_at, passengers, created_at, updated_at
) on public.requests to contact, authenticated;
grant select on public.requests to member;
grant select, insert, update on public.requests to switchboard;
grant all on public.requests to service_role;

create policy "Admins read all requests, users and agents their own"
    on public.requests for select to authenticated
    using (workspace_id in (select private.admin_workspaces()) or id in (select private.own_requests()));

create policy "Only members read the columns for members"
    on public.requests as restrictive for select to member
    using (workspace_id in (select private.member_workspaces()));

create policy "Contacts read the requests of their conversation's sessions"
    on public.requests for select to contact
    using (id in (select private.token_requests()));

create policy "Switchboard reads the workspace it entered"
    on public.requests for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.requests for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.requests for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));

-- Who may see for how long a workspace keeps what: members. The functions change it for owners and admins.

grant select on public.retention_settings to authenticated;
grant select, insert, update on public.retention_settings to switchboard;
grant all on public.retention_settings to service_role;

create policy "Members read their workspace's retention"
    on public.retention_settings for select to authenticated
    using (workspace_id in (select private.member_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.retention_settings for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it manages"
    on public.retention_settings for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard changes the workspace it manages"
    on public.retention_settings for update to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid)
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

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

-- Who may read session details: members, each the sessions that they may see; operators' commands, all.

grant select on public.session_details to member, service_role;

-- Who may see why a session was paused or ended: the members who see the session.

grant select on public.session_reasons to authenticated;
grant select, insert on public.session_reasons to switchboard;
grant all on public.session_reasons to service_role;

create policy "Members read the reasons of the sessions they see"
    on public.session_reasons for select to authenticated
    using (
        workspace_id in (select private.member_workspaces())
        and (workspace_id in (select private.admin_workspaces()) or session_id in (select private.own_sessions()))
    );

create policy "Switchboard reads the workspace it entered"
    on public.session_reasons for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.session_reasons for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

-- Who may see by what other systems know a session: the members who see the session.

grant select on public.session_refs to authenticated;
grant select, insert, delete on public.session_refs to switchboard;
grant all on public.session_refs to service_role;

create policy "Members read the references of the sessions they see"
    on public.session_refs for select to authenticated
    using (
        workspace_id in (select private.member_workspaces())
        and (workspace_id in (select private.admin_workspaces()) or session_id in (select private.own_sessions()))
    );

create policy "Switchboard reads the workspace it entered"
    on public.session_refs for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.session_refs for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard deletes in the workspace it entered"
    on public.session_refs for delete to switchboard
    using (workspace_id = (select private.entered_workspace()));

-- Who may read all rows of sessions in one shape: the functions, of the workspace that they entered.

grant select on public.session_rows to switchboard, service_role;

-- Who may read a workspace's figures: its owners and admins. The functions that count write them.

grant select on public.session_stats_daily to authenticated;
grant all on public.session_stats_daily to service_role;

create policy "Admins read their workspace's figures"
    on public.session_stats_daily for select to authenticated
    using (workspace_id in (select private.admin_workspaces()));

-- Who may see session templates: members. Owners and admins change them through the functions, which enter to manage.

grant select on public.session_templates to authenticated;
grant select, insert, update, delete on public.session_templates to switchboard;
grant all on public.session_templates to service_role;

create policy "Members read their workspace's session templates"
    on public.session_templates for select to authenticated
    using (workspace_id in (select private.member_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.session_templates for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it manages"
    on public.session_templates for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard changes the workspace it manages"
    on public.session_templates for update to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid)
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard deletes in the workspace it manages"
    on public.session_templates for delete to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

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

-- Who may see spaces' settings: members; the view reads public.spaces with its reader's rights.

grant select on public.space_settings to authenticated, service_role, switchboard;

-- Who may see spaces: members.

grant select on public.spaces to authenticated;
grant select, insert, update, delete on public.spaces to switchboard;
grant all on public.spaces to service_role;

create policy "Members read their workspace's spaces"
    on public.spaces for select to authenticated
    using (workspace_id in (select private.member_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.spaces for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it manages"
    on public.spaces for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard changes the workspace it manages"
    on public.spaces for update to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid)
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard deletes in the workspace it manages"
    on public.spaces for delete to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

-- Who may see tags: members, on contacts all of them, on sessions those of the sessions they may see. Tags are said among
-- members: not even the user whose session it is reads them.

grant select on public.tags to authenticated;
grant select, insert, update, delete on public.tags to switchboard;
grant all on public.tags to service_role;

create policy "Members read tags of contacts and of the sessions they see"
    on public.tags for select to authenticated
    using (
        workspace_id in (select private.member_workspaces())
        and (session_id is null
             or workspace_id in (select private.admin_workspaces())
             or session_id in (select private.own_sessions()))
    );

create policy "Switchboard reads the workspace it entered"
    on public.tags for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.tags for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.tags for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard deletes in the workspace it entered"
    on public.tags for delete to switchboard
    using (workspace_id = (select private.entered_workspace()));

-- Who may see a running answer: the readers of its turn.

grant select on public.turn_chunks to authenticated, contact;
grant select, insert, delete on public.turn_chunks to switchboard;
grant all on public.turn_chunks to service_role;

create policy "Admins read all chunks, users and agents their own"
    on public.turn_chunks for select to authenticated
    using (workspace_id in (select private.admin_workspaces()) or turn_id in (select private.own_active_turns()));

create policy "Contacts read their conversation's chunks"
    on public.turn_chunks for select to contact
    using (conversation_id = (select private.token_conversation()));

create policy "Switchboard reads the workspace it entered"
    on public.turn_chunks for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.turn_chunks for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard deletes in the workspace it entered"
    on public.turn_chunks for delete to switchboard
    using (workspace_id = (select private.entered_workspace()));

-- Who may see what went wrong with turns: admins and owners; the view reads its tables with its reader's rights.

grant select on public.turn_error_details to authenticated, service_role;

-- Who may see what went wrong in words: admins and owners. A caller is told the turn's error code.

grant select, insert on public.turn_errors to switchboard;
grant select on public.turn_errors to authenticated;
grant all on public.turn_errors to service_role;

create policy "Admins read their workspace's turn errors"
    on public.turn_errors for select to authenticated
    using (workspace_id in (select private.admin_workspaces()));

create policy "Switchboard adds to the workspace it entered"
    on public.turn_errors for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard reads the workspace it entered"
    on public.turn_errors for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

-- Who may see what a turn knew: the members who read its session. Its contact or user never.

grant select on public.turn_memories to authenticated;
grant select, insert on public.turn_memories to switchboard;
grant all on public.turn_memories to service_role;

create policy "Admins read what all turns knew, agents that of their sessions"
    on public.turn_memories for select to authenticated
    using (
        workspace_id in (select private.admin_workspaces())
        or (workspace_id in (select private.member_workspaces()) and session_id in (select private.own_sessions()))
    );

create policy "Switchboard reads the workspace it entered"
    on public.turn_memories for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.turn_memories for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

-- Who may see what a turn knew, in words: members; the view reads its tables with its reader's rights.

grant select on public.turn_memory_details to authenticated, service_role;

-- Who may see turns: the readers of their session.

grant select on public.turns to authenticated, contact;
grant select, insert, update on public.turns to switchboard;
grant all on public.turns to service_role;

create policy "Admins read all turns, users and agents their own"
    on public.turns for select to authenticated
    using (workspace_id in (select private.admin_workspaces()) or session_id in (select private.own_sessions()));

create policy "Contacts read their conversation's turns"
    on public.turns for select to contact
    using (conversation_id = (select private.token_conversation()));

create policy "Switchboard reads the workspace it entered"
    on public.turns for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.turns for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.turns for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));

-- Who may see deliveries: admins and owners; the view reads its tables with its reader's rights.

grant select on public.webhook_deliveries to authenticated, service_role;

-- Who may see which steps a session took: the members who see the session.

grant select on public.workflow_steps to authenticated;
grant select, insert on public.workflow_steps to switchboard;
grant all on public.workflow_steps to service_role;

create policy "Members read the steps of the sessions they see"
    on public.workflow_steps for select to authenticated
    using (
        workspace_id in (select private.member_workspaces())
        and (workspace_id in (select private.admin_workspaces()) or session_id in (select private.own_sessions()))
    );

create policy "Switchboard reads the workspace it entered"
    on public.workflow_steps for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.workflow_steps for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

-- Who may see workflows: the built-in ones everybody who signed in, a workspace's own its members.

grant select on public.workflow_transitions to authenticated;
grant select, insert, delete on public.workflow_transitions to switchboard;
grant all on public.workflow_transitions to service_role;

create policy "Users read built-in workflows, members their workspace's"
    on public.workflow_transitions for select to authenticated
    using (workspace_id is null or workspace_id in (select private.member_workspaces()));

create policy "Switchboard reads built-in ones and the workspace it entered"
    on public.workflow_transitions for select to switchboard
    using (
        coalesce(workspace_id, (select private.entered_workspace()))
        = (select private.entered_workspace())
    );

create policy "Switchboard adds to the workspace it manages"
    on public.workflow_transitions for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard deletes in the workspace it manages"
    on public.workflow_transitions for delete to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

-- Who may see who works in a workspace: everybody who does.

grant select on public.workspace_members to authenticated;
grant select, insert, update, delete on public.workspace_members to switchboard;
grant all on public.workspace_members to service_role;

create policy "Members read their workspace's members"
    on public.workspace_members for select to authenticated
    using (workspace_id in (select private.member_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.workspace_members for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it manages"
    on public.workspace_members for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard changes the workspace it manages"
    on public.workspace_members for update to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid)
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard deletes in the workspace it manages"
    on public.workspace_members for delete to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

-- Who may see workspaces' settings: members; the view reads public.workspaces with its reader's rights.

grant select on public.workspace_settings to authenticated, service_role, switchboard;

-- Who may see a workspace: its members; workspace_settings shows allowed_networks to owners and admins. They change it
-- through the functions, which enter it to manage it.

grant select (
    id, name, archive_after_days, archive_statuses, created_at, messages_per_minute_by_contact, messages_per_minute_by_user,
    messages_per_minute_by_address, messages_per_minute_by_space, session_timeout_hours, archive_retention
) on public.workspaces to authenticated;
grant select, insert, update, delete on public.workspaces to switchboard;
grant all on public.workspaces to service_role;

create policy "Members read their workspaces"
    on public.workspaces for select to authenticated
    using (id in (select private.member_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.workspaces for select to switchboard
    using (id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it manages"
    on public.workspaces for insert to switchboard
    with check (id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard changes the workspace it manages"
    on public.workspaces for update to switchboard
    using (id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid)
    with check (id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard deletes the workspace it manages"
    on public.workspaces for delete to switchboard
    using (id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);
