-- Imported contacts: the ids that they and imported conversations have in their source, which contact each item is, and what is
-- stored of it.

create type public.import_kind as enum ('contact', 'conversation');
comment on type public.import_kind is 'What an external id names in its source: a contact or a conversation.';

create table public.import_refs (
    workspace_id    uuid               not null,
    source          text               not null,
    kind            public.import_kind not null,
    external_id     text               not null,
    contact_id      uuid,
    conversation_id uuid,
    created_at      timestamptz        not null default now(),
    -- The kind last: the comparison of an enum is not leakproof, so under row-level security the columns after it would not
    -- use the index.
    constraint import_refs_pkey                 primary key (workspace_id, source, external_id, kind),
    constraint import_refs_contact_id_fkey      foreign key (workspace_id, contact_id) references public.contacts (workspace_id, id) on delete cascade,
    constraint import_refs_conversation_id_fkey foreign key (workspace_id, conversation_id)
        references public.conversations (workspace_id, id) on delete cascade,
    constraint import_refs_row                  check (case kind
        when 'contact' then contact_id is not null and conversation_id is null
        else conversation_id is not null and contact_id is null
        end),
    constraint import_refs_source               check (source ~ '^[a-z][a-z0-9_.:-]{0,63}$'),
    constraint import_refs_external_id          check (length(external_id) between 1 and 200)
);
comment on table public.import_refs is 'The ids that imported contacts and conversations have in their source: a repeated import finds what it stored.';
comment on column public.import_refs.source is 'The name of the source: chatwoot, crm, …; external ids are unique in it.';
comment on column public.import_refs.contact_id is 'The contact that the import created or found; several ids of a source may name one.';
alter table public.import_refs enable row level security;
create index import_refs_contact_id_idx on public.import_refs (contact_id) where contact_id is not null;
create index import_refs_conversation_id_idx on public.import_refs (conversation_id) where conversation_id is not null;

create function private.imported_contacts(workspace_id uuid, source text, external_ids text[])
    returns table (external_id text, contact_id uuid) language sql stable set search_path = ''
as $$
    -- offset 0 forces one index lookup per id, whatever the planner knows of a table that has just been filled.
    select asked.external_id, found.contact_id
      from unnest(external_ids) asked (external_id)
     cross join lateral (select case when c.merged_into_id is null then c.id else private.merge_target(c.id) end as contact_id
                           from public.import_refs r
                           join public.contacts c on c.id = r.contact_id
                          where r.workspace_id = imported_contacts.workspace_id
                            and r.source = imported_contacts.source
                            and r.external_id = asked.external_id
                            and r.kind = 'contact'
                         offset 0) found;
$$;
comment on function private.imported_contacts is 'The contacts that ids of a source name; of a merged contact, the one that it was merged into.';

create function private.match_contacts(workspace_id uuid, source text, contacts jsonb)
    returns jsonb language sql set search_path = ''
as $$
    with item as materialized (
        select i.n, i.leader, i.external_id, i.kind, i.identities, i.created_at
          from jsonb_to_recordset(contacts) i (
               n integer, leader integer, external_id text, kind public.contact_kind, identities jsonb, created_at timestamptz)
    ), erased as materialized (
        -- The source still has whom this workspace has erased; many are known by nothing but their id there.
        select i.n
          from item i
         where exists (select from public.erasures e where e.workspace_id = match_contacts.workspace_id)
           and private.refuse_erased(i.identities || jsonb_build_object('kind', 'import', 'key', source || ':' || i.external_id),
                                     coalesce(i.created_at, '-infinity'::timestamptz), null)
    ), by_ref as materialized (
        select i.n, i.leader, k.contact_id
          from item i
          join private.imported_contacts(match_contacts.workspace_id, match_contacts.source,
                                         array(select distinct e.external_id from item e)) k on k.external_id = i.external_id
    ), by_identity as materialized (
        select i.leader, case when c.merged_into_id is null then c.id else private.merge_target(c.id) end as contact_id
          from jsonb_to_recordset(contacts) i (leader integer, identities jsonb)
         cross join jsonb_to_recordset(i.identities) as asked (kind public.identity_kind, key text)
         cross join lateral (select c.id, c.merged_into_id
                               from public.contact_identities known
                               join public.contacts c on c.id = known.contact_id
                              where known.workspace_id = match_contacts.workspace_id
                                and known.key = asked.key
                                and known.kind = asked.kind
                             offset 0) c
    ), found as (
        select f.leader, array_agg(distinct f.contact_id) as contact_ids
          from (select r.leader, r.contact_id from by_ref r union all select b.leader, b.contact_id from by_identity b) f
         group by f.leader
    ), new as (
        select l.leader, gen_random_uuid() as contact_id from (select distinct i.leader from item i) l
    ), place as (
        select i.n, i.kind, i.external_id,
               case when r.contact_id is not null then r.contact_id
                    when f.leader is null then w.contact_id
                    when cardinality(f.contact_ids) = 1 then f.contact_ids[1] end as contact_id,
               r.contact_id is null and f.leader is null as is_new, f.contact_ids
          from item i
          join new w on w.leader = i.leader
          left join by_ref r on r.n = i.n
          left join found f on f.leader = i.leader
    )
    select jsonb_agg(jsonb_build_object(
               'n', p.n, 'external_id', p.external_id, 'contact_id', p.contact_id, 'is_new', p.is_new,
               'code', case when p.n in (select e.n from erased e) then 'contact_erased'
                            when p.contact_id is null then 'identity_conflict'
                            when c.kind <> p.kind then 'contact_of_other_kind' end,
               'contact_ids', case when p.contact_id is null then to_jsonb(p.contact_ids) end) order by p.n)
      from place p
      left join lateral (select k.kind from public.contacts k where k.id = p.contact_id offset 0) c on true;
