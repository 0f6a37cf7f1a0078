-- Asking for the statistics: kept days and counted ones, put together for whoever may see them.

set lock_timeout = '5s';
set statement_timeout = '60s';

create function private.describe_latency(turns bigint, total_ms bigint, buckets integer[], counts bigint[])
    returns jsonb
    language plpgsql
    immutable
    set search_path = ''
as $$
declare
    p50 double precision;
    p95 double precision;
begin
    -- The middle of the bucket in which the value of that rank lies: at most 4.9 % beside it.
    select min(b.middle) filter (where b.upto >= pg_catalog.ceil(0.50 * turns)),
           min(b.middle) filter (where b.upto >= pg_catalog.ceil(0.95 * turns))
      into p50, p95
      from (select case when h.bucket = 0 then 0 else pg_catalog.power(1.1::float8, h.bucket - 0.5) end as middle,
                   pg_catalog.sum(h.n) over (order by h.bucket) as upto
              from unnest(buckets, counts) h (bucket, n)) b;
    return pg_catalog.jsonb_build_object(
        'count', turns, 'average', pg_catalog.round(total_ms / nullif(turns, 0)::numeric, 1),
        'p50', pg_catalog.round(p50::numeric, 1), 'p95', pg_catalog.round(p95::numeric, 1));
end;
$$;
comment on function private.describe_latency(bigint, bigint, integer[], bigint[]) is
    'A histogram''s count, average and percentiles in milliseconds; null where nothing was counted.';

create function private.rate(part numeric, whole numeric)
    returns numeric
    language plpgsql
    immutable
    set search_path = ''
as $$
begin
    return pg_catalog.round(part / nullif(whole, 0), 4);
end;
$$;
comment on function private.rate(numeric, numeric) is 'How much of the whole a part is, to four places; null of nothing.';

create function private.describe_part(sessions numeric, ended numeric, completed numeric, turns numeric, responses numeric, response_ms numeric)
    returns jsonb
    language plpgsql
    immutable
    set search_path = ''
as $$
begin
    return pg_catalog.jsonb_build_object(
        'sessions', sessions, 'ended', ended, 'success_rate', private.rate(completed, ended), 'turns', turns,
        'response_ms', pg_catalog.round(response_ms / nullif(responses, 0), 1));
end;
$$;
comment on function private.describe_part(numeric, numeric, numeric, numeric, numeric, numeric) is
    'The figures of a day, a persona or a space; response_ms is the average.';

create function private.session_stats(workspace_id uuid, filters jsonb)
    returns jsonb
    language plpgsql
    stable
    security definer
    set search_path = ''
as $$
declare
    whole          constant boolean := workspace_id is not null and workspace_id in (select private.admin_workspaces());
    from_day       constant date    := coalesce((filters ->> 'from')::date, date '-infinity');
    to_day         constant date    := coalesce((filters ->> 'to')::date, date 'infinity');
    wanted_persona constant uuid    := (filters ->> 'persona_id')::uuid;
    wanted_space   constant uuid    := (filters ->> 'space_id')::uuid;
    wanted_channel constant text    := filters ->> 'channel';
    narrowed       constant boolean := pg_catalog.num_nonnulls(wanted_persona, wanted_space, wanted_channel) > 0;
    until_day date   := date '-infinity';
    marked    date[] := array[]::date[];
    newest    date;
    firsts    date[];
    lasts     date[];
    active    bigint;
    answer    jsonb;
