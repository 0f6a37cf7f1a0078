-- What members, and persons with proof, change of a contact: names, attributes, identities.

create function private.merge_patch(target jsonb, patch jsonb)
    returns jsonb language plpgsql immutable set search_path = ''
as $$
declare
    kept constant jsonb := case when jsonb_typeof(target) = 'object' then target else '{}' end;
begin
    if jsonb_typeof(patch) <> 'object' then
        return patch;
    end if;
    return (select coalesce(jsonb_object_agg(m.key, m.value), '{}')
              from (select t.key, t.value
                      from jsonb_each(kept) t
                     where not patch ? t.key
                     union all
                    select p.key, private.merge_patch(kept -> p.key, p.value)
                      from jsonb_each(patch) p
                     where p.value <> 'null') m);
end;
$$;
comment on function private.merge_patch is 'A JSON value after a JSON merge patch (RFC 7396): members of an object are replaced one by one, null removes one.';

create function private.change_profile(contact_id uuid, changes jsonb, is_strict boolean)
    returns boolean language plpgsql set search_path = ''
as $$
declare
    -- The limit of a request's attributes (ATTRIBUTES_BYTES in lib/fields/types.py).
    most    constant integer := 16384;
    former  public.contacts;
    contact public.contacts;
begin
    select c.* into strict former from public.contacts c where c.id = change_profile.contact_id;
    contact := jsonb_populate_record(former, changes - 'attributes');
    if changes ? 'attributes' then
        contact.attributes := coalesce(nullif(private.merge_patch(former.attributes, changes -> 'attributes'), 'null'), '{}');
    end if;
    if octet_length(contact.attributes::text) > greatest(most, octet_length(former.attributes::text)) then
        if is_strict then
            raise sqlstate 'PT422' using message = 'invalid_body', detail = 'attributes_too_large';
        end if;
        contact.attributes := former.attributes;
    end if;
    -- What is given again is no longer unproven.
    contact.unproven := private.without_values(former.unproven, changes);
    if contact is not distinct from former then
        return false;
    end if;
    update public.contacts c
       set first_name = contact.first_name, last_name = contact.last_name, title = contact.title, source = contact.source,
           attributes = contact.attributes, unproven = contact.unproven
     where c.id = former.id;
    return true;
end;
$$;
comment on function private.change_profile is 'Replaces the named values of a locked contact {first_name, last_name, title, source}, null removes one, and merges attributes into its own; whether that changed anything. Attributes that would become too large are refused if is_strict, and else stay as they are.';

create function private.lock_identity_owners(workspace_id uuid, contact_id uuid, identities jsonb, verified_by text)
    returns uuid[] language plpgsql set search_path = ''
as $$
declare
    locked uuid[];
begin
    perform private.lock_identities(workspace_id, identities);
    loop
        -- Locked before they are checked: another transaction may be verifying or merging them.
        locked := array(select k.contact_id from private.find_contacts(workspace_id, identities) k) || contact_id;
        perform private.lock_contacts(locked);
        exit when locked @> array(select k.contact_id from private.find_contacts(workspace_id, identities) k);
    end loop;
    return array(select distinct k.contact_id
                   from private.find_contacts(workspace_id, identities) k
                  where k.contact_id is distinct from lock_identity_owners.contact_id
                    and not k.implied
                    -- An identity that was only typed moves to the contact that proves it.
                    and (verified_by is null or k.evidence = 'verified')
                  order by k.contact_id);
end;
$$;
comment on function private.lock_identity_owners is 'Locks identities, a contact (null: a new one) and the contacts that have these identities; returns the other contacts that keep theirs.';

create function public.create_contact(
    profile      jsonb,
    identities   jsonb               default '[]',
    kind         public.contact_kind default 'person',
    workspace_id uuid                default null,
    verified_by  text                default null
)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_to_manage(
                  'workspace', workspace_id, case when verified_by is null then 'agent' else 'admin' end::public.member_role);
    owners    constant uuid[] := private.lock_identity_owners(workspace, null, identities, verified_by);
    contact   public.contacts;
begin
    if owners <> '{}' then
        return jsonb_build_object('conflict', to_jsonb(owners));
    end if;
    insert into public.contacts (workspace_id, kind, first_name, last_name, title, source, attributes)
    values (workspace, create_contact.kind, profile ->> 'first_name', profile ->> 'last_name', profile ->> 'title',
            profile ->> 'source', coalesce(profile -> 'attributes', '{}'))
    returning * into contact;
    perform private.attach_identities(contact, identities, verified_by);
    perform private.record_change(workspace, 'contact.created', contact.id);
    return jsonb_build_object('contact', private.describe_contact(contact.id));
end;
$$;
comment on function public.create_contact is 'Creates a contact with a profile {first_name, last_name, title, source, attributes} and identities [{kind, key, value, implied?}]: {contact}, or {conflict: [ids]} if other contacts have one of these. Members; with verified_by owners and admins.';

create function public.change_contact(
    contact_id  uuid,
    changes     jsonb,
    added       jsonb               default '[]',
    removed     jsonb               default '[]',
    kind        public.contact_kind default null,
    verified_by text                default null
)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_to_manage(
                  'contact', contact_id, case when verified_by is null then 'agent' else 'admin' end::public.member_role);
    owners    constant uuid[] := private.lock_identity_owners(workspace, contact_id, added, verified_by);
    contact   public.contacts;
    proves    boolean;
begin
    select c.* into strict contact from public.contacts c where c.id = change_contact.contact_id;
    if contact.merged_into_id is not null then
        raise sqlstate 'PT307' using message = 'contact_merged', hint = private.merge_target(contact.id)::text;
    end if;
    if contact.kind <> change_contact.kind then
        raise sqlstate 'PT422' using message = 'invalid_body', detail = 'identities_of_other_kind';
    end if;
    if changes ?| (case contact.kind when 'group' then array['first_name', 'last_name'] else array['title'] end) then
        raise sqlstate 'PT422' using message = 'invalid_body', detail = 'name_of_other_kind';
    end if;
    if owners <> '{}' then
        return jsonb_build_object('conflict', to_jsonb(owners));
    end if;

    delete from public.contact_identities i
     using jsonb_to_recordset(removed) gone (kind public.identity_kind, key text)
     where i.contact_id = contact.id
       and i.kind = gone.kind
       and i.key = gone.key;
    if found then
        perform private.record_change(workspace, 'contact.unidentified', contact.id);
    end if;
    proves := verified_by is not null and added <> '[]' and not private.has_verified_identity(contact.id);
    if private.attach_identities(contact, added, verified_by) then
        perform private.record_change(workspace, 'contact.identified', contact.id, verified_by);
    end if;
    if proves then
        perform private.drop_unproven(contact.id);
    end if;
    if private.change_profile(contact.id, changes, true) then
        perform private.record_change(workspace, 'contact.changed', contact.id);
    end if;
    return jsonb_build_object('contact', private.describe_contact(contact.id));
end;
$$;
comment on function public.change_contact is 'Changes the named values of a contact (attributes: a merge patch), removes and adds identities, all or nothing: {contact}, or {conflict: [ids]} if other contacts have an added one. kind: of the contact that can have them. Members; with verified_by owners and admins.';

grant execute on function
    private.merge_patch, private.change_profile, private.lock_identity_owners, public.create_contact, public.change_contact
    to service_role, switchboard;
