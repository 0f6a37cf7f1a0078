-- Registration: contact, conversation, session and link in one transaction.

set lock_timeout = '5s';
set statement_timeout = '60s';

create function private.find_or_create_contact(kind public.identity_kind, key text, value text, verified_by text, profile jsonb)
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
        return contact;
    end if;

    contact := private.create_contact(profile);
    insert into public.contact_identities (workspace_id, contact_id, kind, key, value, evidence, verified_by, verified_at)
    values (workspace, contact, find_or_create_contact.kind, find_or_create_contact.key, find_or_create_contact.value,
            case when verified_by is null then 'asserted' else 'verified' end::public.proof,
            find_or_create_contact.verified_by, case when verified_by is not null then pg_catalog.now() end);
    return contact;
end;
$$;
comment on function private.find_or_create_contact(public.identity_kind, text, text, text, jsonb) is
    'The contact behind an identity; verified_by says what stands behind it, null where somebody only typed it.';

create function private.create_contact(profile jsonb)
    returns uuid
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    contact uuid;
begin
    insert into public.contacts (workspace_id, first_name, last_name, source, attributes)
    values (private.entered_workspace(), profile ->> 'first_name', profile ->> 'last_name', profile ->> 'source',
            coalesce(profile -> 'attributes', '{}'))
    returning id into contact;
    perform private.record_audit('contact.created', contact, contact, null);
    return contact;
end;
$$;
comment on function private.create_contact(jsonb) is 'A contact that nobody knows yet: profile is {first_name, last_name, source, attributes}, all optional.';

create function private.find_or_create_conversation(contact_id uuid, user_id uuid, persona_id uuid, space_id uuid, thread_key text, proof public.proof)
    returns public.conversations
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    conversation public.conversations;
begin
    insert into public.conversations (workspace_id, contact_id, user_id, persona_id, space_id, thread_key, proof)
    values (private.entered_workspace(), find_or_create_conversation.contact_id, find_or_create_conversation.user_id,
            find_or_create_conversation.persona_id, find_or_create_conversation.space_id,
            find_or_create_conversation.thread_key, find_or_create_conversation.proof)
    on conflict on constraint conversations_key do nothing
    returning * into conversation;
    if not found then
        -- The lock is what makes the messages of one conversation come one after the other.
        -- Two ways to ask, because "is not distinct from" is no condition for an index.
        if find_or_create_conversation.contact_id is not null then
            select c.* into strict conversation
              from public.conversations c
             where c.contact_id = find_or_create_conversation.contact_id
               and c.user_id is not distinct from find_or_create_conversation.user_id
               and c.persona_id = find_or_create_conversation.persona_id
               and c.channel = 'web'
               and c.thread_key = find_or_create_conversation.thread_key
               for no key update;
        else
            select c.* into strict conversation
              from public.conversations c
             where c.contact_id is null
               and c.user_id = find_or_create_conversation.user_id
               and c.persona_id = find_or_create_conversation.persona_id
               and c.channel = 'web'
               and c.thread_key = find_or_create_conversation.thread_key
               for no key update;
        end if;
    end if;
    return conversation;
end;
$$;
comment on function private.find_or_create_conversation(uuid, uuid, uuid, uuid, text, public.proof) is
    'The conversation under a key, locked for this transaction.';

create function private.find_or_create_session(conversation public.conversations, metadata jsonb)
    returns public.sessions
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    session public.sessions;
begin
    select s.* into session
      from public.sessions s
     where s.conversation_id = conversation.id
       and s.status in ('active', 'paused')
       for no key update;
    if not found then
        insert into public.sessions (workspace_id, conversation_id, contact_id, user_id, persona_id, metadata)
        values (conversation.workspace_id, conversation.id, conversation.contact_id, conversation.user_id,
                conversation.persona_id, find_or_create_session.metadata)
        returning * into session;
        -- The link to the session first opened is set once and never repointed.
        update public.contacts c
           set session_id = session.id
         where c.id = conversation.contact_id
           and c.session_id is null;
    end if;
    return session;
end;
$$;
comment on function private.find_or_create_session(public.conversations, jsonb) is
    'The live session of a locked conversation, or a new one, to which a contact without a session is linked.';

grant execute on function
    private.find_or_create_contact(public.identity_kind, text, text, text, jsonb),
    private.create_contact(jsonb),
    private.find_or_create_conversation(uuid, uuid, uuid, uuid, text, public.proof),
    private.find_or_create_session(public.conversations, jsonb)
    to switchboard;

