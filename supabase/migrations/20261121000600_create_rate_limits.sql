-- What keeps a workspace safe from too much, and what it can look up afterwards.

set lock_timeout = '5s';
set statement_timeout = '60s';

create table public.rate_limits (
    workspace_id      uuid        not null,
    name              text        not null,
    subject           text        not null,
    window_started_at timestamptz not null default pg_catalog.now(),
    taken             integer     not null default 0,
    refused           integer     not null default 0,
    constraint rate_limits_pkey              primary key (workspace_id, name, subject),
    constraint rate_limits_workspace_id_fkey foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint rate_limits_lengths           check (pg_catalog.length(name) between 1 and 64 and pg_catalog.length(subject) between 1 and 200)
);
comment on table  public.rate_limits         is 'How much of each limit is used in its current window (one minute).';
comment on column public.rate_limits.subject is 'Whom it limits: a space''s id, a network address.';
comment on column public.rate_limits.refused is 'Refusals within the window.';

alter table public.rate_limits enable row level security;
grant select                 on public.rate_limits to authenticated;
grant select, insert, update on public.rate_limits to switchboard;
grant all                    on public.rate_limits to service_role;

create table public.audit_events (
    id           uuid        not null default private.uuid7(),
    workspace_id uuid        not null,
    verb         text        not null,
    object_id    uuid        not null,
    actor_id     uuid,
    code         text,
    created_at   timestamptz not null default pg_catalog.now(),
    constraint audit_events_pkey              primary key (id),
    constraint audit_events_workspace_id_fkey foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint audit_events_lengths           check (pg_catalog.length(verb) between 1 and 64 and pg_catalog.length(code) <= 64)
);
comment on table  public.audit_events           is 'What happened, in ids and verbs only: nothing here has to be erased with a contact.';
comment on column public.audit_events.verb      is 'noun.participle, like contact.registered or turn.failed.';
comment on column public.audit_events.object_id is 'What it happened to.';
comment on column public.audit_events.actor_id  is 'The contact or user who did it; null for the system.';
create index audit_events_workspace_id_idx on public.audit_events (workspace_id, created_at);
create index audit_events_object_id_idx    on public.audit_events (object_id);

alter table public.audit_events enable row level security;
grant select on public.audit_events to authenticated;
grant insert on public.audit_events to switchboard;
grant all    on public.audit_events to service_role;
