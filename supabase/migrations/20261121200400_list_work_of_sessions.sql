-- Lists and reading show what a session works towards, and sessions are found by it. Members see all of it; whose session it
-- is sees the workflow, the request, what was proposed, and that somebody took over. A filter finds by what its caller sees
-- and by nothing else: for whoever sees no quotes there is none.

set lock_timeout = '5s';
set statement_timeout = '60s';

-- A contact is told nothing of who takes or took over, nor of quotes and drafts: not by an id either.
revoke select on public.sessions from contact;
grant select (id, workspace_id, conversation_id, contact_id, user_id, persona_id, status, turn_count, message_count,
              metadata, error_message, created_at, last_activity_at, ended_at, archived_at, status_before_archive,
              workflow, workflow_step, request_id, taken_over_at)
    on public.sessions to contact;

create function private.sessions_for(claims jsonb)
    returns text
    language sql
    immutable
    set search_path = ''
as $$
    select 'select ' || case when claims ->> 'role' = 'contact'
                             then 's.id, s.workspace_id, s.conversation_id, s.contact_id, s.user_id, s.persona_id, s.status, '
                               || 's.turn_count, s.message_count, s.created_at, s.last_activity_at, s.ended_at, s.archived_at, s.error_message, '
                               || 's.workflow, s.workflow_step, s.request_id, s.taken_over_at'
                             else 's.*' end
        || ' from public.sessions s';
$$;
comment on function private.sessions_for(jsonb) is 'The beginning of a query for sessions, with the columns that the claims'' holder may read.';

create or replace function private.describe_sessions(query text)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    ids       uuid[];
    described jsonb;
