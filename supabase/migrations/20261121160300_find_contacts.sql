-- Finding contacts, reading them, and tagging what was found. Reads go with the caller's own token and policies: what an
-- agent may not see is neither found nor counted.

set lock_timeout = '5s';
set statement_timeout = '60s';

create function public.list_contacts(
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
    query     text := pg_catalog.format('select c.* from public.contacts c where c.workspace_id = %L::uuid', workspace);
    begins    constant text := pg_catalog.lower(filters ->> 'text');
    ends      constant text := begins || pg_catalog.chr(1114111);
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
        query := query || pg_catalog.format(
            ' and c.id in (select t.contact_id from public.tags t where t.workspace_id = %L::uuid and t.name = %L and t.contact_id is not null)',
            workspace, filters ->> 'tag');
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
comment on function public.list_contacts(uuid, jsonb, text, integer) is
    'A page of a workspace''s contacts, newest first. filters, all that are given: identity {kind, key}, email_key, tag, space_id, session_id, has_session, active_after, active_before, kind, text (how a name begins).';

create function private.require_contact(contact_id uuid)
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
    return contact;
end;
$$;
comment on function private.require_contact(uuid) is 'A contact that the caller may see; not found for any other.';

create function public.read_contact(contact_id uuid)
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
                          where p.group_id = contact.id),
        'groups', (select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                                       'contact_id', p.group_id, 'title', g.title,
                                       'role', p.role, 'joined_at', p.joined_at, 'left_at', p.left_at) order by p.joined_at, p.group_id), '[]')
                     from public.group_participants p
                     join public.contacts g on g.id = p.group_id
                    where p.contact_id = contact.id));
end;
$$;
comment on function public.read_contact(uuid) is 'A contact with identities, tags, and its participants or the groups it is in; for its workspace''s members.';

create function public.read_contact_activity(contact_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    contact constant public.contacts := private.require_contact(contact_id);
begin
    return private.describe_contact(contact) || (
        select pg_catalog.jsonb_build_object(
                   'message_count', coalesce(pg_catalog.sum(s.messages), 0),
                   'last_activity_at', pg_catalog.max(s.last_activity_at),
                   'sessions', coalesce(pg_catalog.jsonb_object_agg(s.status, s.sessions) filter (where s.status is not null), '{}'))
          from (select s.status, pg_catalog.count(*) as sessions, pg_catalog.sum(s.message_count) as messages,
                       pg_catalog.max(s.last_activity_at) as last_activity_at
                  from public.sessions s
                 where s.contact_id = contact.id
                 group by s.status) s)
        || pg_catalog.jsonb_build_object(
               'latest_sessions', (select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
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
comment on function public.read_contact_activity(uuid) is
    'A contact with message_count, last_activity_at, sessions (how many by status) and latest_sessions (20 at most): of those sessions that the caller may see.';

create function private.replace_tags(workspace_id uuid, contact_id uuid, session_id uuid, names text[])
    returns boolean
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    gone  integer;
    added integer;
begin
    delete from public.tags t
     where (t.contact_id = replace_tags.contact_id or t.session_id = replace_tags.session_id)
       and t.name <> all (names);
    get diagnostics gone = row_count;
    insert into public.tags (workspace_id, contact_id, session_id, name)
    select replace_tags.workspace_id, replace_tags.contact_id, replace_tags.session_id, given.name
      from pg_catalog.unnest(names) given (name)
    on conflict do nothing;
    get diagnostics added = row_count;
    return gone + added > 0;
end;
$$;
comment on function private.replace_tags(uuid, uuid, uuid, text[]) is 'Makes the tags of a contact or a session, which is locked, exactly these; whether that changed anything.';

create function public.set_contact_tags(contact_id uuid, names text[])
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    workspace constant uuid := private.workspace_of_contact(contact_id);
begin
    perform private.enter_contact(contact_id);
    -- Two who replace the set at once come one after the other: it is the one's or the other's, never both.
    perform from public.contacts c where c.id = set_contact_tags.contact_id for no key update;
    if private.replace_tags(workspace, contact_id, null, names) then
        perform private.record_change(workspace, 'contact.tagged', contact_id);
    end if;
    return (select pg_catalog.jsonb_build_object('tags', coalesce(pg_catalog.jsonb_agg(t.name order by t.name), '[]'))
              from public.tags t
             where t.contact_id = set_contact_tags.contact_id);
end;
$$;
comment on function public.set_contact_tags(uuid, text[]) is 'Replaces a contact''s tags, for its workspace''s members: {tags}.';

create function public.set_session_tags(session_id uuid, names text[])
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
begin
    perform private.enter_session(session_id);
    -- Tags are the members' own words: whoever else may act on a session is not told that they exist.
    if private.caller_role(private.entered_workspace()) is null then
        raise sqlstate 'PT404' using message = 'session_not_found', detail = 'There is no such session.';
    end if;
    perform from public.sessions s where s.id = set_session_tags.session_id for no key update;
    if private.replace_tags(private.entered_workspace(), null, session_id, names) then
        perform private.record_change(private.entered_workspace(), 'session.tagged', session_id);
    end if;
    return (select pg_catalog.jsonb_build_object('tags', coalesce(pg_catalog.jsonb_agg(t.name order by t.name), '[]'))
              from public.tags t
             where t.session_id = set_session_tags.session_id);
end;
$$;
comment on function public.set_session_tags(uuid, text[]) is 'Replaces a session''s tags, for the members who may see it: {tags}.';

grant execute on function
    private.require_contact(uuid), public.list_contacts(uuid, jsonb, text, integer), public.read_contact(uuid),
    public.read_contact_activity(uuid)
    to authenticated, service_role;
grant execute on function private.replace_tags(uuid, uuid, uuid, text[]), public.set_contact_tags(uuid, text[]) to switchboard, service_role;
grant execute on function public.set_session_tags(uuid, text[]) to switchboard;
