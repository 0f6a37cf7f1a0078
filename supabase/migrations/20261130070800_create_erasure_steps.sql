-- Generated from supabase/schemas/78_erasure_steps.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- The steps of an erasure: deleting in batches, and what is refused afterwards.

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
    private.take_erasure_step
    to service_role, switchboard;

grant execute on function
    private.delete_delivery, private.refuse_erased, public.refuse_erased_delivery, public.erase_delivery
    to switchboard;
