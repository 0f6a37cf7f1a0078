-- Contacts and groups, and the identities by which they are recognised.

create type public.identity_kind as enum ('email', 'phone', 'telegram', 'whatsapp', 'discord', 'omi', 'external');
comment on type public.identity_kind is 'email, phone; telegram, whatsapp, discord, omi: an id there; external: an id in another system, written system:id (auth:… is a Supabase user, sub:… the subject of identity tokens).';

create type public.proof as enum ('asserted', 'verified');
comment on type public.proof is 'asserted: typed by the contact; verified: proven by a token, a confirmed user, an identity token, an HMAC or a service. asserted -> verified';

create type public.contact_kind as enum ('person', 'group');
comment on type public.contact_kind is 'person; group: a chat whose participants are persons. The kind never changes.';

create table public.contacts (
    -- Random, not time-ordered: a contact's id does not reveal when the contact arrived.
    id                uuid                not null default gen_random_uuid(),
    workspace_id      uuid                not null,
    first_name        text,
    last_name         text,
    source            text,
    attributes        jsonb               not null default '{}',
    session_id        uuid,
    created_at        timestamptz         not null default now(),
    kind              public.contact_kind not null default 'person',
    title             text,
    -- For searches by the beginning of a name. Under row-level security an index serves only leakproof operators: like and
    -- lower() are not leakproof, comparisons of stored lower-case text by bytes are.
    name_key          text                collate "C" generated always as (lower(coalesce(title, coalesce(first_name || ' ', '') || coalesce(last_name, '')))) stored,
    last_name_key     text                collate "C" generated always as (lower(last_name)) stored,
    merged_into_id    uuid,
    unproven          jsonb               not null default '{}',
    tokens_revoked_at timestamptz,
    constraint contacts_pkey                primary key (id),
    constraint contacts_workspace_key       unique (workspace_id, id),
    constraint contacts_kind_key            unique (workspace_id, id, kind),
    constraint contacts_workspace_id_fkey   foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint contacts_merged_into_id_fkey foreign key (workspace_id, merged_into_id)
        references public.contacts (workspace_id, id) on delete cascade,
    constraint contacts_lengths             check (length(first_name) <= 200 and length(last_name) <= 200 and length(source) <= 200),
    constraint contacts_attributes_object   check (jsonb_typeof(attributes) = 'object'),
    constraint contacts_title               check (title is null or (kind = 'group' and length(title) between 1 and 200)),
    constraint contacts_merged_into_another check (merged_into_id <> id),
    constraint contacts_unproven_object     check (jsonb_typeof(unproven) = 'object')
);
comment on table public.contacts is 'An outside person or group that the workspace talks with.';
comment on column public.contacts.session_id is 'The first session of the contact; set once.';
comment on column public.contacts.title is 'The name of a group.';
comment on column public.contacts.name_key is 'A person''s full name or a group''s title in lower case, for searches.';
comment on column public.contacts.last_name_key is 'The last name in lower case, for searches.';
comment on column public.contacts.merged_into_id is 'The contact into which this one was merged, possibly merged itself; null: not merged. Deleted with that contact.';
comment on column public.contacts.unproven is 'The values that a person typed without proof: {first_name, last_name, source, attributes}. The first proof drops those that the contact still has.';
comment on column public.contacts.tokens_revoked_at is 'Contact tokens that were issued before are invalid; null: none is. Moved by sign_out_contact.';
alter table public.contacts enable row level security;
create index contacts_session_id_idx on public.contacts (session_id);
create index contacts_newest_idx on public.contacts (workspace_id, created_at, id);
-- Groups are rare: a list of groups does not read all contacts.
create index contacts_groups_idx on public.contacts (workspace_id, created_at, id) where kind = 'group';
create index contacts_name_key_idx on public.contacts (workspace_id, name_key);
create index contacts_last_name_key_idx on public.contacts (workspace_id, last_name_key);
create index contacts_merged_into_id_idx on public.contacts (merged_into_id);
create index contacts_id_idx on public.contacts using hash (id);

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
    created_at   timestamptz          not null default now(),
    contact_kind public.contact_kind  not null default 'person',
    asserted_by  text                 not null default 'contact',
    constraint contact_identities_pkey            primary key (id),
    -- The key before the kind: the comparison of an enum is not leakproof, so under row-level security it and the columns
    -- after it would not use the index.
    constraint contact_identities_key             unique (workspace_id, key, kind),
    constraint contact_identities_contact_id_fkey foreign key (workspace_id, contact_id, contact_kind)
        references public.contacts (workspace_id, id, kind) on delete cascade,
    constraint contact_identities_lengths         check (length(key) between 1 and 400 and length(value) between 1 and 400),
    constraint contact_identities_evidence        check ((evidence = 'verified') = (verified_by is not null and verified_at is not null)),
    constraint contact_identities_asserted_by     check (asserted_by in ('contact', 'member', 'service')),
    constraint contact_identities_of_group        check (case
        when kind = 'telegram'                 then (key like '-%') = (contact_kind = 'group') or key like '@%'
        when kind in ('whatsapp', 'discord')   then (key ~ '^(group|channel):') = (contact_kind = 'group')
        when kind in ('email', 'phone', 'omi') then contact_kind = 'person'
        else true
        end)
);
comment on table public.contact_identities is 'One way to recognise a contact, with its evidence.';
comment on column public.contact_identities.key is 'The value by which identities are compared, normalised once in lib/fields/identities.py.';
comment on column public.contact_identities.value is 'The value as typed.';
comment on column public.contact_identities.verified_by is 'The kind of proof: supabase_auth, identity_token, hmac, api_key, or a service (telegram, whatsapp, …); null while asserted.';
comment on column public.contact_identities.contact_kind is 'The kind of the contact, kept equal by the foreign key.';
comment on column public.contact_identities.asserted_by is 'Who gave it first, at created_at: contact (typed it), member (entered it), service (a program or provider).';
alter table public.contact_identities enable row level security;
create index contact_identities_contact_idx on public.contact_identities using hash (contact_id);

