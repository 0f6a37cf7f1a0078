-- What a workspace's sessions of some days come to: for days that are kept, and for those that are counted when somebody asks.

set lock_timeout = '5s';
set statement_timeout = '60s';

create function private.count_session_days(workspace_id uuid, first_day date, last_day date, only_own boolean)
    returns setof public.session_stats_daily
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    days constant text := pg_catalog.concat(
        case when first_day > '-infinity' then pg_catalog.format(' and x.created_at >= %L::timestamptz', first_day::timestamp at time zone 'UTC') end,
        case when last_day < 'infinity' then pg_catalog.format(' and x.created_at < %L::timestamptz', (last_day + 1)::timestamp at time zone 'UTC') end);
    whose constant text := case when only_own
        then 'x.id in (select private.own_sessions())' || case when workspace_id is not null then pg_catalog.format(' and x.workspace_id = %L::uuid', workspace_id) else '' end
        else pg_catalog.format('x.workspace_id = %L::uuid', workspace_id) end;
    -- Buckets a tenth wide: their middle is at most 4.9 % beside whatever lies in them.
    bucket constant text :=
        'case when ? < 1 then 0 else 1 + pg_catalog.floor(pg_catalog.ln(?::double precision) / pg_catalog.ln(1.1::double precision))::integer end';
    history  text;
    arrivals text;
