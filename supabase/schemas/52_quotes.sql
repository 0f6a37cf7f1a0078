-- Quotes and proposals of a request.

create type public.quote_status as enum ('requested', 'received', 'declined', 'expired', 'withdrawn');
comment on type public.quote_status is 'requested -> received | declined | expired | withdrawn; received -> withdrawn | expired; declined | expired | withdrawn -> received: an operator may change its mind.';

create type public.proposal_status as enum ('draft', 'sent', 'accepted', 'declined', 'withdrawn');
comment on type public.proposal_status is 'draft -> sent -> accepted | declined; draft | sent -> withdrawn';

create table public.quotes (
    id            uuid                not null default private.uuid7(),
    workspace_id  uuid                not null,
    request_id    uuid                not null,
    session_id    uuid                not null,
    operator_key  text                not null,
    operator      text                not null,
    external_id   text,
    status        public.quote_status not null default 'requested',
    amount        numeric(14,2),
    currency      text,
    aircraft_type text,
    late          boolean             not null default false,
    details       jsonb               not null default '{}',
    created_at    timestamptz         not null default clock_timestamp(),
    updated_at    timestamptz         not null default clock_timestamp(),
    received_at   timestamptz,
    constraint quotes_pkey            primary key (id),
    constraint quotes_workspace_key   unique (workspace_id, id),
    constraint quotes_operator_key    unique (request_id, operator_key),
    constraint quotes_request_id_fkey foreign key (workspace_id, request_id) references public.requests (workspace_id, id) on delete cascade,
    constraint quotes_session_id_fkey foreign key (workspace_id, session_id) references public.sessions (workspace_id, id) on delete cascade,
    constraint quotes_lengths         check (length(operator_key) between 1 and 200 and length(operator) between 1 and 200
        and length(external_id) between 1 and 200 and length(aircraft_type) between 1 and 200),
    constraint quotes_price           check ((amount is null) = (currency is null) and amount >= 0 and currency ~ '^[A-Z]{3}$'),
    constraint quotes_received        check (case status when 'requested' then received_at is null
        when 'received'  then received_at is not null
        else true end),
    constraint quotes_details_object  check (jsonb_typeof(details) = 'object')
);
comment on table public.quotes is 'One row per operator asked, from requested on; counts are derived from these rows.';
comment on column public.quotes.session_id is 'The session that asked.';
comment on column public.quotes.operator_key is 'The operator''s id in the asking system, or its name in lower case.';
comment on column public.quotes.amount is 'In the currency''s main unit (ISO 4217).';
comment on column public.quotes.late is 'It arrived after its session ended. It is counted, and does not reopen the session.';
comment on column public.quotes.received_at is 'When the operator first gave a quote; kept when it is withdrawn or expires.';
alter table public.quotes enable row level security;
create index quotes_session_id_idx on public.quotes (session_id, status);

-- squawk-ignore adding-foreign-key-constraint, constraint-missing-not-valid
alter table public.sessions add constraint sessions_primary_quote_id_fkey foreign key (workspace_id, primary_quote_id)
        references public.quotes (workspace_id, id) on delete set null (primary_quote_id);

