-- Generated from supabase/schemas/31_registration.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- Registration: a contact arrives in a space and gets a session.

create function private.sender_proof(space public.spaces, email text, email_key text, email_hmac text, identity_token jsonb)
    returns text language plpgsql stable set search_path = ''
as $$
declare
    caller constant jsonb := private.claims() -> 'caller';
begin
    -- The two have one secret and cannot pass for each other: an email has an @, the signed part of a token has none.
    if identity_token is not null then
        if not private.is_signed(space.id, array[identity_token ->> 'signed'], identity_token ->> 'signature') then
            raise sqlstate 'PT401' using message = 'identity_token_invalid', detail = 'token_signature';
        end if;
        return 'identity_token';
    end if;
    if email_hmac is not null then
        if space.identity = 'token' then
            raise sqlstate 'PT401' using message = 'identity_token_required';
        end if;
        -- The customer's server signs what it has: the email as typed or the normalised one.
        if not private.is_signed(space.id, array[email, email_key], email_hmac) then
            raise sqlstate 'PT401' using message = 'email_hmac_invalid';
        end if;
        return 'hmac';
    end if;
    if caller ->> 'kind' = 'key' and email_key is not null then
        return 'api_key';
    end if;
    if caller ->> 'kind' = 'user' and caller ->> 'email_key' = email_key
       and private.email_is_confirmed((caller ->> 'user_id')::uuid, caller ->> 'email') then
        return 'supabase_auth';
    end if;
    return null;
end;
$$;
comment on function private.sender_proof is 'The proof of the email, or of the subject of an identity token {signed, signature, subject?}, whose claims the functions have checked: identity_token, hmac, api_key, supabase_auth, or null.';

create function private.proven_account(verified_by text, identity_token jsonb)
    returns text language plpgsql stable set search_path = ''