begin
    if only_own then
        -- Who is new is judged by their own sessions alone: of others they learn nothing.
        history  := whose;
        arrivals := 'select s.day, s.persona_id, s.space_id, s.channel from s where s.id = s.first_id';
    else
        history  := 'x.contact_id = any (array(select r.contact_id from r))';
        arrivals := pg_catalog.format($q$
            select (x.created_at at time zone 'UTC')::date as day, coalesce(s.persona_id, l.persona_id) as persona_id,
                   coalesce(s.space_id, v.space_id) as space_id, coalesce(s.channel, v.channel) as channel
              from public.contacts x
              left join s on s.id = x.session_id
              -- A session of another day.
              left join lateral (
                  select e.persona_id, e.conversation_id from public.sessions e where e.id = x.session_id and s.id is null offset 0) l on true
              left join lateral (select c.space_id, c.channel from public.conversations c where c.id = l.conversation_id offset 0) v on true
             where x.workspace_id = %L::uuid%s$q$, workspace_id, days);
    end if;

    -- Dates and workspace stand in the text, so that it is planned for as many sessions as there are.
    return query execute pg_catalog.format(
        $q$
        with r as materialized (
            select x.id, x.conversation_id, x.contact_id, (x.created_at at time zone 'UTC')::date as day, x.persona_id, x.status,
                   coalesce(x.status_before_archive, x.status) as outcome, x.workflow_step as step
              from public.sessions x
             where %1$s%6$s
        ), h as materialized (
            -- All sessions of these contacts. Arrays are looked up in an index from end to end, in its order, and never make
            -- the planner read a table of all times.
            select x.contact_id, pg_catalog.array_agg(x.id order by x.created_at, x.id) as ids,
                   (pg_catalog.array_agg(x.id order by x.created_at, x.id) filter (where x.turn_count > 0))[1] as chatted_id,
                   (pg_catalog.array_agg(x.id order by x.created_at, x.id) filter (where x.proposal_id is not null))[1] as proposed_id
              from public.sessions x
             where x.contact_id is not null and %7$s
             group by x.contact_id
        ), a as materialized (
            -- Most are answered in their first one. Of the others it is asked one by one.
            select distinct m.session_id
              from public.messages m
             where m.session_id = any (array(select h.ids[1] from h))
               and m.role in ('persona', 'member')
        ), f as materialized (
            select h.contact_id, h.ids[1] as first_id, h.chatted_id, h.proposed_id,
                   coalesce(a.session_id, (
                       select u.id
                         from unnest(h.ids[2:]) u (id)
                        where (select true from public.messages m where m.session_id = u.id and m.role in ('persona', 'member') limit 1)
                        limit 1)) as answered_id
              from h
              left join a on a.session_id = h.ids[1]
        ), s as materialized (
            select r.id, r.day, r.persona_id, v.space_id, v.channel, r.status, r.outcome, r.step, f.first_id,
                   r.id = f.chatted_id as first_chatted, r.id = f.answered_id as first_answered, r.id = f.proposed_id as first_proposed
              from r
              join (select c.id, c.space_id, c.channel
                      from public.conversations c
                     where c.id = any (array(select r.conversation_id from r))
                    offset 0) v on v.id = r.conversation_id
              left join f on f.contact_id = r.contact_id
        ), t as materialized (
            select s.day, s.persona_id, s.space_id, s.channel, t.status, t.error_code, t.first_token_ms,
                   -- What a member answers in their own time is no answer of the persona's.
                   case when t.status = 'completed' and not t.taken_over
                        then greatest(pg_catalog.date_part('epoch', t.finished_at - t.created_at) * 1000, 0)::bigint end as response_ms
              from s
              join (select t.session_id, t.status, t.taken_over, t.error_code, t.first_token_ms, t.created_at, t.finished_at
                      from public.turns t
                     where t.session_id = any (array(select s.id from s))
                    offset 0) t on t.session_id = s.id
        ), session_sums as (
            select s.day, s.persona_id, s.space_id, s.channel, s.status, s.outcome, s.step, pg_catalog.count(*) as n,
                   pg_catalog.count(*) filter (where s.first_chatted) as chatted,
                   pg_catalog.count(*) filter (where s.first_answered) as answered,
                   pg_catalog.count(*) filter (where s.first_proposed) as proposed
              from s
             group by s.day, s.persona_id, s.space_id, s.channel, s.status, s.outcome, s.step
        ), turn_sums as (
            select t.day, t.persona_id, t.space_id, t.channel, t.status, t.error_code, t.bucket, pg_catalog.count(*) as n,
                   pg_catalog.sum(t.response_ms) as ms
              from (select t.*, %2$s as bucket from t) t
             group by t.day, t.persona_id, t.space_id, t.channel, t.status, t.error_code, t.bucket
        ), first_token_sums as (
            select t.day, t.persona_id, t.space_id, t.channel, t.bucket, pg_catalog.count(*) as n, pg_catalog.sum(t.first_token_ms) as ms
              from (select t.*, %3$s as bucket from t where t.first_token_ms is not null) t
             group by t.day, t.persona_id, t.space_id, t.channel, t.bucket
        ), contact_sums as (
            select x.day, x.persona_id, x.space_id, x.channel, pg_catalog.count(*) as n
              from (%4$s) x
             group by x.day, x.persona_id, x.space_id, x.channel
        ), cells as (
            select c.day, c.persona_id, c.space_id, c.channel, v.what, v.key, v.n
              from session_sums c
             cross join lateral (values ('session', c.status::text, c.n), ('outcome', c.outcome::text, c.n), ('step', c.step, c.n),
                                        ('chatted', '', c.chatted), ('answered', '', c.answered), ('proposed', '', c.proposed))
                                as v (what, key, n)
             where v.key is not null
             union all
            select c.day, c.persona_id, c.space_id, c.channel, v.what, v.key, v.n
              from turn_sums c
             cross join lateral (values ('turn', c.status::text, c.n),
                                        ('failure', case when c.status in ('failed', 'timeout') then coalesce(c.error_code, 'unknown') end, c.n),
                                        ('response', c.bucket::text, c.n), ('response_ms', '', c.ms)) as v (what, key, n)
             where v.key is not null
             union all
            select c.day, c.persona_id, c.space_id, c.channel, v.what, v.key, v.n
              from first_token_sums c
             cross join lateral (values ('first_token', c.bucket::text, c.n), ('first_token_ms', '', c.ms)) as v (what, key, n)
             union all
            select c.day, c.persona_id, c.space_id, c.channel, 'registered', '', c.n
              from contact_sums c
        ), sums as (
            select c.day, grouping(c.persona_id) = 1 as whole, c.persona_id, c.space_id, c.channel, c.what, c.key,
                   pg_catalog.sum(c.n)::bigint as n
              from cells c
             group by grouping sets ((c.day, c.persona_id, c.space_id, c.channel, c.what, c.key), (c.day, c.what, c.key))
        )
        select %5$L::uuid, u.day,
               case when u.whole then 0
                    else pg_catalog.row_number() over (partition by u.day, u.whole order by u.persona_id, u.space_id, u.channel) end::integer,
               u.persona_id, u.space_id, u.channel,
               coalesce(pg_catalog.sum(u.n) filter (where u.what = 'session'), 0)::integer,
               coalesce(pg_catalog.sum(u.n) filter (where u.what = 'outcome' and u.key not in ('active', 'paused')), 0)::integer,
               coalesce(pg_catalog.sum(u.n) filter (where u.what = 'outcome' and u.key = 'completed'), 0)::integer,
               coalesce(pg_catalog.jsonb_object_agg(u.key, u.n) filter (where u.what = 'session'), '{}'),
               coalesce(pg_catalog.jsonb_object_agg(u.key, u.n) filter (where u.what = 'step'), '{}'),
               coalesce(pg_catalog.sum(u.n) filter (where u.what = 'turn'), 0)::integer,
               coalesce(pg_catalog.jsonb_object_agg(u.key, u.n) filter (where u.what = 'turn'), '{}'),
               coalesce(pg_catalog.jsonb_object_agg(u.key, u.n) filter (where u.what = 'failure'), '{}'),
               coalesce(pg_catalog.sum(u.n) filter (where u.what = 'response'), 0)::integer,
               coalesce(pg_catalog.sum(u.n) filter (where u.what = 'response_ms'), 0)::bigint,
               coalesce(pg_catalog.array_agg(u.key::integer) filter (where u.what = 'response'), '{}'),
               coalesce(pg_catalog.array_agg(u.n::integer) filter (where u.what = 'response'), '{}'),
               coalesce(pg_catalog.sum(u.n) filter (where u.what = 'first_token'), 0)::integer,
               coalesce(pg_catalog.sum(u.n) filter (where u.what = 'first_token_ms'), 0)::bigint,
               coalesce(pg_catalog.array_agg(u.key::integer) filter (where u.what = 'first_token'), '{}'),
               coalesce(pg_catalog.array_agg(u.n::integer) filter (where u.what = 'first_token'), '{}'),
               coalesce(pg_catalog.sum(u.n) filter (where u.what = 'registered'), 0)::integer,
               coalesce(pg_catalog.sum(u.n) filter (where u.what = 'chatted'), 0)::integer,
               coalesce(pg_catalog.sum(u.n) filter (where u.what = 'answered'), 0)::integer,
               coalesce(pg_catalog.sum(u.n) filter (where u.what = 'proposed'), 0)::integer
          from sums u
         group by u.day, u.whole, u.persona_id, u.space_id, u.channel$q$,
        whose, pg_catalog.replace(bucket, '?', 't.response_ms'), pg_catalog.replace(bucket, '?', 't.first_token_ms'), arrivals,
        coalesce(workspace_id, '00000000-0000-0000-0000-000000000000'), days, history);
end;
$$;
comment on function private.count_session_days(uuid, date, date, boolean) is
    'Counts what there is of these days (in UTC, both included): the workspace''s, or only those of the signed-in user''s own and assigned sessions, of all workspaces where none is named.';
