-- Generated from supabase/schemas/68_session_commands.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- What callers do with sessions: start one, change its status or that of many, and set its tags.

create function public.change_session_status(
    session_id   uuid,
    status       public.session_status,
    reason       text default null,
    stopped_turn uuid default null
)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    session public.sessions;
    turn    public.turns;
    changed boolean          := false;
    ends    constant boolean := status in ('completed', 'failed', 'cancelled');
begin
    if not ends and status not in ('active', 'paused') then
        raise sqlstate 'PT422' using message = 'invalid_body', detail = 'status_not_settable';
    end if;
    -- The management scope gives no access to sessions.
    if private.claims() -> 'scope' ? 'management' then
        raise sqlstate 'PT404' using message = 'session_not_found';
    end if;
    perform private.enter_session(session_id);
    -- Locks in the order of start_turn: conversation, session, turn.
    perform
       from public.conversations c
      where c.id = (select s.conversation_id from public.sessions s where s.id = change_session_status.session_id)
        for no key update;
    select s.* into strict session from public.sessions s where s.id = change_session_status.session_id for no key update;
    if status <> 'cancelled' and not private.may_work_on_session(session) then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'members_only';
    end if;

    if session.status not in ('active', 'paused') and session.status <> status then
        return private.refuse_transition(session);
    end if;
    if session.status <> status and ends then
        select t.* into turn from public.turns t where t.session_id = session.id and t.status = 'active' for no key update;
        if private.stop_session_turn(session.id) is not null then
            return private.refuse(jsonb_build_object(
                'status', 409, 'code', 'turn_in_progress', 'retry_after', 1, 'stopping', true,
                'turn_id', turn.id, 'session_id', session.id, 'first', turn.cancel_requested_at is null));
        end if;
        select s.* into strict session from public.sessions s where s.id = change_session_status.session_id;
        if session.status not in ('active', 'paused') and session.status <> status then
            return private.refuse_transition(session);
        end if;
    end if;

    -- A per_message session ends with its turn: the call that stopped the turn has ended the session.
    if session.status <> status
       or exists (select
                    from public.turns t
                    join public.personas p on p.id = session.persona_id and p.session_policy = 'per_message'
                   where t.id = stopped_turn
                     and t.session_id = session.id) then
        perform private.set_session_status(session, status, reason);
        changed := true;
    end if;
    return jsonb_build_object(
        'session_id', session.id, 'conversation_id', session.conversation_id, 'status', status, 'changed', changed);
end;
$$;
comment on function public.change_session_status is 'Pauses, resumes, completes, fails or cancels a session: {session_id, conversation_id, status, changed}. Its running turn is stopped first: while that takes, the call is refused with stopping: true and is to be repeated, by the call that was the first to stop it (first: true) with the turn as stopped_turn. Of several calls, one has changed: true.';

create function public.cancel_session(session_id uuid, reason text default null, stopped_turn uuid default null)
    returns jsonb language sql security definer set search_path = ''
as $$
    select public.change_session_status(session_id, 'cancelled', reason, stopped_turn);
$$;
comment on function public.cancel_session is 'Cancels any session, as change_session_status does: for operators'' commands.';

create function private.enter_contact_as_member(contact_id uuid)
    returns public.member_role language plpgsql security definer set search_path = ''
as $$
declare
    workspace uuid;
    role      public.member_role;
begin
    select m.workspace_id, m.role into workspace, role
      from public.contacts c
      join private.memberships(private.calling_user()) m on m.workspace_id = c.workspace_id
     where c.id = enter_contact_as_member.contact_id
       and not coalesce(private.claims() -> 'scope' ? 'management', false);
    if not found then
        raise sqlstate 'PT404' using message = 'contact_not_found';
    end if;
    perform set_config('switchboard.workspace_id', workspace::text, true);
    return role;
end;
$$;
comment on function private.enter_contact_as_member is 'Enters the workspace of a contact as a member and returns the member''s role; 404 for other callers.';

create function private.enter_conversation_as_member(conversation_id uuid)
    returns public.member_role language plpgsql security definer set search_path = ''
as $$
declare
    caller    constant uuid := private.calling_user();
    workspace uuid;
    role      public.member_role;
