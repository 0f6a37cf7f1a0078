-- start_turn: accepts a message in one transaction and returns all that the persona needs.

create function private.open_conversation(
    space             public.spaces,
    email             text,
    email_key         text,
    email_hmac        text,
    thread_key        text,
    client_message_id text,
    client            jsonb
)
    returns public.conversations language plpgsql set search_path = ''
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
        raise sqlstate 'PT422' using message = 'thread_key_not_allowed', detail = 'thread_key_reserved';
    end if;

    if caller ->> 'kind' = 'contact' then
        if thread_key is not null then
            raise sqlstate 'PT422' using message = 'thread_key_not_allowed', detail = 'token_for_one_conversation';
        end if;
        select c.* into conversation
          from public.conversations c
         where c.id = (caller ->> 'conversation_id')::uuid
           -- It goes on in any space of the workspace, but not once the one it was opened in is closed.
           and (c.space_id is null or c.space_id = space.id or private.workspace_of_space(c.space_id) is not null)
           for no key update;
        -- After the lock: a merge may have moved it to the contact that stands for the token's.
        if not found
           or (conversation.contact_id is distinct from (caller ->> 'contact_id')::uuid
               and conversation.contact_id is distinct from private.standing_contact((caller ->> 'contact_id')::uuid)) then
            raise sqlstate 'PT404' using message = 'conversation_not_found';
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
            raise sqlstate 'PT422' using message = 'thread_key_not_allowed', detail = 'thread_key_needs_proof';
        end if;
        -- A client message id that is a UUID cannot be guessed, so whoever repeats it soon after is who sent it, and finds the
        -- conversation that it opened. Any other id, and any later, opens a new one. Only a digest of it is kept in the key.
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
            elsif conversation.created_at > now() - interval '10 minutes' then
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
comment on function private.open_conversation is 'The conversation a message belongs to, by who the caller is; locked for this transaction.';

create function private.describe_turn(
    turn         public.turns,
    conversation public.conversations,
    workspace    public.workspaces,
    persona      public.personas,
    asked        uuid,
    repeated     boolean,
    history      jsonb
)
    returns jsonb language plpgsql stable set search_path = ''
as $$
begin
    return jsonb_build_object(
        'repeat', repeated, 'status', turn.status, 'taken_over', turn.taken_over, 'workspace_id', turn.workspace_id, 'turn_id', turn.id,
        'session_id', turn.session_id, 'conversation_id', turn.conversation_id,
        'contact_id', conversation.contact_id, 'user_id', conversation.user_id, 'proof', conversation.proof,
        'user_message_id', asked,
        'history', history,
        'persona', jsonb_build_object(
            'id', persona.id, 'kind', persona.kind, 'name', persona.name, 'config', persona.config,
            'time_limit_seconds', persona.time_limit_seconds,
            'secret', case when persona.secret_id is not null and not repeated and not turn.taken_over then private.persona_secret(persona.id) end),
        'allowed_networks', workspace.allowed_networks);
end;
$$;
comment on function private.describe_turn is 'All that the persona needs to answer a turn.';

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
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    caller       constant jsonb := private.claims() -> 'caller';
    place        record;
    known        record;
    begun        record;
    persona      public.personas;
    conversation public.conversations;
    session      public.sessions;
    turn         public.turns;
    asked        uuid;
    repeated     boolean;
    limits       jsonb;
    taken        jsonb;
    guarded      boolean := false;
    silent       boolean;
    refusal      jsonb;
    said         text;