create table public.group_participants (
    group_id     uuid                not null,
    contact_id   uuid                not null,
    workspace_id uuid                not null,
    group_kind   public.contact_kind not null default 'group',
    contact_kind public.contact_kind not null default 'person',
    role         text,
    joined_at    timestamptz         not null default now(),
    left_at      timestamptz,
    constraint group_participants_pkey            primary key (group_id, contact_id),
    constraint group_participants_group_id_fkey   foreign key (workspace_id, group_id, group_kind)
        references public.contacts (workspace_id, id, kind) on delete cascade,
    constraint group_participants_contact_id_fkey foreign key (workspace_id, contact_id, contact_kind)
        references public.contacts (workspace_id, id, kind) on delete cascade,
    constraint group_participants_kinds           check (group_kind = 'group' and contact_kind = 'person'),
    constraint group_participants_role            check (length(role) between 1 and 64)
);
comment on table public.group_participants is 'A person who is or was in a group.';
comment on column public.group_participants.group_kind is 'Always group: only groups have participants.';
comment on column public.group_participants.contact_kind is 'Always person: a group is in no group.';
comment on column public.group_participants.role is 'The platform''s term: administrator, member, …';
comment on column public.group_participants.left_at is 'When the person left; null: still in the group.';
alter table public.group_participants enable row level security;
create index group_participants_contact_id_idx on public.group_participants (contact_id);

create function private.find_or_create_contact(
    kind        public.identity_kind,
    key         text,
    value       text,
    verified_by text,
    profile     jsonb,
    account     text default null
)
    returns uuid language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.entered_workspace();
    known     public.contact_identities;
    contact   uuid;
