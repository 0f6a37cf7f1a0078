-- Generated from supabase/schemas/77_erasure_steps.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- The steps of an erasure: closing the contact, then deleting in batches, and what is refused afterwards.

create function private.is_row_of(contact_ids uuid[], id uuid)
    returns boolean language sql stable set search_path = ''
as $$
    select is_row_of.id = any (contact_ids)
        or exists (select from public.conversations r where r.id = is_row_of.id and r.contact_id = any (contact_ids))
        or exists (select from public.sessions r where r.id = is_row_of.id and r.contact_id = any (contact_ids))
        or exists (select from public.turns r join public.conversations c on c.id = r.conversation_id
                    where r.id = is_row_of.id and c.contact_id = any (contact_ids))
        or exists (select from public.messages r join public.conversations c on c.id = r.conversation_id
                    where r.id = is_row_of.id and (c.contact_id = any (contact_ids) or r.contact_id = any (contact_ids)))
        or exists (select from public.events r where r.id = is_row_of.id and r.contact_id = any (contact_ids))
        or exists (select from public.event_deliveries r join public.events e on e.id = r.event_id
                    where r.id = is_row_of.id and e.contact_id = any (contact_ids))
        or exists (select from public.device_sessions r join public.conversations c on c.id = r.conversation_id
                    where r.id = is_row_of.id and c.contact_id = any (contact_ids));
$$;
comment on function private.is_row_of is 'Whether an id is that of a contact or of a row of its conversations.';

create function private.words_of(text text)
    returns setof text language sql immutable set search_path = ''
as $$
    select distinct btrim(w.word, '.@+-')
      from regexp_split_to_table(lower(words_of.text), E'[\\s"\\\\'',:;{}()<>&=?/|\\[\\]]+') as w (word)
     where length(btrim(w.word, '.@+-')) >= 3;
$$;
comment on function private.words_of is 'The words of a delivery by which it may name a contact: ids, emails, numbers without a plus.';

create function private.names_contact(erasure public.erasures, text text)
    returns boolean language plpgsql stable set search_path = ''
as $$
declare
    salt   constant bytea   := (select s.salt from private.erasure_salts s where s.workspace_id = erasure.workspace_id);
    hashes constant bytea[] := array(select t.hash from private.tombstones t where t.erasure_id = erasure.id);
begin
    return exists (select
                     from private.words_of(names_contact.text) as w (word)
                    where sha256(salt || convert_to(w.word, 'UTF8')) = any (hashes)
                       or (w.word ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                           and private.is_row_of(erasure.contact_ids, w.word::uuid)));
end;
$$;
comment on function private.names_contact is 'Whether a text has an identity of an erased contact, or the id of one of its rows, as a word.';

create function private.counted(erasure public.erasures, place text, number bigint)
    returns public.erasures language plpgsql immutable set search_path = ''
as $$
begin
    if number > 0 then
        erasure.counts := erasure.counts || jsonb_build_object(place, coalesce((erasure.counts -> place)::bigint, 0) + number);
    end if;
    return erasure;
end;
$$;
comment on function private.counted is 'An erasure with rows added to the count of a place.';

create function private.next_step(erasure public.erasures, step public.erasure_step)
    returns public.erasures language plpgsql immutable set search_path = ''
as $$
begin
    erasure.step     := next_step.step;
    erasure.place_at := '-infinity';
    erasure.place_id := '00000000-0000-0000-0000-000000000000';
    return erasure;
end;
$$;
comment on function private.next_step is 'An erasure at the beginning of a step.';

create function private.stop_contact(contact_ids uuid[], last_try boolean)
    returns boolean language plpgsql set search_path = ''
as $$
declare
    session  uuid;
    stopping boolean := false;
begin
    -- No new turn by a token.
    update public.contacts c set tokens_revoked_at = clock_timestamp() where c.id = any (contact_ids);
    perform from public.conversations c where c.contact_id = any (contact_ids) order by c.id for no key update;
    for session in
        select s.id
          from public.sessions s
         where s.conversation_id in (select c.id from public.conversations c where c.contact_id = any (contact_ids))
           and s.status in ('active', 'paused')
         order by s.id
           for no key update
    loop
        stopping := private.stop_session_turn(session) is not null or stopping;
    end loop;
    if stopping and last_try then
        perform private.close_turn(t, 'cancelled', null, null, null, null, null)
           from public.turns t
          where t.conversation_id in (select c.id from public.conversations c where c.contact_id = any (contact_ids))
            and t.status = 'active';
        stopping := false;
    end if;
    return stopping;
