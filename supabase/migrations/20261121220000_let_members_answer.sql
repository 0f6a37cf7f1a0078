-- A member may answer in the persona's place. What comes in meanwhile is stored as any message, with a turn that is over at
-- once and has no answer; who took the session over answers by messages of their own.

set lock_timeout = '5s';
set statement_timeout = '60s';

alter table public.turns add column taken_over boolean not null default false;
comment on column public.turns.taken_over is 'A member had taken the session over: the turn was completed at once, without an answer of the persona''s.';

-- New columns are null everywhere: there is nothing to check, and nothing to find. The key is what ends a takeover with its
-- member, whoever takes them out of the workspace, and in whatever moment.
alter table public.sessions
    -- squawk-ignore adding-foreign-key-constraint, constraint-missing-not-valid
    add constraint sessions_taken_over_by_fkey foreign key (workspace_id, taken_over_by)
        references public.workspace_members (workspace_id, user_id) on delete set null (taken_over_by),
    -- squawk-ignore constraint-missing-not-valid
    add constraint sessions_taken_over_live check (taken_over_by is null or status in ('active', 'paused'));
-- squawk-ignore require-concurrent-index-creation
create index sessions_taken_over_by_idx on public.sessions (taken_over_by) where taken_over_by is not null;

create function private.end_takeover()
    returns trigger
    language plpgsql
    volatile
    set search_path = ''
as $$
begin
    new.taken_over_by := null;
    new.taken_over_at := null;
    return new;
end;
$$;
comment on function private.end_takeover() is 'Ends a takeover with its session, whatever ends that, or with its member.';

create trigger sessions_end_takeover
    before update on public.sessions
    for each row
    when (old.taken_over_by is not null and (new.taken_over_by is null or new.status not in ('active', 'paused')))
    execute function private.end_takeover();

create function private.audit_handed_back()
    returns trigger
    language plpgsql
    volatile
    set search_path = ''
as $$
begin
    insert into public.audit_events (workspace_id, verb, object_id, actor_id, code)
    select new.workspace_id, 'session.handed_back', new.id, private.calling_actor(),
           case when new.status not in ('active', 'paused') then 'session_ended'
                when not exists (select
                                   from public.workspace_members m
                                  where m.workspace_id = old.workspace_id
                                    and m.user_id = old.taken_over_by) then 'unattended' end
     -- A workspace that is being deleted takes its members along before its sessions, and keeps no audit.
     where exists (select from public.workspaces w where w.id = new.workspace_id);
    return null;
end;
$$;
comment on function private.audit_handed_back() is 'Audits the end of a takeover; the code says what ended it where nobody handed it back.';

create trigger sessions_audit_handed_back
    after update on public.sessions
    for each row
    when (old.taken_over_by is not null and new.taken_over_by is null)
    execute function private.audit_handed_back();

-- What follows is as it was but for what the comments say about taking over.

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
    workspace    public.workspaces;
    space        public.spaces;
    persona      public.personas;
    conversation public.conversations;
    session      public.sessions;
    turn         public.turns;
    asked        uuid;
    limits       jsonb;
    taken        jsonb;
    guarded      boolean := false;
    silent       boolean;
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
        session := private.find_or_create_session(conversation, client);
        -- A persona that is not called is not asked whether it can be; locked, the session stays as it is until the end.
        if session.taken_over_by is null then
            guarded := private.check_breaker(persona);
        end if;
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

        -- A member answers in the persona's place, in their own time: the turn is over at once.
        silent := session.taken_over_by is not null;
        insert into public.turns (workspace_id, conversation_id, session_id, client_message_id, request_id, deadline, lease_until,
                                  taken_over, status, finished_at)
        values (space.workspace_id, conversation.id, session.id, start_turn.client_message_id, start_turn.request_id,
                pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => persona.time_limit_seconds),
                pg_catalog.clock_timestamp() + interval '30 seconds',
                silent, case when silent then 'completed' else 'active' end::public.turn_status,
                case when silent then pg_catalog.clock_timestamp() end)
        returning * into turn;
        insert into public.messages (workspace_id, conversation_id, session_id, turn_id, role, contact_id, user_id, text, metadata)
        values (space.workspace_id, conversation.id, session.id, turn.id,
                case when conversation.contact_id is null then 'user' else 'contact' end::public.message_role,
                conversation.contact_id, conversation.user_id, start_turn.message, start_turn.metadata)
        returning id into asked;
        -- A contact's message resumes a paused session, unless a member took it over.
        update public.sessions s
           set status = case when silent then s.status else 'active' end, turn_count = s.turn_count + 1, message_count = s.message_count + 1,
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

create or replace function private.describe_turn(
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
        'repeat', repeated, 'status', turn.status, 'taken_over', turn.taken_over, 'workspace_id', turn.workspace_id, 'turn_id', turn.id,
        'session_id', turn.session_id, 'conversation_id', turn.conversation_id,
        'contact_id', conversation.contact_id, 'user_id', conversation.user_id, 'proof', conversation.proof,
        'user_message_id', asked,
        'history', case when repeated or turn.taken_over then '[]'::jsonb
                        else private.turn_history(turn.conversation_id, asked, persona.history_limit) end,
        'persona', pg_catalog.jsonb_build_object(
            'id', persona.id, 'kind', persona.kind, 'name', persona.name, 'config', persona.config,
            'time_limit_seconds', persona.time_limit_seconds,
            'secret', case when persona.secret_id is not null and not repeated and not turn.taken_over then private.persona_secret(persona.id) end),
        'allowed_networks', workspace.allowed_networks);
end;
$$;

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
           -- Who took a session over keeps it: it ends with the first answer after it was handed back.
           status        = case when persona.session_policy = 'per_message' and s.status in ('active', 'paused') and s.taken_over_by is null
                                then close_turn.status::text::public.session_status else s.status end,
           ended_at      = case when persona.session_policy = 'per_message' and s.taken_over_by is null
                                then coalesce(s.ended_at, pg_catalog.clock_timestamp()) else s.ended_at end
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

create or replace function public.read_turn(turn_id uuid, after integer default 0)
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
        'turn_id', turn.id, 'status', turn.status, 'taken_over', turn.taken_over, 'position', coalesce(length, 0),
        'text', coalesce(body, ''), 'message_id', told, 'error_code', turn.error_code, 'usage', turn.usage,
        'session_id', turn.session_id, 'conversation_id', turn.conversation_id,
        'contact_id', (select c.contact_id from public.conversations c where c.id = turn.conversation_id));
end;
$$;
