-- Cancelling and recovering: a turn is stopped, expired turns end, a session resumes.

create function private.expire_turns(max_turns integer default 1000)
    returns integer language plpgsql set search_path = ''
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
           and t.lease_until < clock_timestamp()
         -- Ending a turn may lock its persona's breaker: in this order two sweeps cannot deadlock.
         order by coalesce(t.fallback_persona_id, s.persona_id), t.lease_until
         limit max_turns
           for no key update skip locked
    loop
        perform private.expire_turn(turn);
        expired := expired + 1;
    end loop;
    return expired;
end;
$$;
comment on function private.expire_turns is 'Ends turns whose lease expired, with their flushed text; returns how many. Run by pg_cron as the owner, over all workspaces.';

create function private.enter_session(session_id uuid)
    returns void language plpgsql security definer set search_path = ''
as $$
declare
    scope   constant jsonb := coalesce(private.claims() -> 'scope', '{}');
    session public.sessions;
begin
    perform private.require_valid_token();
    select s.* into session
      from public.sessions s
     where s.id = enter_session.session_id
       and s.workspace_id = coalesce((scope ->> 'workspace_id')::uuid, s.workspace_id);
    if not found or not private.may_access_session(session) then
        raise sqlstate 'PT404' using message = 'session_not_found';
    end if;
    perform set_config('switchboard.workspace_id', session.workspace_id::text, true);
end;
$$;
comment on function private.enter_session is 'Enters the workspace of a session that the caller may act on; 404 for others, 401 for a revoked token.';

create function private.enter_turn(turn_id uuid)
    returns public.turns language plpgsql security definer set search_path = ''
as $$
declare
    turn public.turns;
begin
    select t.* into turn from public.turns t where t.id = enter_turn.turn_id;
    begin
        perform private.enter_session(turn.session_id);
    exception when sqlstate 'PT404' then
        raise sqlstate 'PT404' using message = 'turn_not_found';
    end;
    return turn;
end;
$$;
comment on function private.enter_turn is 'Enters the workspace of a turn that the caller may act on, and returns it; 404 for others.';

create function private.stop_turn(turn public.turns)
    returns boolean language plpgsql set search_path = ''
as $$
declare
    is_over boolean;
begin
    -- The session is locked before the turn, as in start_turn.
    perform from public.sessions s where s.id = turn.session_id for no key update;
    -- A silent turn has no process that would stop it, and its reader has seen nothing beyond the flushed text. If the
    -- database was away, flushes wait as this request did: the process then has three seconds for one.
    update public.turns t
       set cancel_requested_at = coalesce(t.cancel_requested_at, clock_timestamp())
     where t.id = turn.id
       and t.status = 'active'
    returning private.is_silent(t) and t.cancel_requested_at <= clock_timestamp() - interval '3 seconds' into is_over;
    if is_over then
        perform private.close_turn(turn, 'cancelled', null, null, null, null, null);
    end if;
    return coalesce(is_over, true);
end;
$$;
comment on function private.stop_turn is 'Asks the process that answers a turn to stop, or ends the turn if there is none; whether it has ended.';

create function private.stop_session_turn(session_id uuid)
    returns uuid language plpgsql set search_path = ''
as $$
declare
    turn public.turns;
begin
    select t.* into turn
      from public.turns t
     where t.session_id = stop_session_turn.session_id
       and t.status = 'active'
       for no key update;
    if not found then
        return null;
    elsif turn.lease_until <= clock_timestamp() then
        perform private.expire_turn(turn);
        return null;
    elsif private.stop_turn(turn) then
        return null;
    end if;
    if turn.cancel_requested_at is null then
        perform private.record_audit('turn.cancel_requested', turn.id, private.calling_actor(), null);
    end if;
    return turn.id;
end;
$$;
comment on function private.stop_session_turn is 'Stops the running turn of a locked session. Returns its id while it is still stopping: the caller tries again.';

