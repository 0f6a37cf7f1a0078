-- From what a platform calls somebody to the contact that this is, with or without making one.

set lock_timeout = '5s';
set statement_timeout = '60s';

create function private.sole_workspace()
    returns uuid
    language sql
    stable
    security definer
    set search_path = ''
as $$
    -- Of the token's own caller: with their own token, or through a function of ours that manages for them.
    select (pg_catalog.array_agg(m.workspace_id))[1]
      from public.workspace_members m
     where m.user_id = case private.claims() ->> 'role'
                           when 'authenticated' then auth.uid()
                           when 'switchboard'   then case when (private.claims() #>> '{scope,management}')::boolean
                                                          then private.calling_user() end
                       end
    having pg_catalog.count(*) = 1;
$$;
comment on function private.sole_workspace() is 'The workspace of a caller who is a member of just one; null for everybody else.';

create function private.named_workspace(workspace_id uuid)
    returns uuid
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    workspace constant uuid := coalesce(workspace_id, private.sole_workspace());
begin
    if workspace is null then
        raise sqlstate 'PT422' using message = 'workspace_required', detail = 'Name the workspace with workspace_id.';
    end if;
    return workspace;
end;
$$;
comment on function private.named_workspace(uuid) is 'The workspace that was named, or else the only one of the caller.';

create function private.workspace_of_contact(contact_id uuid)
    returns uuid
    language sql
    stable
    security definer
    set search_path = ''
as $$
    select c.workspace_id from public.contacts c where c.id = workspace_of_contact.contact_id;
$$;
comment on function private.workspace_of_contact(uuid) is 'The workspace of a contact that somebody wants to change; null for any other id.';

create function private.enter_contact(contact_id uuid)
    returns public.member_role
    language plpgsql
    volatile
    set search_path = ''
as $$
begin
    return private.enter_to_manage('workspace', private.workspace_of_contact(contact_id));
exception when sqlstate 'PT404' then
    raise sqlstate 'PT404' using message = 'contact_not_found', detail = 'There is no such contact.';
end;
$$;
comment on function private.enter_contact(uuid) is 'Enters the workspace of a contact as one of its members, and gives the role; not found for everybody else.';

create function private.describe_contact(contact public.contacts)
    returns jsonb
    language sql
    stable
    set search_path = ''
as $$
    select pg_catalog.to_jsonb(contact) - '{name_key,last_name_key}'::text[]
           || pg_catalog.jsonb_build_object(
                  'identities', coalesce((select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                                                     'kind', i.kind, 'key', i.key, 'value', i.value, 'evidence', i.evidence,
                                                     'asserted_by', i.asserted_by, 'asserted_at', i.created_at,
                                                     'verified_by', i.verified_by, 'verified_at', i.verified_at) order by i.created_at, i.id)
                                            from public.contact_identities i
                                           where i.contact_id = contact.id), '[]'),
                  'tags', coalesce((select pg_catalog.jsonb_agg(t.name order by t.name)
                                      from public.tags t
                                     where t.contact_id = contact.id), '[]'));
$$;
comment on function private.describe_contact(public.contacts) is 'A contact as its workspace''s members see it, with identities and tags.';

create function private.is_proven(contact_id uuid)
    returns boolean
    language sql
    stable
    set search_path = ''
as $$
    select exists (select
                     from public.contact_identities i
                    where i.contact_id = is_proven.contact_id
                      and i.evidence = 'verified');
$$;
comment on function private.is_proven(uuid) is 'Whether somebody has proved to be this contact, by any of its identities.';

create function private.lock_identities(workspace_id uuid, identities jsonb)
    returns void
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    one text;
begin
    -- The same locks as find_or_create_contact takes, and always in one order: of many who bring the same new sender at
    -- once the first makes the contact, and two who bring the same ones in another order do not wait in a circle.
    for one in
        select distinct workspace_id::text || (asked.value ->> 'kind') || (asked.value ->> 'key')
          from pg_catalog.jsonb_array_elements(identities) asked
         order by 1
    loop
        perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended(one, 0));
    end loop;
end;
$$;
comment on function private.lock_identities(uuid, jsonb) is 'Waits until nobody else finds or makes contacts by these identities; until the transaction ends.';

create function private.known_contacts(workspace_id uuid, identities jsonb)
    returns table (contact_id uuid, implied boolean, evidence public.proof)
    language sql
    stable
    set search_path = ''
as $$
    select known.contact_id, coalesce((asked.value ->> 'implied')::boolean, false), known.evidence
      from pg_catalog.jsonb_array_elements(identities) asked
     -- One look-up each, whatever the planner thinks of how many are asked for.
     cross join lateral (select i.contact_id, i.evidence
                           from public.contact_identities i
                          where i.workspace_id = known_contacts.workspace_id
                            and i.key = asked.value ->> 'key'
                            and i.kind = (asked.value ->> 'kind')::public.identity_kind
                         offset 0) known;
$$;
comment on function private.known_contacts(uuid, jsonb) is
    'Who is known by identities [{kind, key, implied?}], a row each: implied are those that only follow from another one.';

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
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_as_admin('workspace', private.named_workspace(workspace_id));
    known     uuid[];
    hinted    uuid[];
    typed     boolean;
    contact   public.contacts;
    made      boolean := false;
    written   integer;