begin
    if account is not null then
        contact := private.contact_of_account(account, key, value, verified_by, profile);
        if contact is not null then
            return contact;
        end if;
    end if;
    -- One writer per identity: of several transactions with the same new identity, the first creates the contact.
    perform pg_advisory_xact_lock(hashtextextended(workspace::text || kind::text || key, 0));

    loop
        select i.* into known
          from public.contact_identities i
         where i.workspace_id = workspace
           and i.kind = find_or_create_contact.kind
           and i.key = find_or_create_contact.key;
        exit when not found;
        if verified_by is null
           or (known.evidence = 'verified' and profile = '{}' and account is null) then
            -- Unverified claims never overwrite stored data.
            return known.contact_id;
        end if;
        -- Locked before it is checked: another transaction may be verifying another identity of it, or merging it.
        contact := private.lock_merge_target(known.contact_id);
        exit when exists (select from public.contact_identities i where i.id = known.id and i.contact_id = contact);
    end loop;

    if known.id is not null then
        if known.evidence = 'asserted' then
            -- The contact is verified by another identity, and this one was only typed: it moves to the caller, who proved it.
            if private.has_verified_identity(contact) then
                contact := private.create_contact('{}', true);
            end if;
            update public.contact_identities i
               set contact_id = contact, evidence = 'verified', verified_by = find_or_create_contact.verified_by,
                   verified_at = now()
             where i.id = known.id;
            perform private.drop_unproven(contact);
        end if;
        if profile <> '{}' then
            perform private.fill_profile(contact, profile);
        end if;
        perform private.link_account(contact, account, verified_by);
        return contact;
    end if;

    contact := private.create_contact(profile, verified_by is not null);
    insert into public.contact_identities (workspace_id, contact_id, kind, key, value, evidence, verified_by, verified_at)
    values (workspace, contact, find_or_create_contact.kind, find_or_create_contact.key, find_or_create_contact.value,
            case when verified_by is null then 'asserted' else 'verified' end::public.proof,
            find_or_create_contact.verified_by, case when verified_by is not null then now() end);
    perform private.link_account(contact, account, verified_by);
    return contact;
end;
$$;
comment on function private.find_or_create_contact is 'The contact with an identity, created if there is none. verified_by is the kind of proof, null if the identity is only typed. account: the key of the account that proved an email (auth:…, sub:…).';

create function private.fill_profile(contact_id uuid, profile jsonb)
    returns public.contacts language plpgsql set search_path = ''
as $$
declare
    contact public.contacts;
begin
    update public.contacts c
       set first_name = coalesce(c.first_name, profile ->> 'first_name'),
           last_name  = coalesce(c.last_name, profile ->> 'last_name'),
           title      = coalesce(c.title, profile ->> 'title'),
           source     = coalesce(c.source, profile ->> 'source'),
           session_id = coalesce(c.session_id, (profile ->> 'session_id')::uuid),
           attributes = coalesce(profile -> 'attributes', '{}') || c.attributes,
           unproven   = case when c.unproven = '{}' then '{}' else private.without_values(c.unproven, profile) end
     where c.id = fill_profile.contact_id
    returning c.* into contact;
    return contact;
end;
$$;
comment on function private.fill_profile is 'Adds to a locked contact what it does not have yet; stored values stay. A value that it has without proof and that is given again counts as proven.';

create function private.without_values(unproven jsonb, profile jsonb)
    returns jsonb language plpgsql immutable set search_path = ''
as $$
begin
    return (select coalesce(jsonb_object_agg(u.key, u.value), '{}')
              from (select v.key, case when v.key <> 'attributes' then v.value
                                       else (select coalesce(jsonb_object_agg(a.key, a.value), '{}')
                                               from jsonb_each(v.value) a
                                              where a.value is distinct from profile -> 'attributes' -> a.key) end as value
                      from jsonb_each(unproven) v) u
             where u.value is distinct from profile -> u.key);
end;
$$;
comment on function private.without_values is 'The values of unproven that a profile does not have as well.';

