-- Generated from supabase/schemas/67_recall.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- Recall: the memories that fit a text, of those that the caller may know.
--
-- A memory is found by its words, by its vector and by its neighbours. Everything is filtered before it is ranked, and a
-- word's rarity is counted in the caller's scope only. A small scope is compared as a whole. In a large one the indexes
-- choose candidates: the rarest words, the nearest vectors, and the turns around both. docs/memory.md has the weights.

-- A server without pgvector has no vectors: its recall is by words.
do $$
begin
    if to_regclass('public.memory_embeddings') is null then
        create function private.memory_similarities(ids uuid[], embedding jsonb)
            returns table (memory_id uuid, similarity real) language sql stable set search_path = ''
        as $none$
            select null::uuid, null::real where false;
        $none$;
        comment on function private.memory_similarities is 'Nothing: this server has no pgvector.';

        create function private.nearest_memories(
            scope private.memory_scope, embedding jsonb, hits integer, kinds text[], since timestamptz, until timestamptz
        )
            returns setof uuid language sql stable set search_path = ''
        as $none$
            select null::uuid where false;
        $none$;
        comment on function private.nearest_memories is 'Nothing: this server has no pgvector.';
    end if;
end
$$;

create function private.memories_in_scope(
    scope private.memory_scope, most integer, kinds text[], since timestamptz, until timestamptz
)
    returns setof uuid language plpgsql stable set plan_cache_mode = force_custom_plan set search_path = ''
as $$
begin
    return query
    select m.id
      from public.memories m
     where m.workspace_id = scope.workspace_id
       and (scope.scope_ids is null or m.scope_id = any (scope.scope_ids))
       and (scope.persona_id is null or m.persona_id is null or m.persona_id = scope.persona_id)
       and (scope.includes_internal or not m.internal)
       and m.superseded_by is null
       and (m.expires_at is null or m.expires_at > now())
       and (kinds is null or m.kind = any (kinds))
       and (since is null or m.valid_from >= since)
       and (until is null or m.valid_from < until)
     limit most;
end;
$$;
comment on function private.memories_in_scope is 'Memories that a recall may return, at most so many.';

create function private.memories_with_words(
    scope private.memory_scope, asked text[], hits integer, kinds text[], since timestamptz, until timestamptz
)
    returns setof uuid language plpgsql stable
    -- Of a word that is in more memories than this, the index returns some.
    set gin_fuzzy_search_limit = 5000
    set plan_cache_mode = force_custom_plan set search_path = ''
as $$
declare
    most constant integer := 500;
begin
    return query
    with found as materialized (
        select array(
            select m.id
              from public.memories m
             where private.word_keys(m.workspace_id, tsvector_to_array(m.words)) @> private.word_keys(scope.workspace_id, array[a.word])
               and m.workspace_id = scope.workspace_id
               and (scope.scope_ids is null or m.scope_id = any (scope.scope_ids))
               and (scope.persona_id is null or m.persona_id is null or m.persona_id = scope.persona_id)
               and (scope.includes_internal or not m.internal)
               and m.superseded_by is null
               and (m.expires_at is null or m.expires_at > now())
               and (kinds is null or m.kind = any (kinds))
               and (since is null or m.valid_from >= since)
               and (until is null or m.valid_from < until)
             limit most) as ids
          from unnest(asked) a (word)
    ), weighted as materialized (
        select f.ids, 1.0 / nullif(cardinality(f.ids), 0) as weight from found f
    )
    select i.id
      from weighted w
     cross join unnest(w.ids) i (id)
     group by i.id
     -- The rarest words first: a word of every memory says nothing.
     order by sum(w.weight) desc, i.id
     limit hits;
end;
$$;
comment on function private.memories_with_words is 'The memories of a large scope that have the rarest of these words, by the index. Of a word in more than 500 of them, some are compared.';

create function private.recall_candidates(
    scope private.memory_scope, asked text[], embedding jsonb, hits integer, kinds text[], since timestamptz, until timestamptz
)
    returns uuid[] language plpgsql stable set search_path = ''
as $$
declare
    -- So many are compared without choosing.
    small    constant integer := 2000;
    seeds    constant integer := greatest(100, 2 * hits);
    ids      uuid[]           := array(select private.memories_in_scope(scope, small + 1, kinds, since, until));
    around   uuid[]           := array[]::uuid[];
    frontier uuid[];
