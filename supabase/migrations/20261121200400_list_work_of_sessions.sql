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
