-- Generated from supabase/schemas/26_merges.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- Merging contacts, undoing a merge, and conflicts that a member has to decide.

create type public.conflict_status as enum ('open', 'merged', 'dismissed');
comment on type public.conflict_status is 'open -> merged | dismissed; merged -> open: the merge was undone.';

create table public.contact_merges (
    id           uuid        not null default private.uuid7(),
    workspace_id uuid        not null,
    contact_id   uuid        not null,
    into_id      uuid        not null,
    automatic    boolean     not null default false,
    verified_by  text,
    merged_by    uuid,
    created_at   timestamptz not null default clock_timestamp(),
    undone_at    timestamptz,
    undone_by    uuid,
    constraint contact_merges_pkey            primary key (id),
    constraint contact_merges_workspace_key   unique (workspace_id, id),
    constraint contact_merges_contact_id_fkey foreign key (workspace_id, contact_id) references public.contacts (workspace_id, id) on delete cascade,
    constraint contact_merges_into_id_fkey    foreign key (workspace_id, into_id) references public.contacts (workspace_id, id) on delete cascade,
    constraint contact_merges_differ          check (contact_id <> into_id),
    constraint contact_merges_automatic       check (automatic = (verified_by is not null) and not (automatic and merged_by is not null)),
    constraint contact_merges_undone          check (undone_by is null or undone_at is not null)
);
comment on table public.contact_merges is 'A merge of one contact into another, possibly undone.';
comment on column public.contact_merges.automatic is 'Whether the merge followed from proof; else a member or operator merged.';
comment on column public.contact_merges.verified_by is 'The kind of proof of an automatic merge.';
comment on column public.contact_merges.merged_by is 'The member; null for an automatic merge and for an operator''s command.';
alter table public.contact_merges enable row level security;
-- A contact has one merge that is not undone.
create unique index contact_merges_standing_idx on public.contact_merges (contact_id) where undone_at is null;
create index contact_merges_contact_id_idx on public.contact_merges (contact_id, created_at);
create index contact_merges_into_id_idx on public.contact_merges (into_id);

create table public.contact_moves (
    merge_id     uuid  not null,
    relation     text  not null,
    row_id       uuid  not null,
    workspace_id uuid  not null,
    former       jsonb not null,
    given        jsonb not null default '{}',
    constraint contact_moves_pkey          primary key (merge_id, relation, row_id),
    constraint contact_moves_merge_id_fkey foreign key (workspace_id, merge_id) references public.contact_merges (workspace_id, id) on delete cascade,
    constraint contact_moves_objects       check (jsonb_typeof(former) = 'object' and jsonb_typeof(given) = 'object')
);
comment on table public.contact_moves is 'The rows and fields that a merge changed, from which it is undone.';
comment on column public.contact_moves.relation is 'The table; contacts: fields filled in on the contact that was merged into.';
comment on column public.contact_moves.former is 'The values before the merge; for a deleted tag, all that recreates it.';
comment on column public.contact_moves.given is 'The values that the merge wrote, if they are not the id of the contact merged into. Only rows that still have them are restored.';
alter table public.contact_moves enable row level security;
create index contact_moves_row_id_idx on public.contact_moves (row_id);

create table public.contact_conflicts (
    id               uuid                   not null default private.uuid7(),
    workspace_id     uuid                   not null,
    contact_id       uuid                   not null,
    other_contact_id uuid                   not null,
    found_by         text                   not null,
    status           public.conflict_status not null default 'open',
    merge_id         uuid,
    closed_by        uuid,
    created_at       timestamptz            not null default clock_timestamp(),
    closed_at        timestamptz,
    constraint contact_conflicts_pkey                  primary key (id),
    constraint contact_conflicts_contact_id_fkey       foreign key (workspace_id, contact_id) references public.contacts (workspace_id, id) on delete cascade,
    constraint contact_conflicts_other_contact_id_fkey foreign key (workspace_id, other_contact_id)
        references public.contacts (workspace_id, id) on delete cascade,
    constraint contact_conflicts_merge_id_fkey         foreign key (workspace_id, merge_id)
        references public.contact_merges (workspace_id, id) on delete set null (merge_id),
    constraint contact_conflicts_differ                check (contact_id <> other_contact_id),
    constraint contact_conflicts_found_by              check (length(found_by) between 1 and 64),
    constraint contact_conflicts_closed                check ((status = 'open') = (closed_at is null))
);
comment on table public.contact_conflicts is 'Two contacts that claim the same identity, for a member to resolve.';
comment on column public.contact_conflicts.found_by is 'resolve (identities given together lead to both), asserted (a typed identity), or the kind of proof.';
comment on column public.contact_conflicts.merge_id is 'The merge that resolved it.';
alter table public.contact_conflicts enable row level security;
-- One open conflict per pair, in either order.
create unique index contact_conflicts_open_idx
 on public.contact_conflicts (least(contact_id, other_contact_id), greatest(contact_id, other_contact_id)) where status = 'open';