begin
    perform private.enter_space(space_id);
    select s as space, w as workspace
      into strict place
      from public.spaces s
      join public.workspaces w on w.id = s.workspace_id
     where s.id = start_turn.space_id;
    limits := private.message_limits(place.workspace, place.space, client ->> 'address');
    begin
        conversation := private.open_conversation(place.space, email, email_key, email_hmac, thread_key, client_message_id, client);

        -- The conversation is locked, so this sees the turn of the same message, and what to ask more about.
        select p as persona, t as turn, b.persona_id is not null as guarded,
               exists (select
                         from jsonb_each(limits) as l (name, terms)
                        where (l.terms -> 'quota')::integer <= (
                              select r.taken
                                from public.rate_limits r
                               where r.workspace_id = p.workspace_id
                                 and r.name = l.name
                                 and r.subject = l.terms ->> 'subject')) as used_up
          into known
          from public.personas p
          left join public.turns t on t.conversation_id = conversation.id and t.client_message_id = start_turn.client_message_id
          left join public.persona_breakers b on b.persona_id = p.id and b.state <> 'closed'
         where p.id = conversation.persona_id
           and p.enabled
           and (start_turn.persona_id is null or p.id = start_turn.persona_id);
        if not found then
            raise sqlstate 'PT404' using message = 'persona_not_found';
        end if;
        persona := known.persona;
        turn    := known.turn;
        if turn.id is not null then
            select m.id into strict asked from public.messages m where m.turn_id = turn.id and m.role <> 'persona';
            repeated := turn.status <> 'active' or start_turn.request_id is null or turn.request_id is distinct from start_turn.request_id;
            return private.describe_turn(
                turn, conversation, place.workspace, persona, asked, repeated,
                case when repeated then '[]' else private.turn_history(turn.conversation_id, asked, persona.history_limit) end);
        end if;
        if known.used_up then
            perform private.check_limits(limits);
        end if;
        guarded := known.guarded;

        select s as session, t.id is not null as answering
          into known
          from public.sessions s
          left join public.turns t on t.session_id = s.id and t.status = 'active'
         where s.conversation_id = conversation.id
           and s.status in ('active', 'paused')
           for no key update of s;
        if found then
            session := known.session;
        else
            session := private.find_or_create_session(conversation, client);
        end if;
        -- A persona that is not called is not asked whether it can be; locked, the session stays as it is until the end.
        silent  := session.taken_over_by is not null;
        guarded := case when guarded and not silent then private.check_breaker(persona) else false end;
        if known.answering then
            -- Locked before its lease is judged: a flush may be renewing it.
            select t.* into turn from public.turns t where t.session_id = session.id and t.status = 'active' for no key update;
            if found then
                if turn.lease_until <= clock_timestamp() then
                    -- Whoever worked on it is gone; the sweep would say so within the minute.
                    perform private.close_turn(turn, 'timeout', null, null, 'lease_expired', 'Nobody renewed the lease.', null);
                elsif persona.turn_policy = 'refuse' or last_try or not private.stop_turn(turn) then
                    perform private.raise_refusal(jsonb_build_object(
                        'status', 409, 'code', 'turn_in_progress',
                        'retry_after', 1, 'turn_id', turn.id)
                        || case when persona.turn_policy = 'interrupt' and not last_try then '{"stopping": true}' else '{}' end::jsonb);
                end if;
                session := private.find_or_create_session(conversation, client);
                silent  := session.taken_over_by is not null;
            end if;
        end if;

        with opened as (
            -- A member who took over answers in the persona's place, in their own time: the turn is over at once.
            insert into public.turns as t (workspace_id, conversation_id, session_id, client_message_id, request_id, deadline, lease_until,
                                           taken_over, status, finished_at)
            select conversation.workspace_id, conversation.id, session.id, start_turn.client_message_id, start_turn.request_id,
                   c.moment + make_interval(secs => persona.time_limit_seconds), c.moment + interval '30 seconds',
                   silent, case when silent then 'completed' else 'active' end::public.turn_status, case when silent then c.moment end
              from clock_timestamp() as c (moment)
            returning t as turn
        ), asked as (
            insert into public.messages as m (workspace_id, conversation_id, session_id, turn_id, role, contact_id, user_id, text, metadata)
            select conversation.workspace_id, conversation.id, session.id, (o.turn).id,
                   case when conversation.contact_id is null then 'user' else 'contact' end::public.message_role,
                   conversation.contact_id, conversation.user_id, start_turn.message, start_turn.metadata
              from opened o
            returning m.id
        ), counted as (
            -- A contact's message resumes a paused session, unless a member took it over.
            update public.sessions s
               set status = case when silent then s.status else 'active' end, turn_count = s.turn_count + 1, message_count = s.message_count + 1,
                   last_activity_at = clock_timestamp()
             where s.id = session.id
        )
        select o.turn, a.id as asked,
               -- As it was before this statement, so without the new message.
               (select coalesce(jsonb_agg(jsonb_build_object('role', h.role, 'text', h.text, 'created_at', h.created_at)
                                                     order by h.created_at, h.id), '[]')
                  from (select m.id, m.role, m.text, m.created_at
                          from public.messages m
                         where m.conversation_id = conversation.id
                         order by m.created_at desc, m.id desc
                         limit case when silent then 0 else persona.history_limit end) h) as history
          into begun
          from opened o, asked a;
        -- The rows that many wait for come last, and always the breaker before the limits: a turn that was ended above has
        -- told the breaker already, and two messages then never wait for each other in a circle.
        if guarded then
            perform private.pass_breaker(persona, begun.turn);
        end if;
        taken := private.take_limits(
            -- Whoever has no token arrives with each message; a user with each conversation that is new.
            case when caller ->> 'kind' = 'anonymous'
                   or (caller ->> 'kind' = 'user' and conversation.contact_id is not null and conversation.created_at = now())
                 then private.arrival_limits(place.space, client ->> 'address') || limits
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
            refusal := refusal || jsonb_build_object('limits', private.count_attempt(limits));
        end if;
        return private.refuse(refusal - '{subject,object_id}'::text[]);
    end;

    return private.describe_turn(begun.turn, conversation, place.workspace, persona, begun.asked, false, begun.history)
           || jsonb_build_object('limits', taken);
end;
$$;
comment on function public.start_turn is 'Takes a message in: conversation, session, link, message and turn, or the turn that the same client message started before. Refused with stopping, it comes again, at last with last_try.';

grant execute on function
    private.open_conversation, private.describe_turn, public.start_turn
    to switchboard;
