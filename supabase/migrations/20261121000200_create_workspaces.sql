-- The tenant, who works in it, who answers for it and where its contacts arrive.

set lock_timeout = '5s';
set statement_timeout = '60s';

create type public.member_role as enum ('owner', 'admin', 'agent');
comment on type public.member_role is 'owner and admin see and change the whole workspace; agent sees own and assigned sessions.';

create type public.session_policy as enum ('per_conversation', 'per_message');
comment on type public.session_policy is 'per_conversation: a session lives through many turns; per_message: each message is a session and ends with its turn.';

create type public.space_kind as enum ('embed', 'landing');
comment on type public.space_kind is 'embed: a chat inside a page; landing: a page of its own (app).';

create type public.session_status as enum ('active', 'paused', 'completed', 'failed', 'timeout', 'cancelled', 'archived');
comment on type public.session_status is
    'active <-> paused; active | paused -> completed | failed | timeout | cancelled -> archived (-> its former state on restore)';

create table public.workspaces (
    id                 uuid                    not null default private.uuid7(),
    name               text                    not null,
    allowed_networks   cidr[]                  not null default '{}',
    archive_after_days integer                 not null default 90,
    archive_statuses   public.session_status[] not null default '{completed,failed,timeout,cancelled}',
    created_at         timestamptz             not null default pg_catalog.now(),
    constraint workspaces_pkey                primary key (id),
    constraint workspaces_name_length         check (pg_catalog.length(name) between 1 and 200),
    constraint workspaces_archive_after_days  check (archive_after_days between 1 and 3650),
    constraint workspaces_archive_statuses    check (archive_statuses <@ '{completed,failed,timeout,cancelled}')
);
comment on table  public.workspaces                    is 'The tenant; every row belongs to one.';
comment on column public.workspaces.allowed_networks   is 'Private networks that this workspace''s personas may call; everything private is refused otherwise. Set by operators only.';
comment on column public.workspaces.archive_after_days is 'A finished session is archived this many days after its last activity.';
comment on column public.workspaces.archive_statuses   is 'Which terminal states are archived.';

alter table public.workspaces enable row level security;
grant select on public.workspaces to authenticated, switchboard;
grant all    on public.workspaces to service_role;

create table public.workspace_members (
    workspace_id uuid               not null,
    user_id      uuid               not null,
    role         public.member_role not null,
    created_at   timestamptz        not null default pg_catalog.now(),
    constraint workspace_members_pkey              primary key (workspace_id, user_id),
    constraint workspace_members_workspace_id_fkey foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint workspace_members_user_id_fkey      foreign key (user_id) references auth.users (id) on delete cascade
);
comment on table public.workspace_members is 'Users with a role in a workspace.';
create index workspace_members_user_id_idx on public.workspace_members (user_id, workspace_id) include (role);

alter table public.workspace_members enable row level security;
grant select on public.workspace_members to authenticated, switchboard;
grant all    on public.workspace_members to service_role;

create table public.personas (
    id                 uuid                  not null default private.uuid7(),
    workspace_id       uuid                  not null,
    kind               text                  not null,
    name               text                  not null,
    config             jsonb                 not null default '{}',
    secret_id          uuid,
    callback_secret_id uuid,
    session_policy     public.session_policy not null default 'per_conversation',
    history_limit      integer               not null default 20,
    time_limit_seconds integer               not null default 120,
    enabled            boolean               not null default true,
    created_at         timestamptz           not null default pg_catalog.now(),
    constraint personas_pkey               primary key (id),
    constraint personas_workspace_key      unique (workspace_id, id),
    constraint personas_workspace_id_fkey  foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint personas_kind_form          check (kind ~ '^[a-z][a-z0-9_]{0,31}$'),
    constraint personas_name_length        check (pg_catalog.length(name) between 1 and 200),
    constraint personas_config_object      check (pg_catalog.jsonb_typeof(config) = 'object'),
    constraint personas_history_limit      check (history_limit between 0 and 200),
    constraint personas_time_limit_seconds check (time_limit_seconds between 1 and 840)
);
comment on table  public.personas                    is 'Who answers: an n8n webhook, a language model, or the built-in demo.';
comment on column public.personas.kind               is 'The module of lib/personas that answers.';
comment on column public.personas.secret_id          is 'Vault secret sent with outgoing calls.';
comment on column public.personas.callback_secret_id is 'Vault secret that asynchronous answers must carry.';
comment on column public.personas.history_limit      is 'How many earlier messages the persona is given.';
comment on column public.personas.time_limit_seconds is 'How long one turn may take; below the function''s own limit (900 s on AWS Lambda).';

alter table public.personas enable row level security;
grant select on public.personas to authenticated, switchboard;
grant all    on public.personas to service_role;

create table public.spaces (
    id                             uuid              not null default private.uuid7(),
    workspace_id                   uuid              not null,
    kind                           public.space_kind not null,
    name                           text              not null,
    persona_id                     uuid              not null,
    allowed_origins                text[]            not null default '{}',
    hmac_secret_id                 uuid,
    arrivals_per_minute            integer           not null default 1200,
    arrivals_per_minute_by_address integer           not null default 120,
    enabled                        boolean           not null default true,
    created_at                     timestamptz       not null default pg_catalog.now(),
    constraint spaces_pkey                primary key (id),
    constraint spaces_workspace_key       unique (workspace_id, id),
    constraint spaces_workspace_id_fkey   foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint spaces_persona_id_fkey     foreign key (workspace_id, persona_id) references public.personas (workspace_id, id) deferrable initially deferred,
    constraint spaces_name_length         check (pg_catalog.length(name) between 1 and 200),
    constraint spaces_arrivals            check (arrivals_per_minute > 0 and arrivals_per_minute_by_address > 0)
);
comment on table  public.spaces                                is 'A place where contacts arrive: an embedded chat or a landing page.';
comment on column public.spaces.allowed_origins                is 'Origins whose pages may call from a browser, like https://www.example.com; * for any.';
comment on column public.spaces.hmac_secret_id                 is 'Vault secret under which the customer''s own server signs emails (HMAC-SHA256, hex).';
comment on column public.spaces.arrivals_per_minute            is 'Registrations and first messages without a token that the space takes in a minute.';
comment on column public.spaces.arrivals_per_minute_by_address is 'The same from one network address.';
create index spaces_persona_id_idx on public.spaces (persona_id);

alter table public.spaces enable row level security;
grant select on public.spaces to authenticated, switchboard;
grant all    on public.spaces to service_role;