create index contact_conflicts_newest_idx on public.contact_conflicts (workspace_id, created_at, id);
create index contact_conflicts_contact_id_idx on public.contact_conflicts (contact_id);
create index contact_conflicts_other_contact_id_idx on public.contact_conflicts (other_contact_id);
create index contact_conflicts_merge_id_idx on public.contact_conflicts (merge_id);

create function private.move_with_conversations(conversation_ids uuid[], from_id uuid, to_id uuid, back boolean)
    returns void language plpgsql security definer set search_path = ''
as $$
declare
    workspace constant uuid   := nullif(current_setting('switchboard.workspace_id', true), '')::uuid;
    moved     constant uuid[] := array(
        select c.id from public.conversations c where c.id = any (conversation_ids) and c.contact_id = to_id and c.workspace_id = workspace);
begin
    update public.sessions s set contact_id = to_id where s.conversation_id = any (moved) and s.contact_id = from_id;
    if back then
        -- A message stays with its sender. Messages written for the target in a conversation that goes back go back with it.
        update public.messages m set contact_id = to_id where m.conversation_id = any (moved) and m.contact_id = from_id;
        update public.memories m
           set contact_id = to_id
          from public.sessions s
         where s.conversation_id = any (moved)
           and m.session_id = s.id
           and m.contact_id = from_id;
    end if;
end;
$$;
comment on function private.move_with_conversations is 'Moves sessions with their conversations from one contact to another; back: also the messages and memories written meanwhile.';

create function private.open_conflict(contact_id uuid, other_contact_id uuid, found_by text)
    returns void language plpgsql set search_path = ''
as $$
begin
    insert into public.contact_conflicts (workspace_id, contact_id, other_contact_id, found_by)
    select c.workspace_id, c.id, open_conflict.other_contact_id, open_conflict.found_by
      from public.contacts c
     where c.id = open_conflict.contact_id
       and c.id <> open_conflict.other_contact_id
    on conflict do nothing;
end;
$$;
comment on function private.open_conflict is 'Records that two contacts claim the same identity, once per pair while it is open.';

create function private.fields_to_fill(contact public.contacts, standing public.contacts)
    returns jsonb language plpgsql stable set search_path = ''
as $$
begin
    if private.has_verified_identity(standing.id) then
        contact := private.without_unproven(contact);
    end if;
    return jsonb_strip_nulls(jsonb_build_object(
        -- First and last name are taken together, never one of each.
        'first_name', case when standing.first_name is null and standing.last_name is null then contact.first_name end,
        'last_name',  case when standing.first_name is null and standing.last_name is null then contact.last_name end,
        'title',      case when standing.title is null then contact.title end,
        'source',     case when standing.source is null then contact.source end,
        'session_id', case when standing.session_id is null then contact.session_id end,
        'attributes', (select jsonb_object_agg(a.key, a.value)
                         from jsonb_each(contact.attributes) a
                        where not standing.attributes ? a.key
                          and a.value <> 'null')));
end;
$$;
comment on function private.fields_to_fill is 'The fields that the target of a merge takes over because it has none; a target with proof takes over nothing that was typed without.';

create function private.preview_merge(contact public.contacts, standing public.contacts)
    returns jsonb language plpgsql stable set search_path = ''
