-- What a session works towards: a request for a trip, the quotes that operators give for it, the proposal made of them. And
-- where the session stands in its workflow, who looks after it in the persona's place, and by what other systems know it.

set lock_timeout = '5s';
set statement_timeout = '60s';

create type public.quote_status as enum ('requested', 'received', 'declined', 'expired', 'withdrawn');
comment on type public.quote_status is
    'requested -> received | declined | expired | withdrawn; received -> withdrawn | expired; declined | expired | withdrawn -> received: an operator may change its mind.';

create type public.proposal_status as enum ('draft', 'sent', 'accepted', 'declined', 'withdrawn');
comment on type public.proposal_status is 'draft -> sent -> accepted | declined; draft | sent -> withdrawn';

create table public.workflow_transitions (
    id           uuid        not null default private.uuid7(),
    workspace_id uuid,
    workflow     text        not null,
    from_step    text,
    to_step      text        not null,
    created_at   timestamptz not null default pg_catalog.now(),
    constraint workflow_transitions_pkey              primary key (id),
    constraint workflow_transitions_key               unique nulls not distinct (workspace_id, workflow, from_step, to_step),
    constraint workflow_transitions_workspace_id_fkey foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint workflow_transitions_names             check (workflow ~ '^[a-z][a-z0-9_]{0,62}$' and from_step ~ '^[a-z][a-z0-9_]{0,62}$'
                                                             and to_step ~ '^[a-z][a-z0-9_]{0,62}$'),
    constraint workflow_transitions_differ            check (from_step is distinct from to_step)
);
comment on table  public.workflow_transitions              is 'A step that may follow another in a workflow.';
comment on column public.workflow_transitions.workspace_id is 'Null: built in, for every workspace.';
comment on column public.workflow_transitions.from_step    is 'Null: the workflow may begin with to_step.';

create table public.requests (
    id           uuid        not null default private.uuid7(),
    workspace_id uuid        not null,
    session_id   uuid        not null,
    origin       text,
    destination  text,
    departs_at   timestamptz,
    passengers   integer,
    details      jsonb       not null default '{}',
    created_at   timestamptz not null default pg_catalog.clock_timestamp(),
    updated_at   timestamptz not null default pg_catalog.clock_timestamp(),
    constraint requests_pkey            primary key (id),
    constraint requests_workspace_key   unique (workspace_id, id),
    constraint requests_session_id_fkey foreign key (workspace_id, session_id) references public.sessions (workspace_id, id) on delete cascade,
    constraint requests_lengths         check (pg_catalog.length(origin) between 1 and 200 and pg_catalog.length(destination) between 1 and 200),
    constraint requests_passengers      check (passengers between 1 and 1000),
    -- What has a year of other than four digits cannot be told to whoever reads it, nor the page that it is on.
    constraint requests_departs_at      check (departs_at >= '0001-01-01T00:00:00Z' and departs_at < '10000-01-01T00:00:00Z'),
    constraint requests_details_object  check (pg_catalog.jsonb_typeof(details) = 'object')
);
comment on table  public.requests             is 'What somebody asks for: a trip with its route and date.';
comment on column public.requests.origin      is 'Where from, as the asking system names it: an airport''s code, or a place.';
comment on column public.requests.destination is 'Where to, likewise.';
comment on column public.requests.session_id  is 'The session it was first understood in; others may work on it too.';
create index requests_session_id_idx on public.requests (session_id);

create table public.quotes (
    id           uuid                not null default private.uuid7(),
    workspace_id uuid                not null,
    request_id   uuid                not null,
    session_id   uuid                not null,
    operator_key text                not null,
    operator     text                not null,
    external_id  text,
    status       public.quote_status not null default 'requested',
    amount       numeric(14, 2),
    currency     text,
    late         boolean             not null default false,
    details      jsonb               not null default '{}',
    created_at   timestamptz         not null default pg_catalog.clock_timestamp(),
    updated_at   timestamptz         not null default pg_catalog.clock_timestamp(),
    received_at  timestamptz,
    constraint quotes_pkey            primary key (id),
    constraint quotes_workspace_key   unique (workspace_id, id),
    constraint quotes_operator_key    unique (request_id, operator_key),
    constraint quotes_request_id_fkey foreign key (workspace_id, request_id) references public.requests (workspace_id, id) on delete cascade,
    constraint quotes_session_id_fkey foreign key (workspace_id, session_id) references public.sessions (workspace_id, id) on delete cascade,
    constraint quotes_lengths         check (pg_catalog.length(operator_key) between 1 and 200 and pg_catalog.length(operator) between 1 and 200
                                             and pg_catalog.length(external_id) between 1 and 200),
    constraint quotes_price           check ((amount is null) = (currency is null) and amount >= 0 and currency ~ '^[A-Z]{3}$'),
    constraint quotes_received        check (case status when 'requested' then received_at is null
                                                          when 'received'  then received_at is not null
                                                          else true end),
    constraint quotes_details_object  check (pg_catalog.jsonb_typeof(details) = 'object')
);
comment on table  public.quotes              is 'One row per operator asked, from requested on; counts are derived from these rows.';
comment on column public.quotes.operator_key is 'What the operator is recognised by: its id in the asking system, or its name in lower case.';
comment on column public.quotes.amount       is 'In the currency''s main unit (ISO 4217).';
comment on column public.quotes.received_at  is 'When the operator first gave one; kept when it is withdrawn or expires.';
comment on column public.quotes.late         is 'It came when its session was over already; it is counted and revives nothing.';
comment on column public.quotes.session_id   is 'The session that asked.';
create index quotes_session_id_idx on public.quotes (session_id, status);

