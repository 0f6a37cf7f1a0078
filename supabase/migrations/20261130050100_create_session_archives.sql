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
       row_to_json(s) as row, hashtextextended(s.xmin::text, 0) >> 24 as version
  from public.sessions s
 union all
select t.session_id, t.conversation_id, 'turns', t.id, t.id, null, null, null, null, null, null, null, t.created_at, t.client_message_id,
       null, null, t.attempt_id, t.status::text, t.deadline, t.lease_until, t.first_token_ms, t.usage, t.error_code,
       t.finished_at, t.cancel_requested_at, t.taken_over, t.retry_of, t.fallback_persona_id, t.collecting, null,
       hashtextextended(t.xmin::text, 0) >> 24
  from public.turns t
 union all
select t.session_id, e.conversation_id, 'turn_errors', e.turn_id, e.turn_id, null, null, null, e.persona_id, null, null, null, e.created_at,
       null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, row_to_json(e),
       hashtextextended(e.xmin::text, 0) >> 24
  from public.turns t
  join public.turn_errors e on e.turn_id = t.id
 union all
select m.session_id, m.conversation_id, 'messages', m.id, m.turn_id, m.role::text, m.contact_id, m.user_id, m.persona_id, m.text,
       m.partial, m.metadata, m.created_at, m.client_message_id, m.speaker, m.changed_at, null, null, null, null, null, null,
       null, null, null, null, null, null, null, null, hashtextextended(m.xmin::text, 0) >> 24
  from public.messages m
 union all
select m.session_id, a.conversation_id, 'attachments', a.message_id, m.turn_id, null, null, null, null, null, null, null, null, null,
       null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, row_to_json(a),
       hashtextextended(a.xmin::text, 0) >> 24
  from public.messages m
  join public.attachments a on a.message_id = m.id
 union all
select m.session_id, d.conversation_id, 'message_deliveries', d.message_id, m.turn_id, null, null, null, null, null, null, null, null,
       null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, row_to_json(d),
       hashtextextended(d.xmin::text, 0) >> 24
  from public.messages m
  join public.message_deliveries d on d.message_id = m.id;
comment on view public.session_rows is 'All rows of sessions that an archive holds, for the functions. id is the session''s; row_id that of the row, or of the turn or message that it belongs to; row: all columns, except of messages and turns, which have their own; version: a hash of the transaction that wrote it, of 40 bits, so that the sum of millions is a bigint.';

create function private.return_to_archive_queue(object public.archive_objects, session_ids uuid[], attempts integer, seconds double precision)
    returns void language sql set search_path = ''
as $$
    insert into public.archive_queue (session_id, workspace_id, month, queued_at, next_attempt_at, attempts)
    select s.id, s.workspace_id, object.month, object.queued_at, now() + make_interval(secs => seconds), return_to_archive_queue.attempts
      from public.sessions s
     where s.id = any (return_to_archive_queue.session_ids)
       and s.workspace_id = object.workspace_id
       and s.status = 'archived'
       and not exists (select
                         from public.session_archives a
                        where a.session_id = s.id
                          and a.is_current
                          and a.messages_dropped)
    on conflict (session_id) do nothing;
$$;
comment on function private.return_to_archive_queue is 'Queues sessions that were taken for an object again, unless they are restored, or another object alone has their messages by now.';

create function private.release_archive_batch(object_id uuid, seconds double precision)
    returns void language plpgsql set search_path = ''
as $$
declare
    object public.archive_objects;
begin
    update public.archive_objects o
       set status = 'abandoned', lease_until = null, changed_at = now()
     where o.id = release_archive_batch.object_id
       and o.status = 'writing'
    returning o.* into object;
    if object.queued_at is not null then
        perform private.return_to_archive_queue(object, object.session_ids, object.attempts, seconds);
    end if;
end;
$$;
comment on function private.release_archive_batch is 'Abandons an object that is not recorded; the sessions that were taken from the queue are due again after so many seconds.';

create function private.release_expired_batches()
    returns void language plpgsql security definer set search_path = ''
