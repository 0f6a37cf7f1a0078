-- Generated from supabase/schemas/50_workflow.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- The workflow of a session: requests, references to other systems, steps and transitions.

create table public.requests (
    id           uuid        not null default private.uuid7(),
    workspace_id uuid        not null,
    session_id   uuid        not null,
    origin       text,
    destination  text,
    departs_at   timestamptz,
    passengers   integer,
    details      jsonb       not null default '{}',
    created_at   timestamptz not null default clock_timestamp(),
    updated_at   timestamptz not null default clock_timestamp(),
    constraint requests_pkey            primary key (id),
    constraint requests_workspace_key   unique (workspace_id, id),
    constraint requests_session_id_fkey foreign key (workspace_id, session_id) references public.sessions (workspace_id, id) on delete cascade,
    constraint requests_lengths         check (length(origin) between 1 and 200 and length(destination) between 1 and 200),
    constraint requests_passengers      check (passengers between 1 and 1000),
    -- A year without four digits cannot be represented in RFC 3339.
    constraint requests_departs_at      check (departs_at >= '0001-01-01T00:00:00Z' and departs_at < '10000-01-01T00:00:00Z'),
    constraint requests_details_object  check (jsonb_typeof(details) = 'object')
);
comment on table public.requests is 'A request of a contact: a trip with its route and date.';
comment on column public.requests.session_id is 'The session in which it was created; other sessions may work on it too.';
comment on column public.requests.origin is 'The place of departure, as the source names it: an airport code or a place.';
comment on column public.requests.destination is 'The place of arrival, as the source names it.';
alter table public.requests enable row level security;
create index requests_session_id_idx on public.requests (session_id);

-- squawk-ignore adding-foreign-key-constraint, constraint-missing-not-valid
alter table public.sessions add constraint sessions_request_id_fkey foreign key (workspace_id, request_id)
        references public.requests (workspace_id, id) on delete set null (request_id);

create table public.session_refs (
    id           uuid        not null default private.uuid7(),
    workspace_id uuid        not null,
    session_id   uuid        not null,
    system       text        not null,
    kind         text        not null,
    external_id  text        not null,
    created_at   timestamptz not null default clock_timestamp(),
    constraint session_refs_pkey            primary key (id),
    constraint session_refs_key             unique (workspace_id, external_id, system, kind, session_id),
    constraint session_refs_session_id_fkey foreign key (workspace_id, session_id) references public.sessions (workspace_id, id) on delete cascade,
    constraint session_refs_names           check (system ~ '^[a-z][a-z0-9_]{0,62}$' and kind ~ '^[a-z][a-z0-9_]{0,62}$'),
    constraint session_refs_external_id     check (length(external_id) between 1 and 200)
);
comment on table public.session_refs is 'An external id of what a session works on: a trip, an RFP, an RFQ.';
alter table public.session_refs enable row level security;
create index session_refs_session_id_idx on public.session_refs (session_id);

create table public.workflow_steps (
    id           uuid        not null default private.uuid7(),
    workspace_id uuid        not null,
    session_id   uuid        not null,
    workflow     text        not null,
    from_step    text,
    to_step      text        not null,
    actor_id     uuid,
    created_at   timestamptz not null default clock_timestamp(),
    constraint workflow_steps_pkey            primary key (id),
    constraint workflow_steps_session_id_fkey foreign key (workspace_id, session_id) references public.sessions (workspace_id, id) on delete cascade
);
comment on table public.workflow_steps is 'The steps that a session took, in their order.';
comment on column public.workflow_steps.actor_id is 'The user who changed the step; null for the system.';
alter table public.workflow_steps enable row level security;
create index workflow_steps_session_id_idx on public.workflow_steps (session_id, created_at);

