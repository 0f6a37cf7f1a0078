-- start_turn: accepts a message in one transaction and returns all that the persona needs.

create function private.open_conversation_of_user(space public.spaces, email text, email_key text, thread_key text)
    returns public.conversations language plpgsql set search_path = ''
as $$
declare
    caller  constant jsonb := private.claims() -> 'caller';
    user_id constant uuid  := (caller ->> 'user_id')::uuid;
    thread  constant text  := coalesce(thread_key, 'main');
    contact uuid;
begin
    if caller ->> 'kind' = 'key' and email_key is not null then
        -- The key vouches for the contact whom it names.
        contact := private.find_or_create_contact('email', email_key, email, 'api_key', '{}');
        return private.find_or_create_conversation(contact, null, space.persona_id, space.id, thread, 'verified');
    elsif private.is_member(user_id) then
        -- The owner's side: without a contact, and never found by one.
        return private.find_or_create_conversation(null, user_id, space.persona_id, space.id, thread, null);
    elsif private.email_is_confirmed(user_id, caller ->> 'email') then
        contact := private.find_or_create_contact('email', caller ->> 'email_key', caller ->> 'email', 'supabase_auth', '{}', 'auth:' || user_id);
    else
        contact := private.find_or_create_contact('external', 'auth:' || user_id, 'auth:' || user_id, 'supabase_auth', '{}');
    end if;
    return private.find_or_create_conversation(contact, user_id, space.persona_id, space.id, thread, 'verified');
end;
$$;
comment on function private.open_conversation_of_user is 'The conversation of a user or an API key in a space: a member''s own with the persona, a contact''s for other users and for the contact whom a key names.';

create function private.open_conversation(
    space             public.spaces,
    email             text,
    email_key         text,
    email_hmac        text,
    identity_token    jsonb,
    thread_key        text,
    client_message_id text,
    client            jsonb
)
    returns public.conversations language plpgsql set search_path = ''
as $$
declare
    caller       constant jsonb := private.claims() -> 'caller';
    conversation public.conversations;
    contact      uuid;
    verified_by  text;
    arrival      text;
    first        text;
begin
    -- These prefixes are reserved for conversations opened without proof.
    if thread_key ~ '^(arrival|first|import):' then
        raise sqlstate 'PT422' using message = 'thread_key_not_allowed', detail = 'thread_key_reserved';
    end if;

    if caller ->> 'kind' = 'contact' then
        if thread_key is not null then
            raise sqlstate 'PT422' using message = 'thread_key_not_allowed', detail = 'token_for_one_conversation';
        end if;
        select c.* into conversation
          from public.conversations c
         where c.id = (caller ->> 'conversation_id')::uuid
           -- It continues in any space of the workspace, unless the space in which it was opened is disabled.
           and (c.space_id is null or c.space_id = space.id or private.workspace_of_space(c.space_id) is not null)
           for no key update;
        -- Checked after the lock: a merge may have moved it.
        if not found
           or (conversation.contact_id is distinct from (caller ->> 'contact_id')::uuid
               and conversation.contact_id is distinct from private.merge_target((caller ->> 'contact_id')::uuid)) then
            raise sqlstate 'PT404' using message = 'conversation_not_found';
        end if;
        return conversation;
    end if;

    if caller ->> 'kind' in ('user', 'key') then
        return private.open_conversation_of_user(space, email, email_key, thread_key);
    end if;

    -- A first message without a token.
    verified_by := case when email_hmac is not null or identity_token is not null
                        then private.sender_proof(space, email, email_key, email_hmac, identity_token) end;
    if verified_by is not null then
        perform private.check_limits(private.arrival_limits(space, client ->> 'address'));
        contact      := private.contact_of_sender(email_key, email, verified_by, private.proven_account(verified_by, identity_token), '{}');
        conversation := private.find_or_create_conversation(contact, null, space.persona_id, space.id, coalesce(thread_key, 'main'), 'verified');
    else
        if thread_key is not null then
            raise sqlstate 'PT422' using message = 'thread_key_not_allowed', detail = 'thread_key_needs_proof';
        end if;
        -- A UUID as client message id cannot be guessed: its repeat within ten minutes comes from the same sender and finds
        -- the conversation that it opened. Other ids, and later repeats, open a new one. The key has only a digest of it.
        arrival := 'arrival:' || private.uuid7();
        if client_message_id ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then
            first := 'first:' || encode(sha256(convert_to(
                         client_message_id || ':' || coalesce(email_key, ''), 'UTF8')), 'hex');
            perform pg_advisory_xact_lock(hashtextextended(space.id::text || first, 0));
            select c.* into conversation
              from public.conversations c
             where c.space_id = space.id
               and c.thread_key = first
               for no key update;
            if not found then
                arrival := first;
            elsif conversation.created_at > greatest(now() - interval '10 minutes', space.tokens_revoked_at) then
                return conversation;
            end if;
        end if;
        -- A repeat is not a new arrival, so the limits come after it.
        perform private.check_limits(private.arrival_limits(space, client ->> 'address'));
        contact      := case when email_key is not null
                             then private.find_or_create_contact('email', email_key, email, null, '{}')
                             else private.create_contact('{}', false) end;
        conversation := private.find_or_create_conversation(contact, null, space.persona_id, space.id, arrival, 'asserted');
    end if;
    return conversation;
