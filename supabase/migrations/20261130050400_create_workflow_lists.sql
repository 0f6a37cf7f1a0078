-- Generated from supabase/schemas/54_workflow_lists.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- The workflow of sessions as members read it.

create function private.describe_work(session public.sessions)
    returns jsonb language plpgsql stable set search_path = ''
as $$
begin
    return jsonb_build_object(
        'session_id', session.id, 'conversation_id', session.conversation_id, 'contact_id', session.contact_id,
        'status', session.status, 'last_activity_at', session.last_activity_at,
        'workflow', session.workflow, 'workflow_step', session.workflow_step, 'workflow_state', session.workflow_state,
        'request', (select jsonb_build_object(
                               'id', r.id, 'origin', r.origin, 'destination', r.destination, 'departs_at', r.departs_at,
                               'passengers', r.passengers, 'details', r.details)
                      from public.requests r
                     where r.id = session.request_id),
        'primary_quote', (select jsonb_build_object(
                                     'id', q.id, 'operator', q.operator, 'amount', q.amount, 'currency', q.currency)
                            from public.quotes q
                           where q.id = session.primary_quote_id),
        'quote_counts', private.count_quotes(session.request_id),
        'proposal', (select jsonb_build_object('id', p.id, 'status', p.status, 'title', p.title, 'quote_id', p.quote_id)
                       from public.proposals p
                      where p.id = session.proposal_id),
        'refs', (select coalesce(jsonb_agg(jsonb_build_object(
                                     'id', r.id, 'system', r.system, 'kind', r.kind, 'external_id', r.external_id)
                                     order by r.created_at, r.id), '[]')
                   from public.session_refs r
                  where r.session_id = session.id));
end;
$$;
comment on function private.describe_work is 'What a session works towards and how far it came, for those who work on it.';

create function private.sessions_for(claims jsonb)
    returns text language sql immutable set search_path = ''
as $$
    select 'select ' || case when claims ->> 'role' = 'contact'
                             then 's.id, s.workspace_id, s.conversation_id, s.contact_id, s.user_id, s.persona_id, s.status, '
                               || 's.turn_count, s.message_count, s.created_at, s.last_activity_at, s.ended_at, s.archived_at, s.error_message, '
                               || 's.workflow, s.workflow_step, s.request_id, s.taken_over_at'
                             else 's.*' end
        || ' from public.sessions s';
$$;
comment on function private.sessions_for is 'The beginning of a query for sessions, with the columns that the claims'' holder may read.';

create function private.sessions_by_work(filters jsonb, claims jsonb, workspace_id uuid, role text)
    returns text language plpgsql stable set search_path = ''
as $$
declare
    condition text := '';
    few       constant integer := 1000;
    known_by  constant text[]  := array(select e from jsonb_array_elements_text(filters -> 'external_ids') e);
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
            select array_agg(t.session_id) into found_in
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
            when cardinality(found_in) <= few then format(' and s.id = any (%L::uuid[])', found_in)
            else format(' and (select true from public.tags t where t.session_id = s.id and t.name = %L limit 1)',
                                   filters ->> 'tag') end;
    end if;
    if filters ? 'external_ids' then
        found_in := null;
        if workspace_id is not null then
            select array_agg(distinct r.session_id) into found_in
              from (select r.session_id
                      from public.session_refs r
                     where r.workspace_id = sessions_by_work.workspace_id
                       and r.external_id = any (known_by)
                       and (not filters ? 'ref_kind' or r.kind = filters ->> 'ref_kind')
                     limit few + 1) r;
            found_in := coalesce(found_in, '{}');
        end if;
        condition := condition || case
            when cardinality(found_in) <= few then format(' and s.id = any (%L::uuid[])', found_in)
            else format($q$ and (
                select true from public.session_refs r
                 where r.session_id = s.id
                   and r.external_id = any (%L::text[])
                   and (%L is null or r.kind = %L)
                 limit 1)$q$, known_by, filters ->> 'ref_kind', filters ->> 'ref_kind') end;
    end if;
    return condition;
end;
$$;
comment on function private.sessions_by_work is 'The conditions for sessions with a quote, taken over, with a tag, or known by one of some external ids: as far as the claims'' holder sees these.';

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
comment on function private.session_work_changes is 'What the audit says of the quotes and proposals of a session, to the members who may read it.';

create function private.session_work(session_id uuid)
    returns jsonb language plpgsql stable set search_path = ''
as $$
declare
    session public.sessions;
