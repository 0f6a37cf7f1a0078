-- Webhook deliveries, stored raw before anything else, and the queue of background work.

set lock_timeout = '5s';
set statement_timeout = '60s';

create type public.job_status as enum ('queued', 'running', 'succeeded', 'failed');
comment on type public.job_status is 'queued -> running -> succeeded | queued (to be tried again) | failed (tries used up, or not worth another)';

create table public.inbound_events (
    id           uuid        not null default private.uuid7(),
    workspace_id uuid        not null,
    source       text        not null,
    delivery_key text        not null,
    headers      jsonb       not null default '{}',
    raw_body     text        not null,
    received_at  timestamptz not null default pg_catalog.now(),
    constraint inbound_events_pkey              primary key (id),
    constraint inbound_events_workspace_key     unique (workspace_id, id),
    constraint inbound_events_delivery_key      unique (workspace_id, source, delivery_key),
    constraint inbound_events_workspace_id_fkey foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint inbound_events_lengths           check (pg_catalog.length(source) between 1 and 64 and pg_catalog.length(delivery_key) between 1 and 400)
);
comment on table  public.inbound_events              is 'One webhook delivery, as it came.';
comment on column public.inbound_events.delivery_key is 'What makes a delivery the same one when it is sent again.';
comment on column public.inbound_events.headers      is 'Chosen headers; never one that carries a secret.';

alter table public.inbound_events enable row level security;
grant select         on public.inbound_events to authenticated;
grant select, insert on public.inbound_events to switchboard;
grant all            on public.inbound_events to service_role;

create table public.jobs (
    id              uuid              not null default private.uuid7(),
    seq             bigint            not null generated always as identity,
    workspace_id    uuid              not null,
    kind            text              not null,
    status          public.job_status not null default 'queued',
    ordering_key    text,
    event_id        uuid,
    payload         jsonb             not null default '{}',
    attempts        integer           not null default 0,
    max_attempts    integer           not null default 8,
    next_attempt_at timestamptz       not null default pg_catalog.now(),
    lease_until     timestamptz,
    last_error      text,
    created_at      timestamptz       not null default pg_catalog.now(),
    finished_at     timestamptz,
    constraint jobs_pkey              primary key (id),
    constraint jobs_workspace_id_fkey foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint jobs_event_id_fkey     foreign key (workspace_id, event_id) references public.inbound_events (workspace_id, id) on delete cascade,
    constraint jobs_lengths           check (pg_catalog.length(kind) between 1 and 64 and pg_catalog.length(ordering_key) between 1 and 400),
    constraint jobs_running           check ((status = 'running') = (lease_until is not null)),
    constraint jobs_finished          check ((status in ('succeeded', 'failed')) = (finished_at is not null))
);
comment on table  public.jobs              is 'One piece of background work, queued in the transaction that causes it.';
comment on column public.jobs.seq          is 'The order in which jobs were queued.';
comment on column public.jobs.ordering_key is 'Jobs of one key run one at a time, in the order they were queued.';
comment on column public.jobs.lease_until  is 'Past it the worker is taken for dead and the job may be claimed again.';
create index jobs_due_idx          on public.jobs (next_attempt_at, id) where status in ('queued', 'running');
create index jobs_ordering_key_idx on public.jobs (workspace_id, ordering_key, seq) where status in ('queued', 'running');
create index jobs_lease_until_idx  on public.jobs (lease_until) where status = 'running';
create index jobs_event_id_idx     on public.jobs (event_id);
create index jobs_workspace_id_idx on public.jobs (workspace_id, status, created_at);

alter table public.jobs enable row level security;
grant select                 on public.jobs to authenticated;
grant select, insert, update on public.jobs to switchboard;
grant all                    on public.jobs to service_role;
