-- The way of a message: start_turn, flush_turn while it streams, finish_turn; read_turn for whoever follows.

set lock_timeout = '5s';
set statement_timeout = '60s';

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
    client            jsonb default '{}'
)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    caller       constant jsonb := private.claims() -> 'caller';
    space        public.spaces;
    persona      public.personas;
    conversation public.conversations;
    session      public.sessions;
    turn         public.turns;
    refusal      text;
begin
    perform private.enter();
    select s.* into space from public.spaces s where s.id = start_turn.space_id and s.enabled;
    if not found then
        raise sqlstate 'PT404' using message = 'space_not_found', detail = 'There is no such space.';
    end if;

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
            return private.describe_turn(
                turn, conversation, turn.status <> 'active' or start_turn.request_id is null or turn.request_id is distinct from start_turn.request_id);
        end if;

        session := private.find_or_create_session(conversation, client);
        -- Locked before its lease is judged: a flush may be renewing it.
        select t.* into turn from public.turns t where t.session_id = session.id and t.status = 'active' for no key update;
        if found then
            if turn.lease_until > pg_catalog.clock_timestamp() then
                perform private.raise_refusal(pg_catalog.jsonb_build_object(
                    'status', 409, 'code', 'turn_in_progress', 'title', 'The last message is still being answered.',
                    'retry_after', 1, 'turn_id', turn.id));
            end if;
            -- Whoever worked on it is gone; the sweep would say so within the minute.
            perform private.close_turn(turn, 'timeout', null, null, 'lease_expired', 'Nobody renewed the lease.', null);
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
                conversation.contact_id, conversation.user_id, start_turn.message, start_turn.metadata);
        -- A contact's message resumes a paused session.
        update public.sessions s
           set status = 'active', turn_count = s.turn_count + 1, message_count = s.message_count + 1,
               last_activity_at = pg_catalog.clock_timestamp()
         where s.id = session.id;
        -- Whoever has no token arrives with each message; a user with each conversation that is new.
        if caller ->> 'kind' = 'anonymous'
           or (caller ->> 'kind' = 'user' and conversation.contact_id is not null and conversation.created_at = pg_catalog.now()) then
            perform private.take_arrival(space, client ->> 'address');
        end if;
    exception when sqlstate 'SB001' then
        get stacked diagnostics refusal = pg_exception_detail;
        perform private.count_refusal(refusal::jsonb);
        return private.refuse(refusal::jsonb - 'subject');
    end;

    return private.describe_turn(turn, conversation, false);
end;
$$;
comment on function public.start_turn(uuid, text, uuid, text, text, text, text, text, uuid, jsonb, jsonb) is
    'Takes a message in: conversation, session, link, message and turn, or the turn that the same client message started before.';
grant execute on function public.start_turn(uuid, text, uuid, text, text, text, text, text, uuid, jsonb, jsonb) to switchboard;

create function private.require_turn(turn_id uuid)
    returns public.turns
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    turn public.turns;
begin
    select t.* into turn from public.turns t where t.id = require_turn.turn_id;
    if not found then
        raise sqlstate 'PT404' using message = 'turn_not_found', detail = 'There is no such turn.';
    end if;
    return turn;
end;
$$;
comment on function private.require_turn(uuid) is 'A turn that the caller may see; 404 for any other.';
grant execute on function private.require_turn(uuid) to switchboard, contact, authenticated;

create function public.flush_turn(turn_id uuid, "position" integer, piece text)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    turn public.turns;
begin
    perform private.enter();
    turn := private.require_turn(turn_id);
    update public.turns t
       set lease_until = least(pg_catalog.clock_timestamp() + interval '30 seconds', t.deadline + interval '30 seconds')
     where t.id = turn.id
       and t.status = 'active';
    if found and piece <> '' then
        insert into public.turn_chunks (turn_id, position, workspace_id, conversation_id, piece)
        values (turn.id, flush_turn."position", turn.workspace_id, turn.conversation_id, flush_turn.piece)
        on conflict on constraint turn_chunks_pkey do nothing;
    end if;
    return (select pg_catalog.jsonb_build_object('status', t.status) from public.turns t where t.id = turn.id);
