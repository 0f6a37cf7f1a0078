-- Generated from supabase/schemas/59_memory_commands.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- Remembering and forgetting: whose memory it becomes follows from the caller and the session.

create type private.memory_target as (
    workspace_id    uuid,
    contact_id      uuid,
    conversation_id uuid,
    persona_id      uuid,
    session_id      uuid,
    internal        boolean
);
comment on type private.memory_target is 'Whose memories a call writes, as the columns of memories.';

create function private.lock_memory_scope(workspace_id uuid, contact_id uuid, conversation_id uuid)
    returns void language plpgsql set search_path = ''
as $$
begin
    if conversation_id is not null then
        perform private.lock_conversation(conversation_id);
    elsif contact_id is not null then
        perform private.lock_merge_target(contact_id);
    else
        perform pg_advisory_xact_lock(hashtextextended('memories' || workspace_id, 0));
    end if;
end;
$$;
comment on function private.lock_memory_scope is 'Locks where a memory belongs: its conversation and contact, the contact, or the owner''s side. Its writers come one after the other, and proof, merge and undo move all memories or wait.';

create function private.enter_memory_target(workspace_id uuid, contact_id uuid, persona_id uuid, session_id uuid)
    returns private.memory_target language plpgsql set search_path = ''
as $$
declare
    kind         constant text := private.calling_kind();
    target       private.memory_target;
    session      public.sessions;
    conversation public.conversations;
    own          uuid;
begin
    if session_id is not null then
        perform private.enter_session(session_id);
        select s.* into strict session from public.sessions s where s.id = enter_memory_target.session_id;
        own := session.conversation_id;
    elsif kind = 'contact' or (kind = 'user' and not exists (select from private.memberships(private.calling_user()))) then
        own := private.enter_own_conversation();
    elsif contact_id is not null then
        target.contact_id := private.lock_merge_target(private.enter_contact_of_memories(contact_id));
    else
        perform private.lock_memory_scope(private.enter_owner_side(workspace_id, persona_id), null, null);
    end if;

    if own is not null then
        -- With proof, of its contact; without proof, of the conversation. Locked, because the proof may come at this moment.
        conversation           := private.lock_conversation(own);
        if conversation.id is null then
            -- Deleted at this moment. What was said in it is nothing that the workspace knows.
            raise sqlstate 'PT404' using message = case when session_id is null then 'conversation_not_found' else 'session_not_found' end;
        elsif conversation.contact_id is null then
            perform private.lock_memory_scope(conversation.workspace_id, null, null);
        end if;
        target.contact_id      := conversation.contact_id;
        target.conversation_id := case when conversation.proof = 'asserted' then conversation.id end;
        target.session_id      := coalesce(session.id, (select s.id
                                                          from public.sessions s
                                                         where s.conversation_id = own
                                                         order by s.created_at desc, s.id desc
                                                         limit 1));
        target.persona_id      := conversation.persona_id;
        if contact_id is not null and private.merge_target(contact_id) is distinct from conversation.contact_id then
            raise sqlstate 'PT404' using message = 'contact_not_found';
        end if;
    end if;
    target.workspace_id := private.entered_workspace();
    if workspace_id <> target.workspace_id then
        raise sqlstate 'PT404' using message = 'workspace_not_found';
    end if;
    target.internal     := kind <> 'contact' and private.is_member(private.calling_user());
    if persona_id is not null then
        if not (target.internal and exists (select from public.personas p where p.id = enter_memory_target.persona_id))
           and persona_id is distinct from target.persona_id then
            raise sqlstate 'PT404' using message = 'persona_not_found';
        end if;
        target.persona_id := persona_id;
    end if;
    return target;
end;
$$;
comment on function private.enter_memory_target is 'Whose memories the caller writes: those of a session or of the caller''s own conversation, of a contact that a member names, or of the workspace. Locks it, so that its memories are written one after the other.';

create function private.duplicate_key(content text)
    returns uuid language plpgsql immutable parallel safe set search_path = ''
as $$
declare
    -- Articles and words that only add weight, in languages that use them.
    light constant text :=
        'a|an|the|also|very|really|please|der|die|das|dem|den|ein|eine|einen|le|la|les|un|une|el|los|las|una|il|gli|de|het|een';
    -- What folding drops, but words and numbers differ by: accents, currencies, degrees, powers, indices, feet and inches.
    signs constant text := '\u00a2-\u00a5\u00b0-\u00b3\u00b9\u0300-\u036f\u2032-\u2037\u2070-\u209c';
    words text := normalize(translate(btrim(content), '’‘', ''''''), nfd);