begin
    if make then
        perform private.lock_identities(workspace, identities);
        if verified_by is not null then
            -- Locked before they are judged: somebody else may be proving another of their identities.
            perform
               from public.contacts c
              where c.id in (select k.contact_id from private.known_contacts(workspace, identities) k where k.evidence = 'asserted')
              order by c.id
                for no key update;
        end if;
    end if;
    select pg_catalog.array_agg(distinct k.contact_id) filter (where not k.implied),
           -- A number that was only typed says nothing of somebody who is known by more than words.
           pg_catalog.array_agg(distinct k.contact_id) filter (where k.implied and (k.evidence = 'verified' or not private.is_proven(k.contact_id))),
           coalesce(pg_catalog.bool_and(k.evidence = 'asserted') filter (where not k.implied), false)
      into known, hinted, typed
      from private.known_contacts(workspace, identities) k;

    known := coalesce(known, hinted);
    if pg_catalog.cardinality(known) > 1 then
        -- Nobody is joined in passing: a member decides who these are.
        if make then
            perform private.record_change(workspace, 'identity.conflict', one, 'resolve') from pg_catalog.unnest(known) one;
        end if;
        return pg_catalog.jsonb_build_object('conflict', pg_catalog.to_jsonb(known));
    end if;
    select c.* into contact from public.contacts c where c.id = known[1] and c.workspace_id = workspace;
    if contact.kind <> resolve_contact.kind then
        return pg_catalog.jsonb_build_object('conflict', pg_catalog.to_jsonb(array[contact.id]));
    end if;

    if not make then
        if contact.id is null then
            raise sqlstate 'PT404' using message = 'contact_not_found', detail = 'Nobody is known by that.';
        end if;
        return pg_catalog.jsonb_build_object('contact', private.describe_contact(contact), 'created', false);
    end if;

    if typed and verified_by is not null and private.is_proven(contact.id) then
        -- Somebody else proved to be this contact, and what was asked for was only ever typed: it belongs to whoever proves it.
        contact := null;
    end if;
    if contact.id is null then
        insert into public.contacts (workspace_id, kind, first_name, last_name, title, source, attributes)
        values (workspace, coalesce(resolve_contact.kind, 'person'), profile ->> 'first_name', profile ->> 'last_name',
                profile ->> 'title', profile ->> 'source', coalesce(profile -> 'attributes', '{}'))
        returning * into contact;
        made := true;
        perform private.record_change(workspace, 'contact.created', contact.id, 'resolve');
    elsif profile <> '{}' then
        -- What is known stays; only what is missing is filled in.
        update public.contacts c
           set first_name = coalesce(c.first_name, profile ->> 'first_name'),
               last_name  = coalesce(c.last_name, profile ->> 'last_name'),
               title      = coalesce(c.title, profile ->> 'title'),
               source     = coalesce(c.source, profile ->> 'source'),
               attributes = coalesce(profile -> 'attributes', '{}') || c.attributes
         where c.id = contact.id
        returning c.* into contact;
    end if;

    insert into public.contact_identities as i
           (workspace_id, contact_id, contact_kind, kind, key, value, evidence, asserted_by, verified_by, verified_at)
    select distinct on (asked.value ->> 'kind', asked.value ->> 'key')
           workspace, contact.id, contact.kind, (asked.value ->> 'kind')::public.identity_kind, asked.value ->> 'key', asked.value ->> 'value',
           case when resolve_contact.verified_by is null then 'asserted' else 'verified' end::public.proof,
           case when private.calling_user() is null then 'service' else 'member' end,
           resolve_contact.verified_by, case when resolve_contact.verified_by is not null then pg_catalog.now() end
      from pg_catalog.jsonb_array_elements(identities) asked
    on conflict on constraint contact_identities_key do update
       set contact_id = excluded.contact_id, contact_kind = excluded.contact_kind, evidence = 'verified',
           verified_by = excluded.verified_by, verified_at = excluded.verified_at
     -- Words change nothing that stands, and proof nothing that was proved before.
     where i.evidence = 'asserted' and excluded.evidence = 'verified';
    get diagnostics written = row_count;
    if written > 0 and not made then
        perform private.record_change(workspace, 'contact.identified', contact.id, verified_by);
    end if;
    if resolve_contact.group_id is not null then
        if contact.kind = 'group' then
            raise sqlstate 'PT422' using message = 'group_in_group', detail = 'A group is no participant of a group.';
        end if;
        perform private.join_group(workspace, resolve_contact.group_id, contact.id, group_role);
    end if;
    return pg_catalog.jsonb_build_object('contact', private.describe_contact(contact), 'created', made);
end;
$$;
comment on function public.resolve_contact(jsonb, uuid, boolean, public.contact_kind, jsonb, text, uuid, text) is
    'The contact known by identities [{kind, key, value, implied?}]: {contact, created}, or {conflict: [ids]} when they are several''s; make: creates it, and adds what is missing. For owners and admins.';

grant execute on function private.sole_workspace(), private.named_workspace(uuid), private.describe_contact(public.contacts)
    to authenticated, switchboard, service_role;
grant execute on function
    private.workspace_of_contact(uuid), private.enter_contact(uuid), private.is_proven(uuid),
    private.lock_identities(uuid, jsonb), private.known_contacts(uuid, jsonb),
    public.resolve_contact(jsonb, uuid, boolean, public.contact_kind, jsonb, text, uuid, text)
    to switchboard, service_role;
