-- Who sees which memories: the scopes of a conversation, of a member and of a token. The memories are in 55_memories.sql.

create function private.token_memory_scope()
    returns uuid language plpgsql stable security definer set search_path = ''
as $$
begin
    return coalesce(private.verified_contact(), private.token_conversation());
end;
$$;
comment on function private.token_memory_scope is 'The scope of the memories that a contact token reads: its contact with proof, else its conversation. A merge does not widen it.';

create function private.own_memory_scopes()
    returns setof uuid language sql stable cost 1 rows 1 security definer set search_path = ''
as $$
    select case when c.proof = 'verified' then c.contact_id else c.id end
      from public.conversations c
     where c.user_id = (select auth.uid())
       and (c.contact_id is not null or c.workspace_id in (select private.member_workspaces()))
    union
    select unnest(case c.proof when 'verified' then array[c.contact_id] else array[c.id, c.contact_id] end)
      from public.sessions s
      join public.conversations c on c.id = s.conversation_id
     where s.assigned_user_id = (select auth.uid())
       and s.workspace_id in (select private.member_workspaces())
       and c.contact_id is not null
    union
    select unnest(case c.proof when 'verified' then array[c.contact_id] else array[c.id, c.contact_id] end)
      from public.sessions s
      join public.conversations c on c.id = s.conversation_id
     where s.opened_by_key_id = (select auth.uid())
       and s.workspace_id in (select private.member_workspaces())
       and c.contact_id is not null;
$$;
comment on function private.own_memory_scopes is 'The scopes of the memories that the signed-in user or API key reads besides the owner''s side: of a user, their own contact; of an agent, the contacts of their sessions and their own conversations.';

create type private.memory_scope as (
    workspace_id      uuid,
    scope_ids         uuid[],
    persona_id        uuid,
    includes_internal boolean
);
comment on type private.memory_scope is 'What a recall searches: memories of the workspace whose scope_id is one of scope_ids (null: all), of this persona or of every one (null: of any), and what members wrote only if includes_internal.';

create function private.conversation_memory_scope(conversation public.conversations)
    returns private.memory_scope language plpgsql stable set search_path = ''
as $$
declare
    scope private.memory_scope;
begin
    scope.workspace_id      := conversation.workspace_id;
    scope.persona_id        := conversation.persona_id;
    scope.includes_internal := true;
    if conversation.contact_id is null then
        scope.scope_ids := private.member_memory_scopes(conversation.workspace_id, conversation.user_id);
    elsif conversation.proof = 'verified' then
        -- A turn that ended while the proof came may still be of the conversation.
        scope.scope_ids := array[conversation.contact_id, conversation.id];
        if exists (select from public.personas p where p.id = conversation.persona_id and p.memory_model = 'shared') then
            scope.scope_ids := scope.scope_ids || conversation.workspace_id;
        end if;
    else
        scope.scope_ids := array[conversation.id];
    end if;
    return scope;
end;
$$;
comment on function private.conversation_memory_scope is 'What the sessions of a conversation recall: without proof its own memories, with proof the contact''s and, as the persona''s memory_model says, the workspace''s; a member''s own, what the member sees.';

create function private.member_memory_scopes(workspace_id uuid, user_id uuid)
    returns uuid[] language plpgsql stable set search_path = ''
as $$
begin
    if exists (select
                 from private.memberships(member_memory_scopes.user_id) m
                where m.workspace_id = member_memory_scopes.workspace_id
                  and m.role in ('owner', 'admin')) then
        return null;
    end if;
    -- The same scopes as in private.own_memory_scopes.
    return array(select m.workspace_id
                   from private.memberships(member_memory_scopes.user_id) m
                  where m.workspace_id = member_memory_scopes.workspace_id
                 union
                select c.id
                  from public.conversations c
                 where c.user_id = member_memory_scopes.user_id
                   and c.workspace_id = member_memory_scopes.workspace_id
                   and c.contact_id is null
                 union
                select unnest(case c.proof when 'verified' then array[c.contact_id] else array[c.id, c.contact_id] end)
                  from public.sessions s
                  join public.conversations c on c.id = s.conversation_id
                 where member_memory_scopes.user_id in (s.assigned_user_id, s.opened_by_key_id)
                   and s.workspace_id = member_memory_scopes.workspace_id
                   and c.contact_id is not null);
