-- Conversations: the lasting thread between a contact (or a user) and a persona.

create table public.conversations (
    id           uuid         not null default private.uuid7(),
    workspace_id uuid         not null,
    contact_id   uuid,
    user_id      uuid,
    persona_id   uuid         not null,
    space_id     uuid,
    channel      text         not null default 'web',
    channel_id   uuid,
    thread_key   text         not null,
    proof        public.proof,
    created_at   timestamptz  not null default now(),
    constraint conversations_pkey              primary key (id),
    constraint conversations_workspace_key     unique (workspace_id, id),
    constraint conversations_key               unique nulls not distinct (workspace_id, contact_id, user_id, persona_id, channel, channel_id, thread_key),
    constraint conversations_contact_id_fkey   foreign key (workspace_id, contact_id) references public.contacts (workspace_id, id) on delete cascade,
    constraint conversations_persona_id_fkey   foreign key (workspace_id, persona_id) references public.personas (workspace_id, id) deferrable initially deferred,
    constraint conversations_space_id_fkey     foreign key (workspace_id, space_id) references public.spaces (workspace_id, id) on delete set null (space_id),
    constraint conversations_workspace_id_fkey foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint conversations_thread_key        check (length(thread_key) between 1 and 200),
    constraint conversations_somebody          check (contact_id is not null or user_id is not null),
    constraint conversations_proof             check ((proof is null) = (contact_id is null))
);
comment on table public.conversations is 'The lasting thread between one contact (or one user) and one persona, under a channel and a thread key.';
comment on column public.conversations.contact_id is 'Null: the owner''s side, where a member talks with the persona.';
comment on column public.conversations.user_id is 'A Supabase user. Kept when the user is deleted, so that the key stays unique.';
comment on column public.conversations.channel is 'web, or the kind of the channel in which it takes place.';
comment on column public.conversations.channel_id is 'The channel in which it takes place; null: the web. Kept when the channel is deleted, so that the key stays unique.';
comment on column public.conversations.thread_key is 'In a channel the chat''s id there; followed by : and the topic, if it is one of a forum.';
comment on column public.conversations.proof is 'asserted: opened without proof, isolated from the other conversations of the contact.';
alter table public.conversations enable row level security;
create index conversations_contact_id_idx on public.conversations (contact_id);
create index conversations_user_id_idx on public.conversations (user_id);
create index conversations_persona_id_idx on public.conversations (persona_id);
create index conversations_space_id_idx on public.conversations (space_id, thread_key);
create index conversations_channel_id_idx on public.conversations (channel_id, thread_key) where channel_id is not null;
create index conversations_id_idx on public.conversations using hash (id);

create function private.own_conversations()
    returns setof uuid language sql stable cost 1 rows 1 security definer set search_path = ''
as $$
    select c.id
      from public.conversations c
     where c.user_id = (select auth.uid())
       and (c.contact_id is not null or c.workspace_id in (select private.member_workspaces()))
    union
    select s.conversation_id
      from public.sessions s
     where s.assigned_user_id = (select auth.uid())
       and s.workspace_id in (select private.member_workspaces())
    union
    select s.conversation_id
      from public.sessions s
     where s.opened_by_key_id = (select auth.uid())
       and s.workspace_id in (select private.member_workspaces());
$$;
comment on function private.own_conversations is 'The conversations of the signed-in user or API key (the owner''s side only for a member), those assigned to the user as a member, and those of sessions that the key opened.';

create function private.find_or_create_conversation(
    contact_id uuid, user_id uuid, persona_id uuid, space_id uuid, thread_key text, proof public.proof,
    channel text default 'web', channel_id uuid default null)
    returns public.conversations language plpgsql set search_path = ''
as $$
declare
    conversation public.conversations;
    contact      uuid := contact_id;
    standing     uuid;
begin
    loop
        -- The lock serialises the messages of a conversation.
        -- Two statements, because "is not distinct from" does not use an index.
        if contact is not null then
            select c.* into conversation
              from public.conversations c
             where c.contact_id = contact
               and c.user_id is not distinct from find_or_create_conversation.user_id
               and c.persona_id = find_or_create_conversation.persona_id
               and c.channel = find_or_create_conversation.channel
               and c.channel_id is not distinct from find_or_create_conversation.channel_id
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
            -- A conversation moves with its contact in a merge.
            standing := private.lock_merge_target(contact);
            if standing <> contact then
                contact := standing;
                continue;
            end if;
        end if;
        insert into public.conversations (workspace_id, contact_id, user_id, persona_id, space_id, thread_key, proof, channel, channel_id)
        values (private.entered_workspace(), contact, find_or_create_conversation.user_id,
                find_or_create_conversation.persona_id, find_or_create_conversation.space_id,
                find_or_create_conversation.thread_key, find_or_create_conversation.proof,
                find_or_create_conversation.channel, find_or_create_conversation.channel_id)
        on conflict on constraint conversations_key do nothing
        returning * into conversation;
        exit when found;
    end loop;
    return conversation;