create function private.without_unproven(contact public.contacts)
    returns public.contacts language plpgsql immutable set search_path = ''
as $$
begin
    contact.first_name := nullif(contact.first_name, contact.unproven ->> 'first_name');
    contact.last_name  := nullif(contact.last_name, contact.unproven ->> 'last_name');
    contact.source     := nullif(contact.source, contact.unproven ->> 'source');
    contact.attributes := contact.attributes - array(select a.key
                                                       from jsonb_each(contact.unproven -> 'attributes') a
                                                      where contact.attributes -> a.key = a.value);
    contact.unproven   := '{}';
    return contact;
end;
$$;
comment on function private.without_unproven is 'A contact without the values that were typed without proof; a value that a member has changed since stays.';

create function private.drop_unproven(contact_id uuid)
    returns void language plpgsql set search_path = ''
as $$
declare
    kept public.contacts;
begin
    select c.* into strict kept from public.contacts c where c.id = drop_unproven.contact_id;
    kept := private.without_unproven(kept);
    update public.contacts c
       set first_name = kept.first_name, last_name = kept.last_name, source = kept.source, attributes = kept.attributes,
           unproven = kept.unproven
     where c.id = kept.id
       and c.unproven <> '{}';
    delete from public.contact_identities i
     where i.contact_id = kept.id
       and i.evidence = 'asserted'
       and i.asserted_by = 'contact'
       -- A member who merged contacts has decided that their identities belong together.
       and not exists (select
                         from public.contact_merges m
                        where m.into_id = kept.id
                          and m.undone_at is null
                          and not m.automatic);
end;
$$;
comment on function private.drop_unproven is 'Drops from a locked contact what a person typed before the first proof: names, source, attributes, and identities that are not proven.';

create function private.create_contact(profile jsonb, is_proven boolean)
    returns uuid language plpgsql set search_path = ''
as $$
declare
    contact uuid;
begin
    insert into public.contacts (workspace_id, first_name, last_name, source, attributes, unproven)
    values (private.entered_workspace(), profile ->> 'first_name', profile ->> 'last_name', profile ->> 'source',
            coalesce(profile -> 'attributes', '{}'), case when is_proven then '{}' else profile end)
    returning id into contact;
    perform private.record_audit('contact.created', contact, contact, null);
    return contact;
end;
$$;
comment on function private.create_contact is 'Creates a contact with a profile {first_name, last_name, source, attributes}, all optional, given with proof or typed without.';

create function private.join_group(workspace_id uuid, group_id uuid, contact_id uuid, role text)
    returns void language plpgsql set search_path = ''
as $$
begin
    if not exists (select
                     from public.contacts g
                    where g.id = join_group.group_id
                      and g.workspace_id = join_group.workspace_id
                      and g.kind = 'group') then
        raise sqlstate 'PT404' using message = 'group_not_found';
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
comment on function private.join_group is 'Records that a person is in a group of the entered workspace, with the person''s role; also after leaving.';

create function private.leave_group(workspace_id uuid, group_id uuid, contact_id uuid)
    returns boolean language plpgsql set search_path = ''
as $$
begin
    update public.group_participants p
       set left_at = now()
     where p.group_id = leave_group.group_id
       and p.contact_id = leave_group.contact_id
       and p.workspace_id = leave_group.workspace_id
       and p.left_at is null;
    return found;
end;
$$;
comment on function private.leave_group is 'Records that a person left a group; whether the person was in it. The row stays.';

create function private.describe_contact(contact_id uuid)
    returns jsonb language plpgsql stable set search_path = ''
as $$
begin
    return (select to_jsonb(d)
              from (select c.id, c.workspace_id, c.kind, c.name, c.first_name, c.last_name, c.title, c.email, c.source,
                           c.attributes, c.session_id, c.created_at, c.identities, c.tags
                      from public.contact_details c
                     where c.id = describe_contact.contact_id) d);