as $$
declare
    groups        bigint;
    shared_groups bigint;
    identities    jsonb;
    tags          jsonb;
    shared_tags   bigint;
    threads       jsonb;
    fields        jsonb;
    attributes    jsonb;
begin
    select count(*) filter (where not g.collides), count(*) filter (where g.collides)
      into groups, shared_groups
      from (select exists (select from public.group_participants o where o.contact_id = standing.id and o.group_id = r.group_id)
              from public.group_participants r
             where r.contact_id = contact.id
             union all
            select exists (select from public.group_participants o where o.group_id = standing.id and o.contact_id = r.contact_id)
              from public.group_participants r
             where r.group_id = contact.id) g (collides);
    select coalesce(jsonb_agg(jsonb_build_object('kind', i.kind, 'key', i.key, 'value', i.value, 'evidence', i.evidence)
                                         order by i.created_at, i.id), '[]')
      into identities
      from public.contact_identities i
     where i.contact_id = contact.id;
    select coalesce(jsonb_agg(t.name order by t.name) filter (where o.id is null), '[]'), count(o.id)
      into tags, shared_tags
      from public.tags t
      left join public.tags o on o.contact_id = standing.id and o.name = t.name
     where t.contact_id = contact.id;
    select coalesce(jsonb_agg(jsonb_build_object(
                        'conversation_id', c.id, 'other_conversation_id', o.id, 'persona_id', c.persona_id, 'channel', c.channel,
                        'thread_key', c.thread_key) order by c.id), '[]')
      into threads
      from public.conversations c
      join public.conversations o on o.contact_id = standing.id and o.persona_id = c.persona_id and o.channel = c.channel
                                 and o.channel_id is not distinct from c.channel_id
                                 and o.thread_key = c.thread_key and o.user_id is not distinct from c.user_id
     where c.contact_id = contact.id;
    select coalesce(jsonb_object_agg(f.name, jsonb_build_object('kept', f.kept, 'other', f.other)), '{}')
      into fields
      from (values ('name', private.contact_name(standing), private.contact_name(contact))) f (name, kept, other)
     where lower(f.kept) <> lower(f.other);
    select coalesce(jsonb_agg(a.key order by a.key), '[]')
      into attributes
      from jsonb_each(contact.attributes) a
     where standing.attributes -> a.key <> a.value;
    return jsonb_build_object(
        'contact_id', contact.id, 'into_id', standing.id,
        'moves', jsonb_build_object(
            'identities', jsonb_array_length(identities), 'tags', jsonb_array_length(tags), 'groups', groups,
            'conversations', (select count(*) from public.conversations c where c.contact_id = contact.id),
            'sessions', (select count(*) from public.sessions s where s.contact_id = contact.id),
            'memories', (select count(*) from public.memories m where m.contact_id = contact.id),
            'messages', (select count(*)
                           from public.conversations c
                           join public.messages m on m.conversation_id = c.id
                          where c.contact_id = contact.id)),
        'identities', identities, 'tags', tags, 'takes_over', private.fields_to_fill(contact, standing),
        'collides', fields || jsonb_build_object(
            'threads', threads, 'attributes', attributes, 'tags', shared_tags, 'groups', shared_groups,
            'session', case when contact.session_id <> standing.session_id
                            then jsonb_build_object('kept', standing.session_id, 'other', contact.session_id) end));
end;
$$;
comment on function private.preview_merge is 'What merging one contact into another moves and what collides: {contact_id, into_id, moves, identities, tags, takes_over, collides}.';

create function private.contact_name(contact public.contacts)
    returns text language plpgsql immutable set search_path = ''
as $$
begin
    return nullif(btrim(coalesce(contact.title, concat_ws(' ', contact.first_name, contact.last_name))), '');
end;
$$;
comment on function private.contact_name is 'A person''s full name or a group''s title; null without one.';

create function private.lock_contacts(contact_ids uuid[])
    returns void language plpgsql set search_path = ''
as $$
begin
    perform from public.contacts c where c.id = any (contact_ids) order by c.id for no key update;
end;
$$;
comment on function private.lock_contacts is 'Locks contacts in the order of their ids.';

create function private.move_contact_rows(merge public.contact_merges)
    returns void language plpgsql set search_path = ''