create function private.email_proof(space_id uuid, email text, email_key text, email_hmac text)
    returns text
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    caller constant jsonb := private.claims() -> 'caller';
begin
    if email_hmac is not null then
        if not private.email_is_signed(space_id, email, email_key, email_hmac) then
            raise sqlstate 'PT401' using message = 'email_hmac_invalid', detail = 'The HMAC does not belong to this email and space.';
        end if;
        return 'hmac';
    end if;
    if caller ->> 'kind' = 'user' and caller ->> 'email_key' = email_key
       and private.email_is_confirmed((caller ->> 'user_id')::uuid, caller ->> 'email') then
        return 'supabase_auth';
    end if;
    return null;
end;
$$;
comment on function private.email_proof(uuid, text, text, text) is 'What stands behind an email: hmac, supabase_auth, or null for somebody''s word.';
grant execute on function private.email_proof(uuid, text, text, text) to switchboard;

create function public.register_contact(
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
    conversation public.conversations;
    session      public.sessions;
    contact      uuid;
    verified_by  text;
    profile      constant jsonb := pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
                     'first_name', first_name, 'last_name', last_name, 'source', source, 'attributes', attributes));
    refusal      text;
begin
    perform private.enter();
    select s.* into space
      from public.spaces s
     where s.id = register_contact.space_id and s.kind = register_contact.space_kind and s.enabled;
    if not found then
        raise sqlstate 'PT404' using message = 'space_not_found', detail = 'There is no such space.';
    end if;

    begin
        perform private.check_arrival(space, client ->> 'address');
        verified_by  := private.email_proof(space.id, email, email_key, email_hmac);
        contact      := private.find_or_create_contact('email', email_key, email, verified_by, profile);
        -- A typed phone goes to a contact that is new, or to one whose email is proven; nobody adds to somebody else's.
        if phone_key is not null
           and (verified_by is not null or exists (select from public.contacts c where c.id = contact and c.created_at = pg_catalog.now())) then
            insert into public.contact_identities (workspace_id, contact_id, kind, key, value, evidence)
            values (space.workspace_id, contact, 'phone', register_contact.phone_key, register_contact.phone, 'asserted')
            on conflict on constraint contact_identities_key do nothing;
        end if;
        -- Without proof the arrival gets a conversation of its own and so sees nothing from before.
        conversation := private.find_or_create_conversation(
                            contact, case when verified_by = 'supabase_auth' then (caller ->> 'user_id')::uuid end,
                            space.persona_id, space.id,
                            case when verified_by is null then 'arrival:' || private.uuid7() else 'main' end,
                            case when verified_by is null then 'asserted' else 'verified' end::public.proof);
        session      := private.find_or_create_session(
                            conversation,
                            client || pg_catalog.jsonb_build_object('registration', profile || pg_catalog.jsonb_strip_nulls(
                                pg_catalog.jsonb_build_object('email', email, 'phone', phone))));
        perform private.record_audit('contact.registered', contact, contact, verified_by);
        perform private.take_arrival(space, client ->> 'address');
    exception when sqlstate 'SB001' then
        get stacked diagnostics refusal = pg_exception_detail;
        perform private.count_refusal(refusal::jsonb);
        return private.refuse(refusal::jsonb - 'subject');
    end;

    return pg_catalog.jsonb_build_object(
        'workspace_id', space.workspace_id, 'contact_id', contact, 'conversation_id', conversation.id,
        'session_id', session.id, 'session_status', session.status, 'proof', conversation.proof);
end;
$$;
comment on function public.register_contact(uuid, public.space_kind, text, text, text, text, text, text, text, text, jsonb, jsonb) is
    'Registers a person in a space: finds or creates the contact, opens or finds the session, links them, counts the arrival.';
grant execute on function public.register_contact(uuid, public.space_kind, text, text, text, text, text, text, text, text, jsonb, jsonb) to switchboard;

create function public.space_origins(space_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    origins jsonb;
begin
    perform private.enter();
    select pg_catalog.jsonb_build_object('origins', s.allowed_origins)
      into origins
      from public.spaces s
     where s.id = space_origins.space_id and s.enabled;
    if not found then
        raise sqlstate 'PT404' using message = 'space_not_found', detail = 'There is no such space.';
    end if;
    return origins;
end;
$$;
comment on function public.space_origins(uuid) is 'Which origins'' pages may call a space from a browser: {origins: […]}.';
grant execute on function public.space_origins(uuid) to switchboard;
