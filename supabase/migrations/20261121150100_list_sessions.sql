-- Finding sessions. Whoever asks reads under their own policies; what narrows the search down stands in the query as well,
-- because a policy of the form "a or b" is no condition for an index. Neither is an enum's equality or a text search: a
-- function that is not leakproof comes after the policy. So a status has an index of its own, whose predicate the planner
-- proves without running it, and a search looks words up in a definer step.

set lock_timeout = '5s';
set statement_timeout = '60s';

-- Migrations run in a transaction, in which no index is built concurrently. On a table with many rows, build these by hand
-- first: "if not exists" then leaves them alone.
-- squawk-ignore require-concurrent-index-creation
create index if not exists sessions_created_at_idx on public.sessions (workspace_id, created_at, id);
-- squawk-ignore require-concurrent-index-creation
create index if not exists sessions_active_idx on public.sessions (workspace_id, created_at, id) where status = 'active';
-- squawk-ignore require-concurrent-index-creation
create index if not exists sessions_paused_idx on public.sessions (workspace_id, created_at, id) where status = 'paused';
-- squawk-ignore require-concurrent-index-creation
create index if not exists sessions_completed_idx on public.sessions (workspace_id, created_at, id) where status = 'completed';
-- squawk-ignore require-concurrent-index-creation
create index if not exists sessions_failed_idx on public.sessions (workspace_id, created_at, id) where status = 'failed';
-- squawk-ignore require-concurrent-index-creation
create index if not exists sessions_timeout_idx on public.sessions (workspace_id, created_at, id) where status = 'timeout';
-- squawk-ignore require-concurrent-index-creation
create index if not exists sessions_cancelled_idx on public.sessions (workspace_id, created_at, id) where status = 'cancelled';
-- squawk-ignore require-concurrent-index-creation
create index if not exists sessions_archived_idx on public.sessions (workspace_id, created_at, id) where status = 'archived';
-- squawk-ignore require-concurrent-index-creation
create index if not exists sessions_persona_created_at_idx on public.sessions (persona_id, created_at, id);
-- Those above do what these did.
-- squawk-ignore require-concurrent-index-deletion
drop index public.sessions_workspace_id_idx;
-- squawk-ignore require-concurrent-index-deletion
drop index public.sessions_persona_id_idx;

-- The words of a message's first 50,000 characters (a tsvector holds a megabyte), and its workspace as one more word, so
-- that one tenant's search does not read what another's messages say.
-- squawk-ignore require-concurrent-index-creation
create index if not exists messages_words_idx on public.messages using gin ((
    pg_catalog.array_to_tsvector(array['workspace:' || workspace_id::text])
    || pg_catalog.to_tsvector('pg_catalog.simple'::regconfig, pg_catalog.left(text, 50000))));

create function private.sessions_saying(workspace_id uuid, words text, most integer default 10000)
    returns uuid[]
    language plpgsql
    stable
    security definer
    set search_path = ''
as $$
declare
    asked constant tsquery := pg_catalog.websearch_to_tsquery('pg_catalog.simple'::regconfig, words);
    found_sessions uuid[];
    matches        integer;
begin
    if workspace_id not in (select private.admin_workspaces()) or pg_catalog.numnode(asked) = 0 then
        return '{}'::uuid[];
    end if;
    select pg_catalog.array_agg(distinct m.session_id), pg_catalog.count(*)
      into found_sessions, matches
      from (select m.session_id
              from public.messages m
             where pg_catalog.array_to_tsvector(array['workspace:' || m.workspace_id::text])
                   || pg_catalog.to_tsvector('pg_catalog.simple'::regconfig, pg_catalog.left(m.text, 50000))
                   @@ (pg_catalog.quote_literal('workspace:' || sessions_saying.workspace_id)::tsquery && asked)
             limit most + 1) m;
    return case when matches > most then null else coalesce(found_sessions, '{}') end;
end;
$$;
comment on function private.sessions_saying(uuid, text, integer) is
    'The sessions of a workspace in whose messages these words are, for its owners and admins; null where more messages have them than are looked through.';