begin
    if cardinality(ids) <= small then
        return ids;
    end if;
    -- Enough to be full; then what fits.
    ids := ids[:hits]
           || array(select private.memories_with_words(scope, asked, seeds, kinds, since, until))
           || case when embedding is not null
                   then array(select private.nearest_memories(scope, embedding, seeds, kinds, since, until)) end;
    ids      := array(select distinct i.id from unnest(ids) i (id));
    frontier := ids;
    for step in 1..2 loop
        frontier := array(select m.previous_id from public.memories m where m.id = any (frontier) and m.previous_id is not null
                           union
                          select m.id from public.memories m where m.previous_id = any (frontier)
                          except
                          select i.id from unnest(ids || around) i (id));
        around   := around || frontier;
    end loop;
    -- The others are of the scope: they have passed the same conditions.
    return ids || array(select m.id
                          from public.memories m
                         where m.id = any (around)
                           and m.workspace_id = scope.workspace_id
                           and (scope.scope_ids is null or m.scope_id = any (scope.scope_ids))
                           and (scope.persona_id is null or m.persona_id is null or m.persona_id = scope.persona_id)
                           and (scope.includes_internal or not m.internal)
                           and m.superseded_by is null
                           and (m.expires_at is null or m.expires_at > now())
                           and (kinds is null or m.kind = any (kinds))
                           and (since is null or m.valid_from >= since)
                           and (until is null or m.valid_from < until));
end;
$$;
comment on function private.recall_candidates is 'The memories that a recall compares: all of a small scope; of a large one, those with the rarest words, the nearest ones, and two turns around each.';

create function private.date_words(query text[])
    returns text[] language plpgsql immutable set search_path = ''
as $$
declare
    -- Without their English endings, as words are compared.
    months constant text[] := array['januari', 'februari', 'march', 'april', 'may', 'june', 'juli', 'august', 'septemb', 'octob', 'novemb', 'decemb'];
    named  constant text[] := array(select w.word from unnest(query) w (word) where w.word = any (months));
    years  constant text[] := array(select w.word from unnest(query) w (word) where w.word ~ '^(19|20)\d\d$');
begin
    return named || years
        || case when cardinality(named) > 0
                then array(select w.word from unnest(query) w (word) where w.word ~ '^([1-9]|[12]\d|3[01])$') end;
end;
$$;
comment on function private.date_words is 'The months, years and, beside a month, days that a question names.';

create function private.date_match(dates text[], moment timestamptz)
    returns real language plpgsql stable set search_path = ''
as $$
declare
    day constant timestamp := moment at time zone 'UTC';
    own constant text[]    := array[
        to_char(day, 'FMDD'), to_char(day, 'YYYY'),
        (ts_lexize('pg_catalog.english_stem'::regdictionary, to_char(day, 'FMmonth')))[1]];
begin
    return (select count(*) filter (where d.word = any (own))::real / count(*) from unnest(dates) d (word));
end;
$$;
comment on function private.date_match is 'The share of a question''s date that the moment has, 0 to 1.';

create function private.score_memories(ids uuid[], query text, embedding jsonb, hits integer, min_score real)
    returns table (id uuid, kind text, content text, valid_from timestamptz, score real, reasons jsonb)
    language plpgsql stable
    -- Making a plan for each call takes longer than comparing a few dozen memories.
    set plan_cache_mode = force_generic_plan set search_path = ''
as $$
declare
    asked constant text[] := tsvector_to_array(private.memory_words(query));
    dates constant text[] := private.date_words(asked);
