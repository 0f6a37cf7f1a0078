-- Going on where something broke off: a session that timed out, or one whose last answer was interrupted.

set lock_timeout = '5s';
set statement_timeout = '60s';

create function private.refuse_transition(session public.sessions)
    returns jsonb
    language sql
    volatile
    set search_path = ''
as $$
    select private.refuse(pg_catalog.jsonb_build_object(
               'status', 409, 'code', 'transition_not_allowed', 'title', 'The session''s state does not allow this.',
               'session_id', session.id, 'session_status', session.status));
$$;
comment on function private.refuse_transition(public.sessions) is 'Refuses a change that the session''s state does not allow, and tells the state.';

create function public.recover_session(session_id uuid)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    caller  constant jsonb := private.claims() -> 'caller';
    session public.sessions;
    last    public.turns;
    live    uuid;
    changed boolean := false;
begin
    perform private.enter_session(session_id);
    -- The conversation before its sessions, as start_turn locks them.
    perform
       from public.conversations c
      where c.id = (select s.conversation_id from public.sessions s where s.id = recover_session.session_id)
        for no key update;
    select s.* into strict session from public.sessions s where s.id = recover_session.session_id for no key update;

    -- Locked before its lease is judged: a flush may be renewing it.
    select t.* into last
      from public.turns t
     where t.session_id = session.id
     order by t.created_at desc
     limit 1
       for no key update;
    if last.status = 'active' and last.lease_until <= pg_catalog.clock_timestamp() then
        perform private.close_turn(last, 'timeout', null, null, 'lease_expired', 'Nobody renewed the lease.', null);
        changed := true;
        select s.* into strict session from public.sessions s where s.id = recover_session.session_id;
        select t.* into strict last from public.turns t where t.id = last.id;
    end if;

    if session.status = 'timeout' then
        select s.id into live
          from public.sessions s
         where s.conversation_id = session.conversation_id
           and s.status in ('active', 'paused');
        if found then
            return private.refuse_transition(session) || pg_catalog.jsonb_build_object('live_session_id', live);
        end if;
        update public.sessions s
           set status = 'active', ended_at = null, error_message = null, last_activity_at = pg_catalog.clock_timestamp()
         where s.id = session.id
        returning * into session;
        perform private.record_audit('session.recovered', session.id,
                                     coalesce(caller ->> 'contact_id', caller ->> 'user_id')::uuid, null);
        changed := true;
    elsif session.status not in ('active', 'paused') then
        return private.refuse_transition(session);
    end if;

    return pg_catalog.jsonb_build_object(
        'changed', changed, 'session_id', session.id, 'conversation_id', session.conversation_id, 'status', session.status,
        'messages', (select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                                'id', h.id, 'role', h.role, 'text', h.text, 'partial', h.partial, 'turn_id', h.turn_id, 'created_at', h.created_at)
                                order by h.created_at, h.id), '[]')
                       from (select m.*
                               from public.messages m
                              where m.conversation_id = session.conversation_id
                                -- An agent may have been given this session and none of those before.
                                and m.session_id in (select s.id
                                                       from public.sessions s
                                                      where s.conversation_id = session.conversation_id
                                                        and private.may_act_on(s))
                              order by m.created_at desc, m.id desc
                              limit 200) h),
        'last_turn', case when last.id is not null then pg_catalog.jsonb_build_object(
                              'turn_id', last.id, 'status', last.status, 'error_code', last.error_code,
                              'client_message_id', last.client_message_id) end);
end;
$$;
comment on function public.recover_session(uuid) is
    'Makes a timed-out session active again, or finds a live one whose answer was interrupted: {changed, session_id, status, messages (the last 200 of the conversation that the caller may read), last_turn}.';

grant execute on function private.refuse_transition(public.sessions), public.recover_session(uuid) to switchboard;
