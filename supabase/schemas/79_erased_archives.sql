-- Erasing from archives: objects that hold an erased contact's sessions, or what it wrote in groups, are written anew without.

create function private.lock_archives(workspace_id uuid)
    returns void language sql set search_path = ''
as $$
    select pg_advisory_xact_lock(hashtextextended('archives' || workspace_id::text, 0));
$$;
comment on function private.lock_archives is 'Excludes restores, and what finds or begins objects for an erasure, until the end of the transaction.';

create function private.has_archive_erasure(workspace_id uuid, object_id uuid)
    returns boolean language sql stable set search_path = ''
as $$
    select exists (select
                     from public.erasures e
                     join public.jobs j
                       on j.workspace_id = e.workspace_id
                      and j.kind = 'erase_archive'
                      and j.item_key = e.id || ':' || has_archive_erasure.object_id
                    where e.workspace_id = has_archive_erasure.workspace_id
                      and e.status = 'running'
                      and j.status <> 'succeeded');
$$;
comment on function private.has_archive_erasure is 'Whether an object is still to be written anew for an erasure.';

create function private.queue_archive_erasures(erasure public.erasures)
    returns public.erasures language plpgsql set search_path = ''
as $$
declare
    queued bigint;
begin
    perform private.lock_archives(erasure.workspace_id);
    -- In the step groups the objects of the groups that it was in, at the end those of sessions that are gone.
    insert into public.jobs (workspace_id, kind, runs_in, payload, item_key)
    select distinct erasure.workspace_id, 'erase_archive', 'archive',
           jsonb_build_object('erasure_id', erasure.id, 'object_id', o.id), erasure.id || ':' || o.id
      from public.archive_objects o
     cross join unnest(o.session_ids) as held (id)
      left join public.sessions s on s.id = held.id
     where o.workspace_id = erasure.workspace_id
       and case when erasure.step = 'groups'
                then s.contact_id in (select p.group_id from public.group_participants p where p.contact_id = any (erasure.contact_ids))
                else s.id is null end
    on conflict (workspace_id, kind, item_key) where item_key is not null do nothing;
    get diagnostics queued = row_count;
    return private.counted(erasure, 'archive_objects', queued);
end;
$$;
comment on function private.queue_archive_erasures is 'Queues the jobs that write objects anew; also those that a run is writing.';