end;
$$;
comment on function private.describe_contact is 'A contact as lists show it.';

create function private.has_verified_identity(contact_id uuid)
    returns boolean language plpgsql stable set search_path = ''
as $$
begin
    return exists (select
                     from public.contact_identities i
                    where i.contact_id = has_verified_identity.contact_id
                      and i.evidence = 'verified');
end;
$$;
comment on function private.has_verified_identity is 'Whether the contact has a verified identity.';

create function private.lock_identities(workspace_id uuid, identities jsonb)
    returns void language plpgsql set search_path = ''
as $$
declare
    one text;
begin
    -- The same locks as in find_or_create_contact, always in the same order, so that two transactions cannot deadlock.
    for one in
        select distinct workspace_id::text || (asked.value ->> 'kind') || (asked.value ->> 'key')
          from jsonb_array_elements(identities) asked
         order by 1
    loop
        perform pg_advisory_xact_lock(hashtextextended(one, 0));
    end loop;
end;
$$;
comment on function private.lock_identities is 'Waits until no other transaction finds or creates contacts by these identities, until this transaction ends.';

create function private.find_contacts(workspace_id uuid, identities jsonb)
    returns table (contact_id uuid, implied boolean, evidence public.proof)
    language sql
    stable
    set search_path = ''
as $$
    select known.contact_id, coalesce((asked.value ->> 'implied')::boolean, false), known.evidence
      from jsonb_array_elements(identities) asked
     -- offset 0 forces one index lookup per identity.
     cross join lateral (select i.contact_id, i.evidence
                           from public.contact_identities i
                          where i.workspace_id = find_contacts.workspace_id
                            and i.key = asked.value ->> 'key'
                            and i.kind = (asked.value ->> 'kind')::public.identity_kind
                         offset 0) known;
$$;
comment on function private.find_contacts is 'The contacts with identities [{kind, key, implied?}], one row each. An implied identity only follows from another one.';

create function private.attach_identities(contact public.contacts, identities jsonb, verified_by text)
    returns boolean language plpgsql set search_path = ''
as $$
begin
    insert into public.contact_identities as i
           (workspace_id, contact_id, contact_kind, kind, key, value, evidence, asserted_by, verified_by, verified_at)
    select distinct on (asked.value ->> 'kind', asked.value ->> 'key')
           contact.workspace_id, contact.id, contact.kind, (asked.value ->> 'kind')::public.identity_kind, asked.value ->> 'key',
           asked.value ->> 'value',
           case when attach_identities.verified_by is null then 'asserted' else 'verified' end::public.proof,
           case when private.calling_kind() = 'user' then 'member' else 'service' end,
           attach_identities.verified_by, case when attach_identities.verified_by is not null then now() end
      from jsonb_array_elements(identities) asked
    on conflict on constraint contact_identities_key do update
       set contact_id = excluded.contact_id, contact_kind = excluded.contact_kind, evidence = 'verified',
           verified_by = excluded.verified_by, verified_at = excluded.verified_at
     -- An unverified claim never overwrites a stored identity, and neither does one proof another.
     where i.evidence = 'asserted' and excluded.evidence = 'verified';
    return found;
end;
$$;
comment on function private.attach_identities is 'Adds identities [{kind, key, value}] to a locked contact; a verified one replaces an asserted one. Whether that changed anything.';

create function private.lock_contacts_of(workspace_id uuid, identities jsonb, group_id uuid)
    returns void language plpgsql set search_path = ''
as $$
declare
    locked uuid[];
begin
    perform private.lock_identities(workspace_id, identities);
    loop
        -- Locked before they are checked: another transaction may be verifying or merging them.
        locked := array(select k.contact_id from private.find_contacts(workspace_id, identities) k
                         union
                        select private.merge_target(lock_contacts_of.group_id) where lock_contacts_of.group_id is not null);
        perform private.lock_contacts(locked);
        exit when locked @> array(select k.contact_id from private.find_contacts(workspace_id, identities) k
                                   union
                                  select private.merge_target(lock_contacts_of.group_id) where lock_contacts_of.group_id is not null);
    end loop;