as $$
begin
    perform private.require_system();
    perform private.release_archive_batch(e.id, 0)
       from (select o.id
               from public.archive_objects o
              where o.status = 'writing'
                and o.lease_until < now()
                for update skip locked) e;
end;
$$;
comment on function private.release_expired_batches is 'Abandons the objects of runs whose lease is over, in all workspaces.';

create function private.find_archivable(only_workspace uuid)
    returns table (workspace_id uuid, month date, attempts integer)
    language plpgsql stable security definer set search_path = ''
as $$
begin
    perform private.require_system();
    return query
    select q.workspace_id, q.month, q.attempts
      from public.archive_queue q
     where q.next_attempt_at <= now()
       and (only_workspace is null or q.workspace_id = only_workspace)
     order by q.attempts >= 3, q.next_attempt_at
     limit 1;
end;
$$;
comment on function private.find_archivable is 'The workspace, the month and the attempts of the session that has waited longest for the archive; last those that have failed often.';

create function public.take_archive_batch(max_sessions integer, lease_seconds integer, only_workspace uuid default null)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    place  record;
    taken  uuid[];
    held   uuid[];
    since  timestamptz;
    object public.archive_objects;
begin
    perform private.release_expired_batches();
    select f.* into place from private.find_archivable(only_workspace) f;
    if not found then
        return '{"object": null, "sessions": {}}'::jsonb;
    end if;
    perform private.enter_workspace(place.workspace_id);
    select array_agg(d.session_id), min(d.queued_at) into taken, since
      from (select q.session_id, q.queued_at
              from public.archive_queue q
             where q.workspace_id = place.workspace_id
               and q.month = place.month
               and q.next_attempt_at <= now()
               and q.attempts = place.attempts
             order by q.session_id
             limit case when place.attempts >= 3 then 1 else max_sessions end
               for update skip locked) d;
    -- A turn under way still writes; its session waits for its end.
    held := array(select t.session_id from public.turns t where t.session_id = any (taken) and t.status = 'active');
    if held <> '{}' then
        update public.archive_queue q set next_attempt_at = now() + interval '1 minute' where q.session_id = any (held);
        taken := array(select i from unnest(taken) i where i <> all (held));
    end if;
    if coalesce(taken, '{}') = '{}' then
        return '{"object": null, "sessions": {}}'::jsonb;
    end if;
    delete from public.archive_queue q where q.session_id = any (taken);
    insert into public.archive_objects as o (workspace_id, month, lease_until, session_ids, queued_at, attempts)
    values (place.workspace_id, place.month, now() + make_interval(secs => lease_seconds), taken, since, place.attempts + 1)
    returning o.* into object;
    return jsonb_build_object(
        'object', jsonb_build_object('id', object.id, 'workspace_id', object.workspace_id, 'month', object.month),
        'sessions', (select jsonb_object_agg(s.id, 1 + s.turn_count + s.message_count)
                       from public.sessions s
                      where s.id = any (taken)));
end;
$$;
comment on function public.take_archive_batch is 'Takes queued sessions of one workspace and month under a lease, and begins the object for them: {object: {id, workspace_id, month} or null, sessions: {id: rows}}, in the order of ids; about so many rows. Another run takes others.';

create function public.abandon_archive_batch(object_id uuid, seconds double precision default 0)
    returns jsonb language plpgsql set search_path = ''
as $$
begin
    perform private.enter();
    perform private.release_archive_batch(object_id, seconds);
    return '{}'::jsonb;
end;
$$;
comment on function public.abandon_archive_batch is 'Gives up writing an object: a later run deletes it, and its sessions are due again after so many seconds.';

create function private.lock_archived_rows(session_ids uuid[], to_drop boolean)
    returns integer language plpgsql set search_path = ''
as $$
declare
    archived integer;
begin
    -- Messages are added and changed under the lock of their session. What is dropped is locked too: deliveries change without.
    select count(*) filter (where l.status = 'archived') into archived
      from (select s.status from public.sessions s where s.id = any (session_ids) order by s.id for no key update) l;
    if to_drop then
        perform from public.messages m where m.session_id = any (session_ids) order by m.id for update;
        perform
           from public.message_deliveries d
          where d.message_id in (select m.id from public.messages m where m.session_id = any (session_ids))
          order by d.message_id, d.part
            for update;
    end if;
    return archived;
