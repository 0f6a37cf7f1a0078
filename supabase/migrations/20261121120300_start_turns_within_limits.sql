-- Taking a message in under the workspace's limits and the persona's breaker, and over an answer that it may interrupt.

set lock_timeout = '5s';
set statement_timeout = '60s';

create or replace function private.enter()
    returns uuid
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    scope     constant jsonb := private.claims() -> 'scope';
    workspace constant uuid  := (scope ->> 'workspace_id')::uuid;
begin
    -- A space is where somebody arrives, perhaps without a name. It is no way in to what others have started.
    if scope ? 'space_id' then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'This needs the scope of a workspace.';
    end if;
    if workspace is null then
        raise sqlstate 'PT404' using message = 'space_not_found', detail = 'There is no such space.';
    end if;
    perform pg_catalog.set_config('switchboard.workspace_id', workspace::text, true);
    return workspace;
end;
$$;
comment on function private.enter() is
    'Enters the workspace that the caller''s token is for, to go on with what was started; the policies for switchboard read the setting.';

create function private.enter_space(space_id uuid)
    returns void
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    scope     constant jsonb := private.claims() -> 'scope';
    workspace constant uuid  := private.workspace_of_space(space_id);
begin
    if workspace is null
       or (scope ->> 'space_id')::uuid is distinct from space_id
       or workspace <> (scope ->> 'workspace_id')::uuid then
        raise sqlstate 'PT404' using message = 'space_not_found', detail = 'There is no such space.';
    end if;
    perform pg_catalog.set_config('switchboard.workspace_id', workspace::text, true);
end;
$$;
comment on function private.enter_space(uuid) is
    'Enters the workspace of the space that the caller''s token is for; a token that names a workspace too is for that one alone.';
grant execute on function private.enter_space(uuid) to switchboard;

create or replace function public.space_origins(space_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    perform private.enter_space(space_id);
    return (select pg_catalog.jsonb_build_object('origins', s.allowed_origins)
              from public.spaces s
             where s.id = space_origins.space_id);
end;
$$;

create or replace function private.open_conversation(
    space             public.spaces,
    email             text,
    email_key         text,
    email_hmac        text,
    thread_key        text,
    client_message_id text,
    client            jsonb
)
    returns public.conversations
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    caller       constant jsonb := private.claims() -> 'caller';
    user_id      constant uuid  := (caller ->> 'user_id')::uuid;
    conversation public.conversations;
    contact      uuid;
    verified_by  text;
    arrival      text;
    first        text;
begin
    -- The keys made here stand for conversations opened without proof: nobody asks for one of them by name.
    if thread_key ~ '^(arrival|first):' then
        raise sqlstate 'PT422' using message = 'thread_key_not_allowed', detail = 'Thread keys do not begin with arrival: or first:.';
    end if;

    if caller ->> 'kind' = 'contact' then
        if thread_key is not null then
            raise sqlstate 'PT422' using message = 'thread_key_not_allowed', detail = 'A contact token is for one conversation.';
        end if;
        select c.* into conversation
          from public.conversations c
         where c.id = (caller ->> 'conversation_id')::uuid
           and c.contact_id = (caller ->> 'contact_id')::uuid
           -- It goes on in any space of the workspace, but not once the one it was opened in is closed.
           and (c.space_id is null or c.space_id = space.id or private.workspace_of_space(c.space_id) is not null)
           for no key update;
        if not found then
            raise sqlstate 'PT404' using message = 'conversation_not_found', detail = 'There is no such conversation.';
        end if;
        return conversation;
    end if;

    if caller ->> 'kind' = 'user' then
        if private.is_member(user_id) then
            -- The owner's side: no contact, and never found by one.
            return private.find_or_create_conversation(null, user_id, space.persona_id, space.id, coalesce(thread_key, 'main'), null);
        end if;
        if private.email_is_confirmed(user_id, caller ->> 'email') then
            contact := private.find_or_create_contact('email', caller ->> 'email_key', caller ->> 'email', 'supabase_auth', '{}');
        else
            contact := private.find_or_create_contact('external', 'auth:' || user_id, 'auth:' || user_id, 'supabase_auth', '{}');
        end if;
        return private.find_or_create_conversation(contact, user_id, space.persona_id, space.id, coalesce(thread_key, 'main'), 'verified');
    end if;

    -- Nobody we know: a first message without a token.
    verified_by := case when email_key is not null then private.email_proof(space.id, email, email_key, email_hmac) end;
    if verified_by is not null then
        perform private.check_limits(private.arrival_limits(space, client ->> 'address'));
        contact      := private.find_or_create_contact('email', email_key, email, verified_by, '{}');
        conversation := private.find_or_create_conversation(contact, null, space.persona_id, space.id, coalesce(thread_key, 'main'), 'verified');
    else
        if thread_key is not null then
            raise sqlstate 'PT422' using message = 'thread_key_not_allowed', detail = 'A thread of one''s own needs proof of who one is.';
        end if;
        -- A client message id that is a UUID cannot be guessed, so whoever repeats it soon after is who sent it, and finds the
        -- conversation that it opened. Any other id, and any later, opens a new one. Only a digest of it is kept in the key.
        arrival := 'arrival:' || private.uuid7();
        if client_message_id ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then
            first := 'first:' || pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(
                         client_message_id || ':' || coalesce(email_key, ''), 'UTF8')), 'hex');
            perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended(space.id::text || first, 0));
            select c.* into conversation
              from public.conversations c
             where c.space_id = space.id
               and c.thread_key = first
               for no key update;
            if not found then
                arrival := first;
            elsif conversation.created_at > pg_catalog.now() - interval '10 minutes' then
                return conversation;
            end if;
        end if;
        -- After the repeat, which is no new arrival.
        perform private.check_limits(private.arrival_limits(space, client ->> 'address'));
        contact      := case when email_key is not null
                             then private.find_or_create_contact('email', email_key, email, null, '{}')
                             else private.create_contact('{}') end;
        conversation := private.find_or_create_conversation(contact, null, space.persona_id, space.id, arrival, 'asserted');
    end if;
    return conversation;
