-- Stopping an answer. What its reader has seen is kept, so whoever answers ends the turn: it learns of the wish with its
-- next flush, stops, and stores all that it has sent. Only where nobody has flushed for a while does the canceller do it.

set lock_timeout = '5s';
set statement_timeout = '60s';

alter table public.turns add column cancel_requested_at timestamptz;
comment on column public.turns.cancel_requested_at is 'Somebody wants it to stop; whoever answers learns so with the next flush and ends it as cancelled.';

create function private.may_act_on(session public.sessions)
    returns boolean
    language sql
    stable
    set search_path = ''
as $$
    -- The same people as the policies on sessions let read it.
    select coalesce(
        case c.caller ->> 'kind'
            when 'contact' then session.conversation_id = (c.caller ->> 'conversation_id')::uuid
                            and session.contact_id = (c.caller ->> 'contact_id')::uuid
            when 'user'    then (session.user_id = (c.caller ->> 'user_id')::uuid and session.contact_id is not null)
                             or exists (select
                                          from public.workspace_members m
                                         where m.workspace_id = session.workspace_id
                                           and m.user_id = (c.caller ->> 'user_id')::uuid
                                           and (m.role in ('owner', 'admin') or m.user_id in (session.user_id, session.assigned_user_id)))
        end, false)
      from (select private.claims() -> 'caller' as caller) c;
$$;
comment on function private.may_act_on(public.sessions) is 'Whether the caller on whose behalf a function of ours calls may see a session, and so act on it.';

create function private.enter_session(session_id uuid)
    returns void
    language plpgsql
    volatile
    security definer
    set search_path = ''
as $$
declare
    scope   constant jsonb := coalesce(private.claims() -> 'scope', '{}');
    session public.sessions;
begin
    select s.* into session
      from public.sessions s
     where s.id = enter_session.session_id
       and s.workspace_id = coalesce((scope ->> 'workspace_id')::uuid, s.workspace_id);
    if not found or not private.may_act_on(session) then
        raise sqlstate 'PT404' using message = 'session_not_found', detail = 'There is no such session.';
    end if;
    perform pg_catalog.set_config('switchboard.workspace_id', session.workspace_id::text, true);
end;
$$;
comment on function private.enter_session(uuid) is 'Enters the workspace of a session that the caller may act on; 404 for any other.';

create function private.enter_turn(turn_id uuid)
    returns public.turns
    language plpgsql
    volatile
    security definer
    set search_path = ''
as $$
declare
    turn public.turns;
begin
    select t.* into turn from public.turns t where t.id = enter_turn.turn_id;
    begin
        perform private.enter_session(turn.session_id);
    exception when sqlstate 'PT404' then
        raise sqlstate 'PT404' using message = 'turn_not_found', detail = 'There is no such turn.';
    end;
    return turn;
end;
$$;
comment on function private.enter_turn(uuid) is 'Enters the workspace of a turn that the caller may act on, and returns it; 404 for any other.';