end;
$$;
comment on function private.lock_archived_rows is 'Locks sessions, and what is dropped of them, in the order of ids. How many of the sessions are archived.';

create function private.are_as_read(session_ids uuid[], row_count integer, versions bigint)
    returns boolean language sql stable set search_path = ''
as $$
    select (count(*), sum(r.version)) = (are_as_read.row_count, are_as_read.versions)
      from public.session_rows r
     where r.id = any (session_ids);
$$;
comment on function private.are_as_read is 'Whether sessions have exactly the rows that were read: so many, with this sum of versions.';

create function private.drop_archived_messages(object_id uuid)
    returns integer language plpgsql security definer set search_path = ''
as $$
declare
    workspace constant uuid := private.entered_workspace();
    dropped   integer;
begin
    perform private.keep_message_ids(object_id);
    delete from public.messages m
     using public.session_archives a
     where a.object_id = drop_archived_messages.object_id
       and a.workspace_id = workspace
       and a.is_current
       and m.session_id = a.session_id
       and m.workspace_id = workspace;
    get diagnostics dropped = row_count;
    update public.session_archives a
       set messages_dropped = true
     where a.object_id = drop_archived_messages.object_id
       and a.workspace_id = workspace
       and a.is_current;
    return dropped;
end;
$$;
comment on function private.drop_archived_messages is 'Deletes the messages of the sessions of which an object of the entered workspace is the current archive; with them their attachments and deliveries. How many.';

create function private.retire_archives(session_ids uuid[])
    returns void language sql set search_path = ''
as $$
    with retired as (
        update public.session_archives a
           set is_current = false, messages_dropped = false
         where a.session_id = any (session_ids)
           and a.is_current
        returning a.object_id, a.session_id
    )
    update public.archive_objects o
       set status = 'superseded', changed_at = now()
     where o.id in (select r.object_id from retired r)
       and o.status = 'stored'
       and not exists (select
                         from public.session_archives a
                        where a.object_id = o.id
                          and a.is_current
                          and not exists (select from retired r where r.object_id = a.object_id and r.session_id = a.session_id));
$$;
comment on function private.retire_archives is 'Marks the current copies of sessions as replaced, and objects without a current copy as superseded.';

create function private.add_session_archives(object public.archive_objects, row_groups jsonb)
    returns void language sql set search_path = ''
as $$
    insert into public.session_archives (object_id, session_id, workspace_id, conversation_id, month, row_group, byte_offset,
                                         byte_length, sha256, row_count, message_count)
    select object.id, s.id, object.workspace_id, s.conversation_id, object.month, g.number, g.byte_offset, g.byte_length, g.sha256,
           r.row_count, r.message_count
      from jsonb_to_recordset(row_groups) g (number integer, byte_offset bigint, byte_length bigint, sha256 text,
                                             session_ids uuid[], row_counts integer[], message_counts integer[])
     cross join unnest(g.session_ids, g.row_counts, g.message_counts) r (session_id, row_count, message_count)
      join public.sessions s on s.id = r.session_id;
$$;
comment on function private.add_session_archives is 'Notes what the row groups of an object hold of which session.';

create function public.record_archive(object_id uuid, content jsonb, row_groups jsonb, versions bigint)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter();
    written   constant uuid[] := array(select unnest(g.session_ids) from jsonb_to_recordset(row_groups) g (session_ids uuid[]));
    to_drop   constant boolean := (select w.archive_retention = 'drop' from public.workspaces w where w.id = workspace);
    object    public.archive_objects;
    recorded  integer;
    changed   integer;
    dropped   integer := 0;