create function public.cancel_turn(turn_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    turn public.turns := private.enter_turn(turn_id);
begin
    if turn.status = 'active' then
        -- The session is locked before the turn, and the turn before its status is checked.
        perform from public.sessions s where s.id = turn.session_id for no key update;
        select t.* into strict turn from public.turns t where t.id = turn.id;
    end if;
    if turn.status = 'active' then
        if turn.cancel_requested_at is null then
            perform private.record_audit('turn.cancel_requested', turn.id, private.calling_actor(), null);
        end if;
        perform private.stop_turn(turn);
    end if;
    return private.turn_state(turn.id) || jsonb_build_object('turn_id', turn.id);
end;
$$;
comment on function public.cancel_turn is 'Requests the cancel of a turn: {turn_id, status, message_id, text_length}. Repeat the call until status says that it has ended.';

create function public.recover_session(session_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    caller  constant jsonb := private.claims() -> 'caller';
    session public.sessions;
    last    public.turns;
    live    uuid;
    changed boolean := false;
begin
    perform private.enter_session(session_id);
    -- Locks in the order of start_turn: conversation, session.
    perform
       from public.conversations c
      where c.id = (select s.conversation_id from public.sessions s where s.id = recover_session.session_id)
        for no key update;
    select s.* into strict session from public.sessions s where s.id = recover_session.session_id for no key update;

    -- Locked before its lease is checked, because a flush may be renewing it.
    select t.* into last
      from public.turns t
     where t.session_id = session.id
     order by t.created_at desc
     limit 1
       for no key update;
    if last.status = 'active' and last.lease_until <= clock_timestamp() then
        perform private.expire_turn(last);
        changed := true;
        select s.* into strict session from public.sessions s where s.id = recover_session.session_id;
        select t.* into strict last from public.turns t where t.id = last.id;
    end if;

    if session.status = 'timeout'
       -- What a member has failed, only members recover.
       or (session.status = 'failed'
           and (session.error_message is distinct from 'failed_by_member' or private.may_work_on_session(session))) then
        select s.id into live
          from public.sessions s
         where s.conversation_id = session.conversation_id
           and s.status in ('active', 'paused');
        if found then
            return private.refuse_transition(session) || jsonb_build_object('live_session_id', live);
        end if;
        update public.sessions s
           set status = 'active', ended_at = null, error_message = null, last_activity_at = clock_timestamp()
         where s.id = session.id
        returning * into session;
        perform private.record_audit('session.recovered', session.id,
                                     coalesce(caller ->> 'contact_id', caller ->> 'user_id')::uuid, null);
        changed := true;
    elsif session.status not in ('active', 'paused') then
        return private.refuse_transition(session);
    end if;

    return jsonb_build_object(
        'changed', changed, 'session_id', session.id, 'conversation_id', session.conversation_id, 'status', session.status,
        'messages', (select coalesce(jsonb_agg(jsonb_build_object(
                                'id', h.id, 'role', h.role, 'text', h.text, 'partial', h.partial, 'turn_id', h.turn_id, 'created_at', h.created_at)
                                order by h.created_at, h.id), '[]')
                       from (select m.*
                               from public.messages m
                              where m.conversation_id = session.conversation_id
                                -- An agent may be assigned to this session and not to earlier ones.
                                and m.session_id in (select s.id
                                                       from public.sessions s
                                                      where s.conversation_id = session.conversation_id
                                                        and private.may_access_session(s))
                              order by m.created_at desc, m.id desc
                              limit 200) h),
        'last_turn', case when last.id is not null then jsonb_build_object(
                              'turn_id', last.id, 'status', last.status, 'error_code', last.error_code,
                              'client_message_id', last.client_message_id) end);
end;
$$;
comment on function public.recover_session is 'Resumes a timed-out or failed session, or returns a live one whose answer was interrupted: {changed, session_id, status, messages (the last 200 of the conversation that the caller may read), last_turn}.';

grant execute on function
    private.enter_turn, private.stop_turn, private.stop_session_turn, public.cancel_turn, public.recover_session
    to switchboard;

grant execute on function
    private.enter_session
    to service_role, switchboard;