create table public.proposals (
    id           uuid                   not null default private.uuid7(),
    workspace_id uuid                   not null,
    request_id   uuid                   not null,
    session_id   uuid                   not null,
    quote_id     uuid,
    status       public.proposal_status not null default 'draft',
    title        text,
    details      jsonb                  not null default '{}',
    created_at   timestamptz            not null default clock_timestamp(),
    updated_at   timestamptz            not null default clock_timestamp(),
    amount       numeric(14,2),
    currency     text,
    text         text,
    constraint proposals_pkey            primary key (id),
    constraint proposals_workspace_key   unique (workspace_id, id),
    constraint proposals_request_id_fkey foreign key (workspace_id, request_id) references public.requests (workspace_id, id) on delete cascade,
    constraint proposals_session_id_fkey foreign key (workspace_id, session_id) references public.sessions (workspace_id, id) on delete cascade,
    constraint proposals_quote_id_fkey   foreign key (workspace_id, quote_id) references public.quotes (workspace_id, id) on delete set null (quote_id),
    constraint proposals_title           check (length(title) between 1 and 200),
    constraint proposals_text            check (length(text) between 1 and 16000),
    constraint proposals_price           check ((amount is null) = (currency is null) and amount >= 0 and currency ~ '^[A-Z]{3}$'),
    constraint proposals_details_object  check (jsonb_typeof(details) = 'object')
);
comment on table public.proposals is 'An offer made from a quote.';
comment on column public.proposals.amount is 'The price for the contact, in the currency''s main unit (ISO 4217); not the operator''s.';
comment on column public.proposals.text is 'What the contact reads.';
alter table public.proposals enable row level security;
create index proposals_request_id_idx on public.proposals (request_id);
create index proposals_session_id_idx on public.proposals (session_id);
create index proposals_quote_id_idx on public.proposals (quote_id);

-- squawk-ignore adding-foreign-key-constraint, constraint-missing-not-valid
alter table public.sessions add constraint sessions_proposal_id_fkey foreign key (workspace_id, proposal_id)
        references public.proposals (workspace_id, id) on delete set null (proposal_id);

create function private.choose_primary_quote(request_id uuid)
    returns void language plpgsql set search_path = ''
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
comment on function private.choose_primary_quote is 'Sets the primary quote of the sessions of a locked request: their present one if it is received, else the first received, else none.';

create function private.upsert_quote(session_id uuid, operator_key text, quote jsonb)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    session public.sessions := private.open_request(private.lock_request(session_id));
    over    boolean;
    present public.quotes;
    stored  public.quotes;
    wanted  public.quote_status;
    allowed public.quote_status[];
    moves   boolean;
    chosen  boolean := false;
begin
    if session.status not in ('active', 'paused') then
        -- The session that continues the request, if one is live: the quote is for it.
        select s.* into session
          from public.sessions s
         where s.request_id = session.request_id
         order by s.status in ('active', 'paused') desc, s.id = session.id desc, s.created_at desc
         limit 1;
    end if;
    over := session.status not in ('active', 'paused');
    select q.* into present
      from public.quotes q
     where q.request_id = session.request_id
       and q.operator_key = upsert_quote.operator_key;
    wanted := coalesce((quote ->> 'status')::public.quote_status, present.status, 'requested');
    if present.id is null then
        insert into public.quotes (workspace_id, request_id, session_id, operator_key, operator, external_id, status, amount, currency,
                                   aircraft_type, details, late, received_at)
        values (session.workspace_id, session.request_id, session.id, upsert_quote.operator_key,
                coalesce(quote ->> 'operator', quote ->> 'asked_as', upsert_quote.operator_key), quote ->> 'external_id', wanted,
                (quote ->> 'amount')::numeric, quote ->> 'currency', quote ->> 'aircraft_type',
                coalesce(nullif(quote -> 'details', 'null'), '{}'), over,
                case when wanted = 'received' then clock_timestamp() end)
        returning * into stored;
        moves := true;
    else
        -- requested is older than every other status.
        if wanted = 'requested' then
            wanted := present.status;
        end if;
        moves := wanted <> present.status;
        allowed := case present.status
                       when 'requested' then array['received', 'declined', 'expired', 'withdrawn']
                       when 'received'  then array['withdrawn', 'expired']
                       else array['received'] end;
        if moves and wanted <> all (allowed) then
            perform private.raise_refusal(private.transition_refusal(jsonb_build_object(
                'session_id', session.id, 'quote_id', present.id, 'quote_status', present.status,
                'allowed', to_jsonb(allowed))));
        end if;
        update public.quotes q
           set status        = wanted,
               operator      = coalesce(quote ->> 'operator', q.operator),
               external_id   = coalesce(quote ->> 'external_id', q.external_id),
               amount        = coalesce((quote ->> 'amount')::numeric, q.amount),
               currency      = coalesce(quote ->> 'currency', q.currency),
               aircraft_type = coalesce(quote ->> 'aircraft_type', q.aircraft_type),
               details       = q.details || coalesce(nullif(quote -> 'details', 'null'), '{}'),
               late          = q.late or (moves and over),
               received_at   = case when wanted = 'received' then coalesce(q.received_at, clock_timestamp()) else q.received_at end
         where q.id = present.id
        returning * into stored;
        if stored is distinct from present then
            update public.quotes q set updated_at = clock_timestamp() where q.id = present.id returning * into stored;
        end if;
    end if;
    if (quote ->> 'primary')::boolean then
        if stored.status <> 'received' then
            perform private.raise_refusal(private.transition_refusal(jsonb_build_object(
                'session_id', session.id, 'quote_id', present.id, 'quote_status', stored.status, 'allowed', '[]'::jsonb)));
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
    return private.describe_quote(stored) || jsonb_build_object('changed', chosen or stored is distinct from present);