begin
    if whole then
        select coalesce(pg_catalog.max(p.counted_until), date '-infinity') into until_day
          from private.session_stats_progress p
         where p.workspace_id = session_stats.workspace_id;
        select coalesce(pg_catalog.array_agg(distinct m.day), '{}') into marked
          from private.session_stats_marks m
         where m.workspace_id = session_stats.workspace_id
           and m.day between from_day and least(to_day, until_day);
    end if;
    -- What is counted now: the newest days with the marked ones that adjoin them, and every other stretch of marked days.
    newest := greatest(until_day + 1, from_day);
    while newest - 1 = any (marked) loop
        newest := newest - 1;
    end loop;
    select coalesce(pg_catalog.array_agg(r.first_day), '{}'), coalesce(pg_catalog.array_agg(r.last_day), '{}') into firsts, lasts
      from (select newest as first_day, to_day as last_day
             where newest <= to_day
             union all
            select pg_catalog.min(m.day), pg_catalog.max(m.day)
              from (select m.day, m.day - pg_catalog.row_number() over (order by m.day)::integer as stretch
                      from unnest(marked) m (day)
                     where m.day < newest) m
             group by m.stretch) r;

    if whole then
        select pg_catalog.count(*) into active
          from public.sessions s
         where s.workspace_id = session_stats.workspace_id
           and s.status = 'active'
           and (wanted_persona is null or s.persona_id = wanted_persona)
           and (pg_catalog.num_nonnulls(wanted_space, wanted_channel) = 0
                or exists (select
                             from public.conversations c
                            where c.id = s.conversation_id
                              and (wanted_space is null or c.space_id = wanted_space)
                              and (wanted_channel is null or c.channel = wanted_channel)));
    else
        select pg_catalog.count(*) into active
          from public.sessions s
          join public.conversations c on c.id = s.conversation_id
         where s.id in (select private.own_sessions())
           and s.status = 'active'
           and (session_stats.workspace_id is null or s.workspace_id = session_stats.workspace_id)
           and (wanted_persona is null or s.persona_id = wanted_persona)
           and (wanted_space is null or c.space_id = wanted_space)
           and (wanted_channel is null or c.channel = wanted_channel);
    end if;

    with live as materialized (
        select d.*
          from unnest(firsts, lasts) r (first_day, last_day)
         cross join lateral private.count_session_days(session_stats.workspace_id, r.first_day, r.last_day, not whole) d
         where (not narrowed or d.part > 0)
           and (wanted_persona is null or d.persona_id = wanted_persona)
           and (wanted_space is null or d.space_id = wanted_space)
           and (wanted_channel is null or d.channel = wanted_channel)
    ), totals as materialized (
        -- Whole days where all of them are asked for, their parts else.
        select d.*
          from public.session_stats_daily d
         where whole
           and d.workspace_id = session_stats.workspace_id
           and d.day between from_day and least(to_day, until_day)
           and d.day <> all (marked)
           and not narrowed
           and d.part = 0
         union all
        select d.*
          from public.session_stats_daily d
         where whole
           and d.workspace_id = session_stats.workspace_id
           and d.day between from_day and least(to_day, until_day)
           and d.day <> all (marked)
           and narrowed
           and d.part > 0
           and (wanted_persona is null or d.persona_id = wanted_persona)
           and (wanted_space is null or d.space_id = wanted_space)
           and (wanted_channel is null or d.channel = wanted_channel)
         union all
        select l.* from live l where narrowed or l.part = 0
    ), parts as materialized (
        select d.persona_id, d.space_id, pg_catalog.sum(d.sessions) as sessions, pg_catalog.sum(d.ended) as ended,
               pg_catalog.sum(d.completed) as completed, pg_catalog.sum(d.turns) as turns,
               pg_catalog.sum(d.responses) as responses, pg_catalog.sum(d.response_ms) as response_ms
          from public.session_stats_daily d
         where whole
           and d.workspace_id = session_stats.workspace_id
           and d.day between from_day and least(to_day, until_day)
           and d.day <> all (marked)
           and d.part > 0
           and d.sessions > 0
           and (wanted_persona is null or d.persona_id = wanted_persona)
           and (wanted_space is null or d.space_id = wanted_space)
           and (wanted_channel is null or d.channel = wanted_channel)
         group by d.persona_id, d.space_id
         union all
        select l.persona_id, l.space_id, l.sessions, l.ended, l.completed, l.turns, l.responses, l.response_ms
          from live l
         where l.part > 0
           and l.sessions > 0
    ), response as (
        select pg_catalog.array_agg(h.bucket) as buckets, pg_catalog.array_agg(h.n) as counts
          from (select b.bucket::integer, pg_catalog.sum(b.n) as n
                  from totals t
                 cross join lateral unnest(t.response_buckets, t.response_counts) b (bucket, n)
                 group by b.bucket) h
    ), first_token as (
        select pg_catalog.array_agg(h.bucket) as buckets, pg_catalog.array_agg(h.n) as counts
          from (select b.bucket::integer, pg_catalog.sum(b.n) as n
                  from totals t
                 cross join lateral unnest(t.first_token_buckets, t.first_token_counts) b (bucket, n)
                 group by b.bucket) h
    ), maps as (
        select h.what, pg_catalog.jsonb_object_agg(h.key, h.n) as map
          from (select m.what, e.key, pg_catalog.sum(e.value::bigint) as n
                  from totals t
                 cross join lateral (values ('statuses', t.statuses), ('steps', t.steps), ('turn_statuses', t.turn_statuses),
                                            ('failures', t.failures)) m (what, map)
                 cross join lateral pg_catalog.jsonb_each_text(m.map) e
                 group by m.what, e.key) h
         group by h.what
    ), sums as (
        select coalesce(pg_catalog.sum(t.sessions), 0) as sessions, coalesce(pg_catalog.sum(t.ended), 0) as ended,
               pg_catalog.sum(t.completed) as completed, coalesce(pg_catalog.sum(t.turns), 0) as turns,
               coalesce(pg_catalog.sum(t.responses), 0)::bigint as responses, coalesce(pg_catalog.sum(t.response_ms), 0)::bigint as response_ms,
               coalesce(pg_catalog.sum(t.first_tokens), 0)::bigint as first_tokens, coalesce(pg_catalog.sum(t.first_token_ms), 0)::bigint as first_token_ms,
               coalesce(pg_catalog.sum(t.registered), 0) as registered, coalesce(pg_catalog.sum(t.chatted), 0) as chatted,
               coalesce(pg_catalog.sum(t.answered), 0) as answered, coalesce(pg_catalog.sum(t.proposed), 0) as proposed
          from totals t
    )
    select pg_catalog.jsonb_build_object(
               'workspace_id', session_stats.workspace_id,
               'scope', case when whole then 'workspace' else 'own' end,
               'from', nullif(from_day, '-infinity'),
               'to', nullif(to_day, 'infinity'),
               'active_now', active,
               'sessions', pg_catalog.jsonb_build_object(
                   'total', s.sessions, 'by_status', coalesce((select m.map from maps m where m.what = 'statuses'), '{}'),
                   'by_step', coalesce((select m.map from maps m where m.what = 'steps'), '{}'),
                   'ended', s.ended, 'success_rate', private.rate(s.completed, s.ended)),
               'turns', pg_catalog.jsonb_build_object(
                   'total', s.turns, 'by_status', coalesce((select m.map from maps m where m.what = 'turn_statuses'), '{}'),
                   'failures', coalesce((select m.map from maps m where m.what = 'failures'), '{}')),
               'response_ms', (select private.describe_latency(s.responses, s.response_ms, h.buckets, h.counts) from response h),
               'first_token_ms', (select private.describe_latency(s.first_tokens, s.first_token_ms, h.buckets, h.counts) from first_token h),
               'funnel', pg_catalog.jsonb_build_object(
                   'registered', s.registered, 'chatted', s.chatted, 'answered', s.answered, 'proposal', s.proposed),
               'by_persona', (
                   select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('id', g.persona_id) || g.figures order by g.n desc, g.persona_id), '[]')
                     from (select p.persona_id, pg_catalog.sum(p.sessions) as n,
                                  private.describe_part(pg_catalog.sum(p.sessions), pg_catalog.sum(p.ended), pg_catalog.sum(p.completed), pg_catalog.sum(p.turns),
                                                        pg_catalog.sum(p.responses), pg_catalog.sum(p.response_ms)) as figures
                             from parts p
                            group by p.persona_id
                            order by n desc, p.persona_id
                            limit 100) g),
               'by_space', (
                   select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('id', g.space_id) || g.figures order by g.n desc, g.space_id), '[]')
                     from (select p.space_id, pg_catalog.sum(p.sessions) as n,
                                  private.describe_part(pg_catalog.sum(p.sessions), pg_catalog.sum(p.ended), pg_catalog.sum(p.completed), pg_catalog.sum(p.turns),
                                                        pg_catalog.sum(p.responses), pg_catalog.sum(p.response_ms)) as figures
                             from parts p
                            group by p.space_id
                            order by n desc, p.space_id
                            limit 100) g),
               'by_day', (
                   select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                              'day', g.day, 'registered', g.registered, 'chatted', g.chatted, 'answered', g.answered, 'proposal', g.proposed,
                              'sessions', g.sessions, 'ended', g.ended, 'turns', g.turns,
                              'success_rate', pg_catalog.round(g.completed / nullif(g.ended, 0)::numeric, 4),
                              'response_ms', pg_catalog.round(g.response_ms / nullif(g.responses, 0)::numeric, 1)) order by g.day), '[]')
                     from (select t.day, pg_catalog.sum(t.registered) as registered, pg_catalog.sum(t.chatted) as chatted,
                                  pg_catalog.sum(t.answered) as answered, pg_catalog.sum(t.proposed) as proposed,
                                  pg_catalog.sum(t.sessions) as sessions, pg_catalog.sum(t.ended) as ended, pg_catalog.sum(t.completed) as completed,
                                  pg_catalog.sum(t.turns) as turns, pg_catalog.sum(t.responses) as responses, pg_catalog.sum(t.response_ms) as response_ms
                             from totals t
                            group by t.day
                            order by t.day desc
                            limit 366) g))
      into answer
      from sums s;
    return answer;