begin
    select o.* into object
      from public.archive_objects o
     where o.id = record_archive.object_id
       and o.status = 'writing'
       for update;
    if not found then
        -- A repeat of this call; or the lease ran out, and another run took the sessions.
        select count(*), cardinality(written) - count(*) into recorded, changed
          from public.session_archives a
         where a.object_id = record_archive.object_id;
        return jsonb_build_object('recorded', recorded, 'changed', changed, 'dropped', 0);
    end if;
    if private.lock_archived_rows(written, to_drop) < cardinality(written)
       or exists (select unnest(written) except select unnest(object.session_ids))
       or not private.are_as_read(written, (content ->> 'row_count')::integer, versions)
       -- It was queued twice, and this object lacks what the other one alone has.
       or exists (select from public.session_archives a where a.session_id = any (written) and a.is_current and a.messages_dropped) then
        perform private.release_archive_batch(object_id, 0);
        return jsonb_build_object('recorded', 0, 'changed', cardinality(written), 'dropped', 0);
    end if;
    update public.archive_objects o
       set status = 'stored', lease_until = null, changed_at = now(), sha256 = content ->> 'sha256',
           size_bytes = (content ->> 'size_bytes')::bigint, row_count = (content ->> 'row_count')::integer,
           session_ids = written, dropped = to_drop, footer = decode(content ->> 'footer', 'base64')
     where o.id = record_archive.object_id;
    perform private.retire_archives(written);
    perform private.add_session_archives(object, row_groups);
    -- The rest did not fit into the object.
    perform private.return_to_archive_queue(
        object, array(select unnest(object.session_ids) except select unnest(written)), object.attempts - 1, 0);
    if to_drop then
        dropped := private.drop_archived_messages(object_id);
    end if;
    return jsonb_build_object('recorded', cardinality(written), 'changed', 0, 'dropped', dropped);
end;
$$;
comment on function public.record_archive is 'Records an object that was verified: content is {sha256, size_bytes, row_count, footer}, row_groups [{number, byte_offset, byte_length, sha256, session_ids, row_counts, message_counts}], versions the sum of those of all rows. If rows of a session changed since they were read, nothing is recorded. Applies the retention. {recorded, changed, dropped}';

create function public.take_dead_objects(max_objects integer default 100)
    returns jsonb language plpgsql security definer set search_path = ''
as $$
declare
    found jsonb;
begin
    perform private.release_expired_batches();
    -- A reader may have been sent to a superseded one; a slow run may still write an abandoned one.
    select jsonb_agg(jsonb_build_object('id', d.id, 'workspace_id', d.workspace_id, 'month', d.month)) into found
      from (select o.id, o.workspace_id, o.month
              from public.archive_objects o
             where (o.status = 'abandoned' and (o.deleted_at is null or o.deleted_at < now() - interval '1 day'))
                or (o.status = 'superseded' and o.changed_at < now() - interval '10 minutes')
                or (o.status = 'stored' and not exists (select from public.workspaces w where w.id = o.workspace_id))
             limit max_objects) d;
    return jsonb_build_object('objects', coalesce(found, '[]'));
end;
$$;
comment on function public.take_dead_objects is 'The objects that are to be deleted from the store, those of crashed runs included: {objects: [{id, workspace_id, month}]}.';

create function public.record_object_deleted(object_id uuid)
    returns jsonb language plpgsql security definer set search_path = ''
as $$
begin
    perform private.require_system();
    -- An abandoned object is deleted twice, a day apart: its run may have been slow, not dead.
    update public.archive_objects o
       set deleted_at = now()
     where o.id = record_object_deleted.object_id
       and o.status = 'abandoned'
       and o.deleted_at is null;
    if not found then
        delete from public.archive_objects o where o.id = record_object_deleted.object_id and o.status <> 'writing';
        if found then
            delete from public.session_archives a where a.object_id = record_object_deleted.object_id;
        end if;
    end if;
    return '{}'::jsonb;
end;
$$;
comment on function public.record_object_deleted is 'Notes that an object was deleted from the store.';

grant execute on function
    private.return_to_archive_queue, private.release_archive_batch, private.release_expired_batches, private.find_archivable, public.take_archive_batch, public.abandon_archive_batch, private.lock_archived_rows,
    private.drop_archived_messages, private.retire_archives, private.are_as_read, private.add_session_archives, public.record_archive, public.take_dead_objects,
    private.archived_message, private.archived_ids, private.return_message_ids,
    public.record_object_deleted
    to switchboard;
