-- Generated from supabase/schemas/51_session_archives.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- Session archives: the queue of sessions to write, the objects in the store, and what each object holds of which session.

create type public.archive_object_status as enum ('writing', 'stored', 'superseded', 'abandoned');
comment on type public.archive_object_status is 'writing -> stored (verified and recorded) -> superseded (newer objects hold all of its sessions); writing -> abandoned (its run ended, or its sessions changed meanwhile). Superseded and abandoned objects are deleted.';

create table public.archive_objects (
    id            uuid                         not null default private.uuid7(),
    workspace_id  uuid                         not null,
    month         date                         not null,
    status        public.archive_object_status not null default 'writing',
    sha256        text,
    size_bytes    bigint,
    row_count     integer,
    session_ids   uuid[]                       not null,
    queued_at     timestamptz,
    attempts      integer,
    footer        bytea,
    dropped       boolean                      not null default false,
    created_at    timestamptz                  not null default now(),
    changed_at    timestamptz                  not null default now(),
    lease_until   timestamptz,
    deleted_at    timestamptz,
    constraint archive_objects_pkey          primary key (id),
    constraint archive_objects_workspace_key unique (workspace_id, id),
    constraint archive_objects_month         check (month = date_trunc('month', month::timestamp)::date),
    constraint archive_objects_writing       check ((status = 'writing') = (lease_until is not null)),
    constraint archive_objects_queued        check ((queued_at is null) = (attempts is null)),
    constraint archive_objects_stored        check (status in ('writing', 'abandoned')
        or (sha256 is not null and size_bytes is not null and row_count is not null and footer is not null))
);
comment on table public.archive_objects is 'Objects in the store. The row is written before the object, so that no object exists without one; it outlives its workspace, until the object is deleted.';
comment on column public.archive_objects.month is 'The month, in UTC, in which its sessions began.';
comment on column public.archive_objects.session_ids is 'The sessions that it holds; while it is written and if it was abandoned, those that it may hold.';
comment on column public.archive_objects.queued_at is 'Since when its sessions waited in the queue; null: it was written for an erasure, so they were not in it.';
comment on column public.archive_objects.attempts is 'How often its sessions were taken from the queue, this time included.';
comment on column public.archive_objects.footer is 'The metadata of the Parquet file, with which a row group can be read from its bytes alone.';
comment on column public.archive_objects.dropped is 'The messages of its sessions were dropped when it was recorded.';
comment on column public.archive_objects.changed_at is 'When the status changed last.';
comment on column public.archive_objects.lease_until is 'Past it the run that writes the object is taken for dead.';
comment on column public.archive_objects.deleted_at is 'When the object was first deleted from the store. An abandoned one is deleted again a day later, in case its run was only slow.';
alter table public.archive_objects enable row level security;
create index archive_objects_lease_until_idx on public.archive_objects (lease_until) where status = 'writing';
create index archive_objects_kept_idx on public.archive_objects (workspace_id) where status = 'stored' and not dropped;
create index archive_objects_dead_idx on public.archive_objects (changed_at) where status in ('superseded', 'abandoned');

create table public.session_archives (
    object_id        uuid        not null,
    session_id       uuid        not null,
    workspace_id     uuid        not null,
    conversation_id  uuid        not null,
    month            date        not null,
    row_group        integer     not null,
    byte_offset      bigint      not null,
    byte_length      bigint      not null,
    sha256           text        not null,
    row_count        integer     not null,
    message_count    integer     not null,
    stored_at        timestamptz not null default now(),
    is_current       boolean     not null default true,
    messages_dropped boolean     not null default false,
    restored_at      timestamptz,
    constraint session_archives_pkey    primary key (object_id, session_id),
    constraint session_archives_dropped check (is_current or not messages_dropped)
);
comment on table public.session_archives is 'What each recorded object holds of each session. It outlives the session, until the object is rewritten or deleted, so that an erase finds every copy.';
comment on column public.session_archives.object_id is 'Without a foreign key, which would be checked for each session: rows are added under the lock of their object, and deleted with it.';
comment on column public.session_archives.row_group is 'The row group of the object that holds all rows of the session, and those of its neighbours.';
comment on column public.session_archives.byte_offset is 'Where the row group begins in the object: one ranged read gets it.';
comment on column public.session_archives.sha256 is 'Of the bytes of the row group.';
comment on column public.session_archives.row_count is 'All archived rows of the session: of sessions, turns, turn_errors, messages, attachments and message_deliveries.';
comment on column public.session_archives.is_current is 'The newest copy of the session; false: a later object replaced it.';
comment on column public.session_archives.messages_dropped is 'The messages, attachments and deliveries are in the object only.';
comment on column public.session_archives.restored_at is 'When the session was restored from it.';
alter table public.session_archives enable row level security;
create unique index session_archives_current_idx on public.session_archives (session_id) where is_current;
create index session_archives_former_idx on public.session_archives (session_id) where not is_current;