begin
    -- First which they are, planned for what is asked; then what is shown of these few, by plans that are kept. What more there is
    -- of a row is looked up row by row, so that it costs the same however much there is of others.
    execute pg_catalog.format('select pg_catalog.array_agg(s.id) from (%s) s', query) into ids;
    if ids is null then
        return pg_catalog.jsonb_build_array();
    end if;
    select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
               'id', s.id, 'workspace_id', s.workspace_id, 'conversation_id', s.conversation_id, 'status', s.status,
               'persona', pg_catalog.jsonb_build_object('id', s.persona_id, 'name', null),
               'contact', case when s.contact_id is not null then pg_catalog.jsonb_build_object(
                   'id', s.contact_id, 'name', nullif(pg_catalog.concat_ws(' ', k.first_name, k.last_name), '')) end,
               'user_id', s.user_id, 'assigned_user_id', null,
               'channel', c.channel, 'space_id', c.space_id, 'thread_key', c.thread_key,
               'turn_count', s.turn_count, 'message_count', s.message_count, 'created_at', s.created_at,
               'last_activity_at', s.last_activity_at, 'ended_at', s.ended_at, 'archived_at', s.archived_at,
               'error_message', s.error_message,
               'workflow', s.workflow, 'workflow_step', s.workflow_step,
               'request', case when s.request_id is not null then (
                   select pg_catalog.jsonb_build_object(
                              'id', r.id, 'origin', r.origin, 'destination', r.destination,
                              'departs_at', r.departs_at, 'passengers', r.passengers)
                     from public.requests r
                    where r.id = s.request_id) end,
               'proposal', (select pg_catalog.jsonb_build_object('id', o.id, 'status', o.status)
                              from public.proposals o
                             where o.session_id = s.id
                             order by o.created_at desc, o.id desc
                             limit 1),
               'taken_over', s.taken_over_at is not null)
               order by s.created_at desc, s.id desc), '[]')
      into described
      from public.sessions s
      left join lateral (
          select c.channel, c.space_id, c.thread_key from public.conversations c where c.id = s.conversation_id offset 0) c on true
      left join lateral (
          select k.first_name, k.last_name from public.contacts k where k.id = s.contact_id offset 0) k on true
     where s.id = any (ids);
    if private.claims() ->> 'role' = 'contact' then
        return described;
    end if;

    -- What contacts are not granted: names of personas, which come along where the reader may see them, and what is for members.
    return (
        select coalesce(pg_catalog.jsonb_agg(d.item || pg_catalog.jsonb_build_object(
                            'persona', pg_catalog.jsonb_build_object(
                                'id', s.persona_id, 'name', (select p.name from public.personas p where p.id = s.persona_id)))
                        || case when s.workspace_id in (select private.member_workspaces()) then pg_catalog.jsonb_build_object(
                               'primary_quote', case when s.primary_quote_id is not null then (
                                   select pg_catalog.jsonb_build_object(
                                              'id', q.id, 'operator', q.operator, 'amount', q.amount, 'currency', q.currency)
                                     from public.quotes q
                                    where q.id = s.primary_quote_id) end,
                               'quote_counts', case when s.request_id is null then pg_catalog.jsonb_build_object(
                                       'expected', 0, 'received', 0, 'declined', 0, 'expired', 0, 'withdrawn', 0, 'late', 0)
                                   else (
                                       select pg_catalog.jsonb_build_object(
                                                  'expected',  pg_catalog.count(*),
                                                  'received',  pg_catalog.count(*) filter (where q.status = 'received'),
                                                  'declined',  pg_catalog.count(*) filter (where q.status = 'declined'),
                                                  'expired',   pg_catalog.count(*) filter (where q.status = 'expired'),
                                                  'withdrawn', pg_catalog.count(*) filter (where q.status = 'withdrawn'),
                                                  'late',      pg_catalog.count(*) filter (where q.late))
                                         from public.quotes q
                                        where q.request_id = s.request_id) end,
                               'tags', (select coalesce(pg_catalog.jsonb_agg(t.name order by t.name), '[]')
                                          from public.tags t
                                         where t.session_id = s.id),
                               'assigned_user_id', s.assigned_user_id,
                               'taken_over_by', s.taken_over_by, 'taken_over_at', s.taken_over_at) else '{}' end
                        order by d.place), '[]')
          from pg_catalog.jsonb_array_elements(described) with ordinality d (item, place)
          join (select s.id, s.workspace_id, s.persona_id, s.request_id, s.primary_quote_id, s.assigned_user_id,
                         s.taken_over_by, s.taken_over_at
                  from public.sessions s
                 where s.id = any (ids)
                offset 0) s on s.id = (d.item ->> 'id')::uuid);
end;
$$;

create function private.sessions_by_work(filters jsonb, claims jsonb, workspace_id uuid, role text)
    returns text
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    condition text := '';
    few       constant integer := 1000;
    known_by  constant text[]  := array(select e from pg_catalog.jsonb_array_elements_text(filters -> 'external_ids') e);
    found_in  uuid[];