as $$
declare
    former constant jsonb := jsonb_build_object('contact_id', merge.contact_id);
begin
    with moved as (
        update public.contact_identities r set contact_id = merge.into_id where r.contact_id = merge.contact_id returning r.*
    )
    insert into public.contact_moves (merge_id, relation, row_id, workspace_id, former)
    select merge.id, 'contact_identities', r.id, r.workspace_id, former from moved r;

    -- A conversation that got another key has been recorded already.
    with moved as (
        update public.conversations r set contact_id = merge.into_id where r.contact_id = merge.contact_id returning r.*
    )
    insert into public.contact_moves (merge_id, relation, row_id, workspace_id, former)
    select merge.id, 'conversations', r.id, r.workspace_id, former from moved r
    on conflict on constraint contact_moves_pkey do nothing;

    -- A tag or group that both contacts have stays with each. A moved tag that is deleted later is created again by the undo.
    with moved as (
        update public.tags r
           set contact_id = merge.into_id
         where r.contact_id = merge.contact_id
           and not exists (select from public.tags o where o.contact_id = merge.into_id and o.name = r.name)
        returning r.*
    )
    insert into public.contact_moves (merge_id, relation, row_id, workspace_id, former)
    select merge.id, 'tags', r.id, r.workspace_id, to_jsonb(r) || former from moved r;

    with moved as (
        update public.group_participants r
           set contact_id = merge.into_id
         where r.contact_id = merge.contact_id
           and not exists (select from public.group_participants o where o.contact_id = merge.into_id and o.group_id = r.group_id)
        returning r.*
    )
    insert into public.contact_moves (merge_id, relation, row_id, workspace_id, former)
    select merge.id, 'group_participants', r.group_id, r.workspace_id, former from moved r;

    with moved as (
        update public.group_participants r
           set group_id = merge.into_id
         where r.group_id = merge.contact_id
           and not exists (select from public.group_participants o where o.group_id = merge.into_id and o.contact_id = r.contact_id)
        returning r.*
    )
    insert into public.contact_moves (merge_id, relation, row_id, workspace_id, former)
    select merge.id, 'group_participants', r.contact_id, r.workspace_id, jsonb_build_object('group_id', merge.contact_id) from moved r
    on conflict on constraint contact_moves_pkey do nothing;

    -- A visitor who proved to be this contact has proved what it said before; the memories of others without proof stay in
    -- their conversations.
    with moved as (
        update public.memories r
           set contact_id = merge.into_id, conversation_id = case when not merge.automatic then r.conversation_id end
          from public.memories o
         where r.contact_id = merge.contact_id
           and o.id = r.id
        returning r.id, r.workspace_id, o.conversation_id
    )
    insert into public.contact_moves (merge_id, relation, row_id, workspace_id, former)
    select merge.id, 'memories', r.id, r.workspace_id, former || jsonb_build_object('conversation_id', r.conversation_id) from moved r;

    with moved as (
        update public.memory_history r set contact_id = merge.into_id where r.contact_id = merge.contact_id returning r.*
    )
    insert into public.contact_moves (merge_id, relation, row_id, workspace_id, former)
    select merge.id, 'memory_history', r.id, r.workspace_id, former from moved r;
end;
$$;
comment on function private.move_contact_rows is 'Moves identities, conversations, tags, groups and memories of a merged contact to the target, and records each row.';

create function private.merge_into(contact public.contacts, standing public.contacts, verified_by text)
    returns public.contact_merges language plpgsql set search_path = ''
as $$
declare
    merge  public.contact_merges;
    filled jsonb := private.fields_to_fill(contact, standing);
