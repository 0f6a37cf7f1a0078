-- Keeping the hours, days and months that are over, and counting anew those in which something changed.

set lock_timeout = '5s';
set statement_timeout = '60s';

create function private.sum_session_days(workspace_id uuid, month timestamptz)
    returns setof public.session_stats_periods
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return query
    with cells as (
        select k.part = 0 as whole, k.persona_id, k.space_id, k.channel, c.what, c.key, pg_catalog.sum(c.n)::bigint as n
          from public.session_stats_periods k
         cross join lateral (
             select v.what, '' as key, v.n
               from (values ('sessions', k.sessions), ('ended', k.ended), ('completed', k.completed), ('turns', k.turns),
                            ('responses', k.responses), ('response_ms', k.response_ms), ('first_tokens', k.first_tokens),
                            ('first_token_ms', k.first_token_ms), ('registered', k.registered), ('chatted', k.chatted),
                            ('answered', k.answered), ('proposed', k.proposed)) v (what, n)
              union all
             select m.what, e.key, e.value::bigint
               from (values ('status', k.statuses), ('step', k.steps), ('turn', k.turn_statuses), ('failure', k.failures)) m (what, map)
              cross join lateral pg_catalog.jsonb_each_text(m.map) e
              union all
             select 'response', b.bucket::text, b.n from unnest(k.response_buckets, k.response_counts) b (bucket, n)
              union all
             select 'first_token', b.bucket::text, b.n from unnest(k.first_token_buckets, k.first_token_counts) b (bucket, n)) c
         where k.workspace_id = sum_session_days.workspace_id
           and k.unit = 'day'
           and k.starts_at >= month
           and k.starts_at < private.next_month(month)
         group by k.part = 0, k.persona_id, k.space_id, k.channel, c.what, c.key
    )
    select sum_session_days.workspace_id, 'month', month,
           case when c.whole then 0
                else pg_catalog.row_number() over (partition by c.whole order by c.persona_id, c.space_id, c.channel) end::integer,
           c.persona_id, c.space_id, c.channel,
           (pg_catalog.sum(c.n) filter (where c.what = 'sessions'))::integer,
           (pg_catalog.sum(c.n) filter (where c.what = 'ended'))::integer,
           (pg_catalog.sum(c.n) filter (where c.what = 'completed'))::integer,
           coalesce(pg_catalog.jsonb_object_agg(c.key, c.n) filter (where c.what = 'status'), '{}'),
           coalesce(pg_catalog.jsonb_object_agg(c.key, c.n) filter (where c.what = 'step'), '{}'),
           (pg_catalog.sum(c.n) filter (where c.what = 'turns'))::integer,
           coalesce(pg_catalog.jsonb_object_agg(c.key, c.n) filter (where c.what = 'turn'), '{}'),
           coalesce(pg_catalog.jsonb_object_agg(c.key, c.n) filter (where c.what = 'failure'), '{}'),
           (pg_catalog.sum(c.n) filter (where c.what = 'responses'))::integer,
           (pg_catalog.sum(c.n) filter (where c.what = 'response_ms'))::bigint,
           coalesce(pg_catalog.array_agg(c.key::integer) filter (where c.what = 'response'), '{}'),
           coalesce(pg_catalog.array_agg(c.n::integer) filter (where c.what = 'response'), '{}'),
           (pg_catalog.sum(c.n) filter (where c.what = 'first_tokens'))::integer,
           (pg_catalog.sum(c.n) filter (where c.what = 'first_token_ms'))::bigint,
           coalesce(pg_catalog.array_agg(c.key::integer) filter (where c.what = 'first_token'), '{}'),
           coalesce(pg_catalog.array_agg(c.n::integer) filter (where c.what = 'first_token'), '{}'),
           (pg_catalog.sum(c.n) filter (where c.what = 'registered'))::integer,
           (pg_catalog.sum(c.n) filter (where c.what = 'chatted'))::integer,
           (pg_catalog.sum(c.n) filter (where c.what = 'answered'))::integer,
           (pg_catalog.sum(c.n) filter (where c.what = 'proposed'))::integer
      from cells c
     group by c.whole, c.persona_id, c.space_id, c.channel;
end;
$$;
comment on function private.sum_session_days(uuid, timestamptz) is 'What a month came to, from its kept days.';

create function private.keep_session_periods(workspace_id uuid, as_of timestamptz)
    returns integer
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    -- Up to where what comes is kept: an hour once it is over for an hour; a day once it is over for a day, so that sessions which
    -- go on the day after have their hours counted anew and not all of it; a month with its last day.
    hours_until  timestamptz := pg_catalog.date_trunc('hour', as_of - interval '1 hour', 'UTC');
    days_until   timestamptz := pg_catalog.date_trunc('day', as_of - interval '25 hours', 'UTC');
    months_until timestamptz;
    kept         private.session_stats_progress;
    marked       timestamptz[];
    period       record;
    part         public.session_stats_periods;
    counted      integer := 0;