end;
$$;
comment on function private.lock_contacts_of is 'Locks identities and the contacts that have them, and a group.';

create type private.established_contact as (contact public.contacts, created boolean);
comment on type private.established_contact is 'A contact, and whether it was created for its identities.';

create function private.establish_contact(
    contact_id   uuid,
    workspace_id uuid,
    identities   jsonb,
    kind         public.contact_kind,
    profile      jsonb,
    verified_by  text
)
    returns private.established_contact language plpgsql set search_path = ''
as $$
declare
    contact public.contacts;
    made    boolean := false;
    proves  boolean;
begin
    select c.* into contact from public.contacts c where c.id = establish_contact.contact_id;
    if not found then
        insert into public.contacts (workspace_id, kind, first_name, last_name, title, source, attributes)
        values (establish_contact.workspace_id, coalesce(establish_contact.kind, 'person'), profile ->> 'first_name', profile ->> 'last_name',
                profile ->> 'title', profile ->> 'source', coalesce(profile -> 'attributes', '{}'))
        returning * into contact;
        made := true;
        perform private.record_change(workspace_id, 'contact.created', contact.id, 'resolve');
    end if;
    proves := verified_by is not null and not made and not private.has_verified_identity(contact.id);
    if private.attach_identities(contact, identities, verified_by) and not made then
        perform private.record_change(workspace_id, 'contact.identified', contact.id, verified_by);
    end if;
    if proves then
        perform private.drop_unproven(contact.id);
    end if;
    if profile <> '{}' and not made then
        perform private.fill_profile(contact.id, profile);
    end if;
    return row(contact, made)::private.established_contact;
end;
$$;
comment on function private.establish_contact is 'A locked contact (null: a new one) with these identities attached and what it lacks of a profile.';

create function private.describe_resolved(contact_id uuid, identities jsonb)
    returns jsonb language plpgsql stable set search_path = ''
as $$
declare
    contact constant jsonb := private.describe_contact(contact_id);
begin
    if not private.is_limited_key() then
        return contact;
    end if;
    return (select jsonb_object_agg(d.key, case when d.key in ('id', 'workspace_id', 'kind', 'created_at') then d.value end)
              from jsonb_each(contact) d)
        || jsonb_build_object(
               'attributes', '{}'::jsonb, 'tags', '[]'::jsonb,
               'identities', (select coalesce(jsonb_agg(i), '[]')
                                from jsonb_array_elements(contact -> 'identities') i
                                join jsonb_array_elements(identities) asked on asked -> 'kind' = i -> 'kind' and asked -> 'key' = i -> 'key'));
end;
$$;
comment on function private.describe_resolved is 'A resolved contact as describe_contact() tells it; to an API key for ingest only the identities that it named.';

create function public.resolve_contact(
    identities   jsonb,
    workspace_id uuid                default null,
    make         boolean             default false,
    kind         public.contact_kind default null,
    profile      jsonb               default '{}',
    verified_by  text                default null,
    group_id     uuid                default null,
    group_role   text                default null
)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace   constant uuid := private.enter_to_manage('workspace', workspace_id, 'admin');
    known       uuid[];
    hinted      uuid[];
    typed       boolean;
    contact     public.contacts;
    established private.established_contact;
