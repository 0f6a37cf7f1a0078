-- What contacts and personas say to each other: conversation > session > turn > messages.

set lock_timeout = '5s';
set statement_timeout = '60s';

-- A persona with conversations cannot be deleted, but a workspace with both can: hence its keys are checked at the end.

create type public.turn_status as enum ('active', 'completed', 'failed', 'timeout', 'cancelled');
comment on type public.turn_status is 'active -> completed | failed | timeout | cancelled';

create type public.message_role as enum ('contact', 'user', 'persona', 'member');
comment on type public.message_role is 'Who speaks: a contact, a signed-in user for themselves, the persona, or a member in its place.';

create table public.conversations (
    id           uuid        not null default private.uuid7(),
    workspace_id uuid        not null,
    contact_id   uuid,
    user_id      uuid,
    persona_id   uuid        not null,
    space_id     uuid,
    channel      text        not null default 'web',
    thread_key   text        not null,
    proof        public.proof,
    created_at   timestamptz not null default pg_catalog.now(),
    constraint conversations_pkey            primary key (id),
    constraint conversations_workspace_key   unique (workspace_id, id),
    constraint conversations_key             unique nulls not distinct (workspace_id, contact_id, user_id, persona_id, channel, thread_key),
    constraint conversations_contact_id_fkey foreign key (workspace_id, contact_id) references public.contacts (workspace_id, id) on delete cascade,
    constraint conversations_persona_id_fkey foreign key (workspace_id, persona_id) references public.personas (workspace_id, id) deferrable initially deferred,
    constraint conversations_space_id_fkey   foreign key (workspace_id, space_id) references public.spaces (workspace_id, id) on delete set null (space_id),
    constraint conversations_thread_key      check (pg_catalog.length(thread_key) between 1 and 200),
    constraint conversations_somebody        check (contact_id is not null or user_id is not null),
    constraint conversations_proof           check ((proof is null) = (contact_id is null))
);
comment on table  public.conversations            is 'The lasting thread between one contact (or one user) and one persona, under a channel and a thread key.';
comment on column public.conversations.contact_id is 'Null: the owner''s side (a member talking to the persona).';
comment on column public.conversations.user_id    is 'A Supabase user; kept when the user is deleted, so that the key stays.';
comment on column public.conversations.proof      is 'asserted: opened on somebody''s word, apart from everything the contact has elsewhere.';
create index conversations_contact_id_idx on public.conversations (contact_id);
create index conversations_user_id_idx    on public.conversations (user_id);
create index conversations_persona_id_idx on public.conversations (persona_id);
create index conversations_space_id_idx   on public.conversations (space_id, thread_key);

alter table public.conversations enable row level security;
grant select                 on public.conversations to contact, authenticated;
grant select, insert, update on public.conversations to switchboard;
grant all                    on public.conversations to service_role;