$$;
comment on function private.match_contacts is 'The contact of each imported item: that of its external id, else the one that has its identities, else a new one for all items of its leader: [{n, external_id, contact_id, is_new, code, contact_ids}]. code: it is refused.';

create function private.import_contacts(workspace_id uuid, source text, contacts jsonb)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    -- The limit of a request's attributes (ATTRIBUTES_BYTES in lib/fields/types.py).
    most    constant integer := 16384;
    places  constant jsonb   := private.match_contacts(workspace_id, source, contacts);
    stored  jsonb;
    changed uuid[];
    added   uuid[];
begin
    stored := (select jsonb_agg(i.value || p.value)
                 from jsonb_array_elements(contacts) i
                 join jsonb_array_elements(places) p on p.value -> 'n' = i.value -> 'n'
                where p.value ->> 'code' is null);
    stored := coalesce(stored, '[]');
    insert into public.contacts (id, workspace_id, kind, first_name, last_name, title, source, attributes, created_at)
    select distinct on (i.contact_id)
           i.contact_id, import_contacts.workspace_id, i.kind, i.first_name, i.last_name, i.title, i.origin, i.attributes,
           coalesce(i.created_at, now())
      from jsonb_to_recordset(stored) i (
           n integer, contact_id uuid, is_new boolean, kind public.contact_kind, first_name text, last_name text, title text,
           origin text, attributes jsonb, created_at timestamptz)
     where i.is_new
     order by i.contact_id, i.n;

    -- Stored values stay.
    with given as (
        select i.contact_id,
               (array_agg(i.first_name order by i.n) filter (where i.first_name is not null))[1] as first_name,
               (array_agg(i.last_name order by i.n) filter (where i.last_name is not null))[1] as last_name,
               (array_agg(i.title order by i.n) filter (where i.title is not null))[1] as title,
               (array_agg(i.origin order by i.n) filter (where i.origin is not null))[1] as origin,
               (array_agg(i.attributes order by i.n) filter (where i.attributes <> '{}'))[1] as attributes
          from jsonb_to_recordset(stored) i (
               n integer, contact_id uuid, first_name text, last_name text, title text, origin text, attributes jsonb)
         group by i.contact_id
    ), filled as (
        update public.contacts c
           set first_name = coalesce(c.first_name, g.first_name), last_name = coalesce(c.last_name, g.last_name),
               title = coalesce(c.title, g.title), source = coalesce(c.source, g.origin),
               attributes = case when octet_length((g.attributes || c.attributes)::text) > most then c.attributes
                                 else coalesce(g.attributes || c.attributes, c.attributes) end
          from given g
         where c.id = g.contact_id
           and ((c.first_name is null and g.first_name is not null) or (c.last_name is null and g.last_name is not null)
                or (c.title is null and g.title is not null) or (c.source is null and g.origin is not null)
                or not coalesce(g.attributes || c.attributes = c.attributes, true))
        returning c.id
    )
    select array_agg(f.id) into changed from filled f;
    added := private.import_identities(workspace_id, stored) || private.import_contact_tags(workspace_id, stored);
    insert into public.import_refs (workspace_id, source, kind, external_id, contact_id)
    select import_contacts.workspace_id, import_contacts.source, 'contact', i.external_id, i.contact_id
      from jsonb_to_recordset(stored) i (external_id text, contact_id uuid)
    on conflict do nothing;
    if exists (select
                 from jsonb_to_recordset(stored) i (external_id text, contact_id uuid, is_new boolean)
                cross join lateral (select r.contact_id
                                      from public.import_refs r
                                     where r.workspace_id = import_contacts.workspace_id
                                       and r.source = import_contacts.source
                                       and r.external_id = i.external_id
                                       and r.kind = 'contact'
                                    offset 0) r
                where i.is_new
                  and r.contact_id <> i.contact_id) then
        raise sqlstate '40001' using message = 'an imported contact was stored meanwhile';
    end if;
    added := added || private.import_participants(workspace_id, source, stored);
    return (select coalesce(jsonb_agg(jsonb_build_object(
                       'n', p.n, 'id', p.contact_id, 'code', p.code, 'contact_ids', p.contact_ids,
                       'status', case when p.code is not null then 'refused'
                                      when p.is_new and p.place = 1 then 'created'
                                      when p.is_new or p.contact_id = any (changed || added) then 'updated'
                                      else 'unchanged' end)), '[]')
              from (select r.*, row_number() over (partition by r.contact_id order by r.n) as place
                      from jsonb_to_recordset(places) r (n integer, contact_id uuid, is_new boolean, code text, contact_ids jsonb)) p);
