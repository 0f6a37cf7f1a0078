-- How a session moves through its workflow, and how what operators answer is written down. These are steps: they take the
-- workspace that was entered, so a member's request and a delivery from outside use the same ones. A session is locked
-- before its request, several sessions in the order of their ids.

set lock_timeout = '5s';
set statement_timeout = '60s';

-- Steps of the workflow -----------------------------------------------------------------------------------------------

create function private.take_step(session public.sessions, workflow text, step text)
    returns public.sessions
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    -- Whoever names none means the built-in one.
    wanted  constant text := coalesce(take_step.workflow, session.workflow, 'charter');
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
    if session.status not in ('active', 'paused') then
        perform private.raise_refusal(pg_catalog.jsonb_build_object(
            'status', 409, 'code', 'transition_not_allowed', 'title', 'The session''s state does not allow this.',
            'session_id', session.id, 'session_status', session.status));
    end if;
    select pg_catalog.array_agg(distinct t.to_step order by t.to_step) into allowed
      from public.workflow_transitions t
     where t.workflow = wanted
       and t.from_step is not distinct from present;
    if allowed is null and not exists (select from public.workflow_transitions t where t.workflow = wanted) then
        raise sqlstate 'PT404' using message = 'workflow_not_found', detail = 'There is no such workflow.';
    end if;
    if target is null and pg_catalog.cardinality(allowed) = 1 then
        target := allowed[1];
    end if;
    if target is null or allowed is null or target <> all (allowed) then
        perform private.raise_refusal(pg_catalog.jsonb_build_object(
            'status', 409, 'code', 'step_not_allowed', 'title', 'The workflow does not allow this step now.',
            'session_id', session.id, 'workflow', wanted, 'workflow_step', present,
            'allowed_steps', pg_catalog.to_jsonb(coalesce(allowed, '{}'))));
    end if;
    update public.sessions s set workflow = wanted, workflow_step = target where s.id = session.id returning * into session;
    if not found then
        raise sqlstate 'PT404' using message = 'session_not_found', detail = 'There is no such session.';
    end if;
    insert into public.workflow_steps (workspace_id, session_id, workflow, from_step, to_step, actor_id)
    values (session.workspace_id, session.id, wanted, present, target, private.calling_actor());
    return session;
end;
$$;
comment on function private.take_step(public.sessions, text, text) is
    'Moves a session, which is locked, to another step of its workflow, or begins one; the step it stands at changes nothing. Raises SB001 where no transition leads there.';

create function private.keep_workflow_state(session public.sessions, changes jsonb)
    returns public.sessions
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    kept constant jsonb := (session.workflow_state || changes)
                           - array(select c.key from pg_catalog.jsonb_each(changes) c where c.value = 'null');
begin
    if pg_catalog.length(kept::text) > 65536 then
        raise sqlstate 'PT422' using message = 'invalid_body', detail = 'A workflow''s state is 65,536 characters of JSON at most.';
    end if;
    if kept <> session.workflow_state then
        update public.sessions s set workflow_state = kept where s.id = session.id returning * into session;
        if not found then
            raise sqlstate 'PT404' using message = 'session_not_found', detail = 'There is no such session.';
        end if;
    end if;
    return session;
end;
$$;
comment on function private.keep_workflow_state(public.sessions, jsonb) is
    'Replaces the named members of a locked session''s workflow_state; null takes one away.';

-- The request ---------------------------------------------------------------------------------------------------------

create function private.lock_request(session_id uuid)
    returns public.sessions
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    session public.sessions;
    request uuid;
    locked  uuid[];
begin
    loop
        select s.request_id into request from public.sessions s where s.id = lock_request.session_id;
        if not found then
            raise sqlstate 'PT404' using message = 'session_not_found', detail = 'There is no such session.';
        end if;
        begin
            select pg_catalog.array_agg(l.id) into locked
              from (select s.id
                      from public.sessions s
                     where s.id = lock_request.session_id or s.request_id = request
                     order by s.id
                       for no key update) l;
            perform from public.requests r where r.id = request for no key update;
            select s.* into strict session from public.sessions s where s.id = lock_request.session_id;
            -- Between looking and locking the session may have got another request, or the request another session.
            if session.request_id is distinct from request
               or exists (select from public.sessions s where s.request_id = request and s.id <> all (locked)) then
                raise sqlstate 'SB002';
            end if;
            exit;
        exception when sqlstate 'SB002' then
            -- The locks are gone with the block: again, in order.
            null;
        end;
    end loop;
    return session;
