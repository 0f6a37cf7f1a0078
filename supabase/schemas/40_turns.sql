-- Turns, their streamed chunks, and messages.

-- Foreign keys to personas are deferred: a persona with conversations cannot be deleted, but a workspace with both can.
create type public.turn_status as enum ('active', 'completed', 'failed', 'timeout', 'cancelled');
comment on type public.turn_status is 'active -> completed | failed | timeout | cancelled';

create type public.message_role as enum ('contact', 'user', 'persona', 'member');
comment on type public.message_role is 'The sender: contact; user: signed in, for themselves; persona; member.';

create table public.turns (
    id                  uuid               not null default private.uuid7(),
    workspace_id        uuid               not null,
    conversation_id     uuid               not null,
    session_id          uuid               not null,
    client_message_id   text,
    attempt_id          uuid,
    status              public.turn_status not null default 'active',
    deadline            timestamptz        not null,
    lease_until         timestamptz        not null,
    first_token_ms      integer,
    usage               jsonb,
    error_code          text,
    created_at          timestamptz        not null default clock_timestamp(),
    finished_at         timestamptz,
    cancel_requested_at timestamptz,
    taken_over          boolean            not null default false,
    retry_of            uuid,
    fallback_persona_id uuid,
    collecting          boolean            not null default false,
    constraint turns_pkey                  primary key (id),
    constraint turns_conversation_key      unique (workspace_id, conversation_id, id),
    constraint turns_client_message_id_key unique (conversation_id, client_message_id),
    constraint turns_session_id_fkey       foreign key (workspace_id, conversation_id, session_id) references public.sessions (workspace_id, conversation_id, id) on delete cascade,
    constraint turns_retry_of_fkey         foreign key (workspace_id, conversation_id, retry_of) references public.turns (workspace_id, conversation_id, id) on delete cascade,
    constraint turns_fallback_persona_id_fkey foreign key (workspace_id, fallback_persona_id) references public.personas (workspace_id, id) deferrable initially deferred,
    constraint turns_client_message_id     check (length(client_message_id) between 1 and 200),
    constraint turns_finished              check ((status = 'active') = (finished_at is null))
);
comment on table public.turns is 'One message and its answer: the unit that is streamed, timed, cancelled and retried.';
comment on column public.turns.attempt_id is 'Identifies the HTTP request that started the turn: its retry after a lost answer continues to answer the turn.';
comment on column public.turns.deadline is 'The end of the persona''s time limit.';
comment on column public.turns.lease_until is 'Renewed by each flush. After it the turn counts as abandoned and the sweep ends it.';
comment on column public.turns.first_token_ms is 'Milliseconds from the turn''s start to the first characters of the answer.';
comment on column public.turns.error_code is 'The public error code; turn_errors has the detail.';
comment on column public.turns.cancel_requested_at is 'When a cancel was requested. The process that answers reads it with its next flush and ends the turn.';
comment on column public.turns.taken_over is 'A member had taken the session over, so the turn was completed without an answer.';
comment on column public.turns.retry_of is 'The turn whose message this one answers anew; the message stays with the first turn. A turn is retried once, then its retry.';
comment on column public.turns.fallback_persona_id is 'The fallback that answers in place of the session''s persona; null: the persona itself.';
comment on column public.turns.collecting is 'The persona is not called yet: further messages of the conversation join the turn.';
alter table public.turns enable row level security;
create unique index turns_one_active_idx on public.turns (session_id) where status = 'active';
create unique index turns_retry_of_idx on public.turns (retry_of) where retry_of is not null;
create index turns_session_id_idx on public.turns (session_id, created_at);
create index turns_lease_until_idx on public.turns (lease_until) where status = 'active';
create index turns_fallback_persona_id_idx on public.turns (fallback_persona_id) where fallback_persona_id is not null;

