"""What a turn asks of Postgres, counted: every statement goes to the server's log for as long as a few turns last."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import asyncpg

from bench.cost.figures import Statements

# `%m [%p] ` in front, then one of these for each statement of the simple and of the extended protocol.
_LINE = re.compile(rb"^\S+ \S+ \S+ \[(\d+)\] LOG:  (?:statement|execute [^:]*): ", re.MULTILINE)


async def count(
    admin: asyncpg.Connection,
    log: Path,
    *,
    database: str,
    role: str,
    turns: int,
    have_turns: Callable[[], Awaitable[None]],
) -> Statements:
    """What one of so many turns asks, by the sessions that this role has in this database."""
    await _log(admin, "all")
    start = log.stat().st_size
    try:
        await have_turns()
    finally:
        await _log(admin, "none")
    await asyncio.sleep(0.1)
    query = "select pid from pg_stat_activity where datname = $1 and usename = $2"
    pids = {int(row["pid"]) for row in await admin.fetch(query, database, role)}
    with log.open("rb") as file:
        file.seek(start)
        text = file.read()
    said: dict[int, list[bytes]] = {pid: [] for pid in pids}
    for match in _LINE.finditer(text):
        if (pid := int(match[1])) in said:
            said[pid].append(text[match.end() : match.end() + 40].lstrip().lower())
    asked = sum(len(statements) for statements in said.values())
    return Statements(asked / turns, sum(transactions(statements) for statements in said.values()) / turns)


def transactions(said: Sequence[bytes]) -> int:
    """How many transactions a session's statements made: outside a block each is one of its own."""
    begun, inside = 0, False
    for statement in said:
        if statement.startswith((b"commit", b"rollback", b"end")):
            inside = False
        elif not inside:
            begun += 1
            inside = statement.startswith((b"begin", b"start transaction"))
    return begun


async def _log(admin: asyncpg.Connection, what: str) -> None:
    await admin.execute(f"alter system set log_statement = '{what}'")
    await admin.execute("select pg_reload_conf()")
    # Sessions read it between two statements.
    await asyncio.sleep(0.2)
