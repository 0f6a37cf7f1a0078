-- Embeddings: memories as vectors, by which recall finds what says the same in other words.
--
-- A deployment has one size of vectors, 384. A vector belongs to the model that made it, and is compared with vectors of
-- that model only. Half precision takes half the memory and changes no rank that matters.

create extension if not exists vector with schema extensions;
grant usage on schema extensions to switchboard;

create table public.memory_embeddings (
    memory_id    uuid                    not null,
    workspace_id uuid                    not null,
    model        text                    not null,
    embedding    extensions.halfvec(384) not null,
    created_at   timestamptz             not null default clock_timestamp(),
    constraint memory_embeddings_pkey           primary key (memory_id),
    constraint memory_embeddings_memory_id_fkey foreign key (workspace_id, memory_id)
        references public.memories (workspace_id, id) on delete cascade,
    constraint memory_embeddings_model          check (length(model) between 1 and 200)
);
comment on table public.memory_embeddings is 'The vector of each memory: of its text, and of its text with the turns before and after it.';
comment on column public.memory_embeddings.model is 'The embedder that made it.';
alter table public.memory_embeddings enable row level security;
-- The planner takes this one for ordered searches; the primary key finds what is compared exactly.
create index memory_embeddings_embedding_idx on public.memory_embeddings using hnsw (embedding extensions.halfvec_ip_ops);

create table public.memories_to_embed (
    memory_id    uuid        not null,
    workspace_id uuid        not null,
    queued_at    timestamptz not null default clock_timestamp(),
    constraint memories_to_embed_pkey           primary key (memory_id),
    constraint memories_to_embed_memory_id_fkey foreign key (workspace_id, memory_id)
        references public.memories (workspace_id, id) on delete cascade
);
comment on table public.memories_to_embed is 'Memories whose vector is missing or older than their text; a job per workspace makes them.';
alter table public.memories_to_embed enable row level security;
create index memories_to_embed_oldest_idx on public.memories_to_embed (workspace_id, queued_at, memory_id);

create function private.queue_embedding()
    returns trigger language plpgsql security definer set search_path = ''
as $$
declare
    workspace uuid;
begin
    -- A new turn is the neighbour of the one before it, whose vector says both.
    insert into public.memories_to_embed as q (memory_id, workspace_id)
    select distinct m.id, m.workspace_id
      from changed c
      join public.memories m on m.id in (c.id, c.previous_id)
    on conflict (memory_id) do update set queued_at = clock_timestamp();
    for workspace in select distinct c.workspace_id from changed c loop
        perform private.queue_embedding_job(workspace);
    end loop;
    return null;
end;
$$;
comment on function private.queue_embedding is 'Queues the memories of a statement for their vectors.';

create function private.queue_embedding_job(workspace_id uuid)
    returns void language plpgsql security definer set search_path = ''
as $$
begin
    -- One that waits takes them along; one that runs may have passed them.
    insert into public.jobs (workspace_id, kind, ordering_key)
    select w.id, 'embed_memories', 'embed'
      from public.workspaces w
     where w.id = queue_embedding_job.workspace_id
       and not exists (select
                         from public.jobs j
                        where j.workspace_id = w.id
                          and j.ordering_key = 'embed'
                          and j.status = 'queued');
    if found then
        perform private.call_soon('worker');
    end if;
end;
$$;
comment on function private.queue_embedding_job is 'Queues the job that makes the vectors of a workspace, unless one waits.';

create trigger memories_queue_new
    after insert on public.memories
    referencing new table as changed
    for each statement
    execute function private.queue_embedding();

create function private.queue_changed_embedding()
    returns trigger language plpgsql security definer set search_path = ''
as $$
begin
    -- Its vector says what is not there any more, perhaps because it was erased.
    delete from public.memory_embeddings e where e.memory_id = new.id;
    insert into public.memories_to_embed (memory_id, workspace_id)
    values (new.id, new.workspace_id)
    on conflict (memory_id) do update set queued_at = clock_timestamp();
    perform private.queue_embedding_job(new.workspace_id);
    return null;
end;
$$;
comment on function private.queue_changed_embedding is 'Removes the vector of a memory whose text, or the turn before it, has changed, and queues it for another.';

create trigger memories_queue_changed
    after update on public.memories
    for each row
    when ((old.content, old.previous_id) is distinct from (new.content, new.previous_id))
    execute function private.queue_changed_embedding();

create function private.queue_former_neighbours()
    returns trigger language plpgsql security definer set search_path = ''
