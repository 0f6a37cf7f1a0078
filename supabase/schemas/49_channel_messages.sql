-- Channel messages: what arrives from messengers, the turns that answer it, and what is sent back.

create type public.sending_status as enum ('sending', 'unknown', 'sent', 'failed', 'delivered', 'read');
comment on type public.sending_status is 'sending -> unknown | sent | failed -> delivered -> read. A provider reports in any order: a later value replaces an earlier one. sending: the provider is being called; unknown: the call broke off, so it may have been sent; sent: the provider has taken it; failed: it was refused, by the provider or the recipient''s device, or could not be sent and is tried again by its job.';

create table public.message_deliveries (
    message_id      uuid                  not null,
    part            integer               not null,
    workspace_id    uuid                  not null,
    conversation_id uuid                  not null,
    status          public.sending_status not null default 'sending',
    external_id     text,
    error           text,
    attempted_at    timestamptz           not null default clock_timestamp(),
    updated_at      timestamptz           not null default clock_timestamp(),
    constraint message_deliveries_pkey                 primary key (message_id, part),
    constraint message_deliveries_message_id_fkey      foreign key (message_id) references public.messages (id) on delete cascade,
    constraint message_deliveries_conversation_id_fkey foreign key (workspace_id, conversation_id) references public.conversations (workspace_id, id) on delete cascade,
    constraint message_deliveries_part                 check (part >= 0),
    constraint message_deliveries_lengths              check (length(external_id) between 1 and 400 and length(error) <= 500)
);
comment on table public.message_deliveries is 'A part of a message that went out through a channel: a provider limits the length of one. A message without a row waits to be sent.';
comment on column public.message_deliveries.external_id is 'The provider''s id of the part.';
comment on column public.message_deliveries.error is 'Why it failed, in the provider''s words.';
comment on column public.message_deliveries.attempted_at is 'When the provider was called last.';
alter table public.message_deliveries enable row level security;
create index message_deliveries_external_id_idx on public.message_deliveries (workspace_id, external_id) where external_id is not null;
create index message_deliveries_conversation_id_idx on public.message_deliveries (workspace_id, conversation_id);

create table public.attachments (
    message_id      uuid    not null,
    place           integer not null,
    workspace_id    uuid    not null,
    conversation_id uuid    not null,
    kind            text    not null,
    external_id     text,
    url             text,
    media_type      text,
    size            bigint,
    name            text,
    constraint attachments_pkey                 primary key (message_id, place),
    constraint attachments_message_id_fkey      foreign key (message_id) references public.messages (id) on delete cascade,
    constraint attachments_conversation_id_fkey foreign key (workspace_id, conversation_id) references public.conversations (workspace_id, id) on delete cascade,
    constraint attachments_kind                 check (length(kind) between 1 and 32)
);
comment on table public.attachments is 'A file, place or card that came with a message: a reference to the provider, which keeps the content.';
comment on column public.attachments.place is 'The order within its message, from 0.';
comment on column public.attachments.external_id is 'The file''s id at the provider.';
comment on column public.attachments.name is 'The file''s name; a location''s coordinates; a card''s name and number.';
alter table public.attachments enable row level security;
create index attachments_conversation_id_idx on public.attachments (workspace_id, conversation_id);

create function private.check_message()
    returns trigger language plpgsql set search_path = ''
as $$
begin
    -- A composite foreign key would need one more index on messages, which every turn would pay for.
    if not exists (select
                     from public.messages m
                    where m.id = new.message_id
                      and m.conversation_id = new.conversation_id
                      and m.workspace_id = new.workspace_id) then
        raise sqlstate '23503' using message = 'the message is of another conversation';
    end if;
    return null;
end;
$$;
comment on function private.check_message is 'Refuses a row about a message of another conversation than it names.';

create trigger message_deliveries_check_message
    after insert or update of message_id, conversation_id, workspace_id on public.message_deliveries
    for each row
    execute function private.check_message();

create trigger attachments_check_message
    after insert or update of message_id, conversation_id, workspace_id on public.attachments
    for each row
    execute function private.check_message();

create function private.queue_sending(message_id uuid, conversation_id uuid)
    returns void language plpgsql security definer set search_path = ''
as $$
begin
    insert into public.jobs (workspace_id, kind, payload, ordering_key, item_key)
    select c.workspace_id, 'send_message', jsonb_build_object('message_id', message_id), 'send:' || c.id, message_id
      from public.conversations c
     where c.id = queue_sending.conversation_id
       and c.channel_id is not null
       and c.workspace_id = private.entered_workspace()
    on conflict (workspace_id, kind, item_key) where item_key is not null do nothing;
    perform private.call_soon('worker');