end;
$$;
comment on function private.open_conversation is 'The conversation of a message, found by the caller''s identity; locked until the transaction ends.';

create function private.enter_persona(persona_id uuid)
    returns void language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.workspace_of('persona', persona_id);
begin
    perform set_config('switchboard.workspace_id', workspace::text, true);
    if workspace is null or private.claims() -> 'scope' is distinct from '{}' or not private.is_member(private.calling_user()) then
        raise sqlstate 'PT404' using message = 'persona_not_found';
    end if;
end;
$$;
comment on function private.enter_persona is 'Enters the workspace of a persona for a member''s own conversation with it; 404 for other callers.';

create function private.open_own_conversation(persona_id uuid, thread_key text)
    returns public.conversations language plpgsql set search_path = ''
as $$
begin
    if thread_key ~ '^(arrival|first|import):' then
        raise sqlstate 'PT422' using message = 'thread_key_not_allowed', detail = 'thread_key_reserved';
    end if;
    return private.find_or_create_conversation(null, private.calling_user(), persona_id, null, coalesce(thread_key, 'main'), null);
end;
$$;
comment on function private.open_own_conversation is 'A member''s own conversation with a persona, without a contact and a space; locked until the transaction ends.';

create function private.open_conversation_of_contact(contact_id uuid, persona_id uuid, thread_key text)
    returns public.conversations language plpgsql set search_path = ''
as $$
declare
    contact public.contacts;
begin
    if private.is_limited_key() or not exists (
           select
             from private.memberships(private.calling_user()) m
            where m.workspace_id = private.entered_workspace()
              and m.role in ('owner', 'admin')) then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'owners_and_admins_only';
    end if;
    if thread_key ~ '^(arrival|first):' then
        raise sqlstate 'PT422' using message = 'thread_key_not_allowed', detail = 'thread_key_reserved';
    end if;
    -- The contact is locked before the conversation, because a new session may be linked to it.
    select c.* into contact from public.contacts c where c.id = private.lock_merge_target(open_conversation_of_contact.contact_id);
    if not found then
        raise sqlstate 'PT404' using message = 'contact_not_found';
    elsif contact.kind = 'group' then
        -- A message in a group names the participant who sent it.
        raise sqlstate 'PT422' using message = 'invalid_body', detail = 'sender_is_group';
    end if;
    perform private.record_audit('contact.spoken_for', contact.id, private.calling_actor(), null);
    return private.find_or_create_conversation(contact.id, null, persona_id, null, coalesce(thread_key, 'main'), 'verified');
end;
$$;
comment on function private.open_conversation_of_contact is 'The conversation of a contact with a persona in which an admin, or an admin''s key, speaks for the contact: the proof is the caller''s word. Audited; locked until the transaction ends.';

