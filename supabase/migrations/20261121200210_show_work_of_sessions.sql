-- How a session's work is shown, and who may call the steps that move it on.

set lock_timeout = '5s';
set statement_timeout = '60s';

create function private.describe_quote(quote public.quotes)
    returns jsonb
    language sql
    stable
    set search_path = ''
as $$
    select pg_catalog.jsonb_build_object(
               'id', quote.id, 'operator_key', quote.operator_key, 'operator', quote.operator, 'external_id', quote.external_id,
               'status', quote.status, 'amount', quote.amount, 'currency', quote.currency, 'late', quote.late,
               'details', quote.details, 'created_at', quote.created_at, 'received_at', quote.received_at,
               'updated_at', quote.updated_at);
$$;
comment on function private.describe_quote(public.quotes) is 'A quote as members see it.';

create function private.count_quotes(request_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return (select pg_catalog.jsonb_build_object(
                       'expected',  pg_catalog.count(*),
                       'received',  pg_catalog.count(*) filter (where q.status = 'received'),
                       'declined',  pg_catalog.count(*) filter (where q.status = 'declined'),
                       'expired',   pg_catalog.count(*) filter (where q.status = 'expired'),
                       'withdrawn', pg_catalog.count(*) filter (where q.status = 'withdrawn'),
                       'late',      pg_catalog.count(*) filter (where q.late))
              from public.quotes q
             where q.request_id = count_quotes.request_id);
end;
$$;
comment on function private.count_quotes(uuid) is 'How many operators were asked for a request, and how their quotes stand.';

create function private.describe_work(session public.sessions)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return pg_catalog.jsonb_build_object(
        'session_id', session.id, 'conversation_id', session.conversation_id, 'contact_id', session.contact_id,
        'status', session.status, 'last_activity_at', session.last_activity_at,
        'workflow', session.workflow, 'workflow_step', session.workflow_step, 'workflow_state', session.workflow_state,
        'request', (select pg_catalog.jsonb_build_object(
                               'id', r.id, 'origin', r.origin, 'destination', r.destination, 'departs_at', r.departs_at,
                               'passengers', r.passengers, 'details', r.details)
                      from public.requests r
                     where r.id = session.request_id),
        'primary_quote', (select pg_catalog.jsonb_build_object(
                                     'id', q.id, 'operator', q.operator, 'amount', q.amount, 'currency', q.currency)
                            from public.quotes q
                           where q.id = session.primary_quote_id),
        'quote_counts', private.count_quotes(session.request_id),
        'proposal', (select pg_catalog.jsonb_build_object('id', p.id, 'status', p.status, 'title', p.title, 'quote_id', p.quote_id)
                       from public.proposals p
                      where p.id = session.proposal_id),
        'refs', (select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                                     'id', r.id, 'system', r.system, 'kind', r.kind, 'external_id', r.external_id)
                                     order by r.created_at, r.id), '[]')
                   from public.session_refs r
                  where r.session_id = session.id));
end;
$$;
comment on function private.describe_work(public.sessions) is 'What a session works towards and how far it came, for those who work on it.';

grant execute on function
    private.take_step(public.sessions, text, text), private.keep_workflow_state(public.sessions, jsonb),
    private.lock_request(uuid), private.choose_primary_quote(uuid), private.open_request(public.sessions),
    private.take_up_request(public.sessions, uuid), private.learn_of_trip(public.sessions, jsonb),
    private.note_quote(uuid, text, jsonb), private.note_proposal(public.sessions, jsonb),
    private.note_activity(public.sessions), private.count_quotes(uuid), private.describe_work(public.sessions)
    to switchboard;
grant execute on function private.describe_quote(public.quotes) to switchboard, authenticated;