begin
    -- In lower case and before another word only: the A of hepatitis A and the LA of a town are names.
    words := lower(left(words, 1)) || substr(words, 2);
    words := regexp_replace(words, '(^|\s)(' || light || ')(?=\s+\S)', '\1', 'g');
    -- Where the signs are, and then which.
    words := private.fold_text(regexp_replace(words, '[' || signs || ']', U&'\E000', 'g'))
             || ' ' || regexp_replace(words, '[^' || signs || ']+', '', 'g');
    words := regexp_replace(words, '(?<!\d)"|[()\[\]]+|[.,;:!]+(?=\s|$)', ' ', 'g');
    words := regexp_replace(words, '(^|\s)([a-z]{2,}[a-rt-z])s(?=\s|$)', '\1\2', 'g');
    words := btrim(regexp_replace(words, '\s+', ' ', 'g'));
    return md5(coalesce(nullif(words, ''), content))::uuid;
end;
$$;
comment on function private.duplicate_key is 'Equal for texts with the same words in the same order, apart from case, punctuation, articles and the s of English plurals and verbs. Nothing that changes the meaning is left out: no negation, tense, number, order, name or accent.';

create function private.describe_memory(memory public.memories)
    returns jsonb language plpgsql stable set search_path = ''
as $$
begin
    return to_jsonb(memory) - '{scope_id,sender_id,duplicate_key,words}'::text[]
           - case when private.is_member(private.calling_user()) then array[]::text[]
                  else array['internal', 'created_by', 'superseded_by'] end;
end;
$$;
comment on function private.describe_memory is 'A memory as its readers see it; members also see who wrote it.';

create function private.memory_to_write(target private.memory_target, item jsonb)
    returns public.memories language plpgsql stable set search_path = ''
as $$
declare
    memory public.memories;
    source record;
begin
    memory.workspace_id    := target.workspace_id;
    memory.contact_id      := target.contact_id;
    memory.conversation_id := target.conversation_id;
    memory.persona_id      := target.persona_id;
    memory.session_id      := target.session_id;
    memory.internal        := target.internal;
    memory.kind            := item ->> 'kind';
    memory.content         := item ->> 'content';
    memory.speaker         := item ->> 'speaker';
    memory.importance      := coalesce((item ->> 'importance')::real, 0.5);
    memory.valid_from      := coalesce((item ->> 'valid_from')::timestamptz, now());
    memory.expires_at      := (item ->> 'expires_at')::timestamptz;
    if item ->> 'message_id' is not null then
        select m.id, m.session_id, m.conversation_id, m.contact_id, c.proof into source
          from public.messages m
          join public.conversations c on c.id = m.conversation_id
         where m.id = (item ->> 'message_id')::uuid
           and c.contact_id is not distinct from memory.contact_id
           and (memory.session_id is null
                or c.id = (select s.conversation_id from public.sessions s where s.id = memory.session_id));
        if not found then
            raise sqlstate 'PT404' using message = 'message_not_found';
        end if;
        memory.message_id      := source.id;
        memory.session_id      := source.session_id;
        memory.sender_id       := source.contact_id;
        -- What was said without proof is not remembered of the contact.
        memory.conversation_id := case when source.proof = 'asserted' then source.conversation_id end;
    end if;
    if memory.kind <> 'turn' then
        memory.duplicate_key := private.duplicate_key(memory.content);
    elsif not memory.internal then
        raise sqlstate 'PT422' using message = 'invalid_body', detail = 'turns_by_members';
    end if;
    return memory;
end;
$$;
comment on function private.memory_to_write is 'The memory that an item {content, kind, importance, valid_from, expires_at, speaker, message_id} describes, not stored yet.';

create function private.fold_memory(memory public.memories, item jsonb)
    returns public.memories language plpgsql set search_path = ''
as $$
declare
    known  public.memories;
    folded public.memories;
begin
    select m.* into known
      from public.memories m
     where m.scope_id = coalesce(memory.conversation_id, memory.contact_id, memory.workspace_id)
       and m.duplicate_key = memory.duplicate_key
       and m.persona_id is not distinct from memory.persona_id
       -- Otherwise a contact would learn what members have written.
       and m.internal = memory.internal
       -- What two participants of a group say is erased with each of them.
       and coalesce(private.merge_target(m.sender_id), m.contact_id)
           is not distinct from coalesce(private.merge_target(memory.sender_id), memory.contact_id)
       and m.superseded_by is null
       and (m.expires_at is null or m.expires_at > now())
     order by m.created_at, m.id
     limit 1
       for no key update;
    if not found then
        return null;
    end if;
    folded            := known;
    folded.kind       := coalesce(item ->> 'kind', known.kind);
    folded.importance := greatest(known.importance, (item ->> 'importance')::real);
    folded.valid_from := least(known.valid_from, memory.valid_from);
    -- Null is the latest end: never.
    folded.expires_at := case when known.expires_at is not null and memory.expires_at is not null
                              then greatest(known.expires_at, memory.expires_at) end;
    folded.speaker    := coalesce(known.speaker, memory.speaker);
    -- A memory stays in its session: where that goes after a merge is undone, it goes too.
    folded.message_id := coalesce(known.message_id,
                                  case when coalesce(known.session_id = memory.session_id, true) then memory.message_id end);
    if folded is distinct from known then
        update public.memories m
           set kind = folded.kind, importance = folded.importance, valid_from = folded.valid_from, expires_at = folded.expires_at,
               speaker = folded.speaker, message_id = folded.message_id, updated_at = clock_timestamp()
         where m.id = known.id
        returning m.* into folded;
    end if;
    return folded;