end;
$$;
comment on function private.stop_contact is 'Revokes the tokens of locked contacts and stops their running turns, on the last try by force; whether one is still stopping.';

create function private.write_tombstones(erasure public.erasures)
    returns void language sql set search_path = ''
as $$
    insert into private.tombstones (erasure_id, hash, workspace_id, erased_at)
    select erasure.id, private.tombstone(erasure.workspace_id, w.word), erasure.workspace_id, erasure.created_at
      from (select i.kind || ':' || i.key
              from public.contact_identities i
             where i.contact_id = any (erasure.contact_ids)
             union
            -- A short id of another system is a word like any other.
            select k.word
              from public.contact_identities i
             cross join lateral private.words_of(i.key) as k (word)
             where i.contact_id = any (erasure.contact_ids)
               and (i.kind <> 'external' or length(k.word) > 5)
             union
            -- As it was typed, if that is one word.
            select lower(i.value)
              from public.contact_identities i
             where i.contact_id = any (erasure.contact_ids)
               and array(select private.words_of(i.value)) = array[lower(i.value)]
               and (i.kind <> 'external' or length(i.value) > 5)
             union
            select 'import:' || r.source || ':' || r.external_id
              from public.import_refs r
             where r.contact_id = any (erasure.contact_ids)
             union
            select k.word
              from public.sessions s
              join public.session_refs r on r.session_id = s.id
             cross join lateral private.words_of(r.external_id) as k (word)
             where s.contact_id = any (erasure.contact_ids)
               and length(k.word) > 5) as w (word);
$$;
comment on function private.write_tombstones is 'Hashes the identities of an erased contact, the ids that imports know it by, and those by which other systems know its sessions.';

create function private.close_contacts(erasure public.erasures)
    returns void language plpgsql set search_path = ''
as $$
declare
    waiting text[];
    erased  bigint;
begin
    waiting := array(select k.prefix || c.id
                       from public.conversations c
                      cross join (select 'send:' union all select 'answer:'
                                   union all
                                  select 'events:' || s.id || ':'
                                    from public.event_subscriptions s
                                   where s.workspace_id = erasure.workspace_id) as k (prefix)
                      where c.contact_id = any (erasure.contact_ids));
    delete from public.jobs j
     where j.workspace_id = erasure.workspace_id
       and j.ordering_key = any (waiting)
       and j.status in ('queued', 'running');
    get diagnostics erased = row_count;
    erasure := private.counted(erasure, 'jobs', erased);
    erasure := private.erase_devices(erasure);
    delete from public.contact_identities i where i.contact_id = any (erasure.contact_ids);
    delete from public.rate_limits r where r.workspace_id = erasure.workspace_id and r.subject = any (erasure.contact_ids::text[]);
    get diagnostics erased = row_count;
    erasure := private.counted(erasure, 'rate_limits', erased);
    update public.erasures e set counts = erasure.counts where e.id = erasure.id;
    perform private.expire_exports(erasure.workspace_id);
    delete from public.jobs j
     where j.workspace_id = erasure.workspace_id and j.kind = 'erase_contact' and j.item_key = erasure.id::text and j.finished_at is not null;
    insert into public.jobs (workspace_id, kind, payload, item_key)
    values (erasure.workspace_id, 'erase_contact', jsonb_build_object('erasure_id', erasure.id), erasure.id)
    on conflict (workspace_id, kind, item_key) where item_key is not null do nothing;
end;
$$;
comment on function private.close_contacts is 'Takes the contacts of an erasure out of reach: their waiting jobs, devices and identities are gone, and a job erases the rest.';

create function private.begin_erasure(contact_id uuid, last_try boolean)
    returns uuid language plpgsql security definer set search_path = ''
as $$
declare
    workspace constant uuid := private.entered_workspace();
    ids       uuid[];
    erasure   public.erasures;
