-- Generated from supabase/schemas/58_live.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- The live view: what the streams of conversations and of workspaces send. A process of the functions polls once for all
-- of its readers; what each of them may see is found when it opens a stream and again every few seconds.

create function private.reading_level(conversation public.conversations)
    returns text language plpgsql stable security definer set search_path = ''
as $$
declare
    claims constant jsonb := private.claims();
    reader constant uuid  := (claims ->> 'sub')::uuid;
begin
    -- The same conditions as in the policies on conversations and messages.
    if claims ? 'contact_id' then
        return case when conversation.id = private.token_conversation() then 'own' end;
    elsif conversation.workspace_id in (select private.admin_workspaces()) then
        return 'all';
    elsif conversation.user_id = reader
      and (conversation.contact_id is not null or conversation.workspace_id in (select private.member_workspaces())) then
        return 'own';
    elsif conversation.workspace_id in (select private.member_workspaces())
      and exists (select
                    from public.sessions s
                   where (s.assigned_user_id = reader or s.opened_by_key_id = reader)
                     and s.workspace_id = conversation.workspace_id
                     and s.conversation_id = conversation.id) then
        return 'assigned';
    end if;
    return null;
end;
$$;
comment on function private.reading_level is 'What the caller''s own token or key reads of a conversation: all (an owner or admin), own (all of it, as the person whose it is), assigned (the sessions that are assigned to the member, or that the key opened), or null.';

create function private.workspace_level(workspace_id uuid)
    returns text language sql stable set search_path = ''
as $$
    select case when m.role = 'agent' then 'assigned' else 'all' end
      from private.memberships((select auth.uid())) m
     where m.workspace_id = workspace_level.workspace_id;
$$;
comment on function private.workspace_level is 'What the signed-in user or API key reads of a workspace''s sessions: all, assigned (also their own), or null.';

create function private.current_conversation()
    returns uuid language sql stable security definer set search_path = ''
as $$
    -- A device opens a conversation whenever it is heard again, so a user has thousands: few of them are looked at.
    select s.conversation_id
      from (select l.*
              from public.sessions l
             where l.user_id = (select auth.uid())
               and (l.contact_id is not null or l.workspace_id in (select private.member_workspaces()))
             order by l.last_activity_at desc
             limit 10) s
      left join lateral (select m.created_at
                           from public.messages m
                          where m.conversation_id = s.conversation_id
                          order by m.created_at desc
                          limit 1) m on true
     order by coalesce(m.created_at, s.created_at) desc, s.conversation_id desc
     limit 1;
$$;
comment on function private.current_conversation is 'The signed-in user''s own conversation with the newest message; null without one.';

create function public.read_current_conversation()
    returns jsonb language plpgsql stable set search_path = ''
as $$
begin
    return jsonb_build_object('conversation_id', private.current_conversation());
end;
$$;
comment on function public.read_current_conversation is 'The signed-in user''s own conversation with the newest message: {conversation_id}, null without one.';

create function private.messages_after(conversation_id uuid, since timestamptz, beyond uuid, most integer, shown public.proof)
    returns jsonb language sql stable set search_path = ''
as $$
    select jsonb_agg(jsonb_build_object(
               'id', m.id, 'session_id', m.session_id, 'turn_id', m.turn_id, 'role', m.role, 'speaker', m.speaker, 'text', m.text,
               'partial', m.partial, 'created_at', m.created_at, 'changed_at', m.changed_at,
               'proof', case when m.role = 'contact' then shown end,
               'user_id', case when m.role = 'member' then private.message_author(m.id) end)
               order by m.place, m.id)
      from ((select n.id, n.session_id, n.turn_id, n.role, n.speaker, n.text, n.partial, n.created_at, n.changed_at, n.created_at as place
               from public.messages n
              where n.conversation_id = messages_after.conversation_id
                and (n.created_at, n.id) > (since, beyond)
                and n.changed_at is null
              order by n.created_at, n.id
              limit most)
            union all
            (select c.id, c.session_id, c.turn_id, c.role, c.speaker, c.text, c.partial, c.created_at, c.changed_at, c.changed_at
               from public.messages c
              where c.conversation_id = messages_after.conversation_id
                and (c.changed_at, c.id) > (since, beyond)
                and c.changed_at is not null
              order by c.changed_at, c.id
              limit most)
             order by place, id
             limit most) m;
$$;
comment on function private.messages_after is 'The messages of a conversation that were added or changed after a position, as its stream sends them; null without any. A message''s place is the time of its last change, and its id.';