create table public.turn_chunks (
    turn_id         uuid    not null,
    position        integer not null,
    workspace_id    uuid    not null,
    conversation_id uuid    not null,
    piece           text    not null,
    constraint turn_chunks_pkey         primary key (turn_id, position),
    constraint turn_chunks_turn_id_fkey foreign key (workspace_id, conversation_id, turn_id) references public.turns (workspace_id, conversation_id, id) on delete cascade,
    constraint turn_chunks_position     check (position >= 0),
    constraint turn_chunks_piece        check (piece <> '')
);
comment on table public.turn_chunks is 'The text of a running turn''s answer; deleted when the answer becomes a message.';
comment on column public.turn_chunks.position is 'Number of characters of the answer before this piece.';
alter table public.turn_chunks enable row level security;

create table public.turn_errors (
    turn_id         uuid        not null,
    persona_id      uuid        not null,
    workspace_id    uuid        not null,
    conversation_id uuid        not null,
    code            text,
    detail          text        not null,
    created_at      timestamptz not null default now(),
    constraint turn_errors_pkey         primary key (turn_id, persona_id),
    constraint turn_errors_turn_id_fkey foreign key (workspace_id, conversation_id, turn_id) references public.turns (workspace_id, conversation_id, id) on delete cascade,
    constraint turn_errors_persona_id_fkey foreign key (workspace_id, persona_id) references public.personas (workspace_id, id) deferrable initially deferred,
    constraint turn_errors_detail       check (length(detail) <= 2000)
);
comment on table public.turn_errors is 'What went wrong with a turn, in words for the workspace''s admins: addresses and answers of its services. One row for each persona that failed: the session''s, its fallback.';
comment on column public.turn_errors.code is 'The public error code, also of a persona whose fallback answered.';
alter table public.turn_errors enable row level security;
create index turn_errors_newest_idx on public.turn_errors (workspace_id, created_at, turn_id);
create index turn_errors_persona_id_idx on public.turn_errors (persona_id);

create view public.turn_error_details with (security_invoker = true) as
select e.turn_id as id, e.workspace_id, e.conversation_id, t.session_id, e.persona_id, t.status, e.code, e.detail, e.created_at
  from public.turn_errors e
  join public.turns t on t.id = e.turn_id;
comment on view public.turn_error_details is 'What went wrong with turns, for a workspace''s admins: the status of the turn, the failure''s code, and the words of the persona''s server.';

create table public.messages (
    id                uuid                not null default private.uuid7(),
    workspace_id      uuid                not null,
    conversation_id   uuid                not null,
    session_id        uuid                not null,
    turn_id           uuid,
    role              public.message_role not null,
    contact_id        uuid,
    user_id           uuid,
    persona_id        uuid,
    text              text                not null,
    partial           boolean             not null default false,
    metadata          jsonb               not null default '{}',
    created_at        timestamptz         not null default clock_timestamp(),
    client_message_id text,
    speaker           text,
    changed_at        timestamptz,
    constraint messages_pkey              primary key (id),
    constraint messages_session_id_fkey   foreign key (workspace_id, conversation_id, session_id) references public.sessions (workspace_id, conversation_id, id) on delete cascade,
    constraint messages_turn_id_fkey      foreign key (workspace_id, conversation_id, turn_id) references public.turns (workspace_id, conversation_id, id) on delete cascade,
    constraint messages_contact_id_fkey   foreign key (workspace_id, contact_id) references public.contacts (workspace_id, id) on delete cascade,
    constraint messages_persona_id_fkey   foreign key (workspace_id, persona_id) references public.personas (workspace_id, id) deferrable initially deferred,
    constraint messages_text              check (text <> ''),
    constraint messages_metadata_object   check (jsonb_typeof(metadata) = 'object'),
    constraint messages_sender            check (case role
        when 'contact' then contact_id is not null and persona_id is null
        when 'persona' then persona_id is not null and contact_id is null and user_id is null
        else user_id is not null and contact_id is null and persona_id is null
        end),
    -- New and null everywhere: there is nothing to check.
    constraint messages_client_message_id check (length(client_message_id) between 1 and 200),
    constraint messages_speaker           check (length(speaker) between 1 and 200)
);
comment on table public.messages is 'Messages; each one names its sender.';
comment on column public.messages.partial is 'The answer was cancelled, timed out or failed after this text.';
comment on column public.messages.client_message_id is 'The client''s id of a member''s message, which has no turn, or of a message that joined a turn: a repeat returns the first one. The message that started a turn has the turn''s.';
comment on column public.messages.speaker is 'Who spoke, where it is not only the conversation''s contact: of what a contact''s device heard, as the device names them; in a group, as the messenger does. Null: the contact.';
comment on column public.messages.changed_at is 'When the text last changed, under the lock of the conversation; null: never. Only what a device hears, or a provider''s user edits, changes.';
alter table public.messages enable row level security;
create index messages_conversation_id_idx on public.messages (conversation_id, created_at);
create index messages_changed_at_idx on public.messages (conversation_id, changed_at) where changed_at is not null;
create index messages_session_id_idx on public.messages (session_id, created_at);
create index messages_turn_id_idx on public.messages (turn_id);
create index messages_contact_id_idx on public.messages (contact_id) where contact_id is not null;
create index messages_persona_id_idx on public.messages (persona_id) where persona_id is not null;
-- A message's words, and its workspace as one more word, so that one tenant's search does not read what another's messages
-- say.
create index messages_words_idx on public.messages using gin ((
    array_to_tsvector(array['workspace:' || workspace_id::text]) || private.message_words(text)));