begin
    select m.workspace_id, m.role into workspace, role
      from public.conversations c
      join private.memberships(caller) m on m.workspace_id = c.workspace_id
     where c.id = enter_conversation_as_member.conversation_id
       and not coalesce(private.claims() -> 'scope' ? 'management', false)
       -- The owner's side is between a member and the persona.
       and (c.contact_id is not null or c.user_id = caller);
    if not found then
        raise sqlstate 'PT404' using message = 'conversation_not_found';
    end if;
    perform set_config('switchboard.workspace_id', workspace::text, true);
    return role;
end;
$$;
comment on function private.enter_conversation_as_member is 'Enters the workspace of a conversation as a member and returns the member''s role; 404 for other callers, and for the conversations of members themselves.';

create function private.lock_conversation(conversation_id uuid)
    returns public.conversations language plpgsql set search_path = ''
as $$
declare
    conversation public.conversations;
begin
    -- The contact is locked before the conversation, because a new session may be linked to it.
    perform private.lock_merge_target(c.contact_id)
       from public.conversations c
      where c.id = lock_conversation.conversation_id
        and c.contact_id is not null;
    select c.* into conversation from public.conversations c where c.id = lock_conversation.conversation_id for no key update;
    return conversation;
end;
$$;
comment on function private.lock_conversation is 'A conversation of the entered workspace, locked with its contact.';

create function private.open_conversation_for_contact(
    contact_id uuid, role public.member_role, space public.spaces, persona_id uuid, thread_key text)
    returns public.conversations language plpgsql set search_path = ''
as $$
declare
    wanted       uuid := coalesce(persona_id, space.persona_id);
    contact      uuid;
    conversation public.conversations;
begin
    if thread_key ~ '^(arrival|first):' then
        raise sqlstate 'PT422' using message = 'thread_key_not_allowed', detail = 'thread_key_reserved';
    end if;
    if wanted is null then
        select case when count(*) = 1 then (array_agg(p.id))[1] end into wanted
          from public.personas p
         where p.workspace_id = private.entered_workspace()
           and p.enabled;
        if wanted is null then
            raise sqlstate 'PT422' using message = 'persona_required';
        end if;
    end if;
    if not exists (select from public.personas p where p.id = wanted and p.enabled) then
        raise sqlstate 'PT404' using message = 'persona_not_found';
    end if;
    -- The contact is locked before the conversation, because a new session may be linked to it.
    contact := private.lock_merge_target(contact_id);
    if thread_key is null then
        select c.* into conversation
          from public.conversations c
         where c.id = private.find_follow_up_conversation(contact, role, wanted)
           for no key update;
        if found then
            return conversation;
        end if;
    end if;
    return private.find_or_create_conversation(contact, null, wanted, space.id, coalesce(thread_key, 'main'), 'verified');
end;
$$;
comment on function private.open_conversation_for_contact is 'The conversation that a member opens for a contact, with the named persona, the space''s, or the workspace''s only one: without a thread key, the one that the contact reads; locked until the transaction ends.';

create type private.opened_session as (session public.sessions, is_new boolean);
comment on type private.opened_session is 'The live session of a conversation, and whether it was created just now.';

create function private.open_session(conversation public.conversations, metadata jsonb, role public.member_role)
    returns private.opened_session language plpgsql set search_path = ''
as $$
declare
    is_key constant boolean := private.calling_kind() = 'key';
    opened private.opened_session;
begin
    -- Locked first, so that a session which ends at this moment is not taken for the one after it.
    perform
       from public.sessions s
      where s.conversation_id = conversation.id
        and s.status in ('active', 'paused')
        for no key update;
    opened.is_new  := not found;
    opened.session := private.find_or_create_session(conversation, metadata);
    if opened.is_new then
        if role = 'agent' then
            -- An agent sees only own and assigned sessions, an agent's key those that it opened.
            update public.sessions s
               set assigned_user_id = case when not is_key then private.calling_actor() end,
                   opened_by_key_id = case when is_key then private.calling_actor() end
             where s.id = (opened.session).id;
        end if;
        perform private.record_audit('session.started', (opened.session).id, private.calling_actor(), null);
    elsif role = 'agent' and not private.may_work_on_session(opened.session) then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'contact_not_assigned';
    end if;
    return opened;
end;
$$;
comment on function private.open_session is 'The live session of a locked conversation, or a new one; role is that of the member who opens it, null for a contact or user.';

create function private.take_start_limits(conversation public.conversations, space public.spaces, client jsonb)
    returns void language plpgsql set search_path = ''
as $$
declare
    caller constant jsonb := private.claims() -> 'caller';
    limits jsonb;
