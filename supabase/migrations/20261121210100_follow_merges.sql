-- Whoever names a contact that was merged means the one that stands for it. Who writes for a contact locks the one that
-- stands, and so does whoever merges or parts contacts: what is written while two become one is never left behind.

set lock_timeout = '5s';
set statement_timeout = '60s';

create function private.standing_contact(contact_id uuid)
    returns uuid
    language plpgsql
    stable
    set search_path = ''
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
comment on function private.standing_contact(uuid) is 'The contact that stands for one that was merged, as far as the caller may see it; of any other id itself.';

create function private.lock_standing(contact_id uuid)
    returns uuid
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    standing uuid;
begin
    loop
        standing := private.standing_contact(contact_id);
        perform from public.contacts c where c.id = standing for no key update;
        -- Who merged or parted it meanwhile held this lock.
        exit when standing is not distinct from private.standing_contact(contact_id);
    end loop;
    return standing;
end;
$$;
comment on function private.lock_standing(uuid) is
    'The contact that stands for this one, locked, and until the transaction ends it goes on standing. Before any conversation is locked.';

create or replace function private.find_or_create_conversation(
    contact_id uuid, user_id uuid, persona_id uuid, space_id uuid, thread_key text, proof public.proof)
    returns public.conversations
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    conversation public.conversations;
    contact      uuid := contact_id;
    standing     uuid;
begin
    loop
        -- The lock is what makes the messages of one conversation come one after the other.
        -- Two ways to ask, because "is not distinct from" is no condition for an index.
        if contact is not null then
            select c.* into conversation
              from public.conversations c
             where c.contact_id = contact
               and c.user_id is not distinct from find_or_create_conversation.user_id
               and c.persona_id = find_or_create_conversation.persona_id
               and c.channel = 'web'
               and c.thread_key = find_or_create_conversation.thread_key
               for no key update;
        else
            select c.* into conversation
              from public.conversations c
             where c.contact_id is null
               and c.user_id = find_or_create_conversation.user_id
               and c.persona_id = find_or_create_conversation.persona_id
               and c.channel = 'web'
               and c.thread_key = find_or_create_conversation.thread_key
               for no key update;
        end if;
        exit when found;
        if contact is not null then
            -- It moves with its contact: there it may be.
            standing := private.lock_standing(contact);
            if standing <> contact then
                contact := standing;
                continue;
            end if;
        end if;
        insert into public.conversations (workspace_id, contact_id, user_id, persona_id, space_id, thread_key, proof)
        values (private.entered_workspace(), contact, find_or_create_conversation.user_id,
                find_or_create_conversation.persona_id, find_or_create_conversation.space_id,
                find_or_create_conversation.thread_key, find_or_create_conversation.proof)
        on conflict on constraint conversations_key do nothing
        returning * into conversation;
        exit when found;
    end loop;
    return conversation;
end;
$$;
comment on function private.find_or_create_conversation(uuid, uuid, uuid, uuid, text, public.proof) is
    'The conversation under a key, locked for this transaction; of a merged contact that of the one that stands for it.';

create or replace function private.may_act_on(session public.sessions)
    returns boolean
    language sql
    stable
    set search_path = ''
as $$
    -- The same people as the policies on sessions let read it.
    select coalesce(
        case c.caller ->> 'kind'
            when 'contact' then session.conversation_id = (c.caller ->> 'conversation_id')::uuid
                            and session.contact_id in ((c.caller ->> 'contact_id')::uuid,
                                                       private.standing_contact((c.caller ->> 'contact_id')::uuid))
            when 'user'    then (session.user_id = (c.caller ->> 'user_id')::uuid and session.contact_id is not null)
                             or exists (select
                                          from public.workspace_members m
                                         where m.workspace_id = session.workspace_id
                                           and m.user_id = (c.caller ->> 'user_id')::uuid
                                           and (m.role in ('owner', 'admin') or m.user_id in (session.user_id, session.assigned_user_id)))
        end, false)
      from (select private.claims() -> 'caller' as caller) c;
$$;

create or replace function private.token_conversation()
    returns uuid
    language plpgsql
    stable
    security definer
    set search_path = ''
as $$
declare
    claims       constant jsonb := private.claims();
    conversation uuid;
    contact      uuid;