begin
    if filters ? 'has_quote' then
        condition := condition || ' and ' || case
            when claims ->> 'role' = 'contact' then (not (filters ->> 'has_quote')::boolean)::text
            when role is not null then 's.primary_quote_id is ' || case when (filters ->> 'has_quote')::boolean then 'not null' else 'null' end
            else case when (filters ->> 'has_quote')::boolean then '' else 'not ' end
                 || '(s.primary_quote_id is not null and s.workspace_id in (select private.member_workspaces()))' end;
    end if;
    if filters ? 'taken_over' then
        condition := condition || ' and s.taken_over_at is ' || case when (filters ->> 'taken_over')::boolean then 'not null' else 'null' end;
    end if;
    if not filters ?| '{tag,external_ids}' then
        return condition;
    elsif claims ->> 'role' = 'contact' then
        return condition || ' and false';
    end if;

    -- Few sessions are looked up first. Where many have the tag, the newest sessions soon have it, and where the caller sees
    -- few, these are asked one by one: a scalar, which is never turned into one pass over all tags.
    if filters ? 'tag' then
        if role in ('owner', 'admin') then
            select pg_catalog.array_agg(t.session_id) into found_in
              from (select t.session_id
                      from public.tags t
                     where t.workspace_id = sessions_by_work.workspace_id
                       and t.name = filters ->> 'tag'
                       and t.contact_id is null
                     order by t.session_id
                     limit few + 1) t;
            found_in := coalesce(found_in, '{}');
        end if;
        condition := condition || case
            when pg_catalog.cardinality(found_in) <= few then pg_catalog.format(' and s.id = any (%L::uuid[])', found_in)
            else pg_catalog.format(' and (select true from public.tags t where t.session_id = s.id and t.name = %L limit 1)',
                                   filters ->> 'tag') end;
    end if;
    if filters ? 'external_ids' then
        found_in := null;
        if workspace_id is not null then
            select pg_catalog.array_agg(distinct r.session_id) into found_in
              from (select r.session_id
                      from public.session_refs r
                     where r.workspace_id = sessions_by_work.workspace_id
                       and r.external_id = any (known_by)
                       and (not filters ? 'ref_kind' or r.kind = filters ->> 'ref_kind')
                     limit few + 1) r;
            found_in := coalesce(found_in, '{}');
        end if;
        condition := condition || case
            when pg_catalog.cardinality(found_in) <= few then pg_catalog.format(' and s.id = any (%L::uuid[])', found_in)
            else pg_catalog.format($q$ and (
                select true from public.session_refs r
                 where r.session_id = s.id
                   and r.external_id = any (%L::text[])
                   and (%L is null or r.kind = %L)
                 limit 1)$q$, known_by, filters ->> 'ref_kind', filters ->> 'ref_kind') end;
    end if;
    return condition;
end;
$$;
comment on function private.sessions_by_work(jsonb, jsonb, uuid, text) is
    'The conditions for sessions with a quote, taken over, with a tag, or known by one of some external ids: as far as the claims'' holder sees these.';

create or replace function private.session_query(filters jsonb, claims jsonb)
    returns text
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    me        constant uuid := (claims ->> 'sub')::uuid;
    mine      constant text := pg_catalog.format('(s.user_id = %1$L::uuid or s.assigned_user_id = %1$L::uuid)', me);
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
    elsif (filters ->> 'mine')::boolean then
        whose := mine;
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
                      when role = 'agent' then mine
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
    if filters ? 'contact_id' then
        -- Whoever names a contact that was merged means the one that stands for it; and in its own conversation a contact
        -- is whoever stands for it, though it may not know of that.
        filters := case when claims ->> 'role' = 'contact' and filters -> 'contact_id' = claims -> 'contact_id' then filters - 'contact_id'
                        else filters || pg_catalog.jsonb_build_object(
                                            'contact_id', private.standing_contact((filters ->> 'contact_id')::uuid)) end;
    end if;
    return private.sessions_for(claims) || ' where ' || whose || private.sessions_by_work(filters, claims, workspace, role)
        || coalesce((select pg_catalog.string_agg(pg_catalog.format(' and %s %L::%s', f.condition, filters ->> f.name, f.kind), '')
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

-- One session ---------------------------------------------------------------------------------------------------------

create function private.session_work_changes(session_id uuid)
    returns table (at timestamptz, verb text, object_id uuid, actor_id uuid, code text)
    language sql
    stable
    security definer
    set search_path = ''
as $$
    select a.created_at, a.verb, a.object_id, a.actor_id, a.code
      from public.sessions s
     cross join lateral (select q.id from public.quotes q where q.session_id = s.id
                          union all
                         select o.id from public.proposals o where o.session_id = s.id) w
      join public.audit_events a on a.object_id = w.id and a.workspace_id = s.workspace_id
                                and (a.verb like 'quote.%' or a.verb like 'proposal.%')
     where s.id = session_work_changes.session_id
       and s.workspace_id in (select private.member_workspaces())
       and (s.workspace_id in (select private.admin_workspaces()) or s.id in (select private.own_sessions()));
$$;
comment on function private.session_work_changes(uuid) is
    'What the audit says of the quotes and proposals of a session, to the members who may read it.';

create function private.session_work(session_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    session public.sessions;
begin
    select s.* into session
      from public.sessions s
     where s.id = session_work.session_id
       and s.workspace_id in (select private.member_workspaces());
    if not found then
        return pg_catalog.jsonb_build_object();
    end if;
    return pg_catalog.jsonb_build_object(
        'workflow_state', session.workflow_state,
        'quotes', (select coalesce(pg_catalog.jsonb_agg(private.describe_quote(q) order by q.created_at, q.id), '[]')
                     from (select q.*
                             from public.quotes q
                            where q.request_id = session.request_id
                            order by q.created_at, q.id
                            limit 200) q),
        'refs', (select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                                     'id', r.id, 'system', r.system, 'kind', r.kind, 'external_id', r.external_id)
                                     order by r.created_at, r.id), '[]')
                   from public.session_refs r
                  where r.session_id = session.id),
        'steps', (select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                                      'at', w.created_at, 'event', 'workflow.step', 'actor_id', w.actor_id, 'step', w.to_step,
                                      'object_id', null, 'code', null)), '[]')
                    from (select w.*
                            from public.workflow_steps w
                           where w.session_id = session.id
                           order by w.created_at desc, w.id desc
                           limit 200) w),
        'changes', (select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                                        'at', c.at, 'event', c.verb, 'actor_id', c.actor_id, 'step', null,
                                        'object_id', c.object_id, 'code', c.code)), '[]')
                      from (select c.*
                              from private.session_work_changes(session.id) c
                             order by c.at desc
                             limit 400) c));