create function private.conversation_changes(followed jsonb)
    returns jsonb language sql stable set search_path = ''
as $$
    select coalesce(jsonb_agg(jsonb_build_object(
               'id', f.id, 'messages', coalesce(said.messages, '[]'), 'more', coalesce(jsonb_array_length(said.messages) = 100, false),
               'assigned', (select jsonb_object_agg(s.id, array[s.assigned_user_id, s.opened_by_key_id])
                              from public.sessions s
                             where s.id = state.id
                                or s.id in (select (m ->> 'session_id')::uuid from jsonb_array_elements(said.messages) m)),
               'session', case when state.is_new then state.document || jsonb_build_object('proof', c.proof) end,
               'session_at', state.updated_at,
               'present', case when present.members <> coalesce(f.present, '[]') then present.members end,
               'turn', case when answer.turn_id is not null then jsonb_build_object(
                           'turn_id', answer.turn_id, 'session_id', state.id, 'text', coalesce(answer.piece, '')) end)), '[]')
      from jsonb_to_recordset(followed) as f (
               id uuid, at timestamptz, after uuid, session_id uuid, session_at timestamptz, turn_id uuid, characters integer, present jsonb)
      join public.conversations c on c.id = f.id
     cross join lateral (
               select private.messages_after(f.id, coalesce(f.at, '-infinity'),
                          coalesce(f.after, '00000000-0000-0000-0000-000000000000'), 100, c.proof) as messages
               offset 0) said
      -- The live session, or the last one that was seen.
      left join lateral (
               select s.id, s.updated_at, (s.id, s.updated_at) is distinct from (f.session_id, f.session_at) as is_new,
                      jsonb_build_object(
                          'session_id', s.id, 'status', s.status, 'taken_over', s.taken_over_at is not null,
                          'contact_id', s.contact_id, 'user_id', s.user_id) as document
                 from public.sessions s
                where s.id = coalesce(
                          (select l.id from public.sessions l where l.conversation_id = f.id and l.status in ('active', 'paused')),
                          (said.messages -> -1 ->> 'session_id')::uuid,
                          f.session_id)) state on true
      left join lateral (
               select t.id as turn_id,
                      (select string_agg(k.piece, '' order by k.position)
                         from public.turn_chunks k
                        where k.turn_id = t.id
                          and k.position >= case when t.id = f.turn_id then f.characters else 0 end) as piece
                 from public.turns t
                where t.session_id = state.id
                  and t.status = 'active') answer on true
     cross join lateral (select private.present_members(f.id) as members offset 0) present
     where present.members <> coalesce(f.present, '[]') or said.messages is not null or state.is_new or answer.piece is not null or answer.turn_id is distinct from f.turn_id;
$$;
comment on function private.conversation_changes is 'What is new in conversations [{id, at, after, session_id, session_at, turn_id, characters, present}] since what is known of each: [{id, messages, more, assigned {session: [member, key]}, session, session_at, present, turn {turn_id, session_id, text}}], only those with news.';

create function private.longest_write()
    returns interval language plpgsql immutable parallel safe set search_path = ''
as $$
begin
    return interval '15 seconds';
end;
$$;
comment on function private.longest_write is 'Longer than a transaction of the functions may take: what a newer read does not find of this age, it will not find.';

create function private.first_id_of(at timestamptz)
    returns uuid language plpgsql immutable parallel safe set search_path = ''
as $$
begin
    return (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '00000000000000000000')::uuid;
end;
$$;
comment on function private.first_id_of is 'The lowest id that private.uuid7() makes at a time.';

create function private.short_id(id uuid)
    returns text language plpgsql immutable parallel safe set search_path = ''
as $$
begin
    return right(id::text, 8);
end;
$$;
comment on function private.short_id is 'The random end of an id, in which the sessions of a few seconds differ.';

create function private.session_changes(workspace_id uuid, since timestamptz, known jsonb, reader uuid)
    returns jsonb language plpgsql stable set search_path = ''
as $$
declare
    -- Ids are ordered by time, so this needs no index on updated_at, which each turn would pay for.
    first_id constant uuid := private.first_id_of(since - private.longest_write());