create table public.workflow_transitions (
    id           uuid        not null default private.uuid7(),
    workspace_id uuid,
    workflow     text        not null,
    from_step    text,
    to_step      text        not null,
    created_at   timestamptz not null default now(),
    built_in     boolean     not null generated always as (workspace_id is null) stored,
    constraint workflow_transitions_pkey              primary key (id),
    constraint workflow_transitions_key               unique nulls not distinct (workspace_id, workflow, from_step, to_step),
    constraint workflow_transitions_workspace_id_fkey foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint workflow_transitions_names             check (workflow ~ '^[a-z][a-z0-9_]{0,62}$' and from_step ~ '^[a-z][a-z0-9_]{0,62}$'
        and to_step ~ '^[a-z][a-z0-9_]{0,62}$'),
    constraint workflow_transitions_differ            check (from_step is distinct from to_step)
);
comment on table public.workflow_transitions is 'The steps that may follow each other in a workflow.';
comment on column public.workflow_transitions.workspace_id is 'Null: built in, for every workspace.';
comment on column public.workflow_transitions.from_step is 'Null: the workflow may begin with to_step.';
alter table public.workflow_transitions enable row level security;

-- The built-in workflow of every workspace. The ids are the same everywhere.
insert into public.workflow_transitions (id, workflow, from_step, to_step)
values ('01900000-0000-7000-8000-000000000001', 'charter', null,                    'understanding_request'),
       ('01900000-0000-7000-8000-000000000002', 'charter', 'understanding_request', 'searching_aircraft'),
       ('01900000-0000-7000-8000-000000000003', 'charter', 'searching_aircraft',    'requesting_quotes'),
       ('01900000-0000-7000-8000-000000000004', 'charter', 'requesting_quotes',     'proposal_ready'),
       -- Back: the request changed, another aircraft is wanted, more operators are asked.
       ('01900000-0000-7000-8000-000000000005', 'charter', 'searching_aircraft',    'understanding_request'),
       ('01900000-0000-7000-8000-000000000006', 'charter', 'requesting_quotes',     'understanding_request'),
       ('01900000-0000-7000-8000-000000000007', 'charter', 'requesting_quotes',     'searching_aircraft'),
       ('01900000-0000-7000-8000-000000000008', 'charter', 'proposal_ready',        'understanding_request'),
       ('01900000-0000-7000-8000-000000000009', 'charter', 'proposal_ready',        'searching_aircraft'),
       ('01900000-0000-7000-8000-00000000000a', 'charter', 'proposal_ready',        'requesting_quotes'),
       -- Operators may be asked about a trip without a search.
       ('01900000-0000-7000-8000-00000000000b', 'charter', 'understanding_request', 'requesting_quotes');

create function private.own_requests()
    returns setof uuid language sql stable security definer set search_path = ''
as $$
    with own as materialized (
        select o.id from private.own_sessions() o (id)
    )
    select s.request_id
      from own o
      join public.sessions s on s.id = o.id
     where s.request_id is not null
    union
    select r.id
      from own o
      join public.requests r on r.session_id = o.id;
$$;
comment on function private.own_requests is 'The requests of the signed-in user''s own and assigned sessions.';

create function private.token_requests()
    returns setof uuid language sql stable security definer set search_path = ''
as $$
    with own as materialized (
        select s.id, s.request_id, c.proof
          from public.conversations c
          join public.sessions s on s.conversation_id = c.id
         where c.id = private.token_conversation()
    ), worked_on (id, proof) as (
        select o.request_id, o.proof from own o where o.request_id is not null
        union
        select r.id, o.proof from own o join public.requests r on r.session_id = o.id
    )
    select w.id
      from worked_on w
     where w.proof = 'verified'
        -- A session with proof has taken the request up: it is no longer what a person without proof may read.
        or not exists (select
                         from public.sessions s
                         join public.conversations c on c.id = s.conversation_id
                        where s.request_id = w.id
                          and c.proof = 'verified');
$$;
comment on function private.token_requests is 'The requests of the sessions of the contact token''s conversation; without proof, those that no session with proof works on.';

create function private.change_step(session public.sessions, workflow text, step text)
    returns public.sessions language plpgsql set search_path = ''
as $$
declare
    -- The default is the session's workflow, then the built-in one.
    wanted  constant text := coalesce(change_step.workflow, session.workflow, 'charter');
    present constant text := case when session.workflow = wanted then session.workflow_step end;
    allowed text[];
    target  text := step;