end;
$$;
comment on function private.import_contacts is 'Stores imported contacts with their identities, tags and participants: [{n, id, status, code, contact_ids}]. Stored values stay; what a contact lacks is added.';

create function private.import_identities(workspace_id uuid, stored jsonb)
    returns uuid[] language plpgsql set search_path = ''
as $$
declare
    added uuid[];
begin
    with new as (
        insert into public.contact_identities (workspace_id, contact_id, contact_kind, kind, key, value, evidence, asserted_by, created_at)
        select distinct on (asked.kind, asked.key)
               import_identities.workspace_id, i.contact_id, i.kind, asked.kind, asked.key, asked.value, 'asserted',
               case when private.calling_kind() = 'user' then 'member' else 'service' end, coalesce(asked.created_at, now())
          from jsonb_to_recordset(stored) i (n integer, contact_id uuid, kind public.contact_kind, identities jsonb)
         cross join jsonb_to_recordset(i.identities) as asked (kind public.identity_kind, key text, value text, created_at timestamptz)
         order by asked.kind, asked.key, i.n
        on conflict on constraint contact_identities_key do nothing
        returning contact_id
    )
    select coalesce(array_agg(n.contact_id), '{}'::uuid[]) into added from new n;
    -- Another transaction has stored one of them since they were looked up: the whole batch is tried again, as for an id.
    if exists (select
                 from jsonb_to_recordset(stored) i (contact_id uuid, is_new boolean, identities jsonb)
                cross join jsonb_to_recordset(i.identities) as asked (kind public.identity_kind, key text)
                cross join lateral (select k.contact_id
                                      from public.contact_identities k
                                     where k.workspace_id = import_identities.workspace_id
                                       and k.key = asked.key
                                       and k.kind = asked.kind
                                    offset 0) k
                where i.is_new
                  and k.contact_id <> i.contact_id) then
        raise sqlstate '40001' using message = 'an imported identity was stored meanwhile';
    end if;
    return added;
end;
$$;
comment on function private.import_identities is 'Adds the identities of imported contacts as asserted; those that are stored stay as they are. The contacts that got one.';

create function private.import_contact_tags(workspace_id uuid, stored jsonb)
    returns uuid[] language sql set search_path = ''
as $$
    with new as (
        insert into public.tags (workspace_id, contact_id, name)
        select distinct import_contact_tags.workspace_id, i.contact_id, t.name
          from jsonb_to_recordset(stored) i (contact_id uuid, tags jsonb)
         cross join jsonb_array_elements_text(i.tags) as t (name)
        on conflict do nothing
        returning contact_id
    )
    select coalesce(array_agg(n.contact_id), '{}'::uuid[]) from new n;
$$;
comment on function private.import_contact_tags is 'Adds the tags of imported contacts. The contacts that got one.';

create function private.import_participants(workspace_id uuid, source text, stored jsonb)
    returns uuid[] language sql set search_path = ''
as $$
    with named as (
        select i.contact_id as group_id, p.contact, p.role, p.joined_at, p.left_at
          from jsonb_to_recordset(stored) i (contact_id uuid, participants jsonb)
         cross join jsonb_to_recordset(i.participants) as p (contact text, role text, joined_at timestamptz, left_at timestamptz)
    ), new as (
        insert into public.group_participants (workspace_id, group_id, contact_id, role, joined_at, left_at)
        select import_participants.workspace_id, n.group_id, k.contact_id, n.role, coalesce(n.joined_at, now()), n.left_at
          from named n
          join private.imported_contacts(import_participants.workspace_id, import_participants.source,
                                         array(select a.contact from named a)) k on k.external_id = n.contact
          join public.contacts c on c.id = k.contact_id and c.kind = 'person'
        on conflict do nothing
        returning group_id
    )
    select coalesce(array_agg(n.group_id), '{}'::uuid[]) from new n;
$$;
comment on function private.import_participants is 'Adds the participants of imported groups that were imported before, or in this batch. The groups that got one.';

grant execute on function
    private.imported_contacts, private.match_contacts, private.import_contacts, private.import_identities,
    private.import_contact_tags, private.import_participants
    to switchboard;
