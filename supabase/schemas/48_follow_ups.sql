-- Follow-ups: messages that members send to contacts outside a running turn.

create function private.find_follow_up_conversation(contact_id uuid, role public.member_role, persona_id uuid default null)
    returns uuid language plpgsql stable set search_path = ''
as $$
declare
    found_one uuid;
    threads   integer;
begin
    -- A conversation without proof is visible to an unverified person: follow-ups of the contact do not go there.
    select s.conversation_id into found_one
      from public.sessions s
      join public.conversations c on c.id = s.conversation_id
     where s.contact_id = find_follow_up_conversation.contact_id
       and s.status in ('active', 'paused')
       and c.proof = 'verified'
       and s.persona_id = coalesce(find_follow_up_conversation.persona_id, s.persona_id)
       and (role <> 'agent' or private.may_work_on_session(s))
     -- The contact reads where it has written, before a thread that a member has opened; a device shows nothing.
     order by c.channel = 'omi', s.first_message_at is null, s.created_at desc, s.id desc
     limit 1;
    if found then
        return found_one;
    end if;
    select c.id into found_one
      from public.conversations c
     where c.contact_id = find_follow_up_conversation.contact_id
       and c.proof = 'verified'
       and c.persona_id = coalesce(find_follow_up_conversation.persona_id, c.persona_id)
     order by c.channel = 'omi', c.created_at desc, c.id desc
     limit 1;
    if found then
        return found_one;
    end if;
    -- Except if it is the contact's only one, and nothing of the contact is verified.
    select count(*), (array_agg(c.id))[1] into threads, found_one
      from public.conversations c
     where c.contact_id = find_follow_up_conversation.contact_id;
    return case when threads = 1
                 and exists (select
                               from public.conversations c
                              where c.id = found_one
                                and c.persona_id = coalesce(find_follow_up_conversation.persona_id, c.persona_id))
                 and not exists (select
                                   from public.contact_identities i
                                  where i.contact_id = find_follow_up_conversation.contact_id
                                    and i.evidence = 'verified') then found_one end;
end;
$$;
comment on function private.find_follow_up_conversation is 'The conversation (with the persona, if one is named) in which a contact reads what members send: that of the newest live session with proof, first of those in which the contact has written; else the newest one with proof, else the contact''s only one; null: a new one is needed.';

create function private.known_follow_up(contact_id uuid, client_message_id text, role public.message_role, text text, metadata jsonb)
    returns public.messages language plpgsql stable set search_path = ''
as $$
declare
    message public.messages;
    session public.sessions;
begin
    select m.* into message
      from public.sessions s
      join public.messages m
        on m.conversation_id = s.conversation_id and m.session_id = s.id and m.client_message_id = known_follow_up.client_message_id
     where s.contact_id = known_follow_up.contact_id
     limit 1;
    if not found then
        -- What it said is in the archive only, so that it is not compared.
        select i.message_id, i.session_id, i.conversation_id, i.created_at, known_follow_up.role, known_follow_up.text, known_follow_up.metadata
          into message.id, message.session_id, message.conversation_id, message.created_at, message.role, message.text, message.metadata
          from public.conversations c
         cross join lateral private.archived_message(c.id, known_follow_up.client_message_id) i
         where c.contact_id = known_follow_up.contact_id
           and known_follow_up.client_message_id is not null
           and i.message_id is not null
         limit 1;
    end if;
    if message.id is not null then
        select s.* into strict session from public.sessions s where s.id = message.session_id;
        if not private.may_work_on_session(session) then
            raise sqlstate 'PT403' using message = 'forbidden', detail = 'contact_not_assigned';
        end if;
        perform private.require_same_content((message.role, message.text, message.metadata) = (role, text, metadata));
    end if;
    return message;
end;
$$;
comment on function private.known_follow_up is 'The follow-up of a contact that its sender repeats, also if it was dropped since; without an id if there is none. Refuses another message under the same id.';

