-- Merging, parting and deciding conflicts, for owners and admins.

set lock_timeout = '5s';
set statement_timeout = '60s';

create function private.enter_contact_as_admin(contact_id uuid)
    returns uuid
    language plpgsql
    volatile
    set search_path = ''
as $$
begin
    if private.enter_contact(contact_id) = 'agent' then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'Only owners and admins may change this.';
    end if;
    return private.workspace_of_contact(contact_id);
end;
$$;
comment on function private.enter_contact_as_admin(uuid) is 'Enters the workspace of a contact as one of its owners or admins, and gives it; not found for whoever is no member.';

create function public.merge_contacts(contact_id uuid, into_id uuid, preview boolean default false)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_contact_as_admin(contact_id);
    target   uuid;
    contact  public.contacts;
    standing public.contacts;
    merge    public.contact_merges;
    described jsonb;
begin
    if not exists (select from public.contacts c where c.id = merge_contacts.into_id and c.workspace_id = workspace) then
        raise sqlstate 'PT404' using message = 'contact_not_found', detail = 'There is no such contact.';
    end if;
    if not preview then
        -- One merge of a workspace after the other: what the next one wants may have moved meanwhile.
        perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('merges' || workspace::text, 0));
    end if;
    loop
        target := private.standing_contact(into_id);
        exit when preview;
        perform private.lock_contacts(array[contact_id, target]);
        exit when target = private.standing_contact(into_id);
    end loop;
    select c.* into strict contact from public.contacts c where c.id = merge_contacts.contact_id;
    select c.* into strict standing from public.contacts c where c.id = target;
    if contact.merged_into_id = standing.id and not preview then
        select m.* into strict merge
          from public.contact_merges m
         where m.contact_id = contact.id
           and m.undone_at is null;
        return pg_catalog.jsonb_build_object('merge', private.describe_merge(merge), 'changed', false);
    end if;
    if contact.id = standing.id then
        raise sqlstate 'PT409' using message = 'same_contact', detail = 'These are one contact already.';
    elsif contact.merged_into_id is not null then
        raise sqlstate 'PT409' using message = 'already_merged',
              detail = 'It was merged already; the contact that stands for it is ' || private.standing_contact(contact.id) || '.';
    elsif contact.kind <> standing.kind then
        raise sqlstate 'PT409' using message = 'kinds_differ', detail = 'A person is no group.';
    end if;
    described := private.preview_merge(contact, standing);
    if preview then
        return pg_catalog.jsonb_build_object('preview', described, 'changed', false);
    end if;
    merge := private.join_contacts(contact, standing, null);
    return pg_catalog.jsonb_build_object('merge', private.describe_merge(merge), 'preview', described, 'changed', true);
end;
$$;
comment on function public.merge_contacts(uuid, uuid, boolean) is
    'Merges a contact into another of its workspace, for owners and admins: {merge, preview, changed}; preview: says what that would move and what collides, and changes nothing.';

create function public.unmerge_contact(contact_id uuid)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_contact_as_admin(contact_id);
    merge public.contact_merges;
    stood uuid;
begin
    perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('merges' || workspace::text, 0));
    loop
        select m.* into merge
          from public.contact_merges m
         where m.contact_id = unmerge_contact.contact_id
           and m.undone_at is null;
        if not found then
            raise sqlstate 'PT409' using message = 'not_merged', detail = 'This contact stands for itself.';
        end if;
        perform private.lock_contacts(array[merge.contact_id, merge.into_id]);
        exit when exists (select from public.contact_merges m where m.id = merge.id and m.undone_at is null);
    end loop;
    select c.merged_into_id into stood from public.contacts c where c.id = merge.into_id;
    if stood is not null then
        raise sqlstate 'PT409' using message = 'merged_further',
              detail = 'The contact it was merged into, ' || merge.into_id || ', was merged itself: undo that first.';
    end if;
    return pg_catalog.jsonb_build_object('merge', private.describe_merge(private.part_contacts(merge)), 'changed', true);
end;
$$;
comment on function public.unmerge_contact(uuid) is 'Undoes the merge of a contact, for owners and admins: {merge, changed}. Refused while the contact it was merged into is itself merged.';

create function public.list_contact_conflicts(
    workspace_id uuid                   default null,
    status       public.conflict_status default 'open',
    after        uuid                   default null,
    page_size    integer                default 50
)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    workspace constant uuid := private.named_workspace(workspace_id);
    most      constant integer := least(greatest(page_size, 1), 200);
