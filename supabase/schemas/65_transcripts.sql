-- Transcripts: what devices hear, as messages of a conversation for each device session.

create function private.device_silence()
    returns interval language plpgsql immutable parallel safe set search_path = ''
as $$
begin
    -- Omi's own rule: https://docs.omi.me/doc/developer/apps/Integrations
    return interval '120 seconds';
end;
$$;
comment on function private.device_silence is 'The silence after which a device whose session id is its uid begins a new session.';

create function private.has_segments(device public.device_sessions, segments jsonb)
    returns boolean language sql stable set search_path = ''
as $$
    select exists (select
                     from jsonb_array_elements(segments) s
                     join public.messages m
                       on m.conversation_id = device.conversation_id and m.client_message_id = 'segment:' || (s.value ->> 'key')
                    -- A segment without an id is known by its text, which another session may have, too.
                    where (s.value ->> 'has_id')::boolean);
$$;
comment on function private.has_segments is 'Whether a segment with an id of its own has come in a device session before.';

create function private.close_device_session(device public.device_sessions)
    returns public.device_sessions language plpgsql set search_path = ''
as $$
declare
    closed  public.device_sessions;
    session public.sessions;
begin
    update public.device_sessions d
       set closed_at = coalesce(d.closed_at, now())
     where d.id = device.id
    returning d.* into closed;
    perform private.lock_conversation(device.conversation_id);
    select s.* into session
      from public.sessions s
     where s.conversation_id = device.conversation_id
       and s.status in ('active', 'paused')
       and not exists (select from public.turns t where t.session_id = s.id and t.status = 'active')
       for no key update;
    if found then
        perform private.set_session_status(session, 'completed', null);
    end if;
    return closed;
end;
$$;
comment on function private.close_device_session is 'Closes a locked device session and completes its session.';

create function private.running_device_session(external_id text, uid text, heard_at timestamptz, segments jsonb)
    returns public.device_sessions language plpgsql set search_path = ''
as $$
declare
    device public.device_sessions;
begin
    -- Segments that come again, or grow, belong where they began.
    select d.* into device
      from (select c.*
              from public.device_sessions c
             where c.workspace_id = private.entered_workspace()
               and c.external_id = running_device_session.external_id
               and coalesce(c.uid = running_device_session.uid, true)
             order by c.created_at desc, c.id desc
             limit 10) d
     order by private.has_segments(d, segments) desc, d.closed_at is null desc, d.created_at desc, d.id desc
     limit 1;
    if found and (external_id is distinct from uid or private.has_segments(device, segments)
                  or (device.closed_at is null and device.last_segment_at >= heard_at - private.device_silence())) then
        return device;
    end if;
    if found and device.closed_at is null then
        perform private.close_device_session(device);
    end if;
    insert into public.device_sessions (workspace_id, external_id, uid)
    values (private.entered_workspace(), running_device_session.external_id, running_device_session.uid)
    returning * into device;
    return device;
end;
$$;
comment on function private.running_device_session is 'The device session that segments belong to, or a new one: where the session id is the device''s uid, a session ends with silence or with its conversation.';

create function private.finished_device_session(conversation jsonb, uid text, segments jsonb)
    returns public.device_sessions language plpgsql set search_path = ''
as $$
declare
    finished constant text := conversation ->> 'external_id';
    device   public.device_sessions;
begin
    select d.* into device
      from public.device_sessions d
     where d.workspace_id = private.entered_workspace()
       and d.uid = finished_device_session.uid
       and d.external_conversation_id = finished;
    if not found then
        select d.* into device
          from (select c.*
                  from public.device_sessions c
                 where c.workspace_id = private.entered_workspace()
                   and c.uid = finished_device_session.uid
                 order by c.created_at desc, c.id desc
                 limit 10) d
         where private.has_segments(d, segments)
               -- Without segments of its own it is the one that was heard at its time.
            or (segments = '[]'
                and d.external_conversation_id is null
                and d.last_segment_at >= (conversation ->> 'started_at')::timestamptz
                and d.created_at <= (conversation ->> 'finished_at')::timestamptz + private.device_silence())
         order by d.created_at desc, d.id desc
         limit 1;
        update public.device_sessions d set external_conversation_id = finished where d.id = device.id;
    end if;
    if device.id is null then
        insert into public.device_sessions (workspace_id, external_id, external_conversation_id, uid, closed_at)
        values (private.entered_workspace(), finished_device_session.uid, finished, finished_device_session.uid, now())
        returning * into device;
    end if;
    return device;
end;
$$;
comment on function private.finished_device_session is 'The device session that a finished conversation of the provider was made of, or a new closed one.';

create function private.open_transcript(device public.device_sessions, persona_id uuid)
    returns public.device_sessions language plpgsql set search_path = ''
as $$
declare
    contact uuid := case when device.uid is null then private.create_contact('{}', true)
                         else private.find_or_create_contact('omi', device.uid, device.uid, 'omi', '{}') end;
    made    public.device_sessions;
begin
    if persona_id is null then
        raise sqlstate 'PT422' using message = 'persona_required';
    end if;
    -- A conversation for each session: a device has several users in its life, and each sees their own sessions only.
    with conversation as (
        insert into public.conversations (workspace_id, contact_id, user_id, persona_id, channel, thread_key, proof)
        values (device.workspace_id, private.lock_merge_target(contact), device.user_id, open_transcript.persona_id,
                device.provider, device.id::text, 'verified')
        returning id
    )
    update public.device_sessions d
       set conversation_id = (select c.id from conversation c)
     where d.id = device.id
    returning d.* into made;
    return made;