end;
$$;
comment on function private.queue_sending is 'Queues the job that sends a message through the channel of its conversation, once; in order per conversation.';

create type private.channel_sender as (contact_id uuid, sender_id uuid);
comment on type private.channel_sender is 'The contact of a chat (a person, or a group), and who wrote in it.';

create function private.require_channel(channel_id uuid)
    returns public.channels language plpgsql stable set search_path = ''
as $$
declare
    channel public.channels;
begin
    select c.* into channel from public.channels c where c.id = require_channel.channel_id;
    if not found then
        raise sqlstate 'PT404' using message = 'channel_not_found';
    end if;
    return channel;
end;
$$;
comment on function private.require_channel is 'A channel of the entered workspace.';

create function private.contact_of_channel(channel public.channels, kind public.contact_kind, identities jsonb, profile jsonb)
    returns uuid language plpgsql set search_path = ''
as $$
declare
    proof constant text := channel.kind::text;
    known uuid[];
    other uuid;
begin
    perform private.lock_contacts_of(channel.workspace_id, identities, null);
    -- The provider's lasting id comes first. What was only typed does not lead to a contact that is verified otherwise.
    known := array(select k.contact_id
                     from jsonb_array_elements(identities) with ordinality as one (identity, place)
                    cross join lateral private.find_contacts(channel.workspace_id, jsonb_build_array(one.identity)) k
                     join public.contacts c on c.id = k.contact_id and c.kind = contact_of_channel.kind
                    where k.evidence = 'verified' or not private.has_verified_identity(k.contact_id)
                    order by k.implied, one.place);
    foreach other in array known loop
        if other <> known[1] then
            -- A member decides whether the two are the same.
            perform private.open_conflict(known[1], other, proof);
        end if;
    end loop;
    -- The name that the person has given to the provider is written once.
    return ((private.establish_contact(
        known[1], channel.workspace_id, identities, kind,
        case when exists (select
                            from public.contacts c
                           where c.id = known[1]
                             and coalesce(c.title, c.first_name, c.last_name) is not null
                             and c.unproven = '{}') then '{}' else profile end,
        proof)).contact).id;
end;
$$;
comment on function private.contact_of_channel is 'The contact with identities [{kind, key, value, implied}] for which the provider of a channel vouches, created if there is none; locked. The first identity decides among several contacts.';

create function private.sender_of_channel(channel public.channels, sender jsonb, chat_group jsonb)
    returns private.channel_sender language plpgsql set search_path = ''
as $$
declare
    found_sender private.channel_sender;
begin
    if sender is not null then
        found_sender.sender_id := private.contact_of_channel(channel, 'person', sender -> 'identities', sender -> 'profile');
    end if;
    if chat_group is null then
        found_sender.contact_id := found_sender.sender_id;
    else
        found_sender.contact_id := private.contact_of_channel(channel, 'group', chat_group -> 'identities', chat_group -> 'profile');
        if sender is not null then
            perform private.join_group(channel.workspace_id, found_sender.contact_id, found_sender.sender_id, null);
        else
            -- An anonymous admin writes as the group.
            found_sender.sender_id := found_sender.contact_id;
        end if;
    end if;
    return found_sender;
end;
$$;
comment on function private.sender_of_channel is 'The contacts of a message: sender and chat_group are {identities, profile}; without a group the chat is the sender''s own, without a sender the group itself writes.';

create function private.rename_chat(channel public.channels, contact_id uuid, old_key text, new_key text)
    returns void language plpgsql set search_path = ''
as $$
begin
    update public.conversations c
       set thread_key = new_key || substr(c.thread_key, length(old_key) + 1)
     where c.channel_id = channel.id
       and (c.thread_key = old_key or c.thread_key like replace(old_key, '_', '\_') || ':%')
       and (rename_chat.contact_id is null or c.contact_id = rename_chat.contact_id)
       and not exists (select
                         from public.conversations o
                        where o.channel_id = channel.id
                          and o.thread_key = new_key || substr(c.thread_key, length(old_key) + 1));
end;
$$;
comment on function private.rename_chat is 'Gives the conversations of a chat (of one contact, or of any) its new id, unless there is one with that id.';

create function private.keep_attachments(message_id uuid, conversation_id uuid, attachments jsonb)
    returns void language sql set search_path = ''