begin
    perform from public.conversations c where c.contact_id = contact.id order by c.id for no key update;
    perform from public.sessions s where s.contact_id = contact.id order by s.id for no key update;
    insert into public.contact_merges (workspace_id, contact_id, into_id, automatic, verified_by, merged_by)
    values (standing.workspace_id, contact.id, standing.id, merge_into.verified_by is not null, merge_into.verified_by,
            case when merge_into.verified_by is null then private.calling_user() end)
    returning * into merge;

    -- If both have a conversation with the same key, the target's stays; the other gets a key of its own.
    with taken as (
        select c.id, c.thread_key, 'arrival:' || private.uuid7() as new_key
          from public.conversations c
         where c.contact_id = contact.id
           and exists (select
                         from public.conversations o
                        where o.contact_id = standing.id
                          and o.persona_id = c.persona_id
                          and o.channel = c.channel
                          and o.channel_id is not distinct from c.channel_id
                          and o.thread_key = c.thread_key
                          and o.user_id is not distinct from c.user_id)
    ), renamed as (
        update public.conversations c
           set thread_key = t.new_key
          from taken t
         where c.id = t.id
        returning c.id, c.workspace_id, t.thread_key, t.new_key
    )
    insert into public.contact_moves (merge_id, relation, row_id, workspace_id, former, given)
    select merge.id, 'conversations', r.id, r.workspace_id,
           jsonb_build_object('contact_id', contact.id, 'thread_key', r.thread_key),
           jsonb_build_object('thread_key', r.new_key)
      from renamed r;

    perform private.move_contact_rows(merge);
    perform private.move_with_conversations(
        array(select m.row_id from public.contact_moves m where m.merge_id = merge.id and m.relation = 'conversations'),
        contact.id, standing.id, false);

    if filled <> '{}' then
        perform private.fill_profile(standing.id, filled);
        update public.contacts c
           set unproven = c.unproven || (
                   select coalesce(jsonb_object_agg(u.key, case u.key when 'attributes' then u.value || coalesce(c.unproven -> u.key, '{}')
                                                                      else u.value end), '{}')
                     from jsonb_each(contact.unproven) u
                    where filled ? u.key)
         where c.id = standing.id
           and contact.unproven <> '{}';
        insert into public.contact_moves (merge_id, relation, row_id, workspace_id, former, given)
        values (merge.id, 'contacts', standing.id, standing.workspace_id, '{}', filled);
    end if;
    update public.contacts c set merged_into_id = standing.id where c.id = contact.id;

    -- Open conflicts between contacts that are now one.
    update public.contact_conflicts k
       set status = 'merged', merge_id = merge.id, closed_by = merge.merged_by, closed_at = clock_timestamp()
     where k.status = 'open'
       and k.workspace_id = merge.workspace_id
       and (k.contact_id in (select private.merged_contacts(standing.id)) or k.other_contact_id in (select private.merged_contacts(standing.id)))
       and private.merge_target(k.contact_id) = private.merge_target(k.other_contact_id);
    -- Audited for both contacts; the code is the other contact's id.
    perform private.record_change(merge.workspace_id, 'contact.merged', contact.id, standing.id::text);
    perform private.record_change(merge.workspace_id, 'contact.merged', standing.id, contact.id::text);
    return merge;
end;
$$;
comment on function private.merge_into is 'Merges a contact into another, both locked and unmerged, and records the moves. verified_by: the proof of an automatic merge, null for a decision.';

create function private.merged_contacts(contact_id uuid)
    returns setof uuid language plpgsql stable set search_path = ''
as $$
begin
    return query
        with recursive merged (id) as (
            values (merged_contacts.contact_id)
             union all
            select c.id from merged m join public.contacts c on c.merged_into_id = m.id
        )
        select m.id from merged m;
end;
$$;
comment on function private.merged_contacts is 'A contact and all contacts merged into it.';

create function private.moved_rows(merge public.contact_merges, relation text, owner text)
    returns uuid[] language sql stable set search_path = ''
as $$
    -- A row that another merge into the same contact brought since (an identity typed here and verified elsewhere) stays.
    select array(
        select m.row_id
          from public.contact_moves m
         where m.merge_id = merge.id
           and m.relation = moved_rows.relation
           and m.former ? owner
           and not exists (select
                             from public.contact_moves later
                             join public.contact_merges o on o.id = later.merge_id
                            where later.row_id = m.row_id
                              and later.relation = m.relation
                              and later.former ? owner
                              and o.into_id = merge.into_id
                              and o.undone_at is null
                              and (o.created_at, o.id) > (merge.created_at, merge.id)));
$$;
comment on function private.moved_rows is 'The rows of a table that a merge moved by the column owner, and that its undo returns.';