end;
$$;
comment on function private.open_transcript is 'Opens the conversation of a locked device session, with the contact who wears the device.';

create function private.heard_segments(segments jsonb, is_final boolean)
    returns table (key text, place bigint, text text, speaker text) language sql immutable set search_path = ''
as $$
    -- A segment that comes several times has its longest text, in a finished conversation the last one.
    select 'segment:' || (s.value ->> 'key'), min(s.place),
           (array_agg(s.value ->> 'text' order by case when is_final then -s.place else -length(s.value ->> 'text') end, s.place))[1],
           (array_agg(s.value ->> 'speaker' order by s.place))[1]
      from jsonb_array_elements(segments) with ordinality s (value, place)
     group by s.value ->> 'key';
$$;
comment on function private.heard_segments is 'The distinct segments of a delivery.';

create function private.save_segments(device public.device_sessions, segments jsonb, is_final boolean)
    returns void language plpgsql set search_path = ''
as $$
declare
    conversation constant public.conversations := private.lock_conversation(device.conversation_id);
    session      public.sessions;
    known        text[];
begin
    -- The sessions are locked, so that messages and their changes become visible in the order of their times.
    perform
       from public.sessions s
      where s.conversation_id = conversation.id
      order by s.id
        for no key update;
    with changed as (
        update public.messages m
           set text = h.text, changed_at = clock_timestamp()
          from private.heard_segments(segments, is_final) h
         where m.conversation_id = conversation.id
           and m.client_message_id = h.key
           and (length(h.text) > length(m.text) or (is_final and h.text <> m.text))
    )
    select coalesce(array_agg(m.client_message_id), '{}') into known
      from private.heard_segments(segments, is_final) h
      join public.messages m on m.conversation_id = conversation.id and m.client_message_id = h.key;
    known := known || array(select h.key
                              from private.heard_segments(segments, is_final) h
                             where h.key <> all (known)
                               and (private.archived_message(conversation.id, h.key)).message_id is not null);
    if jsonb_array_length(segments) = 0
       or not exists (select from private.heard_segments(segments, is_final) h where h.key <> all (known)) then
        return;
    end if;
    session := (private.open_session(conversation, jsonb_build_object('source', device.provider), null)).session;
    -- All at once: a transcript may have thousands, and each further update of a row in a transaction takes longer.
    with new_ones as (
        insert into public.messages (workspace_id, conversation_id, session_id, role, contact_id, speaker, text, client_message_id)
        select conversation.workspace_id, conversation.id, session.id, 'contact', conversation.contact_id, h.speaker, h.text, h.key
          from private.heard_segments(segments, is_final) h
          left join unnest(known) as k (key) on k.key = h.key
         where k.key is null
         order by h.place
        returning id
    )
    update public.sessions s
       set message_count    = s.message_count + (select count(*) from new_ones),
           last_activity_at = clock_timestamp(),
           status           = case when s.taken_over_by is null then 'active' else s.status end
     where s.id = session.id;
end;
$$;
comment on function private.save_segments is 'Writes segments [{key, has_id, text, speaker}] as messages of a device session''s conversation. A longer text of a known segment replaces the shorter one, that of a finished conversation any.';

create function public.save_transcript(
    channel_id   uuid,
    event_id     uuid,
    uid          text,
    external_id  text,
    segments     jsonb,
    conversation jsonb default null
)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid        := private.enter();
    heard_at  constant timestamptz := coalesce((select e.received_at from public.inbound_events e where e.id = event_id), now());
    device    public.device_sessions;
    wearer    uuid;
begin
    -- One delivery of a device at a time.
    perform pg_advisory_xact_lock(hashtextextended('switchboard.device.' || workspace || coalesce(uid, external_id), 0));
    device := case when conversation is null then private.running_device_session(external_id, uid, heard_at, segments)
                   else private.finished_device_session(conversation, uid, segments) end;
    update public.device_sessions d
       set uid             = coalesce(d.uid, save_transcript.uid),
           last_segment_at = case when save_transcript.conversation is null then greatest(d.last_segment_at, heard_at)
                                  else coalesce(d.last_segment_at, heard_at) end
     where d.id = device.id
    returning d.* into device;
    if device.linked_at is null then
        select l.user_id into wearer
          from public.device_links l
         where l.workspace_id = workspace
           and l.provider = device.provider
           and l.uid = device.uid
           and l.status = 'verified';
        if found then
            device := private.attach_device_session(device, wearer, 'uid');
        end if;
    end if;
    if device.conversation_id is null then
        device := private.open_transcript(device, (select c.persona_id from public.channels c where c.id = channel_id));
    end if;
    perform private.save_segments(device, segments, conversation is not null);
    if conversation is not null then
        update public.sessions s
           set subject = left(conversation ->> 'title', 200)
         where s.conversation_id = device.conversation_id
           and conversation ->> 'title' <> '';
        device := private.close_device_session(device);
    end if;
    return private.describe_device_session(device);
end;
$$;
comment on function public.save_transcript is 'Saves what a device heard: segments [{key, has_id, text, speaker}] of a running session, or a finished conversation {external_id, started_at, finished_at, title} with all of its segments, which closes the session. A new session is attached to the user of a verified device link. Idempotent.';

grant execute on function
    private.device_silence, private.has_segments, private.close_device_session, private.running_device_session,
    private.finished_device_session, private.open_transcript, private.heard_segments, private.save_segments, public.save_transcript
    to switchboard;