begin
    if target is null and present is not null then
        return session;
    end if;
    if present = target then
        return session;
    end if;
    perform private.require_live(session);
    select array_agg(distinct t.to_step order by t.to_step) into allowed
      from public.workflow_transitions t
     where t.workflow = wanted
       and t.from_step is not distinct from present;
    if allowed is null and not exists (select from public.workflow_transitions t where t.workflow = wanted) then
        raise sqlstate 'PT404' using message = 'workflow_not_found';
    end if;
    if target is null and cardinality(allowed) = 1 then
        target := allowed[1];
    end if;
    if target is null or allowed is null or target <> all (allowed) then
        perform private.raise_refusal(jsonb_build_object(
            'status', 409, 'code', 'step_not_allowed',
            'session_id', session.id, 'workflow', wanted, 'workflow_step', present,
            'allowed_steps', to_jsonb(coalesce(allowed, '{}'))));
    end if;
    update public.sessions s set workflow = wanted, workflow_step = target where s.id = session.id returning * into session;
    if not found then
        raise sqlstate 'PT404' using message = 'session_not_found';
    end if;
    insert into public.workflow_steps (workspace_id, session_id, workflow, from_step, to_step, actor_id)
    values (session.workspace_id, session.id, wanted, present, target, private.calling_actor());
    return session;
end;
$$;
comment on function private.change_step is 'Moves a locked session to another step of its workflow, or begins one; the current step changes nothing. Raises SB001 if no transition leads to the step.';

create function private.merge_workflow_state(session public.sessions, changes jsonb)
    returns public.sessions language plpgsql set search_path = ''
as $$
declare
    kept constant jsonb := (session.workflow_state || changes)
                           - array(select c.key from jsonb_each(changes) c where c.value = 'null');
begin
    if length(kept::text) > 65536 then
        raise sqlstate 'PT422' using message = 'invalid_body', detail = 'workflow_state_too_large';
    end if;
    if kept <> session.workflow_state then
        update public.sessions s set workflow_state = kept where s.id = session.id returning * into session;
        if not found then
            raise sqlstate 'PT404' using message = 'session_not_found';
        end if;
    end if;
    return session;
end;
$$;
comment on function private.merge_workflow_state is 'Replaces the named members of a locked session''s workflow_state; null removes one.';

create function private.lock_request(session_id uuid)
    returns public.sessions language plpgsql set search_path = ''
as $$
declare
    session public.sessions;
    request uuid;
    locked  uuid[];
begin
    loop
        select s.request_id into request from public.sessions s where s.id = lock_request.session_id;
        if not found then
            raise sqlstate 'PT404' using message = 'session_not_found';
        end if;
        begin
            select array_agg(l.id) into locked
              from (select s.id
                      from public.sessions s
                     where s.id = lock_request.session_id or s.request_id = request
                     order by s.id
                       for no key update) l;
            perform from public.requests r where r.id = request for no key update;
            select s.* into strict session from public.sessions s where s.id = lock_request.session_id;
            -- Between the read and the lock the session may have got another request, or the request another session.
            if session.request_id is distinct from request
               or exists (select from public.sessions s where s.request_id = request and s.id <> all (locked)) then
                raise sqlstate 'SB002';
            end if;
            exit;
        exception when sqlstate 'SB002' then
            -- The rollback of the block released the locks: try again.
            null;
        end;
    end loop;
    return session;
end;
$$;
comment on function private.lock_request is 'Locks a session, all others with the same request, and the request; returns the session. 404 for a session of another workspace.';

create function private.open_request(session public.sessions)
    returns public.sessions language plpgsql set search_path = ''
as $$
declare
    request uuid := session.request_id;
begin
    if request is null then
        insert into public.requests (workspace_id, session_id) values (session.workspace_id, session.id) returning id into request;
        update public.sessions s set request_id = request where s.id = session.id returning * into session;
    end if;
    return session;
end;
$$;
comment on function private.open_request is 'A locked session with its request; creates an empty request if it has none.';

create function private.require_own_request(session public.sessions, request_id uuid)
    returns void language plpgsql set search_path = ''
as $$
begin
    -- What a contact asked for in other conversations is not shown to a person who has only typed the contact's email.
    if exists (select from public.conversations c where c.id = session.conversation_id and c.proof = 'asserted')
       and exists (select
                     from public.requests r
                     join public.sessions s on s.id = r.session_id or s.request_id = r.id
                    where r.id = require_own_request.request_id
                      and s.conversation_id <> session.conversation_id) then
        perform private.raise_refusal(jsonb_build_object('status', 409, 'code', 'proof_required', 'session_id', session.id));
    end if;
