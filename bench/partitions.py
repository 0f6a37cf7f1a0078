"""Cost of turns, look-ups and lists where messages and turns are plain tables, and where they are partitioned by month.

Each is a database with the declared schema and the same rows. A partitioned table's keys contain its time, so keys on
the id alone, and foreign keys to them, are left out there. Milliseconds are medians of one connection to the
database itself, without commits. Buffers are those that a call touches. The month is removed in a transaction that
is rolled back.
"""

import asyncio
import json
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import asyncpg
import click
from tqdm import tqdm

from bench import rounds
from bench.filling import WORKSPACE, Size, fill
from bench.growth import TARGETS
from local import migrations, schema, scratch
from local.postgres import Cluster
from local.statements import split

PARTITIONED = ("turns", "messages")
VARIANTS = ("plain", "by month")
WARM_UP = 8

_POSTGRES = {"shared_buffers": "2GB", "max_wal_size": "16GB", "autovacuum": "off", "jit": "off"}
_OWNER = "00000000-0000-4000-8000-00000000e0e0"
_OF_OWNER = {"role": "authenticated", "sub": _OWNER}
_AT_WORK = {"role": "switchboard", "scope": {"workspace_id": WORKSPACE}, "caller": {"kind": "system"}}

_KEY_OF_ID = re.compile(r"primary key \(id\)")
_KEY_TO_THEM = re.compile(
    rf"\n *constraint \w+ +foreign key \([^)]*\)\s+references public\.(?:{'|'.join(PARTITIONED)}) [^\n]*"
)
_OTHER_KEYS = re.compile(r"\n *constraint \w+ +unique \([^\n]*")
_INDEX_OF_THEM = re.compile(rf"create unique index (\w+)(\s+on public\.(?:{'|'.join(PARTITIONED)})\b)")


class Operation(NamedTuple):
    """A statement with the fields of a target, and its caller's claims; None is the superuser."""

    sql: str
    claims: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None


def _contact(target: Mapping[str, Any]) -> Mapping[str, Any]:
    contact = {"kind": "contact", "contact_id": target["contact"], "conversation_id": target["conversation"]}
    scope = {"workspace_id": WORKSPACE, "space_id": target["space"]}
    return {"role": "switchboard", "scope": scope, "caller": {**contact, "proof": "verified"}}


_START = "select public.start_turn($space, 'Hello', client_message_id => $new)"
_LIST = (
    "select * from public.session_details where workspace_id = $workspace order by created_at desc, id desc limit 51"
)
OPERATIONS = {
    # What any answer costs, a cache's too; and what a cache of sessions would answer.
    "nothing": Operation("select 1"),
    "the live session of a conversation": Operation(
        "select * from public.sessions where conversation_id = $conversation and status in ('active', 'paused')"
    ),
    "start_turn": Operation(_START, _contact),
    "finish_turn": Operation("select public.finish_turn($started, 'completed', 'An answer.')", lambda _: _AT_WORK),
    "a message by its id": Operation("select * from public.messages where id = $message"),
    "a turn by its id": Operation("select * from public.turns where id = $turn"),
    "a repeated message": Operation(
        "select id from public.turns where conversation_id = $conversation and client_message_id = $key"
    ),
    "the newest messages of a conversation": Operation(
        "select * from public.messages where conversation_id = $conversation order by created_at desc limit 50"
    ),
    "the messages of a session": Operation(
        "select * from public.messages where session_id = $session order by created_at"
    ),
    "the newest messages of a conversation, of 90 days": Operation(
        "select * from public.messages where conversation_id = $conversation"
        " and created_at > now() - interval '90 days' order by created_at desc limit 50"
    ),
    "a session with its timeline": Operation(
        "select * from public.session_details where id = $session", lambda _: _OF_OWNER
    ),
    "sessions, newest": Operation(_LIST, lambda _: _OF_OWNER),
    "sessions with a rare word": Operation(
        "select * from public.search_sessions($workspace, 'word' || $number) limit 51", lambda _: _OF_OWNER
    ),
}
"""`$field` is a value of the target."""


def statements(by_month: bool, first: date, last: date) -> Iterator[str]:
    """The declared schema, with messages and turns by month where that is asked for."""
    for file in schema.files():
        for statement in split(file.read_text()):
            yield from _partitioned(statement.text, first, last) if by_month else [statement.text]