end;
$$;
comment on function private.open_conversation(public.spaces, text, text, text, text, text, jsonb) is
    'The conversation a message belongs to, by who the caller is; locked for this transaction.';

create function private.describe_turn(
    turn         public.turns,
    conversation public.conversations,
    workspace    public.workspaces,
    persona      public.personas,
    asked        uuid,
    repeated     boolean
)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return pg_catalog.jsonb_build_object(
        'repeat', repeated, 'status', turn.status, 'workspace_id', turn.workspace_id, 'turn_id', turn.id,
        'session_id', turn.session_id, 'conversation_id', turn.conversation_id,
        'contact_id', conversation.contact_id, 'user_id', conversation.user_id, 'proof', conversation.proof,
        'user_message_id', asked,
        'history', case when repeated then '[]'::jsonb
                        else private.turn_history(turn.conversation_id, asked, persona.history_limit) end,
        'persona', pg_catalog.jsonb_build_object(
            'id', persona.id, 'kind', persona.kind, 'name', persona.name, 'config', persona.config,
            'time_limit_seconds', persona.time_limit_seconds,
            'secret', case when persona.secret_id is not null and not repeated then private.persona_secret(persona.id) end),
        'allowed_networks', workspace.allowed_networks);
end;
$$;
comment on function private.describe_turn(public.turns, public.conversations, public.workspaces, public.personas, uuid, boolean) is
    'All that the persona needs to answer a turn: asked is the message that it answers.';
grant execute on function
    private.describe_turn(public.turns, public.conversations, public.workspaces, public.personas, uuid, boolean)
    to switchboard;

-- One argument more: a message that waits for another's end says when it does so no longer.
-- squawk-ignore ban-drop-function
drop function public.start_turn(uuid, text, uuid, text, text, text, text, text, uuid, jsonb, jsonb);

create function public.start_turn(
    space_id          uuid,
    message           text,
    persona_id        uuid  default null,
    client_message_id text  default null,
    email             text  default null,
    email_key         text  default null,
    email_hmac        text  default null,
    thread_key        text  default null,
    request_id        uuid  default null,
    metadata          jsonb default '{}',
    client            jsonb default '{}',
    last_try          boolean default false
)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    caller       constant jsonb := private.claims() -> 'caller';
    workspace    public.workspaces;
    space        public.spaces;
    persona      public.personas;
    conversation public.conversations;
    session      public.sessions;
    turn         public.turns;
    asked        uuid;
    limits       jsonb;
    taken        jsonb;
    guarded      boolean;
    refusal      jsonb;
    said         text;