create table public.archive_queue (
    session_id      uuid        not null,
    workspace_id    uuid        not null,
    month           date        not null,
    queued_at       timestamptz not null default now(),
    next_attempt_at timestamptz not null default now(),
    attempts        integer     not null default 0,
    constraint archive_queue_pkey            primary key (session_id),
    constraint archive_queue_session_id_fkey foreign key (workspace_id, session_id) references public.sessions (workspace_id, id) on delete cascade
);
comment on table public.archive_queue is 'Archived sessions that are to be written to the store. One that is being written is in session_ids of its object instead.';
comment on column public.archive_queue.attempts is 'How often it was taken without success. A session that was taken often is written alone, so that it holds back no other.';
alter table public.archive_queue enable row level security;
create index archive_queue_next_attempt_at_idx on public.archive_queue ((attempts >= 3), next_attempt_at);
create index archive_queue_month_idx on public.archive_queue (workspace_id, month, session_id);

create table private.archived_message_ids (
    message_id        uuid        not null,
    workspace_id      uuid        not null,
    conversation_id   uuid        not null,
    session_id        uuid        not null,
    turn_id           uuid,
    client_message_id text,
    memory_ids        uuid[]      not null default '{}',
    created_at        timestamptz not null,
    constraint archived_message_ids_pkey            primary key (message_id),
    constraint archived_message_ids_session_id_fkey foreign key (workspace_id, conversation_id, session_id) references public.sessions (workspace_id, conversation_id, id) on delete cascade
);
comment on table private.archived_message_ids is 'What the database keeps of dropped messages that may come again, because a sender repeats them or an import does, and of those from which a member or a persona remembered something.';
comment on column private.archived_message_ids.memory_ids is 'The memories that came from the message; a restore links them again. Those of remembered turns are found by their time.';
alter table private.archived_message_ids enable row level security;
create index archived_message_ids_client_message_id_idx on private.archived_message_ids (conversation_id, client_message_id);
create index archived_message_ids_session_id_idx on private.archived_message_ids (session_id);

create function private.archived_message(conversation_id uuid, client_message_id text)
    returns private.archived_message_ids language plpgsql stable security definer set search_path = ''
as $$
declare
    archived private.archived_message_ids;
begin
    select i.* into archived
      from private.archived_message_ids i
     where i.conversation_id = archived_message.conversation_id
       and i.client_message_id = archived_message.client_message_id
       and i.workspace_id = private.entered_workspace()
     -- A turn's message comes first: its turn is not started again.
     order by i.turn_id is null
     limit 1;
    return archived;
end;
$$;
comment on function private.archived_message is 'The dropped message of a conversation of the entered workspace that had a client message id; null without one.';

create function private.keep_message_ids(object_id uuid)
    returns void language sql security definer set search_path = ''
as $$
    insert into private.archived_message_ids (message_id, workspace_id, conversation_id, session_id, turn_id, client_message_id, memory_ids, created_at)
    select m.id, m.workspace_id, m.conversation_id, m.session_id, m.turn_id, m.client_message_id, k.memory_ids, m.created_at
      from public.session_archives a
      join public.messages m on m.session_id = a.session_id and m.workspace_id = a.workspace_id
     cross join lateral (select array(select r.id from public.memories r where r.message_id = m.id and r.kind <> 'turn') as memory_ids) k
     where a.object_id = keep_message_ids.object_id
       and a.workspace_id = private.entered_workspace()
       and a.is_current
       and (m.client_message_id is not null
            or k.memory_ids <> '{}'
            or exists (select from public.import_refs f where f.conversation_id = m.conversation_id))
    on conflict (message_id) do update set memory_ids = excluded.memory_ids;
$$;
comment on function private.keep_message_ids is 'Keeps the ids of messages that are about to be dropped, because an object of the entered workspace holds them.';

create function private.return_message_ids(session_id uuid)
    returns void language plpgsql security definer set search_path = ''
as $$
declare
    workspace constant uuid := private.entered_workspace();
