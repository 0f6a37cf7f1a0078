-- Generated from supabase/schemas/55_memories.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- Memories: what is remembered about a contact, or known by a persona, and the history of both.
--
-- A memory is found by its scope alone: the conversation while there is no proof, then the contact, or the workspace for
-- the owner's side. Recall and lists compare this one column, before anything is ranked.

create function private.word_keys(workspace_id uuid, words text[])
    returns bigint[] language plpgsql immutable parallel safe set search_path = ''
as $$
begin
    return array(select hashtextextended(w.word, hashtextextended(workspace_id::text, 0)) from unnest(words) w (word));
end;
$$;
comment on function private.word_keys is 'What the index of words holds: a number for each word of a workspace, so that no search reads what others wrote. Changing it takes a reindex of memories_words_idx.';

create table public.memories (
    id              uuid        not null default private.uuid7(),
    workspace_id    uuid        not null,
    persona_id      uuid,
    contact_id      uuid,
    conversation_id uuid,
    scope_id        uuid        not null generated always as (coalesce(conversation_id, contact_id, workspace_id)) stored,
    session_id      uuid,
    message_id      uuid,
    sender_id       uuid,
    speaker         text,
    kind            text        not null default 'fact',
    content         text        not null,
    words           tsvector    not null generated always as (private.memory_words(content)) stored,
    duplicate_key   uuid,
    importance      real        not null default 0.5,
    internal        boolean     not null default false,
    previous_id     uuid,
    valid_from      timestamptz not null default now(),
    expires_at      timestamptz,
    superseded_by   uuid,
    created_by      uuid,
    created_at      timestamptz not null default clock_timestamp(),
    updated_at      timestamptz not null default clock_timestamp(),
    constraint memories_pkey                 primary key (id),
    constraint memories_workspace_key        unique (workspace_id, id),
    constraint memories_workspace_id_fkey    foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint memories_persona_id_fkey      foreign key (workspace_id, persona_id) references public.personas (workspace_id, id) on delete cascade,
    constraint memories_contact_id_fkey      foreign key (workspace_id, contact_id) references public.contacts (workspace_id, id) on delete cascade,
    constraint memories_conversation_id_fkey foreign key (workspace_id, conversation_id)
        references public.conversations (workspace_id, id) on delete cascade,
    constraint memories_session_id_fkey      foreign key (workspace_id, session_id)
        references public.sessions (workspace_id, id) on delete set null (session_id),
    -- A composite key would need one more index on messages, which every turn would pay for.
    constraint memories_message_id_fkey      foreign key (message_id) references public.messages (id) on delete set null,
    constraint memories_sender_id_fkey       foreign key (workspace_id, sender_id) references public.contacts (workspace_id, id) on delete cascade,
    constraint memories_previous_id_fkey     foreign key (workspace_id, previous_id)
        references public.memories (workspace_id, id) on delete set null (previous_id),
    constraint memories_superseded_by_fkey   foreign key (workspace_id, superseded_by)
        references public.memories (workspace_id, id) on delete cascade,
    constraint memories_kind                 check (kind ~ '^[a-z][a-z0-9_]{0,31}$'),
    constraint memories_content              check (length(content) between 1 and 8000),
    constraint memories_importance           check (importance between 0 and 1),
    constraint memories_speaker              check (length(speaker) between 1 and 200),
    constraint memories_of_contact           check (contact_id is not null or conversation_id is null or kind = 'turn'),
    constraint memories_differ               check (id not in (previous_id, superseded_by))
);
comment on table public.memories is 'Something remembered about a contact or known by a persona; expired and superseded ones are not recalled.';
comment on column public.memories.persona_id is 'The only persona that recalls it; null: every persona.';
comment on column public.memories.contact_id is 'Whom it is about; null: the owner''s side.';
comment on column public.memories.conversation_id is 'The only conversation that recalls it: one without proof, or a member''s own with a persona, of which it is a turn. Null otherwise, and once the conversation has proof.';
comment on column public.memories.scope_id is 'By what recall and lists filter: the conversation, else the contact, else the workspace.';
comment on column public.memories.session_id is 'The session in which it was said; null: none is named.';
comment on column public.memories.message_id is 'The message that it comes from.';
comment on column public.memories.sender_id is 'The contact who said it: in a group one of its participants. Their words are erased with them.';
comment on column public.memories.speaker is 'The name of who said it, of a turn.';
comment on column public.memories.kind is 'fact, preference, knowledge, …; turn: a message of the conversation, unchanged.';
comment on column public.memories.words is 'What recall compares.';
comment on column public.memories.duplicate_key is 'Equal for texts that say the same in the same words (private.duplicate_key); null for a turn, which is never folded.';
comment on column public.memories.internal is 'Written by a member or a machine: never readable with a contact token.';
comment on column public.memories.previous_id is 'The turn before it in its conversation.';
comment on column public.memories.valid_from is 'Since when it holds; of a turn, when it was said.';
comment on column public.memories.expires_at is 'From when it is not recalled any more; it is deleted later.';
comment on column public.memories.superseded_by is 'The memory that corrects it. Forgetting that one forgets this one too.';
comment on column public.memories.created_by is 'The contact, user or API key that wrote it; null: a turn, or the system.';
alter table public.memories enable row level security;
create index memories_scope_id_idx on public.memories (scope_id, created_at, id);
create index memories_newest_idx on public.memories (workspace_id, created_at, id);
create index memories_duplicate_key_idx on public.memories (scope_id, duplicate_key) where duplicate_key is not null;
create index memories_persona_id_idx on public.memories (persona_id, created_at, id) where persona_id is not null;
create index memories_contact_id_idx on public.memories (contact_id, created_at, id) where contact_id is not null;
create index memories_conversation_id_idx on public.memories (conversation_id) where conversation_id is not null;
create index memories_session_id_idx on public.memories (session_id, created_at, id) where session_id is not null;
create index memories_message_id_idx on public.memories (message_id) where message_id is not null;
create unique index memories_turn_idx on public.memories (message_id) where kind = 'turn';
create index memories_sender_id_idx on public.memories (sender_id) where sender_id is not null;
create index memories_previous_id_idx on public.memories (previous_id) where previous_id is not null;
create index memories_superseded_by_idx on public.memories (superseded_by) where superseded_by is not null;
create index memories_expires_at_idx on public.memories (expires_at) where expires_at is not null;
create index memories_words_idx on public.memories using gin (private.word_keys(workspace_id, tsvector_to_array(words)));