create function private.describe_sessions(query text)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    described jsonb;
begin
    -- Names come along where the reader may see them; contacts are not granted the personas.
    execute pg_catalog.format($q$
        select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                   'id', s.id, 'workspace_id', s.workspace_id, 'conversation_id', s.conversation_id, 'status', s.status,
                   'persona', pg_catalog.jsonb_build_object('id', s.persona_id, 'name', p.name),
                   'contact', case when s.contact_id is not null then pg_catalog.jsonb_build_object(
                       'id', s.contact_id, 'name', nullif(pg_catalog.concat_ws(' ', k.first_name, k.last_name), '')) end,
                   'user_id', s.user_id, 'assigned_user_id', s.assigned_user_id,
                   'channel', c.channel, 'space_id', c.space_id, 'thread_key', c.thread_key,
                   'turn_count', s.turn_count, 'message_count', s.message_count, 'created_at', s.created_at,
                   'last_activity_at', s.last_activity_at, 'ended_at', s.ended_at, 'archived_at', s.archived_at,
                   'error_message', s.error_message)
                   order by s.created_at desc, s.id desc), '[]')
          from (%s) s
          left join public.conversations c on c.id = s.conversation_id
          left join %s
          left join public.contacts k on k.id = s.contact_id$q$,
        query,
        case when private.claims() ->> 'role' = 'contact' then '(select null::text as name) p on false'
             else 'public.personas p on p.id = s.persona_id' end)
       into described;
    return described;
end;
$$;
comment on function private.describe_sessions(text) is
    'The sessions of a query as lists show them, newest first, to whoever reads: under their own policies.';

create function private.session_query(filters jsonb, claims jsonb)
    returns text
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    me        constant uuid := (claims ->> 'sub')::uuid;
    workspace uuid          := (filters ->> 'workspace_id')::uuid;
    roles     jsonb;
    role      text;
    whose     text;
    found_in  uuid[];
begin
    if filters ? 'conversation_id' or claims ->> 'role' = 'contact' then
        whose := pg_catalog.format('s.conversation_id = %L::uuid', coalesce(filters ->> 'conversation_id', claims ->> 'conversation_id'));
        if claims ->> 'role' = 'contact' and filters ? 'conversation_id' then
            whose := whose || pg_catalog.format(' and s.conversation_id = %L::uuid', claims ->> 'conversation_id');
        end if;
    else
        select pg_catalog.jsonb_object_agg(m.workspace_id, m.role) into roles
          from public.workspace_members m
         where m.user_id = me;
        if workspace is null and (select pg_catalog.count(*) from pg_catalog.jsonb_object_keys(roles)) > 1 then
            raise sqlstate 'PT422' using message = 'workspace_required', detail = 'You are a member of several workspaces.';
        end if;
        workspace := coalesce(workspace, (select k::uuid from pg_catalog.jsonb_object_keys(roles) k));
        role := roles ->> workspace::text;
        whose := case when role in ('owner', 'admin') then 'true'
                      when role = 'agent' then pg_catalog.format('(s.user_id = %1$L::uuid or s.assigned_user_id = %1$L::uuid)', me)
                      else pg_catalog.format('s.user_id = %L::uuid and s.contact_id is not null', me) end;
    end if;
    if workspace is not null then
        whose := pg_catalog.format('s.workspace_id = %L::uuid and ', workspace) || whose;
    end if;

    if filters ? 'text' then
        if role in ('owner', 'admin') then
            found_in := private.sessions_saying(workspace, filters ->> 'text');
        end if;
        whose := whose || case
            when found_in is not null then pg_catalog.format(' and s.id = any (%L::uuid[])', found_in)
            -- Few sessions, or words so common that the newest sessions soon have them. A scalar, which is asked session by
            -- session in the list's order and never turned into one pass over all messages.
            else pg_catalog.format($q$ and (
                select true from public.messages m
                 where m.session_id = s.id
                   and pg_catalog.to_tsvector('pg_catalog.simple'::regconfig, pg_catalog.left(m.text, 50000))
                       @@ pg_catalog.websearch_to_tsquery('pg_catalog.simple'::regconfig, %L)
                 limit 1)$q$, filters ->> 'text') end;
    end if;
    if filters ?| '{space_id,channel}' then
        whose := whose || ' and exists (select from public.conversations c where c.id = s.conversation_id'
            || case when filters ? 'space_id' then pg_catalog.format(' and c.space_id = %L::uuid', filters ->> 'space_id') else '' end
            || case when filters ? 'channel' then pg_catalog.format(' and c.channel = %L', filters ->> 'channel') else '' end
            || ')';
    end if;
    return 'select s.* from public.sessions s where ' || whose
        || coalesce((select pg_catalog.string_agg(pg_catalog.format(' and %s %L::%s', f.condition, filters ->> f.name, f.kind), '')
                       from (values ('persona_id', 's.persona_id =', 'uuid'), ('contact_id', 's.contact_id =', 'uuid'),
                                    ('user_id', 's.user_id =', 'uuid'),
                                    ('created_after', 's.created_at >=', 'timestamptz'),
                                    ('created_before', 's.created_at <', 'timestamptz'),
                                    ('active_after', 's.last_activity_at >=', 'timestamptz'),
                                    ('active_before', 's.last_activity_at <', 'timestamptz'),
                                    -- No session is active before it is there, and this one the index knows.
                                    ('active_before', 's.created_at <', 'timestamptz'))
                              as f (name, condition, kind)
                      where filters ? f.name), '');