as $$
    insert into public.attachments (message_id, place, workspace_id, conversation_id, kind, external_id, url, media_type, size, name)
    select keep_attachments.message_id, a.place - 1, private.entered_workspace(), keep_attachments.conversation_id, n.kind,
           n.external_id, n.url, n.media_type, n.size, n.name
      from jsonb_array_elements(attachments) with ordinality as a (attachment, place)
     cross join lateral jsonb_populate_record(null::public.attachments, a.attachment) n
     -- A repeat of a message that was dropped since has none.
     where keep_attachments.message_id is not null
    on conflict do nothing;
$$;
comment on function private.keep_attachments is 'Stores the attachments of a message, [{kind, external_id, url, media_type, size, name}], once.';

create function private.is_addressed(
    channel public.channels, conversation public.conversations, is_group boolean, mentions text[], reply_to text)
    returns boolean language plpgsql stable set search_path = ''
as $$
begin
    return not is_group
        or channel.config ->> 'group_replies' = 'all'
        or mentions && array['/', channel.external_id, '@' || lower(channel.config ->> 'username')]
        or exists (select
                     from public.message_deliveries d
                    where d.workspace_id = conversation.workspace_id
                      and d.external_id = reply_to
                      and d.conversation_id = conversation.id);
end;
$$;
comment on function private.is_addressed is 'Whether the persona answers a message: in a group only if it mentions the channel (its external id, its @username, / for a command to whatever bot) or replies to it, unless the channel answers all.';

create function private.overhear(conversation public.conversations, sender_id uuid, message text, client_message_id text, metadata jsonb)
    returns uuid language plpgsql set search_path = ''
as $$
declare
    session public.sessions;
    heard   uuid;
begin
    select m.id into heard
      from public.messages m
     where m.conversation_id = conversation.id
       and m.client_message_id = overhear.client_message_id;
    if heard is null and (private.archived_message(conversation.id, overhear.client_message_id)).message_id is null then
        session := private.find_or_create_session(conversation, '{}');
        insert into public.messages as m (workspace_id, conversation_id, session_id, role, contact_id, text, metadata, client_message_id)
        values (session.workspace_id, session.conversation_id, session.id, 'contact', sender_id, message, metadata, overhear.client_message_id)
        returning m.id into heard;
        update public.sessions s
           set message_count = s.message_count + 1, last_activity_at = clock_timestamp()
         where s.id = session.id;
    end if;
    return heard;
end;
$$;
comment on function private.overhear is 'Stores a message of a group that the persona does not answer, for its history; null if it was dropped since.';

create function private.queue_answer(turn_id uuid, conversation_id uuid)
    returns void language sql set search_path = ''
as $$
    insert into public.jobs (workspace_id, kind, payload, ordering_key, item_key)
    values (private.entered_workspace(), 'channel_answer', jsonb_build_object('turn_id', turn_id), 'answer:' || conversation_id, turn_id);
$$;
comment on function private.queue_answer is 'Queues the job that has the persona answer a turn.';

create function public.accept_channel_message(
    channel_id        uuid,
    thread_key        text,
    sender            jsonb,
    chat_group        jsonb,
    message           text,
    client_message_id text,
    speaker           text    default null,
    metadata          jsonb   default '{}',
    attachments       jsonb   default '[]',
    former_thread_key text    default null,
    mentions          text[]  default '{}',
    reply_to          text    default null,
    last_try          boolean default false,
    sent_at           timestamptz default null,
    event_id          uuid        default null
)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    entered      constant uuid := private.enter();
    workspace    public.workspaces;
    channel      public.channels;
    contacts     private.channel_sender;
    conversation public.conversations;
    accepted     jsonb;
    limits       jsonb := '{}'::jsonb;
    refusal      text;