create function public.capture_message(
    contact_id        uuid,
    text              text,
    role              public.message_role,
    source            text,
    client_message_id text  default null,
    metadata          jsonb default '{}',
    session_id        uuid  default null,
    space_id          uuid  default null,
    persona_id        uuid  default null,
    client            jsonb default '{}'
)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    caller_role  constant public.member_role := private.enter_contact_as_member(contact_id);
    member       constant uuid               := private.calling_actor();
    details      constant jsonb              := metadata || jsonb_build_object('source', source);
    contact      uuid;
    space        public.spaces;
    conversation public.conversations;
    session      public.sessions;
    message      public.messages;
    target       uuid;
begin
    if role not in ('contact', 'member', 'persona') then
        raise sqlstate 'PT422' using message = 'invalid_body', detail = 'follow_up_role';
    end if;
    -- The contact is locked before conversation and session; two identical messages sent at once are serialised.
    contact := private.lock_merge_target(contact_id);
    message := private.known_follow_up(contact, client_message_id, role, text, details);
    if message.id is not null then
        return private.describe_message(message, false);
    end if;

    if session_id is not null then
        select s.* into session
          from public.sessions s
         where s.id = capture_message.session_id
           and s.contact_id = contact;
        if not found or not private.may_work_on_session(session) then
            raise sqlstate 'PT404' using message = 'session_not_found', detail = 'not_a_session_of_contact';
        end if;
        target := session.conversation_id;
    else
        target := private.find_follow_up_conversation(contact, caller_role);
    end if;
    if target is not null then
        select c.* into strict conversation from public.conversations c where c.id = target for no key update;
        if session_id is not null then
            select s.* into strict session from public.sessions s where s.id = capture_message.session_id for no key update;
            if session.status not in ('active', 'paused') then
                return private.refuse_transition(session);
            end if;
        end if;
    else
        if space_id is not null then
            select s.* into space from public.spaces s where s.id = capture_message.space_id and s.enabled;
            if not found then
                raise sqlstate 'PT404' using message = 'space_not_found';
            end if;
        end if;
        conversation := private.open_conversation_for_contact(
            contact, caller_role, space,
            coalesce(persona_id, space.persona_id,
                     -- The persona of the contact's newest conversation.
                     (select c.persona_id from public.conversations c where c.contact_id = contact
                       order by c.created_at desc, c.id desc
                       limit 1)), null);
    end if;
    session := (private.open_session(conversation, client || jsonb_build_object('source', source), caller_role)).session;

    -- The session is locked, so that messages become visible in the order of created_at.
    insert into public.messages (workspace_id, conversation_id, session_id, role, contact_id, user_id, persona_id, text, metadata, client_message_id)
    values (session.workspace_id, session.conversation_id, session.id, capture_message.role,
            case when role = 'contact' then contact end, case when role = 'member' then member end, case when role = 'persona' then session.persona_id end,
            capture_message.text, details, capture_message.client_message_id)
    returning * into message;
    update public.sessions s
       set message_count    = s.message_count + 1,
           -- An incoming message restarts the idle timeout and resumes a paused session, as in the chat.
           last_activity_at = case when capture_message.role = 'contact' then clock_timestamp() else s.last_activity_at end,
           status           = case when capture_message.role = 'contact' and s.taken_over_by is null then 'active' else s.status end
     where s.id = session.id;
    perform private.queue_sending(message.id, message.conversation_id) where session.channel <> 'web' and role <> 'contact';
    perform private.record_audit('message.captured', message.id, member, null);
    return private.describe_message(message, true);
end;
$$;
comment on function public.capture_message is 'Adds a message from outside the chat to a contact''s live session, or opens one: {message_id, session_id, conversation_id, role, text, created_at, created}. No persona answers it. A repeat with the same client_message_id returns the first message, with other content it is refused.';

grant execute on function
    private.find_follow_up_conversation, private.known_follow_up, public.capture_message
    to switchboard;
