"""Frequent calls and lists read no table from end to end and call no policy's function row by row, on every version.

Counted while the functions themselves run, as the roles that run them and more often than it takes plpgsql to keep a
plan: a plan in a test is not the one that a function makes. The rows are those of the growth benchmark: a year of
chats in one workspace.
"""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from bench.filling import WORKSPACE, Size, fill
from bench.growth import TARGETS
from lib.contacts.timeline import TimelinePageRequest
from tests.database import hot_calls
from tests.database.hot_calls import COLUMNS, PAGE, Call, contact_query
from tests.servers import VERSIONS, Server

SIZE = Size(sessions=48_000, days=365, turns=1)

CROWDED = "00000000-0000-4000-8000-0000000000bb"
"""A contact with thousands of sessions."""

MORE_CONTACTS = f"""
set session_replication_role = replica;
insert into public.contacts (workspace_id, first_name, created_at)
select '{WORKSPACE}', 'New' || n, now() - n * interval '3 hours' from generate_series(1, 3000) n;
insert into public.contacts (workspace_id, kind, title, created_at)
select '{WORKSPACE}', 'group', 'Group' || n, now() - n * interval '1 minute' from generate_series(1, 30) n;
insert into public.contacts (id, workspace_id, created_at)
values ('{CROWDED}', '{WORKSPACE}', now() - interval '1 year');
insert into public.conversations (workspace_id, contact_id, persona_id, thread_key, proof)
select workspace_id, '{CROWDED}', id, 'main', 'verified' from public.personas where name = 'Persona 0';
create temporary table hour as
select now() - interval '1 year' + n * interval '1 hour' as at from generate_series(1, 4000) n;
insert into public.sessions (workspace_id, conversation_id, contact_id, persona_id, status, status_before_archive,
                             turn_count, message_count, created_at, first_message_at, last_activity_at, ended_at,
                             archived_at)
select workspace_id, c.id, contact_id, persona_id, 'archived', 'completed', 1, 2, at, at + interval '1 minute',
       at + interval '1 minute', at + interval '2 minutes', at + interval '90 days'
  from public.conversations c cross join hour where contact_id = '{CROWDED}';
insert into public.audit_events (workspace_id, verb, object_id, created_at)
select '{WORKSPACE}', 'contact.registered', '{CROWDED}', at from hour;
reset session_replication_role;
analyze;
"""

REPEATS = 7
"""From the sixth call on a kept plan may stand for all arguments."""

BIG = {
    "contacts", "contact_identities", "conversations", "sessions", "turns", "messages", "session_refs", "tags",
    "requests", "proposals",
}  # fmt: skip

ASKED_BY_POLICIES = (
    "member_workspaces", "admin_workspaces", "own_conversations", "own_sessions", "own_active_turns",
    "token_conversation", "verified_contact",
)  # fmt: skip

MOST_ASKED = 24
"""Once for each statement of a call, about; a page alone has fifty rows."""

MOST_TOUCHED = {
    "inbox": 1000,
    "inbox, unread": 1300,
    "sessions, newest": 950,
    "sessions by status": 950,
    "sessions by persona": 950,
    "sessions of the last day": 950,
    "contacts, newest": 450,
    "contacts with a rare tag": 520,
}
"""Buffers of a page of fifty, where Postgres looks an array of ids up without a descent for each (17 and later)."""


def begins(text: str) -> str:
    """The condition that a name or last name begins with a text."""
    conditions = (f"{column} >= '{text}' and {column} < '{text}\U0010ffff'" for column in ("name_key", "last_name_key"))
    return f"({' or '.join(conditions)})"


# A view of contacts, a condition, and how many rows its first page has.
LISTS = {
    "all": ("contact_details", "true", PAGE),
    "a space": ("contacts_by_space", "space_id = '{space}'", PAGE),
    "an unused space": ("contacts_by_space", f"space_id = '{hot_calls.OWNER}'", 0),
    "a session": ("contacts_by_activity", "true", PAGE),
    "no session": ("contacts_without_session", "true", PAGE),
    "a rare tag": ("contacts_by_tag", "tag = 'vip'", 40),
    "a common tag": ("contacts_by_tag", "tag = 'known'", PAGE),
    "an unused tag": ("contacts_by_tag", "tag = 'x'", 0),
    "active after tomorrow": ("contacts_by_activity", "active_at >= now() + interval '1 day'", 0),
    "active since 2000": ("contacts_by_activity", "active_at >= '2000-01-01'", PAGE),
    "inactive since tomorrow": ("contacts_by_activity", "active_at < now() + interval '1 day'", PAGE),
    "inactive since 2000": ("contacts_by_activity", "active_at < '2000-01-01'", 0),
    "groups": ("contact_details", "kind = 'group'", 30),
    "persons": ("contact_details", "kind = 'person'", PAGE),
    "a first name": ("contact_details", begins("first77"), PAGE),
    "a last name": ("contact_details", begins("last4321"), 1),
    "several": ("contacts_by_tag", f"tag = 'vip' and last_activity_at is not null and {begins('first1')}", 21),
}

