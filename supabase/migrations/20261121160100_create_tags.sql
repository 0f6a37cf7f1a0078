-- Tags: what members call contacts and sessions, to find them again.

set lock_timeout = '5s';
set statement_timeout = '60s';

create table public.tags (
    id           uuid        not null default private.uuid7(),
    workspace_id uuid        not null,
    name         text        not null,
    contact_id   uuid,
    session_id   uuid,
    created_at   timestamptz not null default pg_catalog.now(),
    constraint tags_pkey            primary key (id),
    constraint tags_contact_key     unique (contact_id, name),
    constraint tags_session_key     unique (session_id, name),
    constraint tags_one_owner       check (pg_catalog.num_nonnulls(contact_id, session_id) = 1),
    constraint tags_name            check (pg_catalog.length(name) between 1 and 64),
    constraint tags_contact_id_fkey foreign key (workspace_id, contact_id) references public.contacts (workspace_id, id) on delete cascade,
    constraint tags_session_id_fkey foreign key (workspace_id, session_id) references public.sessions (workspace_id, id) on delete cascade
);
comment on table  public.tags      is 'One tag on one contact or one session.';
comment on column public.tags.name is 'Normalised once, in lib/contacts.py: trimmed, NFC, lower case.';
create index tags_name_idx on public.tags (workspace_id, name);

alter table public.tags enable row level security;
grant select                 on public.tags to authenticated;
grant select, insert, delete on public.tags to switchboard;
grant all                    on public.tags to service_role;