create function private.return_contact_rows(merge public.contact_merges)
    returns void language plpgsql set search_path = ''
as $$
declare
    tag_ids constant uuid[] := private.moved_rows(merge, 'tags', 'contact_id');
begin
    update public.contact_identities r
       set contact_id = merge.contact_id
     where r.id = any (private.moved_rows(merge, 'contact_identities', 'contact_id')) and r.contact_id = merge.into_id;
    update public.tags r set contact_id = merge.contact_id where r.id = any (tag_ids) and r.contact_id = merge.into_id;
    insert into public.tags
    select (jsonb_populate_record(null::public.tags, m.former)).*
      from public.contact_moves m
     where m.merge_id = merge.id
       and m.relation = 'tags'
       and m.row_id = any (tag_ids)
    on conflict do nothing;
    update public.group_participants r
       set contact_id = merge.contact_id
     where r.group_id = any (private.moved_rows(merge, 'group_participants', 'contact_id')) and r.contact_id = merge.into_id;
    update public.group_participants r
       set group_id = merge.contact_id
     where r.contact_id = any (private.moved_rows(merge, 'group_participants', 'group_id')) and r.group_id = merge.into_id;
    update public.memories r
       set contact_id = merge.contact_id, conversation_id = (m.former ->> 'conversation_id')::uuid
      from public.contact_moves m
     where m.merge_id = merge.id
       and m.relation = 'memories'
       and m.row_id = r.id
       and r.id = any (private.moved_rows(merge, 'memories', 'contact_id'))
       and r.contact_id = merge.into_id;
    update public.memory_history r
       set contact_id = merge.contact_id
     where r.contact_id = merge.into_id
       and (r.id = any (private.moved_rows(merge, 'memory_history', 'contact_id'))
            or exists (select from public.memories m where m.id = r.memory_id and m.contact_id = merge.contact_id));
end;
$$;
comment on function private.return_contact_rows is 'Returns the rows that a merge moved and that still belong to its target; conversations apart.';

create function private.unmerge(merge public.contact_merges)
    returns public.contact_merges language plpgsql set search_path = ''
as $$
declare
    undone public.contact_merges;
    filled jsonb;
    back   uuid[];
begin
    perform
       from public.conversations c
      where c.id in (select m.row_id from public.contact_moves m where m.merge_id = merge.id and m.relation = 'conversations')
      order by c.id
        for no key update;
    perform
       from public.sessions s
      where s.conversation_id in (select m.row_id from public.contact_moves m where m.merge_id = merge.id and m.relation = 'conversations')
      order by s.id
        for no key update;
    update public.contacts c set merged_into_id = null where c.id = merge.contact_id;
    update public.contact_merges m
       set undone_at = clock_timestamp(), undone_by = private.calling_user()
     where m.id = merge.id
    returning * into undone;

    back := array(select c.id
                    from public.conversations c
                   where c.id = any (private.moved_rows(merge, 'conversations', 'contact_id'))
                     and c.contact_id = merge.into_id);
    perform private.return_conversations(merge, back);
    perform private.return_contact_rows(merge);
    perform private.move_with_conversations(back, merge.into_id, merge.contact_id, true);

    select m.given into filled from public.contact_moves m where m.merge_id = merge.id and m.relation = 'contacts';
    if found then
        -- Fields changed since belong to the target.
        update public.contacts c
           set first_name = case when c.first_name = filled ->> 'first_name' then null else c.first_name end,
               last_name  = case when c.last_name = filled ->> 'last_name' then null else c.last_name end,
               title      = case when c.title = filled ->> 'title' then null else c.title end,
               source     = case when c.source = filled ->> 'source' then null else c.source end,
               session_id = case when c.session_id = (filled ->> 'session_id')::uuid then null else c.session_id end,
               attributes = c.attributes - array(select a.key
                                                   from jsonb_each(filled -> 'attributes') a
                                                  where c.attributes -> a.key = a.value)
         where c.id = merge.into_id;
    end if;
    update public.contact_conflicts k
       set status = 'open', merge_id = null, closed_by = null, closed_at = null
     where k.merge_id = merge.id
       and not exists (select
                         from public.contact_conflicts o
                        where o.status = 'open'
                          and least(o.contact_id, o.other_contact_id) = least(k.contact_id, k.other_contact_id)
                          and greatest(o.contact_id, o.other_contact_id) = greatest(k.contact_id, k.other_contact_id));
    perform private.record_change(merge.workspace_id, 'contact.unmerged', merge.contact_id, merge.into_id::text);
    perform private.record_change(merge.workspace_id, 'contact.unmerged', merge.into_id, merge.contact_id::text);
    return undone;