begin
    if space.id is null then
        select s.* into space from public.spaces s where s.id = conversation.space_id;
    end if;
    select private.message_limits(w, space, client ->> 'address') into strict limits
      from public.workspaces w
     where w.id = conversation.workspace_id;
    if caller ->> 'kind' = 'user' and conversation.contact_id is not null and conversation.created_at = now() then
        limits := private.arrival_limits(space, client ->> 'address') || limits;
    end if;
    perform private.take_limits(limits);
end;
$$;
comment on function private.take_start_limits is 'Counts the start of a session by a contact or user as a message, and a user''s new conversation as an arrival.';

create function public.start_session(
    contact_id      uuid  default null,
    space_id        uuid  default null,
    persona_id      uuid  default null,
    thread_key      text  default null,
    context         jsonb default '{}',
    client          jsonb default '{}',
    template        text  default null,
    conversation_id uuid  default null
)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    caller       constant jsonb := private.claims() -> 'caller';
    facts        jsonb := client;
    role         public.member_role;
    space        public.spaces;
    conversation public.conversations;
    opened       private.opened_session;
    session      public.sessions;
    preset       public.session_templates;
    refusal      text;
begin
    if coalesce(caller ->> 'kind', '') not in ('contact', 'user', 'key') then
        raise sqlstate 'PT403' using message = 'forbidden';
    end if;
    if conversation_id is not null then
        role := private.enter_conversation_as_member(conversation_id);
    elsif contact_id is not null and caller ->> 'kind' <> 'contact' then
        role := private.enter_contact_as_member(contact_id);
    else
        if space_id is not null then
            perform private.enter_space(space_id);
        else
            perform private.enter();
            perform private.require_valid_token();
        end if;
        if contact_id <> (caller ->> 'contact_id')::uuid then
            raise sqlstate 'PT404' using message = 'contact_not_found';
        end if;
    end if;
    if space_id is not null then
        select s.* into space from public.spaces s where s.id = start_session.space_id and s.enabled;
        if not found then
            raise sqlstate 'PT404' using message = 'space_not_found';
        end if;
    end if;
    if template is not null then
        -- Only members learn whether a template exists.
        if role is null and not private.is_member(private.calling_user()) then
            raise sqlstate 'PT403' using message = 'forbidden', detail = 'members_only';
        end if;
        preset := private.require_template(template);
        facts  := facts || jsonb_build_object('template', preset.name);
    end if;
    if coalesce(preset.metadata, '{}') || context <> '{}' then
        facts := facts || jsonb_build_object('context', coalesce(preset.metadata, '{}') || context);
    end if;

    begin
        conversation := case
            when conversation_id is not null then private.lock_conversation(conversation_id)
            when role is not null            then private.open_conversation_for_contact(
                                                      contact_id, role, space, coalesce(persona_id, preset.persona_id), thread_key)
            else private.open_conversation(space, null, null, null, null, thread_key, null, client) end;
        if not exists (select
                         from public.personas p
                        where p.id = conversation.persona_id
                          and p.enabled
                          and p.id = coalesce(start_session.persona_id, preset.persona_id, p.id)) then
            raise sqlstate 'PT404' using message = 'persona_not_found';
        end if;
        opened  := private.open_session(conversation, facts, role);
        session := opened.session;
        if opened.is_new then
            if preset.id is not null then
                session := private.apply_template(session, preset);
            end if;
            if role is null then
                perform private.take_start_limits(conversation, space, client);
            end if;
        elsif preset.id is not null then
            session := private.say_first_messages(session, preset);
        end if;
    exception when sqlstate 'SB001' then
        get stacked diagnostics refusal = pg_exception_detail;
        return private.count_and_refuse(refusal::jsonb);
    end;
    return jsonb_build_object(
        'session_id', session.id, 'conversation_id', session.conversation_id, 'contact_id', session.contact_id,
        'user_id', session.user_id, 'persona_id', session.persona_id, 'status', session.status,
        'created_at', session.created_at, 'created', opened.is_new);
end;
$$;
comment on function public.start_session is 'The live session of a conversation, or a new one: opened by a member for a contact or in a conversation, by a contact, or by a user in a space; a member can name a template. {session_id, conversation_id, status, created, …}';

create function public.set_session_tags(
    session_id uuid,
    names      text[] default null,
    added      text   default null,
    removed    text   default null
)
    returns jsonb language plpgsql set search_path = ''
