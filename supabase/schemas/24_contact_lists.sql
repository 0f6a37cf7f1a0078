-- Contacts as members read them: lists, details and activity.

create function public.list_contacts(
    workspace_id uuid    default null,
    filters      jsonb   default '{}',
    after        text    default null,
    page_size    integer default 50
)
    returns jsonb language plpgsql stable set search_path = ''
as $$
declare
    workspace constant uuid := private.named_workspace(workspace_id);
    query     text := format('select c as contact, c.created_at, c.id from public.contacts c where c.workspace_id = %L::uuid and c.merged_into_id is null', workspace);
    begins    constant text := lower(filters ->> 'text');
    ends      constant text := begins || chr(1114111);
    few       constant integer := 1000;
    found_in  uuid[];
    shown     public.contacts[];
    items     jsonb;
begin
    perform public.read_workspace(workspace);
    -- Written out with the filters that are there, so that each is planned for what it asks.
    if filters ? 'identity' then
        query := query || format(
            ' and c.id in (select i.contact_id from public.contact_identities i where i.workspace_id = %L::uuid and i.key = %L and i.kind = %L)',
            workspace, filters #>> '{identity,key}', filters #>> '{identity,kind}');
    end if;
    if filters ? 'email_key' then
        query := query || format(
            ' and c.id in (select i.contact_id from public.contact_identities i where i.workspace_id = %L::uuid and i.key = %L and i.kind = ''email'')',
            workspace, filters ->> 'email_key');
    end if;
    if filters ? 'space_id' then
        query := query || format(
            ' and exists (select from public.conversations v where v.contact_id = c.id and v.space_id = %L::uuid)', filters ->> 'space_id');
    end if;
    if filters ? 'session_id' then
        query := query || format(
            ' and c.id in (select s.contact_id from public.sessions s where s.id = %L::uuid)', filters ->> 'session_id');
    end if;
    if filters ? 'has_session' then
        query := query || case when (filters ->> 'has_session')::boolean then ' and' else ' and not' end
                       || ' exists (select from public.sessions s where s.contact_id = c.id)';
    end if;
    if filters ? 'active_after' then
        query := query || format(
            ' and c.id in (select s.contact_id from public.sessions s where s.workspace_id = %L::uuid and s.last_activity_at >= %L::timestamptz)',
            workspace, filters ->> 'active_after');
    end if;
    if filters ? 'active_before' then
        -- Whose last activity was before then: they have been active, and since not.
        query := query || format(
            ' and exists (select from public.sessions s where s.contact_id = c.id)'
            ' and not exists (select from public.sessions s where s.contact_id = c.id and s.last_activity_at >= %L::timestamptz)',
            filters ->> 'active_before');
    end if;
    if filters ? 'kind' then
        query := query || format(' and c.kind = %L', filters ->> 'kind');
    end if;
    if begins <> '' then
        query := query || format(
            ' and (c.name_key >= %1$L and c.name_key < %2$L or c.last_name_key >= %1$L and c.last_name_key < %2$L)', begins, ends);
    end if;
    if after is not null then
        -- A cursor is a contact's place: microseconds since 1970, a dot, its id.
        query := query || format(
            ' and (c.created_at, c.id) < (%L::timestamptz, %L::uuid)',
            'epoch'::timestamptz + split_part(after, '.', 1)::bigint * interval '1 microsecond',
            split_part(after, '.', 2));
    end if;
    if filters ? 'tag' then
        -- Few contacts are looked up first. Where many have the tag, the newest soon have it.
        select array_agg(t.contact_id) into found_in
          from (select t.contact_id
                  from public.tags t
                 where t.workspace_id = workspace
                   and t.name = filters ->> 'tag'
                   and t.contact_id is not null
                 order by t.contact_id
                 limit few + 1) t;
        if cardinality(found_in) > few then
            shown := private.contacts_tagged(query, workspace, filters ->> 'tag', page_size + 1);
        else
            -- Each by itself: what else is asked of it is planned for one contact, and never by one pass over a table.
            query := format(
                'select c.* from unnest(%L::uuid[]) f (id) cross join lateral (%s and c.id = f.id offset 0) c',
                coalesce(found_in, '{}'), query);
        end if;
    end if;
    if shown is null then
        -- Newest first: whoever comes meanwhile comes before the first page.
        execute format(
            'select array_agg(c.contact) from (%s order by c.created_at desc, c.id desc limit %s) c', query, page_size + 1)
           into shown;
    end if;
    select jsonb_agg(d.described || jsonb_build_object(
                                    'cursor', (extract(epoch from c.created_at) * 1000000)::bigint || '.' || c.id)
                                order by c.created_at desc, c.id desc)
      into items
      from unnest(shown) c
      join private.describe_contacts(shown) d on d.contact_id = c.id;
    return private.page(items, page_size, 'cursor');
end;
$$;
comment on function public.list_contacts is 'A page of a workspace''s contacts, newest first. filters, all that are given: identity {kind, key}, email_key, tag, space_id, session_id, has_session, active_after, active_before, kind, text (how a name begins).';

create function private.require_contact(contact_id uuid)
    returns public.contacts language plpgsql stable set search_path = ''
as $$
declare
    contact public.contacts;
begin
    select c.* into contact from public.contacts c where c.id = require_contact.contact_id;
    if not found then
        raise sqlstate 'PT404' using message = 'contact_not_found';
    end if;
    if contact.merged_into_id is not null then
        -- The old id keeps answering: where to ask instead.
        raise sqlstate 'PT307' using message = 'contact_merged', hint = private.merge_target(contact.id)::text;
    end if;
    return contact;
end;
$$;
comment on function private.require_contact is 'A contact that the caller may see and that stands; for one that was merged PT307 with the id of the one that stands for it as the hint, not found for any other.';

create function public.read_contact(contact_id uuid)
    returns jsonb language plpgsql stable set search_path = ''
as $$
declare
    contact constant public.contacts := private.require_contact(contact_id);
begin
    return private.describe_contact(contact) || jsonb_build_object(
        'participants', (select coalesce(jsonb_agg(jsonb_build_object(
                                             'contact_id', p.contact_id, 'first_name', c.first_name, 'last_name', c.last_name,
                                             'role', p.role, 'joined_at', p.joined_at, 'left_at', p.left_at) order by p.joined_at, p.contact_id), '[]')
                           from public.group_participants p
                           join public.contacts c on c.id = p.contact_id
                          where p.group_id = contact.id
                            -- Who was in it twice is there once, as who they are now.
                            and c.merged_into_id is null),
        'groups', (select coalesce(jsonb_agg(jsonb_build_object(
                                       'contact_id', p.group_id, 'title', g.title,
                                       'role', p.role, 'joined_at', p.joined_at, 'left_at', p.left_at) order by p.joined_at, p.group_id), '[]')
                     from public.group_participants p
                     join public.contacts g on g.id = p.group_id
                    where p.contact_id = contact.id
                      and g.merged_into_id is null),
        'merged', (select coalesce(jsonb_agg(jsonb_build_object(
                                       'contact_id', m.contact_id, 'automatic', m.automatic, 'merged_by', m.merged_by,
                                       'merged_at', m.created_at) order by m.created_at, m.id), '[]')
                     from public.contact_merges m
                    where m.into_id = contact.id
                      and m.undone_at is null));
end;
$$;
comment on function public.read_contact is 'A contact with identities, tags, and its participants or the groups it is in; for its workspace''s members.';

create function public.read_contact_activity(contact_id uuid)
    returns jsonb language plpgsql stable set search_path = ''
as $$
declare
    contact constant public.contacts := private.require_contact(contact_id);
begin
    return private.describe_contact(contact) || (
        select jsonb_build_object(
                   'message_count', coalesce(sum(s.messages), 0),
                   'last_activity_at', max(s.last_activity_at),
                   'sessions', coalesce(jsonb_object_agg(s.status, s.sessions) filter (where s.status is not null), '{}'))
          from (select s.status, count(*) as sessions, sum(s.message_count) as messages,
                       max(s.last_activity_at) as last_activity_at
                  from public.sessions s
                 where s.contact_id = contact.id
                 group by s.status) s)
        || jsonb_build_object(
               'latest_sessions', (select coalesce(jsonb_agg(jsonb_build_object(
                                                       'session_id', s.id, 'conversation_id', s.conversation_id, 'persona_id', s.persona_id,
                                                       'status', s.status, 'message_count', s.message_count, 'created_at', s.created_at,
                                                       'last_activity_at', s.last_activity_at) order by s.created_at desc, s.id desc), '[]')
                                     from (select s.*
                                             from public.sessions s
                                            where s.contact_id = contact.id
                                            order by s.created_at desc, s.id desc
                                            limit 20) s));
end;
$$;
comment on function public.read_contact_activity is 'A contact with message_count, last_activity_at, sessions (how many by status) and latest_sessions (20 at most): of those sessions that the caller may see.';

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
                  where s.id = any (array(select c.session_id from unnest(shown) c where c.session_id is not null))),
             tagged as materialized (
                 select t.contact_id, jsonb_agg(t.name order by t.name) as names
                   from public.tags t
                  where t.contact_id = any (array(select c.id from unnest(shown) c))
                  group by t.contact_id)
        select c.id,
               to_jsonb(c) - '{name_key,last_name_key,merged_into_id}'::text[]
               || jsonb_build_object(
                      'session_id', s.id,
                      -- By what contacts are known lies apart, like themselves: a look-up for each.
                      'identities', coalesce(i.identities, '[]'),
                      'tags', coalesce(t.names, '[]'))
          from unnest(shown) c
          left join linked s on s.id = c.session_id
          left join tagged t on t.contact_id = c.id
          left join lateral (
              select jsonb_agg(jsonb_build_object(
                         'kind', i.kind, 'key', i.key, 'value', i.value, 'evidence', i.evidence,
                         'asserted_by', i.asserted_by, 'asserted_at', i.created_at,
                         'verified_by', i.verified_by, 'verified_at', i.verified_at) order by i.created_at, i.id) as identities
                from public.contact_identities i
               where i.contact_id = c.id) i on true;