end;
$$;
comment on function private.unmerge is 'Undoes a merge of locked contacts from its moves: rows that still are where the merge put them go back, with what was added to their conversations since.';

create function private.return_conversations(merge public.contact_merges, conversation_ids uuid[])
    returns void language plpgsql set search_path = ''
as $$
declare
    one record;
begin
    for one in
        select m.row_id, m.former ->> 'thread_key' as former_key, m.given ->> 'thread_key' as given_key
          from public.contact_moves m
         where m.merge_id = merge.id
           and m.relation = 'conversations'
           and m.row_id = any (conversation_ids)
         order by m.row_id
    loop
        begin
            update public.conversations c
               set contact_id = merge.contact_id,
                   thread_key = case when c.thread_key = one.given_key then one.former_key else c.thread_key end
             where c.id = one.row_id;
        exception when unique_violation then
            -- Another conversation of the contact got this key meanwhile.
            update public.conversations c
               set contact_id = merge.contact_id, thread_key = 'arrival:' || private.uuid7()
             where c.id = one.row_id;
        end;
    end loop;
end;
$$;
comment on function private.return_conversations is 'Moves conversations back to their former contact, under their former keys.';

create function public.merge_contacts(contact_id uuid, into_id uuid, preview boolean default false)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_to_manage('contact', contact_id, 'admin');
    target   uuid;
    contact  public.contacts;
    standing public.contacts;
    merge    public.contact_merges;
    described jsonb;
begin
    if not exists (select
                     from public.contacts c
                    where c.id = merge_contacts.into_id
                      and c.workspace_id = workspace
                      and private.erasure_of(c.id) is null) then
        raise sqlstate 'PT404' using message = 'contact_not_found';
    end if;
    if not preview then
        -- Merges of a workspace are serialised, because one may move what the next one reads.
        perform pg_advisory_xact_lock(hashtextextended('merges' || workspace::text, 0));
    end if;
    loop
        target := private.merge_target(into_id);
        exit when preview;
        perform private.lock_contacts(array[contact_id, target]);
        exit when target = private.merge_target(into_id);
    end loop;
    select c.* into strict contact from public.contacts c where c.id = merge_contacts.contact_id;
    select c.* into strict standing from public.contacts c where c.id = target;
    if contact.merged_into_id = standing.id and not preview then
        select m.* into strict merge
          from public.contact_merges m
         where m.contact_id = contact.id
           and m.undone_at is null;
        return jsonb_build_object('merge', to_jsonb(merge), 'changed', false);
    end if;
    if contact.id = standing.id then
        raise sqlstate 'PT409' using message = 'same_contact';
    elsif contact.merged_into_id is not null then
        raise sqlstate 'PT409' using message = 'already_merged', detail = private.merge_target(contact.id)::text;
    elsif contact.kind <> standing.kind then
        raise sqlstate 'PT409' using message = 'kinds_differ';
    end if;
    described := private.preview_merge(contact, standing);
    if preview then
        return jsonb_build_object('preview', described, 'changed', false);
    end if;
    merge := private.merge_into(contact, standing, null);
    return jsonb_build_object('merge', to_jsonb(merge), 'preview', described, 'changed', true);
end;
$$;
comment on function public.merge_contacts is 'Merges a contact into another of its workspace: {merge, preview, changed}. preview: returns what would move and collide, and changes nothing. Owners and admins.';