begin
    select * into kept from private.session_stats_progress p where p.workspace_id = keep_session_periods.workspace_id;
    if not found then
        select pg_catalog.date_trunc('day', least(
                   days_until,
                   (select pg_catalog.min(s.created_at) from public.sessions s where s.workspace_id = keep_session_periods.workspace_id),
                   (select pg_catalog.min(c.created_at) from public.contacts c where c.workspace_id = keep_session_periods.workspace_id)), 'UTC')
          into kept.days_until;
        kept.hours_until := kept.days_until;
        kept.months_until := '-infinity';
    end if;
    hours_until := greatest(hours_until, kept.hours_until);
    days_until := greatest(days_until, kept.days_until);
    months_until := pg_catalog.date_trunc('month', days_until, 'UTC');

    -- First the marks, then the counting, which sees all that was committed with them; a later mark stays.
    with taken as (
        delete from private.session_stats_marks m
         where m.workspace_id = keep_session_periods.workspace_id
           and m.hour < hours_until
        returning m.hour
    )
    select coalesce(pg_catalog.array_agg(distinct t.hour), '{}') into marked from taken t;

    for period in
        with days as (
            select d.starts_at
              from pg_catalog.generate_series(kept.days_until, days_until - interval '24 hours', interval '24 hours') d (starts_at)
             union
            select pg_catalog.date_trunc('day', m.hour, 'UTC') from unnest(marked) m (hour) where m.hour < kept.days_until
        ), months as (
            select distinct pg_catalog.date_trunc('month', k.starts_at, 'UTC') as starts_at
              from public.session_stats_periods k
             where k.workspace_id = keep_session_periods.workspace_id
               and k.unit = 'day'
               and k.starts_at >= kept.months_until
               and k.starts_at < months_until
             union
            select pg_catalog.date_trunc('month', d.starts_at, 'UTC') from days d where d.starts_at < months_until
        )
        select 'day' as unit, d.starts_at, d.starts_at + interval '24 hours' as ends_at, 1 as place from days d
         union all
        select 'hour', h.starts_at, h.starts_at + interval '1 hour', 2
          from (select h.starts_at
                  from pg_catalog.generate_series(greatest(kept.hours_until, days_until), hours_until - interval '1 hour', interval '1 hour') h (starts_at)
                 union
                select m.hour from unnest(marked) m (hour) where m.hour >= days_until) h
         union all
        select 'month', m.starts_at, null, 3 from months m
         order by 4, 2
    loop
        delete from public.session_stats_periods k
         where k.workspace_id = keep_session_periods.workspace_id
           and k.unit = period.unit
           and k.starts_at = period.starts_at;
        if period.unit = 'month' then
            insert into public.session_stats_periods
            select m.* from private.sum_session_days(keep_session_periods.workspace_id, period.starts_at) m;
        else
            for part in
                select c.*
                  from private.count_sessions(keep_session_periods.workspace_id, array[period.starts_at], array[period.ends_at], null, null, null, null) c
                 where c.unit is null
            loop
                part.unit := period.unit;
                part.starts_at := period.starts_at;
                insert into public.session_stats_periods select part.*;
            end loop;
        end if;
        counted := counted + 1;
    end loop;
    delete from public.session_stats_periods k
     where k.workspace_id = keep_session_periods.workspace_id
       and k.unit = 'hour'
       and k.starts_at < days_until;
    insert into private.session_stats_progress as p (workspace_id, hours_until, days_until, months_until)
    values (keep_session_periods.workspace_id, hours_until, days_until, months_until)
    on conflict on constraint session_stats_progress_pkey do update
       set hours_until = excluded.hours_until, days_until = excluded.days_until, months_until = excluded.months_until;
    return counted;
end;
$$;
comment on function private.keep_session_periods(uuid, timestamptz) is
    'Keeps a workspace''s periods that are over at a time, now or before, and counts anew those in which something changed since; how many it counted.';

create or replace function private.count_past_sessions()
    returns integer
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    over_until constant timestamptz := pg_catalog.date_trunc('hour', pg_catalog.now() - interval '1 hour', 'UTC');
    workspace record;
    counted   integer := 0;
begin
    -- One at a time: of two, the one with the older picture could write last.
    if not pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtextextended('switchboard.sweep.session_stats', 0)) then
        return 0;
    end if;
    for workspace in
        select w.id
          from public.workspaces w
          left join private.session_stats_progress p on p.workspace_id = w.id
         where p.hours_until is distinct from over_until
            or exists (select from private.session_stats_marks m where m.workspace_id = w.id and m.hour < p.hours_until)
         order by w.id
    loop
        counted := counted + private.keep_session_periods(workspace.id, pg_catalog.now());
    end loop;
    delete from private.session_stats_marks m
     where not exists (select from public.workspaces w where w.id = m.workspace_id);
    return counted;
end;
$$;
comment on function private.count_past_sessions() is
    'Keeps the periods that are over, and counts anew those in which something changed since; how many it counted.';

-- What kept days alone.
-- squawk-ignore ban-drop-function
drop function private.count_session_days(uuid, date, date, boolean);
-- squawk-ignore ban-drop-table
drop table public.session_stats_daily;