def _partitioned(text: str, first: date, last: date) -> Iterator[str]:
    bare = _KEY_TO_THEM.sub("", text)
    own = next((table for table in PARTITIONED if re.search(rf"create table public\.{table} \(", bare)), None)
    if own is not None:
        bare = _OTHER_KEYS.sub("", _KEY_OF_ID.sub("primary key (id, created_at)", bare))
    if bare != text:
        bare = re.sub(r",(\s*\)\s*)$", r"\1", bare)
    yield _INDEX_OF_THEM.sub(r"create index \1\2", bare) + (" partition by range (created_at)" if own else "")
    for month in months(first, last) if own else ():
        bounds = f"from ('{month}') to ('{_next(month)}')"
        yield f"create table public.{own}_{month:%Y_%m} partition of public.{own} for values {bounds}"
    if own == "turns":
        # What its keys were looked up by.
        yield "create index turns_conversation_key on public.turns (workspace_id, conversation_id, id)"
        yield "create index turns_client_message_id_key on public.turns (conversation_id, client_message_id)"


def months(first: date, last: date) -> Iterator[date]:
    """The first day of every month from one day to another, and of one more."""
    month = first.replace(day=1)
    while month <= _next(last):
        yield month
        month = _next(month)


def _next(month: date) -> date:
    return (month.replace(day=1) + timedelta(days=32)).replace(day=1)


