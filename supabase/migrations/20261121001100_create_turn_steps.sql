-- The steps of a message's way: whose conversation it is, what its persona needs, how its turn ends.

set lock_timeout = '5s';
set statement_timeout = '60s';

create function private.open_conversation(
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
           and (c.space_id is null or private.workspace_of_space(c.space_id) is not null)
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
        perform private.check_arrival(space, client ->> 'address');
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
        perform private.check_arrival(space, client ->> 'address');
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

create function private.close_turn(
    turn           public.turns,
    status         public.turn_status,
    answer         text,
    usage          jsonb,
    error_code     text,
    error_detail   text,
    first_token_ms integer
)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    written uuid;
    body    text := answer;
    policy  public.session_policy;
begin
    -- Always the session before the turn, as start_turn locks them: two writers then never wait for each other in a circle.
    select p.session_policy into policy
      from public.sessions s
      join public.personas p on p.id = s.persona_id
     where s.id = turn.session_id
       for no key update of s;
    -- First writer wins: the row is locked by this update, and whoever comes later finds it closed.
    update public.turns t
       set status = close_turn.status, finished_at = pg_catalog.clock_timestamp(), usage = close_turn.usage,
           error_code = close_turn.error_code, first_token_ms = close_turn.first_token_ms
     where t.id = turn.id
       and t.status = 'active';
    if not found then
        return private.turn_state(turn.id) || '{"changed": false}';
    end if;

    if body is null then
        select pg_catalog.string_agg(c.piece, '' order by c.position) into body from public.turn_chunks c where c.turn_id = turn.id;
    end if;
    delete from public.turn_chunks c where c.turn_id = turn.id;
    if body <> '' then
        insert into public.messages (workspace_id, conversation_id, session_id, turn_id, role, persona_id, text, partial)
        select turn.workspace_id, turn.conversation_id, turn.session_id, turn.id, 'persona', s.persona_id, body, close_turn.status <> 'completed'
          from public.sessions s
         where s.id = turn.session_id
        returning id into written;
    end if;

    update public.sessions s
       set message_count = s.message_count + (written is not null)::integer,
           error_message = coalesce(close_turn.error_code, s.error_message),
           status        = case when policy = 'per_message' and s.status in ('active', 'paused')
                                then close_turn.status::text::public.session_status else s.status end,
           ended_at      = case when policy = 'per_message' then coalesce(s.ended_at, pg_catalog.clock_timestamp()) else s.ended_at end
     where s.id = turn.session_id;

    if error_detail <> '' then
        insert into public.turn_errors (turn_id, workspace_id, conversation_id, detail)
        values (turn.id, turn.workspace_id, turn.conversation_id, pg_catalog.left(error_detail, 2000));
    end if;
    if close_turn.status <> 'completed' then
        insert into public.audit_events (workspace_id, verb, object_id, code)
        values (turn.workspace_id, 'turn.' || close_turn.status, turn.id, close_turn.error_code);
    end if;
    return pg_catalog.jsonb_build_object(
        'changed', true, 'status', close_turn.status, 'message_id', written, 'text_length', coalesce(pg_catalog.length(body), 0));
end;
$$;
comment on function private.close_turn(public.turns, public.turn_status, text, jsonb, text, text, integer) is
    'Ends a turn once: stores the answer (null: what was flushed), moves the counters, ends a per_message session, audits a failure.';

create function private.turn_state(turn_id uuid)
    returns jsonb
    language sql
    stable
    set search_path = ''
as $$
    select pg_catalog.jsonb_build_object(
               'status', t.status, 'message_id', m.id, 'text_length', coalesce(pg_catalog.length(m.text), 0))
      from public.turns t
      left join public.messages m on m.turn_id = t.id and m.role = 'persona'
     where t.id = turn_state.turn_id;
$$;
comment on function private.turn_state(uuid) is 'What stands of a turn: {status, message_id, text_length}; null where it cannot be seen.';

create function private.turn_history(conversation_id uuid, before_message uuid, message_limit integer)
    returns jsonb
    language sql
    stable
    set search_path = ''
as $$
    select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('role', h.role, 'text', h.text, 'created_at', h.created_at)
                                         order by h.created_at, h.id), '[]')
      from (select m.id, m.role, m.text, m.created_at
              from public.messages m
             where m.conversation_id = turn_history.conversation_id
               and m.id is distinct from before_message
             order by m.created_at desc, m.id desc
             limit message_limit) h;
$$;
comment on function private.turn_history(uuid, uuid, integer) is 'A conversation''s last messages, oldest first, without the new one.';

create function private.describe_turn(turn public.turns, conversation public.conversations, repeated boolean)
    returns jsonb
    language sql
    stable
    set search_path = ''
as $$
    select pg_catalog.jsonb_build_object(
               'repeat', repeated, 'status', turn.status, 'workspace_id', turn.workspace_id, 'turn_id', turn.id,
               'session_id', turn.session_id, 'conversation_id', turn.conversation_id,
               'contact_id', conversation.contact_id, 'user_id', conversation.user_id, 'proof', conversation.proof,
               'user_message_id', asked.id,
               'history', case when repeated then '[]'::jsonb
                               else private.turn_history(turn.conversation_id, asked.id, p.history_limit) end,
               'persona', pg_catalog.jsonb_build_object(
                   'id', p.id, 'kind', p.kind, 'name', p.name, 'config', p.config, 'time_limit_seconds', p.time_limit_seconds,
                   'secret', case when p.secret_id is not null and not repeated then private.persona_secret(p.id) end),
               'allowed_networks', pg_catalog.to_jsonb(w.allowed_networks))
      from public.personas p
      join public.workspaces w on w.id = p.workspace_id
      left join public.messages asked on asked.turn_id = turn.id and asked.role <> 'persona'
     where p.id = conversation.persona_id;
$$;
comment on function private.describe_turn(public.turns, public.conversations, boolean) is 'All that the persona needs to answer a turn.';

grant execute on function
    private.open_conversation(public.spaces, text, text, text, text, text, jsonb),
    private.close_turn(public.turns, public.turn_status, text, jsonb, text, text, integer),
    private.turn_history(uuid, uuid, integer),
    private.describe_turn(public.turns, public.conversations, boolean)
    to switchboard;
grant execute on function private.turn_state(uuid) to switchboard;