end;
$$;
comment on function private.session_query(jsonb, jsonb) is
    'The query for the sessions that the filters name and the claims'' holder works on or holds; every value is quoted. It runs under the caller''s policies.';

create function public.list_sessions(
    filters           jsonb       default '{}',
    page_size         integer     default 50,
    before_created_at timestamptz default null,
    before_id         uuid        default null,
    skip              integer     default 0
)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    size  constant integer := least(greatest(page_size, 1), 200);
    over  constant integer := least(greatest(skip, 0), 10000);
    one   text;
    query text;
    items jsonb;
    last  jsonb;
begin
    if filters ? 'conversation_id'
       and not exists (select from public.conversations c where c.id = (filters ->> 'conversation_id')::uuid) then
        raise sqlstate 'PT404' using message = 'conversation_not_found', detail = 'There is no such conversation.';
    end if;
    one := private.session_query(filters, private.claims())
        || case when before_created_at is not null and before_id is not null
                then pg_catalog.format(' and (s.created_at, s.id) < (%L::timestamptz, %L::uuid)', before_created_at, before_id)
                else '' end;
    -- One ordered read for each status, of no more rows than are shown.
    select pg_catalog.string_agg(pg_catalog.format('(%s%s order by s.created_at desc, s.id desc limit %s)',
                                                   one, ' and s.status = ' || pg_catalog.quote_literal(asked.status), over + size + 1),
                                 ' union all ')
      into query
      from (select distinct status::public.session_status from pg_catalog.jsonb_array_elements_text(filters -> 'status') status) asked;
    query := coalesce(query, pg_catalog.format('%s order by s.created_at desc, s.id desc limit %s', one, over + size + 1));
    items := private.describe_sessions(pg_catalog.format(
        'select s.* from (%s) s order by s.created_at desc, s.id desc offset %s limit %s', query, over, size + 1));
    if pg_catalog.jsonb_array_length(items) > size then
        last := items -> (size - 1);
        return pg_catalog.jsonb_build_object(
            'items', items - size, 'last', pg_catalog.jsonb_build_object('created_at', last -> 'created_at', 'id', last -> 'id'));
    end if;
    return pg_catalog.jsonb_build_object('items', items, 'last', null);
end;
$$;
comment on function public.list_sessions(jsonb, integer, timestamptz, uuid, integer) is
    'A page of sessions, newest first: {items, last}; last is where the next page goes on, null at the end. A member''s are a workspace''s, everybody else''s their own.';

-- One session ---------------------------------------------------------------------------------------------------------

create function private.session_changes(session_id uuid)
    returns table (at timestamptz, verb text, actor_id uuid, code text)
    language sql
    stable
    security definer
    set search_path = ''