begin
    perform from public.contacts c where c.id = begin_erasure.contact_id and c.workspace_id = workspace;
    if not found then
        raise sqlstate 'PT404' using message = 'contact_not_found';
    end if;
    perform pg_advisory_xact_lock(hashtextextended('merges' || workspace::text, 0));
    ids := array(select private.merged_contacts(private.merge_target(begin_erasure.contact_id)));
    perform private.lock_identities(workspace, coalesce((
        select jsonb_agg(jsonb_build_object('kind', i.kind, 'key', i.key)) from public.contact_identities i where i.contact_id = any (ids)), '[]'));
    perform private.lock_contacts(ids);
    if private.stop_contact(ids, last_try) then
        return null;
    end if;
    insert into private.erasure_salts (workspace_id) values (workspace) on conflict do nothing;
    insert into public.erasures as e (workspace_id, contact_id, contact_ids, requested_by, counts)
    values (workspace, private.merge_target(begin_erasure.contact_id), ids, private.calling_user(),
            (select coalesce(jsonb_object_agg(c.key, c.value), '{}') from jsonb_each(private.count_contact_rows(ids)) c where c.value <> '0'))
    returning e.* into erasure;
    perform private.write_tombstones(erasure);
    perform private.close_contacts(erasure);
    perform private.record_change(workspace, 'contact.erased', erasure.contact_id);
    return erasure.id;
end;
$$;
comment on function private.begin_erasure is 'Closes a contact of the entered workspace for good: running turns stop, tokens and waiting jobs are gone, and its identities are hashes. Returns the erasure; null while a turn is still stopping.';

create function public.export_erasures(after uuid default '00000000-0000-0000-0000-000000000000', most integer default 500)
    returns jsonb language sql stable security definer set search_path = ''
as $$
    select jsonb_build_object('erasures', coalesce(jsonb_agg(jsonb_build_object(
               'id', e.id, 'workspace_id', e.workspace_id, 'contact_id', e.contact_id, 'contact_ids', e.contact_ids,
               'requested_by', e.requested_by, 'requester_kind', e.requester_kind, 'created_at', e.created_at,
               'salt', encode(s.salt, 'hex'),
               'hashes', (select coalesce(jsonb_agg(encode(t.hash, 'hex') order by t.hash), '[]') from private.tombstones t where t.erasure_id = e.id))
               order by e.id), '[]'))
      from (select n.* from public.erasures n where n.id > after order by n.id limit most) e
      join private.erasure_salts s on s.workspace_id = e.workspace_id;
$$;
comment on function public.export_erasures is 'Erasures of all workspaces after an id, with their tombstones, to be kept outside of the database: {erasures}. For operators.';

create function public.replay_erasure(erasure jsonb)
    returns jsonb language plpgsql security definer set search_path = ''
as $$
declare
    given   constant public.erasures := jsonb_populate_record(null::public.erasures, erasure);
    pepper  constant bytea           := decode(erasure ->> 'salt', 'hex');
    hashes  constant bytea[]         := array(select decode(h, 'hex') from jsonb_array_elements_text(erasure -> 'hashes') h);
    present public.erasures;
begin
    perform private.enter_workspace(given.workspace_id);
    perform pg_advisory_xact_lock(hashtextextended('merges' || given.workspace_id::text, 0));
    insert into private.erasure_salts (workspace_id, salt) values (given.workspace_id, pepper) on conflict do nothing;
    if not exists (select from private.erasure_salts s where s.workspace_id = given.workspace_id and s.salt = pepper) then
        raise sqlstate 'PT409' using message = 'erasure_salt_differs';
    end if;
    -- By id, and by what a backup still knows of who was erased since.
    select e.* into present from public.erasures e where e.id = given.id;
    present.contact_ids := array(select given.contact_id
                                  union select unnest(given.contact_ids)
                                  union select m from public.contacts c cross join lateral private.merged_contacts(c.id) m
                                         where c.workspace_id = given.workspace_id and c.id = any (given.contact_ids)
                                  union select i.contact_id
                                          from public.contact_identities i
                                         where i.workspace_id = given.workspace_id
                                           and i.created_at < given.created_at
                                           and private.tombstone(i.workspace_id, i.kind || ':' || i.key) = any (hashes));
    perform private.lock_contacts(present.contact_ids);
    perform private.stop_contact(present.contact_ids, true);
    insert into public.erasures as e (id, workspace_id, contact_id, contact_ids, requested_by, requester_kind, created_at, counts)
    values (given.id, given.workspace_id, given.contact_id, present.contact_ids, given.requested_by, given.requester_kind, given.created_at,
            (select coalesce(jsonb_object_agg(c.key, c.value), '{}') from jsonb_each(private.count_contact_rows(present.contact_ids)) c where c.value <> '0'))
    on conflict on constraint erasures_pkey do update
       set contact_ids = excluded.contact_ids, status = 'running', step = 'deliveries', place_id = excluded.place_id,
           place_at = excluded.place_at, finished_at = null
    returning e.* into present;
    insert into private.tombstones (erasure_id, hash, workspace_id, erased_at)
    select given.id, h, given.workspace_id, given.created_at from unnest(hashes) h
    on conflict do nothing;
    perform private.close_contacts(present);
    return jsonb_build_object('stopping', false, 'erasure', private.describe_erasure(given.id));