end;
$$;
comment on function private.upsert_quote is 'Creates or changes an operator''s quote for a session''s request: {status, operator (asked_as until one is given), external_id, amount, currency, aircraft_type, details, primary}. One row per operator, in whatever order reports arrive. For an ended session it goes to the live session that continues the request, or is marked late and changes nothing else. Raises SB001 for a change that the quote''s status does not allow.';

create function private.reach_proposal_ready(session public.sessions)
    returns public.sessions language plpgsql set search_path = ''
as $$
declare
    moved public.sessions;
begin
    -- Whatever the present step is: the proposal is ready. A workflow without this step stays where it is.
    update public.sessions s
       set workflow = coalesce(s.workflow, 'charter'), workflow_step = 'proposal_ready'
     where s.id = session.id
       and s.workflow_step is distinct from 'proposal_ready'
       and s.status in ('active', 'paused')
       and exists (select
                     from public.workflow_transitions t
                    where t.workflow = coalesce(s.workflow, 'charter')
                      and t.to_step = 'proposal_ready')
    returning s.* into moved;
    if not found then
        return session;
    end if;
    insert into public.workflow_steps (workspace_id, session_id, workflow, from_step, to_step, actor_id)
    values (moved.workspace_id, moved.id, moved.workflow, session.workflow_step, 'proposal_ready', private.calling_actor());
    return moved;
end;
$$;
comment on function private.reach_proposal_ready is 'Moves a locked, live session to the step proposal_ready of its workflow, or of the built-in one.';

create function private.upsert_proposal(session public.sessions, proposal jsonb)
    returns public.sessions language plpgsql set search_path = ''
as $$
declare
    present public.proposals;
    stored  public.proposals;
    wanted  public.proposal_status := (proposal ->> 'status')::public.proposal_status;
    allowed public.proposal_status[];