begin
    select c.id, c.contact_id into conversation, contact
      from public.conversations c
     where c.id = (claims ->> 'conversation_id')::uuid;
    -- It may have moved with the token's contact. One that was the contact's only while two were one is not the token's.
    return case when contact = (claims ->> 'contact_id')::uuid
                  or contact = private.standing_contact((claims ->> 'contact_id')::uuid) then conversation end;
end;
$$;
comment on function private.token_conversation() is 'The one conversation a contact token is for, while it is the contact''s or that of the one that stands for it.';

-- Arriving ------------------------------------------------------------------------------------------------------------

create or replace function private.open_conversation(
    space             public.spaces,
    email             text,
    email_key         text,
    email_hmac        text,
    thread_key        text,
    client_message_id text,
    client            jsonb
)
    returns public.conversations
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    caller       constant jsonb := private.claims() -> 'caller';
    user_id      constant uuid  := (caller ->> 'user_id')::uuid;
    conversation public.conversations;
    contact      uuid;
    verified_by  text;
    arrival      text;
    first        text;
begin
    -- The keys made here stand for conversations opened without proof: nobody asks for one of them by name.
    if thread_key ~ '^(arrival|first):' then
        raise sqlstate 'PT422' using message = 'thread_key_not_allowed', detail = 'Thread keys do not begin with arrival: or first:.';
    end if;

    if caller ->> 'kind' = 'contact' then
        if thread_key is not null then
            raise sqlstate 'PT422' using message = 'thread_key_not_allowed', detail = 'A contact token is for one conversation.';
        end if;
        select c.* into conversation
          from public.conversations c
         where c.id = (caller ->> 'conversation_id')::uuid
           -- It goes on in any space of the workspace, but not once the one it was opened in is closed.
           and (c.space_id is null or c.space_id = space.id or private.workspace_of_space(c.space_id) is not null)
           for no key update;
        -- After the lock: a merge may have moved it to the contact that stands for the token's.
        if not found
           or (conversation.contact_id is distinct from (caller ->> 'contact_id')::uuid
               and conversation.contact_id is distinct from private.standing_contact((caller ->> 'contact_id')::uuid)) then
            raise sqlstate 'PT404' using message = 'conversation_not_found', detail = 'There is no such conversation.';
        end if;
        return conversation;
    end if;

    if caller ->> 'kind' = 'user' then
        if private.is_member(user_id) then
            -- The owner's side: no contact, and never found by one.
            return private.find_or_create_conversation(null, user_id, space.persona_id, space.id, coalesce(thread_key, 'main'), null);
        end if;
        if private.email_is_confirmed(user_id, caller ->> 'email') then
            contact := private.find_or_create_contact('email', caller ->> 'email_key', caller ->> 'email', 'supabase_auth', '{}');
        else
            contact := private.find_or_create_contact('external', 'auth:' || user_id, 'auth:' || user_id, 'supabase_auth', '{}');
        end if;
        return private.find_or_create_conversation(contact, user_id, space.persona_id, space.id, coalesce(thread_key, 'main'), 'verified');
    end if;

    -- Nobody we know: a first message without a token.
    verified_by := case when email_key is not null then private.email_proof(space.id, email, email_key, email_hmac) end;
    if verified_by is not null then
        perform private.check_limits(private.arrival_limits(space, client ->> 'address'));
        contact      := private.find_or_create_contact('email', email_key, email, verified_by, '{}');
        conversation := private.find_or_create_conversation(contact, null, space.persona_id, space.id, coalesce(thread_key, 'main'), 'verified');
    else
        if thread_key is not null then
            raise sqlstate 'PT422' using message = 'thread_key_not_allowed', detail = 'A thread of one''s own needs proof of who one is.';
        end if;
        -- A client message id that is a UUID cannot be guessed, so whoever repeats it soon after is who sent it, and finds the
        -- conversation that it opened. Any other id, and any later, opens a new one. Only a digest of it is kept in the key.
        arrival := 'arrival:' || private.uuid7();
        if client_message_id ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then
            first := 'first:' || pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(
                         client_message_id || ':' || coalesce(email_key, ''), 'UTF8')), 'hex');
            perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended(space.id::text || first, 0));
            select c.* into conversation
              from public.conversations c
             where c.space_id = space.id
               and c.thread_key = first
               for no key update;
            if not found then
                arrival := first;
            elsif conversation.created_at > pg_catalog.now() - interval '10 minutes' then
                return conversation;
            end if;
        end if;
        -- After the repeat, which is no new arrival.
        perform private.check_limits(private.arrival_limits(space, client ->> 'address'));
        contact      := case when email_key is not null
                             then private.find_or_create_contact('email', email_key, email, null, '{}')
                             else private.create_contact('{}') end;
        conversation := private.find_or_create_conversation(contact, null, space.persona_id, space.id, arrival, 'asserted');
    end if;
    return conversation;