end;
$$;
comment on function public.replay_erasure is 'Erases again, after a backup was restored, what export_erasures() tells of: {stopping, erasure}. Repeatable. For operators.';

create function private.erase_devices(erasure public.erasures)
    returns public.erasures language plpgsql set search_path = ''
as $$
declare
    worn   constant text[] := array(select i.key from public.contact_identities i where i.contact_id = any (erasure.contact_ids) and i.kind = 'omi');
    erased bigint;
begin
    delete from public.device_links l where l.workspace_id = erasure.workspace_id and l.uid = any (worn);
    get diagnostics erased = row_count;
    erasure := private.counted(erasure, 'device_links', erased);
    delete from public.device_sessions d where d.workspace_id = erasure.workspace_id and d.uid = any (worn) and d.conversation_id is null;
    get diagnostics erased = row_count;
    return private.counted(erasure, 'device_sessions', erased);
end;
$$;
comment on function private.erase_devices is 'Deletes who wears a contact''s devices, and what was issued with them.';

create function private.queue_delivery_erasure(erasure public.erasures, event_id uuid)
    returns void language plpgsql set search_path = ''
as $$
begin
    insert into public.jobs (workspace_id, kind, payload, item_key, ordering_key)
    values (erasure.workspace_id, 'erase_delivery', jsonb_build_object('erasure_id', erasure.id, 'event_id', queue_delivery_erasure.event_id),
            queue_delivery_erasure.event_id,
            -- Right after the delivery's job, if that is one; it would hold up the chats of several.
            (select min(j.ordering_key)
               from public.jobs j
              where j.event_id = queue_delivery_erasure.event_id
                and j.status in ('queued', 'running')
             having count(*) = 1))
    on conflict (workspace_id, kind, item_key) where item_key is not null do nothing;
    perform private.call_soon('worker');
end;
$$;
comment on function private.queue_delivery_erasure is 'Queues the job that deletes a delivery once its other jobs have ended.';

create function private.erase_deliveries(erasure public.erasures)
    returns public.erasures language plpgsql set search_path = ''
as $$
declare
    batch  constant integer := 200;
    looked uuid[];
    named  uuid[];
    going  uuid[];
    erased bigint;
begin
    looked := array(select e.id from public.inbound_events e
                     where e.workspace_id = erasure.workspace_id and e.id > erasure.place_id order by e.id limit batch);
    named := array(select e.id
                     from public.inbound_events e
                    where e.id = any (looked)
                      and e.received_at <= erasure.created_at
                      and private.names_contact(erasure, concat_ws(' ', e.raw_body, e.headers::text, e.delivery_key)));
    -- The jobs of a delivery may be other people's; those of the contact are refused by the tombstones.
    going := array(select distinct j.event_id from public.jobs j where j.event_id = any (named) and j.status in ('queued', 'running'));
    perform private.queue_delivery_erasure(erasure, g.id) from unnest(going) as g (id);
    delete from public.jobs j where j.event_id = any (named) and j.event_id <> all (going);
    get diagnostics erased = row_count;
    erasure := private.counted(erasure, 'jobs', erased);
    delete from public.inbound_events e where e.id = any (named) and e.id <> all (going);
    get diagnostics erased = row_count;
    erasure := private.counted(erasure, 'inbound_events', erased + cardinality(going));
    if cardinality(looked) < batch then
        return private.next_step(erasure, 'jobs');
    end if;
    erasure.place_id := looked[batch];
    return erasure;
end;
$$;
comment on function private.erase_deliveries is 'Deletes the deliveries of a batch that name the contact; those whose jobs have not ended are deleted after them.';

create function private.erase_jobs(erasure public.erasures)
    returns public.erasures language plpgsql set search_path = ''
as $$
declare
    batch  constant integer := 1000;
    looked public.jobs[];
    erased bigint;