begin
    return query
    with asked_words as materialized (
        select w.word, ('''' || replace(replace(w.word, '\', '\\'), '''', '''''') || '''')::tsquery as found from unnest(asked) w (word)
    ), compared as materialized (
        select m.id, m.scope_id, m.session_id, m.previous_id, m.valid_from, m.importance, m.speaker,
               array(select w.word from asked_words w where m.words @@ w.found) as words,
               s.similarity,
               right(rtrim(m.content), 1) in ('?', '？', '؟') as is_question,
               case when cardinality(dates) > 0 then private.date_match(dates, m.valid_from) else 0 end as date_match
          from public.memories m
          left join private.memory_similarities(ids, embedding) s on s.memory_id = m.id
         where m.id = any (ids)
    ), speakers as materialized (
        select s.speaker, n.words
          -- Distinct first: a dialogue has few speakers.
          from (select distinct c.speaker from compared c where c.speaker is not null offset 0) s
         cross join lateral (select tsvector_to_array(private.memory_words(s.speaker)) as words offset 0) n
         where n.words && asked
    ), rarity as materialized (
        select f.word, ln(1 + (cardinality(ids) - count(*) + 0.5) / (count(*) + 0.5)) as weight
          from compared c
         cross join unnest(c.words) f (word)
         -- Of the words that name a speaker, only that they do counts.
         where f.word not in (select unnest(s.words) from speakers s)
         group by f.word
    -- Materialized: what a window compares would be computed again for each of its rows.
    ), worded as materialized (
        select c.*,
               c.speaker in (select s.speaker from speakers s) as is_named,
               coalesce((select sum(r.weight) from rarity r where r.word = any (c.words))
                        / nullif((select sum(r.weight) from rarity r), 0), 0) as lexical
          from compared c
    ), linked as (
        select w.*,
               case when w.previous_id = lag(w.id) over chain then lag(w.lexical) over chain else 0 end as before,
               case when w.previous_id = lag(w.id) over chain and lag(w.previous_id) over chain = lag(w.id, 2) over chain
                    then lag(w.lexical, 2) over chain else 0 end as before_that,
               case when w.id = lead(w.previous_id) over chain then lead(w.lexical) over chain else 0 end as after,
               case when w.id = lead(w.previous_id) over chain and lead(w.id) over chain = lead(w.previous_id, 2) over chain
                    then lead(w.lexical, 2) over chain else 0 end as after_that
          from worded w
        window chain as (partition by w.scope_id, w.session_id order by w.valid_from, w.id)
    ), scored as materialized (
        select l.*,
               (0.3 * (l.lexical + 0.5 * l.before + 0.3 * l.before_that + 0.2 * l.after + 0.2 * l.after_that)
                -- One without a vector is taken for an average one.
                + 0.7 * coalesce(l.similarity, (select avg(c.similarity) from compared c), 0)
                + 0.08 * coalesce(l.is_named, false)::integer
                - 0.1 * l.is_question::integer
                + 0.4 * l.date_match
                + 0.1 * (l.importance - 0.5)) as fit
          from linked l
    ), placed as (
        -- What fits among others that fit is on their subject.
        select s.*, (s.fit + 0.2 * avg(s.fit) over around)::real as score
          from scored s
        window around as (partition by s.scope_id, s.session_id order by s.valid_from, s.id
                          rows between 10 preceding and 10 following)
    )
    select m.id, m.kind, m.content, m.valid_from, s.score,
           jsonb_strip_nulls(jsonb_build_object(
               'words', nullif(to_jsonb(array(select w.word from unnest(s.words) w (word) where w.word in (select r.word from rarity r))), '[]'),
               'similarity', round(s.similarity::numeric, 3),
               'neighbour', nullif(s.before + s.before_that + s.after + s.after_that > 0, false),
               'speaker', case when s.is_named then m.speaker end,
               'date', nullif(s.date_match > 0, false)))
      from (select * from placed c
             where min_score is null or c.score >= min_score
             order by c.score desc, c.id
             limit hits) s
      join public.memories m on m.id = s.id
     order by s.score desc, s.id;
end;
$$;
comment on function private.score_memories is 'Ranks memories by how they fit a text, with the reasons: the words of it that they have, how near their vector is, whether the turns around them have words of it, whether it names their speaker or day, and how the memories around them fit. A question is a worse answer than another memory.';

create function private.recall(
    scope     private.memory_scope,
    query     text,
    embedding jsonb,
    hits      integer,
    kinds     text[]      default null,
    since     timestamptz default null,
    until     timestamptz default null,
    min_score real        default null
)
    returns table (id uuid, kind text, content text, valid_from timestamptz, score real, reasons jsonb)
    language plpgsql stable security definer set search_path = ''
as $$
declare
    ids uuid[];
begin
    if scope.workspace_id is distinct from private.entered_workspace() then
        raise sqlstate 'PT403' using message = 'forbidden';
    end if;
    ids := private.recall_candidates(scope, tsvector_to_array(private.memory_words(query)), embedding, hits, kinds, since, until);
    return query
    select s.id, s.kind, s.content, s.valid_from, s.score, s.reasons
      from private.score_memories(ids, query, embedding, hits, min_score) s;
end;
$$;
comment on function private.recall is 'The memories of a scope that fit a text best, at most so many hits. embedding: {model, vector} of the text; without it the text''s words decide alone. Optional: kinds, since and until (when it was said or holds from), min_score.';

create function public.recall_memories(
    query        text,
    embedding    jsonb       default null,
    workspace_id uuid        default null,
    contact_id   uuid        default null,
    persona_id   uuid        default null,
    session_id   uuid        default null,
    kinds        text[]      default null,
    since        timestamptz default null,
    until        timestamptz default null,
    min_score    real        default null,
    max_memories integer     default 10
)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    scope constant private.memory_scope := private.enter_memory_scope(workspace_id, contact_id, persona_id, session_id);
begin
    return jsonb_build_object('memories', (
        select coalesce(jsonb_agg(private.describe_memory(m) || jsonb_build_object('score', r.score, 'reasons', r.reasons)
                                  order by r.score desc, r.id), '[]')
          from private.recall(scope, query, embedding, max_memories, kinds, since, until, min_score) r
          join public.memories m on m.id = r.id));
end;
$$;
comment on function public.recall_memories is 'The memories that fit a text best, of those that the caller may know, the best first: {memories: [{id, …, score, reasons}]}. Of the session or contact that is named, or else of the caller''s own conversation; members who name neither search all that they see. embedding: {model, vector} of the text, without which its words decide alone.';

grant execute on function
    private.recall, public.recall_memories
    to switchboard;