begin
    if private.calling_kind() = 'key' then
        -- The machine vouches for what it names.
        verified_by := coalesce(verified_by, 'api_key');
    end if;
    if make then
        perform private.lock_contacts_of(workspace, identities, group_id);
    end if;
    select array_agg(distinct k.contact_id) filter (where not k.implied),
           -- A typed number does not identify a verified contact.
           array_agg(distinct k.contact_id) filter (where k.implied and (k.evidence = 'verified' or not private.has_verified_identity(k.contact_id))),
           coalesce(bool_and(k.evidence = 'asserted') filter (where not k.implied), false)
      into known, hinted, typed
      from private.find_contacts(workspace, identities) k;

    known := coalesce(known, hinted);
    if cardinality(known) > 1 then
        -- Contacts are not merged here: a member resolves the conflict.
        if make then
            perform private.record_change(workspace, 'identity.conflict', one, 'resolve') from unnest(known) one;
            perform private.open_conflict(known[1], other, 'resolve') from unnest(known[2:]) other;
        end if;
        return jsonb_build_object('conflict', to_jsonb(known));
    end if;
    select c.* into contact from public.contacts c where c.id = known[1] and c.workspace_id = workspace;
    if contact.kind <> resolve_contact.kind then
        return jsonb_build_object('conflict', to_jsonb(array[contact.id]));
    end if;

    if not make then
        if contact.id is null then
            raise sqlstate 'PT404' using message = 'contact_not_found';
        end if;
        return jsonb_build_object('contact', private.describe_resolved(contact.id, identities), 'created', false);
    end if;

    established := private.establish_contact(
        -- Identities that were only typed, of a contact that is verified by another one, move to a new contact.
        case when not (typed and verified_by is not null and private.has_verified_identity(contact.id)) then contact.id end,
        workspace, identities, resolve_contact.kind, profile, verified_by);
    contact     := established.contact;
    if resolve_contact.group_id is not null then
        if contact.kind = 'group' then
            raise sqlstate 'PT422' using message = 'group_in_group';
        end if;
        perform private.join_group(workspace, private.merge_target(resolve_contact.group_id), contact.id, group_role);
    end if;
    return jsonb_build_object('contact', private.describe_resolved(contact.id, identities), 'created', established.created);
end;
$$;
comment on function public.resolve_contact is 'The contact with the identities [{kind, key, value, implied?}]: {contact, created}, or {conflict: [ids]} if they lead to several contacts. make: creates the contact and adds what is missing. Owners and admins.';

create function private.change_tags(workspace_id uuid, contact_id uuid, session_id uuid, names text[], added text, removed text)
    returns boolean language plpgsql set search_path = ''
as $$
declare
    most    constant integer := 100;
    present constant text[]  := array(select t.name
                                        from public.tags t
                                       where t.contact_id = change_tags.contact_id or t.session_id = change_tags.session_id);
    wanted  constant text[]  := array(select w.name
                                        from unnest(coalesce(names, present)) w (name)
                                       where w.name is distinct from removed
                                       union
                                      select added
                                       where added is not null);
begin
    if cardinality(wanted) > greatest(most, cardinality(present)) then
        raise sqlstate 'PT422' using message = 'invalid_body', detail = 'too_many_tags';
    end if;
    delete from public.tags t
     where (t.contact_id = change_tags.contact_id or t.session_id = change_tags.session_id)
       and t.name <> all (wanted);
    insert into public.tags (workspace_id, contact_id, session_id, name)
    select change_tags.workspace_id, change_tags.contact_id, change_tags.session_id, w.name
      from unnest(wanted) w (name)
     where w.name <> all (present);
    return not (wanted <@ present and wanted @> present);
end;
$$;
comment on function private.change_tags is 'Replaces the tags of a locked contact or session by names (null: those that it has), with one tag added and one removed; whether that changed anything.';

create function public.set_contact_tags(
    contact_id uuid,
    names      text[] default null,
    added      text   default null,
    removed    text   default null
)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_to_manage('contact', contact_id, 'agent');
    contact   uuid;
begin
    -- Concurrent replacements are serialised, so that the result is one set and not a mix.
    contact := private.lock_merge_target(contact_id);
    if private.change_tags(workspace, contact, null, names, added, removed) then
        perform private.record_change(workspace, 'contact.tagged', contact);
    end if;
    return (select jsonb_build_object('tags', coalesce(jsonb_agg(t.name order by t.name), '[]'))
              from public.tags t
             where t.contact_id = contact);