begin
    perform public.read_workspace(workspace);
    return (select private.page(pg_catalog.jsonb_agg(private.describe_conflict(k) order by k.created_at desc, k.id desc), most, 'id')
              from (select c.*
                      from public.contact_conflicts c
                     where c.workspace_id = workspace
                       and c.status = list_contact_conflicts.status
                       and (list_contact_conflicts.after is null
                            or (c.created_at, c.id) < (select p.created_at, p.id
                                                         from public.contact_conflicts p
                                                        where p.id = list_contact_conflicts.after))
                     order by c.created_at desc, c.id desc
                     limit most + 1) k);
end;
$$;
comment on function public.list_contact_conflicts(uuid, public.conflict_status, uuid, integer) is
    'A page of the pairs of contacts that were called the same, newest first, for the workspace''s members.';

create function private.describe_conflict(conflict public.contact_conflicts)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return pg_catalog.to_jsonb(conflict) || pg_catalog.jsonb_build_object(
        'contact', private.brief_contact(conflict.contact_id), 'other_contact', private.brief_contact(conflict.other_contact_id));
end;
$$;
comment on function private.describe_conflict(public.contact_conflicts) is 'A conflict as its workspace''s members see it.';

create function private.brief_contact(contact_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return (select pg_catalog.jsonb_build_object('id', c.id, 'kind', c.kind, 'name', private.contact_name(c), 'standing_id', private.standing_contact(c.id))
              from public.contacts c
             where c.id = brief_contact.contact_id);
end;
$$;
comment on function private.brief_contact(uuid) is 'A contact in a line: {id, kind, name, standing_id}.';

create function private.workspace_of_conflict(conflict_id uuid)
    returns uuid
    language plpgsql
    stable
    security definer
    set search_path = ''
as $$
begin
    return (select k.workspace_id from public.contact_conflicts k where k.id = workspace_of_conflict.conflict_id);
end;
$$;
comment on function private.workspace_of_conflict(uuid) is 'The workspace of a conflict that somebody wants to dismiss; null for any other id.';

create function public.dismiss_contact_conflict(conflict_id uuid)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    conflict public.contact_conflicts;
    role     public.member_role;
begin
    begin
        role := private.enter_to_manage('workspace', private.workspace_of_conflict(conflict_id));
    exception when sqlstate 'PT404' then
        raise sqlstate 'PT404' using message = 'conflict_not_found', detail = 'There is no such conflict.';
    end;
    if role = 'agent' then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'Only owners and admins may change this.';
    end if;
    select k.* into strict conflict from public.contact_conflicts k where k.id = dismiss_contact_conflict.conflict_id for no key update;
    if conflict.status = 'merged' then
        raise sqlstate 'PT409' using message = 'already_merged', detail = 'The two have been merged.';
    elsif conflict.status = 'open' then
        update public.contact_conflicts k
           set status = 'dismissed', closed_by = private.calling_user(), closed_at = pg_catalog.clock_timestamp()
         where k.id = conflict.id
        returning k.* into conflict;
        perform private.record_change(conflict.workspace_id, 'contact.conflict_dismissed', conflict.contact_id, conflict.other_contact_id::text);
    end if;
    return private.describe_conflict(conflict);
end;
$$;
comment on function public.dismiss_contact_conflict(uuid) is 'Closes a conflict: the two are not the same. For owners and admins; a dismissed one stays so.';

grant execute on function
    private.merged_tables(), private.followed_tables(), private.follow_conversations(uuid[], uuid, uuid, boolean),
    private.open_conflict(uuid, uuid, text), private.describe_merge(public.contact_merges),
    private.filled_fields(public.contacts, public.contacts), private.preview_merge(public.contacts, public.contacts),
    private.lock_contacts(uuid[]),
    private.join_contacts(public.contacts, public.contacts, text), private.contacts_of(uuid),
    private.part_contacts(public.contact_merges), private.return_conversations(public.contact_merges, uuid[]),
    private.enter_contact_as_admin(uuid), private.workspace_of_conflict(uuid),
    public.merge_contacts(uuid, uuid, boolean), public.unmerge_contact(uuid), public.dismiss_contact_conflict(uuid)
    to switchboard, service_role;
grant execute on function
    private.contact_name(public.contacts), private.brief_contact(uuid), private.describe_conflict(public.contact_conflicts)
    to authenticated, switchboard, service_role;
grant execute on function public.list_contact_conflicts(uuid, public.conflict_status, uuid, integer) to authenticated, service_role;