create function public.open_archive_erasure(object_id uuid, erasure_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid   := private.enter();
    erased    constant uuid[] := (select e.contact_ids from public.erasures e where e.id = open_archive_erasure.erasure_id);
    object    public.archive_objects;
    target    public.archive_objects;
    kept      uuid[];
begin
    -- What others erase from it is queued for the target too.
    perform private.lock_archives(workspace);
    select o.* into object from public.archive_objects o where o.id = open_archive_erasure.object_id for update;
    if not found then
        return '{"state": "gone"}'::jsonb;
    elsif object.status = 'writing' and object.lease_until > now() then
        return '{"state": "writing"}'::jsonb;
    elsif object.status = 'writing' then
        perform private.release_archive_batch(object.id, 0);
    end if;
    kept := array(select a.session_id
                    from public.session_archives a
                    join public.sessions s on s.id = a.session_id
                   where a.object_id = object.id
                     and a.is_current
                     and (s.contact_id is null or s.contact_id <> all (erased)));
    if object.status <> 'stored' or kept = array[]::uuid[] then
        perform private.retire_archives(array(select a.session_id from public.session_archives a where a.object_id = object.id and a.is_current));
        return jsonb_build_object('state', 'dead', 'workspace_id', workspace, 'month', object.month);
    end if;
    insert into public.archive_objects as o (workspace_id, month, lease_until, session_ids)
    values (workspace, object.month, now() + interval '5 minutes', kept)
    returning o.* into target;
    return jsonb_build_object(
        'state', 'rewrite', 'workspace_id', workspace, 'month', object.month, 'target_id', target.id, 'contact_ids', to_jsonb(erased),
        'sha256', object.sha256,
        -- The conversation's own contact, a group, stands for who is erased.
        'sessions', (select jsonb_object_agg(s.id, s.contact_id) from public.sessions s where s.id = any (kept)));
end;
$$;
comment on function public.open_archive_erasure is 'What is to be done with an object for an erasure: {state, workspace_id, month, target_id, contact_ids, sha256, sessions {id: contact_id}}. gone: nothing; writing: ask again later; dead: delete it; rewrite: write these sessions to the target.';

create function private.anonymise_dropped(erased jsonb)
    returns void language plpgsql security definer set search_path = ''
as $$
declare
    workspace constant uuid   := private.entered_workspace();
    asked     constant uuid[] := array(select e::uuid from jsonb_array_elements_text(erased -> 'turns') e);
    known     uuid[];
begin
    delete from public.turn_errors t where t.workspace_id = workspace and t.turn_id = any (asked);
    update public.turns t set client_message_id = null, usage = null where t.workspace_id = workspace and t.id = any (asked);
    delete from public.events e
     where e.workspace_id = workspace
       and e.contact_id in (select s.contact_id from public.turns t join public.sessions s on s.id = t.session_id where t.id = any (asked))
       and e.data ->> 'message_id' in (select m.id from jsonb_to_recordset(erased -> 'messages') m (id text));
    -- A memory lost its message when that was dropped; it has its time.
    with forgotten as (
        delete from public.memories r
         using jsonb_to_recordset(erased -> 'messages') m (session_id uuid, created_at timestamptz)
         where r.workspace_id = workspace
           and r.session_id = m.session_id
           and r.valid_from = m.created_at
           and r.kind = 'turn'
        returning r.id
    ), kept as (
        -- Its id stays: a repeated import finds it, and stores nothing.
        update private.archived_message_ids i
           set client_message_id = null, memory_ids = '{}'
          from jsonb_to_recordset(erased -> 'messages') m (id uuid)
          join private.archived_message_ids o on o.message_id = m.id
         where i.workspace_id = workspace
           and i.message_id = m.id
        returning o.memory_ids
    ), recalled as (
        delete from public.memories r
         where r.workspace_id = workspace
           and r.id in (select unnest(k.memory_ids) from kept k)
        returning r.id
    )
    select array_agg(f.id) into known from (select id from forgotten union select id from recalled) f;
    delete from public.memory_history h where h.workspace_id = workspace and h.memory_id = any (known);
end;
$$;
comment on function private.anonymise_dropped is 'As anonymise_messages(), for messages that are in an archive only: {messages: [{id, session_id, created_at}], turns: [id]} of the entered workspace.';

create function public.record_archive_erasure(
    object_id uuid, target_id uuid, erasure_id uuid, content jsonb, row_groups jsonb, erased jsonb default '{"messages": [], "turns": []}')
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter();
    former    public.session_archives[];
begin
    perform from public.archive_objects o where o.id in (record_archive_erasure.object_id, target_id) order by o.id for update;
    if not exists (select from public.archive_objects o where o.id = target_id and o.status = 'writing') then
        return '{"recorded": false}'::jsonb;
    elsif not exists (select from public.archive_objects o where o.id = record_archive_erasure.object_id and o.status = 'stored') then
        -- Another erasure, or a new archive of all of its sessions, was faster: the target has what that took out.
        perform private.release_archive_batch(target_id, 0);
        return '{"recorded": false}'::jsonb;
    end if;
    perform private.anonymise_dropped(erased);
    -- Other erasures that wait for the object find what they erase in the target.
    insert into public.jobs (workspace_id, kind, runs_in, payload, item_key)
    select j.workspace_id, j.kind, j.runs_in, jsonb_build_object('erasure_id', j.payload -> 'erasure_id', 'object_id', target_id),
           (j.payload ->> 'erasure_id') || ':' || target_id
      from public.erasures e
      join public.jobs j
        on j.workspace_id = e.workspace_id
       and j.kind = 'erase_archive'
       and j.item_key = e.id || ':' || record_archive_erasure.object_id
     where e.workspace_id = workspace
       and e.status = 'running'
       and e.id <> record_archive_erasure.erasure_id
       and j.status <> 'succeeded'
    on conflict (workspace_id, kind, item_key) where item_key is not null do nothing;
    -- A session that was archived again meanwhile has a newer object.
    former := array(select a from public.session_archives a where a.object_id = record_archive_erasure.object_id and a.is_current for update);
    update public.session_archives a
       set is_current = false, messages_dropped = false
     where a.object_id = record_archive_erasure.object_id;
    update public.archive_objects o
       set status = 'superseded', changed_at = now()
     where o.id = record_archive_erasure.object_id;
    insert into public.session_archives (object_id, session_id, workspace_id, conversation_id, month, row_group, byte_offset, byte_length,
                                         sha256, row_count, message_count, stored_at, messages_dropped, restored_at)
    select target_id, f.session_id, workspace, f.conversation_id, f.month, g.number, g.byte_offset, g.byte_length, g.sha256,
           r.row_count, r.message_count, f.stored_at, f.messages_dropped, f.restored_at
      from jsonb_to_recordset(row_groups) g (number integer, byte_offset bigint, byte_length bigint, sha256 text,
                                             session_ids uuid[], row_counts integer[], message_counts integer[])
     cross join unnest(g.session_ids, g.row_counts, g.message_counts) r (session_id, row_count, message_count)
      join unnest(former) f on f.session_id = r.session_id;
    update public.archive_objects o
       set status = 'stored', lease_until = null, changed_at = now(), sha256 = content ->> 'sha256',
           size_bytes = (content ->> 'size_bytes')::bigint, row_count = (content ->> 'row_count')::integer,
           footer = decode(content ->> 'footer', 'base64'),
           dropped = (select d.dropped from public.archive_objects d where d.id = record_archive_erasure.object_id)
     where o.id = target_id;
    return '{"recorded": true}'::jsonb;
end;
$$;
comment on function public.record_archive_erasure is 'Records the object that was written in place of another, as record_archive; the other one is to be deleted. erased: the messages and turns of groups that lost their words. {recorded}: false if the time for it ran out, or the other one was replaced before.';

grant execute on function
    private.lock_archives, private.has_archive_erasure, private.anonymise_dropped, public.open_archive_erasure, public.record_archive_erasure
    to switchboard;
