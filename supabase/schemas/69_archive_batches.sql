-- Archive batches: queued sessions are taken, their object is recorded once it is verified, and objects that nothing needs are
-- deleted.

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
    private.return_to_archive_queue, private.release_archive_batch, private.release_expired_batches,
    private.find_archivable, public.take_archive_batch, public.abandon_archive_batch, private.lock_archived_rows,
    private.drop_archived_messages, private.retire_archives, private.are_as_read, private.add_session_archives,
    public.record_archive, public.take_dead_objects, public.record_object_deleted
    to switchboard;