begin
    return (
        with audited as (
            select a.object_id, max(a.created_at) as at
              from public.audit_events a
             where a.id >= first_id
               and a.workspace_id = session_changes.workspace_id
             group by a.object_id
        ), touched as (
            select m.session_id, null::timestamptz as at
              from public.messages m
             where m.id >= first_id
               and m.workspace_id = session_changes.workspace_id
            union
            select s.id, null
              from public.sessions s
             where s.id >= first_id
               and s.workspace_id = session_changes.workspace_id
            union
            select w.session_id, null
              from public.workflow_steps w
             where w.id >= first_id
               and w.workspace_id = session_changes.workspace_id
            union
            select coalesce(t.session_id, a.object_id), a.at
              from audited a
              left join public.turns t on t.id = a.object_id
            union
            -- Lists show the contact's name. Of a contact with more sessions the older ones keep the former name.
            select o.id, a.at
              from audited a
             cross join lateral (select s.id
                                   from public.sessions s
                                  where s.contact_id = a.object_id
                                  order by s.last_activity_at desc
                                  limit 20) o
        )
        select coalesce(jsonb_agg(jsonb_build_object(
                   'at', version.at, 'session_id', s.id, 'conversation_id', s.conversation_id, 'contact_id', s.contact_id,
                   'user_id', s.user_id, 'persona_id', s.persona_id, 'status', s.status, 'workflow_step', s.workflow_step,
                   'taken_over', s.taken_over_at is not null, 'assigned_user_id', s.assigned_user_id,
                   'opened_by_key_id', s.opened_by_key_id,
                   'message_count', s.message_count, 'created_at', s.created_at, 'last_activity_at', s.last_activity_at,
                   'last_message', last.message) order by version.at, s.id), '[]')
          from (select u.session_id, max(u.at) as at from touched u group by u.session_id) t
          join public.sessions s on s.id = t.session_id
         -- Tags and the contact's name are no columns of the session.
         cross join lateral (select (extract(epoch from greatest(s.updated_at, t.at)) * 1000000)::bigint as at) version
          left join lateral (
                   select jsonb_build_object('id', m.id, 'role', m.role, 'text', left(m.text, 200), 'created_at', m.created_at) as message
                     from public.messages m
                    where m.session_id = s.id
                    order by m.created_at desc, m.id desc
                    limit 1) last on true
         where s.workspace_id = session_changes.workspace_id
           and greatest(s.updated_at, t.at) >= since - private.longest_write()
           and version.at > coalesce((known ->> private.short_id(s.id))::bigint, 0)
           and (reader is null or reader in (s.assigned_user_id, s.opened_by_key_id, s.user_id)));
end;
$$;
comment on function private.session_changes is 'The sessions of a workspace that changed, or whose tags or contact did, after a time or shortly before it, unless this change is known ({short id: microseconds}); of a reader: only their own and assigned ones.';

create function public.follow_workspace(workspace_id uuid, since timestamptz default null, known jsonb default '{}')
    returns jsonb language plpgsql stable security definer set search_path = ''
as $$
declare
    level  constant text        := private.workspace_level(workspace_id);
    reader constant uuid        := case when level = 'assigned' then auth.uid() end;
    -- Before the snapshot of this call could miss anything.
    began  constant timestamptz := statement_timestamp();
    reset  boolean              := since < began - interval '10 minutes' or since > began + interval '1 minute';
begin
    if level is null then
        raise sqlstate 'PT404' using message = 'workspace_not_found';
    end if;
    -- What is no longer assigned to an agent, the agent may not read here.
    reset := reset or (level = 'assigned' and exists (
                 select
                   from public.audit_events a
                  where a.id >= private.first_id_of(since - private.longest_write())
                    and a.workspace_id = follow_workspace.workspace_id
                    and a.verb = 'session.assigned'));
    return jsonb_build_object(
        'level', level, 'reset', coalesce(reset, false), 'now', (extract(epoch from began) * 1000000)::bigint,
        -- A stream without a position begins now: what changed before is known from the lists.
        'sessions', case when since is null or reset then '[]'
                         else private.session_changes(workspace_id, since, known, reader) end,
        'window', (select coalesce(jsonb_object_agg(private.short_id((c ->> 'session_id')::uuid), c -> 'at'), '{}')
                     from jsonb_array_elements(private.session_changes(workspace_id, began, '{}', reader)) c),
        'mine', case when level = 'assigned' then (
                    select coalesce(jsonb_agg(s.id), '[]')
                      from public.sessions s
                     where (s.assigned_user_id = reader or s.opened_by_key_id = reader)
                       and s.workspace_id = follow_workspace.workspace_id
                       and s.status in ('active', 'paused')) end);