end;
$$;
comment on function private.require_own_request is 'Raises SB001 (proof_required) if a session is without proof and a session of another conversation works on the request.';

create function private.adopt_request(session public.sessions, request_id uuid)
    returns public.sessions language plpgsql set search_path = ''
as $$
declare
    first public.sessions;
begin
    if session.request_id = request_id then
        return session;
    end if;
    select s.* into first
      from public.requests r
      join public.sessions s on s.id = r.session_id
     where r.id = adopt_request.request_id;
    -- Of the same contact or user, and by a member who works on both sessions.
    if first.id is null
       or first.contact_id is distinct from session.contact_id
       or first.user_id is distinct from session.user_id
       or not (private.may_work_on_session(first) or private.claims() #>> '{caller,kind}' = 'system') then
        raise sqlstate 'PT404' using message = 'request_not_found';
    end if;
    perform private.require_own_request(session, adopt_request.request_id);
    perform from public.requests r where r.id = adopt_request.request_id for no key update;
    update public.sessions s set request_id = adopt_request.request_id where s.id = session.id;
    -- It is found by all ids of the request.
    insert into public.session_refs (workspace_id, session_id, system, kind, external_id)
    select distinct session.workspace_id, session.id, r.system, r.kind, r.external_id
      from public.session_refs r
      join public.sessions s on s.id = r.session_id
     where s.request_id = adopt_request.request_id
        or s.id = first.id
    on conflict do nothing;
    perform private.choose_primary_quote(request_id);
    select s.* into strict session from public.sessions s where s.id = session.id;
    return session;
end;
$$;
comment on function private.adopt_request is 'Lets a locked session continue a request that another session of the same contact or user had; 404 for any other request. Raises SB001 (proof_required) if the session is without proof and the request is of another conversation.';

create function private.update_request(session public.sessions, trip jsonb)
    returns public.sessions language plpgsql set search_path = ''
as $$
begin
    perform private.require_live(session);
    if trip ->> 'request_id' is not null then
        session := private.adopt_request(session, (trip ->> 'request_id')::uuid);
    end if;
    if trip ?| '{origin,destination,departs_at,passengers,details}' or trip -> 'refs' <> '[]' then
        session := private.open_request(session);
    end if;
    if trip ?| '{origin,destination,departs_at,passengers,details}' then
        update public.requests r
           set origin      = case when trip ? 'origin'      then trip ->> 'origin' else r.origin end,
               destination = case when trip ? 'destination' then trip ->> 'destination' else r.destination end,
               departs_at  = case when trip ? 'departs_at'  then (trip ->> 'departs_at')::timestamptz else r.departs_at end,
               passengers  = case when trip ? 'passengers'  then (trip ->> 'passengers')::integer else r.passengers end,
               details     = case when trip ? 'details'     then coalesce(nullif(trip -> 'details', 'null'), '{}') else r.details end,
               updated_at  = clock_timestamp()
         where r.id = session.request_id;
    end if;
    insert into public.session_refs (workspace_id, session_id, system, kind, external_id)
    select s.workspace_id, s.id, n.system, n.kind, n.external_id
      from jsonb_to_recordset(coalesce(trip -> 'refs', '[]')) as n (system text, kind text, external_id text)
      join public.sessions s on s.id = session.id or s.request_id = session.request_id
     order by s.id, n.system, n.kind, n.external_id
    on conflict do nothing;
    return session;
end;
$$;
comment on function private.update_request is 'Updates the request of a locked, live session: {request_id | origin, destination, departs_at, passengers, details; refs: [{system, kind, external_id}]}. Fields that are not named stay.';

create function private.restart_idle_timeout(session public.sessions)
    returns public.sessions language plpgsql set search_path = ''
as $$
begin
    perform private.require_live(session);
    update public.sessions s
       set last_activity_at = clock_timestamp()
     where s.id = session.id
    returning * into session;
    if not found then
        raise sqlstate 'PT404' using message = 'session_not_found';
    end if;
    return session;
end;
$$;
comment on function private.restart_idle_timeout is 'Restarts the idle timeout of a locked, live session.';

create function private.enter_session_to_work_on(session_id uuid)
    returns void language plpgsql set search_path = ''
as $$
declare
    session public.sessions;
begin
    -- The management scope gives no access to sessions.
    if private.claims() -> 'scope' ? 'management' then
        raise sqlstate 'PT404' using message = 'session_not_found';
    end if;
    perform private.enter_session(session_id);
    select s.* into strict session from public.sessions s where s.id = enter_session_to_work_on.session_id;
    if not private.may_work_on_session(session) then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'session_members_only';
    end if;
end;
$$;
comment on function private.enter_session_to_work_on is 'Enters the workspace of a session that the caller works on as a member; 403 for other callers who may see it, else 404.';

create function private.lock_session(session_id uuid)
    returns public.sessions language plpgsql set search_path = ''
as $$
declare
    session public.sessions;
begin
    select s.* into session from public.sessions s where s.id = lock_session.session_id for no key update;
    if not found then
        raise sqlstate 'PT404' using message = 'session_not_found';
    end if;
    return session;
end;
$$;
comment on function private.lock_session is 'A session of the entered workspace, locked; 404 for others.';

create function private.change_work(session_id uuid, changes jsonb)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    after  public.sessions;
    was    jsonb;
    ended  jsonb;
begin
    if changes ? 'status' then
        -- Locks in the order of start_turn: conversation, session.
        perform
           from public.conversations c
          where c.id = (select s.conversation_id from public.sessions s where s.id = change_work.session_id)
            for no key update;
    end if;
    after := private.lock_session(session_id);
    was   := private.describe_work(after);
    if changes ?| '{workflow,step}' then
        after := private.change_step(after, changes ->> 'workflow', changes ->> 'step');
    end if;
    if changes ? 'subject' then
        update public.sessions s set subject = changes ->> 'subject' where s.id = after.id returning * into after;
    end if;
    if changes -> 'workflow_state' <> 'null' then
        after := private.merge_workflow_state(after, changes -> 'workflow_state');
    end if;
    if changes -> 'trip' <> 'null' then
        after := private.update_request(after, changes -> 'trip');
    end if;
    if (changes ->> 'activity')::boolean then
        after := private.restart_idle_timeout(after);
    end if;
    if changes -> 'proposal' <> 'null' then
        after := private.upsert_proposal(after, changes -> 'proposal');
    end if;
    if changes ? 'status' then
        ended := public.change_session_status(
            session_id, (changes ->> 'status')::public.session_status, changes ->> 'reason', (changes ->> 'stopped_turn')::uuid);
        if (ended ->> 'stopping')::boolean then
            -- Returned: the turn stops only if this transaction commits. The changes so far are no changes in the next attempt.
            return ended;
        elsif ended ? 'code' then
            perform private.raise_refusal('{"status": 409}' || ended);
        end if;
        after := private.lock_session(session_id);
    end if;
    return private.describe_work(after)
        || jsonb_build_object('changed', private.describe_work(after) - 'updated_at' <> was - 'updated_at');
end;
$$;
comment on function private.change_work is 'Changes the workflow of a session in the entered workspace: {workflow, step, subject, workflow_state, trip, activity, proposal, status, reason}; returns its state and changed, or the refusal of a status whose turn is stopping. Raises SB001 for a refusal, and then nothing is changed.';

create function private.change_work_as_member(session_id uuid, changes jsonb)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    refusal text;
begin
    perform private.enter_session_to_work_on(session_id);
    return private.change_work(session_id, changes);
exception when sqlstate 'SB001' then
    get stacked diagnostics refusal = pg_exception_detail;
    return private.refuse(refusal::jsonb);
end;
$$;
comment on function private.change_work_as_member is 'private.change_work for a member who works on the session; returns a refusal instead of raising it.';

create function public.update_chat_session_workflow(session_id uuid, changes jsonb)
    returns jsonb language plpgsql set search_path = ''
as $$
begin
    return private.change_work_as_member(session_id, jsonb_strip_nulls(jsonb_build_object(
                            'workflow', changes -> 'workflow', 'step', changes -> 'step', 'subject', changes -> 'subject'))
                        || jsonb_build_object('workflow_state', changes -> 'workflow_state', 'trip', changes -> 'trip'));
end;
$$;
comment on function public.update_chat_session_workflow is 'Changes a session''s workflow: {workflow, step, subject, workflow_state, trip}, all optional, all or nothing; returns its state and changed.';

create function public.update_chat_session_with_trip_info(session_id uuid, trip jsonb)
    returns jsonb language plpgsql set search_path = ''
as $$
begin
    return private.change_work_as_member(session_id,
               jsonb_strip_nulls(jsonb_build_object('step', trip -> 'step'))
               || jsonb_build_object('workflow_state', trip -> 'workflow_state', 'trip', trip));
end;
$$;
comment on function public.update_chat_session_with_trip_info is 'Updates a session''s request and external ids, and its step and workflow_state with them; returns its state and changed.';

create function public.update_chat_session_activity(session_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
begin
    return private.change_work_as_member(session_id, '{"activity": true}');
end;
$$;
comment on function public.update_chat_session_activity is 'Restarts the idle timeout of a live session.';

create function public.update_chat_session_with_proposal(session_id uuid, proposal jsonb)
    returns jsonb language plpgsql set search_path = ''
as $$
begin
    return private.change_work_as_member(session_id,
               jsonb_build_object('proposal', proposal - '{complete,stopped_turn}'::text[])
               || case when (proposal ->> 'complete')::boolean
                       then jsonb_build_object('status', 'completed', 'stopped_turn', proposal -> 'stopped_turn')
                       else '{}' end);
end;
$$;
comment on function public.update_chat_session_with_proposal is 'Creates or changes a session''s proposal: {status, title, amount, currency, text, quote_id, details}, and with complete ends the session; returns its state and changed.';

create function public.update_chat_session_with_quote(session_id uuid, operator_key text, quote jsonb)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    noted   jsonb;
    refusal text;
begin
    perform private.enter_session_to_work_on(session_id);
    noted := private.upsert_quote(session_id, operator_key, quote);
    return private.describe_work(private.lock_session(session_id))
        || jsonb_build_object('quote', noted - 'changed', 'changed', noted -> 'changed');
exception when sqlstate 'SB001' then
    get stacked diagnostics refusal = pg_exception_detail;
    return private.refuse(refusal::jsonb);
end;
$$;
comment on function public.update_chat_session_with_quote is 'Creates or changes an operator''s quote: {status, operator, external_id, amount, currency, details, primary}; returns the session''s state, the quote, and changed.';

create function public.create_or_update_chat_session(
    changes         jsonb,
    contact_id      uuid  default null,
    space_id        uuid  default null,
    persona_id      uuid  default null,
    thread_key      text  default null,
    context         jsonb default '{}',
    client          jsonb default '{}',
    template        text  default null,
    conversation_id uuid  default null
)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    ends    constant boolean := changes ->> 'status' in ('completed', 'failed', 'cancelled');
    agent   constant uuid    := (changes ->> 'assigned_user_id')::uuid;
    started jsonb;
    present uuid;
    changed boolean          := false;
    refusal text;
begin
    if ends and conversation_id is not null then
        -- No session starts to be ended: a repeat finds the session that has ended.
        perform private.enter_conversation_as_member(conversation_id);
        select s.id into present
          from public.sessions s
         where s.conversation_id = create_or_update_chat_session.conversation_id
         order by s.ended_at is null desc, s.created_at desc, s.id desc
         limit 1;
        started := jsonb_build_object('session_id', present, 'created', false);
    else
        started := public.start_session(
            contact_id => contact_id, space_id => space_id, persona_id => persona_id, thread_key => thread_key,
            context => context, client => client, template => template, conversation_id => conversation_id);
        if not started ? 'created' then
            return started;
        end if;
    end if;
    if started -> 'session_id' = 'null' or (ends and (started ->> 'created')::boolean) then
        raise sqlstate 'PT404' using message = 'session_not_found', detail = 'no_live_session';
    end if;
    perform private.enter_session_to_work_on((started ->> 'session_id')::uuid);
    if exists (select
                 from public.sessions s
                where s.id = (started ->> 'session_id')::uuid
                  and s.assigned_user_id is distinct from coalesce(agent, s.assigned_user_id)) then
        changed := (public.assign_session((started ->> 'session_id')::uuid, agent) ->> 'changed')::boolean;
    end if;
    return private.change_work((started ->> 'session_id')::uuid, changes)
        || jsonb_build_object('created', started -> 'created')
        || case when changed then '{"changed": true}' else '{}' end::jsonb;
exception when sqlstate 'SB001' then
    get stacked diagnostics refusal = pg_exception_detail;
    -- A session started here was rolled back, so its id is left out.
    return private.refuse(refusal::jsonb - case when (started ->> 'created')::boolean then 'session_id' else '' end);
end;
$$;
comment on function public.create_or_update_chat_session is 'start_session, and changes to the session''s workflow, status and assigned member in the same transaction; returns its state, changed, and created. A refused change starts no session, and none is started to be ended.';

create function public.remove_chat_session_ref(session_id uuid, ref_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
begin
    perform private.enter_session_to_work_on(session_id);
    -- The sessions with the same request have the same reference.
    delete from public.session_refs r
     using public.session_refs named
      join public.sessions s on s.id = named.session_id
      join public.sessions o on o.id = s.id or o.request_id = s.request_id
     where named.id = ref_id
       and named.session_id = remove_chat_session_ref.session_id
       and r.session_id = o.id
       and (r.system, r.kind, r.external_id) = (named.system, named.kind, named.external_id);
    if not found then
        raise sqlstate 'PT404' using message = 'ref_not_found';
    end if;
    return jsonb_build_object('removed', true);
end;
$$;
comment on function public.remove_chat_session_ref is 'Removes an external id from a session, and from the sessions with the same request.';

create function public.add_workflow_transition(workspace_id uuid, transition jsonb)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_to_manage('workspace', workspace_id, 'admin');
    added  public.workflow_transitions;
    is_new boolean := false;
begin
    -- The lock makes one transition of two equal ones that are added at the same time.
    perform from public.workspaces w where w.id = workspace for no key update;
    select t.* into added
      from public.workflow_transitions t
     where (t.workspace_id is null or t.workspace_id = workspace)
       and t.workflow = transition ->> 'workflow'
       and t.from_step is not distinct from transition ->> 'from_step'
       and t.to_step = transition ->> 'to_step'
     order by t.workspace_id nulls first
     limit 1;
    if not found then
        if (select count(*) from public.workflow_transitions t where t.workspace_id = workspace) >= 1000 then
            raise sqlstate 'PT409' using message = 'too_many_transitions';
        end if;
        insert into public.workflow_transitions (workspace_id, workflow, from_step, to_step)
        values (workspace, transition ->> 'workflow', transition ->> 'from_step', transition ->> 'to_step')
        returning * into added;
        is_new := true;
        perform private.record_change(workspace, 'workflow.extended', added.id);
    end if;
    return to_jsonb(added) || jsonb_build_object('created', is_new);
end;
$$;
comment on function public.add_workflow_transition is 'Allows a transition: {workflow, from_step, to_step}. An existing or built-in one is returned with created: false. For owners and admins.';

create function public.remove_workflow_transition(workspace_id uuid, transition_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_to_manage('workspace', workspace_id, 'admin');
begin
    delete from public.workflow_transitions t where t.id = transition_id and t.workspace_id = workspace;
    if not found then
        raise sqlstate 'PT404' using message = 'transition_not_found';
    end if;
    perform private.record_change(workspace, 'workflow.narrowed', transition_id);
    return jsonb_build_object('removed', true);
end;
$$;
comment on function public.remove_workflow_transition is 'Removes one of the workspace''s own transitions; sessions keep their step. For owners and admins.';

create view public.request_details with (security_invoker = true) as
select r.id, r.workspace_id, r.origin, r.destination, r.departs_at, r.passengers, r.created_at, r.updated_at
  from public.requests r;
comment on view public.request_details is 'Requests without the session in which they were created, so that sessions embed the request that they work on.';

grant execute on function
    private.own_requests
    to authenticated;

grant execute on function
    private.token_requests
    to contact;

grant execute on function
    private.change_step, private.merge_workflow_state, private.lock_request, private.open_request,
    private.require_own_request, private.adopt_request, private.update_request, private.restart_idle_timeout, private.enter_session_to_work_on, private.lock_session,
    private.change_work, private.change_work_as_member, public.update_chat_session_workflow,
    public.update_chat_session_with_trip_info, public.update_chat_session_activity,
    public.update_chat_session_with_proposal, public.update_chat_session_with_quote,
    public.create_or_update_chat_session, public.remove_chat_session_ref
    to switchboard;

grant execute on function
    public.add_workflow_transition, public.remove_workflow_transition
    to service_role, switchboard;