ONE = "'00000000-0000-4000-8000-000000000001'::uuid"

# A query of a turn's steps, and the columns that an index is asked for. An operator that is not leakproof (an enum's
# equality) is no index condition beside a policy; the newest Postgres hides that by skipping through the index.
LOOK_UPS = {
    "an identity": (
        f"select from public.contact_identities where workspace_id = {ONE} and kind = 'email' and key = 'k'",
        ("workspace_id", "key"),
    ),
    "a contact's conversation": (
        f"select from public.conversations where contact_id = {ONE} and user_id is not distinct from null"
        " and thread_key = 'main'",
        ("contact_id",),
    ),
    "the owner's conversation": (
        f"select from public.conversations where contact_id is null and user_id = {ONE} and thread_key = 'main'",
        ("user_id",),
    ),
    "a first message": (
        f"select from public.conversations where space_id = {ONE} and thread_key = 'first:x'",
        ("space_id", "thread_key"),
    ),
    "a live session": (
        f"select from public.sessions where conversation_id = {ONE} and status in ('active', 'paused')",
        ("conversation_id",),
    ),
    "a repeated message": (
        f"select from public.turns where conversation_id = {ONE} and client_message_id = 'm'",
        ("conversation_id", "client_message_id"),
    ),
    "a repeated message that joined a turn": (
        f"select from public.messages where conversation_id = {ONE} and client_message_id = 'm'",
        ("conversation_id", "client_message_id"),
    ),
    "the history": (
        f"select from public.messages where conversation_id = {ONE} order by created_at desc, id desc limit 20",
        ("conversation_id",),
    ),
}

_COUNTS = """
select relname::text as name, pg_stat_get_xact_numscans(relid) as number
  from pg_stat_user_tables
 where schemaname = 'public'
 union all
select 'private.' || proname, coalesce(pg_stat_get_xact_function_calls(oid), 0)
  from pg_proc
 where pronamespace = 'private'::regnamespace and proname = any ($1)
"""


class Seen(NamedTuple):
    """What a call did: the big tables that it read whole, the most calls of one policy function, and the answer."""

    scans: set[str]
    asked: int
    answer: str