as $$
begin
    perform private.enter_session(session_id);
    -- Tags are visible to members only.
    if private.caller_role(private.entered_workspace()) is null then
        raise sqlstate 'PT404' using message = 'session_not_found';
    end if;
    perform from public.sessions s where s.id = set_session_tags.session_id for no key update;
    if private.change_tags(private.entered_workspace(), null, session_id, names, added, removed) then
        perform private.record_change(private.entered_workspace(), 'session.tagged', session_id);
    end if;
    return (select jsonb_build_object('tags', coalesce(jsonb_agg(t.name order by t.name), '[]'))
              from public.tags t
             where t.session_id = set_session_tags.session_id);
end;
$$;
comment on function public.set_session_tags is 'Replaces a session''s tags, or adds or removes one, for members who may see the session, and the service role: {tags}.';

create function public.change_sessions_status(
    session_ids   uuid[],
    status        public.session_status,
    reason        text   default null,
    stopped_turns uuid[] default '{}'
)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    most    constant integer := 100;
    asked   constant uuid[]  := array(select distinct i from unnest(session_ids) i where i is not null order by i);
    one     uuid;
    places  jsonb            := '[]'::jsonb;
    entered uuid;
    changed jsonb;
    code    text;
    items   jsonb            := '[]'::jsonb;
begin
    if cardinality(asked) > most then
        raise sqlstate 'PT422' using message = 'invalid_body', detail = 'too_many_sessions';
    end if;
    if status not in ('active', 'paused', 'completed', 'failed', 'cancelled') then
        raise sqlstate 'PT422' using message = 'invalid_body', detail = 'status_not_settable';
    end if;
    foreach one in array asked loop
        begin
            perform private.enter_session(one);
            places := places || (select jsonb_build_object(
                                            'id', s.id, 'workspace_id', s.workspace_id, 'conversation_id', s.conversation_id,
                                            'persona_id', s.persona_id)
                                   from public.sessions s
                                  where s.id = one);
        exception when sqlstate 'PT404' then
            items := items || jsonb_build_object('id', one, 'code', 'session_not_found');
        end;
    end loop;

    -- All conversations before all sessions, each in the order of ids, so that two calls cannot deadlock.
    for entered in select distinct p.workspace_id from jsonb_to_recordset(places) p (workspace_id uuid) order by 1 loop
        perform set_config('switchboard.workspace_id', entered::text, true);
        perform
           from public.conversations c
          where c.id in (select p.conversation_id
                           from jsonb_to_recordset(places) p (workspace_id uuid, conversation_id uuid)
                          where p.workspace_id = entered)
          order by c.id
            for no key update;
    end loop;
    for entered in select distinct p.workspace_id from jsonb_to_recordset(places) p (workspace_id uuid) order by 1 loop
        perform set_config('switchboard.workspace_id', entered::text, true);
        perform
           from public.sessions s
          where s.id in (select p.id from jsonb_to_recordset(places) p (id uuid, workspace_id uuid) where p.workspace_id = entered)
          order by s.id
            for no key update;
    end loop;

    -- Ordered by persona, because ending a turn may lock the persona's breaker; the sweep of turns has the same order.
    for one in select p.id from jsonb_to_recordset(places) p (id uuid, persona_id uuid) order by p.persona_id, p.id loop
        begin
            changed := public.change_session_status(
                one, status, reason,
                (select t.id from public.turns t where t.id = any (stopped_turns) and t.session_id = one));
        exception when sqlstate 'PT403' or sqlstate 'PT404' then
            get stacked diagnostics code = message_text;
            changed := jsonb_build_object('code', code);
        end;
        items := items || (changed - '{session_id,conversation_id}'::text[] || jsonb_build_object('id', one));
    end loop;
    -- The refusal of one session is not the status of the response.
    perform set_config('response.status', '', true);
    perform set_config('response.headers', '', true);
    return jsonb_build_object('items', items);
end;
$$;
comment on function public.change_sessions_status is 'change_session_status for up to 100 sessions: {items}, each {id, status, changed} or {id, code, …}; those with stopping: true are to be repeated, with the turns that this call was the first to stop.';

grant execute on function
    public.change_session_status, private.enter_contact_as_member, private.enter_conversation_as_member,
    private.open_conversation_for_contact, private.open_session, private.take_start_limits, public.start_session,
    public.change_sessions_status
    to switchboard;

grant execute on function
    private.lock_conversation, public.set_session_tags
    to service_role, switchboard;

grant execute on function
    public.cancel_session
    to service_role;