create type public.memory_operation as enum ('changed', 'superseded', 'forgotten', 'expired');
comment on type public.memory_operation is 'What ended a version of a memory: changed (a later version is current), superseded (another memory corrects it), forgotten (the memory is deleted), expired (its time was over).';

create table public.memory_history (
    id              uuid                    not null default private.uuid7(),
    workspace_id    uuid                    not null,
    memory_id       uuid                    not null,
    persona_id      uuid,
    contact_id      uuid,
    conversation_id uuid,
    sender_id       uuid,
    kind            text                    not null,
    content         text                    not null,
    importance      real                    not null,
    internal        boolean                 not null,
    valid_from      timestamptz             not null,
    expires_at      timestamptz,
    created_by      uuid,
    created_at      timestamptz             not null,
    operation       public.memory_operation not null,
    changed_by      uuid,
    changed_at      timestamptz             not null default clock_timestamp(),
    constraint memory_history_pkey                 primary key (id),
    constraint memory_history_workspace_id_fkey    foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint memory_history_persona_id_fkey      foreign key (workspace_id, persona_id)
        references public.personas (workspace_id, id) on delete set null (persona_id),
    constraint memory_history_contact_id_fkey      foreign key (workspace_id, contact_id) references public.contacts (workspace_id, id) on delete cascade,
    constraint memory_history_conversation_id_fkey foreign key (workspace_id, conversation_id)
        references public.conversations (workspace_id, id) on delete cascade,
    constraint memory_history_sender_id_fkey       foreign key (workspace_id, sender_id) references public.contacts (workspace_id, id) on delete cascade
);
comment on table public.memory_history is 'The former versions of memories, also of forgotten ones, for owners and admins; erased with the contact.';
comment on column public.memory_history.memory_id is 'The memory, which may be deleted.';
comment on column public.memory_history.created_at is 'Since when this was the version.';
comment on column public.memory_history.changed_by is 'The contact, user or API key that ended the version; null: the system.';
alter table public.memory_history enable row level security;
create index memory_history_newest_idx on public.memory_history (workspace_id, changed_at, id);
create index memory_history_memory_id_idx on public.memory_history (memory_id, changed_at);
create index memory_history_persona_id_idx on public.memory_history (persona_id) where persona_id is not null;
create index memory_history_contact_id_idx on public.memory_history (contact_id, changed_at) where contact_id is not null;
create index memory_history_conversation_id_idx on public.memory_history (conversation_id) where conversation_id is not null;
create index memory_history_sender_id_idx on public.memory_history (sender_id) where sender_id is not null;

