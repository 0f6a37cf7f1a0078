-- Following a conversation: what has been said since a message, and how it stands. A question is one call under the caller's
-- own policies.

set lock_timeout = '5s';
set statement_timeout = '60s';

-- A message's place is (created_at, id). Every message is inserted by whoever holds its session's row, with the clock's time of
-- that moment, and a conversation has one live session: so whatever is committed later lies behind all that could be seen.

create function public.follow_conversation(
    conversation_id uuid,
    after           uuid    default null,
    only_new        boolean default false,
    message_limit   integer default 100
)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    most   constant integer := least(greatest(message_limit, 1), 200);
    -- The place before all: a condition that is left out now and then would make a plan that reads the whole conversation.
    since  timestamptz      := '-infinity'::timestamptz;
    beyond uuid             := coalesce(after, '00000000-0000-0000-0000-000000000000');
    said   jsonb;
    stands jsonb;
begin
    if not exists (select from public.conversations c where c.id = follow_conversation.conversation_id) then
        raise sqlstate 'PT404' using message = 'conversation_not_found', detail = 'There is no such conversation.';
    end if;
    if after is not null then
        select m.created_at into since
          from public.messages m
         where m.id = after
           and m.conversation_id = follow_conversation.conversation_id;
        if not found then
            raise sqlstate 'PT404' using message = 'message_not_found', detail = 'There is no such message in this conversation.';
        end if;
    end if;
    if only_new and after is null then
        -- From now on: nothing but the place from which to go on.
        select m.id into after
          from public.messages m
         where m.conversation_id = follow_conversation.conversation_id
         order by m.created_at desc, m.id desc
         limit 1;
    else
        select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                   'id', m.id, 'session_id', m.session_id, 'turn_id', m.turn_id, 'role', m.role, 'text', m.text,
                   'partial', m.partial, 'created_at', m.created_at)
                   order by m.created_at, m.id)
          into said
          from (select m.id, m.session_id, m.turn_id, m.role, m.text, m.partial, m.created_at
                  from public.messages m
                 where m.conversation_id = follow_conversation.conversation_id
                   and (m.created_at, m.id) > (since, beyond)
                 order by m.created_at, m.id
                 limit most) m;
        after := coalesce((said -> -1 ->> 'id')::uuid, after);
    end if;
    -- The live one, or how the last one ended.
    select pg_catalog.jsonb_build_object('session_id', s.id, 'status', s.status, 'taken_over', s.taken_over_at is not null)
      into stands
      from public.sessions s
     where s.conversation_id = follow_conversation.conversation_id
     order by (s.ended_at is null) desc, s.created_at desc, s.id desc
     limit 1;
    return pg_catalog.jsonb_build_object(
        'messages', coalesce(said, '[]'), 'last', after, 'session', stands,
        'more', coalesce(pg_catalog.jsonb_array_length(said) = most, false));
end;
$$;
comment on function public.follow_conversation(uuid, uuid, boolean, integer) is
    'What was said in a conversation after a message, or from its beginning: {messages, last, session {session_id, status, taken_over}, more}. only_new: nothing, but last, from which to go on. Under the caller''s own policies.';

grant execute on function public.follow_conversation(uuid, uuid, boolean, integer) to contact, authenticated;
