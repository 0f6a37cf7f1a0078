"""A workspace with years of chats, made in SQL: the rows that the functions leave, in the order of their times."""

import sys
from dataclasses import dataclass
from uuid import UUID

import asyncpg
from tqdm import tqdm

WORKSPACE = "00000000-0000-7000-8000-000000000001"
"""The demo workspace (supabase/seed.sql)."""


@dataclass(frozen=True)
class Size:
    """Sessions, spread evenly over days, each with some turns of two messages."""

    sessions: int
    days: int
    turns: int = 2

    @property
    def contacts(self) -> int:
        """Two and a half sessions per contact."""
        return max(self.sessions * 2 // 5, 20)

    @property
    def messages(self) -> int:
        """All messages."""
        return self.sessions * self.turns * 2


# Ids: those of `uuid7` are ordered by the time that a row is given, those of `made` are random.
_PLACES = """
create function pg_temp.uuid7(at timestamptz) returns uuid language sql volatile as $$
    select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7'
            || substr(replace(gen_random_uuid()::text, '-', ''), 14))::uuid
$$;
create function pg_temp.made(kind text, n bigint) returns uuid language sql immutable as $$
    select md5(kind || n)::uuid
$$;
insert into public.personas (id, workspace_id, kind, name, config)
select pg_temp.made('persona', n), '{workspace}', 'demo', 'Persona ' || n, '{{"delay_ms": 0}}'
  from generate_series(0, 2) n;
insert into public.spaces (id, workspace_id, kind, name, persona_id, arrivals_per_minute,
                           arrivals_per_minute_by_address)
select pg_temp.made('space', n), '{workspace}', 'embed', 'Space ' || n, pg_temp.made('persona', n % 3), 1e6, 1e6
  from generate_series(0, 5) n;
"""

# Each contact has one conversation. Contact n arrives with its first session, whose number is n / 2 * 5 + n % 2.
_CONTACTS = """
create temporary table contact as
select n, pg_temp.made('contact', n) as id, at, pg_temp.uuid7(at) as conversation_id
  from generate_series(0, {contacts} - 1) n
 cross join lateral (select now() - interval '{days} days' * (1 - n::float8 / {contacts}) as at) t;
create unique index on contact (n);
insert into public.contact_identities (workspace_id, contact_id, kind, key, value, evidence, created_at)
select '{workspace}', id, kind::public.identity_kind, key, key, 'asserted', at
  from contact
 cross join lateral (values ('email', 'c' || n || '@growth.test'), ('telegram', n::text)) i (kind, key)
 where kind = 'email' or n % 4 = 0;
insert into public.conversations
       (id, workspace_id, contact_id, persona_id, space_id, channel, thread_key, proof, created_at)
select conversation_id, '{workspace}', id, pg_temp.made('persona', n % 3), pg_temp.made('space', n % 6),
       case when n % 5 = 0 then 'whatsapp' else 'web' end, 'main', 'verified', at
  from contact order by n;
insert into public.tags (workspace_id, contact_id, name)
select '{workspace}', id, case when n % greatest({contacts} / 40, 10) = 0 then 'vip' else 'known' end
  from contact where n % greatest({contacts} / 40, 10) = 0 or n % 10 = 0;
"""

# Two of five sessions are the first of a contact; the others belong to contacts who had arrived by then.
_SESSIONS = """
create temporary table session as
select x.n, x.at, pg_temp.uuid7(x.at) as id, c.n as contact_n, c.id as contact_id, c.conversation_id,
       row_number() over (partition by c.n order by x.at desc) as place
  from (select n, now() - interval '{days} days' * (1 - n::float8 / {sessions}) as at,
               case when n % 5 < 2 then n / 5 * 2 + n % 5
                    else floor((n / 5 * 2 + 1) * random())::integer end as contact_n
          from generate_series(0, {sessions} - 1) n) x
  join contact c on c.n = least(x.contact_n, {contacts} - 1);
insert into public.contacts (id, workspace_id, first_name, last_name, source, session_id, created_at)
select c.id, '{workspace}', 'First' || c.n, 'Last' || c.n, 'web', s.id, c.at
  from contact c join session s on s.n = c.n / 2 * 5 + c.n % 2 order by c.n;
insert into public.sessions (id, workspace_id, conversation_id, contact_id, persona_id, space_id, channel,
                             assigned_user_id, status, turn_count, message_count, created_at, last_activity_at,
                             ended_at, archived_at, status_before_archive, workflow, workflow_step)
select s.id, '{workspace}', s.conversation_id, s.contact_id, pg_temp.made('persona', s.contact_n % 3),
       pg_temp.made('space', s.contact_n % 6), case when s.contact_n % 5 = 0 then 'whatsapp' else 'web' end,
       case when s.n % 1000 = 7 then '{agent}'::uuid end, k.status, {turns}, {turns} * 2, s.at,
       s.at + interval '10 minutes', case when k.status <> 'active' then s.at + interval '1 hour' end,
       case when k.status = 'archived' then s.at + interval '90 days' end,
       case when k.status = 'archived' then e.status end, case when s.n % 10 = 0 then 'charter' end,
       case when s.n % 10 = 0 then (array['understanding_request', 'searching_aircraft', 'requesting_quotes',
                                          'proposal_ready'])[1 + (s.n / 10) % 4] end
  from session s
 cross join lateral (select case when s.n % 100 < 70 then 'completed' when s.n % 100 < 90 then 'timeout'
                                 when s.n % 100 < 96 then 'cancelled' else 'failed'
                            end::public.session_status as status) e
 cross join lateral (select case when s.place = 1 and s.at > now() - interval '20 hours' then 'active'
                                 when s.at < now() - interval '90 days' then 'archived'
                                 else e.status::text end::public.session_status as status) k
 order by s.n;
insert into public.session_refs (workspace_id, session_id, system, kind, external_id)
select '{workspace}', id, 'avinode', 'trip', 'atrip-' || n from session where n % 10 = 0;
insert into public.requests (id, workspace_id, session_id, origin, destination, created_at)
select id, '{workspace}', id, 'ZRH', 'LIS', at from session where n % 50 = 0;
insert into public.proposals (id, workspace_id, request_id, session_id, status, created_at)
select id, '{workspace}', id, id, 'sent', at from session where n % 50 = 0;
update public.sessions s set request_id = x.id, proposal_id = x.id from session x where x.n % 50 = 0 and s.id = x.id;
"""

_TURNS = """
create temporary table turn as
select s.id as session_id, s.conversation_id, s.contact_id, s.contact_n, s.n, t, x.at, pg_temp.uuid7(x.at) as id,
       case when (s.n + t) % 40 = 0 then 'failed' when (s.n + t) % 97 = 0 then 'timeout'
            when (s.n + t) % 89 = 0 then 'cancelled' else 'completed' end::public.turn_status as status,
       (400 * exp(random() + random() + random()))::integer as took
  from session s
 cross join generate_series(0, {turns} - 1) t
 cross join lateral (select s.at + t * interval '2 minutes' as at) x
 order by s.n, t;
insert into public.turns (id, workspace_id, conversation_id, session_id, client_message_id, status, deadline,
                          lease_until, first_token_ms, error_code, created_at, finished_at)
select id, '{workspace}', conversation_id, session_id, 'm' || t || session_id, status, at, at,
       case when status <> 'timeout' then took / 4 end,
       case status when 'failed' then (array['persona_failed', 'persona_refused', 'persona_unreachable'])[1 + n % 3]
                   when 'timeout' then 'lease_expired' end,
       at, at + took * interval '1 millisecond'
  from turn;
insert into public.messages (workspace_id, conversation_id, session_id, turn_id, role, contact_id, persona_id, text,
                             created_at)
select '{workspace}', conversation_id, session_id, id, role::public.message_role,
       case when role = 'contact' then contact_id end,
       case when role = 'persona' then pg_temp.made('persona', contact_n % 3) end,
       opening || ' word' || (random() * {words})::integer || ' and word' || (random() * {words})::integer || ending,
       at + took * delay
  from turn
 cross join (values ('contact', 'Hello', ' please', interval '0'),
                    ('persona', 'Certainly', '.', interval '1 millisecond')) m (role, opening, ending, delay)
 order by n, t, role;
"""

_TABLES = ("contacts", "contact_identities", "conversations", "sessions", "turns", "messages")
# Those of a partitioned table are its partitions'.
_UNREADY = """
update pg_index set indisready = false, indisvalid = false
 where indrelid in (select t from unnest($1::text[]::regclass[]) t
                    union select p.relid from unnest($1::text[]::regclass[]) t cross join pg_partition_tree(t) p)
   and not exists (select from pg_class where oid = indexrelid and relkind = 'I')
"""


async def fill(connection: asyncpg.Connection, size: Size, agent_id: UUID, *, counted: bool = True) -> None:
    """Fill a freshly migrated and seeded database, as the superuser, and bring its statistics up to date.

    Every thousandth session is assigned to the agent. Each word is in about a dozen messages, at every size.
    ``counted``: with the daily rollups of the sessions' figures.
    """
    names = {"workspace": WORKSPACE, "agent": agent_id, "contacts": size.contacts, "words": size.messages // 6}
    tables = [f"public.{table}" for table in _TABLES]
    await connection.execute("set synchronous_commit = off; set maintenance_work_mem = '512MB'; set work_mem = '128MB'")
    # No trigger and no key checks a row, and indexes are built at the end: that is much faster.
    await connection.execute("select setseed(0.5); set session_replication_role = replica")
    await connection.execute(_UNREADY, tables)
    counting = await connection.fetchval("select command from cron.job where jobname = 'switchboard-session-stats'")
    statements = [part.format(**names, **vars(size)) for part in (_PLACES, _CONTACTS, _SESSIONS, _TURNS)]
    statements += [f"reindex table {table}" for table in tables]
    statements += ["reset session_replication_role", "vacuum analyze", *([counting] if counted else [])]
    statements += ["analyze; checkpoint"]
    for statement in tqdm(statements, desc=f"filling {size.messages:,} messages", file=sys.stderr):
        await connection.execute(statement)