-- Nothing is in it, but a table with many rows is read through for that: build it there by hand first, concurrently.
-- The conversation comes first, in which a repeat of a message that joined a turn is looked up.
create unique index messages_client_message_id_idx on public.messages (conversation_id, client_message_id, session_id)
 where client_message_id is not null;

create function private.turn_lease()
    returns interval language plpgsql immutable parallel safe set search_path = ''
as $$
begin
    return interval '30 seconds';
end;
$$;
comment on function private.turn_lease is 'How long a turn lives without a flush. After it the turn counts as abandoned by its process and is ended.';

create function private.is_silent(turn public.turns)
    returns boolean language plpgsql stable set search_path = ''
as $$
begin
    -- The functions flush at least every two seconds, even when there is no text (lib/chat/turn_writer.SILENCE_SECONDS).
    return turn.lease_until <= clock_timestamp() + private.turn_lease() - interval '6 seconds';
end;
$$;
comment on function private.is_silent is 'Whether an active turn was not flushed for six seconds: no process answers it, or the database was not available.';

create function private.own_active_turns()
    returns setof uuid language sql stable security definer set search_path = ''
as $$
    select t.id
      from public.turns t
     where t.session_id in (select private.own_sessions())
       and t.status = 'active';
$$;
comment on function private.own_active_turns is 'The running turns in the signed-in user''s own and assigned sessions.';

create function private.close_turn(
    turn           public.turns,
    status         public.turn_status,
    answer         text,
    usage          jsonb,
    error_code     text,
    error_detail   text,
    first_token_ms integer
)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    body    text := answer;
    known   record;
    ended   record;
