"""A workspace with years of chats, made in SQL: the rows that the functions would have left, and in their order."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import asyncpg

WORKSPACE = "00000000-0000-7000-8000-000000000001"
OWNER = "00000000-0000-4000-8000-00000000e0e0"
AGENT = "00000000-0000-4000-8000-00000000a0a0"
PERSONAS = 3
SPACES = 6

MESSAGES_PER_TURN = 2


@dataclass(frozen=True)
class Size:
    """How much there is: sessions spread evenly over days, each with so many turns of two messages."""

    sessions: int
    days: int
    turns: int = 2
    words: bool = True
    """Whether messages can be searched; without, a large workspace is made in half the time."""

    @property
    def contacts(self) -> int:
        """Two sessions and a half to a contact."""
        return max(self.sessions * 2 // 5, 20)

    @property
    def messages(self) -> int:
        """All of them."""
        return self.sessions * self.turns * MESSAGES_PER_TURN


# Ids like the ones that the default makes, but of the time that a row is given.
_UUID7 = """
create function pg_temp.uuid7(at timestamptz) returns uuid language sql volatile as $$
    select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7'
            || substr(replace(gen_random_uuid()::text, '-', ''), 14))::uuid
$$
"""

_PLACES = """
insert into auth.users (id, email, email_confirmed_at) values
    ('{owner}', 'owner@growth.test', now()), ('{agent}', 'agent@growth.test', now());
insert into public.workspace_members (workspace_id, user_id, role) values
    ('{workspace}', '{owner}', 'owner'), ('{workspace}', '{agent}', 'agent');
create temporary table persona as
select n, private.uuid7() as id from generate_series(0, {personas} - 1) n;
insert into public.personas (id, workspace_id, kind, name)
select id, '{workspace}', 'demo', 'Persona ' || n from persona;
create temporary table space as
select n, private.uuid7() as id, (select p.id from persona p where p.n = s.n % {personas}) as persona_id
  from generate_series(0, {spaces} - 1) s (n);
insert into public.spaces (id, workspace_id, kind, name, persona_id)
select id, '{workspace}', 'embed', 'Space ' || n, persona_id from space;
"""

# Each contact has one conversation; contact n came when its first session was made, whose number is n / 2 * 5 + n % 2.
_CONTACTS = """
create temporary table contact as
select n, gen_random_uuid() as id, now() - interval '{days} days' * (1 - n::float8 / {contacts}) as at,
       pg_temp.uuid7(now() - interval '{days} days' * (1 - n::float8 / {contacts})) as conversation_id
  from generate_series(0, {contacts} - 1) n;
create unique index on contact (n);
insert into public.contact_identities (workspace_id, contact_id, kind, key, value, evidence, created_at)
select '{workspace}', id, 'email', 'c' || n || '@growth.test', 'c' || n || '@growth.test', 'asserted', at from contact;
insert into public.contact_identities (workspace_id, contact_id, kind, key, value, evidence, created_at)
select '{workspace}', id, 'telegram', n::text, n::text, 'asserted', at from contact where n % 4 = 0;
insert into public.conversations
       (id, workspace_id, contact_id, persona_id, space_id, channel, thread_key, proof, created_at)
select c.conversation_id, '{workspace}', c.id, s.persona_id, s.id, case when c.n % 5 = 0 then 'whatsapp' else 'web' end,
       'main', 'verified', c.at
  from contact c
  join space s on s.n = c.n % {spaces}
 order by c.n;
insert into public.tags (workspace_id, contact_id, name)
select '{workspace}', id, case when n % greatest({contacts} / 40, 10) = 0 then 'vip' else 'known' end
  from contact
 where n % greatest({contacts} / 40, 10) = 0 or n % 10 = 0;
"""

# The first session of a contact comes with it; the others go to contacts who were there by then.
_SESSIONS = """
create temporary table session as
select x.n, x.at, pg_temp.uuid7(x.at) as id, c.id as contact_id, c.conversation_id,
       row_number() over (partition by c.n order by x.at desc) as place
  from (select n, now() - interval '{days} days' * (1 - n::float8 / {sessions}) as at,
               case when n % 5 < 2 then n / 5 * 2 + n % 5
                    else floor((n / 5 * 2 + 1) * random())::integer end as contact
          from generate_series(0, {sessions} - 1) n) x
  join contact c on c.n = least(x.contact, {contacts} - 1);
insert into public.contacts (id, workspace_id, first_name, last_name, source, session_id, created_at)
select c.id, '{workspace}', 'First' || c.n, 'Last' || c.n, 'web', s.id, c.at
  from contact c
  join session s on s.n = c.n / 2 * 5 + c.n % 2
 order by c.n;
insert into public.sessions (id, workspace_id, conversation_id, contact_id, persona_id, assigned_user_id, status,
                             turn_count, message_count, created_at, last_activity_at, ended_at, archived_at,
                             status_before_archive, workflow, workflow_step)