as $$
    -- Contacts and users see what became of it; who did it is for members.
    select a.created_at, a.verb,
           case when s.workspace_id in (select private.member_workspaces()) then a.actor_id end, a.code
      from public.sessions s
      join public.audit_events a on a.object_id = s.id and a.verb like 'session.%'
     where s.id = session_changes.session_id
       and (s.workspace_id in (select private.admin_workspaces()) or s.id in (select private.own_sessions())
            or (private.claims() ->> 'role' = 'contact' and s.conversation_id = private.token_conversation()));
$$;
comment on function private.session_changes(uuid) is 'What the audit says of a session that the caller may read.';

create function public.read_session(session_id uuid, before uuid default null, message_limit integer default 200)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    most     constant integer := least(greatest(message_limit, 1), 200);
    session  constant jsonb := private.describe_sessions(
        pg_catalog.format('select s.* from public.sessions s where s.id = %L::uuid', session_id)) -> 0;
    since    timestamptz;
    turns    jsonb;
    messages jsonb;
begin
    if session is null then
        raise sqlstate 'PT404' using message = 'session_not_found', detail = 'There is no such session.';
    end if;
    if before is not null then
        select m.created_at into since from public.messages m where m.id = before and m.session_id = read_session.session_id;
        if not found then
            raise sqlstate 'PT404' using message = 'message_not_found', detail = 'There is no such message in this session.';
        end if;
    end if;

    select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
               'id', t.id, 'status', t.status, 'error_code', t.error_code, 'first_token_ms', t.first_token_ms, 'usage', t.usage,
               'client_message_id', t.client_message_id, 'created_at', t.created_at, 'finished_at', t.finished_at)
               order by t.created_at, t.id), '[]')
      into turns
      from (select t.* from public.turns t where t.session_id = read_session.session_id order by t.created_at desc, t.id desc limit 200) t;
    select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
               'id', m.id, 'turn_id', m.turn_id, 'role', m.role, 'text', m.text, 'partial', m.partial, 'created_at', m.created_at)
               order by m.created_at, m.id), '[]')
      into messages
      from (select m.*
              from public.messages m
             where m.session_id = read_session.session_id
               and (before is null or (m.created_at, m.id) < (since, before))
             order by m.created_at desc, m.id desc
             limit most + 1) m;
    return session || pg_catalog.jsonb_build_object(
        'turns', turns,
        'messages', case when pg_catalog.jsonb_array_length(messages) > most then messages - 0 else messages end,
        'messages_before', case when pg_catalog.jsonb_array_length(messages) > most then messages -> 1 -> 'id' end,
        'timeline', (select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                                'at', e.at, 'event', e.event, 'turn_id', e.turn_id, 'actor_id', e.actor_id, 'code', e.code)
                                order by e.at, e.place)
                       from (select (session ->> 'created_at')::timestamptz as at, 'session.created' as event, null::uuid as turn_id, null::uuid as actor_id,
                                    null::text as code, 0 as place
                              union all
                             select c.at, c.verb, null, c.actor_id, c.code, 1 from private.session_changes(read_session.session_id) c
                              union all
                             select t.created_at, 'turn.started', t.id, null, null, 2
                               from pg_catalog.jsonb_to_recordset(turns) as t (id uuid, created_at timestamptz)
                              union all
                             select t.finished_at, 'turn.' || t.status, t.id, null, t.error_code, 3
                               from pg_catalog.jsonb_to_recordset(turns) as t (id uuid, status text, error_code text, finished_at timestamptz)
                              where t.finished_at is not null) e));
end;
$$;
comment on function public.read_session(uuid, uuid, integer) is
    'A session with its last 200 turns, its last messages (before one of them, to page back; messages_before says where to go on) and what happened when.';

grant execute on function
    private.describe_sessions(text), private.session_query(jsonb, jsonb), private.session_changes(uuid),
    public.list_sessions(jsonb, integer, timestamptz, uuid, integer), public.read_session(uuid, uuid, integer)
    to contact, authenticated;
-- A contact never asks it, but the function that it stands in is shared.
grant execute on function private.sessions_saying(uuid, text, integer) to authenticated;