create table public.sessions (
    id                    uuid                  not null default private.uuid7(),
    workspace_id          uuid                  not null,
    conversation_id       uuid                  not null,
    contact_id            uuid,
    user_id               uuid,
    persona_id            uuid                  not null,
    assigned_user_id      uuid,
    status                public.session_status not null default 'active',
    turn_count            integer               not null default 0,
    message_count         integer               not null default 0,
    metadata              jsonb                 not null default '{}',
    error_message         text,
    created_at            timestamptz           not null default pg_catalog.clock_timestamp(),
    last_activity_at      timestamptz           not null default pg_catalog.clock_timestamp(),
    ended_at              timestamptz,
    archived_at           timestamptz,
    status_before_archive public.session_status,
    constraint sessions_pkey                 primary key (id),
    constraint sessions_workspace_key        unique (workspace_id, id),
    constraint sessions_conversation_key     unique (workspace_id, conversation_id, id),
    constraint sessions_conversation_id_fkey foreign key (workspace_id, conversation_id) references public.conversations (workspace_id, id) on delete cascade,
    constraint sessions_contact_id_fkey      foreign key (workspace_id, contact_id) references public.contacts (workspace_id, id) on delete cascade,
    constraint sessions_persona_id_fkey      foreign key (workspace_id, persona_id) references public.personas (workspace_id, id) deferrable initially deferred,
    constraint sessions_metadata_object      check (pg_catalog.jsonb_typeof(metadata) = 'object'),
    constraint sessions_ended                check ((status in ('active', 'paused')) = (ended_at is null)),
    constraint sessions_archived             check ((status = 'archived') = (archived_at is not null and status_before_archive is not null))
);
comment on table  public.sessions                  is 'One episode of a conversation, with status and counters.';
comment on column public.sessions.metadata         is 'Where it came from: user agent, address, device, source, and what was typed at registration.';
comment on column public.sessions.assigned_user_id is 'The agent who looks after it.';
comment on column public.sessions.turn_count       is 'Equals the session''s turns; moved in the transaction that adds one.';
comment on column public.sessions.message_count    is 'Equals the session''s messages; moved in the transaction that adds one.';
create unique index sessions_one_live_idx     on public.sessions (conversation_id) where status in ('active', 'paused');
create index sessions_conversation_id_idx     on public.sessions (conversation_id, status);
create index sessions_contact_id_idx          on public.sessions (contact_id, persona_id, status);
create index sessions_user_id_idx             on public.sessions (user_id, status);
create index sessions_assigned_user_id_idx    on public.sessions (assigned_user_id, status);
create index sessions_persona_id_idx          on public.sessions (persona_id);
create index sessions_last_activity_at_idx    on public.sessions (last_activity_at);
create index sessions_workspace_id_idx        on public.sessions (workspace_id, status, created_at);
create index sessions_archivable_idx          on public.sessions (workspace_id, last_activity_at)
    where status in ('completed', 'failed', 'timeout', 'cancelled');

alter table public.sessions enable row level security;
grant select                 on public.sessions to contact, authenticated;
grant select, insert, update on public.sessions to switchboard;
grant all                    on public.sessions to service_role;

-- contacts and sessions point at each other, so one of the two keys comes second; the table is still empty.
alter table public.contacts
    -- squawk-ignore adding-foreign-key-constraint, constraint-missing-not-valid
    add constraint contacts_session_id_fkey foreign key (workspace_id, session_id)
        references public.sessions (workspace_id, id) on delete set null (session_id);
-- squawk-ignore require-concurrent-index-creation
create index contacts_session_id_idx on public.contacts (session_id);

create table public.turns (
    id                uuid               not null default private.uuid7(),
    workspace_id      uuid               not null,
    conversation_id   uuid               not null,
    session_id        uuid               not null,
    client_message_id text,
    request_id        uuid,
    status            public.turn_status not null default 'active',
    deadline          timestamptz        not null,
    lease_until       timestamptz        not null,
    first_token_ms    integer,
    usage             jsonb,
    error_code        text,
    created_at        timestamptz        not null default pg_catalog.clock_timestamp(),
    finished_at       timestamptz,
    constraint turns_pkey                  primary key (id),
    constraint turns_conversation_key      unique (workspace_id, conversation_id, id),
    constraint turns_client_message_id_key unique (conversation_id, client_message_id),
    constraint turns_conversation_id_fkey  foreign key (workspace_id, conversation_id) references public.conversations (workspace_id, id) on delete cascade,
    constraint turns_session_id_fkey       foreign key (workspace_id, conversation_id, session_id) references public.sessions (workspace_id, conversation_id, id) on delete cascade,
    constraint turns_client_message_id     check (pg_catalog.length(client_message_id) between 1 and 200),
    constraint turns_finished              check ((status = 'active') = (finished_at is null))
);
comment on table  public.turns                is 'One message and its answer: what is streamed, timed, cancelled and retried.';
comment on column public.turns.request_id     is 'The request that started it: when it asks again because an answer was lost, it is still the one to answer the turn.';
comment on column public.turns.deadline       is 'The persona''s time limit; a lease ends at most 30 s after it.';
comment on column public.turns.lease_until    is 'Renewed by every flush; past it nobody works on the turn and the sweep ends it.';
comment on column public.turns.first_token_ms is 'Milliseconds from the start of the turn to the answer''s first characters.';
comment on column public.turns.error_code     is 'What a caller is told; turn_errors has the rest.';
create unique index turns_one_active_idx on public.turns (session_id) where status = 'active';
create index turns_session_id_idx        on public.turns (session_id, created_at);
create index turns_conversation_id_idx   on public.turns (conversation_id, created_at);
create index turns_lease_until_idx       on public.turns (lease_until) where status = 'active';

