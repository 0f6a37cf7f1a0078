"""Whatever is asked often reads no table from end to end and asks no policy's function row by row, on every version.

Counted while the functions themselves run, as the roles that run them and more often than it takes plpgsql to keep a
plan: a plan in a test is not the one that a function makes. The rows are those of the growth benchmark: a year of
chats in one workspace.
"""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from bench.filling import Size, fill
from bench.growth import TARGETS
from tests.database import hot_calls
from tests.database.hot_calls import Call
from tests.servers import VERSIONS, Server

SIZE = Size(sessions=60_000, days=365, turns=1)

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
    "sessions, newest": 600,
    "sessions by status": 600,
    "sessions by persona": 600,
    "sessions of the last day": 600,
    "contacts, newest": 450,
    "contacts with a rare tag": 520,
}
"""Buffers of a page of fifty, where Postgres looks an array of ids up without a descent for each (17 and later)."""

_COUNTS = """
select relname::text as name, pg_stat_get_xact_numscans(relid) as number
  from pg_stat_user_tables
 where schemaname = 'public'
 union all
select 'private.' || proname, coalesce(pg_stat_get_xact_function_calls(oid), 0)
  from pg_proc
 where pronamespace = 'private'::regnamespace and proname = any ($1)
"""


class Watch:
    """A database with a year of chats, and a connection on which it is watched what a call does."""

    def __init__(self, connection: asyncpg.Connection, admin: asyncpg.Connection) -> None:
        self.connection = connection
        self.admin = admin

    async def look(self, call: Call) -> tuple[set[str], int]:
        """The big tables that a call read whole, and how often policies asked one of their functions at most."""
        sql = await self._come_to(call)
        async with self.connection.transaction():
            # The session's own counts, which are not yet told to others; in a transaction they only grow.
            before = await self._counts()
            await self._answer(call.claims, sql, *call.values)
            await self.connection.execute("reset role")
            after = await self._counts()
        grown = {name: after[name] - before[name] for name in after}
        asked = max(grown[f"private.{name}"] for name in ASKED_BY_POLICIES)
        return {name for name in BIG if grown[name]}, asked

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
        statement = sql if sql.startswith("with ") else f"select public.{sql}"
        answer: str = await self.connection.fetchval(f"{explain} {statement}", *values)
        return answer

    async def _counts(self) -> dict[str, int]:
        rows = await self.connection.fetch(_COUNTS, list(ASKED_BY_POLICIES))
        return {row["name"]: row["number"] for row in rows}


@pytest_asyncio.fixture(params=VERSIONS)
async def watch(server: Callable[[int], Server], request: pytest.FixtureRequest) -> AsyncIterator[Watch]:
    """One of each version."""
    running = server(request.param)
    name = await running.migrated()
    admin = await asyncpg.connect(running.admin_url(name))
    await admin.execute(hot_calls.MEMBERS)
    await fill(admin, SIZE, UUID(hot_calls.AGENT))
    connection = await asyncpg.connect(running.admin_url(name))
    await connection.execute("set track_functions = 'all'")
    yield Watch(connection, admin)
    await connection.close()
    await admin.close()
    await running.drop(name)


async def test_no_hot_call_reads_a_table_whole_or_asks_a_policys_function_for_each_row(watch: Watch) -> None:
    targets = [dict(row) for row in await watch.admin.fetch(TARGETS, REPEATS)]
    found: dict[str, tuple[set[str], int]] = {}
    for name in hot_calls.of(targets[0], SIZE.days):
        for target in targets[:REPEATS]:
            scans, asked = await watch.look(hot_calls.of(target, SIZE.days)[name])
            before = found.get(name, (set[str](), 0))
            found[name] = (before[0] | scans, max(before[1], asked))
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
        await watch.admin.execute("alter function private.session_stats reset jit")
        assert await watch.is_compiled(statistics[0])

    # And it would tell of both.
    call = calls["sessions, newest"]
    scans, asked = await watch.look(call)
    assert (scans, asked > 0) == (set(), True)
    await watch.admin.execute("""
        drop policy "Admins read all sessions, users and agents their own" on public.sessions;
        create policy "Row by row" on public.sessions for select to authenticated
            using (id in (select private.own_sessions() where sessions.id is not null)
                   or exists (select from private.admin_workspaces() w where w = sessions.workspace_id));
        drop index public.sessions_created_at_idx;
        drop index public.sessions_persona_created_at_idx;
    """)
    scans, asked = await watch.look(call)
    assert asked > MOST_ASKED
    await watch.admin.execute("alter table public.sessions disable row level security")
    scans, _ = await watch.look(hot_calls.session_query(hot_calls.OF_OWNER, "s.turn_count > 0"))
    assert scans == {"sessions"}