as $$
declare
    workspace uuid;
begin
    -- The turns after it lose their previous_id, and are queued as changed.
    delete from public.memory_embeddings e using former f where e.memory_id = f.previous_id;
    insert into public.memories_to_embed (memory_id, workspace_id)
    select distinct m.id, m.workspace_id
      from former f
      join public.memories m on m.id = f.previous_id
      join public.workspaces w on w.id = m.workspace_id
    on conflict (memory_id) do update set queued_at = clock_timestamp();
    for workspace in select distinct f.workspace_id from former f where f.previous_id is not null loop
        perform private.queue_embedding_job(workspace);
    end loop;
    return null;
end;
$$;
comment on function private.queue_former_neighbours is 'Removes the vectors of the turns before deleted ones, which say those too, and queues them for others.';

create trigger memories_queue_former_neighbours
    after delete on public.memories
    referencing old table as former
    for each statement
    execute function private.queue_former_neighbours();

create function public.memories_to_embed(max_memories integer)
    returns jsonb language plpgsql set search_path = ''
as $$
begin
    perform private.enter();
    return jsonb_build_object('memories', (
        select coalesce(jsonb_agg(jsonb_build_object(
                   'id', m.id, 'queued_at', q.queued_at, 'content', m.content,
                   'before', p.content, 'after', n.content,
                   'speakers', array_remove(array[m.speaker, p.speaker, n.speaker], null))), '[]')
          from (select t.memory_id, t.queued_at
                  from public.memories_to_embed t
                 where t.workspace_id = private.entered_workspace()
                 order by t.queued_at, t.memory_id
                 limit max_memories) q
          join public.memories m on m.id = q.memory_id
          -- Neighbours with the same readers only: what was said without proof is in no vector of a contact's, and what
          -- a member wrote in none that a contact compares with.
          left join public.memories p on p.id = m.previous_id and p.scope_id = m.scope_id and p.internal = m.internal
          left join lateral (select n.content, n.speaker
                               from public.memories n
                              where n.previous_id = m.id
                                and n.scope_id = m.scope_id
                                and n.internal = m.internal
                              order by n.valid_from, n.id
                              limit 1) n on true));
end;
$$;
comment on function public.memories_to_embed is 'The memories of a workspace that wait for their vectors, the oldest first, with the turns before and after them: {memories: [{id, queued_at, content, before, after, speakers}]}.';

create function public.store_embeddings(model text, embeddings jsonb)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    stored integer;
begin
    perform private.enter();
    -- One that was queued again has changed, or a turn beside it is gone.
    with known as (
        select m.id, m.workspace_id, q.queued_at, (g.item ->> 'vector')::extensions.halfvec as embedding
          from jsonb_array_elements(embeddings) g (item)
          join public.memories_to_embed q on q.memory_id = (g.item ->> 'id')::uuid and q.queued_at = (g.item ->> 'queued_at')::timestamptz
          join public.memories m on m.id = q.memory_id
           -- One that is forgotten at this moment is left out, and holds up no other.
           for key share of m skip locked
    ), made as (
        insert into public.memory_embeddings as e (memory_id, workspace_id, model, embedding)
        select k.id, k.workspace_id, store_embeddings.model, k.embedding from known k
        on conflict (memory_id) do update set model = excluded.model, embedding = excluded.embedding, created_at = clock_timestamp()
        returning e.memory_id
    ), done as (
        -- One whose text has changed meanwhile stays queued.
        delete from public.memories_to_embed q using known k where q.memory_id = k.id and q.queued_at = k.queued_at
    )
    select count(*) into stored from made;
    return jsonb_build_object('stored', stored);
end;
$$;
comment on function public.store_embeddings is 'Stores the vectors [{id, queued_at, vector}] that a model made, and takes their memories from the queue. Idempotent.';

create function public.queue_embeddings(workspace_id uuid, model text, after uuid default null, max_memories integer default 1000)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    page   uuid[];
    queued integer;
begin
    perform private.enter_workspace(workspace_id);
    page := array(select m.id
                    from public.memories m
                   where m.workspace_id = queue_embeddings.workspace_id
                     and (queue_embeddings.after is null or m.id > queue_embeddings.after)
                   order by m.id
                   limit max_memories);
    insert into public.memories_to_embed as q (memory_id, workspace_id)
    select i.id, queue_embeddings.workspace_id
      from unnest(page) i (id)
      left join public.memory_embeddings e on e.memory_id = i.id and e.model = queue_embeddings.model
     where e.memory_id is null
    on conflict (memory_id) do nothing;
    get diagnostics queued = row_count;
    if cardinality(page) > 0 then
        perform private.queue_embedding_job(queue_embeddings.workspace_id);
    end if;
    return jsonb_build_object('queued', queued, 'seen', cardinality(page), 'last', page[cardinality(page)]);