class Watch:
    """A database with a year of chats, and a connection on which it is watched what a call does."""

    def __init__(self, connection: asyncpg.Connection, admin: asyncpg.Connection) -> None:
        self.connection = connection
        self.admin = admin

    async def look(self, call: Call) -> Seen:
        """Make a call."""
        sql = await self._come_to(call)
        async with self.connection.transaction():
            # The session's own counts, which are not yet told to others; in a transaction they only grow.
            before = await self._counts()
            answer = await self._answer(call.claims, sql, *call.values)
            await self.connection.execute("reset role")
            after = await self._counts()
        grown = {name: after[name] - before[name] for name in after}
        asked = max(grown[f"private.{name}"] for name in ASKED_BY_POLICIES)
        return Seen({name for name in BIG if grown[name]}, asked, answer)

    async def is_compiled(self, call: Call) -> bool:
        """Whether a statement in a call is, where the server can."""
        told: list[str] = []

        def hear(_: object, message: Any) -> None:
            told.append(message.message)

        await self.connection.execute("discard plans")
        self.connection.add_log_listener(hear)
        try:
            async with self.connection.transaction():
                await self.connection.execute(
                    "load 'auto_explain'; set local auto_explain.log_min_duration = 0;"
                    " set local auto_explain.log_nested_statements = on; set local auto_explain.log_analyze = on;"
                    " set local client_min_messages = log"
                )
                await self._answer(call.claims, call.sql)
        finally:
            self.connection.remove_log_listener(hear)
        assert any("count_sessions" in message for message in told)
        return any("JIT:" in message for message in told)

    async def touched(self, call: Call) -> int:
        """How many buffers a call touches."""
        explain = "explain (analyze, buffers, timing off, format json)"
        plan = await self._answer(call.claims, call.sql, *call.values, explain=explain)
        touched = json.loads(plan)[0]["Plan"]
        return int(touched["Shared Hit Blocks"] + touched["Shared Read Blocks"])

    async def rows_read(self, call: Call) -> int:
        """How many rows of tables a call reads."""
        count = "select sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint from pg_stat_xact_user_tables"
        async with self.connection.transaction():
            before = await self.connection.fetchval(count)
            await self._answer(call.claims, call.sql, *call.values)
            await self.connection.execute("reset role")
            return int(await self.connection.fetchval(count) - before)

    async def is_at_least(self, version: int) -> bool:
        """Whether the server is of this version or a newer one."""
        return int(await self.admin.fetchval("select current_setting('server_version_num')")) >= version * 10_000

    async def ends_beside(self, call: Call) -> bool:
        """Whether every change of a session that a call makes stays on the row's page and out of the indexes."""
        counts = (
            "select array[pg_stat_get_xact_tuples_updated(t), pg_stat_get_xact_tuples_hot_updated(t)]"
            " from (select 'public.sessions'::regclass::oid as t) s"
        )
        sql = await self._come_to(call)
        async with self.connection.transaction():
            before = await self.connection.fetchval(counts)
            await self._answer(call.claims, sql)
            await self.connection.execute("reset role")
            after = await self.connection.fetchval(counts)
        updated, beside = (after[place] - before[place] for place in range(2))
        assert updated > 0
        return bool(updated == beside)

    async def _come_to(self, call: Call) -> str:
        """Do what comes before a call; the call's own statement."""
        sql = call.sql
        if call.first is not None:
            await self._make_ready(call.first)
            async with self.connection.transaction():
                answer = await self._answer(call.first.claims, call.first.sql)
            sql = sql.replace("{turn_id}", json.loads(answer)["turn_id"])
        await self._make_ready(call)
        return sql

    async def _make_ready(self, call: Call) -> None:
        if call.before:
            await self.admin.execute(call.before)

    async def _answer(self, claims: Mapping[str, Any], sql: str, *values: object, explain: str = "") -> str:
        await self.connection.execute("select set_config('request.jwt.claims', $1, true)", json.dumps(claims))
        await self.connection.execute(f"set local role {claims['role']}")
        if sql.startswith("with ") and claims["role"] == "authenticated":
            # As PostgREST does before each request.
            await self.connection.execute("select public.check_request()")
        statement = sql if sql.startswith("with ") else f"select public.{sql}"
        answer: str = await self.connection.fetchval(f"{explain} {statement}", *values)
        return answer

    async def _counts(self) -> dict[str, int]:
        rows = await self.connection.fetch(_COUNTS, list(ASKED_BY_POLICIES))
        return {row["name"]: row["number"] for row in rows}


@pytest_asyncio.fixture(scope="module", params=VERSIONS)
async def watch(server: Callable[[int], Server], request: pytest.FixtureRequest) -> AsyncIterator[Watch]:
    """One of each version."""
    running = server(request.param)
    name = await running.migrated()
    admin = await asyncpg.connect(running.admin_url(name))
    await admin.execute(hot_calls.MEMBERS)
    await fill(admin, SIZE, UUID(hot_calls.AGENT))
    await admin.execute(MORE_CONTACTS)
    connection = await asyncpg.connect(running.admin_url(name))
    await connection.execute("set track_functions = 'all'")
    yield Watch(connection, admin)
    await connection.close()
    await admin.close()
    await running.drop(name)


async def test_every_look_up_of_a_turn_is_an_index_condition(watch: Watch) -> None:
    async with watch.connection.transaction():
        await watch.connection.execute("select set_config('switchboard.workspace_id', $1, true)", str(WORKSPACE))
        await watch.connection.execute("set local role switchboard")
        for what, (query, columns) in LOOK_UPS.items():
            plan = "\n".join(row[0] for row in await watch.connection.fetch("explain " + query))
            condition = plan.partition("Index Cond:")[2].partition("\n")[0]
            missing = [column for column in columns if column not in condition]
            assert not missing, f"{what}: {missing} not in the index condition\n{plan}"


async def test_no_list_of_contacts_reads_a_table_whole(watch: Watch) -> None:
    target = dict((await watch.admin.fetch(TARGETS, 1))[0])
    for what, (view, condition, count) in LISTS.items():
        shown = f"merged_into_id is null and {condition.format(**target)}"
        seen = await watch.look(contact_query(view, shown, COLUMNS))
        rows = json.loads(seen.answer or "[]")
        assert (seen.scans, len(rows)) == (set(), count), what
        if count == PAGE:
            at, last = rows[-2]["created_at"], rows[-2]["id"]
            after = f"created_at <= '{at}' and (created_at < '{at}' or id < '{last}')"
            seen = await watch.look(contact_query(view, f"{shown} and {after}", COLUMNS))
            assert (seen.scans, bool(seen.answer)) == (set(), True), f"{what}, second page"


