-- A contact is a person or a group. What a group may not be (a participant of a group, known by somebody's email) is
-- kept out by foreign keys that carry the kind: no writer can forget to ask, and no two of them can race.

set lock_timeout = '5s';
set statement_timeout = '60s';

create type public.contact_kind as enum ('person', 'group');
comment on type public.contact_kind is 'person: somebody; group: a chat of several, whose participants are persons. It never changes.';

-- The table is rewritten under its lock: a contact is a short row.
alter table public.contacts
    add column kind          public.contact_kind not null default 'person',
    add column title         text,
    -- Lists search the beginning of a name. Beside a policy only comparisons that are leakproof are conditions for an index:
    -- like is not, and neither is lower(); an order by bytes of what is stored in lower case is.
    -- squawk-ignore adding-field-with-default
    add column name_key      text collate "C" generated always as
        (lower(coalesce(title, coalesce(first_name || ' ', '') || coalesce(last_name, '')))) stored,
    -- squawk-ignore adding-field-with-default
    add column last_name_key text collate "C" generated always as (lower(last_name)) stored;
comment on table  public.contacts               is 'An outside person or group the workspace talks with.';
comment on column public.contacts.title         is 'What a group is called.';
comment on column public.contacts.name_key      is 'A person''s first and last name, a group''s title, in lower case: what lists search.';
comment on column public.contacts.last_name_key is 'The last name in lower case.';
-- Both hold for every row there is: all are persons without a title.
alter table public.contacts
    -- squawk-ignore constraint-missing-not-valid
    add constraint contacts_title check (title is null or (kind = 'group' and pg_catalog.length(title) between 1 and 200)),
    -- squawk-ignore disallowed-unique-constraint, constraint-missing-not-valid
    add constraint contacts_kind_key unique (workspace_id, id, kind);
-- squawk-ignore require-concurrent-index-creation
create index contacts_newest_idx on public.contacts (workspace_id, created_at, id);
-- Groups are few among many: a list of them alone does not walk past everybody.
-- squawk-ignore require-concurrent-index-creation
create index contacts_groups_idx on public.contacts (workspace_id, created_at, id) where kind = 'group';
-- squawk-ignore require-concurrent-index-creation
create index contacts_name_key_idx on public.contacts (workspace_id, name_key);
-- squawk-ignore require-concurrent-index-creation
create index contacts_last_name_key_idx on public.contacts (workspace_id, last_name_key);

alter table public.contact_identities
    add column contact_kind public.contact_kind not null default 'person',
    add column asserted_by  text                not null default 'contact';
comment on column public.contact_identities.contact_kind is 'The kind of the contact, held to it by the foreign key.';
comment on column public.contact_identities.asserted_by  is
    'Whose word it was first, at created_at: contact (typed it), member (entered it), service (a program or provider brought it).';
comment on column public.contact_identities.verified_by  is
    'What stands behind it: supabase_auth, hmac, or what a service says (telegram, whatsapp, …); null while asserted.';
comment on column public.contact_identities.key          is 'The compared form, normalised once, in lib/identities.py.';
-- The same key with the kind in it.
alter table public.contact_identities
    -- squawk-ignore ban-drop-constraint
    drop constraint contact_identities_contact_id_fkey,
    -- squawk-ignore adding-foreign-key-constraint, constraint-missing-not-valid
    add constraint contact_identities_contact_id_fkey foreign key (workspace_id, contact_id, contact_kind)
        references public.contacts (workspace_id, id, kind) on delete cascade,
    -- squawk-ignore constraint-missing-not-valid
    add constraint contact_identities_asserted_by check (asserted_by in ('contact', 'member', 'service')),
    -- squawk-ignore constraint-missing-not-valid
    add constraint contact_identities_of_group check (case
        -- Telegram's chats of several have negative ids, people positive ones.
        when kind = 'telegram'                 then (key like '-%') = (contact_kind = 'group')
        when kind in ('whatsapp', 'discord')   then (key ~ '^(group|channel):') = (contact_kind = 'group')
        when kind in ('email', 'phone', 'omi') then contact_kind = 'person'
        else true
    end);

create table public.group_participants (
    group_id     uuid                not null,
    contact_id   uuid                not null,
    workspace_id uuid                not null,
    group_kind   public.contact_kind not null default 'group',
    contact_kind public.contact_kind not null default 'person',
    role         text,
    joined_at    timestamptz         not null default pg_catalog.now(),
    left_at      timestamptz,
    constraint group_participants_pkey            primary key (group_id, contact_id),
    constraint group_participants_group_id_fkey   foreign key (workspace_id, group_id, group_kind)
        references public.contacts (workspace_id, id, kind) on delete cascade,
    constraint group_participants_contact_id_fkey foreign key (workspace_id, contact_id, contact_kind)
        references public.contacts (workspace_id, id, kind) on delete cascade,
    constraint group_participants_kinds           check (group_kind = 'group' and contact_kind = 'person'),
    constraint group_participants_role            check (pg_catalog.length(role) between 1 and 64)
);
comment on table  public.group_participants              is 'A person in a group, or who was in it.';
comment on column public.group_participants.group_kind   is 'Always group: only groups have participants.';
comment on column public.group_participants.contact_kind is 'Always person: a group is in no group.';
comment on column public.group_participants.role         is 'What the platform calls them there: administrator, member, ….';
comment on column public.group_participants.left_at      is 'Since when they are not in it any more; null while they are.';
create index group_participants_contact_id_idx on public.group_participants (contact_id);

alter table public.group_participants enable row level security;
grant select                 on public.group_participants to authenticated;
grant select, insert, update on public.group_participants to switchboard;
grant all                    on public.group_participants to service_role;

create function private.join_group(workspace_id uuid, group_id uuid, contact_id uuid, role text)
    returns void
    language plpgsql
    volatile
    set search_path = ''
as $$
begin
    if not exists (select
                     from public.contacts g
                    where g.id = join_group.group_id
                      and g.workspace_id = join_group.workspace_id
                      and g.kind = 'group') then
        raise sqlstate 'PT404' using message = 'group_not_found', detail = 'There is no such group.';
    end if;
    insert into public.group_participants as p (group_id, contact_id, workspace_id, role)
    values (join_group.group_id, join_group.contact_id, join_group.workspace_id, join_group.role)
    on conflict on constraint group_participants_pkey do update
       set role      = coalesce(excluded.role, p.role),
           joined_at = case when p.left_at is null then p.joined_at else excluded.joined_at end,
           left_at   = null
     where p.left_at is not null or excluded.role is distinct from p.role;
end;
$$;
comment on function private.join_group(uuid, uuid, uuid, text) is
    'Notes that a person is in a group of the entered workspace, with their role there; again after they left.';

create function private.leave_group(workspace_id uuid, group_id uuid, contact_id uuid)
    returns boolean
    language plpgsql
    volatile
    set search_path = ''
as $$
begin
    update public.group_participants p
       set left_at = pg_catalog.now()
     where p.group_id = leave_group.group_id
       and p.contact_id = leave_group.contact_id
       and p.workspace_id = leave_group.workspace_id
       and p.left_at is null;
    return found;
end;
$$;
comment on function private.leave_group(uuid, uuid, uuid) is 'Notes that a person left a group; whether they were in it. The row stays: they were there.';

grant execute on function private.join_group(uuid, uuid, uuid, text), private.leave_group(uuid, uuid, uuid) to switchboard, service_role;
