-- Reading one session with its work, as lists show it; and finding sessions by a request, a trip or a conversation.

set lock_timeout = '5s';
set statement_timeout = '60s';

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