alter table public.turns enable row level security;
grant select                 on public.turns to contact, authenticated;
grant select, insert, update on public.turns to switchboard;
grant all                    on public.turns to service_role;

create table public.turn_errors (
    turn_id         uuid        not null,
    workspace_id    uuid        not null,
    conversation_id uuid        not null,
    detail          text        not null,
    created_at      timestamptz not null default pg_catalog.now(),
    constraint turn_errors_pkey         primary key (turn_id),
    constraint turn_errors_turn_id_fkey foreign key (workspace_id, conversation_id, turn_id) references public.turns (workspace_id, conversation_id, id) on delete cascade,
    constraint turn_errors_detail       check (pg_catalog.length(detail) <= 2000)
);
comment on table public.turn_errors is 'What went wrong with a turn, in words for the workspace''s admins: addresses and answers of its services.';

alter table public.turn_errors enable row level security;
grant select on public.turn_errors to authenticated;
grant insert on public.turn_errors to switchboard;
grant all    on public.turn_errors to service_role;

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
comment on table  public.turn_chunks          is 'What an active turn has answered so far; gone once the answer is a message.';
comment on column public.turn_chunks.position is 'Characters of the answer before this piece.';

alter table public.turn_chunks enable row level security;
grant select                 on public.turn_chunks to contact, authenticated;
grant select, insert, delete on public.turn_chunks to switchboard;
grant all                    on public.turn_chunks to service_role;

create table public.messages (
    id              uuid                not null default private.uuid7(),
    workspace_id    uuid                not null,
    conversation_id uuid                not null,
    session_id      uuid                not null,
    turn_id         uuid,
    role            public.message_role not null,
    contact_id      uuid,
    user_id         uuid,
    persona_id      uuid,
    text            text                not null,
    partial         boolean             not null default false,
    metadata        jsonb               not null default '{}',
    created_at      timestamptz         not null default pg_catalog.clock_timestamp(),
    constraint messages_pkey                 primary key (id),
    constraint messages_conversation_id_fkey foreign key (workspace_id, conversation_id) references public.conversations (workspace_id, id) on delete cascade,
    constraint messages_session_id_fkey      foreign key (workspace_id, conversation_id, session_id) references public.sessions (workspace_id, conversation_id, id) on delete cascade,
    constraint messages_turn_id_fkey         foreign key (workspace_id, conversation_id, turn_id) references public.turns (workspace_id, conversation_id, id) on delete cascade,
    constraint messages_contact_id_fkey      foreign key (workspace_id, contact_id) references public.contacts (workspace_id, id) on delete cascade,
    constraint messages_persona_id_fkey      foreign key (workspace_id, persona_id) references public.personas (workspace_id, id) deferrable initially deferred,
    constraint messages_text                 check (text <> ''),
    constraint messages_metadata_object      check (pg_catalog.jsonb_typeof(metadata) = 'object'),
    constraint messages_sender               check (case role
                                                        when 'contact' then contact_id is not null and persona_id is null
                                                        when 'persona' then persona_id is not null and contact_id is null and user_id is null
                                                        else user_id is not null and contact_id is null and persona_id is null
                                                    end)
);
comment on table  public.messages         is 'What was said; every message names its sender.';
comment on column public.messages.partial is 'The answer stopped before its end (cancelled, timed out or failed); this much was seen.';
create index messages_conversation_id_idx on public.messages (conversation_id, created_at);
create index messages_session_id_idx      on public.messages (session_id, created_at);
create index messages_turn_id_idx         on public.messages (turn_id);
create index messages_contact_id_idx      on public.messages (contact_id);
create index messages_persona_id_idx      on public.messages (persona_id);

alter table public.messages enable row level security;
grant select         on public.messages to contact, authenticated;
grant select, insert on public.messages to switchboard;
grant all            on public.messages to service_role;