end;
$$;
comment on function private.find_or_create_conversation is 'The conversation with a key, locked until the transaction ends; for a merged contact, that of the contact it was merged into.';

-- The position of a message is (created_at, id), or (changed_at, id) once its text has changed. Each message is inserted, or
-- changed, under the lock of its session's row with the current time, and a conversation has one live session: a message that
-- commits later is behind every visible one.
create function public.follow_conversation(
    conversation_id uuid,
    after           uuid        default null,
    only_new        boolean     default false,
    message_limit   integer     default 100,
    after_at        timestamptz default null
)
    returns jsonb language plpgsql stable set search_path = ''
as $$
declare
    most    constant integer := least(greatest(message_limit, 1), 200);
    -- The first position, instead of an optional condition, whose generic plan would read the whole conversation.
    since   timestamptz      := '-infinity'::timestamptz;
    beyond  uuid             := coalesce(after, '00000000-0000-0000-0000-000000000000');
    changed boolean          := false;
    asked   public.conversations;
    shown   public.proof;
    said    jsonb;
    stands  jsonb;
begin
    select c.* into asked from public.conversations c where c.id = follow_conversation.conversation_id;
    if not found then
        raise sqlstate 'PT404' using message = 'conversation_not_found';
    end if;
    -- Members decide by it; a contact's token has its own claim.
    shown := case when private.claims() ->> 'role' = 'authenticated' then asked.proof end;
    if after is not null then
        -- No later than the message: a made-up time would hide what comes, from all readers of a process.
        select least(coalesce(after_at, m.created_at), coalesce(m.changed_at, m.created_at)) into since
          from public.messages m
         where m.id = after
           and m.conversation_id = follow_conversation.conversation_id;
        if not found then
            raise sqlstate 'PT404' using message = 'message_not_found';
        end if;
    end if;
    if only_new and after is null then
        -- Only the position from which to continue.
        select m.id, m.place, m.changed into after, since, changed
          from ((select n.id, n.created_at as place, false as changed
                   from public.messages n
                  where n.conversation_id = follow_conversation.conversation_id
                    and n.changed_at is null
                  order by n.created_at desc, n.id desc
                  limit 1)
                union all
                (select c.id, c.changed_at, true
                   from public.messages c
                  where c.conversation_id = follow_conversation.conversation_id
                    and c.changed_at is not null
                  order by c.changed_at desc, c.id desc
                  limit 1)) m
         order by m.place desc, m.id desc
         limit 1;
    else
        said  := private.messages_after(asked.id, since, beyond, most, shown);
        after := coalesce((said -> -1 ->> 'id')::uuid, after);
        since := coalesce((said -> -1 ->> 'changed_at')::timestamptz, (said -> -1 ->> 'created_at')::timestamptz, since);
    end if;
    -- The live session, or the last one.
    select jsonb_build_object(
               'session_id', s.id, 'status', s.status, 'taken_over', s.taken_over_at is not null, 'contact_id', s.contact_id,
               'user_id', s.user_id, 'proof', shown)
      into stands
      from public.sessions s
     where s.conversation_id = follow_conversation.conversation_id
     order by (s.ended_at is null) desc, s.created_at desc, s.id desc
     limit 1;
    return jsonb_build_object(
        'messages', coalesce(said, '[]'), 'last', after, 'last_at', case when after is not null then since end,
        'last_changed', coalesce(changed, false),
        'session', stands, 'level', private.reading_level(asked),
        'more', coalesce(jsonb_array_length(said) = most, false));
end;
$$;
comment on function public.follow_conversation is 'The messages of a conversation after a message, or from its beginning: {messages, last, last_at, last_changed, session {session_id, status, taken_over, contact_id, user_id, proof}, level, more}. after_at: the place of after, if that was changed when it was read. only_new: no messages, only the position (last) from which to continue. The proof of the contact, also with each of its messages, is for users and members. Under the caller''s own policies.';

grant execute on function
    private.own_conversations
    to authenticated;

grant execute on function
    private.find_or_create_conversation
    to switchboard;

grant execute on function
    public.follow_conversation
    to authenticated, contact;