create function public.unmerge_contact(contact_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_to_manage('contact', contact_id, 'admin');
    merge public.contact_merges;
    stood uuid;
begin
    perform pg_advisory_xact_lock(hashtextextended('merges' || workspace::text, 0));
    loop
        select m.* into merge
          from public.contact_merges m
         where m.contact_id = unmerge_contact.contact_id
           and m.undone_at is null;
        if not found then
            raise sqlstate 'PT409' using message = 'not_merged';
        end if;
        perform private.lock_contacts(array[merge.contact_id, merge.into_id]);
        exit when exists (select from public.contact_merges m where m.id = merge.id and m.undone_at is null);
    end loop;
    select c.merged_into_id into stood from public.contacts c where c.id = merge.into_id;
    if stood is not null then
        raise sqlstate 'PT409' using message = 'merged_further', detail = merge.into_id::text;
    end if;
    return jsonb_build_object('merge', to_jsonb(private.unmerge(merge)), 'changed', true);
end;
$$;
comment on function public.unmerge_contact is 'Undoes the merge of a contact: {merge, changed}. Refused while the target is itself merged. Owners and admins.';

create function public.sign_out_contact(contact_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid   := private.enter_to_manage('contact', contact_id, 'agent');
    contact   constant uuid   := private.lock_merge_target(contact_id);
    merged    constant uuid[] := array(select private.merged_contacts(contact));
    moment    timestamptz;
begin
    -- A repeated first message would get a new token. These keys, which open a conversation without one, become invalid.
    update public.conversations c
       set thread_key = 'arrival:' || private.uuid7()
     where c.contact_id = contact
       and c.thread_key like 'first:%';
    -- After all locks: tokens of calls that began before are revoked too.
    moment := clock_timestamp();
    update public.contacts c set tokens_revoked_at = moment where c.id = any (merged);
    perform private.record_change(workspace, 'contact.signed_out', contact);
    return jsonb_build_object('contact_id', contact, 'tokens_revoked_at', moment);
end;
$$;
comment on function public.sign_out_contact is 'Revokes all tokens of a contact and of the contacts that are merged with it: {contact_id, tokens_revoked_at}. For members.';

create view public.contact_conflict_details with (security_invoker = true) as
select k.id, k.workspace_id, k.found_by, k.status, k.merge_id, k.closed_by, k.created_at, k.closed_at,
       jsonb_build_object('id', c.id, 'kind', c.kind, 'name', private.contact_name(c),
                          'standing_id', private.merge_target(c.id)) as contact,
       jsonb_build_object('id', o.id, 'kind', o.kind, 'name', private.contact_name(o),
                          'standing_id', private.merge_target(o.id)) as other_contact
  from public.contact_conflicts k
  join public.contacts c on c.id = k.contact_id
  join public.contacts o on o.id = k.other_contact_id;
comment on view public.contact_conflict_details is 'Conflicts with a short form of the two contacts; standing_id is the contact that stands for one that was merged, else its own id.';

create function public.dismiss_contact_conflict(conflict_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_to_manage('conflict', conflict_id, 'admin');
    conflict  public.contact_conflicts;
begin
    select k.* into strict conflict from public.contact_conflicts k where k.id = conflict_id for no key update;
    if conflict.status = 'merged' then
        raise sqlstate 'PT409' using message = 'already_merged';
    elsif conflict.status = 'open' then
        update public.contact_conflicts k
           set status = 'dismissed', closed_by = private.calling_user(), closed_at = clock_timestamp()
         where k.id = conflict.id;
        perform private.record_change(workspace, 'contact.conflict_dismissed', conflict.contact_id, conflict.other_contact_id::text);
    end if;
    return (select to_jsonb(d) from public.contact_conflict_details d where d.id = conflict.id);
end;
$$;
comment on function public.dismiss_contact_conflict is 'Closes a conflict for good: the two contacts are not the same. Owners and admins.';

grant execute on function
    private.move_with_conversations, private.move_contact_rows, private.moved_rows, private.return_contact_rows, private.open_conflict,
    private.fields_to_fill, private.preview_merge, private.lock_contacts, private.merge_into, private.merged_contacts,
    private.unmerge, private.return_conversations, public.merge_contacts, public.unmerge_contact, public.sign_out_contact,
    public.dismiss_contact_conflict
    to service_role, switchboard;

grant execute on function
    private.contact_name
    to authenticated, service_role, switchboard;
