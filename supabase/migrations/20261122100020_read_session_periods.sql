-- Asking for the statistics: kept months, days and hours, and what is counted now, put together for whoever may see them. It is
-- planned once on a connection: these are big statements, and a plan for each call's values takes longer than the call.

set lock_timeout = '5s';
set statement_timeout = '60s';

create function private.next_month(month timestamptz)
    returns timestamptz
    language plpgsql
    immutable
    set search_path = ''
as $$
begin
    return ((month at time zone 'UTC') + interval '1 month') at time zone 'UTC';
end;
$$;
comment on function private.next_month(timestamptz) is 'The beginning, in UTC, of the month after the one that begins then.';

create or replace function private.session_stats(workspace_id uuid, filters jsonb)
    returns jsonb
    language plpgsql
    stable
    security definer
    set search_path = ''
    set plan_cache_mode = force_generic_plan
    set jit = off
as $$
declare
    whole          constant boolean := workspace_id is not null and workspace_id in (select private.admin_workspaces());
    own            constant uuid[]  := case when not whole then array(select private.own_sessions()) end;
    from_day       constant date    := coalesce((filters ->> 'from')::date, date '-infinity');
    to_day         constant date    := coalesce((filters ->> 'to')::date, date 'infinity');
    since          constant timestamptz := from_day::timestamp at time zone 'UTC';
    before         constant timestamptz := (case when to_day < 'infinity' then to_day + 1 else to_day end)::timestamp at time zone 'UTC';
    wanted_persona constant uuid    := (filters ->> 'persona_id')::uuid;
    wanted_space   constant uuid    := (filters ->> 'space_id')::uuid;
    wanted_channel constant text    := filters ->> 'channel';
    narrowed       constant boolean := pg_catalog.num_nonnulls(wanted_persona, wanted_space, wanted_channel) > 0;
    -- Whole periods where all of them are asked for, their parts else.
    first_part     constant integer := case when narrowed then 1 else 0 end;
    last_part      constant integer := case when narrowed then 2147483647 else 0 end;
    -- Nothing is kept of anybody's own.
    hours_until    timestamptz   := timestamptz '-infinity';
    days_until     timestamptz   := timestamptz '-infinity';
    months_until   timestamptz   := timestamptz '-infinity';
    months_from    timestamptz;
    months_before  timestamptz;
    marked_hours   timestamptz[] := array[]::timestamptz[];
    marked_days    timestamptz[] := array[]::timestamptz[];
    marked_months  timestamptz[] := array[]::timestamptz[];
    kept_units     text[];
    kept_firsts    timestamptz[];
    kept_lasts     timestamptz[];
    live_firsts    timestamptz[];
    live_lasts     timestamptz[];
    active bigint;
    answer jsonb;