end;
$$;
comment on function public.follow_workspace is 'What a member''s stream of a workspace begins with: {level, reset, now, sessions, window, mine}. sessions changed since a position; reset: the position is too old, or since then an agent''s assignments may have changed; window: what changed last, so that it is not sent again; mine: an agent''s live assigned sessions.';

create function private.reader_levels(readers jsonb)
    returns jsonb language plpgsql stable set search_path = ''
as $$
declare
    before constant text := current_setting('request.jwt.claims', true);
    reader record;
    keys   text[] := array[]::text[];
    levels text[] := array[]::text[];
begin
    for reader in
        select r.* from jsonb_to_recordset(readers) as r (key text, claims jsonb, conversation_id uuid, workspace_id uuid)
    loop
        perform set_config('request.jwt.claims', reader.claims::text, true);
        keys   := array_append(keys, reader.key);
        levels := array_append(levels, case
            when private.token_is_revoked() then 'token_revoked'
            when reader.claims ? 'key_hash' and not exists (select from private.shown_key()) then (
                select case when k.revoked_at is null then 'api_key_expired' else 'api_key_invalid' end
                  from public.api_keys k
                 where k.id = (reader.claims ->> 'sub')::uuid)
            when reader.workspace_id is not null then coalesce(private.workspace_level(reader.workspace_id), 'workspace_not_found')
            when reader.conversation_id is not null then coalesce(
                (select private.reading_level(c) from public.conversations c where c.id = reader.conversation_id),
                'conversation_not_found')
            else private.current_conversation()::text end);
    end loop;
    perform set_config('request.jwt.claims', before, true);
    return jsonb_object(keys, levels);
end;
$$;
comment on function private.reader_levels is 'What readers [{key, claims, conversation_id | workspace_id}] read now, by key: a level, a refusal''s code, or for a reader of neither, their current conversation.';

create function public.poll_streams(conversations jsonb, workspaces jsonb, readers jsonb)
    returns jsonb language plpgsql stable security definer set search_path = ''
as $$
begin
    perform private.require_system();
    return jsonb_build_object(
        'now', (extract(epoch from statement_timestamp()) * 1000000)::bigint,
        'readers', private.reader_levels(readers),
        'conversations', private.conversation_changes(conversations),
        'workspaces', (select coalesce(jsonb_object_agg(w.id, private.session_changes(w.id, w.since, w.known, null)), '{}')
                         from jsonb_to_recordset(workspaces) as w (id uuid, since timestamptz, known jsonb)));
end;
$$;
comment on function public.poll_streams is 'News for all streams of a process: {now, readers, conversations, workspaces}, see private.reader_levels, private.conversation_changes and private.session_changes.';

create function private.listeners_key()
    returns bigint language plpgsql immutable parallel safe set search_path = ''
as $$
begin
    return hashtextextended('switchboard.listeners', 0);
end;
$$;
comment on function private.listeners_key is 'The advisory lock that each listening process shares.';

create function public.begin_listening()
    returns jsonb language plpgsql set search_path = ''
as $$
begin
    perform private.require_system();
    perform pg_advisory_lock_shared(private.listeners_key());
    return '{}'::jsonb;
end;
$$;
comment on function public.begin_listening is 'Tells announce_change that a process listens, until the connection ends: {}.';

create function public.announce_change(conversation_id uuid default null, session_id uuid default null, turn_id uuid default null)
    returns jsonb language plpgsql security definer set search_path = ''
as $$
declare
    conversation uuid;
    workspace    uuid;
begin
    perform private.require_system();
    -- No process shares the lock, so none listens.
    if pg_try_advisory_xact_lock(private.listeners_key()) then
        return jsonb_build_object('listeners', false);
    end if;
    select c.id, c.workspace_id into conversation, workspace
      from public.conversations c
     where c.id = coalesce(
               announce_change.conversation_id,
               (select s.conversation_id from public.sessions s where s.id = announce_change.session_id),
               (select t.conversation_id from public.turns t where t.id = announce_change.turn_id));
    if found then
        perform pg_notify('switchboard_changes', conversation || ' ' || workspace);
    end if;
    return jsonb_build_object('listeners', true);
end;
$$;
comment on function public.announce_change is 'Notifies listening processes of a committed change, named by any of its ids: {listeners}. Never part of the transaction that changes: commits that notify wait for each other.';

grant execute on function
    private.reading_level, private.messages_after
    to authenticated, contact;

grant execute on function
    private.current_conversation, public.read_current_conversation, public.follow_workspace
    to authenticated;

grant execute on function
    private.listeners_key, public.poll_streams, public.begin_listening, public.announce_change
    to switchboard;