create or replace function private.close_turn(
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
    persona public.personas;
begin
    -- Always the session before the turn, as start_turn locks them: two writers then never wait for each other in a circle.
    select p.* into persona
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
        values (turn.workspace_id, turn.conversation_id, turn.session_id, turn.id, 'persona', persona.id, body, close_turn.status <> 'completed')
        returning id into written;
    end if;

    update public.sessions s
       set message_count = s.message_count + (written is not null)::integer,
           error_message = coalesce(close_turn.error_code, s.error_message),
           status        = case when persona.session_policy = 'per_message' and s.status in ('active', 'paused')
                                then close_turn.status::text::public.session_status else s.status end,
           ended_at      = case when persona.session_policy = 'per_message' then coalesce(s.ended_at, pg_catalog.clock_timestamp()) else s.ended_at end
     where s.id = turn.session_id;

    if error_detail <> '' then
        insert into public.turn_errors (turn_id, workspace_id, conversation_id, detail)
        values (turn.id, turn.workspace_id, turn.conversation_id, pg_catalog.left(error_detail, 2000));
    end if;
    if close_turn.status <> 'completed' then
        insert into public.audit_events (workspace_id, verb, object_id, code)
        values (turn.workspace_id, 'turn.' || close_turn.status, turn.id, close_turn.error_code);
    end if;
    perform private.feed_breaker(turn, persona, close_turn.status, close_turn.error_code);
    return pg_catalog.jsonb_build_object(
        'changed', true, 'status', close_turn.status, 'message_id', written, 'text_length', coalesce(pg_catalog.length(body), 0));
end;
$$;
comment on function private.close_turn(public.turns, public.turn_status, text, jsonb, text, text, integer) is
    'Ends a turn once: stores the answer (null: what was flushed), moves the counters, ends a per_message session, audits a failure, feeds the breaker.';

create function private.stop_turn(turn public.turns)
    returns boolean
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    quiet boolean;
begin
    -- The session before the turn, as everywhere.
    perform from public.sessions s where s.id = turn.session_id for no key update;
    -- A lease is 30 s from the last flush, and whoever answers flushes every two seconds even when there is nothing to
    -- store: after six without one there is nobody, and nothing that a reader has seen beyond what is flushed. Unless it
    -- was the database that was away: then flushes wait as this wish did, and whoever answers has three seconds for one.
    update public.turns t
       set cancel_requested_at = coalesce(t.cancel_requested_at, pg_catalog.clock_timestamp())
     where t.id = turn.id
       and t.status = 'active'
    returning t.lease_until <= pg_catalog.clock_timestamp() + interval '24 seconds'
              and t.cancel_requested_at <= pg_catalog.clock_timestamp() - interval '3 seconds' into quiet;
    if quiet then
        perform private.close_turn(turn, 'cancelled', null, null, null, null, null);
    end if;
    return coalesce(quiet, true);
end;
$$;
comment on function private.stop_turn(public.turns) is 'Asks whoever answers a turn to stop, or ends it where nobody does; whether it has ended.';

create function public.cancel_turn(turn_id uuid)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    caller constant jsonb        := private.claims() -> 'caller';
    turn   constant public.turns := private.enter_turn(turn_id);
begin
    if turn.status = 'active' then
        if turn.cancel_requested_at is null then
            perform private.record_audit('turn.cancel_requested', turn.id,
                                         coalesce(caller ->> 'contact_id', caller ->> 'user_id')::uuid, null);
        end if;
        perform private.stop_turn(turn);
    end if;
    return private.turn_state(turn.id) || pg_catalog.jsonb_build_object('turn_id', turn.id);
end;
$$;
comment on function public.cancel_turn(uuid) is
    'Asks for a turn to be stopped, on behalf of somebody who may see it: {turn_id, status, message_id, text_length}. It has stopped when status says so; ask again until then.';

create or replace function public.flush_turn(turn_id uuid, "position" integer, piece text)
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
    return (select pg_catalog.jsonb_build_object('status', t.status, 'stop', t.status = 'active' and t.cancel_requested_at is not null)
              from public.turns t
             where t.id = turn.id);
end;
$$;
comment on function public.flush_turn(uuid, integer, text) is
    'Stores the next piece of an answer, renews the lease, and tells the turn''s status and whether to stop: {status, stop}. Repeating it changes nothing.';

create or replace function private.expire_turns(max_turns integer default 1000)
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
         -- Each may lock its persona's breaker until the end: two sweeps then never wait for each other in a circle.
         order by s.persona_id, t.lease_until
         limit max_turns
           for no key update skip locked
    loop
        perform private.close_turn(turn, 'timeout', null, null, 'lease_expired', 'Nobody renewed the lease.', null);
        expired := expired + 1;
    end loop;
    return expired;
end;
$$;

grant execute on function
    private.may_act_on(public.sessions), private.enter_session(uuid), private.enter_turn(uuid), private.stop_turn(public.turns)
    to switchboard;
grant execute on function public.cancel_turn(uuid) to switchboard;
