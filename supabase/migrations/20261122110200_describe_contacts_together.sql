-- A page of contacts was described contact by contact, by a function with three statements: now it is one statement for all of
-- them. And where many contacts have a tag, whether the newest have it is asked in batches: a batch passes through the tag's part
-- of an index once, from page to page, where it was a descent for each contact that was passed over.

set lock_timeout = '5s';
set statement_timeout = '60s';

create function private.describe_contacts(shown public.contacts[])
    returns table (contact_id uuid, described jsonb)
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return query
        with linked as materialized (
                 -- Under the policies of whoever reads.
                 select s.id
                   from public.sessions s
                  where s.id = any (array(select c.session_id from pg_catalog.unnest(shown) c where c.session_id is not null))),
             tagged as materialized (
                 select t.contact_id, pg_catalog.jsonb_agg(t.name order by t.name) as names
                   from public.tags t
                  where t.contact_id = any (array(select c.id from pg_catalog.unnest(shown) c))
                  group by t.contact_id)
        select c.id,
               pg_catalog.to_jsonb(c) - '{name_key,last_name_key,merged_into_id}'::text[]
               || pg_catalog.jsonb_build_object(
                      'session_id', s.id,
                      -- By what contacts are known lies apart, like themselves: a look-up for each.
                      'identities', coalesce(i.identities, '[]'),
                      'tags', coalesce(t.names, '[]'))
          from pg_catalog.unnest(shown) c
          left join linked s on s.id = c.session_id
          left join tagged t on t.contact_id = c.id
          left join lateral (
              select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                         'kind', i.kind, 'key', i.key, 'value', i.value, 'evidence', i.evidence,
                         'asserted_by', i.asserted_by, 'asserted_at', i.created_at,
                         'verified_by', i.verified_by, 'verified_at', i.verified_at) order by i.created_at, i.id) as identities
                from public.contact_identities i
               where i.contact_id = c.id) i on true;
end;
$$;
comment on function private.describe_contacts(public.contacts[]) is
    'Contacts as private.describe_contact shows each, all looked up together.';

create function private.contacts_tagged(query text, workspace_id uuid, tag text, most integer)
    returns public.contacts[]
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    size     integer           := 256;
    passed   text              := '';
    found_in public.contacts[] := '{}'::public.contacts[];
    batch    public.contacts[];
    tagged   uuid[];
begin
    loop
        execute pg_catalog.format(
            'select pg_catalog.array_agg(c.contact order by c.created_at desc, c.id desc)'
            ' from (%s%s order by c.created_at desc, c.id desc limit %s) c', query, passed, size)
           into batch;
        exit when batch is null;
        tagged := array(select t.contact_id
                          from public.tags t
                         where t.workspace_id = contacts_tagged.workspace_id
                           and t.name = tag
                           and t.contact_id = any (array(select c.id from pg_catalog.unnest(batch) c)));
        found_in := found_in || array(select c
                                        from pg_catalog.unnest(batch) c
                                       where c.id = any (tagged)
                                       order by c.created_at desc, c.id desc);
        exit when pg_catalog.cardinality(found_in) >= most or pg_catalog.cardinality(batch) < size;
        passed := pg_catalog.format(' and (c.created_at, c.id) < (%L::timestamptz, %L::uuid)', batch[size].created_at, batch[size].id);
        size := least(size * 2, 4096);
    end loop;
    return found_in[:most];
end;
$$;
comment on function private.contacts_tagged(text, uuid, text, integer) is
    'The newest contacts of a query that have a tag, so many at most.';

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
    query     text := pg_catalog.format('select c as contact, c.created_at, c.id from public.contacts c where c.workspace_id = %L::uuid and c.merged_into_id is null', workspace);
    begins    constant text := pg_catalog.lower(filters ->> 'text');
    ends      constant text := begins || pg_catalog.chr(1114111);
    few       constant integer := 1000;
    found_in  uuid[];
    shown     public.contacts[];
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
    if filters ? 'tag' then
        -- Few contacts are looked up first. Where many have the tag, the newest soon have it.
        select pg_catalog.array_agg(t.contact_id) into found_in
          from (select t.contact_id
                  from public.tags t
                 where t.workspace_id = workspace
                   and t.name = filters ->> 'tag'
                   and t.contact_id is not null
                 order by t.contact_id
                 limit few + 1) t;
        if pg_catalog.cardinality(found_in) > few then
            shown := private.contacts_tagged(query, workspace, filters ->> 'tag', page_size + 1);
        else
            -- Each by itself: what else is asked of it is planned for one contact, and never by one pass over a table.
            query := pg_catalog.format(
                'select c.* from pg_catalog.unnest(%L::uuid[]) f (id) cross join lateral (%s and c.id = f.id offset 0) c',
                coalesce(found_in, '{}'), query);
        end if;
    end if;
    if shown is null then
        -- Newest first: whoever comes meanwhile comes before the first page.
        execute pg_catalog.format(
            'select pg_catalog.array_agg(c.contact) from (%s order by c.created_at desc, c.id desc limit %s) c', query, page_size + 1)
           into shown;
    end if;
    select pg_catalog.jsonb_agg(d.described || pg_catalog.jsonb_build_object(
                                    'cursor', (extract(epoch from c.created_at) * 1000000)::bigint || '.' || c.id)
                                order by c.created_at desc, c.id desc)
      into items
      from pg_catalog.unnest(shown) c
      join private.describe_contacts(shown) d on d.contact_id = c.id;
    return private.page(items, page_size, 'cursor');
end;
$$;

grant execute on function private.describe_contacts(public.contacts[]), private.contacts_tagged(text, uuid, text, integer)
    to authenticated, service_role;