end;
$$;
comment on function private.session_work(uuid) is
    'What members see of a session beside the conversation: {workflow_state, quotes, refs, steps, changes}; {} for everybody else.';

create or replace function public.read_session(session_id uuid, before uuid default null, message_limit integer default 200)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    most     constant integer := least(greatest(message_limit, 1), 200);
    session  constant jsonb := private.describe_sessions(
        private.sessions_for(private.claims()) || pg_catalog.format(' where s.id = %L::uuid', session_id)) -> 0;
    work     jsonb := pg_catalog.jsonb_build_object();
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
    if private.claims() ->> 'role' <> 'contact' then
        work := private.session_work(session_id);
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
      from (select m.id, m.turn_id, m.role, m.text, m.partial, m.created_at
              from public.messages m
             where m.session_id = read_session.session_id
               and (before is null or (m.created_at, m.id) < (since, before))
             order by m.created_at desc, m.id desc
             limit most + 1) m;
    return session || (work - '{steps,changes}'::text[]) || pg_catalog.jsonb_build_object(
        'turns', turns,
        'messages', case when pg_catalog.jsonb_array_length(messages) > most then messages - 0 else messages end,
        'messages_before', case when pg_catalog.jsonb_array_length(messages) > most then messages -> 1 -> 'id' end,
        'timeline', (select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                                'at', e.at, 'event', e.event, 'turn_id', e.turn_id, 'actor_id', e.actor_id, 'code', e.code,
                                'step', e.step, 'object_id', e.object_id)
                                order by e.at, e.place, e.object_id)
                       from (select (session ->> 'created_at')::timestamptz as at, 'session.created' as event, null::uuid as turn_id, null::uuid as actor_id,
                                    null::text as code, null::text as step, null::uuid as object_id, 0 as place
                              union all
                             select c.at, c.verb, null, c.actor_id, c.code, null, null, 1 from private.session_changes(read_session.session_id) c
                              union all
                             select w.at, w.event, null, w.actor_id, w.code, w.step, w.object_id, 2
                               from pg_catalog.jsonb_to_recordset(coalesce((work -> 'steps') || (work -> 'changes'), '[]'))
                                 as w (at timestamptz, event text, actor_id uuid, code text, step text, object_id uuid)
                              union all
                             select t.created_at, 'turn.started', t.id, null, null, null, null, 3
                               from pg_catalog.jsonb_to_recordset(turns) as t (id uuid, created_at timestamptz)
                              union all
                             select t.finished_at, 'turn.' || t.status, t.id, null, t.error_code, null, null, 4
                               from pg_catalog.jsonb_to_recordset(turns) as t (id uuid, status text, error_code text, finished_at timestamptz)
                              where t.finished_at is not null) e));