begin
    perform private.enter_space(space_id);
    select s.* into strict space from public.spaces s where s.id = start_turn.space_id;

    select w.* into strict workspace from public.workspaces w where w.id = space.workspace_id;
    limits := private.message_limits(workspace, space, client ->> 'address');
    begin
        conversation := private.open_conversation(space, email, email_key, email_hmac, thread_key, client_message_id, client);

        select p.* into persona
          from public.personas p
         where p.id = conversation.persona_id
           and p.enabled
           and (start_turn.persona_id is null or p.id = start_turn.persona_id);
        if not found then
            raise sqlstate 'PT404' using message = 'persona_not_found', detail = 'There is no such persona in this space.';
        end if;

        select t.* into turn
          from public.turns t
         where t.conversation_id = conversation.id
           and t.client_message_id = start_turn.client_message_id;
        if found then
            select m.id into strict asked from public.messages m where m.turn_id = turn.id and m.role <> 'persona';
            return private.describe_turn(
                turn, conversation, workspace, persona, asked,
                turn.status <> 'active' or start_turn.request_id is null or turn.request_id is distinct from start_turn.request_id);
        end if;

        perform private.check_limits(limits);
        guarded := private.check_breaker(persona);
        session := private.find_or_create_session(conversation, client);
        -- Locked before its lease is judged: a flush may be renewing it.
        select t.* into turn from public.turns t where t.session_id = session.id and t.status = 'active' for no key update;
        if found then
            if turn.lease_until <= pg_catalog.clock_timestamp() then
                -- Whoever worked on it is gone; the sweep would say so within the minute.
                perform private.close_turn(turn, 'timeout', null, null, 'lease_expired', 'Nobody renewed the lease.', null);
            elsif persona.turn_policy = 'refuse' or last_try or not private.stop_turn(turn) then
                perform private.raise_refusal(pg_catalog.jsonb_build_object(
                    'status', 409, 'code', 'turn_in_progress', 'title', 'The last message is still being answered.',
                    'retry_after', 1, 'turn_id', turn.id)
                    || case when persona.turn_policy = 'interrupt' and not last_try then '{"stopping": true}' else '{}' end::jsonb);
            end if;
            session := private.find_or_create_session(conversation, client);
        end if;

        insert into public.turns (workspace_id, conversation_id, session_id, client_message_id, request_id, deadline, lease_until)
        values (space.workspace_id, conversation.id, session.id, start_turn.client_message_id, start_turn.request_id,
                pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => persona.time_limit_seconds),
                pg_catalog.clock_timestamp() + interval '30 seconds')
        returning * into turn;
        insert into public.messages (workspace_id, conversation_id, session_id, turn_id, role, contact_id, user_id, text, metadata)
        values (space.workspace_id, conversation.id, session.id, turn.id,
                case when conversation.contact_id is null then 'user' else 'contact' end::public.message_role,
                conversation.contact_id, conversation.user_id, start_turn.message, start_turn.metadata)
        returning id into asked;
        -- A contact's message resumes a paused session.
        update public.sessions s
           set status = 'active', turn_count = s.turn_count + 1, message_count = s.message_count + 1,
               last_activity_at = pg_catalog.clock_timestamp()
         where s.id = session.id;
        -- The rows that many wait for come last, and always the breaker before the limits: a turn that was ended above has
        -- told the breaker already, and two messages then never wait for each other in a circle.
        if guarded then
            perform private.pass_breaker(persona, turn);
        end if;
        taken := private.take_limits(
            -- Whoever has no token arrives with each message; a user with each conversation that is new.
            case when caller ->> 'kind' = 'anonymous'
                   or (caller ->> 'kind' = 'user' and conversation.contact_id is not null and conversation.created_at = pg_catalog.now())
                 then private.arrival_limits(space, client ->> 'address') || limits
                 else limits end);
    exception when sqlstate 'SB001' then
        get stacked diagnostics said = pg_exception_detail;
        refusal := said::jsonb;
        perform private.count_refusal(refusal);
        perform private.count_breaker_refusal(refusal);
        if (refusal ->> 'stopping')::boolean then
            -- The message comes again in a moment; what it wants stopped is told so now.
            perform private.stop_turn(turn);
        elsif not refusal ? 'limit' then
            refusal := refusal || pg_catalog.jsonb_build_object('limits', private.count_attempt(limits));
        end if;
        return private.refuse(refusal - '{subject,object_id}'::text[]);
    end;

    return private.describe_turn(turn, conversation, workspace, persona, asked, false)
           || pg_catalog.jsonb_build_object('limits', taken);