def timeline(cursor: str | None) -> Call:
    """A page of the timeline of the contact with thousands of sessions."""
    arguments = TimelinePageRequest(limit=50, cursor=cursor).arguments()
    named = "".join(f", {name} => '{value}'" for name, value in arguments.items())
    return Call(hot_calls.OF_OWNER, f"read_contact_timeline('{CROWDED}'{named})")


async def test_a_page_of_a_timeline_reads_only_its_events_however_many_sessions_there_are(watch: Watch) -> None:
    # From the beginning, from the middle, and near the end, where only the archive has later events.
    places = (
        "select extract(epoch from min(created_at) + interval '60 days') * 1000000,"
        " extract(epoch from max(archived_at) - interval '10 days') * 1000000"
        " from public.sessions where contact_id = $1"
    )
    middle, late = map(int, await watch.admin.fetchrow(places, CROWDED) or ())
    for cursor in (None, f"{middle}.5.{CROWDED}", f"{late}.0.{CROWDED}"):
        seen = await watch.look(timeline(cursor))
        assert len(json.loads(seen.answer)["items"]) == 51
        # Of each of the five kinds of events that are as many as the sessions, one page is read.
        assert 50 <= await watch.rows_read(timeline(cursor)) < 600


# The last test, because it changes the database to see that reads of whole tables are found.
async def test_no_hot_call_reads_a_table_whole_or_asks_a_policys_function_for_each_row(watch: Watch) -> None:
    targets = [dict(row) for row in await watch.admin.fetch(TARGETS, REPEATS)]
    found: dict[str, tuple[set[str], int]] = {}
    for name in hot_calls.of(targets[0], SIZE.days):
        for target in targets[:REPEATS]:
            seen = await watch.look(hot_calls.of(target, SIZE.days)[name])
            before = found.get(name, (set[str](), 0))
            found[name] = (before[0] | seen.scans, max(before[1], seen.asked))
    assert {name: scans for name, (scans, _) in found.items() if scans} == {}
    assert {name: asked for name, (_, asked) in found.items() if asked > MOST_ASKED} == {}

    # A page of rows is looked up together: it touches a few hundred pages, not a descent for each row and table.
    calls = hot_calls.of(targets[0], SIZE.days)
    most = MOST_TOUCHED if await watch.is_at_least(17) else {}
    most |= {name: 40 for name in calls if name.startswith("no session ")}
    touched = {name: await watch.touched(calls[name]) for name in most}
    assert {name: number for name, number in touched.items() if number > most[name]} == {}

    # What is of all ages is found from its id by a hash, and never by a descent.
    for table in ("contacts", "conversations"):
        look_up = f"explain select * from public.{table} where id = '{targets[0]['contact']}'"
        plan = "\n".join(row[0] for row in await watch.admin.fetch(look_up))
        assert f"using {table}_id_idx" in plan, plan

    # A turn's end writes to no index of sessions, or hardly ever: there is room beside the row.
    beside = [await watch.ends_beside(hot_calls.of(target, SIZE.days)["finish_turn"]) for target in targets]
    assert beside.count(False) <= 1, beside

    # What is planned for any number of rows is not compiled, which takes longer than all of it.
    statistics = [call for name, call in calls.items() if name.startswith("statistics")]
    assert [await watch.is_compiled(call) for call in statistics] == [False] * len(statistics)
    if await watch.admin.fetchval("select pg_jit_available()"):
        # Without the optimiser, which takes half a minute.
        await watch.admin.execute(
            "alter function private.session_stats reset jit set jit_above_cost = 0"
            " set jit_optimize_above_cost = -1 set jit_inline_above_cost = -1"
        )
        assert await watch.is_compiled(statistics[0])

    # Each of these is found.
    await watch.admin.execute("drop index public.sessions_contact_opened_idx")
    assert await watch.rows_read(timeline(None)) > 4000
    call = calls["sessions, newest"]
    seen = await watch.look(call)
    assert (seen.scans, seen.asked > 0) == (set(), True)
    await watch.admin.execute("""
        drop policy "Admins read all sessions, users and agents their own" on public.sessions;
        create policy "Row by row" on public.sessions for select to authenticated
            using (id in (select private.own_sessions() where sessions.id is not null)
                   or exists (select from private.admin_workspaces() w where w = sessions.workspace_id));
        drop index public.sessions_created_at_idx;
        drop index public.sessions_persona_created_at_idx;
    """)
    assert (await watch.look(call)).asked > MOST_ASKED
    await watch.admin.execute("alter table public.sessions disable row level security")
    seen = await watch.look(hot_calls.session_query(hot_calls.OF_OWNER, "s.turn_count > 0"))
    assert seen.scans == {"sessions"}
