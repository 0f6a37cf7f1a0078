-- Visitors become known without losing what they said, and users stay who they are when their email changes.

set lock_timeout = '5s';
set statement_timeout = '60s';

create function private.contact_of_user(email_key text, email text, profile jsonb)
    returns uuid
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    workspace constant uuid := private.entered_workspace();
    auth_key  constant text := 'auth:' || (private.claims() #>> '{caller,user_id}');
    contact   uuid;
    known     public.contact_identities;
begin
    if auth_key is null then
        return null;
    end if;
    perform private.lock_identities(workspace, pg_catalog.jsonb_build_array(
        pg_catalog.jsonb_build_object('kind', 'external', 'key', auth_key), pg_catalog.jsonb_build_object('kind', 'email', 'key', email_key)));
    select i.contact_id into contact
      from public.contact_identities i
     where i.workspace_id = workspace and i.key = auth_key and i.kind = 'external';
    if not found then
        return null;
    end if;
    select i.* into known
      from public.contact_identities i
     where i.workspace_id = workspace and i.key = email_key and i.kind = 'email';
    if not found then
        insert into public.contact_identities (workspace_id, contact_id, kind, key, value, evidence, verified_by, verified_at)
        values (workspace, contact, 'email', email_key, email, 'verified', 'supabase_auth', pg_catalog.now());
    elsif known.evidence = 'asserted' then
        -- It was only ever typed: it belongs to whoever proves it, and leaves everything else.
        update public.contact_identities i
           set contact_id = contact, evidence = 'verified', verified_by = 'supabase_auth', verified_at = pg_catalog.now()
         where i.id = known.id;
    end if;
    -- An email that somebody else proved stays theirs, and the user who they are, until a member joins the two.
    update public.contacts c
       set first_name = coalesce(c.first_name, profile ->> 'first_name'),
           last_name  = coalesce(c.last_name, profile ->> 'last_name'),
           source     = coalesce(c.source, profile ->> 'source'),
           attributes = coalesce(profile -> 'attributes', '{}') || c.attributes
     where c.id = contact
       and profile <> '{}';
    return contact;
end;
$$;
comment on function private.contact_of_user(text, text, jsonb) is
    'The contact that the calling user already is, who has confirmed this email; null for a user without one. The email becomes theirs unless somebody else has proved it.';

create function private.link_user(contact_id uuid, kind public.identity_kind, verified_by text)
    returns void
    language plpgsql
    volatile
    set search_path = ''
as $$
begin
    insert into public.contact_identities (workspace_id, contact_id, kind, key, value, evidence, asserted_by, verified_by, verified_at)
    select private.entered_workspace(), link_user.contact_id, 'external', 'auth:' || caller.user_id, 'auth:' || caller.user_id, 'verified',
           'service', 'supabase_auth', pg_catalog.now()
      from (select private.claims() #>> '{caller,user_id}' as user_id) caller
     where link_user.verified_by = 'supabase_auth'
       and link_user.kind = 'email'
       and caller.user_id is not null
    on conflict on constraint contact_identities_key do nothing;
end;
$$;
comment on function private.link_user(uuid, public.identity_kind, text) is
    'Remembers which user proved an email, so that they stay this contact whatever becomes of it.';

create function private.unknown_visitor()
    returns public.conversations
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    visitor public.conversations;
begin
    -- Before the lock as well: only a visitor's conversation is held while another one is asked for, so that two who tell
    -- each other's emails do not wait in a circle.
    if exists (select
                 from public.contact_identities i
                where i.contact_id = (private.claims() #>> '{caller,contact_id}')::uuid) then
        return null;
    end if;
    select c.* into visitor
      from public.conversations c
     where c.id = (private.claims() #>> '{caller,conversation_id}')::uuid
       and c.contact_id = (private.claims() #>> '{caller,contact_id}')::uuid
       and (c.space_id is null or private.workspace_of_space(c.space_id) is not null)
       for no key update;
    -- After the lock: who tells two emails at once becomes known by one of them.
    if exists (select from public.contact_identities i where i.contact_id = visitor.contact_id)
       -- Who told one that somebody else has is asked no second time either: a next answer would tell that it was.
       or exists (select
                    from public.sessions s
                   where s.conversation_id = visitor.id
                     and s.metadata ? 'registration') then
        return null;
    end if;
    return visitor;
end;
$$;
comment on function private.unknown_visitor() is
    'The conversation of the contact token that is shown, locked, where nobody has told yet who its contact is; else nulls.';

create function private.introduce_visitor(visitor public.conversations, email_key text, email text, verified_by text, profile jsonb)
    returns public.conversations
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    conversation public.conversations := visitor;
begin
    if email_key is not null then
        insert into public.contact_identities (workspace_id, contact_id, kind, key, value, evidence, verified_by, verified_at)
        values (visitor.workspace_id, visitor.contact_id, 'email', email_key, email,
                case when verified_by is null then 'asserted' else 'verified' end::public.proof, introduce_visitor.verified_by,
                case when introduce_visitor.verified_by is not null then pg_catalog.now() end);
    end if;
    update public.contacts c
       set first_name = coalesce(c.first_name, profile ->> 'first_name'),
           last_name  = coalesce(c.last_name, profile ->> 'last_name'),
           source     = coalesce(c.source, profile ->> 'source'),
           attributes = coalesce(profile -> 'attributes', '{}') || c.attributes
     where c.id = visitor.contact_id;
    if verified_by is not null then
        -- Now it is their lasting one. Its former key, under which who sent the first message found it again without a token,
        -- must not open it any more.
        begin
            update public.conversations c
               set proof = 'verified', thread_key = 'main'
             where c.id = visitor.id
            returning c.* into conversation;
        exception when unique_violation then
            -- A member has opened one for them already, and that is where they go on elsewhere.
            update public.conversations c
               set proof = 'verified', thread_key = 'arrival:' || private.uuid7()
             where c.id = visitor.id
            returning c.* into conversation;
        end;
    end if;
    return conversation;
end;
$$;
comment on function private.introduce_visitor(public.conversations, text, text, text, jsonb) is
    'Gives a visitor whom nobody knew a name and an email (null: somebody else has it); with proof the conversation becomes their lasting one.';

grant execute on function
    private.contact_of_user(text, text, jsonb), private.link_user(uuid, public.identity_kind, text), private.unknown_visitor(),
    private.introduce_visitor(public.conversations, text, text, text, jsonb)
    to switchboard;

create or replace function private.find_or_create_contact(kind public.identity_kind, key text, value text, verified_by text, profile jsonb)
    returns uuid
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    workspace constant uuid := private.entered_workspace();
    known     public.contact_identities;
    contact   uuid;
begin
    if verified_by = 'supabase_auth' and kind = 'email' then
        contact := private.contact_of_user(key, value, profile);
        if contact is not null then
            return contact;
        end if;
    end if;
    -- One writer per identity: of many who bring the same new one at once, the first creates the contact.
    perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended(workspace::text || kind::text || key, 0));

    select i.* into known
      from public.contact_identities i
     where i.workspace_id = workspace
       and i.kind = find_or_create_contact.kind
       and i.key = find_or_create_contact.key;

    if found then
        if verified_by is null then
            -- Nobody's word changes what stands.
            return known.contact_id;
        end if;
        contact := known.contact_id;
        if known.evidence = 'asserted' then
            -- Locked before it is judged: somebody else may be proving another of its identities.
            perform from public.contacts c where c.id = known.contact_id for no key update;
            -- Somebody else proved to be this contact, and the identity was only ever typed: it belongs to whoever proves it.
            if exists (select
                         from public.contact_identities other
                        where other.contact_id = known.contact_id
                          and other.evidence = 'verified') then
                contact := private.create_contact(profile);
            end if;
            update public.contact_identities i
               set contact_id = contact, evidence = 'verified', verified_by = find_or_create_contact.verified_by,
                   verified_at = pg_catalog.now()
             where i.id = known.id;
            -- What was typed before there was proof gives way.
            update public.contacts c
               set first_name = coalesce(profile ->> 'first_name', c.first_name),
                   last_name  = coalesce(profile ->> 'last_name', c.last_name),
                   source     = coalesce(c.source, profile ->> 'source'),
                   attributes = c.attributes || coalesce(profile -> 'attributes', '{}')
             where c.id = contact
               and profile <> '{}';
        elsif profile <> '{}' then
            update public.contacts c
               set first_name = coalesce(c.first_name, profile ->> 'first_name'),
                   last_name  = coalesce(c.last_name, profile ->> 'last_name'),
                   source     = coalesce(c.source, profile ->> 'source'),
                   attributes = coalesce(profile -> 'attributes', '{}') || c.attributes
             where c.id = contact;
        end if;
        perform private.link_user(contact, kind, verified_by);
        return contact;
    end if;

    contact := private.create_contact(profile);
    insert into public.contact_identities (workspace_id, contact_id, kind, key, value, evidence, verified_by, verified_at)
    values (workspace, contact, find_or_create_contact.kind, find_or_create_contact.key, find_or_create_contact.value,
            case when verified_by is null then 'asserted' else 'verified' end::public.proof,
            find_or_create_contact.verified_by, case when verified_by is not null then pg_catalog.now() end);
    perform private.link_user(contact, kind, verified_by);
    return contact;
end;
$$;
comment on function private.find_or_create_contact(public.identity_kind, text, text, text, jsonb) is
    'The contact behind an identity; verified_by says what stands behind it, null where somebody only typed it.';

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
            visitor := private.unknown_visitor();
            select k.contact_id into known from private.known_contacts(space.workspace_id, identity) k;
            if visitor.id is not null and known is not null then
                -- Kept apart until a member joins them. Without proof the answer is the one that a new email gets, too.
                perform private.record_audit('identity.conflict', known, visitor.contact_id, coalesce(verified_by, 'asserted'));
            end if;
        end if;
        if visitor.id is not null and (known is null or verified_by is null) then
            conversation := private.introduce_visitor(
                                visitor, case when known is null then email_key end, email, verified_by, profile);
            contact      := conversation.contact_id;
        else
            contact := private.find_or_create_contact('email', email_key, email, verified_by, profile);
        end if;
        if verified_by = 'supabase_auth' and not exists (select
                                                           from private.known_contacts(space.workspace_id, identity) k
                                                          where k.contact_id = contact) then
            perform private.record_audit('identity.conflict', k.contact_id, contact, verified_by)
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
comment on function public.register_contact(uuid, public.space_kind, text, text, text, text, text, text, text, text, jsonb, jsonb) is
    'Registers a person in a space: finds or creates the contact, or makes the visitor whose token is shown known; opens or finds the session, links them, counts the arrival.';