end;
$$;

create or replace function private.open_for_contact(contact_id uuid, space public.spaces, persona_id uuid, thread_key text)
    returns public.conversations
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    wanted uuid := coalesce(persona_id, space.persona_id);
begin
    if thread_key ~ '^(arrival|first):' then
        raise sqlstate 'PT422' using message = 'thread_key_not_allowed', detail = 'Thread keys do not begin with arrival: or first:.';
    end if;
    if wanted is null then
        select case when pg_catalog.count(*) = 1 then (pg_catalog.array_agg(p.id))[1] end into wanted
          from public.personas p
         where p.workspace_id = private.entered_workspace()
           and p.enabled;
        if wanted is null then
            raise sqlstate 'PT422' using message = 'persona_required', detail = 'The workspace has several personas, or none.';
        end if;
    end if;
    if not exists (select from public.personas p where p.id = wanted and p.enabled) then
        raise sqlstate 'PT404' using message = 'persona_not_found', detail = 'There is no such persona.';
    end if;
    -- The contact before the conversation: the session that comes next may be linked to it.
    return private.find_or_create_conversation(
        private.lock_standing(contact_id), null, wanted, space.id, coalesce(thread_key, 'main'), 'verified');
end;
$$;

create or replace function private.contact_of_user(email_key text, email text, profile jsonb)
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
    -- An email that somebody else proved stays theirs, and the user who they are, until a member joins the two.
    if known.evidence = 'verified' and profile = '{}' then
        return contact;
    end if;
    contact := private.lock_standing(contact);
    if known.id is null then
        insert into public.contact_identities (workspace_id, contact_id, kind, key, value, evidence, verified_by, verified_at)
        values (workspace, contact, 'email', email_key, email, 'verified', 'supabase_auth', pg_catalog.now());
    elsif known.evidence = 'asserted' then
        -- It was only ever typed: it belongs to whoever proves it, and leaves everything else.
        update public.contact_identities i
           set contact_id = contact, evidence = 'verified', verified_by = 'supabase_auth', verified_at = pg_catalog.now()
         where i.id = known.id;
    end if;
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

    loop
        select i.* into known
          from public.contact_identities i
         where i.workspace_id = workspace
           and i.kind = find_or_create_contact.kind
           and i.key = find_or_create_contact.key;
        exit when not found;
        if verified_by is null
           or (known.evidence = 'verified' and profile = '{}' and (verified_by <> 'supabase_auth' or kind <> 'email')) then
            -- Nobody's word changes what stands, and here is nothing to change.
            return known.contact_id;
        end if;
        -- Locked before it is judged: somebody else may be proving another of its identities, or a member joining it.
        contact := private.lock_standing(known.contact_id);
        exit when exists (select from public.contact_identities i where i.id = known.id and i.contact_id = contact);
    end loop;

    if known.id is not null then
        if known.evidence = 'asserted' then
            -- Somebody else proved to be this contact, and the identity was only ever typed: it belongs to whoever proves it.
            if exists (select
                         from public.contact_identities other
                        where other.contact_id = contact
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

-- What members change -------------------------------------------------------------------------------------------------

create or replace function public.set_contact_tags(contact_id uuid, names text[])
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    workspace constant uuid := private.workspace_of_contact(contact_id);
    contact   uuid;
begin
    perform private.enter_contact(contact_id);
    -- Two who replace the set at once come one after the other: it is the one's or the other's, never both.
    contact := private.lock_standing(contact_id);
    if private.replace_tags(workspace, contact, null, names) then
        perform private.record_change(workspace, 'contact.tagged', contact);
    end if;
    return (select pg_catalog.jsonb_build_object('tags', coalesce(pg_catalog.jsonb_agg(t.name order by t.name), '[]'))
              from public.tags t
             where t.contact_id = contact);
end;
$$;

grant execute on function private.standing_contact(uuid) to contact, authenticated, switchboard, service_role;
grant execute on function private.lock_standing(uuid) to switchboard, service_role;