create type private.message_context as (
    persona    public.personas,
    turn       public.turns,
    is_running boolean,
    is_guarded boolean,
    is_used_up boolean
);
comment on type private.message_context is
    'What start_turn knows of a message before it stores it. turn: the turn that the same client message started or joined before (null: none). is_running: another turn runs in the conversation; only the holder of its lock starts one. is_guarded: the persona''s breaker is not closed. is_used_up: a limit may be used up, check_limits decides.';

create type private.started_turn as (turn public.turns, message_id uuid, history jsonb);
comment on type private.started_turn is 'A new turn, the message that started it, and the earlier messages, oldest first.';

create function private.read_message_context(
    conversation      public.conversations,
    persona_id        uuid,
    client_message_id text,
    limits            jsonb
)
    returns private.message_context language plpgsql stable set search_path = ''
as $$
declare
    context private.message_context;
begin
    select p, t,
           exists (select
                     from public.sessions s
                     join public.turns r on r.session_id = s.id and r.status = 'active'
                    where s.conversation_id = conversation.id
                      and s.status in ('active', 'paused')),
           b.persona_id is not null,
           exists (select
                     from jsonb_each(limits) as l (name, terms)
                    where (l.terms -> 'quota')::integer <= (
                          select r.taken
                            from public.rate_limits r
                           where r.workspace_id = p.workspace_id
                             and r.name = l.name
                             and r.subject = l.terms ->> 'subject'))
      into context
      from public.personas p
      -- The messages are read only if no turn has the id, whatever the persona's collect_seconds are now. Beside a policy,
      -- coalesce is no index condition unless it is a query of its own.
      left join public.turns t
             on t.id = (select coalesce(
                (select r.id
                   from public.turns r
                  where r.conversation_id = conversation.id
                    and r.client_message_id = read_message_context.client_message_id),
                (select m.turn_id
                   from public.messages m
                  where m.conversation_id = conversation.id
                    and m.client_message_id = read_message_context.client_message_id
                    and m.turn_id is not null
                  limit 1),
                case when read_message_context.client_message_id is not null
                     then (private.archived_message(conversation.id, read_message_context.client_message_id)).turn_id end))
      left join public.persona_breakers b on b.persona_id = p.id and b.state <> 'closed'
     where p.id = conversation.persona_id
       and p.enabled
       and (read_message_context.persona_id is null or p.id = read_message_context.persona_id);
    if not found then
        raise sqlstate 'PT404' using message = 'persona_not_found';
    end if;
    return context;
end;
$$;
comment on function private.read_message_context is 'Reads what a message is about to meet in its locked conversation.';

create function private.end_running_turn(session public.sessions, persona public.personas, is_last_try boolean)
    returns void language plpgsql set search_path = ''
as $$
declare
    turn public.turns;
begin
    -- Locked before its lease is checked, because a flush may be renewing it.
    select t.* into turn from public.turns t where t.session_id = session.id and t.status = 'active' for no key update;
    if not found then
        return;
    end if;
    -- Before the end of the turn locks one of them: pass_breaker locks them in the same order.
    perform private.lock_breakers(persona, turn.fallback_persona_id);
    if turn.lease_until <= clock_timestamp() then
        perform private.expire_turn(turn);
    elsif persona.turn_policy = 'refuse' or is_last_try or not private.stop_turn(turn) then
        perform private.raise_refusal(
            jsonb_build_object('status', 409, 'code', 'turn_in_progress', 'retry_after', 1, 'turn_id', turn.id)
            || case when persona.turn_policy = 'interrupt' and not is_last_try then '{"stopping": true}' else '{}' end::jsonb);
    end if;
end;
$$;
comment on function private.end_running_turn is
    'Makes room for a new turn in a locked session: ends an expired turn and interrupts a running one (turn_policy interrupt), or refuses with turn_in_progress.';

create function private.insert_turn(
    conversation      public.conversations,
    session           public.sessions,
    persona           public.personas,
    sender_id         uuid,
    message           text,
    client_message_id text,
    attempt_id        uuid,
    metadata          jsonb
)
    returns private.started_turn language plpgsql set search_path = ''