end;
$$;
comment on function private.fold_memory is 'Folds a memory, and what its item names, into the one that says the same in its scope, by the same speaker; null if there is none. docs/memory.md (Duplicates) says what each keeps.';

create function private.lock_memory(memory_id uuid, workspace_id uuid)
    returns public.memories language plpgsql set search_path = ''
as $$
declare
    memory public.memories;
begin
    perform private.enter_memory(memory_id);
    select m.* into memory
      from public.memories m
     where m.id = lock_memory.memory_id
       and m.workspace_id = lock_memory.workspace_id
       for no key update;
    -- The caller reads it in another workspace, or it was forgotten at this moment.
    if not found then
        raise sqlstate 'PT404' using message = 'memory_not_found';
    end if;
    return memory;
end;
$$;
comment on function private.lock_memory is 'Locks a memory of the workspace that the caller reads and returns it; 404 for others.';

create function private.remember(target private.memory_target, item jsonb, previous_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    memory  public.memories;
    former  public.memories;
    stored  public.memories;
    folded  boolean;
begin
    if item ->> 'supersedes' is not null then
        perform private.enter_memory((item ->> 'supersedes')::uuid);
        select m.* into former from public.memories m where m.id = (item ->> 'supersedes')::uuid;
        perform private.lock_memory_scope(target.workspace_id, former.contact_id, former.conversation_id);
        former := private.lock_memory((item ->> 'supersedes')::uuid, target.workspace_id);
        -- A correction belongs where the memory belongs that it corrects.
        target.contact_id      := former.contact_id;
        target.conversation_id := former.conversation_id;
        target.persona_id      := former.persona_id;
        target.session_id      := case when target.contact_id is not distinct from former.contact_id then target.session_id end;
    end if;
    memory := private.memory_to_write(target, jsonb_build_object('kind', coalesce(former.kind, 'fact')) || item);
    if memory.kind = 'turn' and item ->> 'previous_id' is not null then
        perform private.lock_memory((item ->> 'previous_id')::uuid, target.workspace_id);
    end if;
    stored := case when memory.duplicate_key is not null then private.fold_memory(memory, item) end;
    folded := stored.id is not null;
    if not folded then
        insert into public.memories (workspace_id, persona_id, contact_id, conversation_id, session_id, message_id, sender_id, speaker, kind,
                                     content, duplicate_key, importance, internal, previous_id, valid_from, expires_at, created_by)
        values (memory.workspace_id, memory.persona_id, memory.contact_id, memory.conversation_id, memory.session_id, memory.message_id,
                memory.sender_id, memory.speaker, memory.kind, memory.content, memory.duplicate_key, memory.importance, memory.internal,
                case when memory.kind = 'turn' then coalesce((item ->> 'previous_id')::uuid, remember.previous_id) end,
                memory.valid_from, memory.expires_at, private.calling_actor())
        returning * into stored;
        perform private.record_audit('memory.remembered', stored.id, private.calling_actor(), stored.kind);
    end if;
    if former.id <> stored.id and former.superseded_by is distinct from stored.id then
        if former.superseded_by is not null then
            raise sqlstate 'PT409' using message = 'memory_superseded', detail = former.superseded_by::text;
        end if;
        update public.memories m set superseded_by = stored.id, updated_at = clock_timestamp() where m.id = former.id;
        perform private.record_audit('memory.superseded', former.id, private.calling_actor(), null);
    end if;
    return private.describe_memory(stored) || jsonb_build_object('folded', folded);
end;
$$;
comment on function private.remember is 'Stores a memory, or folds it into the one that says the same, and lets it supersede the memory that it corrects. previous_id: the turn before it.';

create function public.remember_memories(
    memories      jsonb,
    workspace_id  uuid    default null,
    contact_id    uuid    default null,
    persona_id    uuid    default null,
    session_id    uuid    default null,
    every_persona boolean default false
)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    target   private.memory_target;
    limits   jsonb := '{}'::jsonb;
    refusal  text;
    item     jsonb;
    stored   jsonb := '[]'::jsonb;
    previous uuid;
begin
    if num_nonnulls(workspace_id, contact_id, persona_id, session_id) = 0 and memories -> 0 ->> 'supersedes' is not null then
        perform private.enter_memory((memories -> 0 ->> 'supersedes')::uuid);
        workspace_id := private.entered_workspace();
    end if;
    target := private.enter_memory_target(workspace_id, contact_id, persona_id, session_id);
    if every_persona then
        target.persona_id := null;
    end if;
    if not target.internal then
        select private.message_limits(w, null, null) into limits from public.workspaces w where w.id = target.workspace_id;
    end if;
    begin
        for item in select i.value from jsonb_array_elements(memories) with ordinality i (value, place) order by i.place loop
            item     := private.remember(target, item, previous);
            stored   := stored || item;
            previous := case when item ->> 'kind' = 'turn' then (item ->> 'id')::uuid end;
        end loop;
        perform private.take_limits(limits);
    exception when sqlstate 'SB001' then
        get stacked diagnostics refusal = pg_exception_detail;
        return private.count_and_refuse(refusal::jsonb);
    end;
    return jsonb_build_object('memories', stored);
end;
$$;
comment on function public.remember_memories is 'Remembers [{content, kind?, importance?, valid_from?, expires_at?, speaker?, message_id?, supersedes?, previous_id?}], all or none: {memories: [{id, …, folded}]}. For the contact or user of the caller''s session, or of the named one; members name a contact, or none: what the workspace knows. Turns are linked in their order.';

create function public.forget_memory(memory_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
begin
    perform private.enter_memory(memory_id);
    delete from public.memories m where m.id = forget_memory.memory_id;
    if found then
        perform private.record_audit('memory.forgotten', memory_id, private.calling_actor(), null);
    end if;
    return jsonb_build_object('removed', true);
end;
$$;
comment on function public.forget_memory is 'Deletes a memory that the caller reads, with those that it has corrected; the history keeps them for owners and admins.';

create function private.remember_turn(turn public.turns)
    returns void language plpgsql set search_path = ''
as $$
declare
    session  record;
    said     record;
    previous uuid;
begin
    select s.workspace_id, s.contact_id, s.persona_id, p.remember_turns,
           case when c.contact_id is null or c.proof = 'asserted' then c.id end as conversation_id
      into session
      from public.sessions s
      join public.conversations c on c.id = s.conversation_id
      join public.personas p on p.id = s.persona_id
     where s.id = turn.session_id;
    if session.remember_turns is not true then
        return;
    end if;
    -- The turn before: of the newest earlier messages, the last one that is remembered.
    select r.id into previous
      from (select m.id
              from public.messages m
             where m.conversation_id = turn.conversation_id
               and m.turn_id is distinct from turn.id
               and m.created_at < coalesce(turn.finished_at, clock_timestamp())
             order by m.created_at desc, m.id desc
             limit 10) m
      join public.memories r on r.message_id = m.id and r.kind = 'turn'
     order by r.valid_from desc, r.id desc
     limit 1;
    for said in
        select m.id, m.contact_id, m.text, m.created_at,
               coalesce(m.speaker, case when m.role = 'persona' then (select p.name from public.personas p where p.id = m.persona_id)
                                        else (select private.contact_name(c) from public.contacts c where c.id = m.contact_id) end) as speaker
          from public.messages m
         where m.turn_id = turn.id
         order by m.created_at, m.id
    loop
        insert into public.memories as r (workspace_id, persona_id, contact_id, conversation_id, session_id, message_id, sender_id, speaker,
                                          kind, content, valid_from, previous_id)
        values (session.workspace_id, session.persona_id, session.contact_id, session.conversation_id, turn.session_id, said.id,
                said.contact_id, left(said.speaker, 200), 'turn', left(said.text, 8000), said.created_at, previous)
        on conflict (message_id) where kind = 'turn' do nothing
        returning r.id into previous;
        if not found then
            select r.id into previous from public.memories r where r.message_id = said.id and r.kind = 'turn';
        end if;
    end loop;
end;
$$;
comment on function private.remember_turn is 'Remembers the messages of a turn unchanged, once each and linked in their order, if its persona remembers turns.';

create function private.change_remembered_turn()
    returns trigger language plpgsql set search_path = ''
as $$
begin
    update public.memories m
       set content = left(new.text, 8000), updated_at = clock_timestamp()
     where m.message_id = new.id
       and m.kind = 'turn';
    return null;
end;
$$;
comment on function private.change_remembered_turn is 'Changes the memory of a message whose text was changed.';

create trigger messages_change_remembered_turn
    after update of text on public.messages
    for each row
    when (old.text is distinct from new.text)
    execute function private.change_remembered_turn();

grant execute on function
    private.lock_memory_scope, private.enter_memory_target, private.duplicate_key, private.describe_memory, private.memory_to_write, private.fold_memory,
    private.lock_memory, private.remember, public.remember_memories, public.forget_memory, private.remember_turn
    to switchboard;