end;
$$;
comment on function private.describe_contacts is 'Contacts as private.describe_contact shows each, all looked up together.';

create function private.contacts_tagged(query text, workspace_id uuid, tag text, most integer)
    returns public.contacts[] language plpgsql stable set search_path = ''
as $$
declare
    size     integer           := 256;
    passed   text              := '';
    found_in public.contacts[] := '{}'::public.contacts[];
    batch    public.contacts[];
    tagged   uuid[];
begin
    loop
        execute format(
            'select array_agg(c.contact order by c.created_at desc, c.id desc)'
            ' from (%s%s order by c.created_at desc, c.id desc limit %s) c', query, passed, size)
           into batch;
        exit when batch is null;
        tagged := array(select t.contact_id
                          from public.tags t
                         where t.workspace_id = contacts_tagged.workspace_id
                           and t.name = tag
                           and t.contact_id = any (array(select c.id from unnest(batch) c)));
        found_in := found_in || array(select c
                                        from unnest(batch) c
                                       where c.id = any (tagged)
                                       order by c.created_at desc, c.id desc);
        exit when cardinality(found_in) >= most or cardinality(batch) < size;
        passed := format(' and (c.created_at, c.id) < (%L::timestamptz, %L::uuid)', batch[size].created_at, batch[size].id);
        size := least(size * 2, 4096);
    end loop;
    return found_in[:most];
end;
$$;
comment on function private.contacts_tagged is 'The newest contacts of a query that have a tag, so many at most.';

grant execute on function
    public.list_contacts, private.require_contact, public.read_contact, public.read_contact_activity,
    private.describe_contacts, private.contacts_tagged
    to authenticated, service_role;