create table public.proposals (
    id           uuid                   not null default private.uuid7(),
    workspace_id uuid                   not null,
    request_id   uuid                   not null,
    session_id   uuid                   not null,
    quote_id     uuid,
    status       public.proposal_status not null default 'draft',
    title        text,
    details      jsonb                  not null default '{}',
    created_at   timestamptz            not null default pg_catalog.clock_timestamp(),
    updated_at   timestamptz            not null default pg_catalog.clock_timestamp(),
    constraint proposals_pkey            primary key (id),
    constraint proposals_workspace_key   unique (workspace_id, id),
    constraint proposals_request_id_fkey foreign key (workspace_id, request_id) references public.requests (workspace_id, id) on delete cascade,
    constraint proposals_session_id_fkey foreign key (workspace_id, session_id) references public.sessions (workspace_id, id) on delete cascade,
    constraint proposals_quote_id_fkey   foreign key (workspace_id, quote_id) references public.quotes (workspace_id, id) on delete set null (quote_id),
    constraint proposals_title           check (pg_catalog.length(title) between 1 and 200),
    constraint proposals_details_object  check (pg_catalog.jsonb_typeof(details) = 'object')
);
comment on table public.proposals is 'What is offered to whoever asked, made of a quote.';
create index proposals_request_id_idx on public.proposals (request_id);
create index proposals_session_id_idx on public.proposals (session_id);
create index proposals_quote_id_idx   on public.proposals (quote_id);

create table public.session_refs (
    id           uuid        not null default private.uuid7(),
    workspace_id uuid        not null,
    session_id   uuid        not null,
    system       text        not null,
    kind         text        not null,
    external_id  text        not null,
    created_at   timestamptz not null default pg_catalog.clock_timestamp(),
    constraint session_refs_pkey            primary key (id),
    constraint session_refs_key             unique (workspace_id, external_id, system, kind, session_id),
    constraint session_refs_session_id_fkey foreign key (workspace_id, session_id) references public.sessions (workspace_id, id) on delete cascade,
    constraint session_refs_names           check (system ~ '^[a-z][a-z0-9_]{0,62}$' and kind ~ '^[a-z][a-z0-9_]{0,62}$'),
    constraint session_refs_external_id     check (pg_catalog.length(external_id) between 1 and 200)
);
comment on table public.session_refs is 'By what another system knows what a session works on: a trip, an RFP, an RFQ.';
create index session_refs_session_id_idx on public.session_refs (session_id);

create table public.workflow_steps (
    id           uuid        not null default private.uuid7(),
    workspace_id uuid        not null,
    session_id   uuid        not null,
    workflow     text        not null,
    from_step    text,
    to_step      text        not null,
    actor_id     uuid,
    created_at   timestamptz not null default pg_catalog.clock_timestamp(),
    constraint workflow_steps_pkey            primary key (id),
    constraint workflow_steps_session_id_fkey foreign key (workspace_id, session_id) references public.sessions (workspace_id, id) on delete cascade
);
comment on table  public.workflow_steps          is 'A step that a session took, in the order they were taken.';
comment on column public.workflow_steps.actor_id is 'Who moved it; null for the system.';
create index workflow_steps_session_id_idx on public.workflow_steps (session_id, created_at);

-- New columns are null everywhere: there is nothing to check, and nothing to find.
alter table public.sessions
    add column workflow         text,
    add column workflow_step    text,
    add column workflow_state   jsonb not null default '{}',
    add column request_id       uuid,
    add column primary_quote_id uuid,
    add column proposal_id      uuid,
    add column taken_over_by    uuid,
    add column taken_over_at    timestamptz,
    -- squawk-ignore adding-foreign-key-constraint, constraint-missing-not-valid
    add constraint sessions_request_id_fkey foreign key (workspace_id, request_id)
        references public.requests (workspace_id, id) on delete set null (request_id),
    -- squawk-ignore adding-foreign-key-constraint, constraint-missing-not-valid
    add constraint sessions_primary_quote_id_fkey foreign key (workspace_id, primary_quote_id)
        references public.quotes (workspace_id, id) on delete set null (primary_quote_id),
    -- squawk-ignore adding-foreign-key-constraint, constraint-missing-not-valid
    add constraint sessions_proposal_id_fkey foreign key (workspace_id, proposal_id)
        references public.proposals (workspace_id, id) on delete set null (proposal_id),
    -- squawk-ignore constraint-missing-not-valid
    add constraint sessions_workflow check ((workflow is null) = (workflow_step is null)),
    -- squawk-ignore constraint-missing-not-valid
    add constraint sessions_workflow_state_object check (pg_catalog.jsonb_typeof(workflow_state) = 'object'),
    -- squawk-ignore constraint-missing-not-valid
    add constraint sessions_taken_over check ((taken_over_by is null) = (taken_over_at is null));