end;
$$;
comment on function public.set_contact_tags is 'Replaces a contact''s tags, or adds or removes one, for members: {tags}.';

create function private.contact_of_account(account text, email_key text, email text, verified_by text, profile jsonb)
    returns uuid language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.entered_workspace();
    contact   uuid;
    known     public.contact_identities;
begin
    perform private.lock_identities(workspace, jsonb_build_array(
        jsonb_build_object('kind', 'external', 'key', account), jsonb_build_object('kind', 'email', 'key', email_key)));
    select i.* into known
      from public.contact_identities i
     where i.workspace_id = workspace and i.key = email_key and i.kind = 'email';
    if not exists (select
                     from public.contact_identities i
                    where i.workspace_id = workspace and i.key = account and i.kind = 'external')
       -- An email changes hands, a subject does not: the email's contact is not found by another subject.
       and not (account like 'sub:%' and known.evidence = 'verified'
                and exists (select
                              from public.contact_identities i
                             where i.contact_id = known.contact_id
                               and i.kind = 'external'
                               and i.key like 'sub:%'
                               and i.evidence = 'verified')) then
        return null;
    end if;
    contact := private.find_or_create_contact('external', account, account, verified_by, profile);
    -- An email that another contact has verified stays there until a member merges the two.
    if known.evidence = 'verified' then
        return contact;
    end if;
    contact := private.lock_merge_target(contact);
    if known.id is null then
        insert into public.contact_identities (workspace_id, contact_id, kind, key, value, evidence, verified_by, verified_at)
        values (workspace, contact, 'email', email_key, email, 'verified', contact_of_account.verified_by, now());
    else
        -- The email was only typed: it moves, without the rest of that contact.
        update public.contact_identities i
           set contact_id = contact, evidence = 'verified', verified_by = contact_of_account.verified_by, verified_at = now()
         where i.id = known.id;
    end if;
    return contact;
end;
$$;
comment on function private.contact_of_account is 'The contact of an account (auth:…, sub:…) that proves an email; null if none has it yet and the email may lead to one. The email is attached to that contact unless another contact has verified it.';

create function private.merge_target(contact_id uuid)
    returns uuid language plpgsql stable set search_path = ''
as $$
declare
    standing uuid := contact_id;
    further  uuid;
begin
    loop
        select c.merged_into_id into further from public.contacts c where c.id = standing;
        exit when further is null;
        standing := further;
    end loop;
    return standing;
end;
$$;
comment on function private.merge_target is 'The contact into which a merged contact was finally merged, as far as the caller may see it; the id itself if it is not merged.';

create function private.lock_merge_target(contact_id uuid)
    returns uuid language plpgsql set search_path = ''
as $$
declare
    standing uuid;
begin
    loop
        standing := private.merge_target(contact_id);
        perform from public.contacts c where c.id = standing for no key update;
        -- A concurrent merge or undo held this lock.
        exit when standing is not distinct from private.merge_target(contact_id);
    end loop;
    return standing;
end;
$$;
comment on function private.lock_merge_target is 'private.merge_target, locked: it is not merged until the transaction ends. Call it before locking a conversation.';

grant execute on function
    private.find_or_create_contact, private.create_contact, private.contact_of_account
    to switchboard;

grant execute on function
    private.join_group, private.leave_group, private.describe_contact, private.describe_resolved, private.has_verified_identity, private.lock_identities,
    private.find_contacts, private.fill_profile, private.without_values, private.without_unproven, private.drop_unproven,
    private.attach_identities, private.lock_contacts_of, private.establish_contact, public.resolve_contact, private.change_tags,
    public.set_contact_tags, private.lock_merge_target
    to service_role, switchboard;

grant execute on function
    private.merge_target
    to authenticated, service_role, switchboard;
