-- Lists show those who stand; whoever asks for one that was merged is sent on to the one that stands for it.

set lock_timeout = '5s';
set statement_timeout = '60s';

create or replace function private.describe_contact(contact public.contacts)
    returns jsonb
    language sql
    stable
    set search_path = ''
as $$
    select pg_catalog.to_jsonb(contact) - '{name_key,last_name_key,merged_into_id}'::text[]
           || pg_catalog.jsonb_build_object(
                  'identities', coalesce((select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                                                     'kind', i.kind, 'key', i.key, 'value', i.value, 'evidence', i.evidence,
                                                     'asserted_by', i.asserted_by, 'asserted_at', i.created_at,
                                                     'verified_by', i.verified_by, 'verified_at', i.verified_at) order by i.created_at, i.id)
                                            from public.contact_identities i
                                           where i.contact_id = contact.id), '[]'),
                  'tags', coalesce((select pg_catalog.jsonb_agg(t.name order by t.name)
                                      from public.tags t
                                     where t.contact_id = contact.id), '[]'));
$$;

create or replace function public.list_contacts(
    workspace_id uuid    default null,
    filters      jsonb   default '{}',
    after        text    default null,
    page_size    integer default 50
)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    workspace constant uuid := private.named_workspace(workspace_id);
    query     text := pg_catalog.format('select c.* from public.contacts c where c.workspace_id = %L::uuid and c.merged_into_id is null', workspace);
    begins    constant text := pg_catalog.lower(filters ->> 'text');
    ends      constant text := begins || pg_catalog.chr(1114111);
    few       constant integer := 1000;
    found_in  uuid[];
    items     jsonb;
