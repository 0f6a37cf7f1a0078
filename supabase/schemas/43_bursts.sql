-- Bursts: messages in quick succession join the turn of the first one, and the persona is called with all of them.

create function private.join_turn(
    conversation      public.conversations,
    session           public.sessions,
    workspace         public.workspaces,
    persona           public.personas,
    sender_id         uuid,
    message           text,
    client_message_id text,
    metadata          jsonb,
    limits            jsonb
)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    -- The longest message that lib/fields/types.py accepts.
    max_characters constant integer := 16000;
    turn           public.turns;
    joined         uuid;
begin
    -- collect_messages waits for this lock, or this message finds that the turn is no longer collecting.
    select t.*
      into turn
      from public.turns t
     where t.session_id = session.id
       and t.status = 'active'
       and t.collecting
       and t.cancel_requested_at is null
       and t.lease_until > clock_timestamp()
       for no key update;
    if not found
       or max_characters < (select sum(length(m.text) + 1) from public.messages m where m.turn_id = turn.id) + length(message) then
        return null;
    end if;
    -- A member's message or a follow-up in this session may have the id.
    perform private.require_same_content(not exists (
        select
          from public.messages m
         where m.conversation_id = conversation.id
           and m.session_id = session.id
           and m.client_message_id = join_turn.client_message_id));
    insert into public.messages as m (workspace_id, conversation_id, session_id, turn_id, role, contact_id, user_id, text, metadata,
                                      client_message_id)
    values (conversation.workspace_id, conversation.id, session.id, turn.id,
            case when conversation.contact_id is null then 'user' else 'contact' end::public.message_role,
            sender_id, conversation.user_id, join_turn.message, join_turn.metadata, join_turn.client_message_id)
    returning m.id into joined;
    update public.sessions s
       set status = case when s.taken_over_by is null then 'active' else s.status end, message_count = s.message_count + 1,
           last_activity_at = clock_timestamp()
     where s.id = session.id;
    return private.describe_turn(turn, conversation, workspace, persona, joined, true, '[]')
           || jsonb_build_object('limits', private.take_limits(limits));
end;
$$;
comment on function private.join_turn is 'Adds a message to the turn of a locked session that is collecting, counts it at the limits and describes the turn; null if there is none, or if the messages together would be longer than one may be.';

create function private.asked_messages(turn_id uuid)
    returns jsonb language plpgsql stable set search_path = ''
as $$
begin
    return (select jsonb_agg(jsonb_build_object(
                'id', m.id, 'text', coalesce(m.speaker || ': ', '') || m.text, 'metadata', m.metadata) order by m.created_at, m.id)
              from public.messages m
             where m.turn_id = asked_messages.turn_id
               and m.role <> 'persona');
end;
$$;
comment on function private.asked_messages is 'The messages that a turn answers, in order: [{id, text, metadata}].';

create function public.collect_messages(turn_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
begin
    perform private.enter();
    -- Waits for messages that are joining.
    update public.turns t set collecting = false where t.id = collect_messages.turn_id;
    if not found then
        raise sqlstate 'PT404' using message = 'turn_not_found';
    end if;
    return jsonb_build_object('messages', private.asked_messages(turn_id));
end;
$$;
comment on function public.collect_messages is 'Ends the time in which messages join a turn: {messages: [{id, text, metadata}]}, all of them, in order. Idempotent.';

grant execute on function
    private.join_turn, private.asked_messages, public.collect_messages
    to switchboard;