end;
$$;
comment on function private.session_stats(uuid, jsonb) is
    'The figures of a workspace for its owners and admins; for everybody else those of their own and assigned sessions in it, or in all workspaces.';

create function public.read_session_stats(workspace_id uuid default null, filters jsonb default '{}')
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    workspaces constant uuid[] := array(select private.member_workspaces());
    stats jsonb;
begin
    if workspace_id is null and pg_catalog.cardinality(workspaces) > 1 then
        raise sqlstate 'PT422' using message = 'workspace_required', detail = 'You are a member of several workspaces.';
    end if;
    stats := private.session_stats(coalesce(workspace_id, workspaces[1]), filters);
    -- Names come along where the reader may see them.
    return stats || pg_catalog.jsonb_build_object(
        'by_persona', (select coalesce(pg_catalog.jsonb_agg(g.item || pg_catalog.jsonb_build_object('name', p.name) order by g.place), '[]')
                         from pg_catalog.jsonb_array_elements(stats -> 'by_persona') with ordinality g (item, place)
                         left join public.personas p on p.id = (g.item ->> 'id')::uuid),
        'by_space', (select coalesce(pg_catalog.jsonb_agg(g.item || pg_catalog.jsonb_build_object('name', s.name) order by g.place), '[]')
                       from pg_catalog.jsonb_array_elements(stats -> 'by_space') with ordinality g (item, place)
                       left join public.spaces s on s.id = (g.item ->> 'id')::uuid));
end;
$$;
comment on function public.read_session_stats(uuid, jsonb) is
    'Figures over sessions: a workspace''s for its owners and admins, else those of the sessions that the caller may read.';

grant execute on function private.session_stats(uuid, jsonb), public.read_session_stats(uuid, jsonb) to authenticated;