comment on column public.sessions.workflow         is 'The workflow it follows, if any; workflow_transitions has its steps.';
comment on column public.sessions.workflow_state   is 'What the workflow''s owner keeps of it.';
comment on column public.sessions.request_id       is 'The request it works on.';
comment on column public.sessions.primary_quote_id is 'The quote that stands for it in lists: a received one of its request, null where there is none.';
comment on column public.sessions.proposal_id      is 'The proposal it led to.';
comment on column public.sessions.workflow_step    is 'Where it stands in its workflow; workflow_steps says how it came there.';
comment on column public.sessions.taken_over_by    is 'The member who answers in the persona''s place; null: the persona answers.';
-- squawk-ignore require-concurrent-index-creation
create index sessions_request_id_idx on public.sessions (request_id) where request_id is not null;
-- squawk-ignore require-concurrent-index-creation
create index sessions_primary_quote_id_idx on public.sessions (primary_quote_id) where primary_quote_id is not null;
-- squawk-ignore require-concurrent-index-creation
create index sessions_proposal_id_idx on public.sessions (proposal_id) where proposal_id is not null;
-- squawk-ignore require-concurrent-index-creation
create index sessions_workflow_step_idx on public.sessions (workspace_id, workflow_step, created_at, id) where workflow_step is not null;
-- squawk-ignore require-concurrent-index-creation
create index sessions_workflow_idx on public.sessions (workspace_id, workflow, created_at, id) where workflow is not null;
-- squawk-ignore require-concurrent-index-creation
create index sessions_with_quote_idx on public.sessions (workspace_id, created_at, id) where primary_quote_id is not null;
-- squawk-ignore require-concurrent-index-creation
create index sessions_taken_over_idx on public.sessions (workspace_id, created_at, id) where taken_over_at is not null;

-- What every workspace has. The ids are the same everywhere, so that a row can be named.
insert into public.workflow_transitions (id, workflow, from_step, to_step)
values ('01900000-0000-7000-8000-000000000001', 'charter', null,                    'understanding_request'),
       ('01900000-0000-7000-8000-000000000002', 'charter', 'understanding_request', 'searching_aircraft'),
       ('01900000-0000-7000-8000-000000000003', 'charter', 'searching_aircraft',    'requesting_quotes'),
       ('01900000-0000-7000-8000-000000000004', 'charter', 'requesting_quotes',     'proposal_ready'),
       -- Back: the request was understood anew, another aircraft is wanted, more operators are asked.
       ('01900000-0000-7000-8000-000000000005', 'charter', 'searching_aircraft',    'understanding_request'),
       ('01900000-0000-7000-8000-000000000006', 'charter', 'requesting_quotes',     'understanding_request'),
       ('01900000-0000-7000-8000-000000000007', 'charter', 'requesting_quotes',     'searching_aircraft'),
       ('01900000-0000-7000-8000-000000000008', 'charter', 'proposal_ready',        'understanding_request'),
       ('01900000-0000-7000-8000-000000000009', 'charter', 'proposal_ready',        'searching_aircraft'),
       ('01900000-0000-7000-8000-00000000000a', 'charter', 'proposal_ready',        'requesting_quotes');

alter table public.workflow_transitions enable row level security;
alter table public.requests             enable row level security;
alter table public.quotes               enable row level security;
alter table public.proposals            enable row level security;
alter table public.session_refs         enable row level security;
alter table public.workflow_steps       enable row level security;
grant select on public.requests to contact, authenticated;
grant select on public.workflow_transitions, public.quotes, public.proposals, public.session_refs, public.workflow_steps to authenticated;
grant select, insert, update on public.requests, public.quotes, public.proposals to switchboard;
grant select, insert, delete on public.workflow_transitions, public.session_refs to switchboard;
grant select, insert         on public.workflow_steps to switchboard;
grant all on public.workflow_transitions, public.requests, public.quotes, public.proposals, public.session_refs, public.workflow_steps
    to service_role;

-- A contact is told nothing of quotes: not by an id either.
grant select (id, workspace_id, request_id, session_id, status, title, details, created_at, updated_at) on public.proposals to contact;

create function private.own_requests()
    returns setof uuid
    language sql
    stable
    security definer
    set search_path = ''
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
comment on function private.own_requests() is 'The requests that the signed-in user''s own and assigned sessions work on, or were the first to.';
grant execute on function private.own_requests() to authenticated;