end;
$$;

-- Domain look-ups -----------------------------------------------------------------------------------------------------

create function public.get_active_chat_session(conversation_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    session jsonb;
begin
    if not exists (select from public.conversations c where c.id = get_active_chat_session.conversation_id) then
        raise sqlstate 'PT404' using message = 'conversation_not_found', detail = 'There is no such conversation.';
    end if;
    session := private.describe_sessions(private.sessions_for(private.claims()) || pg_catalog.format(
        ' where s.conversation_id = %L::uuid and s.status in (''active'', ''paused'')', conversation_id)) -> 0;
    if session is null then
        raise sqlstate 'PT404' using message = 'session_not_found', detail = 'No session of the conversation is active or paused.';
    end if;
    return session;
end;
$$;
comment on function public.get_active_chat_session(uuid) is 'The live session of a conversation, for whoever may see it.';

create function public.get_chat_session_by_request(request_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    session jsonb;
begin
    if not exists (select from public.requests r where r.id = get_chat_session_by_request.request_id) then
        raise sqlstate 'PT404' using message = 'request_not_found', detail = 'There is no such request.';
    end if;
    session := private.describe_sessions(private.sessions_for(private.claims()) || pg_catalog.format($q$
        where s.id = (select f.id
                        from (select w.id, w.status, w.created_at, w.request_id from public.sessions w where w.request_id = %1$L::uuid
                               union
                              select w.id, w.status, w.created_at, w.request_id
                                from public.requests r
                                join public.sessions w on w.id = r.session_id
                               where r.id = %1$L::uuid) f
                       order by f.request_id is not distinct from %1$L::uuid desc, f.status in ('active', 'paused') desc,
                                f.created_at desc, f.id desc
                       limit 1)$q$, request_id)) -> 0;
    if session is null then
        raise sqlstate 'PT404' using message = 'session_not_found', detail = 'There is no such session.';
    end if;
    return session;
end;
$$;
comment on function public.get_chat_session_by_request(uuid) is
    'The session that works on a request: of several the live one, else the newest; where none does any more, the one it was first understood in.';

create function public.get_chat_sessions_by_trip_id(
    trip_ids          text[],
    workspace_id      uuid        default null,
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
begin
    return public.list_sessions(
        pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
            'external_ids', trip_ids, 'ref_kind', 'trip', 'workspace_id', workspace_id)),
        page_size, before_created_at, before_id, skip);
end;
$$;
comment on function public.get_chat_sessions_by_trip_id(text[], uuid, integer, timestamptz, uuid, integer) is
    'The sessions about a trip, by any of its ids, as list_sessions.';

create function public.get_user_active_chat_sessions(
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
begin
    return public.list_sessions('{"mine": true, "status": ["active", "paused"]}', page_size, before_created_at, before_id, skip);
end;
$$;
comment on function public.get_user_active_chat_sessions(integer, timestamptz, uuid, integer) is
    'The live sessions that the caller holds or that are assigned to them, in all workspaces; of a contact, its conversation''s; as list_sessions.';

grant execute on function
    private.sessions_for(jsonb), private.sessions_by_work(jsonb, jsonb, uuid, text),
    public.get_active_chat_session(uuid), public.get_chat_session_by_request(uuid),
    public.get_chat_sessions_by_trip_id(text[], uuid, integer, timestamptz, uuid, integer),
    public.get_user_active_chat_sessions(integer, timestamptz, uuid, integer)
    to contact, authenticated;
grant execute on function private.session_work_changes(uuid), private.session_work(uuid) to authenticated;