end;
$$;
comment on function public.start_turn(uuid, text, uuid, text, text, text, text, text, uuid, jsonb, jsonb, boolean) is
    'Takes a message in: conversation, session, link, message and turn, or the turn that the same client message started before. Refused with stopping, it comes again, at last with last_try.';
grant execute on function public.start_turn(uuid, text, uuid, text, text, text, text, text, uuid, jsonb, jsonb, boolean) to switchboard;

create or replace function public.register_contact(
    space_id   uuid,
    space_kind public.space_kind,
    email      text,
    email_key  text,
    email_hmac text  default null,
    first_name text  default null,
    last_name  text  default null,
    phone      text  default null,
    phone_key  text  default null,
    source     text  default null,
    attributes jsonb default '{}',
    client     jsonb default '{}'
)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    caller       constant jsonb := private.claims() -> 'caller';
    space        public.spaces;
    conversation public.conversations;
    session      public.sessions;
    contact      uuid;
    verified_by  text;
    profile      constant jsonb := pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
                     'first_name', first_name, 'last_name', last_name, 'source', source, 'attributes', attributes));
    limits       jsonb;
    refusal      text;
begin
    perform private.enter_space(space_id);
    select s.* into space
      from public.spaces s
     where s.id = register_contact.space_id and s.kind = register_contact.space_kind and s.enabled;
    if not found then
        raise sqlstate 'PT404' using message = 'space_not_found', detail = 'There is no such space.';
    end if;

    limits := private.arrival_limits(space, client ->> 'address');
    begin
        perform private.check_limits(limits);
        verified_by  := private.email_proof(space.id, email, email_key, email_hmac);
        contact      := private.find_or_create_contact('email', email_key, email, verified_by, profile);
        -- A typed phone goes to a contact that is new, or to one whose email is proven; nobody adds to somebody else's.
        if phone_key is not null
           and (verified_by is not null or exists (select from public.contacts c where c.id = contact and c.created_at = pg_catalog.now())) then
            insert into public.contact_identities (workspace_id, contact_id, kind, key, value, evidence)
            values (space.workspace_id, contact, 'phone', register_contact.phone_key, register_contact.phone, 'asserted')
            on conflict on constraint contact_identities_key do nothing;
        end if;
        -- Without proof the arrival gets a conversation of its own and so sees nothing from before.
        conversation := private.find_or_create_conversation(
                            contact, case when verified_by = 'supabase_auth' then (caller ->> 'user_id')::uuid end,
                            space.persona_id, space.id,
                            case when verified_by is null then 'arrival:' || private.uuid7() else 'main' end,
                            case when verified_by is null then 'asserted' else 'verified' end::public.proof);
        session      := private.find_or_create_session(
                            conversation,
                            client || pg_catalog.jsonb_build_object('registration', profile || pg_catalog.jsonb_strip_nulls(
                                pg_catalog.jsonb_build_object('email', email, 'phone', phone))));
        perform private.record_audit('contact.registered', contact, contact, verified_by);
        limits := private.take_limits(limits);
    exception when sqlstate 'SB001' then
        get stacked diagnostics refusal = pg_exception_detail;
        perform private.count_refusal(refusal::jsonb);
        return private.refuse(refusal::jsonb - '{subject,object_id}'::text[]);
    end;

    return pg_catalog.jsonb_build_object(
        'workspace_id', space.workspace_id, 'contact_id', contact, 'conversation_id', conversation.id,
        'session_id', session.id, 'session_status', session.status, 'proof', conversation.proof, 'limits', limits);
end;
$$;
comment on function public.register_contact(uuid, public.space_kind, text, text, text, text, text, text, text, text, jsonb, jsonb) is
    'Registers a person in a space: finds or creates the contact, opens or finds the session, links them, counts the arrival.';

-- Nobody but the functions above called these.
-- squawk-ignore ban-drop-function
drop function private.describe_turn(public.turns, public.conversations, boolean);
-- squawk-ignore ban-drop-function
drop function private.check_arrival(public.spaces, text);
-- squawk-ignore ban-drop-function
drop function private.take_arrival(public.spaces, text);
-- squawk-ignore ban-drop-function
drop function private.check_limit(text, text, integer);
-- squawk-ignore ban-drop-function
drop function private.take_limit(text, text, integer);
