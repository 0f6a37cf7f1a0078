-- Outside people, and the ways to recognise them.

set lock_timeout = '5s';
set statement_timeout = '60s';

create type public.identity_kind as enum ('email', 'phone', 'telegram', 'whatsapp', 'discord', 'omi', 'external');
comment on type public.identity_kind is
    'email, phone, telegram, whatsapp, discord, omi: an address or id there; external: an id of another system, written system:id (auth:… is a Supabase user).';

create type public.proof as enum ('asserted', 'verified');
comment on type public.proof is 'asserted: somebody typed it; verified: a token, a confirmed user, an HMAC or a service stands behind it. asserted -> verified';

create table public.contacts (
    -- Random, not time-ordered: the id of a contact tells nothing about when they came.
    id           uuid        not null default pg_catalog.gen_random_uuid(),
    workspace_id uuid        not null,
    first_name   text,
    last_name    text,
    source       text,
    attributes   jsonb       not null default '{}',
    session_id   uuid,
    created_at   timestamptz not null default pg_catalog.now(),
    constraint contacts_pkey              primary key (id),
    constraint contacts_workspace_key     unique (workspace_id, id),
    constraint contacts_workspace_id_fkey foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint contacts_lengths           check (pg_catalog.length(first_name) <= 200 and pg_catalog.length(last_name) <= 200 and pg_catalog.length(source) <= 200),
    constraint contacts_attributes_object check (pg_catalog.jsonb_typeof(attributes) = 'object')
);
comment on table  public.contacts            is 'An outside person the workspace talks with.';
comment on column public.contacts.session_id is 'The session first linked; never silently repointed.';

alter table public.contacts enable row level security;
grant select                 on public.contacts to contact, authenticated;
grant select, insert, update on public.contacts to switchboard;
grant all                    on public.contacts to service_role;

create table public.contact_identities (
    id           uuid                 not null default private.uuid7(),
    workspace_id uuid                 not null,
    contact_id   uuid                 not null,
    kind         public.identity_kind not null,
    key          text                 not null,
    value        text                 not null,
    evidence     public.proof         not null,
    verified_by  text,
    verified_at  timestamptz,
    created_at   timestamptz          not null default pg_catalog.now(),
    constraint contact_identities_pkey            primary key (id),
    -- The key before the kind: under row-level security an enum's comparison is no condition for an index (its operator is
    -- not leakproof), and what stands behind it in the index would not be one either.
    constraint contact_identities_key             unique (workspace_id, key, kind),
    constraint contact_identities_contact_id_fkey foreign key (workspace_id, contact_id) references public.contacts (workspace_id, id) on delete cascade,
    constraint contact_identities_lengths         check (pg_catalog.length(key) between 1 and 400 and pg_catalog.length(value) between 1 and 400),
    constraint contact_identities_evidence        check ((evidence = 'verified') = (verified_by is not null and verified_at is not null))
);
comment on table  public.contact_identities       is 'One way to recognise a contact, with its evidence.';
comment on column public.contact_identities.key   is 'The compared form, normalised once, in lib/registration.py.';
comment on column public.contact_identities.value is 'What was typed.';
create index contact_identities_contact_id_idx on public.contact_identities (contact_id);

alter table public.contact_identities enable row level security;
grant select                 on public.contact_identities to authenticated;
grant select, insert, update on public.contact_identities to switchboard;
grant all                    on public.contact_identities to service_role;