as $$
declare
    -- A member who took the session over answers later, as a message without a turn: this turn is completed at once.
    is_taken_over constant boolean := session.taken_over_by is not null;
    started       private.started_turn;
begin
    with opened as (
        insert into public.turns as t (workspace_id, conversation_id, session_id, client_message_id, attempt_id, deadline, lease_until,
                                       taken_over, collecting, status, finished_at)
        select conversation.workspace_id, conversation.id, session.id, insert_turn.client_message_id, insert_turn.attempt_id,
               c.moment + make_interval(secs => persona.time_limit_seconds + persona.collect_seconds), c.moment + private.turn_lease(),
               is_taken_over, persona.collect_seconds > 0 and not is_taken_over,
               case when is_taken_over then 'completed' else 'active' end::public.turn_status, case when is_taken_over then c.moment end
          from clock_timestamp() as c (moment)
        returning t as turn
    ), asked as (
        insert into public.messages as m (workspace_id, conversation_id, session_id, turn_id, role, contact_id, user_id, text, metadata)
        select conversation.workspace_id, conversation.id, session.id, (o.turn).id,
               case when conversation.contact_id is null then 'user' else 'contact' end::public.message_role,
               sender_id, conversation.user_id, insert_turn.message, insert_turn.metadata
          from opened o
        returning m.id
    ), counted as (
        -- A contact's message resumes a paused session, unless a member took it over.
        update public.sessions s
           set status = case when is_taken_over then s.status else 'active' end, turn_count = s.turn_count + 1,
               message_count = s.message_count + 1, last_activity_at = clock_timestamp(), updated_at = clock_timestamp()
         where s.id = session.id
    )
    select o.turn, a.id,
           -- This statement does not see its own insert: the history is without the new message.
           private.turn_history(conversation.id, null, case when is_taken_over then 0 else persona.history_limit end)
      into started
      from opened o, asked a;
    if is_taken_over and persona.remember_turns then
        perform private.remember_turn(started.turn);
    end if;
    return started;
end;
$$;
comment on function private.insert_turn is 'Stores a message and opens its turn in a locked session, and counts both.';

create function private.refuse_turn(refusal jsonb, limits jsonb)
    returns jsonb language plpgsql set search_path = ''
as $$
begin
    perform private.count_refusal(refusal);
    perform private.count_breaker_refusal(refusal);
    if (refusal ->> 'stopping')::boolean then
        -- The nested block undid the request to stop the running turn; it is made again here.
        perform private.stop_turn(t) from public.turns t where t.id = (refusal ->> 'turn_id')::uuid;
    elsif not refusal ? 'limit' then
        refusal := refusal || jsonb_build_object('limits', private.count_attempt(limits));
    end if;
    return private.refuse(refusal - '{subject,object_id}'::text[]);
end;
$$;
comment on function private.refuse_turn is 'Counts a refusal of start_turn after its writes were undone, and returns it.';

create function private.contact_facts(contact_id uuid)
    returns jsonb language plpgsql stable set search_path = ''
as $$
begin
    return (select jsonb_build_object(
                       'name',       coalesce(c.title, nullif(concat_ws(' ', c.first_name, c.last_name), '')),
                       'email',      (select i.value
                                        from public.contact_identities i
                                       where i.contact_id = c.id
                                         and i.kind = 'email'
                                         and i.evidence = 'verified'
                                       order by i.created_at, i.id
                                       limit 1),
                       'attributes', c.attributes)
              from public.contacts c
             where c.id = contact_facts.contact_id);
end;
$$;
comment on function private.contact_facts is 'What a persona is told about a proven contact: {name, email, attributes}; of the emails, the first verified one.';

create function private.describe_turn(
    turn         public.turns,
    conversation public.conversations,
    workspace    public.workspaces,
    persona      public.personas,
    message_id   uuid,
    is_repeat    boolean,
    history      jsonb
)
    returns jsonb language plpgsql stable set search_path = ''