as $$
begin
    return case verified_by when 'identity_token' then identity_token ->> 'subject'
                            when 'supabase_auth'  then 'auth:' || (private.claims() #>> '{caller,user_id}') end;
end;
$$;
comment on function private.proven_account is 'The key of the account that a proof names (sub:…, auth:…); null for a proof of an email alone.';

create function private.contact_of_sender(email_key text, email text, verified_by text, account text, profile jsonb)
    returns uuid language plpgsql set search_path = ''
as $$
begin
    if email_key is null then
        return private.find_or_create_contact('external', account, account, verified_by, profile);
    end if;
    return private.find_or_create_contact('email', email_key, email, verified_by, profile, account);
end;
$$;
comment on function private.contact_of_sender is 'The contact of an email, of a proven account without an email, or of both; created if there is none.';

create function private.record_identity_conflict(known_id uuid, contact_id uuid, other_id uuid, found_by text)
    returns void language plpgsql set search_path = ''
as $$
begin
    perform private.record_audit('identity.conflict', known_id, contact_id, found_by);
    perform private.open_conflict(contact_id, other_id, found_by);
end;
$$;
comment on function private.record_identity_conflict is 'Audits that one identity leads to two contacts, and opens the conflict that a member resolves.';

create function private.lock_own_conversation(email_key text)
    returns public.conversations language plpgsql set search_path = ''
as $$
declare
    caller       constant jsonb := private.claims() -> 'caller';
    contact      uuid;
    conversation public.conversations;
begin
    select private.merge_target((caller ->> 'contact_id')::uuid) into contact
     where caller ->> 'kind' = 'contact'
       and caller ->> 'proof' = 'verified';
    if email_key is null
       or exists (select
                    from public.contact_identities i
                   where i.contact_id = contact
                     and i.kind = 'email'
                     and i.key = lock_own_conversation.email_key) then
        -- The contact is locked before the conversation, because a new session may be linked to it.
        contact := private.lock_merge_target(contact);
        select c.* into conversation
          from public.conversations c
         where c.id = (caller ->> 'conversation_id')::uuid
           and c.contact_id = contact
           and c.proof = 'verified'
           for no key update;
    end if;
    if conversation.id is null and email_key is null then
        raise sqlstate 'PT422' using message = 'invalid_body', detail = 'email_required';
    end if;
    return conversation;
end;
$$;
comment on function private.lock_own_conversation is 'The conversation of the presented token, locked with its contact, if the contact is proven and the email is one of its own or null; else null. Refuses null without such a token.';

create function private.open_conversation_of_arrival(contact_id uuid, verified_by text, space public.spaces)
    returns public.conversations language plpgsql set search_path = ''
as $$
begin
    return private.find_or_create_conversation(
        contact_id, case when verified_by = 'supabase_auth' then private.calling_user() end, space.persona_id, space.id,
        case when verified_by is null then 'arrival:' || private.uuid7() else 'main' end,
        case when verified_by is null then 'asserted' else 'verified' end::public.proof);
end;
$$;
comment on function private.open_conversation_of_arrival is 'The conversation of a locked contact who registers: without proof one of its own, without earlier history.';

create function public.register_contact(
    space_id       uuid,
    space_kind     public.space_kind,
    email          text,
    email_key      text,
    email_hmac     text  default null,
    identity_token jsonb default null,
    first_name     text  default null,
    last_name      text  default null,
    phone          text  default null,
    phone_key      text  default null,
    source         text  default null,
    attributes     jsonb default '{}',
    client         jsonb default '{}'
)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    caller       constant jsonb := private.claims() -> 'caller';
    space        public.spaces;
    identities   jsonb;
    account      text;
    visitor      public.conversations;
    conversation public.conversations;
    session      public.sessions;
    contact      uuid;
    known        uuid;
    own          public.conversations;
    verified_by  text;
    joined       boolean := false;
    profile      constant jsonb := jsonb_strip_nulls(jsonb_build_object(
                     'first_name', first_name, 'last_name', last_name, 'source', source, 'attributes', attributes));
    typed        constant jsonb := jsonb_build_object('registration', profile || jsonb_strip_nulls(
                     jsonb_build_object('email', email, 'phone', phone)));
    limits       jsonb;
    refusal      text;
begin
    perform private.enter_space(space_id);
    select s.* into space from public.spaces s where s.id = register_contact.space_id and s.kind = space_kind and s.enabled;
    if not found then
        raise sqlstate 'PT404' using message = 'space_not_found';
    end if;

    limits := private.arrival_limits(space, client ->> 'address');
    begin
        perform private.check_limits(limits);
        verified_by  := private.sender_proof(space, email, email_key, email_hmac, identity_token);
        own          := case when verified_by is null then private.lock_own_conversation(email_key) end;
        verified_by  := coalesce(verified_by, case when own.id is not null then 'contact_token' end);
        account      := private.proven_account(verified_by, identity_token);
        identities   := (select jsonb_agg(i) from (values ('external', account), ('email', email_key)) i (kind, key) where i.key is not null);
        if caller ->> 'kind' = 'contact' and own.id is null then
            perform private.lock_identities(space.workspace_id, identities);
            visitor := private.lock_unidentified_visitor(identities, verified_by is not null);
            select k.contact_id into known from private.find_contacts(space.workspace_id, identities) k;
        end if;
        if own.id is not null then
            conversation := own;
            contact      := own.contact_id;
        elsif visitor.id is not null and (known is null or verified_by is null) then
            conversation := private.identify_visitor(
                                visitor, case when known is null then email_key end, email, verified_by, profile);
            contact      := conversation.contact_id;
            perform private.link_account(contact, account, verified_by);
        else
            -- The contact is locked before any conversation, because a new session may be linked to it.
            contact := private.lock_merge_target(private.contact_of_sender(email_key, email, verified_by, account, profile));
            -- The visitor proved to be a known contact: the visitor's conversation moves to it.
            joined := visitor.id is not null and private.merge_visitor(visitor.contact_id, contact, verified_by);
        end if;
        if visitor.id is not null and known is not null and not joined then
            -- They stay apart until a member merges them. Without proof the answer is the same as for a new email.
            perform private.record_identity_conflict(known, visitor.contact_id, case when verified_by is null then known else contact end,
                                                     coalesce(verified_by, 'asserted'));
        end if;
        if account is not null then
            perform private.record_identity_conflict(k.contact_id, contact, k.contact_id, verified_by)
               from private.find_contacts(space.workspace_id, identities) k
              where k.contact_id <> contact;
        end if;
        perform private.change_profile(contact, profile, false), private.join_own_memories(contact) where verified_by is not null;
        perform private.add_phone(contact, phone, phone_key, verified_by is not null or contact = visitor.contact_id);
        if conversation.id is null then
            conversation := private.open_conversation_of_arrival(contact, verified_by, space);
        end if;
        session := private.find_or_create_session(conversation, client || typed);
        update public.sessions s set metadata = s.metadata || typed where s.id = session.id and conversation.id = visitor.id;
        perform private.record_audit('contact.registered', contact, case caller ->> 'kind' when 'key' then private.calling_user() else contact end, verified_by);
        limits := private.take_limits(limits);
    exception when sqlstate 'SB001' then
        get stacked diagnostics refusal = pg_exception_detail;
        return private.count_and_refuse(refusal::jsonb);
    end;

    return jsonb_build_object(
        'workspace_id', space.workspace_id, 'contact_id', contact, 'conversation_id', conversation.id,
        'session_id', session.id, 'session_status', session.status, 'proof', conversation.proof, 'limits', limits,
        'issued_at', case when not private.is_limited_key() then now() end);
end;
$$;
comment on function public.register_contact is 'Registers a person in a space: finds or creates the contact, or identifies the visitor whose token is presented; opens or finds the session, links both, counts the arrival. Without issued_at for an API key that may not have the contact''s token, which reads the conversation.';

create function private.link_account(contact_id uuid, account text, verified_by text)
    returns void language plpgsql set search_path = ''
as $$
begin
    insert into public.contact_identities (workspace_id, contact_id, kind, key, value, evidence, asserted_by, verified_by, verified_at)
    select private.entered_workspace(), link_account.contact_id, 'external', account, account, 'verified', 'service',
           link_account.verified_by, now()
     where account is not null
    on conflict on constraint contact_identities_key do nothing;
end;
$$;
comment on function private.link_account is 'Links the account (null: none) that proved an email to the contact: the account stays this contact''s even if the email moves.';

create function private.add_phone(contact_id uuid, phone text, phone_key text, is_own boolean)
    returns void language plpgsql set search_path = ''
as $$
begin
    insert into public.contact_identities (workspace_id, contact_id, kind, key, value, evidence)
    select c.workspace_id, c.id, 'phone', add_phone.phone_key, add_phone.phone, 'asserted'
      from public.contacts c
     where c.id = add_phone.contact_id
       and add_phone.phone_key is not null
       and (is_own or c.created_at = now())
    on conflict on constraint contact_identities_key do nothing;
end;
$$;
comment on function private.add_phone is 'Adds a typed phone (null key: none) to a contact that is new, or the sender''s own: with proof, or as its visitor. A phone of another contact stays there.';

create function private.lock_unidentified_visitor(identities jsonb, proven boolean)
    returns public.conversations language plpgsql set search_path = ''
as $$
declare
    me      constant uuid := (private.claims() #>> '{caller,contact_id}')::uuid;
    visitor public.conversations;
begin
    -- Checked before the locks too: only a visitor without identities is locked together with other contacts, so that two
    -- visitors who type each other's emails cannot deadlock.
    if exists (select from public.contact_identities i where i.contact_id = me) then
        return null;
    end if;
    -- Contacts before the conversation, in the order of a merge.
    perform private.lock_contacts(array(select k.contact_id from private.find_contacts(private.entered_workspace(), identities) k) || me);
    select c.* into visitor
      from public.conversations c
     where c.id = (private.claims() #>> '{caller,conversation_id}')::uuid
       and c.contact_id = me
       and (c.space_id is null or private.workspace_of_space(c.space_id) is not null)
       for no key update;
    -- Checked again after the locks: a visitor who types two emails at once gets one of them.
    if exists (select from public.contact_identities i where i.contact_id = visitor.contact_id)
       -- A visitor who already typed another contact's email is not identified by a second one either: the different answer
       -- would reveal that the first one is known. With proof nothing is revealed.
       or (not proven and exists (select
                                    from public.sessions s
                                   where s.conversation_id = visitor.id
                                     and s.metadata ? 'registration')) then
        return null;
    end if;
    return visitor;
end;
$$;
comment on function private.lock_unidentified_visitor is 'The conversation of the presented contact token if its contact has no identity yet, else null. Locks the contacts of the identities and the visitor''s, then the conversation. proven: whether the identities are.';

create function private.identify_visitor(visitor public.conversations, email_key text, email text, verified_by text, profile jsonb)
    returns public.conversations language plpgsql set search_path = ''
as $$
declare
    conversation public.conversations := visitor;
begin
    if email_key is not null then
        insert into public.contact_identities (workspace_id, contact_id, kind, key, value, evidence, verified_by, verified_at)
        values (visitor.workspace_id, visitor.contact_id, 'email', email_key, email,
                case when verified_by is null then 'asserted' else 'verified' end::public.proof, identify_visitor.verified_by,
                case when identify_visitor.verified_by is not null then now() end);
    end if;
    if verified_by is not null then
        perform private.drop_unproven(visitor.contact_id);
    end if;
    perform private.fill_profile(visitor.contact_id, profile);
    if verified_by is null then
        -- A visitor is identified without proof once, so nothing that was typed is forgotten here.
        update public.contacts c set unproven = profile where c.id = visitor.contact_id;
    else
        -- It becomes the main conversation. Its former key, which opened it without a token, becomes invalid.
        begin
            update public.conversations c
               set proof = 'verified', thread_key = 'main'
             where c.id = visitor.id
            returning c.* into conversation;
        exception when unique_violation then
            -- A member has already opened a main conversation for the contact.
            update public.conversations c
               set proof = 'verified', thread_key = 'arrival:' || private.uuid7()
             where c.id = visitor.id
            returning c.* into conversation;
        end;
    end if;
    return conversation;
end;
$$;
comment on function private.identify_visitor is 'Adds a profile and an email (null: there is none, or another contact has it) to a visitor without identities; with proof the conversation becomes the main one.';

create function private.merge_visitor(contact_id uuid, standing_id uuid, verified_by text)
    returns boolean language plpgsql set search_path = ''
as $$
declare
    contact  public.contacts;
    standing public.contacts;
    collides jsonb;
begin
    select c.* into strict contact from public.contacts c where c.id = merge_visitor.contact_id;
    select c.* into strict standing from public.contacts c where c.id = standing_id;
    if contact.id = standing.id then
        return true;
    end if;
    collides := private.preview_merge(contact, standing) -> 'collides';
    -- Both having a session is no contradiction: the target keeps its own.
    if contact.merged_into_id is not null or standing.merged_into_id is not null
       or contact.kind <> 'person' or standing.kind <> 'person'
       or exists (select from public.contact_identities i where i.contact_id = contact.id)
       or collides ? 'name' or collides -> 'threads' <> '[]' or collides -> 'attributes' <> '[]'
       -- A member decided that they are two contacts.
       or exists (select from public.contact_merges m where m.contact_id = contact.id and m.into_id = standing.id and m.undone_at is not null)
       or exists (select
                    from public.contact_conflicts k
                   where k.status = 'dismissed'
                     and k.contact_id in (contact.id, standing.id)
                     and k.other_contact_id in (contact.id, standing.id)) then
        return false;
    end if;
    perform private.merge_into(contact, standing, verified_by);
    return true;
end;
$$;
comment on function private.merge_visitor is 'Merges a visitor into the contact that the visitor proved to be, both locked. Returns false, and changes nothing, if anything contradicts it.';

grant execute on function
    private.sender_proof, private.proven_account, private.lock_own_conversation, private.open_conversation_of_arrival, private.contact_of_sender, private.record_identity_conflict,
    public.register_contact, private.link_account, private.add_phone, private.lock_unidentified_visitor,
    private.identify_visitor, private.merge_visitor
    to switchboard;