begin
    select w.* into strict workspace from public.workspaces w where w.id = entered;
    channel := private.require_channel(channel_id);
    if channel.persona_id is null then
        raise sqlstate 'PT422' using message = 'persona_required';
    elsif private.refuse_erased(coalesce(sender -> 'identities', '[]') || coalesce(chat_group -> 'identities', '[]'), sent_at, event_id) then
        return '{"conversation_id": null, "turn_id": null}'::jsonb;
    end if;

    begin
        contacts := private.sender_of_channel(channel, sender, chat_group);
        if former_thread_key is not null then
            perform private.rename_chat(channel, contacts.contact_id, former_thread_key, thread_key);
        end if;
        conversation := private.find_or_create_conversation(
            contacts.contact_id, null, channel.persona_id, null, thread_key, 'verified', channel.kind::text, channel.id);
        if private.is_addressed(channel, conversation, chat_group is not null, mentions, reply_to) then
            limits   := jsonb_build_object('messages_by_contact', jsonb_build_object(
                            'place', 1, 'subject', contacts.sender_id, 'quota', workspace.messages_per_minute_by_contact,
                            'object_id', contacts.sender_id));
            accepted := private.accept_message(
                            conversation, workspace, contacts.sender_id, null, message, client_message_id, null, metadata,
                            jsonb_build_object('source', channel.kind), limits, limits, last_try);
        else
            accepted := jsonb_build_object(
                'repeat', true,
                'user_message_id', private.overhear(conversation, contacts.sender_id, message, client_message_id, metadata));
        end if;
    exception when sqlstate 'SB001' then
        get stacked diagnostics refusal = pg_exception_detail;
        return private.refuse_turn(refusal::jsonb, limits);
    end;

    if speaker is not null then
        update public.messages m set speaker = accept_channel_message.speaker where m.id = (accepted ->> 'user_message_id')::uuid;
    end if;
    perform private.keep_attachments((accepted ->> 'user_message_id')::uuid, conversation.id, attachments);
    if not (accepted ->> 'repeat')::boolean and not (accepted ->> 'taken_over')::boolean then
        perform private.queue_answer((accepted ->> 'turn_id')::uuid, conversation.id);
    end if;
    return jsonb_build_object('conversation_id', conversation.id, 'turn_id', accepted ->> 'turn_id');
end;
$$;
comment on function public.accept_channel_message is 'Accepts a message that a channel''s provider delivered: finds or creates contacts, conversation and session, and starts a turn and queues its answer, or joins one. A message of a group that does not address the channel is only stored. One that a contact sent before it was erased is dropped. {conversation_id, turn_id}; the refusals of start_turn.';

