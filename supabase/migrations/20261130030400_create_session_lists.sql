-- Generated from supabase/schemas/34_session_lists.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- Sessions as members and contacts read them: lists, search and details.

create type private.session_shown as (
    id               uuid,
    workspace_id     uuid,
    conversation_id  uuid,
    contact_id       uuid,
    user_id          uuid,
    persona_id       uuid,
    status           public.session_status,
    turn_count       integer,
    message_count    integer,
    created_at       timestamptz,
    last_activity_at timestamptz,
    ended_at         timestamptz,
    archived_at      timestamptz,
    error_message    text,
    workflow         text,
    workflow_step    text,
    request_id       uuid,
    taken_over_at    timestamptz,
    taken_over_by    uuid,
    assigned_user_id uuid,
    primary_quote_id uuid
);
comment on type private.session_shown is 'What lists show of a session''s own row; the last three are null for contacts, who are not granted them.';

create function private.sessions_saying(workspace_id uuid, words text, most integer default 10000)
    returns uuid[] language plpgsql security definer set search_path = ''
as $$
declare
    asked constant tsquery := websearch_to_tsquery('simple'::regconfig, words);
    guessed        json;
    found_sessions uuid[];
    matches        integer;
begin
    if workspace_id not in (select private.admin_workspaces()) or numnode(asked) = 0 then
        return '{}'::uuid[];
    end if;
    execute format($q$
        explain (format json)
        select from public.messages m
         where array_to_tsvector(array['workspace:' || m.workspace_id::text])
               || to_tsvector('simple'::regconfig, left(m.text, 50000))
               @@ (quote_literal('workspace:' || %L)::tsquery && %L::tsquery)$q$, workspace_id, asked)
       into guessed;
    if (guessed #>> '{0,Plan,Plan Rows}')::numeric > (
           select least(most, c.reltuples / 20) from pg_catalog.pg_class c where c.oid = 'public.messages'::regclass) then
        -- Likely common. It is, as far as a page goes, if one in four of the newest sessions has it.
        select count(*) into matches
          from (select
                  from (select s.id
                          from public.sessions s
                         where s.workspace_id = sessions_saying.workspace_id
                         order by s.created_at desc, s.id desc
                         limit 200) s
                 where (select true
                          from public.messages m
                         where m.session_id = s.id
                           and to_tsvector('simple'::regconfig, left(m.text, 50000)) @@ asked
                         limit 1)
                 limit 50) f;
        if matches = 50 then
            return null;
        end if;
    end if;
    select array_agg(distinct m.session_id), count(*)
      into found_sessions, matches
      from (select m.session_id
              from public.messages m
             where array_to_tsvector(array['workspace:' || m.workspace_id::text])
                   || to_tsvector('simple'::regconfig, left(m.text, 50000))
                   @@ (quote_literal('workspace:' || sessions_saying.workspace_id)::tsquery && asked)
             limit most + 1) m;
    return case when matches > most then null else coalesce(found_sessions, '{}') end;
end;
$$;
comment on function private.sessions_saying is 'The sessions of a workspace in whose messages these words are, for its owners and admins; null where more messages have them than are looked through, or one in four of the newest sessions.';

create function private.describe_sessions(query text)
    returns jsonb language plpgsql stable set search_path = ''
as $$
declare
    to_contact constant boolean := private.claims() ->> 'role' is not distinct from 'contact';
    ids        uuid[];
    shown      private.session_shown[];
    requests   uuid[];
    quotes     uuid[];
    described  jsonb;
