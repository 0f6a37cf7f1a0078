-- Trip reports: what a business system says of a trip reaches the sessions that work on it.

create function private.reach_requesting_quotes(session_id uuid)
    returns void language plpgsql set search_path = ''
as $$
declare
    session public.sessions := private.lock_session(session_id);
    moved   public.sessions;
begin
    update public.sessions s
       set workflow = coalesce(s.workflow, 'charter'), workflow_step = 'requesting_quotes'
     where s.id = session.id
       and s.status in ('active', 'paused')
       and s.workflow_step is distinct from 'requesting_quotes'
       -- What is proposed is not taken back by one more quote.
       and s.proposal_id is null
       and exists (select
                     from public.workflow_transitions t
                    where t.workflow = coalesce(s.workflow, 'charter')
                      and t.to_step = 'requesting_quotes'
                      and (s.workflow_step is null or t.from_step = s.workflow_step))
    returning s.* into moved;
    if found then
        insert into public.workflow_steps (workspace_id, session_id, workflow, from_step, to_step, actor_id)
        values (moved.workspace_id, moved.id, moved.workflow, session.workflow_step, 'requesting_quotes', private.calling_actor());
    end if;
end;
$$;
comment on function private.reach_requesting_quotes is 'Moves a live session to the step requesting_quotes, if its workflow (or the built-in one) leads there from its present step and nothing is proposed yet.';

create function private.apply_reported_quote(session_id uuid, reported jsonb)
    returns text language plpgsql set search_path = ''
as $$
declare
    session constant public.sessions := private.open_request(private.lock_request(session_id));
    present public.quotes;
    quote   jsonb := reported - 'operator_key' - 'report';
    before  jsonb;
    noted   jsonb;
    key     text;
begin
    select q.* into present
      from public.quotes q
     where q.request_id = session.request_id
       and (q.operator_key = reported ->> 'operator_key'
            -- A quote may name only the RFQ that it answers.
            or (not reported ? 'operator' and q.details #>> '{report,rfq}' = reported #>> '{report,rfq}'))
     order by q.operator_key = reported ->> 'operator_key' desc
     limit 1;
    key    := coalesce(present.operator_key, reported ->> 'operator_key');
    before := case when jsonb_typeof(present.details -> 'report') = 'object' then present.details -> 'report' else '{}' end;
    if jsonb_typeof(before -> 'version') = 'number' and before -> 'version' > reported #> '{report,version}' then
        return 'older';
    end if;
    if present.status = 'received' and quote ->> 'status' = 'declined' then
        quote := quote || '{"status": "withdrawn"}';
    end if;
    quote := quote || jsonb_build_object('details', jsonb_build_object('report', before || (reported -> 'report')));
    begin
        noted := private.upsert_quote(session_id, key, quote);
    exception when sqlstate 'SB001' then
        -- The other facts are true whatever the status may become.
        noted := private.upsert_quote(session_id, key, quote - 'status');
    end;
    if reported -> 'report' ? 'message' and before -> 'message' is distinct from reported #> '{report,message}' then
        perform private.record_audit('quote.message', (noted ->> 'id')::uuid, private.calling_actor(), null);
    end if;
    return case when (noted ->> 'changed')::boolean then 'changed' else 'unchanged' end;
end;
$$;
comment on function private.apply_reported_quote is 'Creates or changes the quote of an operator by a report about it: as private.upsert_quote, with report: {version, message, status, rfq}, kept in its details. older: a later version was applied before; else changed or unchanged.';

create function public.apply_trip_report(system text, refs jsonb, quotes jsonb)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter();
    reached   uuid[];
    one       uuid;
    reported  jsonb;
    outcomes  text[] := array[]::text[];
begin
    -- One session for each request, a live one first: a quote is the request's.
    select array_agg(s.id order by s.id)
      into reached
      from (select distinct on (coalesce(s.request_id, s.id)) s.id
              from jsonb_to_recordset(refs) as n (kind text, external_id text)
              join public.session_refs r on r.workspace_id = workspace
                                        and r.system = apply_trip_report.system
                                        and r.kind = n.kind
                                        and r.external_id = n.external_id
              join public.sessions s on s.id = r.session_id
             order by coalesce(s.request_id, s.id), s.status in ('active', 'paused') desc, s.created_at desc) s;
    foreach one in array coalesce(reached, '{}') loop
        for reported in select q.value from jsonb_array_elements(quotes) q loop
            outcomes := outcomes || private.apply_reported_quote(one, reported);
            if coalesce(reported ->> 'status', 'requested') in ('requested', 'received') then
                perform private.reach_requesting_quotes(one);
            end if;
        end loop;
        -- From now on any of the ids finds the session, and the others with its request.
        insert into public.session_refs (workspace_id, session_id, system, kind, external_id)
        select s.workspace_id, s.id, apply_trip_report.system, n.kind, n.external_id
          from jsonb_to_recordset(refs) as n (kind text, external_id text)
          join public.sessions s on s.id = one
                                 or s.request_id = (select o.request_id from public.sessions o where o.id = one)
         order by s.id, n.kind, n.external_id
        on conflict do nothing;
    end loop;
    return jsonb_build_object('sessions', coalesce(cardinality(reached), 0), 'outcomes', to_jsonb(outcomes));
end;
$$;
comment on function public.apply_trip_report is 'Applies what another system reports of a trip to the sessions that any of its ids finds: refs [{kind, external_id}], quotes [{operator_key, operator, status, external_id, amount, currency, aircraft_type, report: {version, message, status, rfq}}]. {sessions, outcomes}: how many requests it reached, and for each quote changed, unchanged or older.';

grant execute on function
    private.reach_requesting_quotes, private.apply_reported_quote, public.apply_trip_report
    to switchboard;