begin
    -- The session is locked before the turn, as in start_turn, so that two writers cannot deadlock. With both locked, the
    -- statements below see all flushed text.
    select t.workspace_id, t.conversation_id, t.session_id, t.status, coalesce(t.fallback_persona_id, s.persona_id) as persona_id,
           s.channel <> 'web' and close_turn.status = 'completed' as is_sent, p.remember_turns as is_remembered,
           -- A session that is taken over ends with the first answer after it is handed back.
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
    -- The first writer wins.
    if known.status <> 'active' then
        return private.turn_state(turn.id) || '{"changed": false}';
    end if;

    if body is null then
        select string_agg(c.piece, '' order by c.position) into body from public.turn_chunks c where c.turn_id = turn.id;
    end if;
    with closed as (
        update public.turns t
           set status = close_turn.status, finished_at = clock_timestamp(), usage = close_turn.usage,
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
               updated_at    = clock_timestamp(),
               error_message = coalesce(close_turn.error_code, s.error_message),
               status        = case when known.ends_session then close_turn.status::text::public.session_status else s.status end,
               ended_at      = case when known.ends_session then clock_timestamp() else s.ended_at end
         where s.id = known.session_id
    )
    select (select w.id from written w) as message_id, length(body) as length,
           -- A success does not change a closed breaker without failures.
           close_turn.status = 'completed' and not exists (
               select from public.persona_breakers b where b.persona_id = known.persona_id and (b.state <> 'closed' or b.failures > 0)) as ordinary
      into ended;

    if status <> 'completed' or error_detail <> '' then
        insert into public.turn_errors (turn_id, persona_id, workspace_id, conversation_id, code, detail)
        select turn.id, known.persona_id, known.workspace_id, known.conversation_id, close_turn.error_code, left(error_detail, 2000)
         where error_detail <> '';
        insert into public.audit_events (workspace_id, verb, object_id, code)
        select known.workspace_id, 'turn.' || status, turn.id, close_turn.error_code
         where status <> 'completed';
    end if;
    if known.is_remembered then
        perform private.remember_turn(t) from public.turns t where t.id = turn.id;
    end if;
    if known.is_sent and ended.message_id is not null then
        perform private.queue_sending(ended.message_id, known.conversation_id);
    end if;
    if not ended.ordinary then
        perform private.record_result(t, p, close_turn.status, close_turn.error_code)
           from public.turns t, public.personas p
          where t.id = turn.id
            and p.id = known.persona_id;
    end if;
    return jsonb_build_object(
        'changed', true, 'status', status, 'message_id', ended.message_id, 'text_length', coalesce(ended.length, 0));
end;
$$;
comment on function private.close_turn is 'Ends a turn once: stores the answer (null: the flushed text), updates the counters, ends a per_message session, audits a failure, and remembers the turn if its persona does so. Reads only the id of the given turn; null if it is not visible.';

create function private.expire_turn(turn public.turns)
    returns void language plpgsql set search_path = ''
as $$
begin
    perform private.close_turn(turn, 'timeout', null, null, 'lease_expired', 'The lease was not renewed.', null);
end;
$$;
comment on function private.expire_turn is 'Ends a turn whose lease has expired, because the process that answered it is gone; keeps the flushed text.';

create function private.turn_state(turn_id uuid)
    returns jsonb language sql stable set search_path = ''
as $$
    select jsonb_build_object(
               'status', t.status, 'message_id', m.id, 'text_length', coalesce(length(m.text), 0))
      from public.turns t
      left join public.messages m on m.turn_id = t.id and m.role = 'persona'
     where t.id = turn_state.turn_id;
$$;
comment on function private.turn_state is 'The result of a turn: {status, message_id, text_length}; null if it is not visible.';

create function private.turn_history(conversation_id uuid, other_than_turn uuid, message_limit integer)
    returns jsonb language plpgsql stable set search_path = ''
as $$
begin
    -- In a group, and of what a device heard, a message says who spoke.
    return (select coalesce(jsonb_agg(jsonb_build_object('role', h.role, 'text', h.text, 'created_at', h.created_at)
                                                 order by h.created_at, h.id), '[]')
              from (select m.id, m.role, coalesce(m.speaker || ': ', '') || m.text as text, m.created_at
                      from public.messages m
                     where m.conversation_id = turn_history.conversation_id
                       and (other_than_turn is null or m.turn_id is distinct from other_than_turn)
                     order by m.created_at desc, m.id desc
                     limit message_limit) h);
end;
$$;
comment on function private.turn_history is 'A conversation''s last messages, oldest first, without those of the given turn.';

create function private.require_same_content(is_same boolean)
    returns void language plpgsql immutable set search_path = ''
as $$
begin
    if is_same is not true then
        raise sqlstate 'PT409' using message = 'idempotency_key_reused';
    end if;
end;
$$;
comment on function private.require_same_content is 'Refuses a client message id that was used for other content: 409 idempotency_key_reused.';