as $$
begin
    return jsonb_build_object(
        'repeat', is_repeat, 'status', turn.status, 'taken_over', turn.taken_over, 'workspace_id', turn.workspace_id, 'turn_id', turn.id,
        'session_id', turn.session_id, 'conversation_id', turn.conversation_id,
        'contact_id', conversation.contact_id, 'user_id', conversation.user_id, 'proof', conversation.proof,
        -- Without proof the persona is told nothing about the contact, whose email the sender may only have typed.
        'contact', case when conversation.proof = 'verified' and not is_repeat and not turn.taken_over
                        then private.contact_facts(conversation.contact_id) end,
        'user_message_id', message_id, 'history', history, 'issued_at', now(),
        'collect_seconds', case when turn.collecting then persona.collect_seconds else 0 end,
        'has_fallback', persona.fallback_persona_id is not null, 'recall_limit', persona.recall_limit,
        'persona', jsonb_build_object(
            'id', persona.id, 'kind', persona.kind, 'name', persona.name, 'config', persona.config,
            'time_limit_seconds', persona.time_limit_seconds,
            'secret', case when persona.secret_id is not null and not is_repeat and not turn.taken_over then private.persona_secret(persona.id) end),
        'allowed_networks', workspace.allowed_networks);
end;
$$;
comment on function private.describe_turn is 'All that the persona needs to answer a turn.';

create function private.repeat_turn(
    turn              public.turns,
    conversation      public.conversations,
    workspace         public.workspaces,
    persona           public.personas,
    client_message_id text,
    attempt_id        uuid,
    message           text,
    metadata          jsonb
)
    returns jsonb language plpgsql stable set search_path = ''
as $$
declare
    is_repeat constant boolean := turn.status <> 'active' or attempt_id is null or turn.attempt_id is distinct from attempt_id;
    asked     public.messages;
    answering public.personas := persona;
begin
    -- A message that joined the turn has its own client message id; the first one has the turn's.
    select m.* into asked
      from public.messages m
     where m.turn_id = turn.id
       and m.role <> 'persona'
     order by m.client_message_id is distinct from repeat_turn.client_message_id, m.created_at
     limit 1;
    -- What was dropped from the database is in the archive only.
    perform private.require_same_content(asked.id is null or (asked.text, asked.metadata) = (message, repeat_turn.metadata));
    if not is_repeat and turn.fallback_persona_id is not null then
        answering := private.fallback_of(persona);
    end if;
    return private.describe_turn(
        turn, conversation, workspace, answering, asked.id, is_repeat,
        case when is_repeat then '[]' else private.turn_history(conversation.id, turn.id, persona.history_limit) end);
end;
$$;
comment on function private.repeat_turn is 'The turn that a repeated message started or joined; to be answered only by the request that started it. Refuses another message under the same id.';

create function private.accept_message(
    conversation      public.conversations,
    workspace         public.workspaces,
    sender_id         uuid,
    persona_id        uuid,
    message           text,
    client_message_id text,
    attempt_id        uuid,
    metadata          jsonb,
    client            jsonb,
    limits            jsonb,
    taking            jsonb,
    last_try          boolean
)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    known   private.message_context;
    begun   private.started_turn;
    session public.sessions;
    persona public.personas;
    taken   jsonb;
    joined  jsonb;