create function public.take_up_turn(turn_id uuid, attempt_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace    constant uuid := private.enter();
    turn         public.turns  := private.require_turn(turn_id);
    conversation public.conversations;
    persona      public.personas;
    further      public.turns;
    restarted    jsonb;
begin
    select c.* into strict conversation from public.conversations c where c.id = turn.conversation_id for no key update;
    perform from public.sessions s where s.id = turn.session_id for no key update;
    loop
        select t.* into further from public.turns t where t.retry_of = turn.id;
        exit when not found;
        turn := further;
    end loop;
    select t.* into strict turn from public.turns t where t.id = turn.id for no key update;
    if turn.status = 'active' and turn.lease_until > clock_timestamp() and turn.attempt_id is not null then
        return jsonb_build_object('state', 'answering', 'lease_until', turn.lease_until);
    elsif turn.status = 'active' and turn.lease_until > clock_timestamp() then
        select p.* into strict persona from public.personas p where p.id = conversation.persona_id;
        if turn.fallback_persona_id is not null then
            persona := private.fallback_of(persona);
        end if;
        update public.turns t
           set attempt_id = take_up_turn.attempt_id,
               deadline = clock_timestamp() + make_interval(secs => persona.time_limit_seconds + persona.collect_seconds),
               lease_until = clock_timestamp() + private.turn_lease()
         where t.id = turn.id
        returning t.* into turn;
        return jsonb_build_object('state', 'taken', 'turn', private.describe_turn(
                   turn, conversation, (select w from public.workspaces w where w.id = workspace), persona, null, false,
                   private.turn_history(conversation.id, turn.id, persona.history_limit))
               || jsonb_build_object('messages', private.asked_messages(turn.id), 'space_id', null));
    elsif turn.status = 'active' or (turn.status = 'timeout' and turn.error_code = 'lease_expired') then
        restarted := private.restart_turn(turn, attempt_id, '{}');
        return case when restarted ? 'code' then restarted else jsonb_build_object('state', 'taken', 'turn', restarted) end;
    end if;
    return jsonb_build_object('state', 'ended');
end;
$$;
comment on function public.take_up_turn is 'Lets a worker answer a queued turn: {state, turn, lease_until}. taken: the worker answers the turn, which is described as by retry_turn; a turn whose worker was lost is answered anew. answering: another worker does, or has been lost until lease_until. ended: there is nothing to answer.';

create function public.edit_channel_message(
    channel_id uuid, thread_key text, client_message_id text, message text, edited_at timestamptz)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    channel public.channels;
begin
    perform private.enter();
    channel := private.require_channel(channel_id);
    update public.messages m
       set text = message, metadata = m.metadata || jsonb_build_object('edited_at', edited_at), changed_at = clock_timestamp()
      from (select c.id
              from public.conversations c
             where c.channel_id = channel.id
               and c.thread_key = edit_channel_message.thread_key
               for no key update) c
     where m.role = 'contact'
       and m.id in (select j.id
                      from public.messages j
                     where j.conversation_id = c.id
                       and j.client_message_id = edit_channel_message.client_message_id
                     union all
                    -- The message that started a turn has no id of its own.
                    select f.id
                      from public.turns t
                      join public.messages f on f.turn_id = t.id and f.role = 'contact' and f.client_message_id is null
                     where t.conversation_id = c.id
                       and t.client_message_id = edit_channel_message.client_message_id)
       and coalesce((m.metadata ->> 'edited_at')::timestamptz < edit_channel_message.edited_at, true);
    return jsonb_build_object('changed', found);
end;
$$;
comment on function public.edit_channel_message is 'Replaces the text of a message that its sender edited, unless a later edit came before: {changed}. No turn answers it.';

create function public.migrate_chat(channel_id uuid, old_key text, new_key text, identities jsonb)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    channel public.channels;
    contact public.contacts;
begin
    perform private.enter();
    channel := private.require_channel(channel_id);
    perform private.rename_chat(channel, null, old_key, new_key);
    perform private.lock_identities(channel.workspace_id, identities);
    -- The contact of the old id, the first one, gets the new one.
    select c.* into contact
      from public.contacts c
     where c.id = private.lock_merge_target(
               (select k.contact_id
                  from private.find_contacts(channel.workspace_id, jsonb_build_array(identities -> 0)) k
                 where k.evidence = 'verified'));
    if found then
        perform private.attach_identities(contact, identities, channel.kind::text);
    end if;
    return jsonb_build_object('contact_id', contact.id);
end;
$$;
comment on function public.migrate_chat is 'Gives a chat that has another id from now on, and its contact, the new one; identities are [old, new]: {contact_id}.';

create function public.record_business_message(
    channel_id uuid, thread_key text, message text, client_message_id text, attachments jsonb)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    channel      public.channels;
    conversation public.conversations;
    session      public.sessions;
    member       uuid;
    said         uuid;
begin
    perform private.enter();
    channel := private.require_channel(channel_id);
    select c.* into conversation
      from public.conversations c
     where c.channel_id = channel.id
       and c.thread_key = record_business_message.thread_key
     order by c.persona_id = channel.persona_id desc, c.created_at desc
     limit 1
       for no key update;
    if not found
       or exists (select
                    from public.messages m
                   where m.conversation_id = conversation.id
                     and m.client_message_id = record_business_message.client_message_id)
       or (private.archived_message(conversation.id, client_message_id)).message_id is not null then
        return jsonb_build_object('taken_over', false);
    end if;
    session := private.find_or_create_session(conversation, '{}');
    -- The provider does not say which member it is: the one who answers or is assigned, else the first owner.
    select m.user_id into member
      from public.workspace_members m
     where m.workspace_id = session.workspace_id
       and (m.role = 'owner' or m.user_id in (session.taken_over_by, session.assigned_user_id))
     order by m.user_id = session.taken_over_by desc nulls last, m.user_id = session.assigned_user_id desc nulls last, m.created_at
     limit 1;
    if member is null then
        return jsonb_build_object('taken_over', false);
    end if;
    insert into public.messages as m (workspace_id, conversation_id, session_id, role, user_id, text, metadata, client_message_id)
    values (session.workspace_id, session.conversation_id, session.id, 'member', member, record_business_message.message,
            jsonb_build_object('source', channel.kind), record_business_message.client_message_id)
    returning m.id into said;
    perform private.keep_attachments(said, conversation.id, attachments);
    update public.sessions s
       set message_count = s.message_count + 1, taken_over_by = member, taken_over_at = coalesce(s.taken_over_at, clock_timestamp())
     where s.id = session.id;
    if session.taken_over_by is null then
        perform private.record_audit('session.taken_over', session.id, member, channel.kind::text);
    end if;
    return jsonb_build_object('taken_over', true, 'stopping', private.stop_session_turn(session.id) is not null);
end;
$$;
comment on function public.record_business_message is 'Stores what a member wrote in the provider''s own app, and takes the session over for the member: {taken_over, stopping}. stopping: the persona''s running answer is being stopped.';

create function public.open_sending(message_id uuid)
    returns jsonb language plpgsql stable set search_path = ''
as $$
declare
    workspace constant uuid := private.enter();
    sending   jsonb;
begin
    select jsonb_build_object(
               'channel_id', c.channel_id, 'thread_key', c.thread_key, 'text', m.text,
               'is_group', (select o.kind = 'group' from public.contacts o where o.id = c.contact_id),
               'channel', (select public.channel_connection(h.id) from public.channels h where h.id = c.channel_id),
               -- The delivery that the answer completes: it has the token for that.
               'asked', (select e.raw_body
                           from public.turns t
                           join public.inbound_events e
                             on e.workspace_id = workspace and e.source = c.channel
                            and e.delivery_key = c.channel_id || ':' || split_part(t.client_message_id, ':', 2)
                          where t.id = m.turn_id
                            and c.channel = 'discord'),
               'parts', (select coalesce(jsonb_object_agg(d.part, jsonb_build_object('status', d.status, 'attempted_at', d.attempted_at)), '{}')
                           from public.message_deliveries d
                          where d.message_id = m.id))
      into sending
      from public.messages m
      join public.conversations c on c.id = m.conversation_id
     where m.id = open_sending.message_id
       and c.channel_id is not null;
    if sending is null then
        raise sqlstate 'PT404' using message = 'message_not_found';
    end if;
    return sending;
end;
$$;
comment on function public.open_sending is 'What a worker needs to send a message: {channel_id, thread_key, is_group, text, channel (as channel_connection, null if it is gone), asked, parts {part: {status, attempted_at}}}.';

create function public.record_sending(
    message_id uuid, part integer, status public.sending_status, external_id text default null, error text default null)
    returns jsonb language plpgsql set search_path = ''
as $$
begin
    perform private.enter();
    insert into public.message_deliveries as d (message_id, part, workspace_id, conversation_id, status, external_id, error)
    select m.id, record_sending.part, m.workspace_id, m.conversation_id, record_sending.status, record_sending.external_id,
           left(record_sending.error, 500)
      from public.messages m
     where m.id = record_sending.message_id
    on conflict on constraint message_deliveries_pkey do update
       -- A report of the provider may have come before its answer.
       set status       = case when excluded.status = 'sending' and d.status in ('unknown', 'failed') then 'sending'
                               else greatest(d.status, excluded.status) end,
           external_id  = coalesce(d.external_id, excluded.external_id),
           error        = case when excluded.status >= d.status then excluded.error else d.error end,
           attempted_at = case when excluded.status = 'sending' then excluded.attempted_at else d.attempted_at end,
           updated_at   = excluded.updated_at;
    if not found then
        raise sqlstate 'PT404' using message = 'message_not_found';
    end if;
    return '{}'::jsonb;
end;
$$;
comment on function public.record_sending is 'Records that a part of a message is being sent, and what became of it.';

create function public.record_sending_status(
    channel_id  uuid,
    external_id text,
    status      public.sending_status,
    error       text    default null,
    message_id  uuid    default null,
    part        integer default null
)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    channel public.channels;
begin
    perform private.enter();
    channel := private.require_channel(channel_id);
    update public.message_deliveries d
       set status      = greatest(d.status, record_sending_status.status),
           external_id = coalesce(d.external_id, record_sending_status.external_id),
           error       = case when record_sending_status.status >= d.status then left(record_sending_status.error, 500) else d.error end,
           updated_at  = clock_timestamp()
      from public.conversations c
     where c.id = d.conversation_id
       and c.channel_id = channel.id
       and d.workspace_id = channel.workspace_id
       and (d.external_id = record_sending_status.external_id
            or (d.message_id = record_sending_status.message_id and d.part = record_sending_status.part));
    return jsonb_build_object('changed', found);
end;
$$;
comment on function public.record_sending_status is 'Records what a provider reports of a part, found by its external id, or by message and part; a lower status than the present one changes nothing: {changed}.';

grant execute on function
    private.queue_sending, private.require_channel, private.contact_of_channel, private.sender_of_channel, private.rename_chat,
    private.keep_attachments, private.is_addressed, private.overhear, private.queue_answer, public.accept_channel_message, public.take_up_turn,
    public.edit_channel_message, public.migrate_chat, public.record_business_message, public.open_sending,
    public.record_sending, public.record_sending_status
    to switchboard;