end;
$$;
comment on function public.queue_embeddings is 'Queues a workspace''s memories without a vector of this model, a page at a time in the order of their ids: {queued, seen, last}. For operators.';

create function public.embedding_progress(workspace_id uuid)
    returns jsonb language plpgsql stable set search_path = ''
as $$
begin
    if not exists (select from public.workspaces w where w.id = embedding_progress.workspace_id) then
        raise sqlstate 'PT404' using message = 'workspace_not_found';
    end if;
    return jsonb_build_object(
        'memories', (select count(*) from public.memories m where m.workspace_id = embedding_progress.workspace_id),
        'waiting', (select count(*) from public.memories_to_embed q where q.workspace_id = embedding_progress.workspace_id));
end;
$$;
comment on function public.embedding_progress is 'How many memories a workspace has, and how many of them wait for their vectors. For operators.';

create function private.memory_similarities(ids uuid[], embedding jsonb)
    returns table (memory_id uuid, similarity real) language plpgsql stable set search_path = ''
as $$
declare
    asked_model constant text               := embedding ->> 'model';
    asked       constant extensions.halfvec := (embedding ->> 'vector')::extensions.halfvec;
begin
    if asked_model is null then
        return;
    end if;
    return query
    select e.memory_id, -(e.embedding operator(extensions.<#>) asked)::real
      from public.memory_embeddings e
     where e.memory_id = any (ids)
       and e.model = asked_model;
end;
$$;
comment on function private.memory_similarities is 'How near memories are to {model, vector}: 1 for the same direction. Without those that have no vector of the model.';

create function private.nearest_memories(
    scope private.memory_scope, embedding jsonb, hits integer, kinds text[], since timestamptz, until timestamptz
)
    returns setof uuid language plpgsql stable
    -- The index goes on until enough memories pass the filter, or it has seen so many.
    set hnsw.iterative_scan = relaxed_order set hnsw.max_scan_tuples = 20000 set hnsw.ef_search = 100
    set plan_cache_mode = force_custom_plan set search_path = ''
as $$
declare
    asked_model constant text               := embedding ->> 'model';
    asked       constant extensions.halfvec := (embedding ->> 'vector')::extensions.halfvec;
begin
    return query
    select e.memory_id
      from public.memory_embeddings e
      join public.memories m on m.id = e.memory_id
     where e.workspace_id = scope.workspace_id
       and e.model = asked_model
       and m.workspace_id = scope.workspace_id
       and (scope.scope_ids is null or m.scope_id = any (scope.scope_ids))
       and (scope.persona_id is null or m.persona_id is null or m.persona_id = scope.persona_id)
       and (scope.includes_internal or not m.internal)
       and m.superseded_by is null
       and (m.expires_at is null or m.expires_at > now())
       and (kinds is null or m.kind = any (kinds))
       and (since is null or m.valid_from >= since)
       and (until is null or m.valid_from < until)
     order by e.embedding operator(extensions.<#>) asked
     limit hits;
end;
$$;
comment on function private.nearest_memories is 'The memories of a scope nearest to {model, vector}, by the index, which filters as it searches.';

grant execute on function
    public.memories_to_embed, public.store_embeddings
    to switchboard;

grant execute on function
    private.queue_embedding_job
    to service_role;

grant execute on function
    public.queue_embeddings, public.embedding_progress
    to service_role;

-- The policies are here because a server without pgvector leaves this file out.

-- Who may see the vectors of memories: only the functions, which make them.

grant select, insert, update on public.memory_embeddings to switchboard;
grant all on public.memory_embeddings to service_role;

create policy "Switchboard reads the workspace it entered"
    on public.memory_embeddings for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.memory_embeddings for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.memory_embeddings for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));

-- Who may see which memories wait for their vectors: only the functions.

grant select, delete on public.memories_to_embed to switchboard;
grant all on public.memories_to_embed to service_role;

create policy "Switchboard reads the workspace it entered"
    on public.memories_to_embed for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard takes out of the workspace it entered"
    on public.memories_to_embed for delete to switchboard
    using (workspace_id = (select private.entered_workspace()));
