-- Generated from supabase/schemas/77_begun_erasures.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- Begun erasures: closing the contact for good, and closing it again after a backup was restored.

create function private.words_of(text text)
    returns setof text language sql immutable set search_path = ''
as $$
    select distinct btrim(w.word, '.@+-')
      from regexp_split_to_table(lower(words_of.text), E'[\\s"\\\\'',:;{}()<>&=?/|\\[\\]]+') as w (word)
     where length(btrim(w.word, '.@+-')) >= 3;
$$;
comment on function private.words_of is 'The words of a delivery by which it may name a contact: ids, emails, numbers without a plus.';

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

grant execute on function
    public.export_erasures, public.replay_erasure
    to service_role;

grant execute on function
    private.begin_erasure
    to service_role, switchboard;