begin
    looked := array(select j from public.jobs j
                     where j.workspace_id = erasure.workspace_id and (j.created_at, j.id) > (erasure.place_at, erasure.place_id)
                     order by j.created_at, j.id
                     limit batch);
    -- A job of a delivery goes with that.
    delete from public.jobs j
     where j.id in (select o.id
                      from unnest(looked) o
                     where o.event_id is null
                       and o.kind not in ('erase_contact', 'erase_delivery', 'erase_archive')
                       and private.names_contact(erasure, concat_ws(' ', o.payload::text, o.ordering_key, o.item_key)));
    get diagnostics erased = row_count;
    erasure := private.counted(erasure, 'jobs', erased);
    if cardinality(looked) < batch then
        return private.next_step(erasure, 'groups');
    end if;
    erasure.place_at := (looked[batch]).created_at;
    erasure.place_id := (looked[batch]).id;
    return erasure;
end;
$$;
comment on function private.erase_jobs is 'Deletes the jobs of a batch that name the contact or one of its rows.';

create function private.anonymise_messages(erasure public.erasures)
    returns public.erasures language plpgsql set search_path = ''
as $$
declare
    batch constant integer := 500;
    said  uuid[];
    asked uuid[];
    known uuid[];
    found integer;
begin
    -- A restore under way puts messages back.
    perform private.lock_archives(erasure.workspace_id);
    select array_agg(b.id), array_agg(b.turn_id) filter (where b.turn_id is not null)
      into said, asked
      from (select m.id, m.turn_id
              from public.messages m
              join public.conversations c on c.id = m.conversation_id
             where m.contact_id = any (erasure.contact_ids)
               and c.contact_id <> all (erasure.contact_ids)
             limit batch) b;
    found := cardinality(said);
    -- The answers to them repeat what the contact said, unless they answer others too.
    said := said || array(select a.id
                            from public.messages a
                           where a.turn_id = any (asked)
                             and a.role = 'persona'
                             and not exists (select
                                               from public.messages o
                                              where o.turn_id = a.turn_id
                                                and o.role = 'contact'
                                                and o.id <> all (said)));
    delete from public.attachments a where a.message_id = any (said);
    delete from public.events e
     where e.contact_id in (select c.contact_id from public.messages m join public.conversations c on c.id = m.conversation_id where m.id = any (said))
       and e.data ->> 'message_id' = any (said::text[]);
    with forgotten as (
        delete from public.memories r where r.message_id = any (said) returning r.id
    )
    select array_agg(f.id) into known from forgotten f;
    delete from public.memory_history h where h.memory_id = any (known);
    delete from public.turn_errors t where t.turn_id = any (asked);
    -- The ids of some providers tell the sender's number.
    update public.turns t set client_message_id = null, usage = null where t.id = any (asked);
    update public.messages m
       set text = '[erased]', contact_id = case m.role when 'contact' then c.contact_id end, speaker = null, metadata = '{}', client_message_id = null, changed_at = clock_timestamp()
      from public.conversations c
     where m.id = any (said)
       and c.id = m.conversation_id;
    if coalesce(found, 0) < batch then
        return private.next_step(private.queue_archive_erasures(erasure), 'messages');
    end if;
    return erasure;
end;
$$;
comment on function private.anonymise_messages is 'Takes text, sender and attachments from a batch of the messages that the contact wrote in groups, and from their answers: the group itself stands for the sender.';

create function private.erase_rows(erasure public.erasures)
    returns public.erasures language plpgsql set search_path = ''
as $$
declare
    batch  constant integer := case erasure.step when 'messages' then 1000 else 200 end;
    own    constant uuid[]  := array(select c.id from public.conversations c where c.contact_id = any (erasure.contact_ids));
    erased bigint := 0;
begin
    case erasure.step
        when 'messages' then
            delete from public.messages r where r.id in (
                select m.id from public.messages m where m.conversation_id = any (own) limit batch);
            get diagnostics erased = row_count;
        when 'sessions' then
            delete from public.sessions r where r.id in (
                select s.id from public.sessions s where s.conversation_id = any (own) limit batch);
            get diagnostics erased = row_count;
        else
            delete from public.contacts c where c.id = any (erasure.contact_ids);
    end case;
    if erased < batch then
        return private.next_step(erasure,
            case erasure.step when 'messages' then 'sessions' when 'sessions' then 'contacts' else 'archives' end::public.erasure_step);
    end if;
    return erasure;
end;
$$;
comment on function private.erase_rows is 'Deletes a batch of the contact''s own messages, then of its sessions, then the contact with all that refers to it.';

create function private.take_erasure_step(erasure_id uuid)
    returns boolean language plpgsql security definer set search_path = ''
as $$
declare
    erasure public.erasures;
