"""What members see beyond chats, in a workspace that bench/filling.py filled: each list and filter has rows."""

from uuid import UUID

import asyncpg

from bench.filling import WORKSPACE

COMMON_WORD, RARE_TAG = "please", "refund"
"""A word of every second message, and a tag of one of a thousand sessions."""

# The temporary tables and functions are those of `fill`, in the same database session.
_MORE = """
set session_replication_role = replica;
update public.workspaces set session_timeout_hours = 8760 where id = '{workspace}';

insert into auth.users (id, aud, role, email, email_confirmed_at)
select pg_temp.made('member', n), 'authenticated', 'authenticated', 'member' || n || '@growth.test', now()
  from generate_series(1, 60) n;
insert into public.workspace_members (workspace_id, user_id, role)
select '{workspace}', pg_temp.made('member', n), 'agent' from generate_series(1, 60) n;

-- Long lists of personas and spaces: one of twenty sessions is of one of these.
insert into public.personas (id, workspace_id, kind, name, config)
select pg_temp.made('persona', 100 + n), '{workspace}', 'demo', 'Persona ' || 100 + n, '{{}}'
  from generate_series(0, 299) n;
insert into public.spaces (id, workspace_id, kind, name, persona_id)
select pg_temp.made('space', 100 + n), '{workspace}', 'embed', 'Space ' || 100 + n, pg_temp.made('persona', 100 + n)
  from generate_series(0, 299) n;
update public.sessions s
   set persona_id = pg_temp.made('persona', 100 + x.n / 20 % 300),
       space_id   = pg_temp.made('space', 100 + x.n / 20 % 300),
       subject    = 'A question about order ' || x.n
  from session x
 where x.n % 20 = 3 and s.id = x.id;

-- Two weeks of conversations are not ended: each third is the owner's, each third another member's.
update public.sessions s
   set status = case when x.n % 8 = 0 then 'paused' else 'active' end::public.session_status,
       ended_at = null, error_message = null,
       assigned_user_id = case x.n % 3 when 0 then '{owner}'::uuid
                                       when 1 then pg_temp.made('member', 1 + x.n % 60) end,
       taken_over_by = case when x.n % 9 = 0 then '{owner}'::uuid end,
       taken_over_at = case when x.n % 9 = 0 then x.at end
  from session x
 where x.place = 1 and x.at > now() - interval '14 days' and s.id = x.id;
insert into public.messages (workspace_id, conversation_id, session_id, role, user_id, text, created_at)
select s.workspace_id, s.conversation_id, s.id, 'member', '{owner}', 'I look at it and come back to you.',
       s.last_activity_at + interval '1 minute'
  from public.sessions s where s.taken_over_by is not null;

-- What the filling dates ten minutes after a session's beginning may be in the future.
update public.sessions s set last_activity_at = now() where s.last_activity_at > now();

-- The owner reads most of it.
insert into public.conversation_reads (workspace_id, conversation_id, user_id, read_at)
select '{workspace}', conversation_id, '{owner}', now() from contact where n % 10 <> 0;

insert into public.tags (workspace_id, session_id, name)
select '{workspace}', id, case when n % 1000 = 5 then '{rare}' else 'question' end
  from session where n % 1000 = 5 or n % 4 = 0;

insert into public.quotes (id, workspace_id, request_id, session_id, operator_key, operator, status, amount, currency,
                           aircraft_type, created_at, received_at)
select pg_temp.made('quote' || o, x.n), '{workspace}', x.id, x.id, 'operator-' || o, 'Operator ' || o,
       case when o < 3 then 'received' else 'declined' end::public.quote_status,
       case when o < 3 then 8000 + x.n % 4000 end, case when o < 3 then 'EUR' end, 'Citation CJ3', x.at,
       case when o < 3 then x.at + interval '10 minutes' end
  from session x cross join generate_series(1, 3) o where x.n % 50 = 0;
update public.sessions s
   set primary_quote_id = pg_temp.made('quote1', x.n)
  from session x where x.n % 50 = 0 and s.id = x.id;

insert into public.answer_templates (workspace_id, name, shortcut, text)
select '{workspace}', 'Answer ' || n, 'a' || n, 'Thank you for your message about ' || n || '.'
  from generate_series(1, 300) n;

-- A month of deliveries in both directions; one of fifty failed for good.
create temporary table delivery as
select n, now() - n * interval '2 minutes' as at, n % 50 = 0 as is_dead,
       (array['telegram', 'whatsapp', 'avinode', 'standard'])[1 + n % 4] as provider
  from generate_series(1, 20000) n;
insert into public.inbound_events (id, workspace_id, source, delivery_key, headers, raw_body, received_at)
select pg_temp.made('event', n), '{workspace}', provider, 'key' || n, '{{"user-agent": "bench"}}',
       jsonb_build_object('update_id', n, 'message', jsonb_build_object('text', 'Hello ' || n)), at
  from delivery;
insert into public.jobs (workspace_id, kind, status, event_id, payload, attempts, last_error, created_at, finished_at)
select '{workspace}', provider || '_event', case when is_dead then 'dead' else 'succeeded' end::public.job_status,
       pg_temp.made('event', n), jsonb_build_object('n', n), case when is_dead then 12 else 1 end,
       case when is_dead then 'provider_unavailable' end, at, at + interval '1 second'
  from delivery;
insert into public.event_subscriptions (id, workspace_id, url, event_types)
select pg_temp.made('subscription', n), '{workspace}', 'https://crm' || n || '.growth.test/',
       '{{message.created}}'
  from generate_series(1, 3) n;
insert into public.events (id, workspace_id, type, data, occurred_at)
select pg_temp.made('outgoing', n), '{workspace}', 'message.created', jsonb_build_object('n', n), at from delivery;
insert into public.event_deliveries (workspace_id, event_id, subscription_id, ordering_key, status, attempts,
                                     response_status, error, duration_ms, created_at, last_attempt_at)
select '{workspace}', pg_temp.made('outgoing', n), pg_temp.made('subscription', 1), 'key',
       case when is_dead then 'failed' else 'succeeded' end::public.delivery_status,
       case when is_dead then 12 else 1 end,
       case when is_dead then 503 else 200 end, case when is_dead then 'status_503' end, 40, at, at
  from delivery;
reset session_replication_role;
"""

_COUNTING = "select command from cron.job where jobname = 'switchboard-session-stats'"


async def fill_desk(connection: asyncpg.Connection, owner_id: UUID) -> None:
    """Add to what `fill` made in the same connection, without its counts; the owner has read nine of ten."""
    await connection.execute(_MORE.format(workspace=WORKSPACE, owner=owner_id, rare=RARE_TAG))
    await connection.execute("vacuum analyze")
    await connection.execute(await connection.fetchval(_COUNTING))
    await connection.execute("analyze; checkpoint")
