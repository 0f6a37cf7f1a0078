-- What sessions come to, counted from the sessions themselves: for periods that are kept, and for what is counted when somebody
-- asks. It is one plan for all: every table is looked up row by row in an index, so its cost is that of the sessions counted,
-- whatever the planner guesses of their number (so nothing is compiled for it, either), and it is planned once on a connection, not
-- at each call.

set lock_timeout = '5s';
set statement_timeout = '60s';

create function private.count_sessions(
    workspace_id uuid, firsts timestamptz[], lasts timestamptz[], own uuid[], wanted_persona uuid, wanted_space uuid, wanted_channel text)
    returns setof public.session_stats_periods
    language plpgsql
    stable
    set search_path = ''
    set plan_cache_mode = force_generic_plan
    set jit = off
as $$
begin
    -- offset 0 keeps a look-up a look-up.
    return query
    with came as materialized (
        -- A workspace's, with what the contact did in an earlier one.
        select x.id, x.conversation_id, x.contact_id, x.created_at, x.persona_id, x.status, x.outcome, x.step,
               x.contact_id is not null and x.chatted and e.chatted is not true as first_chatted,
               x.contact_id is not null and x.proposed and e.proposed is not true as first_proposed,
               case when x.contact_id is null then false
                    when (select true from public.messages m where m.session_id = x.id and m.role in ('persona', 'member') order by m.created_at desc limit 1) is null then false
                    else (select true
                            from unnest(e.ids) u (id)
                           where (select true from public.messages m where m.session_id = u.id and m.role in ('persona', 'member') order by m.created_at desc limit 1)
                           limit 1) is null end as first_answered,
               false as first_seen
          from unnest(firsts, lasts) p (first, last)
         cross join lateral (
             select s.id, s.conversation_id, s.contact_id, s.created_at, s.persona_id, s.status,
                    coalesce(s.status_before_archive, s.status) as outcome, s.workflow_step as step,
                    s.turn_count > 0 as chatted, s.proposal_id is not null as proposed
               from public.sessions s
              where s.workspace_id = count_sessions.workspace_id
                and s.created_at >= p.first
                and s.created_at < p.last
             offset 0) x
         cross join lateral (
             select pg_catalog.bool_or(b.turn_count > 0) as chatted, pg_catalog.bool_or(b.proposal_id is not null) as proposed,
                    pg_catalog.array_agg(b.id order by b.created_at, b.id) as ids
               from public.sessions b
              where b.contact_id = x.contact_id
                and (b.created_at, b.id) < (x.created_at, x.id)
             offset 0) e
         where own is null
         union all
        -- Who is new is judged by their own sessions alone: of others they learn nothing.
        select x.id, x.conversation_id, x.contact_id, x.created_at, x.persona_id, x.status, x.outcome, x.step,
               x.chatted and x.chatted_before is not true, x.proposed and x.proposed_before is not true,
               x.answered and x.answered_before is not true, x.seen_before = 0
          from (select o.*, pg_catalog.bool_or(o.chatted) over earlier as chatted_before,
                       pg_catalog.bool_or(o.proposed) over earlier as proposed_before,
                       pg_catalog.bool_or(o.answered) over earlier as answered_before, pg_catalog.count(*) over earlier as seen_before
                  from (select s.id, s.conversation_id, s.contact_id, s.created_at, s.persona_id, s.status, s.outcome, s.step,
                               s.contact_id is not null and s.chatted as chatted, s.contact_id is not null and s.proposed as proposed,
                               s.contact_id is not null
                               and (select true from public.messages m where m.session_id = s.id and m.role in ('persona', 'member') order by m.created_at desc limit 1)
                                   is not null as answered
                          from unnest(own) l (id)
                         cross join lateral (
                             select s.id, s.conversation_id, s.contact_id, s.created_at, s.persona_id, s.status,
                                    coalesce(s.status_before_archive, s.status) as outcome, s.workflow_step as step,
                                    s.turn_count > 0 as chatted, s.proposal_id is not null as proposed
                               from public.sessions s
                              where s.id = l.id
                                and (count_sessions.workspace_id is null or s.workspace_id = count_sessions.workspace_id)
                             offset 0) s) o
                window earlier as (partition by o.contact_id order by o.created_at, o.id rows between unbounded preceding and 1 preceding)
               ) x
         where exists (select from unnest(firsts, lasts) p (first, last) where x.created_at >= p.first and x.created_at < p.last)
    ), s as materialized (
        select c.*, (c.created_at at time zone 'UTC')::date as day, v.space_id, v.channel
          from came c
         cross join lateral (select v.space_id, v.channel from public.conversations v where v.id = c.conversation_id offset 0) v
         where (wanted_persona is null or c.persona_id = wanted_persona)
           and (wanted_space is null or v.space_id = wanted_space)
           and (wanted_channel is null or v.channel = wanted_channel)
    ), t as materialized (
        select s.day, s.persona_id, s.space_id, s.channel, t.status, t.error_code, t.first_token_ms, t.response_ms,
               -- Buckets a tenth wide: their middle is at most 4.9 % beside whatever lies in them.
               case when t.response_ms < 1 then 0 else 1 + pg_catalog.floor(pg_catalog.ln(t.response_ms::float8) / pg_catalog.ln(1.1::float8))::integer end as response,
               case when t.first_token_ms < 1 then 0 else 1 + pg_catalog.floor(pg_catalog.ln(t.first_token_ms::float8) / pg_catalog.ln(1.1::float8))::integer end as first_token
          from s
         cross join lateral (
             select t.status, t.error_code, t.first_token_ms,
                    -- What a member answers in their own time is no answer of the persona's.
                    case when t.status = 'completed' and not t.taken_over
                         then greatest(pg_catalog.date_part('epoch', t.finished_at - t.created_at) * 1000, 0)::bigint end as response_ms
               from public.turns t
              where t.session_id = s.id
             offset 0) t
    ), arrivals as materialized (
        select (c.created_at at time zone 'UTC')::date as day, l.persona_id, v.space_id, v.channel
          from unnest(firsts, lasts) p (first, last)
         cross join lateral (
             select x.created_at, x.session_id
               from public.contacts x
              where x.workspace_id = count_sessions.workspace_id
                and x.created_at >= p.first
                and x.created_at < p.last
             offset 0) c
          left join lateral (select e.persona_id, e.conversation_id from public.sessions e where e.id = c.session_id offset 0) l on true
          left join lateral (select v.space_id, v.channel from public.conversations v where v.id = l.conversation_id offset 0) v on true
         where own is null
           and (wanted_persona is null or l.persona_id = wanted_persona)
           and (wanted_space is null or v.space_id = wanted_space)
           and (wanted_channel is null or v.channel = wanted_channel)
         union all
        select s.day, s.persona_id, s.space_id, s.channel
          from s
         where s.first_seen
           and s.contact_id is not null
    ), session_sums as (
        select s.persona_id, s.space_id, s.channel, s.status, s.outcome, s.step, pg_catalog.count(*) as n,
               pg_catalog.count(*) filter (where s.first_chatted) as chatted,
               pg_catalog.count(*) filter (where s.first_answered) as answered,
               pg_catalog.count(*) filter (where s.first_proposed) as proposed
          from s
         group by s.persona_id, s.space_id, s.channel, s.status, s.outcome, s.step
    ), turn_sums as (
        select t.persona_id, t.space_id, t.channel, t.status, t.error_code, t.response, pg_catalog.count(*) as n,
               pg_catalog.sum(t.response_ms)::bigint as ms
          from t
         group by t.persona_id, t.space_id, t.channel, t.status, t.error_code, t.response
    ), cells as (
        select c.persona_id, c.space_id, c.channel, v.what, v.key, v.n
          from session_sums c
         cross join lateral (values ('session', c.status::text, c.n), ('outcome', c.outcome::text, c.n), ('step', c.step, c.n),
                                    ('chatted', '', c.chatted), ('answered', '', c.answered), ('proposed', '', c.proposed))
                            as v (what, key, n)
         where v.key is not null
         union all
        select c.persona_id, c.space_id, c.channel, v.what, v.key, v.n
          from turn_sums c
         cross join lateral (values ('turn', c.status::text, c.n),
                                    ('failure', case when c.status in ('failed', 'timeout') then coalesce(c.error_code, 'unknown') end, c.n),
                                    ('response', c.response::text, c.n), ('response_ms', '', c.ms)) as v (what, key, n)
         where v.key is not null
         union all
        select c.persona_id, c.space_id, c.channel, v.what, v.key, v.n
          from (select t.persona_id, t.space_id, t.channel, t.first_token, pg_catalog.count(*) as n, pg_catalog.sum(t.first_token_ms) as ms
                  from t
                 where t.first_token_ms is not null
                 group by t.persona_id, t.space_id, t.channel, t.first_token) c
         cross join lateral (values ('first_token', c.first_token::text, c.n), ('first_token_ms', '', c.ms)) as v (what, key, n)
         union all
        select a.persona_id, a.space_id, a.channel, 'registered', '', pg_catalog.count(*)
          from arrivals a
         group by a.persona_id, a.space_id, a.channel
    ), sums as (
        select grouping(c.persona_id) = 1 as whole, c.persona_id, c.space_id, c.channel, c.what, c.key, pg_catalog.sum(c.n)::bigint as n
          from cells c
         group by grouping sets ((c.persona_id, c.space_id, c.channel, c.what, c.key), (c.what, c.key))
    ), days as (
        select s.day, pg_catalog.count(*) as sessions, pg_catalog.count(*) filter (where s.outcome not in ('active', 'paused')) as ended,
               pg_catalog.count(*) filter (where s.outcome = 'completed') as completed, 0 as turns, 0 as responses, 0 as response_ms,
               0 as registered, pg_catalog.count(*) filter (where s.first_chatted) as chatted,
               pg_catalog.count(*) filter (where s.first_answered) as answered, pg_catalog.count(*) filter (where s.first_proposed) as proposed
          from s
         group by s.day
         union all
        select t.day, 0, 0, 0, pg_catalog.count(*), pg_catalog.count(t.response_ms), coalesce(pg_catalog.sum(t.response_ms), 0), 0, 0, 0, 0
          from t
         group by t.day
         union all
        select a.day, 0, 0, 0, 0, 0, 0, pg_catalog.count(*), 0, 0, 0
          from arrivals a
         group by a.day
    )
    select count_sessions.workspace_id, null, null::timestamptz,
           case when u.whole then 0
                else pg_catalog.row_number() over (partition by u.whole order by u.persona_id, u.space_id, u.channel) end::integer,
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
     group by u.whole, u.persona_id, u.space_id, u.channel
     union all
    select count_sessions.workspace_id, 'day', d.day::timestamp at time zone 'UTC', 0, null, null, null,
           d.sessions::integer, d.ended::integer, d.completed::integer, '{}', '{}', d.turns::integer, '{}', '{}',
           d.responses::integer, d.response_ms::bigint, '{}', '{}', 0, 0, '{}', '{}',
           d.registered::integer, d.chatted::integer, d.answered::integer, d.proposed::integer
      from days d;
end;
$$;
comment on function private.count_sessions(uuid, timestamptz[], timestamptz[], uuid[], uuid, uuid, text) is
    'Counts what there is from each of the firsts until before its last: a workspace''s, or only those of own, of all workspaces where none is named. A row of no unit for all of it, more for its parts; and for the days in it rows of the unit day, which add up and are without maps and histograms.';
