-- Two contacts that turn out to be one. Nothing is deleted: the one stands for the other, a ledger keeps what moved and what
-- was there before, so that it can be undone; and what only looks like it is parked until a member says.

set lock_timeout = '5s';
set statement_timeout = '60s';

create type public.conflict_status as enum ('open', 'merged', 'dismissed');
comment on type public.conflict_status is 'open -> merged | dismissed; merged -> open: the merge was undone.';

-- Null everywhere: there is nothing to check, and nothing to find.
alter table public.contacts
    add column merged_into_id uuid,
    -- squawk-ignore adding-foreign-key-constraint, constraint-missing-not-valid
    add constraint contacts_merged_into_id_fkey foreign key (workspace_id, merged_into_id)
        references public.contacts (workspace_id, id) on delete cascade,
    -- squawk-ignore constraint-missing-not-valid
    add constraint contacts_merged_into_another check (merged_into_id <> id);
comment on column public.contacts.merged_into_id is
    'The contact that it was merged into, which may have been merged further; null: it stands. What is gone with that one goes with it.';
-- squawk-ignore require-concurrent-index-creation
create index contacts_merged_into_id_idx on public.contacts (merged_into_id);

create table public.contact_merges (
    id           uuid        not null default private.uuid7(),
    workspace_id uuid        not null,
    contact_id   uuid        not null,
    into_id      uuid        not null,
    automatic    boolean     not null default false,
    verified_by  text,
    merged_by    uuid,
    created_at   timestamptz not null default pg_catalog.clock_timestamp(),
    undone_at    timestamptz,
    undone_by    uuid,
    constraint contact_merges_pkey            primary key (id),
    constraint contact_merges_workspace_key   unique (workspace_id, id),
    constraint contact_merges_contact_id_fkey foreign key (workspace_id, contact_id) references public.contacts (workspace_id, id) on delete cascade,
    constraint contact_merges_into_id_fkey    foreign key (workspace_id, into_id) references public.contacts (workspace_id, id) on delete cascade,
    constraint contact_merges_differ          check (contact_id <> into_id),
    constraint contact_merges_automatic       check (automatic = (verified_by is not null) and not (automatic and merged_by is not null)),
    constraint contact_merges_undone          check (undone_by is null or undone_at is not null)
);
comment on table  public.contact_merges             is 'That one contact was merged into another, and perhaps parted from it again.';
comment on column public.contact_merges.automatic   is 'Whether it followed from proof; else a member did it, or an operator.';
comment on column public.contact_merges.verified_by is 'What stood behind the identity, where it followed from proof.';
comment on column public.contact_merges.merged_by   is 'The member; null where it followed from proof, and for an operator''s command.';
-- A contact is merged once at a time.
create unique index contact_merges_standing_idx on public.contact_merges (contact_id) where undone_at is null;
create index contact_merges_contact_id_idx on public.contact_merges (contact_id, created_at);
create index contact_merges_into_id_idx    on public.contact_merges (into_id);

create table public.contact_moves (
    merge_id     uuid  not null,
    relation     text  not null,
    row_id       uuid  not null,
    workspace_id uuid  not null,
    former       jsonb not null,
    given        jsonb not null default '{}',
    constraint contact_moves_pkey          primary key (merge_id, relation, row_id),
    constraint contact_moves_merge_id_fkey foreign key (workspace_id, merge_id) references public.contact_merges (workspace_id, id) on delete cascade,
    constraint contact_moves_objects       check (pg_catalog.jsonb_typeof(former) = 'object' and pg_catalog.jsonb_typeof(given) = 'object')
);
comment on table  public.contact_moves          is 'What a merge moved or filled in, row by row: the ledger from which it is undone.';
comment on column public.contact_moves.relation is 'The table, as private.merged_tables names it; contacts: what the standing contact was given.';
comment on column public.contact_moves.former   is 'What the columns held before that the merge wrote; of a tag all that it takes to make it again.';
comment on column public.contact_moves.given    is 'What the merge wrote instead, where that is not the standing contact''s id: only what still holds it is put back.';
create index contact_moves_row_id_idx on public.contact_moves (row_id);

create table public.contact_conflicts (
    id               uuid                   not null default private.uuid7(),
    workspace_id     uuid                   not null,
    contact_id       uuid                   not null,
    other_contact_id uuid                   not null,
    found_by         text                   not null,
    status           public.conflict_status not null default 'open',
    merge_id         uuid,
    closed_by        uuid,
    created_at       timestamptz            not null default pg_catalog.clock_timestamp(),
    closed_at        timestamptz,
    constraint contact_conflicts_pkey                  primary key (id),
    constraint contact_conflicts_contact_id_fkey       foreign key (workspace_id, contact_id) references public.contacts (workspace_id, id) on delete cascade,
    constraint contact_conflicts_other_contact_id_fkey foreign key (workspace_id, other_contact_id)
        references public.contacts (workspace_id, id) on delete cascade,
    constraint contact_conflicts_merge_id_fkey         foreign key (workspace_id, merge_id)
        references public.contact_merges (workspace_id, id) on delete set null (merge_id),
    constraint contact_conflicts_differ                check (contact_id <> other_contact_id),
    constraint contact_conflicts_found_by              check (pg_catalog.length(found_by) between 1 and 64),
    constraint contact_conflicts_closed                check ((status = 'open') = (closed_at is null))
);
comment on table  public.contact_conflicts          is 'Two contacts that somebody called the same, for a member to decide.';
comment on column public.contact_conflicts.found_by is
    'What said so: resolve (several identities that were brought together), asserted (somebody''s word), or what stood behind a proof.';
comment on column public.contact_conflicts.merge_id is 'The merge that settled it.';
-- Once for a pair while it is open, whoever of the two is named first.
create unique index contact_conflicts_open_idx
    on public.contact_conflicts (least(contact_id, other_contact_id), greatest(contact_id, other_contact_id)) where status = 'open';
create index contact_conflicts_newest_idx           on public.contact_conflicts (workspace_id, created_at, id);
create index contact_conflicts_contact_id_idx       on public.contact_conflicts (contact_id);
create index contact_conflicts_other_contact_id_idx on public.contact_conflicts (other_contact_id);
create index contact_conflicts_merge_id_idx         on public.contact_conflicts (merge_id);

alter table public.contact_merges    enable row level security;
alter table public.contact_moves     enable row level security;
alter table public.contact_conflicts enable row level security;
grant select                 on public.contact_merges, public.contact_conflicts to authenticated;
grant select, insert, update on public.contact_merges, public.contact_conflicts to switchboard;
grant select, insert         on public.contact_moves to switchboard;
grant update                 on public.tags to switchboard;
grant all                    on public.contact_merges, public.contact_moves, public.contact_conflicts to service_role;