begin
    select s.* into session
      from public.sessions s
     where s.id = session_work.session_id
       and s.workspace_id in (select private.member_workspaces());
    if not found then
        return jsonb_build_object();
    end if;
    return jsonb_build_object(
        'workflow_state', session.workflow_state,
        'quotes', (select coalesce(jsonb_agg(private.describe_quote(q) order by q.created_at, q.id), '[]')
                     from (select q.*
                             from public.quotes q
                            where q.request_id = session.request_id
                            order by q.created_at, q.id
                            limit 200) q),
        'refs', (select coalesce(jsonb_agg(jsonb_build_object(
                                     'id', r.id, 'system', r.system, 'kind', r.kind, 'external_id', r.external_id)
                                     order by r.created_at, r.id), '[]')
                   from public.session_refs r
                  where r.session_id = session.id),
        'steps', (select coalesce(jsonb_agg(jsonb_build_object(
                                      'at', w.created_at, 'event', 'workflow.step', 'actor_id', w.actor_id, 'step', w.to_step,
                                      'object_id', null, 'code', null)), '[]')
                    from (select w.*
                            from public.workflow_steps w
                           where w.session_id = session.id
                           order by w.created_at desc, w.id desc
                           limit 200) w),
        'changes', (select coalesce(jsonb_agg(jsonb_build_object(
                                        'at', c.at, 'event', c.verb, 'actor_id', c.actor_id, 'step', null,
                                        'object_id', c.object_id, 'code', c.code)), '[]')
                      from (select c.*
                              from private.session_work_changes(session.id) c
                             order by c.at desc
                             limit 400) c));
end;
$$;
comment on function private.session_work is 'What members see of a session beside the conversation: {workflow_state, quotes, refs, steps, changes}; {} for everybody else.';

create function public.get_active_chat_session(conversation_id uuid)
    returns jsonb language plpgsql stable set search_path = ''
as $$
declare
    session jsonb;
begin
    if not exists (select from public.conversations c where c.id = get_active_chat_session.conversation_id) then
        raise sqlstate 'PT404' using message = 'conversation_not_found';
    end if;
    session := private.describe_sessions(private.sessions_for(private.claims()) || format(
        ' where s.conversation_id = %L::uuid and s.status in (''active'', ''paused'')', conversation_id)) -> 0;
    if session is null then
        raise sqlstate 'PT404' using message = 'session_not_found', detail = 'no_live_session';
    end if;
    return session;
end;
$$;
comment on function public.get_active_chat_session is 'The live session of a conversation, for whoever may see it.';

create function public.get_chat_session_by_request(request_id uuid)
    returns jsonb language plpgsql stable set search_path = ''
as $$
declare
    session jsonb;
begin
    if not exists (select from public.requests r where r.id = get_chat_session_by_request.request_id) then
        raise sqlstate 'PT404' using message = 'request_not_found';
    end if;
    session := private.describe_sessions(private.sessions_for(private.claims()) || format($q$
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
        raise sqlstate 'PT404' using message = 'session_not_found';
    end if;
    return session;
end;
$$;
comment on function public.get_chat_session_by_request is 'The session that works on a request: of several the live one, else the newest; where none does any more, the one it was first understood in.';

create function public.get_chat_sessions_by_trip_id(
    trip_ids          text[],
    workspace_id      uuid        default null,
    page_size         integer     default 50,
    before_created_at timestamptz default null,
    before_id         uuid        default null,
    skip              integer     default 0
)
    returns jsonb language plpgsql stable set search_path = ''
as $$
begin
    return public.list_sessions(
        jsonb_strip_nulls(jsonb_build_object(
            'external_ids', trip_ids, 'ref_kind', 'trip', 'workspace_id', workspace_id)),
        page_size, before_created_at, before_id, skip);
end;
$$;
comment on function public.get_chat_sessions_by_trip_id is 'The sessions about a trip, by any of its ids, as list_sessions.';

create function public.get_user_active_chat_sessions(
    page_size         integer     default 50,
    before_created_at timestamptz default null,
    before_id         uuid        default null,
    skip              integer     default 0
)
    returns jsonb language plpgsql stable set search_path = ''
as $$
begin
    return public.list_sessions('{"mine": true, "status": ["active", "paused"]}', page_size, before_created_at, before_id, skip);
end;
$$;
comment on function public.get_user_active_chat_sessions is 'The live sessions that the caller holds or that are assigned to them, in all workspaces; of a contact, its conversation''s; as list_sessions.';

grant execute on function
    private.describe_work
    to switchboard;

grant execute on function
    private.sessions_for, private.sessions_by_work, public.get_active_chat_session,
    public.get_chat_session_by_request, public.get_chat_sessions_by_trip_id, public.get_user_active_chat_sessions
    to authenticated, contact;

grant execute on function
    private.session_work_changes, private.session_work
    to authenticated;
