"""Archived rows per second beside COPY, and the memory that it takes.

Fills a workspace with finished sessions of ten messages each, queues all of them, and archives them in a process of its
own, into a folder. Beside it, to a file: COPY of the tables (sessions, turns, messages) by the superuser; and COPY of
what an archive holds, the view session_rows, by the role that archives, as CSV: the limit of what it can read. The
archiver reads rows back and compares them with what it read; COPY does not. CPU is that of the client and of Postgres
for a row; unlike the rate, it does not depend on what else the machine does.
"""

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import UUID

import asyncpg
import click

from bench import rounds, stacks
from bench.filling import WORKSPACE, Size, fill
from lib.archive import parquet
from lib.database import copying
from local.paths import REPOSITORY
from local.stack import Stack

_TABLES = ("sessions", "turns", "messages")
_TABLES_COPIED, _VIEW_COPIED = "COPY of the tables, superuser", "COPY of the view, switchboard"

_QUEUE = """
update public.sessions
   set status = 'archived', status_before_archive = coalesce(status_before_archive, 'completed'),
       archived_at = coalesce(archived_at, now()), ended_at = coalesce(ended_at, now());
truncate public.archive_queue, public.session_archives, public.archive_objects;
insert into public.archive_queue (session_id, workspace_id, month)
select id, workspace_id, date_trunc('month', created_at at time zone 'utc')::date from public.sessions;
"""


@click.command(help=__doc__)
@click.option("--messages", default=1_000_000, show_default=True, type=click.IntRange(1_000, 20_000_000))
@click.option("--rounds", "times", default=3, show_default=True, type=click.IntRange(1, 20))
@click.option("--drop", is_flag=True, help="Also a last round that drops the messages.")
def command(messages: int, times: int, drop: bool) -> None:
    with stacks.own_stack({"max_wal_size": "4GB", "shared_buffers": "512MB"}) as stack:
        size = Size(sessions=messages // 10, days=365, turns=5)
        asyncio.run(_fill(stack, size))
        figures: dict[str, list[dict[str, float]]] = {_TABLES_COPIED: [], _VIEW_COPIED: [], "archive": []}
        for number in range(times + 1):
            taken = [*asyncio.run(_copy(stack)), _archive(stack, "keep")]
            if number > 0:  # the first round fills caches
                for each, one in zip(figures.values(), taken, strict=True):
                    each.append(one)
        if drop:
            figures["archive, dropping"] = [_archive(stack, "drop")]
    rounds.show_table(
        [
            "",
            "rows",
            "seconds",
            "rows/s",
            "of tables",
            "of view",
            "CPU, µs a row",
            "Postgres, µs a row",
            "peak MB",
        ],
        [_row(name, taken, figures[_TABLES_COPIED], figures[_VIEW_COPIED]) for name, taken in figures.items()],
    )


def _rate(taken: list[dict[str, float]]) -> float:
    return sum(each["rows"] / each["seconds"] for each in taken) / len(taken)


def _row(name: str, taken: list[dict[str, float]], *copied: list[dict[str, float]]) -> list[str]:
    peak = max(each.get("peak_mb", 0) for each in taken)
    return [
        name,
        f"{taken[0]['rows']:,.0f}",
        rounds.spread([each["seconds"] for each in taken], 1),
        f"{_rate(taken):,.0f}",
        *(f"{_rate(taken) / _rate(limit):.0%}" for limit in copied),
        *(
            f"{statistics.median(each[name] / each['rows'] for each in taken) * 1e6:.1f}"
            for name in ("cpu", "postgres")
        ),
        f"{peak:,.0f}" if peak else "",
    ]


async def _fill(stack: Stack, size: Size) -> None:
    connection = await asyncpg.connect(stack.admin_url)
    # pg_cron would call the archive function meanwhile.
    await connection.execute("update cron.job set active = false; notify pg_cron")
    agent = await connection.fetchval("select user_id from public.workspace_members limit 1")
    await fill(connection, size, agent)
    await connection.close()


async def _copy(stack: Stack) -> list[dict[str, float]]:
    """The tables by the superuser, and the view by the role that archives."""
    connection = await asyncpg.connect(stack.admin_url)
    rows = sum([await connection.fetchval(f"select count(*) from public.{table}") for table in _TABLES])  # noqa: S608
    output = Path(stack.state_dir) / "copied"

    async def tables() -> None:
        for table in _TABLES:
            await connection.copy_from_table(table, schema_name="public", output=output)

    async def view() -> None:
        await connection.execute("set role switchboard")
        await copying.enter(connection, UUID(WORKSPACE))
        columns = ", ".join(f'"{name}"' for name in ("id", *parquet.NAMES[1:]))
        query = f"select {columns} from public.session_rows"  # noqa: S608 (names of columns)
        await connection.copy_from_query(query, output=output, format="csv")

    async def measure(copy: Callable[[], Awaitable[None]]) -> dict[str, float]:
        postgres = stack.pids()["postgres"]
        spent, cpu, started = stacks.cpu_seconds(postgres), time.process_time(), time.perf_counter()
        async with connection.transaction():
            await copy()
        taken = {"rows": rows, "seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu}
        return taken | {"postgres": stacks.cpu_seconds(postgres) - spent}

    figures = [await measure(tables), await measure(view)]
    await connection.close()
    return figures


def _archive(stack: Stack, retention: str) -> dict[str, float]:
    retain = f"update public.workspaces set archive_retention = '{retention}' where id = '{WORKSPACE}'"  # noqa: S608
    stacks.execute(
        stack, _QUEUE, retain, "vacuum analyze public.sessions", "analyze public.archive_queue", "checkpoint"
    )
    command = [sys.executable, "-m", "bench.servers.archiver"]
    postgres = stack.pids()["postgres"]
    spent = stacks.cpu_seconds(postgres)
    with subprocess.Popen(
        command, env=stack.gateway_env(0), cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        taken: dict[str, float] = json.loads(child.stdout.readline() if child.stdout else "{}")
        taken["postgres"] = stacks.cpu_seconds(postgres) - spent
        child.communicate("\n")
    return taken