begin
    select e.* into erasure
      from public.erasures e
     where e.id = take_erasure_step.erasure_id
       and e.workspace_id = private.entered_workspace()
       for no key update;
    if not found then
        raise sqlstate 'PT404' using message = 'erasure_not_found';
    elsif erasure.status = 'finished' then
        return false;
    end if;
    -- An export that began meanwhile may hold rows that go now.
    perform private.expire_exports(erasure.workspace_id);
    erasure := case
        when erasure.step = 'deliveries' then private.erase_deliveries(erasure)
        when erasure.step = 'jobs'       then private.erase_jobs(erasure)
        when erasure.step = 'groups'     then private.anonymise_messages(erasure)
        when erasure.step in ('messages', 'sessions', 'contacts') then private.erase_rows(erasure)
        else erasure end;
    if erasure.step = 'archives' then
        erasure := private.queue_archive_erasures(erasure);
    end if;
    if erasure.step = 'archives' and not private.has_erasure_jobs(erasure) then
        erasure.status      := 'finished';
        erasure.finished_at := clock_timestamp();
    end if;
    update public.erasures e
       set (step, place_at, place_id, counts, status, finished_at)
         = (erasure.step, erasure.place_at, erasure.place_id, erasure.counts, erasure.status, erasure.finished_at)
     where e.id = erasure.id;
    return erasure.step = 'archives' and erasure.status = 'running';
end;
$$;
comment on function private.take_erasure_step is 'Erases the next batch of a contact; whether the rest is left to other jobs.';

create function private.has_erasure_jobs(erasure public.erasures)
    returns boolean language sql stable set search_path = ''
as $$
    -- One that is dead waits for an admin to replay it.
    select exists (select
                     from public.jobs j
                    where j.workspace_id = erasure.workspace_id
                      and j.kind in ('erase_delivery', 'erase_archive')
                      and j.status <> 'succeeded'
                      and j.payload ->> 'erasure_id' = erasure.id::text)
        or exists (select
                     from public.exports e
                    where e.workspace_id = erasure.workspace_id
                      and e.expires_at <= now());
$$;
comment on function private.has_erasure_jobs is 'Whether deliveries or archives of an erasure are still to be erased by jobs of their own.';

create function private.delete_delivery(event_id uuid)
    returns boolean language plpgsql security definer set search_path = ''
as $$
begin
    -- No job about it is queued while it is locked.
    perform from public.inbound_events e where e.id = delete_delivery.event_id and e.workspace_id = private.entered_workspace() for update;
    if not found then
        return true;
    elsif exists (select from public.jobs j where j.event_id = delete_delivery.event_id and j.status in ('queued', 'running')) then
        return false;
    end if;
    delete from public.inbound_events e where e.id = delete_delivery.event_id and e.workspace_id = private.entered_workspace();
    return true;
end;
$$;
comment on function private.delete_delivery is 'Deletes a delivery of the entered workspace, unless a job about it has not ended.';

create function public.erase_delivery(event_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
begin
    perform private.enter();
    return jsonb_build_object('erased', private.delete_delivery(event_id));
end;
$$;
comment on function public.erase_delivery is 'Deletes a delivery that names an erased contact, once its jobs have ended: {erased}.';

create function private.refuse_erased(identities jsonb, sent_at timestamptz, event_id uuid)
    returns boolean language plpgsql security definer set search_path = ''
as $$
declare
    erasure constant uuid := private.erased_by(private.entered_workspace(), identities, sent_at);
begin
    if erasure is null then
        return false;
    end if;
    perform private.queue_delivery_erasure(e, refuse_erased.event_id) from public.erasures e where e.id = erasure and refuse_erased.event_id is not null;
    return true;
end;
$$;
comment on function private.refuse_erased is 'Whether a contact with one of these identities was erased after something was sent. The delivery that reports it is then deleted once its jobs have ended.';

create function public.refuse_erased_delivery(identities jsonb, sent_at timestamptz, event_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
begin
    perform private.enter();
    return jsonb_build_object('refused', private.refuse_erased(identities, sent_at, event_id));
end;
$$;
comment on function public.refuse_erased_delivery is 'Whether a delivery reports what a contact with one of these identities sent before it was erased: {refused}. The delivery is then deleted.';

grant execute on function
    public.export_erasures, public.replay_erasure
    to service_role;

grant execute on function
    private.begin_erasure, private.take_erasure_step
    to service_role, switchboard;

grant execute on function
    private.delete_delivery, private.refuse_erased, public.refuse_erased_delivery, public.erase_delivery
    to switchboard;