create function private.archive_memory()
    returns trigger language plpgsql set search_path = ''
as $$
begin
    -- What is deleted with its contact, conversation or workspace leaves no history.
    insert into public.memory_history (workspace_id, memory_id, persona_id, contact_id, conversation_id, sender_id, kind, content,
                                       importance, internal, valid_from, expires_at, created_by, created_at, operation, changed_by)
    select w.id, old.id, (select p.id from public.personas p where p.id = old.persona_id), old.contact_id, old.conversation_id,
           old.sender_id, old.kind, old.content, old.importance, old.internal, old.valid_from, old.expires_at, old.created_by,
           old.updated_at,
           case when tg_op = 'DELETE' and old.expires_at <= now() then 'expired'
                when tg_op = 'DELETE' then 'forgotten'
                when new.superseded_by is distinct from old.superseded_by then 'superseded'
                else 'changed' end::public.memory_operation,
           private.calling_actor()
      from public.workspaces w
     where w.id = old.workspace_id
       and (old.contact_id is null or exists (select from public.contacts c where c.id = old.contact_id))
       and (old.sender_id is null or exists (select from public.contacts c where c.id = old.sender_id))
       and (old.conversation_id is null or exists (select from public.conversations c where c.id = old.conversation_id));
    return null;
end;
$$;
comment on function private.archive_memory is 'Keeps the former version of a memory that is changed, superseded or deleted.';

create trigger memories_archive_changed
    after update on public.memories
    for each row
    when ((old.content, old.kind, old.importance, old.persona_id, old.valid_from, old.expires_at, old.superseded_by)
          is distinct from (new.content, new.kind, new.importance, new.persona_id, new.valid_from, new.expires_at, new.superseded_by))
    execute function private.archive_memory();

create trigger memories_archive_deleted
    after delete on public.memories
    for each row
    execute function private.archive_memory();

create function private.join_memories()
    returns trigger language plpgsql set search_path = ''
as $$
begin
    update public.memories m set conversation_id = null where m.conversation_id = new.id;
    return null;
end;
$$;
comment on function private.join_memories is 'Joins the memories of a conversation that got proof to those of its contact.';

create trigger conversations_join_memories
    after update of proof on public.conversations
    for each row
    when (old.proof = 'asserted' and new.proof = 'verified')
    execute function private.join_memories();

create function private.join_own_memories(contact_id uuid)
    returns void language plpgsql set search_path = ''
as $$
begin
    update public.memories m
       set conversation_id = null
      from public.conversations c
     where c.id = (private.claims() #>> '{caller,conversation_id}')::uuid
       and c.contact_id = join_own_memories.contact_id
       and m.conversation_id = c.id;
end;
$$;
comment on function private.join_own_memories is 'Joins the memories of the conversation whose token the caller presents to those of the contact that the caller has proved to be.';

create function private.check_memory_message()
    returns trigger language plpgsql set search_path = ''
as $$
begin
    if not exists (select
                     from public.messages m
                    where m.id = new.message_id
                      and m.workspace_id = new.workspace_id
                      and m.session_id = coalesce(new.session_id, m.session_id)) then
        raise sqlstate '23503' using message = 'the message is of another session';
    end if;
    return null;
end;
$$;
comment on function private.check_memory_message is 'Refuses a memory from a message of another workspace or session than it names.';

create trigger memories_check_message
    after insert or update of message_id, workspace_id, session_id on public.memories
    for each row
    when (new.message_id is not null)
    execute function private.check_memory_message();

grant execute on function
    private.join_own_memories
    to switchboard;

-- Writing a memory computes what the index of words holds.
grant execute on function
    private.word_keys
    to service_role, switchboard;
