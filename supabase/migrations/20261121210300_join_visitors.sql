-- Who proves to be a known contact joins it, and everything else that looks like one person is parked for a member.

set lock_timeout = '5s';
set statement_timeout = '60s';

-- squawk-ignore ban-drop-function
drop function private.unknown_visitor();

create function private.unknown_visitor(identities jsonb, proven boolean)
    returns public.conversations
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    me      constant uuid := (private.claims() #>> '{caller,contact_id}')::uuid;
    visitor public.conversations;
begin
    -- Before the locks as well: only a visitor is held while somebody else is asked for, so that two who tell each other's
    -- emails do not wait in a circle.
    if exists (select from public.contact_identities i where i.contact_id = me) then
        return null;
    end if;
    -- Both contacts before the conversation, as a merge locks them.
    perform private.lock_contacts(array(select k.contact_id from private.known_contacts(private.entered_workspace(), identities) k) || me);
    select c.* into visitor
      from public.conversations c
     where c.id = (private.claims() #>> '{caller,conversation_id}')::uuid
       and c.contact_id = me
       and (c.space_id is null or private.workspace_of_space(c.space_id) is not null)
       for no key update;
    -- After the lock: who tells two emails at once becomes known by one of them.
    if exists (select from public.contact_identities i where i.contact_id = visitor.contact_id)
       -- Who told one that somebody else has is asked no second time either: a next answer would tell that it was. Whoever
       -- has proof is told nothing that is not theirs.
       or (not proven and exists (select
                                    from public.sessions s
                                   where s.conversation_id = visitor.id
                                     and s.metadata ? 'registration')) then
        return null;
    end if;
    return visitor;
end;
$$;
comment on function private.unknown_visitor(jsonb, boolean) is
    'The conversation of the contact token that is shown, where nobody has told yet who its contact is; else nulls. It is locked, and before it the contact and those that the identities belong to; proven: whether the identities are.';

create function private.join_visitor(contact_id uuid, standing_id uuid, verified_by text)
    returns boolean
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    contact  public.contacts;
    standing public.contacts;
    collides jsonb;
begin
    select c.* into strict contact from public.contacts c where c.id = join_visitor.contact_id;
    select c.* into strict standing from public.contacts c where c.id = standing_id;
    if contact.id = standing.id then
        return true;
    end if;
    collides := private.preview_merge(contact, standing) -> 'collides';
    -- That both have a session is no contradiction: the standing contact keeps its own.
    if contact.merged_into_id is not null or standing.merged_into_id is not null
       or contact.kind <> 'person' or standing.kind <> 'person'
       or exists (select from public.contact_identities i where i.contact_id = contact.id)
       or collides ? 'name' or collides -> 'threads' <> '[]' or collides -> 'attributes' <> '[]'
       -- Somebody has said that these are two.
       or exists (select from public.contact_merges m where m.contact_id = contact.id and m.into_id = standing.id and m.undone_at is not null)
       or exists (select
                    from public.contact_conflicts k
                   where k.status = 'dismissed'
                     and k.contact_id in (contact.id, standing.id)
                     and k.other_contact_id in (contact.id, standing.id)) then
        return false;
    end if;
    perform private.join_contacts(contact, standing, verified_by);
    return true;
end;
$$;
comment on function private.join_visitor(uuid, uuid, text) is
    'Merges somebody whom nobody knew into the contact that they proved to be, both locked; false where anything contradicts it, and then nothing is changed.';

create or replace function public.resolve_contact(
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
    locked    uuid[];
    known     uuid[];
    hinted    uuid[];
    typed     boolean;
    contact   public.contacts;
    made      boolean := false;
    written   integer;
begin
    if make then
        perform private.lock_identities(workspace, identities);
        loop
            -- Locked before they are judged: somebody else may be proving another of their identities, or joining them.
            locked := array(select k.contact_id from private.known_contacts(workspace, identities) k
                             union
                            select private.standing_contact(resolve_contact.group_id) where resolve_contact.group_id is not null);
            perform private.lock_contacts(locked);
            exit when locked @> array(select k.contact_id from private.known_contacts(workspace, identities) k
                                       union
                                      select private.standing_contact(resolve_contact.group_id) where resolve_contact.group_id is not null);
        end loop;
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
            perform private.open_conflict(known[1], other, 'resolve') from pg_catalog.unnest(known[2:]) other;
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
        perform private.join_group(workspace, private.standing_contact(resolve_contact.group_id), contact.id, group_role);
    end if;
    return pg_catalog.jsonb_build_object('contact', private.describe_contact(contact), 'created', made);
end;
$$;

create or replace function public.register_contact(
    space_id   uuid,
    space_kind public.space_kind,
    email      text,
    email_key  text,
    email_hmac text  default null,
    first_name text  default null,
    last_name  text  default null,
    phone      text  default null,
    phone_key  text  default null,
    source     text  default null,
    attributes jsonb default '{}',
    client     jsonb default '{}'
)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    caller       constant jsonb := private.claims() -> 'caller';
    space        public.spaces;
    identity     constant jsonb := pg_catalog.jsonb_build_array(pg_catalog.jsonb_build_object('kind', 'email', 'key', email_key));
    visitor      public.conversations;
    conversation public.conversations;
    session      public.sessions;
    contact      uuid;
    known        uuid;
    verified_by  text;
    joined       boolean := false;
    profile      constant jsonb := pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
                     'first_name', first_name, 'last_name', last_name, 'source', source, 'attributes', attributes));
    limits       jsonb;
    refusal      text;
begin
    perform private.enter_space(space_id);
    select s.* into space
      from public.spaces s
     where s.id = register_contact.space_id and s.kind = register_contact.space_kind and s.enabled;
    if not found then
        raise sqlstate 'PT404' using message = 'space_not_found', detail = 'There is no such space.';
    end if;

    limits := private.arrival_limits(space, client ->> 'address');
    begin
        perform private.check_limits(limits);
        verified_by  := private.email_proof(space.id, email, email_key, email_hmac);
        if caller ->> 'kind' = 'contact' then
            perform private.lock_identities(space.workspace_id, identity);
            visitor := private.unknown_visitor(identity, verified_by is not null);
            select k.contact_id into known from private.known_contacts(space.workspace_id, identity) k;
        end if;
        if visitor.id is not null and (known is null or verified_by is null) then
            conversation := private.introduce_visitor(
                                visitor, case when known is null then email_key end, email, verified_by, profile);
            contact      := conversation.contact_id;
        else
            -- The contact before any conversation: a new session may be linked to it.
            contact := private.lock_standing(private.find_or_create_contact('email', email_key, email, verified_by, profile));
            -- Who proves a known email is that contact, and with them what they said before they told.
            joined := visitor.id is not null and private.join_visitor(visitor.contact_id, contact, verified_by);
        end if;
        if visitor.id is not null and known is not null and not joined then
            -- Kept apart until a member joins them. Without proof the answer is the one that a new email gets, too.
            perform private.record_audit('identity.conflict', known, visitor.contact_id, coalesce(verified_by, 'asserted'));
            perform private.open_conflict(visitor.contact_id, case when verified_by is null then known else contact end,
                                          coalesce(verified_by, 'asserted'));
        end if;
        if verified_by = 'supabase_auth' and not exists (select
                                                           from private.known_contacts(space.workspace_id, identity) k
                                                          where k.contact_id = contact) then
            perform private.record_audit('identity.conflict', k.contact_id, contact, verified_by),
                    private.open_conflict(contact, k.contact_id, verified_by)
               from private.known_contacts(space.workspace_id, identity) k;
        end if;
        -- A typed phone goes to a contact that is new, or to one whose email is proven; nobody adds to somebody else's.
        if phone_key is not null
           and (verified_by is not null or contact = visitor.contact_id or exists (select from public.contacts c where c.id = contact and c.created_at = pg_catalog.now())) then
            insert into public.contact_identities (workspace_id, contact_id, kind, key, value, evidence)
            values (space.workspace_id, contact, 'phone', register_contact.phone_key, register_contact.phone, 'asserted')
            on conflict on constraint contact_identities_key do nothing;
        end if;
        if conversation.id is null then
            -- Without proof the arrival gets a conversation of its own and so sees nothing from before.
            conversation := private.find_or_create_conversation(
                                contact, case when verified_by = 'supabase_auth' then (caller ->> 'user_id')::uuid end,
                                space.persona_id, space.id,
                                case when verified_by is null then 'arrival:' || private.uuid7() else 'main' end,
                                case when verified_by is null then 'asserted' else 'verified' end::public.proof);
        end if;
        session      := private.find_or_create_session(
                            conversation,
                            client || pg_catalog.jsonb_build_object('registration', profile || pg_catalog.jsonb_strip_nulls(
                                pg_catalog.jsonb_build_object('email', email, 'phone', phone))));
        if conversation.id = visitor.id then
            update public.sessions s
               set metadata = s.metadata || pg_catalog.jsonb_build_object('registration', profile || pg_catalog.jsonb_strip_nulls(
                       pg_catalog.jsonb_build_object('email', email, 'phone', phone)))
             where s.id = session.id;
        end if;
        perform private.record_audit('contact.registered', contact, contact, verified_by);
        limits := private.take_limits(limits);
    exception when sqlstate 'SB001' then
        get stacked diagnostics refusal = pg_exception_detail;
        perform private.count_refusal(refusal::jsonb);
        return private.refuse(refusal::jsonb - '{subject,object_id}'::text[]);
    end;

    return pg_catalog.jsonb_build_object(
        'workspace_id', space.workspace_id, 'contact_id', contact, 'conversation_id', conversation.id,
        'session_id', session.id, 'session_status', session.status, 'proof', conversation.proof, 'limits', limits);
end;
$$;

grant execute on function private.unknown_visitor(jsonb, boolean), private.join_visitor(uuid, uuid, text) to switchboard;