class Database:
    """A filled database."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection
        self.targets: list[dict[str, Any]] = []

    @classmethod
    async def make(cls, cluster: Cluster, name: str, days: int) -> "Database":
        """Create a variant for rows of so many days."""
        url = await scratch.database(cluster, "filled_" + name.replace(" ", "_"))
        today = datetime.now(UTC).date()
        owner = await asyncpg.connect(url)
        async with owner.transaction():
            await owner.execute("set local check_function_bodies = off; set local client_min_messages = error")
            for statement in statements(name != "plain", today - timedelta(days=days + 1), today):
                await owner.execute(statement)
        await owner.close()
        await migrations.seed(url)
        made = cls(await asyncpg.connect(cluster.url(database=url.rpartition("/")[2]), command_timeout=None))
        await made.connection.execute(
            "with made as (insert into auth.users (id, email) values ($1, 'owner@growth.test') returning id)"
            " insert into public.workspace_members (workspace_id, user_id, role) select $2, id, 'owner' from made",
            *(UUID(_OWNER), UUID(WORKSPACE)),
        )
        return made

    async def fill(self, size: Size, samples: int) -> None:
        """Fill it, and choose the targets."""
        await fill(self.connection, size, UUID(_OWNER), counted=False)
        self.targets = [dict(row) for row in await self.connection.fetch(TARGETS, WARM_UP + samples)]
        for target in self.targets:
            row = await self.connection.fetchrow(
                "select t.id::text as turn, t.client_message_id as key, m.id::text as message"
                "  from public.turns t join public.messages m on m.turn_id = t.id"
                " where t.session_id = $1::text::uuid limit 1", target["session"],
            )  # fmt: skip
            target |= dict(row or {})

    async def measure(self, target: Mapping[str, Any], *, explained: bool) -> dict[str, float]:
        """Milliseconds of every operation, or the buffers that it touches; all of it is rolled back."""
        found = {}
        values = {**target, "workspace": WORKSPACE, "new": str(uuid4())}
        prefix = "explain (analyze, buffers, timing off, format json) " if explained else ""
        transaction = self.connection.transaction()
        await transaction.start()
        try:
            for name, operation in OPERATIONS.items():
                await self.connection.execute("reset role")
                if name == "finish_turn":
                    active = (
                        "select id::text from public.turns where conversation_id = $1::text::uuid and status = 'active'"
                    )
                    values["started"] = await self.connection.fetchval(active, target["conversation"])
                await self._become(operation, target)
                sql = prefix + re.sub(r"\$(\w+)", lambda field: f"'{values[field[1]]}'", operation.sql)
                began = time.perf_counter()
                rows = await self.connection.fetch(sql)
                found[name] = (time.perf_counter() - began) * 1000
                if explained:
                    plan = json.loads(rows[0][0])[0]["Plan"]
                    found[name] = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        finally:
            await transaction.rollback()
        return found

    async def _become(self, operation: Operation, target: Mapping[str, Any]) -> None:
        if operation.claims is None:
            return
        claims = operation.claims(target)
        await self.connection.execute("select set_config('request.jwt.claims', $1, true)", json.dumps(claims))
        await self.connection.execute(f"set local role {claims['role']}")
        if claims["role"] == "authenticated":
            # As PostgREST does before each request.
            await self.connection.execute("select public.check_request()")

    async def drop_month(self, month: date, by_month: bool) -> tuple[float, float]:
        """Seconds to remove the messages and turns of a month, and megabytes of log; rolled back."""
        statements = [
            f"drop table public.{table}_{month:%Y_%m}" if by_month
            else f"delete from public.{table} where created_at >= '{month}' and created_at < '{_next(month)}'"  # noqa: S608
            for table in reversed(PARTITIONED)
        ]  # fmt: skip
        transaction = self.connection.transaction()
        await transaction.start()
        before, began = await self.connection.fetchval("select pg_current_wal_insert_lsn()"), time.perf_counter()
        for statement in statements:
            await self.connection.execute(statement)
        took = time.perf_counter() - began
        written = await self.connection.fetchval("select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), $1)", before)
        await transaction.rollback()
        return took, float(written) / 1_000_000

    async def megabytes(self) -> float:
        """The size of both tables with their indexes."""
        query = "select pg_total_relation_size(oid) from pg_class where relkind = 'r' and relname ~ $1"
        sizes = await self.connection.fetch(query, rf"^({'|'.join(PARTITIONED)})(_\d+_\d+)?$")
        return sum(int(row[0]) for row in sizes) / 1_000_000


Cells = tuple[str, Sequence[float], int]
"""What was measured, its value in each variant, and the digits that are shown."""


async def measure(size: Size, samples: int) -> list[Cells]:
    """Fill both variants, and take turns in measuring them."""
    async with scratch.server(_POSTGRES) as cluster:
        databases = [await Database.make(cluster, name, size.days) for name in VARIANTS]
        await asyncio.gather(*(database.fill(size, samples) for database in databases))
        ms: list[dict[str, list[float]]] = [{name: [] for name in OPERATIONS} for _ in VARIANTS]
        buffers: list[dict[str, list[float]]] = [{name: [] for name in OPERATIONS} for _ in VARIANTS]
        for number in tqdm(range(WARM_UP + samples), unit="target", file=sys.stderr):
            for database, kept, touched in zip(databases, ms, buffers, strict=True):
                target = database.targets[number % len(database.targets)]
                for explained, into in ((False, kept), (True, touched)):
                    for name, value in (await database.measure(target, explained=explained)).items():
                        into[name].extend([value] if number >= WARM_UP else [])
        found: list[Cells] = []
        for name in OPERATIONS:
            found.append((f"{name}, ms", [statistics.median(kept[name]) for kept in ms], 2))
            found.append((f"{name}, buffers", [statistics.median(touched[name]) for touched in buffers], 0))
        month = _next((datetime.now(UTC) - timedelta(days=size.days)).date())
        dropped = [
            await database.drop_month(month, by_month)
            for by_month, database in zip((False, True), databases, strict=True)
        ]
        found.append(("the oldest whole month removed, s", [took for took, _ in dropped], 3))
        found.append(("the oldest whole month removed, MB of log", [written for _, written in dropped], 1))
        found.append(("both tables with indexes, MB", [await database.megabytes() for database in databases], 0))
        for database in databases:
            await database.connection.close()
    return found


@click.command(help=__doc__)
@click.option("--messages", default=1_000_000, show_default=True, type=click.IntRange(400, 20_000_000))
@click.option(
    "--days", default=730, show_default=True, type=click.IntRange(62, 3_650), help="Over which they are spread."
)
@click.option(
    "--samples", default=30, show_default=True, type=click.IntRange(1, 1000), help="Contacts that are asked for."
)
def command(messages: int, days: int, samples: int) -> None:
    found = asyncio.run(measure(Size(messages // 4, days), samples))
    heads = ("what", *VARIANTS, "ratio")
    rounds.show_table(heads, ([what, *(f"{each:,.{digits}f}" for each in values), f"{values[1] / values[0]:.2f}"]
                              for what, values, digits in found if values[0]))  # fmt: skip