end;
$$;
comment on function private.member_memory_scopes is 'The scopes of the memories that a member sees: null for owners and admins, who see all; of an agent the owner''s side, their own conversations and the contacts of their sessions; of an API key for ingest and of a former member no owner''s side.';

create function private.enter_own_conversation()
    returns uuid language plpgsql security definer set search_path = ''
as $$
declare
    caller    constant jsonb := private.claims() -> 'caller';
    own       uuid;
    workspace uuid;
begin
    perform private.require_valid_token();
    if caller ->> 'kind' = 'contact' then
        select c.id, c.workspace_id into own, workspace
          from public.conversations c
         where c.id = (caller ->> 'conversation_id')::uuid
           -- It may have moved in a merge.
           and c.contact_id in ((caller ->> 'contact_id')::uuid, private.merge_target((caller ->> 'contact_id')::uuid));
    elsif caller ->> 'kind' = 'user' then
        select c.id, c.workspace_id into own, workspace
          from public.conversations c
         where c.user_id = (caller ->> 'user_id')::uuid
           and c.contact_id is not null
         order by c.created_at desc, c.id desc
         limit 1;
    end if;
    if own is null or workspace <> (private.claims() #>> '{scope,workspace_id}')::uuid then
        raise sqlstate 'PT404' using message = 'conversation_not_found';
    end if;
    perform set_config('switchboard.workspace_id', workspace::text, true);
    return own;
end;
$$;
comment on function private.enter_own_conversation is 'Enters the workspace of the conversation of a contact token, or of a user''s newest conversation as a contact, and returns it; 404 without one, 401 for a revoked token.';

create function private.enter_memory(memory_id uuid)
    returns void language plpgsql security definer set search_path = ''
as $$
declare
    caller constant jsonb := private.claims() -> 'caller';
    memory public.memories;
    scopes uuid[];
    own    uuid;
begin
    perform private.require_valid_token();
    select m.* into memory
      from public.memories m
     where m.id = enter_memory.memory_id
       and m.workspace_id = coalesce((private.claims() #>> '{scope,workspace_id}')::uuid, m.workspace_id);
    -- The same conditions as in the policies on memories.
    if caller ->> 'kind' = 'contact' then
        own := case when caller ->> 'proof' = 'verified' then (caller ->> 'contact_id')::uuid else private.enter_own_conversation() end;
        if memory.scope_id is distinct from own or memory.internal or memory.superseded_by is not null then
            memory.id := null;
        end if;
    elsif exists (select
                    from private.memberships(private.calling_user()) m
                   where m.workspace_id = memory.workspace_id) then
        scopes := private.member_memory_scopes(memory.workspace_id, private.calling_user());
        if memory.scope_id <> all (scopes) then
            memory.id := null;
        end if;
    elsif memory.internal or memory.superseded_by is not null
          or not exists (select
                           from public.conversations c
                          where c.user_id = private.calling_user()
                            and c.contact_id = memory.scope_id
                            and c.proof = 'verified') then
        memory.id := null;
    end if;
    if memory.id is null then
        raise sqlstate 'PT404' using message = 'memory_not_found';
    end if;
    perform set_config('switchboard.workspace_id', memory.workspace_id::text, true);
end;
$$;
comment on function private.enter_memory is 'Enters the workspace of a memory that the caller reads; 404 for others, 401 for a revoked token.';

create function private.enter_contact_of_memories(contact_id uuid)
    returns uuid language plpgsql set search_path = ''
as $$
declare
    role    constant public.member_role := private.enter_contact_as_member(contact_id);
    contact constant uuid               := private.merge_target(contact_id);
begin
    if role = 'agent'
       and contact <> all (private.member_memory_scopes(private.entered_workspace(), private.calling_user())) then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'contact_not_assigned';
    end if;
    return contact;
end;
$$;
comment on function private.enter_contact_of_memories is 'Enters the workspace of a contact as a member, and returns the contact that stands for it: of an agent, a contact of their sessions.';

create function private.enter_owner_side(workspace_id uuid, persona_id uuid)
    returns uuid language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := case when workspace_id is null and persona_id is not null then private.workspace_of('persona', persona_id)
                                    else private.workspace_of('workspace', workspace_id) end;
begin
    if workspace is null and persona_id is null then
        raise sqlstate 'PT422' using message = 'workspace_required', detail = 'workspace_not_named';
    end if;
    perform set_config('switchboard.workspace_id', workspace::text, true);
    if workspace is null or not private.is_member(private.calling_user()) then
        raise sqlstate 'PT404' using message = case when workspace_id is null and persona_id is not null then 'persona_not_found' else 'workspace_not_found' end;
    end if;
    return workspace;
end;
$$;
comment on function private.enter_owner_side is 'Enters a workspace (null: the persona''s, or the only one of the caller) as a member.';

create function private.enter_memory_scope(workspace_id uuid, contact_id uuid, persona_id uuid, session_id uuid)
    returns private.memory_scope language plpgsql set search_path = ''
as $$
declare
    caller       constant jsonb   := private.claims() -> 'caller';
    as_contact   constant boolean := caller ->> 'kind' = 'contact';
    scope        private.memory_scope;
    conversation public.conversations;
    own          uuid;
begin
    if session_id is not null then
        perform private.enter_session(session_id);
        select s.conversation_id into strict own from public.sessions s where s.id = enter_memory_scope.session_id;
    elsif as_contact or (caller ->> 'kind' = 'user' and not exists (select from private.memberships(private.calling_user()))) then
        own := private.enter_own_conversation();
    elsif contact_id is not null then
        scope.scope_ids := array[private.enter_contact_of_memories(contact_id)];
    else
        scope.scope_ids := private.member_memory_scopes(private.enter_owner_side(workspace_id, persona_id), private.calling_user());
    end if;
    if own is not null then
        select c.* into strict conversation from public.conversations c where c.id = own;
        if contact_id is not null and private.merge_target(contact_id) is distinct from conversation.contact_id then
            raise sqlstate 'PT404' using message = 'contact_not_found';
        end if;
        scope := private.conversation_memory_scope(conversation);
    end if;
    scope.workspace_id      := private.entered_workspace();
    if workspace_id <> scope.workspace_id then
        raise sqlstate 'PT404' using message = 'workspace_not_found';
    end if;
    scope.includes_internal := not as_contact and private.is_member(private.calling_user());
    if own is not null and not scope.includes_internal then
        -- The policies on memories show as much, and no merge widens a token.
        scope.scope_ids := array[case when as_contact and caller ->> 'proof' = 'verified' then (caller ->> 'contact_id')::uuid
                                      when not as_contact and conversation.proof = 'verified' then conversation.contact_id
                                      else conversation.id end];
    end if;
    if persona_id is not null then
        if not (scope.includes_internal and exists (select from public.personas p where p.id = enter_memory_scope.persona_id))
           and persona_id is distinct from scope.persona_id then
            raise sqlstate 'PT404' using message = 'persona_not_found';
        end if;
        scope.persona_id := persona_id;
    end if;
    return scope;
end;
$$;
comment on function private.enter_memory_scope is 'What the caller recalls: of a session or the caller''s own conversation, of a contact that a member names, or all that the member sees.';

grant execute on function
    private.token_memory_scope
    to contact;

grant execute on function
    private.own_memory_scopes
    to authenticated;

grant execute on function
    private.conversation_memory_scope, private.member_memory_scopes, private.enter_own_conversation, private.enter_memory,
    private.enter_contact_of_memories, private.enter_owner_side, private.enter_memory_scope
    to switchboard;
