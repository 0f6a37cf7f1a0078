-- What a turn knew: the memories recalled for the persona that answers it.

create table public.turn_memories (
    turn_id         uuid     not null,
    memory_id       uuid     not null,
    workspace_id    uuid     not null,
    conversation_id uuid     not null,
    session_id      uuid     not null,
    rank            integer  not null,
    score           real     not null,
    reasons         jsonb    not null default '{}',
    constraint turn_memories_pkey            primary key (turn_id, memory_id),
    constraint turn_memories_turn_id_fkey    foreign key (workspace_id, conversation_id, turn_id)
        references public.turns (workspace_id, conversation_id, id) on delete cascade,
    constraint turn_memories_memory_id_fkey  foreign key (workspace_id, memory_id) references public.memories (workspace_id, id) on delete cascade,
    constraint turn_memories_session_id_fkey foreign key (workspace_id, session_id) references public.sessions (workspace_id, id) on delete cascade,
    constraint turn_memories_rank            check (rank between 1 and 50)
);
comment on table public.turn_memories is 'The memories that a turn recalled for its persona: what it knew. A memory that is forgotten leaves it too.';
comment on column public.turn_memories.rank is '1 is the best.';
comment on column public.turn_memories.reasons is 'Why it was recalled.';
alter table public.turn_memories enable row level security;
create index turn_memories_memory_id_idx on public.turn_memories (memory_id);
create index turn_memories_session_id_idx on public.turn_memories (session_id);

create view public.turn_memory_details with (security_invoker = true) as
select t.turn_id, t.memory_id, t.workspace_id, t.conversation_id, t.session_id, t.rank, t.score, t.reasons,
       m.contact_id, m.persona_id, m.kind, m.content, m.importance, m.valid_from, m.created_at
  from public.turn_memories t
  join public.memories m on m.id = t.memory_id;
comment on view public.turn_memory_details is 'What turns knew, for members: the recalled memories as they are now, with their rank, score and reasons.';

create function public.recall_for_turn(turn_id uuid, message text, embedding jsonb default null)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    turn         public.turns;
    conversation public.conversations;
    persona      public.personas;
    shown        uuid[];
    recalled     jsonb;
begin
    perform private.enter();
    turn := private.require_turn(turn_id);
    select c.* into strict conversation from public.conversations c where c.id = turn.conversation_id;
    -- A fallback gets what its persona would get.
    select p.* into strict persona from public.personas p where p.id = conversation.persona_id;
    if persona.recall_limit = 0 then
        return jsonb_build_object('memories', '[]'::jsonb);
    end if;
    -- The messages that the persona is given as history are not recalled besides.
    shown := array(select m.id
                     from public.messages m
                    where m.conversation_id = conversation.id
                    order by m.created_at desc, m.id desc
                    limit persona.history_limit + 1);
    with found as (
        select h.*, row_number() over (order by h.score desc, h.id) as rank
          from private.recall(private.conversation_memory_scope(conversation), message, embedding, persona.recall_limit + cardinality(shown)) h
          left join public.memories m on m.id = h.id and m.kind = 'turn' and m.message_id = any (shown)
         where m.id is null
         order by h.score desc, h.id
         limit persona.recall_limit
    ), hits as (
        select f.*
          from found f
          join public.memories m on m.id = f.id
           -- One that is forgotten at this moment is left out; the turn does not wait for it.
           for key share of m skip locked
    ), recorded as (
        insert into public.turn_memories (turn_id, memory_id, workspace_id, conversation_id, session_id, rank, score, reasons)
        select turn.id, h.id, turn.workspace_id, turn.conversation_id, turn.session_id, h.rank, h.score, h.reasons
          from hits h
            on conflict do nothing
    )
    select jsonb_agg(jsonb_build_object('id', h.id, 'kind', h.kind, 'content', h.content, 'valid_from', h.valid_from, 'score', h.score)
                     order by h.rank)
      into recalled
      from hits h;
    return jsonb_build_object('memories', coalesce(recalled, '[]'::jsonb));
end;
$$;
comment on function public.recall_for_turn is 'Recalls the memories that fit a turn''s message, those that its session may know, and records them at the turn: {memories: [{id, kind, content, valid_from, score}]}, the best first, as many as the persona''s recall_limit. Idempotent.';

grant execute on function
    public.recall_for_turn
    to switchboard;