create function private.require_turn(turn_id uuid)
    returns public.turns language plpgsql stable set search_path = ''
as $$
declare
    turn public.turns;
begin
    select t.* into turn from public.turns t where t.id = require_turn.turn_id;
    if not found then
        raise sqlstate 'PT404' using message = 'turn_not_found';
    end if;
    return turn;
end;
$$;
comment on function private.require_turn is 'A turn that the caller may see; 404 for others.';

create function public.flush_turn(turn_id uuid, "position" integer, piece text)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    turn public.turns;
begin
    perform private.enter();
    turn := private.require_turn(turn_id);
    update public.turns t
       set lease_until = least(clock_timestamp(), t.deadline) + private.turn_lease()
     where t.id = turn.id
       and t.status = 'active';
    if found and piece <> '' then
        insert into public.turn_chunks (turn_id, position, workspace_id, conversation_id, piece)
        values (turn.id, flush_turn."position", turn.workspace_id, turn.conversation_id, flush_turn.piece)
        on conflict on constraint turn_chunks_pkey do nothing;
    end if;
    return (select jsonb_build_object('status', t.status, 'stop', t.status = 'active' and t.cancel_requested_at is not null,
                                      'revoked', private.token_is_revoked())
              from public.turns t
             where t.id = turn.id);
end;
$$;
comment on function public.flush_turn is 'Stores the next piece of an answer and renews the lease: {status, stop, revoked}; stop: a cancel was requested; revoked: the token that the answer is for. Idempotent.';

create function public.finish_turn(
    turn_id        uuid,
    status         public.turn_status,
    answer         text    default null,
    usage          jsonb   default null,
    error_code     text    default null,
    error_detail   text    default null,
    first_token_ms integer default null
)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    turn  public.turns;
    ended jsonb;
begin
    perform private.enter();
    if status = 'active' then
        raise sqlstate 'PT422' using message = 'invalid_body', detail = 'status_not_terminal';
    end if;
    turn.id := turn_id;
    ended   := private.close_turn(turn, status, answer, usage, error_code, error_detail, first_token_ms);
    if ended is null then
        raise sqlstate 'PT404' using message = 'turn_not_found';
    end if;
    return ended;
end;
$$;
comment on function public.finish_turn is 'Ends a turn: {changed, status, message_id, text_length}. changed is false for a late writer, with the stored result.';

create function public.read_turn(turn_id uuid, after integer default 0)
    returns jsonb language plpgsql stable set search_path = ''
as $$
declare
    -- Above the length of every answer.
    start  constant integer := least(greatest(after, 0), 100000000);
    turn   public.turns;
    body   text;
    length integer;
    told   uuid;
begin
    -- switchboard enters a workspace; contacts and users read under their own policies.
    if private.claims() ->> 'role' = 'switchboard' then
        perform private.enter();
        perform private.require_valid_token();
    end if;
    turn := private.require_turn(turn_id);
    if turn.status = 'active' then
        -- Pieces are contiguous from position 0; those before the given position are left out.
        select substr(string_agg(c.piece, '' order by c.position), greatest(start - min(c.position), 0) + 1)
          into body
          from public.turn_chunks c
         where c.turn_id = turn.id
           and c.position + length(c.piece) > start;
        -- A reader may know more than is flushed: its position stays, so that it misses nothing and reads nothing twice.
        length := start + coalesce(length(body), 0);
    else
        select m.id, substr(m.text, start + 1), length(m.text)
          into told, body, length
          from public.messages m
         where m.turn_id = turn.id
           and m.role = 'persona';
    end if;
    return jsonb_build_object(
        'turn_id', turn.id, 'status', turn.status, 'taken_over', turn.taken_over, 'position', coalesce(length, 0),
        'text', coalesce(body, ''), 'message_id', told, 'error_code', turn.error_code, 'usage', turn.usage,
        'session_id', turn.session_id, 'conversation_id', turn.conversation_id,
        'contact_id', (select c.contact_id from public.conversations c where c.id = turn.conversation_id));