begin
    perform public.read_workspace(workspace);
    -- Written out with the filters that are there, so that each is planned for what it asks.
    if filters ? 'identity' then
        query := query || pg_catalog.format(
            ' and c.id in (select i.contact_id from public.contact_identities i where i.workspace_id = %L::uuid and i.key = %L and i.kind = %L)',
            workspace, filters #>> '{identity,key}', filters #>> '{identity,kind}');
    end if;
    if filters ? 'email_key' then
        query := query || pg_catalog.format(
            ' and c.id in (select i.contact_id from public.contact_identities i where i.workspace_id = %L::uuid and i.key = %L and i.kind = ''email'')',
            workspace, filters ->> 'email_key');
    end if;
    if filters ? 'tag' then
        -- Few contacts are looked up first. Where many have the tag, the newest soon have it: a scalar, which is asked contact by
        -- contact and never turned into one pass over all tags.
        select pg_catalog.array_agg(t.contact_id) into found_in
          from (select t.contact_id
                  from public.tags t
                 where t.workspace_id = workspace
                   and t.name = filters ->> 'tag'
                   and t.contact_id is not null
                 order by t.contact_id
                 limit few + 1) t;
        query := query || case
            when pg_catalog.cardinality(found_in) > few
            then pg_catalog.format(' and (select true from public.tags t where t.contact_id = c.id and t.name = %L limit 1)', filters ->> 'tag')
            else pg_catalog.format(' and c.id = any (%L::uuid[])', coalesce(found_in, '{}')) end;
    end if;
    if filters ? 'space_id' then
        query := query || pg_catalog.format(
            ' and exists (select from public.conversations v where v.contact_id = c.id and v.space_id = %L::uuid)', filters ->> 'space_id');
    end if;
    if filters ? 'session_id' then
        query := query || pg_catalog.format(
            ' and c.id in (select s.contact_id from public.sessions s where s.id = %L::uuid)', filters ->> 'session_id');
    end if;
    if filters ? 'has_session' then
        query := query || case when (filters ->> 'has_session')::boolean then ' and' else ' and not' end
                       || ' exists (select from public.sessions s where s.contact_id = c.id)';
    end if;
    if filters ? 'active_after' then
        query := query || pg_catalog.format(
            ' and c.id in (select s.contact_id from public.sessions s where s.workspace_id = %L::uuid and s.last_activity_at >= %L::timestamptz)',
            workspace, filters ->> 'active_after');
    end if;
    if filters ? 'active_before' then
        -- Whose last activity was before then: they have been active, and since not.
        query := query || pg_catalog.format(
            ' and exists (select from public.sessions s where s.contact_id = c.id)'
            ' and not exists (select from public.sessions s where s.contact_id = c.id and s.last_activity_at >= %L::timestamptz)',
            filters ->> 'active_before');
    end if;
    if filters ? 'kind' then
        query := query || pg_catalog.format(' and c.kind = %L', filters ->> 'kind');
    end if;
    if begins <> '' then
        query := query || pg_catalog.format(
            ' and (c.name_key >= %1$L and c.name_key < %2$L or c.last_name_key >= %1$L and c.last_name_key < %2$L)', begins, ends);
    end if;
    if after is not null then
        -- A cursor is a contact's place: microseconds since 1970, a dot, its id.
        query := query || pg_catalog.format(
            ' and (c.created_at, c.id) < (%L::timestamptz, %L::uuid)',
            'epoch'::timestamptz + pg_catalog.split_part(after, '.', 1)::bigint * interval '1 microsecond',
            pg_catalog.split_part(after, '.', 2));
    end if;
    -- Newest first: whoever comes meanwhile comes before the first page.
    execute pg_catalog.format(
        'select pg_catalog.jsonb_agg(private.describe_contact(c) || pg_catalog.jsonb_build_object(''cursor'','
        ' (extract(epoch from c.created_at) * 1000000)::bigint || ''.'' || c.id) order by c.created_at desc, c.id desc)'
        ' from (%s order by c.created_at desc, c.id desc limit %s) c', query, page_size + 1)
       into items;
    return private.page(items, page_size, 'cursor');
end;
$$;

create or replace function private.require_contact(contact_id uuid)
    returns public.contacts
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    contact public.contacts;
begin
    select c.* into contact from public.contacts c where c.id = require_contact.contact_id;
    if not found then
        raise sqlstate 'PT404' using message = 'contact_not_found', detail = 'There is no such contact.';
    end if;
    if contact.merged_into_id is not null then
        -- The old id keeps answering: where to ask instead.
        raise sqlstate 'PT307' using message = 'contact_merged', hint = private.standing_contact(contact.id)::text,
              detail = 'It was merged into ' || private.standing_contact(contact.id) || '.';
    end if;
    return contact;
end;
$$;
comment on function private.require_contact(uuid) is
    'A contact that the caller may see and that stands; for one that was merged PT307 with the id of the one that stands for it as the hint, not found for any other.';

create or replace function public.read_contact(contact_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    contact constant public.contacts := private.require_contact(contact_id);
begin
    return private.describe_contact(contact) || pg_catalog.jsonb_build_object(
        'participants', (select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                                             'contact_id', p.contact_id, 'first_name', c.first_name, 'last_name', c.last_name,
                                             'role', p.role, 'joined_at', p.joined_at, 'left_at', p.left_at) order by p.joined_at, p.contact_id), '[]')
                           from public.group_participants p
                           join public.contacts c on c.id = p.contact_id
                          where p.group_id = contact.id
                            -- Who was in it twice is there once, as who they are now.
                            and c.merged_into_id is null),
        'groups', (select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                                       'contact_id', p.group_id, 'title', g.title,
                                       'role', p.role, 'joined_at', p.joined_at, 'left_at', p.left_at) order by p.joined_at, p.group_id), '[]')
                     from public.group_participants p
                     join public.contacts g on g.id = p.group_id
                    where p.contact_id = contact.id
                      and g.merged_into_id is null),
        'merged', (select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                                       'contact_id', m.contact_id, 'automatic', m.automatic, 'merged_by', m.merged_by,
                                       'merged_at', m.created_at) order by m.created_at, m.id), '[]')
                     from public.contact_merges m
                    where m.into_id = contact.id
                      and m.undone_at is null));
end;
$$;