end;
$$;
comment on function private.lock_request(uuid) is
    'Locks a session, all others that work on its request, and the request; gives the session. 404 for one that is not of the entered workspace.';

create function private.choose_primary_quote(request_id uuid)
    returns void
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    first uuid;
begin
    select q.id into first
      from public.quotes q
     where q.request_id = choose_primary_quote.request_id
       and q.status = 'received'
     order by q.received_at, q.id
     limit 1;
    update public.sessions s
       set primary_quote_id = first
     where s.request_id = choose_primary_quote.request_id
       and s.primary_quote_id is distinct from first
       and not exists (select
                         from public.quotes q
                        where q.id = s.primary_quote_id
                          and q.request_id = s.request_id
                          and q.status = 'received');
end;
$$;
comment on function private.choose_primary_quote(uuid) is
    'Gives the sessions of a locked request the quote that stands for them: what they have as long as it is a received one, else the first received, else none.';

create function private.open_request(session public.sessions)
    returns public.sessions
    language plpgsql
    volatile
    set search_path = ''
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
comment on function private.open_request(public.sessions) is 'A locked session with its request; of which nothing is known yet where there was none.';

create function private.take_up_request(session public.sessions, request_id uuid)
    returns public.sessions
    language plpgsql
    volatile
    set search_path = ''
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
     where r.id = take_up_request.request_id;
    -- The same person's, and by members who work on both.
    if first.id is null
       or first.contact_id is distinct from session.contact_id
       or first.user_id is distinct from session.user_id
       or not (private.works_on_session(first) or private.claims() #>> '{caller,kind}' = 'system') then
        raise sqlstate 'PT404' using message = 'request_not_found', detail = 'There is no such request.';
    end if;
    perform from public.requests r where r.id = take_up_request.request_id for no key update;
    update public.sessions s set request_id = take_up_request.request_id where s.id = session.id;
    perform private.choose_primary_quote(request_id);
    select s.* into strict session from public.sessions s where s.id = session.id;
    return session;
end;
$$;
comment on function private.take_up_request(public.sessions, uuid) is
    'Has a locked session go on with a request that another session of the same contact (or the same user) had; 404 for any other.';

create function private.learn_of_trip(session public.sessions, trip jsonb)
    returns public.sessions
    language plpgsql
    volatile
    set search_path = ''
as $$
begin
    if session.status not in ('active', 'paused') then
        perform private.raise_refusal(pg_catalog.jsonb_build_object(
            'status', 409, 'code', 'transition_not_allowed', 'title', 'The session''s state does not allow this.',
            'session_id', session.id, 'session_status', session.status));
    end if;
    if trip ->> 'request_id' is not null then
        session := private.take_up_request(session, (trip ->> 'request_id')::uuid);
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
               updated_at  = pg_catalog.clock_timestamp()
         where r.id = session.request_id;
    end if;
    insert into public.session_refs (workspace_id, session_id, system, kind, external_id)
    select session.workspace_id, session.id, n.system, n.kind, n.external_id
      from pg_catalog.jsonb_to_recordset(coalesce(trip -> 'refs', '[]')) as n (system text, kind text, external_id text)
    on conflict do nothing;
    return session;
end;
$$;
comment on function private.learn_of_trip(public.sessions, jsonb) is
    'Writes down what is known of the trip that a locked, live session is about: {request_id | origin, destination, departs_at, passengers, details; refs: [{system, kind, external_id}]}. What is not named stays.';

-- Quotes and the proposal ---------------------------------------------------------------------------------------------

create function private.note_quote(session_id uuid, operator_key text, quote jsonb)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    session constant public.sessions := private.open_request(private.lock_request(session_id));
    over    constant boolean         := session.status not in ('active', 'paused');
    present public.quotes;
    stored  public.quotes;
    wanted  public.quote_status;
    allowed public.quote_status[];
    moves   boolean;
    chosen  boolean := false;
begin
    select q.* into present
      from public.quotes q
     where q.request_id = session.request_id
       and q.operator_key = note_quote.operator_key;
    wanted := coalesce((quote ->> 'status')::public.quote_status, present.status, 'requested');
    if present.id is null then
        insert into public.quotes (workspace_id, request_id, session_id, operator_key, operator, external_id, status, amount, currency,
                                   details, late, received_at)
        values (session.workspace_id, session.request_id, session.id, note_quote.operator_key,
                coalesce(quote ->> 'operator', quote ->> 'asked_as', note_quote.operator_key), quote ->> 'external_id', wanted,
                (quote ->> 'amount')::numeric, quote ->> 'currency', coalesce(nullif(quote -> 'details', 'null'), '{}'), over,
                case when wanted = 'received' then pg_catalog.clock_timestamp() end)
        returning * into stored;
        moves := true;
    else
        -- That it was asked for is older news than anything that came of it.
        if wanted = 'requested' then
            wanted := present.status;
        end if;
        moves := wanted <> present.status;
        allowed := case present.status
                       when 'requested' then array['received', 'declined', 'expired', 'withdrawn']
                       when 'received'  then array['withdrawn', 'expired']
                       else array['received'] end;
        if moves and wanted <> all (allowed) then
            perform private.raise_refusal(pg_catalog.jsonb_build_object(
                'status', 409, 'code', 'transition_not_allowed', 'title', 'The quote''s state does not allow this.',
                'session_id', session.id, 'quote_id', present.id, 'quote_status', present.status,
                'allowed', pg_catalog.to_jsonb(allowed)));
        end if;
        update public.quotes q
           set status      = wanted,
               operator    = coalesce(quote ->> 'operator', q.operator),
               external_id = coalesce(quote ->> 'external_id', q.external_id),
               amount      = coalesce((quote ->> 'amount')::numeric, q.amount),
               currency    = coalesce(quote ->> 'currency', q.currency),
               details     = q.details || coalesce(nullif(quote -> 'details', 'null'), '{}'),
               late        = q.late or (moves and over),
               received_at = case when wanted = 'received' then coalesce(q.received_at, pg_catalog.clock_timestamp()) else q.received_at end
         where q.id = present.id
        returning * into stored;
        if stored is distinct from present then
            update public.quotes q set updated_at = pg_catalog.clock_timestamp() where q.id = present.id returning * into stored;
        end if;
    end if;
    if (quote ->> 'primary')::boolean then
        if stored.status <> 'received' then
            perform private.raise_refusal(pg_catalog.jsonb_build_object(
                'status', 409, 'code', 'transition_not_allowed', 'title', 'Only a received quote stands for its session.',
                'session_id', session.id, 'quote_id', present.id, 'quote_status', stored.status, 'allowed', '[]'::jsonb));
        end if;
        update public.sessions s
           set primary_quote_id = stored.id
         where s.request_id = session.request_id
           and s.primary_quote_id is distinct from stored.id;
        chosen := found;
    end if;
    perform private.choose_primary_quote(session.request_id);
    if moves then
        perform private.record_audit('quote.' || stored.status, stored.id, private.calling_actor(), case when over then 'late' end);
    end if;
    return private.describe_quote(stored) || pg_catalog.jsonb_build_object('changed', chosen or stored is distinct from present);
end;
$$;
comment on function private.note_quote(uuid, text, jsonb) is
    'What an operator was asked or gave for a session''s request: {status, operator (asked_as until one is given), external_id, amount, currency, details, primary}. One row per operator, however often and in whatever order it comes; for a session that is over it is kept as late and changes nothing else. Raises SB001 for a change that the quote''s state does not allow.';

create function private.note_proposal(session public.sessions, proposal jsonb)
    returns public.sessions
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    present public.proposals;
    stored  public.proposals;
    wanted  public.proposal_status := (proposal ->> 'status')::public.proposal_status;
    allowed public.proposal_status[];
begin
    select p.* into present from public.proposals p where p.id = session.proposal_id;
    if present.id is null or (present.status in ('declined', 'withdrawn') and wanted in ('draft', 'sent')) then
        if session.status not in ('active', 'paused') then
            perform private.raise_refusal(pg_catalog.jsonb_build_object(
                'status', 409, 'code', 'transition_not_allowed', 'title', 'The session''s state does not allow this.',
                'session_id', session.id, 'session_status', session.status));
        end if;
        session := private.open_request(session);
        present := null;
    end if;
    if proposal ->> 'quote_id' is not null
       and not exists (select
                         from public.quotes q
                        where q.id = (proposal ->> 'quote_id')::uuid
                          and q.request_id = session.request_id) then
        raise sqlstate 'PT404' using message = 'quote_not_found', detail = 'There is no such quote for this request.';
    end if;
    if present.id is null then
        if coalesce(wanted, 'draft') not in ('draft', 'sent') then
            perform private.raise_refusal(pg_catalog.jsonb_build_object(
                'status', 409, 'code', 'transition_not_allowed', 'title', 'The proposal''s state does not allow this.',
                'session_id', session.id, 'proposal_status', null, 'allowed', '["draft", "sent"]'::jsonb));
        end if;
        insert into public.proposals (workspace_id, request_id, session_id, quote_id, status, title, details)
        values (session.workspace_id, session.request_id, session.id,
                case when proposal ? 'quote_id' then (proposal ->> 'quote_id')::uuid else session.primary_quote_id end,
                coalesce(wanted, 'draft'), proposal ->> 'title', coalesce(nullif(proposal -> 'details', 'null'), '{}'))
        returning * into stored;
        update public.sessions s set proposal_id = stored.id where s.id = session.id returning * into session;
    else
        wanted  := coalesce(wanted, present.status);
        allowed := case present.status
                       when 'draft' then array['sent', 'withdrawn']
                       when 'sent'  then array['accepted', 'declined', 'withdrawn']
                       else array[]::text[] end;
        if wanted <> present.status and wanted <> all (allowed) then
            perform private.raise_refusal(pg_catalog.jsonb_build_object(
                'status', 409, 'code', 'transition_not_allowed', 'title', 'The proposal''s state does not allow this.',
                'session_id', session.id, 'proposal_id', present.id, 'proposal_status', present.status,
                'allowed', pg_catalog.to_jsonb(allowed)));
        end if;
        update public.proposals p
           set status   = wanted,
               quote_id = case when proposal ? 'quote_id' then (proposal ->> 'quote_id')::uuid else p.quote_id end,
               title    = case when proposal ? 'title' then proposal ->> 'title' else p.title end,
               details  = case when proposal ? 'details' then coalesce(nullif(proposal -> 'details', 'null'), '{}') else p.details end
         where p.id = present.id
        returning * into stored;
        if stored is distinct from present then
            update public.proposals p set updated_at = pg_catalog.clock_timestamp() where p.id = present.id;
        end if;
    end if;
    if present.id is null or stored.status <> present.status then
        perform private.record_audit('proposal.' || stored.status, stored.id, private.calling_actor(), null);
    end if;
    return session;
end;
$$;
comment on function private.note_proposal(public.sessions, jsonb) is
    'What is proposed in a locked session: {status, title, quote_id, details}; after one that was declined or withdrawn, a new one. Raises SB001 for a change that the proposal''s state does not allow.';

create function private.note_activity(session public.sessions)
    returns public.sessions
    language plpgsql
    volatile
    set search_path = ''
as $$
begin
    if session.status not in ('active', 'paused') then
        perform private.raise_refusal(pg_catalog.jsonb_build_object(
            'status', 409, 'code', 'transition_not_allowed', 'title', 'The session''s state does not allow this.',
            'session_id', session.id, 'session_status', session.status));
    end if;
    update public.sessions s
       set last_activity_at = pg_catalog.clock_timestamp()
     where s.id = session.id
    returning * into session;
    if not found then
        raise sqlstate 'PT404' using message = 'session_not_found', detail = 'There is no such session.';
    end if;
    return session;
end;
$$;
comment on function private.note_activity(public.sessions) is 'Something came in for a locked, live session: its idle time-out counts from now.';