begin
    if whole then
        select p.hours_until, p.days_until, p.months_until into hours_until, days_until, months_until
          from private.session_stats_progress p
         where p.workspace_id = session_stats.workspace_id;
        if not found then
            hours_until := timestamptz '-infinity';
            days_until := timestamptz '-infinity';
            months_until := timestamptz '-infinity';
        end if;
        -- The days of a marked hour and their months are not what they were, either.
        marked_hours := array(
            select distinct m.hour
              from private.session_stats_marks m
             where m.workspace_id = session_stats.workspace_id
               and m.hour >= since
               and m.hour < least(before, hours_until));
        marked_days := array(
            select distinct pg_catalog.date_trunc('day', m.hour, 'UTC') from unnest(marked_hours) m (hour) where m.hour < days_until);
        marked_months := array(
            select distinct pg_catalog.date_trunc('month', m.day, 'UTC') from unnest(marked_days) m (day));
    end if;

    -- What is kept: all whole months, the days beside them and those of marked months, and the newest hours.
    months_before := least(pg_catalog.date_trunc('month', before, 'UTC'), months_until);
    months_from := pg_catalog.date_trunc('month', since, 'UTC');
    if months_from < since then
        months_from := private.next_month(months_from);
    end if;
    months_from := least(months_from, months_before);
    if months_from = months_before then
        months_from := since;
        months_before := since;
    end if;
    select coalesce(pg_catalog.array_agg(k.unit), '{}'), coalesce(pg_catalog.array_agg(k.first), '{}'), coalesce(pg_catalog.array_agg(k.last), '{}')
      into kept_units, kept_firsts, kept_lasts
      from (select 'month' as unit, months_from as first, months_before as last
             union all
            select 'day', since, least(months_from, days_until)
             union all
            select 'day', months_before, least(before, days_until)
             union all
            select 'day', m.month, private.next_month(m.month)
              from unnest(marked_months) m (month)
             where m.month >= months_from
               and m.month < months_before
             union all
            select 'hour', greatest(since, days_until), least(before, hours_until)) k
     where k.first < k.last;
    -- What is counted now: marked days, marked hours, and what is not kept yet.
    select coalesce(pg_catalog.array_agg(l.first), '{}'), coalesce(pg_catalog.array_agg(l.last), '{}')
      into live_firsts, live_lasts
      from (select m.day as first, m.day + interval '24 hours' as last
              from unnest(marked_days) m (day)
             union all
            select m.hour, m.hour + interval '1 hour'
              from unnest(marked_hours) m (hour)
             where m.hour >= days_until
             union all
            select greatest(since, hours_until), before) l
     where l.first < l.last;

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
         where s.id = any (own)
           and s.status = 'active'
           and (session_stats.workspace_id is null or s.workspace_id = session_stats.workspace_id)
           and (wanted_persona is null or s.persona_id = wanted_persona)
           and (wanted_space is null or c.space_id = wanted_space)
           and (wanted_channel is null or c.channel = wanted_channel);
    end if;

    with live as materialized (
        select c.*
          from private.count_sessions(session_stats.workspace_id, live_firsts, live_lasts, own, wanted_persona, wanted_space, wanted_channel) c
    ), kept as materialized (
        select k.*
          from unnest(kept_units, kept_firsts, kept_lasts) p (unit, first, last)
         cross join lateral (
             select k.*
               from public.session_stats_periods k
              where k.workspace_id = session_stats.workspace_id
                and k.unit = p.unit
                and k.starts_at >= p.first
                and k.starts_at < p.last
             offset 0) k
         where k.starts_at <> all (case k.unit when 'month' then marked_months when 'day' then marked_days else marked_hours end)
           and (k.part = 0
                or ((wanted_persona is null or k.persona_id = wanted_persona)
                    and (wanted_space is null or k.space_id = wanted_space)
                    and (wanted_channel is null or k.channel = wanted_channel)))
    ), totals as materialized (
        select k.* from kept k where k.part between first_part and last_part
         union all
        select l.* from live l where l.unit is null and l.part = 0
    ), parts as materialized (
        select k.* from kept k where k.part > 0 and k.sessions > 0
         union all
        select l.* from live l where l.unit is null and l.part > 0 and l.sessions > 0
    ), days as (
        (select k.starts_at, pg_catalog.sum(k.sessions) as sessions, pg_catalog.sum(k.ended) as ended, pg_catalog.sum(k.completed) as completed,
                pg_catalog.sum(k.turns) as turns, pg_catalog.sum(k.responses) as responses, pg_catalog.sum(k.response_ms) as response_ms,
                pg_catalog.sum(k.registered) as registered, pg_catalog.sum(k.chatted) as chatted, pg_catalog.sum(k.answered) as answered,
                pg_catalog.sum(k.proposed) as proposed
           from public.session_stats_periods k
          where k.workspace_id = session_stats.workspace_id
            and k.unit = 'day'
            and k.starts_at >= since
            and k.starts_at < least(before, days_until)
            and k.starts_at <> all (marked_days)
            and k.part between first_part and last_part
            and (wanted_persona is null or k.persona_id = wanted_persona)
            and (wanted_space is null or k.space_id = wanted_space)
            and (wanted_channel is null or k.channel = wanted_channel)
          group by k.starts_at
          order by k.starts_at desc
          limit 366)
         union all
        select pg_catalog.date_trunc('day', k.starts_at, 'UTC'), k.sessions, k.ended, k.completed, k.turns, k.responses, k.response_ms,
               k.registered, k.chatted, k.answered, k.proposed
          from kept k
         where k.unit = 'hour'
           and k.part between first_part and last_part
         union all
        select l.starts_at, l.sessions, l.ended, l.completed, l.turns, l.responses, l.response_ms, l.registered, l.chatted, l.answered, l.proposed
          from live l
         where l.unit = 'day'
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
                     from (select (t.starts_at at time zone 'UTC')::date as day, pg_catalog.sum(t.registered) as registered, pg_catalog.sum(t.chatted) as chatted,
                                  pg_catalog.sum(t.answered) as answered, pg_catalog.sum(t.proposed) as proposed,
                                  pg_catalog.sum(t.sessions) as sessions, pg_catalog.sum(t.ended) as ended, pg_catalog.sum(t.completed) as completed,
                                  pg_catalog.sum(t.turns) as turns, pg_catalog.sum(t.responses) as responses, pg_catalog.sum(t.response_ms) as response_ms
                             from days t
                            group by t.starts_at
                            order by t.starts_at desc
                            limit 366) g))
      into answer
      from sums s;
    return answer;
end;
$$;
comment on function private.session_stats(uuid, jsonb) is
    'The figures of a workspace for its owners and admins; for everybody else those of their own and assigned sessions in it, or in all workspaces.';