begin
    -- First which they are, planned for what is asked; then what is shown of these few, by plans that are kept. Whatever is
    -- materialized is read once, for all of them; and where there is nothing to look up, nobody's rights are asked either.
    execute format('select array_agg(s.id) from (%s) s', query) into ids;
    if ids is null then
        return jsonb_build_array();
    end if;
    if to_contact then
        select array_agg(row(
                   s.id, s.workspace_id, s.conversation_id, s.contact_id, s.user_id, s.persona_id, s.status, s.turn_count,
                   s.message_count, s.created_at, s.last_activity_at, s.ended_at, s.archived_at, s.error_message,
                   s.workflow, s.workflow_step, s.request_id, s.taken_over_at,
                   null, null, null)::private.session_shown)
          into shown
          from public.sessions s
         where s.id = any (ids);
    else
        select array_agg(row(
                   s.id, s.workspace_id, s.conversation_id, s.contact_id, s.user_id, s.persona_id, s.status, s.turn_count,
                   s.message_count, s.created_at, s.last_activity_at, s.ended_at, s.archived_at, s.error_message,
                   s.workflow, s.workflow_step, s.request_id, s.taken_over_at,
                   s.taken_over_by, s.assigned_user_id, s.primary_quote_id)::private.session_shown)
          into shown
          from public.sessions s
         where s.id = any (ids);
    end if;
    requests := array(select s.request_id from unnest(shown) s where s.request_id is not null);
    quotes := array(select s.primary_quote_id from unnest(shown) s where s.primary_quote_id is not null);

    with asked as materialized (
             select r.id, r.origin, r.destination, r.departs_at, r.passengers
               from public.requests r
              where requests <> '{}'
                and r.id = any (requests)),
         proposed as materialized (
             select distinct on (o.session_id) o.session_id, o.id, o.status
               from public.proposals o
              where o.session_id = any (ids)
              order by o.session_id, o.created_at desc, o.id desc)
    select coalesce(jsonb_agg(jsonb_build_object(
               'id', s.id, 'workspace_id', s.workspace_id, 'conversation_id', s.conversation_id, 'status', s.status,
               'persona', jsonb_build_object('id', s.persona_id, 'name', null),
               'contact', case when s.contact_id is not null then jsonb_build_object(
                   'id', s.contact_id, 'name', nullif(concat_ws(' ', k.first_name, k.last_name), '')) end,
               'user_id', s.user_id, 'assigned_user_id', null,
               'channel', c.channel, 'space_id', c.space_id, 'thread_key', c.thread_key,
               'turn_count', s.turn_count, 'message_count', s.message_count, 'created_at', s.created_at,
               'last_activity_at', s.last_activity_at, 'ended_at', s.ended_at, 'archived_at', s.archived_at,
               'error_message', s.error_message,
               'workflow', s.workflow, 'workflow_step', s.workflow_step,
               'request', case when r.id is not null then jsonb_build_object(
                   'id', r.id, 'origin', r.origin, 'destination', r.destination,
                   'departs_at', r.departs_at, 'passengers', r.passengers) end,
               'proposal', case when o.id is not null then jsonb_build_object('id', o.id, 'status', o.status) end,
               'taken_over', s.taken_over_at is not null)
               order by s.created_at desc, s.id desc), '[]')
      into described
      from unnest(shown) s
      left join asked r on r.id = s.request_id
      left join proposed o on o.session_id = s.id
      left join lateral (
          select c.channel, c.space_id, c.thread_key from public.conversations c where c.id = s.conversation_id offset 0) c on true
      left join lateral (
          select k.first_name, k.last_name from public.contacts k where k.id = s.contact_id offset 0) k on true;
    if to_contact then
        return described;
    end if;

    -- What contacts are not granted: names of personas, which come along where the reader may see them, and what is for members.
    return (
        with named as materialized (
                 select p.id, p.name
                   from public.personas p
                  where p.id = any (array(select s.persona_id from unnest(shown) s))),
             preferred as materialized (
                 select q.id, q.operator, q.amount, q.currency
                   from public.quotes q
                  where quotes <> '{}'
                    and q.id = any (quotes)),
             counted as materialized (
                 select q.request_id,
                        jsonb_build_object(
                            'expected',  count(*),
                            'received',  count(*) filter (where q.status = 'received'),
                            'declined',  count(*) filter (where q.status = 'declined'),
                            'expired',   count(*) filter (where q.status = 'expired'),
                            'withdrawn', count(*) filter (where q.status = 'withdrawn'),
                            'late',      count(*) filter (where q.late)) as numbers
                   from public.quotes q
                  where requests <> '{}'
                    and q.request_id = any (requests)
                  group by q.request_id),
             tagged as materialized (
                 select t.session_id, jsonb_agg(t.name order by t.name) as names
                   from public.tags t
                  where t.session_id = any (ids)
                  group by t.session_id)
        select coalesce(jsonb_agg(d.item || jsonb_build_object(
                            'persona', jsonb_build_object('id', s.persona_id, 'name', p.name))
                        || case when s.workspace_id in (select private.member_workspaces()) then jsonb_build_object(
                               'primary_quote', case when q.id is not null then jsonb_build_object(
                                   'id', q.id, 'operator', q.operator, 'amount', q.amount, 'currency', q.currency) end,
                               'quote_counts', coalesce(n.numbers, jsonb_build_object(
                                   'expected', 0, 'received', 0, 'declined', 0, 'expired', 0, 'withdrawn', 0, 'late', 0)),
                               'tags', coalesce(t.names, '[]'),
                               'assigned_user_id', s.assigned_user_id,
                               'taken_over_by', s.taken_over_by, 'taken_over_at', s.taken_over_at) else '{}' end
                        order by d.place), '[]')
          from jsonb_array_elements(described) with ordinality d (item, place)
          join unnest(shown) s on s.id = (d.item ->> 'id')::uuid
          left join named p on p.id = s.persona_id
          left join preferred q on q.id = s.primary_quote_id
          left join counted n on n.request_id = s.request_id
          left join tagged t on t.session_id = s.id);
