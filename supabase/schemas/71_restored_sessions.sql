-- Restoring: where a session's archive is, and how its rows come back.

create function private.archive_place(session_id uuid)
    returns jsonb language sql stable set search_path = ''
as $$
    select jsonb_build_object(
               'object_id', a.object_id, 'workspace_id', a.workspace_id, 'month', a.month, 'row_group', a.row_group,
               'byte_offset', a.byte_offset, 'byte_length', a.byte_length, 'sha256', a.sha256, 'row_count', a.row_count,
               'message_count', a.message_count, 'stored_at', a.stored_at, 'messages_dropped', a.messages_dropped,
               'footer', encode(o.footer, 'base64'))
      from public.session_archives a
      join public.archive_objects o on o.id = a.object_id
     where a.session_id = archive_place.session_id
       and a.is_current;
$$;
comment on function private.archive_place is 'Where the current archive of a session is; null without one.';

create function public.locate_archive(session_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    session public.sessions;
begin
    perform private.enter_session(session_id);
    select s.* into session from public.sessions s where s.id = locate_archive.session_id;
    return jsonb_build_object(
        'session_id', session.id, 'conversation_id', session.conversation_id, 'status', session.status,
        'archived_at', session.archived_at, 'by_member', private.may_work_on_session(session),
        'archive', private.archive_place(session.id));
end;
$$;
comment on function public.locate_archive is 'Where the archive of a session is, for all who may read the session: {session_id, conversation_id, status, archived_at, by_member, archive}.';

create function private.insert_archived_rows(session public.sessions, rows jsonb)
    returns void language plpgsql set search_path = ''
as $$
begin
    -- No event reports a message that is restored.
    perform set_config('switchboard.restoring', 'on', true);
    insert into public.messages (id, workspace_id, conversation_id, session_id, turn_id, role, contact_id, user_id, persona_id, text,
                                 partial, metadata, created_at, client_message_id, speaker, changed_at)
    select r.row_id, session.workspace_id, session.conversation_id, session.id, r.turn_id, r.role, r.contact_id, r.user_id, r.persona_id,
           r.text, r.partial, r.metadata::jsonb, r.created_at, r.client_message_id, r.speaker, r.changed_at
      from jsonb_to_recordset(rows) r (
               relation text, row_id uuid, turn_id uuid, role public.message_role, contact_id uuid, user_id uuid, persona_id uuid,
               text text, partial boolean, metadata text, created_at timestamptz, client_message_id text, speaker text,
               changed_at timestamptz)
     where r.relation = 'messages'
    on conflict (id) do nothing;
    insert into public.attachments
    select a.*
      from jsonb_to_recordset(rows) r (relation text, row_id uuid, "row" text)
     cross join lateral jsonb_populate_record(null::public.attachments, r."row"::jsonb) a
     where r.relation = 'attachments'
       and exists (select from public.messages m where m.id = r.row_id and m.session_id = session.id)
    on conflict (message_id, place) do nothing;
    insert into public.message_deliveries
    select d.*
      from jsonb_to_recordset(rows) r (relation text, row_id uuid, "row" text)
     cross join lateral jsonb_populate_record(null::public.message_deliveries, r."row"::jsonb) d
     where r.relation = 'message_deliveries'
       and exists (select from public.messages m where m.id = r.row_id and m.session_id = session.id)
    on conflict (message_id, part) do nothing;
    -- A remembered turn lost its message when that was dropped; it has its time.
    update public.memories r
       set message_id = m.id
      from public.messages m
     where m.session_id = session.id
       and r.session_id = session.id
       and r.kind = 'turn'
       and r.message_id is null
       and r.valid_from = m.created_at;
    perform set_config('switchboard.restoring', '', true);
end;
$$;
comment on function private.insert_archived_rows is 'Puts archived messages, attachments and deliveries of a session back; those that exist stay as they are.';

create function private.require_archive(session_id uuid, object_id uuid)
    returns void language plpgsql set search_path = ''
as $$
begin
    -- Its messages were dropped, or the object was written anew, after it was looked up.
    perform
       from public.session_archives a
      where a.object_id = require_archive.object_id
        and a.session_id = require_archive.session_id
        and a.is_current
        for update;
    if exists (select
                 from public.session_archives a
                where a.session_id = require_archive.session_id
                  and a.is_current
                  and a.messages_dropped
                  and (a.object_id is distinct from require_archive.object_id
                       -- An erasure has passed the messages: what it takes from the object would come back.
                       or private.has_archive_erasure(a.workspace_id, a.object_id))) then
        raise sqlstate 'PT409' using message = 'archive_changed';
    end if;
end;
$$;
comment on function private.require_archive is 'Refuses to restore the dropped messages of a session from another object than the one that has them, or from one that an erasure is about to write anew.';

create function public.restore_session(session_id uuid, rows jsonb default '[]', is_last boolean default true, object_id uuid default null)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    session public.sessions;
    changed boolean := false;
begin
    perform private.enter_session(session_id);
    perform pg_advisory_xact_lock_shared(hashtextextended('archives' || private.entered_workspace()::text, 0));
    session := private.lock_session_to_work_on(session_id);
    if session.status = 'archived' then
        perform private.require_archive(session.id, object_id);
        perform private.insert_archived_rows(session, rows);
        if is_last then
            update public.sessions s
               set status = s.status_before_archive, status_before_archive = null, archived_at = null
             where s.id = session.id
            returning s.* into session;
            update public.session_archives a
               set messages_dropped = false, restored_at = now()
             where a.session_id = session.id
               and a.is_current;
            delete from public.archive_queue q where q.session_id = session.id;
            perform private.return_message_ids(session.id);
            perform private.record_audit('session.restored', session.id, private.calling_actor(), null);
            changed := true;
        end if;
    end if;
    return jsonb_build_object('session_id', session.id, 'conversation_id', session.conversation_id, 'status', session.status,
                              'changed', changed);
end;
$$;
comment on function public.restore_session is 'Puts rows of an archived session, as its object has them, back, and with the last ones returns it to its former state, for members who may work on it: {session_id, conversation_id, status, changed}. Null for the object: no messages were dropped. A session that is not archived stays as it is.';

grant execute on function
    private.archive_place, public.locate_archive, private.insert_archived_rows, private.require_archive, public.restore_session
    to switchboard;
