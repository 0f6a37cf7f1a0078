-- Generated from supabase/schemas/45_retry.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- retry_turn: answers the messages of a failed turn anew.

create function private.attempts_of(turn_id uuid)
    returns uuid[] language sql stable set search_path = ''
as $$
    with recursive attempts (id, retry_of, place) as (
        select t.id, t.retry_of, 0 from public.turns t where t.id = attempts_of.turn_id
        union all
        select t.id, t.retry_of, a.place + 1 from attempts a join public.turns t on t.id = a.retry_of
    )
    select array_agg(a.id order by a.place desc) from attempts a;
$$;
comment on function private.attempts_of is 'A turn and the turns that it retries, the first one, which has the message, first.';

create function private.require_retryable(turn public.turns, session public.sessions)
    returns void language plpgsql set search_path = ''
as $$
declare
    is_live  constant boolean := session.status in ('active', 'paused');
    -- A session that timed out, or that ended with this turn.
    recovers constant boolean := session.status = 'timeout'
                              or (session.status::text = turn.status::text
                                  and session.error_message is distinct from 'failed_by_member'
                                  and exists (select
                                                from public.personas p
                                               where p.id = session.persona_id
                                                 and p.session_policy = 'per_message'));
begin
    if turn.status not in ('failed', 'timeout', 'cancelled')
       or not (is_live or recovers)
       or exists (select
                    from public.turns t
                   where t.conversation_id = turn.conversation_id
                     and t.created_at > turn.created_at)
       or exists (select
                    from public.sessions s
                   where s.conversation_id = turn.conversation_id
                     and s.id <> session.id
                     and s.status in ('active', 'paused')) then
        perform private.raise_refusal(private.transition_refusal(jsonb_build_object(
            'session_id', session.id, 'session_status', session.status, 'turn_id', turn.id, 'turn_status', turn.status)));
    elsif session.taken_over_by is not null then
        perform private.raise_refusal(jsonb_build_object('status', 409, 'code', 'taken_over', 'session_id', session.id));
    end if;
end;
$$;
comment on function private.require_retryable is 'Raises SB001 unless a turn is the last one of its conversation, ended without a complete answer, and its session lives or ended with it.';

create function private.history_before_retry(conversation_id uuid, attempts uuid[], message_limit integer)
    returns jsonb language plpgsql stable set search_path = ''
as $$
begin
    return (select coalesce(jsonb_agg(jsonb_build_object('role', h.role, 'text', h.text, 'created_at', h.created_at)
                                                 order by h.created_at, h.id), '[]')
              from (select m.id, m.role, coalesce(m.speaker || ': ', '') || m.text as text, m.created_at
                      from public.messages m
                     where m.conversation_id = history_before_retry.conversation_id
                       and (m.turn_id is null or m.turn_id <> all (attempts))
                     order by m.created_at desc, m.id desc
                     limit message_limit) h);
end;
$$;
comment on function private.history_before_retry is 'A conversation''s last messages, oldest first, without those of the attempts to answer a message.';

create function private.restart_turn(failed public.turns, attempt_id uuid, client jsonb)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    conversation public.conversations;
    session      public.sessions;
    persona      public.personas;
    workspace    public.workspaces;
    space        public.spaces;
    turn         public.turns;
    answering    public.personas;
    attempts     uuid[];
    asked        jsonb;
    limits       jsonb;
    taken        jsonb;
    refusal      text;
    is_repeat    boolean;
begin
    -- Locks in the order of start_turn: conversation, session.
    select c.* into strict conversation from public.conversations c where c.id = failed.conversation_id for no key update;
    select s.* into strict session from public.sessions s where s.id = failed.session_id for no key update;
    select t.* into strict failed from public.turns t where t.id = failed.id;
    attempts := private.attempts_of(failed.id);
    asked    := private.asked_messages(attempts[1]);
    select w.* into strict workspace from public.workspaces w where w.id = session.workspace_id;
    select s.* into space from public.spaces s where s.id = conversation.space_id;
    select p.* into persona from public.personas p where p.id = conversation.persona_id and p.enabled;
    if not found then
        raise sqlstate 'PT404' using message = 'persona_not_found';
    end if;
    limits    := private.message_limits(workspace, space, client ->> 'address');
    answering := persona;

    select t.* into turn from public.turns t where t.retry_of = failed.id;
    if found then
        is_repeat := turn.status <> 'active' or restart_turn.attempt_id is null or turn.attempt_id is distinct from restart_turn.attempt_id;
        if not is_repeat and turn.fallback_persona_id is not null then
            answering := private.fallback_of(persona);
        end if;
    else
        is_repeat := false;
        begin
            if failed.status = 'active' and failed.lease_until <= clock_timestamp() then
                perform private.lock_breakers(persona, failed.fallback_persona_id);
                perform private.expire_turn(failed);
                select t.* into strict failed from public.turns t where t.id = failed.id;
                select s.* into strict session from public.sessions s where s.id = session.id;
            end if;
            perform private.require_retryable(failed, session);
            perform private.check_limits(limits);
            update public.sessions s
               set status = 'active', ended_at = null, error_message = null, turn_count = s.turn_count + 1,
                   last_activity_at = clock_timestamp()
             where s.id = session.id;
            insert into public.turns (workspace_id, conversation_id, session_id, attempt_id, retry_of, deadline, lease_until)
            select session.workspace_id, conversation.id, session.id, restart_turn.attempt_id, failed.id,
                   c.moment + make_interval(secs => persona.time_limit_seconds), c.moment + private.turn_lease()
              from clock_timestamp() as c (moment)
            returning * into turn;
            if exists (select from public.persona_breakers b where b.persona_id = persona.id and b.state <> 'closed')
               and private.check_breaker(persona) then
                answering := private.pass_breaker(persona, turn);
            end if;
            if session.status not in ('active', 'paused') then
                perform private.record_audit('session.recovered', session.id, private.calling_actor(), null);
            end if;
            perform private.record_audit('turn.retried', failed.id, private.calling_actor(), null);
            taken := private.take_limits(limits);
        exception when sqlstate 'SB001' then
            get stacked diagnostics refusal = pg_exception_detail;
            return private.refuse_turn(refusal::jsonb, limits);
        end;
    end if;
    return private.describe_turn(
               turn, conversation, workspace, answering, (asked -> 0 ->> 'id')::uuid, is_repeat,
               private.history_before_retry(conversation.id, attempts, persona.history_limit))
           || jsonb_build_object('limits', coalesce(taken, '[]'), 'messages', asked, 'space_id', conversation.space_id);
end;
$$;
comment on function private.restart_turn is 'What retry_turn does, in the entered workspace.';

create function public.retry_turn(turn_id uuid, attempt_id uuid default null, client jsonb default '{}')
    returns jsonb language sql set search_path = ''
as $$
    select private.restart_turn(private.enter_turn(turn_id), attempt_id, client);
$$;
comment on function public.retry_turn is 'Answers the messages of the conversation''s last turn anew, if that turn failed, timed out or was cancelled, or returns the retry that was started before: as start_turn, with messages ([{id, text, metadata}]) and space_id.';

grant execute on function
    private.attempts_of, private.require_retryable, private.history_before_retry, private.restart_turn, public.retry_turn
    to switchboard;