end;
$$;
comment on function private.describe_sessions is 'The sessions of a query as lists show them, newest first, to whoever reads: under their own policies.';

create function private.session_query(filters jsonb, claims jsonb)
    returns text language plpgsql stable set search_path = ''
as $$
declare
    me        constant uuid := (claims ->> 'sub')::uuid;
    mine      constant text := format('(s.user_id = %1$L::uuid or s.assigned_user_id = %1$L::uuid)', me);
    workspace uuid          := (filters ->> 'workspace_id')::uuid;
    roles     jsonb;
    role      text;
    whose     text;
    found_in  uuid[];
begin
    if filters ? 'conversation_id' or claims ->> 'role' = 'contact' then
        whose := format('s.conversation_id = %L::uuid', coalesce(filters ->> 'conversation_id', claims ->> 'conversation_id'));
        if claims ->> 'role' = 'contact' and filters ? 'conversation_id' then
            whose := whose || format(' and s.conversation_id = %L::uuid', claims ->> 'conversation_id');
        end if;
    elsif (filters ->> 'mine')::boolean then
        whose := mine;
    else
        select jsonb_object_agg(m.workspace_id, m.role) into roles
          from public.workspace_members m
         where m.user_id = me;
        if workspace is null and (select count(*) from jsonb_object_keys(roles)) > 1 then
            raise sqlstate 'PT422' using message = 'workspace_required', detail = 'several_workspaces';
        end if;
        workspace := coalesce(workspace, (select k::uuid from jsonb_object_keys(roles) k));
        role := roles ->> workspace::text;
        whose := case when role in ('owner', 'admin') then 'true'
                      when role = 'agent' then mine
                      else format('s.user_id = %L::uuid and s.contact_id is not null', me) end;
    end if;
    if workspace is not null then
        whose := format('s.workspace_id = %L::uuid and ', workspace) || whose;
    end if;

    if filters ? 'text' then
        if role in ('owner', 'admin') then
            found_in := private.sessions_saying(workspace, filters ->> 'text');
        end if;
        whose := whose || case
            when found_in is not null then format(' and s.id = any (%L::uuid[])', found_in)
            -- Few sessions, or words so common that the newest sessions soon have them. A scalar, which is asked session by
            -- session in the list's order and never turned into one pass over all messages.
            else format($q$ and (
                select true from public.messages m
                 where m.session_id = s.id
                   and to_tsvector('simple'::regconfig, left(m.text, 50000))
                       @@ websearch_to_tsquery('simple'::regconfig, %L)
                 limit 1)$q$, filters ->> 'text') end;
    end if;
    if filters ?| '{space_id,channel}' then
        whose := whose || ' and exists (select from public.conversations c where c.id = s.conversation_id'
            || case when filters ? 'space_id' then format(' and c.space_id = %L::uuid', filters ->> 'space_id') else '' end
            || case when filters ? 'channel' then format(' and c.channel = %L', filters ->> 'channel') else '' end
            || ')';
    end if;
    if filters ? 'contact_id' then
        -- Whoever names a contact that was merged means the one that stands for it; and in its own conversation a contact
        -- is whoever stands for it, though it may not know of that.
        filters := case when claims ->> 'role' = 'contact' and filters -> 'contact_id' = claims -> 'contact_id' then filters - 'contact_id'
                        else filters || jsonb_build_object(
                                            'contact_id', private.merge_target((filters ->> 'contact_id')::uuid)) end;
    end if;
    return private.sessions_for(claims) || ' where ' || whose || private.sessions_by_work(filters, claims, workspace, role)
        || coalesce((select string_agg(format(' and %s %L::%s', f.condition, filters ->> f.name, f.kind), '')
                       from (values ('persona_id', 's.persona_id =', 'uuid'), ('contact_id', 's.contact_id =', 'uuid'),
                                    ('user_id', 's.user_id =', 'uuid'),
                                    ('workflow', 's.workflow =', 'text'), ('step', 's.workflow_step =', 'text'),
                                    ('request_id', 's.request_id =', 'uuid'),
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
comment on function private.session_query is 'The query for the sessions that the filters name and the claims'' holder works on or holds; every value is quoted. It runs under the caller''s policies.';

create function public.list_sessions(
    filters           jsonb       default '{}',
    page_size         integer     default 50,
    before_created_at timestamptz default null,
    before_id         uuid        default null,
    skip              integer     default 0
)
    returns jsonb language plpgsql stable set search_path = ''
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
        raise sqlstate 'PT404' using message = 'conversation_not_found';
    end if;
    one := private.session_query(filters, private.claims())
        || case when before_created_at is not null and before_id is not null
                then format(' and (s.created_at, s.id) < (%L::timestamptz, %L::uuid)', before_created_at, before_id)
                else '' end;
    -- One ordered read for each status, of no more rows than are shown.
    select string_agg(format('(%s%s order by s.created_at desc, s.id desc limit %s)',
                                                   one, ' and s.status = ' || quote_literal(asked.status), over + size + 1),
                                 ' union all ')
      into query
      from (select distinct status::public.session_status from jsonb_array_elements_text(filters -> 'status') status) asked;
    query := coalesce(query, format('%s order by s.created_at desc, s.id desc limit %s', one, over + size + 1));
    items := private.describe_sessions(format(
        'select s.* from (%s) s order by s.created_at desc, s.id desc offset %s limit %s', query, over, size + 1));
    if jsonb_array_length(items) > size then
        last := items -> (size - 1);
        return jsonb_build_object(
            'items', items - size, 'last', jsonb_build_object('created_at', last -> 'created_at', 'id', last -> 'id'));
    end if;
    return jsonb_build_object('items', items, 'last', null);
end;
$$;
comment on function public.list_sessions is 'A page of sessions, newest first: {items, last}; last is where the next page goes on, null at the end. A member''s are a workspace''s, everybody else''s their own.';

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
comment on function private.session_changes is 'What the audit says of a session that the caller may read.';

create function public.read_session(session_id uuid, before uuid default null, message_limit integer default 200)
    returns jsonb language plpgsql stable set search_path = ''
as $$
declare
    most     constant integer := least(greatest(message_limit, 1), 200);
    session  constant jsonb := private.describe_sessions(
        private.sessions_for(private.claims()) || format(' where s.id = %L::uuid', session_id)) -> 0;
    work     jsonb := jsonb_build_object();
    since    timestamptz;
    turns    jsonb;
    messages jsonb;
begin
    if session is null then
        raise sqlstate 'PT404' using message = 'session_not_found';
    end if;
    if before is not null then
        select m.created_at into since from public.messages m where m.id = before and m.session_id = read_session.session_id;
        if not found then
            raise sqlstate 'PT404' using message = 'message_not_found';
        end if;
    end if;
    if private.claims() ->> 'role' <> 'contact' then
        work := private.session_work(session_id);
    end if;

    select coalesce(jsonb_agg(jsonb_build_object(
               'id', t.id, 'status', t.status, 'error_code', t.error_code, 'first_token_ms', t.first_token_ms, 'usage', t.usage,
               'client_message_id', t.client_message_id, 'created_at', t.created_at, 'finished_at', t.finished_at)
               order by t.created_at, t.id), '[]')
      into turns
      from (select t.* from public.turns t where t.session_id = read_session.session_id order by t.created_at desc, t.id desc limit 200) t;
    select coalesce(jsonb_agg(jsonb_build_object(
               'id', m.id, 'turn_id', m.turn_id, 'role', m.role, 'text', m.text, 'partial', m.partial, 'created_at', m.created_at)
               order by m.created_at, m.id), '[]')
      into messages
      from (select m.id, m.turn_id, m.role, m.text, m.partial, m.created_at
              from public.messages m
             where m.session_id = read_session.session_id
               and (before is null or (m.created_at, m.id) < (since, before))
             order by m.created_at desc, m.id desc
             limit most + 1) m;
    return session || (work - '{steps,changes}'::text[]) || jsonb_build_object(
        'turns', turns,
        'messages', case when jsonb_array_length(messages) > most then messages - 0 else messages end,
        'messages_before', case when jsonb_array_length(messages) > most then messages -> 1 -> 'id' end,
        'timeline', (select jsonb_agg(jsonb_build_object(
                                'at', e.at, 'event', e.event, 'turn_id', e.turn_id, 'actor_id', e.actor_id, 'code', e.code,
                                'step', e.step, 'object_id', e.object_id)
                                order by e.at, e.place, e.object_id)
                       from (select (session ->> 'created_at')::timestamptz as at, 'session.created' as event, null::uuid as turn_id, null::uuid as actor_id,
                                    null::text as code, null::text as step, null::uuid as object_id, 0 as place
                              union all
                             select c.at, c.verb, null, c.actor_id, c.code, null, null, 1 from private.session_changes(read_session.session_id) c
                              union all
                             select w.at, w.event, null, w.actor_id, w.code, w.step, w.object_id, 2
                               from jsonb_to_recordset(coalesce((work -> 'steps') || (work -> 'changes'), '[]'))
                                 as w (at timestamptz, event text, actor_id uuid, code text, step text, object_id uuid)
                              union all
                             select t.created_at, 'turn.started', t.id, null, null, null, null, 3
                               from jsonb_to_recordset(turns) as t (id uuid, created_at timestamptz)
                              union all
                             select t.finished_at, 'turn.' || t.status, t.id, null, t.error_code, null, null, 4
                               from jsonb_to_recordset(turns) as t (id uuid, status text, error_code text, finished_at timestamptz)
                              where t.finished_at is not null) e));
end;
$$;
comment on function public.read_session is 'A session with its last 200 turns, its last messages (before one of them, to page back; messages_before says where to go on) and what happened when.';

grant execute on function
    private.sessions_saying
    to authenticated;

grant execute on function
    private.describe_sessions, private.session_query, public.list_sessions, private.session_changes,
    public.read_session
    to authenticated, contact;