select s.id, '{workspace}', s.conversation_id, s.contact_id, v.persona_id,
       case when s.n % 1000 = 7 then '{agent}'::uuid end, k.status,
       {turns}, {turns} * 2, s.at, s.at + interval '10 minutes',
       case when k.status not in ('active', 'paused') then s.at + interval '1 hour' end,
       case when k.status = 'archived' then s.at + interval '90 days' end,
       case when k.status = 'archived' then k.ended end,
       case when s.n % 10 = 0 then 'charter' end,
       case when s.n % 10 = 0 then (array['understanding_request', 'searching_aircraft', 'requesting_quotes',
                                          'proposal_ready'])[1 + (s.n / 10) % 4] end
  from session s
  join public.conversations v on v.id = s.conversation_id
  cross join lateral (select case when s.n % 100 < 70 then 'completed' when s.n % 100 < 90 then 'timeout'
                                  when s.n % 100 < 96 then 'cancelled' else 'failed'
                             end::public.session_status as ended) e
  cross join lateral (select e.ended, case when s.place = 1 and s.at > now() - interval '20 hours' then 'active'
                                           when s.at < now() - interval '90 days' then 'archived'
                                           else e.ended::text end::public.session_status as status) k
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
select s.id as session_id, s.conversation_id, s.contact_id, s.n, t, s.at + t * interval '2 minutes' as at,
       pg_temp.uuid7(s.at + t * interval '2 minutes') as id,
       case when (s.n + t) % 40 = 0 then 'failed' when (s.n + t) % 97 = 0 then 'timeout'
            when (s.n + t) % 89 = 0 then 'cancelled' else 'completed' end::public.turn_status as status,
       (400 * exp(random() + random() + random()))::integer as took
  from session s
 cross join generate_series(0, {turns} - 1) t
 order by s.n, t;
insert into public.turns (id, workspace_id, conversation_id, session_id, client_message_id, status, deadline,
                          lease_until, first_token_ms, error_code, created_at, finished_at)
select id, '{workspace}', conversation_id, session_id, 'm' || t || session_id, status, at, at,
       case when status <> 'timeout' then took / 4 end,
       case status when 'failed' then (array['persona_failed', 'persona_refused', 'persona_unreachable'])[1 + n % 3]
                   when 'timeout' then 'lease_expired' end,
       at, at + took * interval '1 millisecond'
  from turn;
insert into public.messages (workspace_id, conversation_id, session_id, turn_id, role, contact_id, text, created_at)
select '{workspace}', conversation_id, session_id, id, 'contact', contact_id,
       'Hello word' || (random() * {words})::integer || ' word' || (random() * {words})::integer || ' please', at
  from turn;
insert into public.messages (workspace_id, conversation_id, session_id, turn_id, role, persona_id, text, created_at)
select '{workspace}', t.conversation_id, t.session_id, t.id, 'persona', v.persona_id,
       'Certainly word' || (random() * {words})::integer || ' and word' || (random() * {words})::integer || '.',
       t.at + t.took * interval '1 millisecond'
  from turn t
  join public.conversations v on v.id = t.conversation_id
 order by t.n, t.t;
"""

_INDEXES = """
select c.relname as name, pg_get_indexdef(i.indexrelid) as definition
  from pg_index i
  join pg_class c on c.oid = i.indexrelid
 where i.indrelid in ('public.contacts'::regclass, 'public.contact_identities'::regclass,
                      'public.conversations'::regclass, 'public.sessions'::regclass,
                      'public.turns'::regclass, 'public.messages'::regclass)
   and not exists (select from pg_constraint k where k.conindid = i.indexrelid)
"""

_PARTS = (("places", _PLACES), ("contacts", _CONTACTS), ("sessions", _SESSIONS), ("turns and messages", _TURNS))


async def fill(connection: asyncpg.Connection, size: Size, report: Callable[[str], None]) -> None:
    """Fill a freshly migrated and seeded database, as the superuser, and keep its periods that are over."""
    names = {
        "workspace": WORKSPACE, "owner": OWNER, "agent": AGENT, "personas": PERSONAS, "spaces": SPACES,
        "contacts": size.contacts, "sessions": size.sessions, "turns": size.turns, "days": size.days,
        # Each word is in a dozen messages or so, however many there are.
        "words": size.messages // 6,
    }  # fmt: skip
    begun = time.monotonic()

    def say(what: str) -> None:
        report(f"{size.messages:,} messages: {what}, {time.monotonic() - begun:.0f} s")

    indexes = await connection.fetch(_INDEXES)
    await connection.execute("set synchronous_commit = off; set maintenance_work_mem = '512MB'; set work_mem = '128MB'")
    await connection.execute("select setseed(0.5)")
    await connection.execute(_UUID7)
    # Nothing is checked row by row, and what is an index and no key is made at the end: much sooner.
    await connection.execute("set session_replication_role = replica")
    for index in indexes:
        await connection.execute(f"drop index public.{index['name']}")
    for what, statements in _PARTS:
        await connection.execute(statements.format(**names))
        say(what)
    for index in indexes:
        if size.words or "tsvector" not in index["definition"]:
            await connection.execute(index["definition"])
    await connection.execute("reset session_replication_role")
    say("indexes")
    await connection.execute("vacuum analyze")
    counted = await connection.fetchval("select private.count_past_sessions()")
    await connection.execute("vacuum analyze public.session_stats_periods")
    await connection.execute("checkpoint")
    say(f"{counted} periods kept")