begin
    select p.* into present from public.proposals p where p.id = session.proposal_id;
    if present.id is null or (present.status in ('declined', 'withdrawn') and wanted in ('draft', 'sent')) then
        perform private.require_live(session);
        session := private.open_request(session);
        present := null;
    end if;
    if present.id is null or proposal ->> 'quote_id' is not null then
        perform private.require_own_request(session, session.request_id);
    end if;
    if proposal ->> 'quote_id' is not null
       and not exists (select
                         from public.quotes q
                        where q.id = (proposal ->> 'quote_id')::uuid
                          and q.request_id = session.request_id) then
        raise sqlstate 'PT404' using message = 'quote_not_found';
    end if;
    if present.id is null then
        if coalesce(wanted, 'draft') not in ('draft', 'sent') then
            perform private.raise_refusal(private.transition_refusal(jsonb_build_object(
                'session_id', session.id, 'proposal_status', null, 'allowed', '["draft", "sent"]'::jsonb)));
        end if;
        insert into public.proposals (workspace_id, request_id, session_id, quote_id, status, title, amount, currency, text, details)
        values (session.workspace_id, session.request_id, session.id,
                case when proposal ? 'quote_id' then (proposal ->> 'quote_id')::uuid else session.primary_quote_id end,
                coalesce(wanted, 'draft'), proposal ->> 'title', (proposal ->> 'amount')::numeric, proposal ->> 'currency',
                proposal ->> 'text', coalesce(nullif(proposal -> 'details', 'null'), '{}'))
        returning * into stored;
        update public.sessions s set proposal_id = stored.id where s.id = session.id returning * into session;
    else
        wanted  := coalesce(wanted, present.status);
        allowed := case present.status
                       when 'draft' then array['sent', 'withdrawn']
                       when 'sent'  then array['accepted', 'declined', 'withdrawn']
                       else array[]::text[] end;
        if wanted <> present.status and wanted <> all (allowed) then
            perform private.raise_refusal(private.transition_refusal(jsonb_build_object(
                'session_id', session.id, 'proposal_id', present.id, 'proposal_status', present.status,
                'allowed', to_jsonb(allowed))));
        end if;
        update public.proposals p
           set status   = wanted,
               quote_id = case when proposal ? 'quote_id' then (proposal ->> 'quote_id')::uuid else p.quote_id end,
               title    = case when proposal ? 'title' then proposal ->> 'title' else p.title end,
               amount   = case when proposal ? 'amount' then (proposal ->> 'amount')::numeric else p.amount end,
               currency = case when proposal ? 'amount' then proposal ->> 'currency' else p.currency end,
               text     = case when proposal ? 'text' then proposal ->> 'text' else p.text end,
               details  = case when proposal ? 'details' then coalesce(nullif(proposal -> 'details', 'null'), '{}') else p.details end
         where p.id = present.id
        returning * into stored;
        if stored is distinct from present then
            update public.proposals p set updated_at = clock_timestamp() where p.id = present.id;
        end if;
    end if;
    if present.id is null or stored.status <> present.status then
        perform private.record_audit('proposal.' || stored.status, stored.id, private.calling_actor(), null);
        if stored.status = 'sent' then
            session := private.reach_proposal_ready(session);
        end if;
    end if;
    return session;
end;
$$;
comment on function private.upsert_proposal is 'Creates or changes the proposal of a locked session: {status, title, amount, currency, text, quote_id, details}; a new one follows a declined or withdrawn one. A sent one moves the session to the step proposal_ready. Raises SB001 for a change that the proposal''s status does not allow.';

create function private.describe_quote(quote public.quotes)
    returns jsonb language sql stable set search_path = ''
as $$
    select jsonb_build_object(
               'id', quote.id, 'operator_key', quote.operator_key, 'operator', quote.operator, 'external_id', quote.external_id,
               'status', quote.status, 'amount', quote.amount, 'currency', quote.currency,
               'aircraft_type', quote.aircraft_type, 'late', quote.late,
               'details', quote.details, 'created_at', quote.created_at, 'received_at', quote.received_at,
               'updated_at', quote.updated_at);
$$;
comment on function private.describe_quote is 'A quote as members see it.';

create function private.count_quotes(request_id uuid)
    returns jsonb language plpgsql stable set search_path = ''
as $$
begin
    return (select jsonb_build_object(
                       'expected',  count(*),
                       'received',  count(*) filter (where q.status = 'received'),
                       'declined',  count(*) filter (where q.status = 'declined'),
                       'expired',   count(*) filter (where q.status = 'expired'),
                       'withdrawn', count(*) filter (where q.status = 'withdrawn'),
                       'late',      count(*) filter (where q.late))
              from public.quotes q
             where q.request_id = count_quotes.request_id);
end;
$$;
comment on function private.count_quotes is 'How many operators were asked for a request, by the status of their quotes.';

grant execute on function
    private.choose_primary_quote, private.upsert_quote, private.reach_proposal_ready, private.upsert_proposal, private.describe_quote, private.count_quotes
    to switchboard;
