-- Taking a message in and closing its turn, each in the few statements that the usual way needs. What is out of the
-- ordinary is found by them and judged by the steps that judged it before.

set lock_timeout = '5s';
set statement_timeout = '60s';

create or replace function public.start_turn(
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
                         from pg_catalog.jsonb_each(limits) as l (name, terms)
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
            raise sqlstate 'PT404' using message = 'persona_not_found', detail = 'There is no such persona in this space.';
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
                silent  := session.taken_over_by is not null;
            end if;
        end if;

        with opened as (
            -- A member who took over answers in the persona's place, in their own time: the turn is over at once.
            insert into public.turns as t (workspace_id, conversation_id, session_id, client_message_id, request_id, deadline, lease_until,
                                           taken_over, status, finished_at)
            select conversation.workspace_id, conversation.id, session.id, start_turn.client_message_id, start_turn.request_id,
                   c.moment + pg_catalog.make_interval(secs => persona.time_limit_seconds), c.moment + interval '30 seconds',
                   silent, case when silent then 'completed' else 'active' end::public.turn_status, case when silent then c.moment end
              from pg_catalog.clock_timestamp() as c (moment)
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
                   last_activity_at = pg_catalog.clock_timestamp()
             where s.id = session.id
        )
        select o.turn, a.id as asked,
               -- As it was before this statement, so without the new message.
               (select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('role', h.role, 'text', h.text, 'created_at', h.created_at)
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
                   or (caller ->> 'kind' = 'user' and conversation.contact_id is not null and conversation.created_at = pg_catalog.now())
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
            refusal := refusal || pg_catalog.jsonb_build_object('limits', private.count_attempt(limits));
        end if;
        return private.refuse(refusal - '{subject,object_id}'::text[]);
    end;

    return private.describe_turn(begun.turn, conversation, place.workspace, persona, begun.asked, false, begun.history)
           || pg_catalog.jsonb_build_object('limits', taken);
end;
$$;

create function private.describe_turn(
    turn         public.turns,
    conversation public.conversations,
    workspace    public.workspaces,
    persona      public.personas,
    asked        uuid,
    repeated     boolean,
    history      jsonb
)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return pg_catalog.jsonb_build_object(
        'repeat', repeated, 'status', turn.status, 'taken_over', turn.taken_over, 'workspace_id', turn.workspace_id, 'turn_id', turn.id,
        'session_id', turn.session_id, 'conversation_id', turn.conversation_id,
        'contact_id', conversation.contact_id, 'user_id', conversation.user_id, 'proof', conversation.proof,
        'user_message_id', asked,
        'history', history,
        'persona', pg_catalog.jsonb_build_object(
            'id', persona.id, 'kind', persona.kind, 'name', persona.name, 'config', persona.config,
            'time_limit_seconds', persona.time_limit_seconds,
            'secret', case when persona.secret_id is not null and not repeated and not turn.taken_over then private.persona_secret(persona.id) end),
        'allowed_networks', workspace.allowed_networks);
end;
$$;
comment on function private.describe_turn(public.turns, public.conversations, public.workspaces, public.personas, uuid, boolean, jsonb) is
    'All that the persona needs to answer a turn.';
grant execute on function private.describe_turn(public.turns, public.conversations, public.workspaces, public.personas, uuid, boolean, jsonb)
    to switchboard;

-- squawk-ignore ban-drop-function
drop function private.describe_turn(public.turns, public.conversations, public.workspaces, public.personas, uuid, boolean);

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
    body    text := answer;
    known   record;
    ended   record;
begin
    -- Always the session before the turn, as start_turn locks them: two writers then never wait for each other in a circle.
    -- With both locked, the statements below see all that a flush has stored.
    select t.workspace_id, t.conversation_id, t.session_id, t.status, s.persona_id,
           -- Who took a session over keeps it: it ends with the first answer after it was handed back.
           p.session_policy = 'per_message' and s.status in ('active', 'paused') and s.taken_over_by is null as ends_session
      into known
      from public.turns t
      join public.sessions s on s.id = t.session_id
      join public.personas p on p.id = s.persona_id
     where t.id = turn.id
       for no key update of s, t;
    if not found then
        return null;
    end if;
    -- First writer wins: whoever comes later finds it closed.
    if known.status <> 'active' then
        return private.turn_state(turn.id) || '{"changed": false}';
    end if;

    if body is null then
        select pg_catalog.string_agg(c.piece, '' order by c.position) into body from public.turn_chunks c where c.turn_id = turn.id;
    end if;
    with closed as (
        update public.turns t
           set status = close_turn.status, finished_at = pg_catalog.clock_timestamp(), usage = close_turn.usage,
               error_code = close_turn.error_code, first_token_ms = close_turn.first_token_ms
         where t.id = turn.id
    ), dropped as (
        delete from public.turn_chunks c where c.turn_id = turn.id
    ), written as (
        insert into public.messages as m (workspace_id, conversation_id, session_id, turn_id, role, persona_id, text, partial)
        select known.workspace_id, known.conversation_id, known.session_id, turn.id, 'persona', known.persona_id,
               body, close_turn.status <> 'completed'
         where body <> ''
        returning m.id
    ), counted as (
        update public.sessions s
           set message_count = s.message_count + coalesce(body <> '', false)::integer,
               error_message = coalesce(close_turn.error_code, s.error_message),
               status        = case when known.ends_session then close_turn.status::text::public.session_status else s.status end,
               ended_at      = case when known.ends_session then pg_catalog.clock_timestamp() else s.ended_at end
         where s.id = known.session_id
    )
    select (select w.id from written w) as message_id, pg_catalog.length(body) as length,
           -- A persona that is well and was well teaches nothing.
           close_turn.status = 'completed' and not exists (
               select from public.persona_breakers b where b.persona_id = known.persona_id and (b.state <> 'closed' or b.failures > 0)) as ordinary
      into ended;

    if status <> 'completed' or error_detail <> '' then
        insert into public.turn_errors (turn_id, workspace_id, conversation_id, detail)
        select turn.id, known.workspace_id, known.conversation_id, pg_catalog.left(error_detail, 2000)
         where error_detail <> '';
        insert into public.audit_events (workspace_id, verb, object_id, code)
        select known.workspace_id, 'turn.' || status, turn.id, close_turn.error_code
         where status <> 'completed';
    end if;
    if not ended.ordinary then
        perform private.feed_breaker(t, p, close_turn.status, close_turn.error_code)
           from public.turns t, public.personas p
          where t.id = turn.id
            and p.id = known.persona_id;
    end if;
    return pg_catalog.jsonb_build_object(
        'changed', true, 'status', status, 'message_id', ended.message_id, 'text_length', coalesce(ended.length, 0));
end;
$$;
comment on function private.close_turn(public.turns, public.turn_status, text, jsonb, text, text, integer) is
    'Ends a turn once: stores the answer (null: what was flushed), moves the counters, ends a per_message session, audits a failure. Of the turn only its id is looked at; null where it cannot be seen.';

create or replace function public.finish_turn(
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
declare
    turn  public.turns;
    ended jsonb;
begin
    perform private.enter();
    if status = 'active' then
        raise sqlstate 'PT422' using message = 'invalid_body', detail = 'A turn cannot be finished as active.';
    end if;
    turn.id := turn_id;
    ended   := private.close_turn(turn, status, answer, usage, error_code, error_detail, first_token_ms);
    if ended is null then
        raise sqlstate 'PT404' using message = 'turn_not_found', detail = 'There is no such turn.';
    end if;
    return ended;
end;
$$;