end;
$$;
comment on function public.read_turn is 'The state of a turn, and the text of its answer after a position.';

create function private.may_access_session(session public.sessions)
    returns boolean language sql stable set search_path = ''
as $$
    -- The same condition as in the policies on sessions.
    select c.role is not distinct from 'service_role' or coalesce(
        case c.caller ->> 'kind'
            when 'contact' then session.conversation_id = (c.caller ->> 'conversation_id')::uuid
                            and session.contact_id in ((c.caller ->> 'contact_id')::uuid,
                                                       private.merge_target((c.caller ->> 'contact_id')::uuid))
            when 'user'    then (session.user_id = (c.caller ->> 'user_id')::uuid and session.contact_id is not null)
                             or private.may_work_on_session(session)
            when 'key'     then private.may_work_on_session(session)
        end, false)
      from (select k.claims ->> 'role' as role, k.claims -> 'caller' as caller from (select private.claims() as claims) k) c;
$$;
comment on function private.may_access_session is 'Whether the caller may see a session, and therefore act on it. Operators'' commands may.';

create function public.read_active_turn(space_id uuid, thread_key text)
    returns jsonb language plpgsql stable set search_path = ''
as $$
declare
    claims constant jsonb := private.claims();
    asked  uuid;
    active uuid;
begin
    if claims ->> 'role' = 'contact' then
        -- A contact's token is for one conversation, whatever the page calls its chat.
        asked := private.token_conversation();
    else
        select c.id into asked
          from public.conversations c
         where c.user_id = (claims ->> 'sub')::uuid
           and c.persona_id = private.persona_of_space(read_active_turn.space_id)
           and c.channel = 'web'
           and c.thread_key = read_active_turn.thread_key
         order by c.created_at desc
         limit 1;
    end if;
    select t.id into active
      from public.turns t
     where t.conversation_id = asked
       and t.status = 'active'
     order by t.created_at desc
     limit 1;
    return jsonb_build_object('turn', case when active is not null then public.read_turn(active, 0) end);
end;
$$;
comment on function public.read_active_turn is 'The turn under way in the caller''s conversation, as read_turn tells it: {turn}, null where none is. Under the caller''s own policies.';

create function private.message_author(message_id uuid)
    returns uuid language sql stable security definer set search_path = ''
as $$
    select m.user_id
      from public.messages m
     where m.id = message_id
       and (m.workspace_id in (select private.member_workspaces())
            or (select private.claims() ->> 'role') in ('service_role', 'switchboard'));
$$;
comment on function private.message_author is 'The member or API key who wrote a message, or its user; null for callers who are no members of its workspace.';

create view public.conversation_messages with (security_invoker = true) as
select m.id, m.workspace_id, m.conversation_id, m.session_id, m.turn_id, m.role, m.contact_id, m.persona_id, m.speaker,
       m.text, m.partial, m.created_at, m.changed_at,
       case when m.role = 'contact' then (select c.proof from public.conversations c where c.id = m.conversation_id) end as proof,
       case when m.role = 'member' then private.message_author(m.id) end as user_id
  from public.messages m;
comment on view public.conversation_messages is 'Messages with the columns that every reader of a conversation may read, a contact too.';
comment on column public.conversation_messages.proof is 'Of a contact''s message: whether the contact has proven who they are, or only typed it.';
comment on column public.conversation_messages.user_id is 'Of a member''s message: the member or API key who wrote it, for members.';

grant execute on function
    private.message_author
    to contact, authenticated, service_role;

grant execute on function
    private.own_active_turns
    to authenticated;

grant execute on function
    private.turn_lease, private.is_silent, private.close_turn, private.expire_turn, private.turn_state,
    private.turn_history,
    private.require_same_content, public.flush_turn, public.finish_turn, private.may_access_session
    to switchboard;

grant execute on function
    private.require_turn, public.read_turn
    to authenticated, contact, switchboard;

grant execute on function
    public.read_active_turn
    to authenticated, contact;