begin
    update public.memories r
       set message_id = i.message_id
      from private.archived_message_ids i
      join public.messages m on m.id = i.message_id
     where i.session_id = return_message_ids.session_id
       and i.workspace_id = workspace
       and r.id = any (i.memory_ids)
       and r.workspace_id = workspace
       and r.message_id is null;
    delete from private.archived_message_ids i
     where i.session_id = return_message_ids.session_id
       and i.workspace_id = workspace;
end;
$$;
comment on function private.return_message_ids is 'Links memories to the messages of a session that were restored, whose ids need no longer be kept.';

create function private.archived_ids(session_ids uuid[])
    returns uuid[] language sql stable security definer set search_path = ''
as $$
    select array(select i.message_id
                   from private.archived_message_ids i
                  where i.session_id = any (session_ids)
                    and i.workspace_id = private.entered_workspace());
$$;
comment on function private.archived_ids is 'The ids that are kept of the dropped messages of sessions of the entered workspace.';

-- All rows of a session, in one shape. Messages and turns have their columns; of other tables, row has all.
create view public.session_rows with (security_invoker = true) as
select s.id, s.conversation_id, 'sessions' as relation, s.id as row_id, null::uuid as turn_id, null::text as role, s.contact_id,
       s.user_id, s.persona_id, null::text as text, null::boolean as partial, s.metadata, s.created_at, null::text as client_message_id,
       null::text as speaker, null::timestamptz as changed_at, null::uuid as attempt_id, s.status::text as status,
       null::timestamptz as deadline, null::timestamptz as lease_until, null::integer as first_token_ms, null::jsonb as usage,
       null::text as error_code, null::timestamptz as finished_at, null::timestamptz as cancel_requested_at,
       null::boolean as taken_over, null::uuid as retry_of, null::uuid as fallback_persona_id, null::boolean as collecting,
       row_to_json(s) as row, hashint8extended(age('3'::xid)::bigint - age(s.xmin), 0) >> 24 as version
  from public.sessions s
 union all
select t.session_id, t.conversation_id, 'turns', t.id, t.id, null, null, null, null, null, null, null, t.created_at, t.client_message_id,
       null, null, t.attempt_id, t.status::text, t.deadline, t.lease_until, t.first_token_ms, t.usage, t.error_code,
       t.finished_at, t.cancel_requested_at, t.taken_over, t.retry_of, t.fallback_persona_id, t.collecting, null,
       hashint8extended(age('3'::xid)::bigint - age(t.xmin), 0) >> 24
  from public.turns t
 union all
select t.session_id, e.conversation_id, 'turn_errors', e.turn_id, e.turn_id, null, null, null, e.persona_id, null, null, null, e.created_at,
       null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, row_to_json(e),
       hashint8extended(age('3'::xid)::bigint - age(e.xmin), 0) >> 24
  from public.turns t
  join public.turn_errors e on e.turn_id = t.id
 union all
select m.session_id, m.conversation_id, 'messages', m.id, m.turn_id, m.role::text, m.contact_id, m.user_id, m.persona_id, m.text,
       m.partial, m.metadata, m.created_at, m.client_message_id, m.speaker, m.changed_at, null, null, null, null, null, null,
       null, null, null, null, null, null, null, null, hashint8extended(age('3'::xid)::bigint - age(m.xmin), 0) >> 24
  from public.messages m
 union all
select m.session_id, a.conversation_id, 'attachments', a.message_id, m.turn_id, null, null, null, null, null, null, null, null, null,
       null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, row_to_json(a),
       hashint8extended(age('3'::xid)::bigint - age(a.xmin), 0) >> 24
  from public.messages m
  join public.attachments a on a.message_id = m.id
 union all
select m.session_id, d.conversation_id, 'message_deliveries', d.message_id, m.turn_id, null, null, null, null, null, null, null, null,
       null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, row_to_json(d),
       hashint8extended(age('3'::xid)::bigint - age(d.xmin), 0) >> 24
  from public.messages m
  join public.message_deliveries d on d.message_id = m.id;
comment on view public.session_rows is 'All rows of sessions that an archive holds, for the functions. id is the session''s; row_id that of the row, or of the turn or message that it belongs to; row: all columns, except of messages and turns, which have their own; version: a hash of the transaction that wrote it, of 40 bits, so that the sum of millions is a bigint.';

grant execute on function
    private.archived_message, private.archived_ids, private.return_message_ids
    to switchboard;
