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