end;
$$;
comment on function public.flush_turn(uuid, integer, text) is
    'Stores the next piece of an answer, renews the lease, and tells the turn''s status. Repeating it changes nothing.';
grant execute on function public.flush_turn(uuid, integer, text) to switchboard;

create function public.finish_turn(
    turn_id        uuid,
    status         public.turn_status,
    answer         text    default null,
    usage          jsonb   default null,
    error_code     text    default null,
    error_detail   text    default null,
    first_token_ms integer default null
)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
begin
    perform private.enter();
    if status = 'active' then
        raise sqlstate 'PT422' using message = 'invalid_body', detail = 'A turn cannot be finished as active.';
    end if;
    return private.close_turn(private.require_turn(turn_id), status, answer, usage, error_code, error_detail, first_token_ms);
end;
$$;
comment on function public.finish_turn(uuid, public.turn_status, text, jsonb, text, text, integer) is
    'Ends a turn: {changed, status, message_id, text_length}; changed is false for a late writer, with what stands.';
grant execute on function public.finish_turn(uuid, public.turn_status, text, jsonb, text, text, integer) to switchboard;

create function public.read_turn(turn_id uuid, after integer default 0)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    -- No answer is longer; a position beyond it counts as the end.
    start  constant integer := least(greatest(after, 0), 100000000);
    turn   public.turns;
    body   text;
    length integer;
    told   uuid;
begin
    -- Whoever acts for a caller enters; a contact or a user reads by their own policies.
    if private.claims() ->> 'role' = 'switchboard' then
        perform private.enter();
    end if;
    turn := private.require_turn(turn_id);
    if turn.status = 'active' then
        -- Pieces lie one behind the other from position 0; what ends before the asked position is left out.
        select pg_catalog.substr(pg_catalog.string_agg(c.piece, '' order by c.position), greatest(start - pg_catalog.min(c.position), 0) + 1)
          into body
          from public.turn_chunks c
         where c.turn_id = turn.id
           and c.position + pg_catalog.length(c.piece) > start;
        length := start + coalesce(pg_catalog.length(body), 0);
    else
        select m.id, pg_catalog.substr(m.text, start + 1), pg_catalog.length(m.text)
          into told, body, length
          from public.messages m
         where m.turn_id = turn.id
           and m.role = 'persona';
    end if;
    return pg_catalog.jsonb_build_object(
        'turn_id', turn.id, 'status', turn.status, 'position', coalesce(length, 0),
        'text', coalesce(body, ''), 'message_id', told, 'error_code', turn.error_code, 'usage', turn.usage,
        'session_id', turn.session_id, 'conversation_id', turn.conversation_id,
        'contact_id', (select c.contact_id from public.conversations c where c.id = turn.conversation_id));
end;
$$;
comment on function public.read_turn(uuid, integer) is 'A turn''s state and the characters of its answer after a position.';
grant execute on function public.read_turn(uuid, integer) to switchboard, contact, authenticated;

create function private.expire_turns(max_turns integer default 1000)
    returns integer
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    turn    public.turns;
    expired integer := 0;
begin
    for turn in
        select t.*
          from public.turns t
          join public.sessions s on s.id = t.session_id
         where t.status = 'active'
           and t.lease_until < pg_catalog.clock_timestamp()
         order by t.lease_until
         limit max_turns
           for no key update skip locked
    loop
        perform private.close_turn(turn, 'timeout', null, null, 'lease_expired', 'Nobody renewed the lease.', null);
        expired := expired + 1;
    end loop;
    return expired;
end;
$$;
comment on function private.expire_turns(integer) is
    'Ends turns whose lease ran out, keeping what was flushed; how many. Run by pg_cron as the owner, over all workspaces.';