begin
    -- 1. A repeat of a message that started or joined a turn before returns that turn. It is refused if it carries another
    --    message: without a token, the message is all that the id's sender is known by.
    known   := private.read_message_context(conversation, persona_id, client_message_id, limits);
    persona := known.persona;
    if (known.turn).id is not null then
        return private.repeat_turn(known.turn, conversation, workspace, persona, client_message_id, attempt_id, message, metadata);
    end if;
    if known.is_used_up then
        perform private.check_limits(limits);
    end if;

    -- 2. The session, locked, with no turn running in it, unless the message joins that turn.
    session := private.find_or_create_session(conversation, client);
    if known.is_running then
        joined := private.join_turn(conversation, session, workspace, persona, sender_id, message, client_message_id, metadata, limits);
        if joined is not null then
            return joined;
        end if;
    end if;
    known.is_guarded := known.is_guarded and session.taken_over_by is null and private.check_breaker(persona);
    if known.is_running then
        perform private.end_running_turn(session, persona, last_try);
        -- A per_message session ended with its turn.
        session := private.find_or_create_session(conversation, client);
    end if;

    -- 3. The message and its turn.
    begun := private.insert_turn(conversation, session, persona, sender_id, message, client_message_id, attempt_id, metadata);

    -- 4. The rows that many transactions wait for come last: always the breakers, in their order, before the limits, as
    --    end_running_turn may have locked the breakers already. So two messages never deadlock.
    if known.is_guarded then
        persona := private.pass_breaker(persona, begun.turn);
    end if;
    taken := private.take_limits(taking);

    return private.describe_turn(begun.turn, conversation, workspace, persona, begun.message_id, false, begun.history)
           || jsonb_build_object('limits', taken);
end;
$$;
comment on function private.accept_message is 'Stores a message in a locked conversation and opens its turn, or returns the turn that it joins, or that the same client message started or joined before. sender_id is the contact who wrote it, in a group one of its participants; limits are checked at first, and those of taking are taken. Raises SB001 with a refusal.';

create function public.start_turn(
    space_id          uuid,
    message           text,
    persona_id        uuid  default null,
    client_message_id text  default null,
    email             text  default null,
    email_key         text  default null,
    email_hmac        text  default null,
    identity_token    jsonb default null,
    thread_key        text  default null,
    attempt_id        uuid  default null,
    metadata          jsonb default '{}',
    client            jsonb default '{}',
    last_try          boolean default false,
    contact_id        uuid  default null
)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    caller       constant jsonb := private.claims() -> 'caller';
    place        record;
    conversation public.conversations;
    limits       jsonb;
    refusal      text;
begin
    if space_id is null then
        perform private.enter_persona(persona_id);
    else
        perform private.enter_space(space_id);
    end if;
    select s as space, w as workspace
      into strict place
      from public.workspaces w
      left join public.spaces s on s.id = start_turn.space_id
     where w.id = private.entered_workspace();
    limits := private.message_limits(place.workspace, place.space, client ->> 'address');

    begin
        -- 1. The contact and the conversation, which is locked: messages of one conversation come one after the other.
        conversation := case
            when space_id is not null   then private.open_conversation(
                                                 place.space, email, email_key, email_hmac, identity_token, thread_key, client_message_id, client)
            when contact_id is not null then private.open_conversation_of_contact(contact_id, persona_id, thread_key)
            else private.open_own_conversation(persona_id, thread_key) end;

        -- 2. The message and its turn.
        return private.accept_message(
            conversation, place.workspace, conversation.contact_id, persona_id, message, client_message_id, attempt_id, metadata, client,
            limits,
            -- A caller without a token arrives with each message; a user, or the contact of a key, with each new conversation.
            case when caller ->> 'kind' = 'anonymous'
                   or (space_id is not null and caller ->> 'kind' in ('user', 'key')
                       and conversation.contact_id is not null and conversation.created_at = now())
                 then private.arrival_limits(place.space, client ->> 'address') || limits
                 else limits end,
            last_try);
    exception when sqlstate 'SB001' then
        get stacked diagnostics refusal = pg_exception_detail;
        return private.refuse_turn(refusal::jsonb, limits);
    end;
end;
$$;
comment on function public.start_turn is 'Accepts a message in a space, or to a persona (space_id null), of a member or, with a contact_id, of the contact for whom an admin speaks: conversation, session, link, message and turn, or the turn that the message joins, or that the same client message started or joined before. After a refusal with stopping: true the caller tries again, at last with last_try.';

grant execute on function
    private.enter_persona, private.open_own_conversation, private.open_conversation_of_contact, private.open_conversation_of_user, private.open_conversation, private.read_message_context, private.end_running_turn, private.insert_turn,
    private.refuse_turn, private.contact_facts, private.describe_turn, private.repeat_turn, private.accept_message, public.start_turn
    to switchboard;
