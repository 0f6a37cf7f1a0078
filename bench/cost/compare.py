"""`python -m bench.cost.compare --before <checkout>`: what a turn costs there and here, in CPU of each part.

Each checkout has a stack of its own, and rounds of turns go to one and the other in turns, so that both have the same
noise: on a busy machine a rate says little, and CPU measured a minute ago not much more. Of each round the ratio is
taken, and of the ratios the median.
"""

import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import click

from bench.cost import measure, processes
from bench.cost.systems import switchboard
from bench.cost.worker import Chat, Settings
from local.paths import REPOSITORY

PARTS = {"functions": "gateway", "PostgREST": "postgrest", "Postgres": "postgres"}

# What runs in a checkout, with its own code: its stack, until its standard input ends.
_STACK = """
import json, sys
from pathlib import Path
from local.stack import start_stack
with start_stack(Path(sys.argv[1]), durable=True) as stack:
    print(json.dumps({"admin": stack.admin_url, "api": stack.api_url, "pids": stack.pids()}), flush=True)
    sys.stdin.read()
"""


@dataclass
class Measured:
    """What one checkout's rounds came to: CPU ms a turn by part, and bytes of WAL a turn."""

    name: str
    cpu: list[dict[str, float]] = field(default_factory=list)
    wal: list[float] = field(default_factory=list)


@dataclass
class _Side:
    """One checkout's stack, who chats with it, and what that came to."""

    pids: dict[str, int]
    admin: asyncpg.Connection
    chats: list[Chat]
    measured: Measured

    async def play(self, turns: int) -> None:
        """So many turns in each chat, every ten of them in a new thread."""

        async def go_on(chat: Chat) -> None:
            for number in range(turns):
                await chat.turn(new_thread=number % 10 == 0)

        position = await self.admin.fetchval("select pg_current_wal_insert_lsn()")
        before = processes.cpu(self.pids)
        await asyncio.gather(*(go_on(chat) for chat in self.chats))
        after = processes.cpu(self.pids)
        written = await self.admin.fetchval("select pg_current_wal_insert_lsn() - $1::pg_lsn", position)
        played = turns * len(self.chats)
        self.measured.cpu.append({part: (after[part] - before[part]) * 1000 / played for part in self.pids})
        self.measured.wal.append(float(written) / played)


@contextlib.contextmanager
def _stack(checkout: Path, folder: Path) -> Iterator[Any]:
    """A stack of this checkout in this folder: where it is, and its processes."""
    process = subprocess.Popen(
        [sys.executable, "-c", _STACK, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=checkout,
        env={"PYTHONPATH": str(checkout), "PATH": "/usr/bin:/bin:/usr/local/bin"},
    )
    assert process.stdin is not None  # noqa: S101 - pipes were asked for
    assert process.stdout is not None  # noqa: S101
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.stdin.close()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()


async def compare(sides: dict[str, Path], chats: int, turns: int, rounds: int) -> list[Measured]:
    """Play rounds against a stack of each checkout, in turns."""
    async with contextlib.AsyncExitStack() as started:

        def folder() -> Path:
            return Path(started.enter_context(tempfile.TemporaryDirectory(prefix="switchboard-compare-")))

        command = [sys.executable, "-m", "bench.cost.model"]
        model = await measure.Process.start("model", command, folder() / "model.log")
        started.push_async_callback(model.stop)
        model_url = f"http://127.0.0.1:{await model.read(20)}/v1/chat/completions"
        found = []
        for name, checkout in sides.items():
            at = started.enter_context(_stack(checkout, folder()))
            admin = await asyncpg.connect(at["admin"])
            started.push_async_callback(admin.close)
            space_id = await measure.add_space(admin, model_url)
            url = f"{at['api']}/space/{space_id}/chat/stream"
            async with switchboard.open_system(Settings("", model_url, url)) as system:
                talking: list[Chat] = [await system.chat() for _ in range(chats)]
            pids = {part: at["pids"][process] for part, process in PARTS.items()}
            found.append(_Side(pids, admin, talking, Measured(name)))
        for side in found:
            # What is compiled, planned and connected at first.
            await side.play(2 * turns)
            side.measured = Measured(side.measured.name)
        for number in range(rounds):
            for side in found if number % 2 == 0 else found[::-1]:
                await side.play(turns)
        return [side.measured for side in found]


def table(sides: list[Measured]) -> list[str]:
    """The medians of each side, and of the ratios to the first."""
    lines = [f"| | {' | '.join(PARTS)} | together | WAL bytes |", "|---" * (len(PARTS) + 3) + "|"]
    first = sides[0]
    for side in sides:
        cells = []
        for part in (*PARTS, None):
            costs = [_cost(cpu, part) for cpu in side.cpu]
            ratio = statistics.median(
                mine / theirs for mine, theirs in zip(costs, (_cost(cpu, part) for cpu in first.cpu), strict=True)
            )
            cells.append(f"{statistics.median(costs):.2f}" + (f" ({ratio:.2f})" if side is not first else ""))
        lines.append(f"| {side.name} | {' | '.join(cells)} | {statistics.median(side.wal):.0f} |")
    return lines


def _cost(cpu: dict[str, float], part: str | None) -> float:
    return max(sum(cpu.values()) if part is None else cpu[part], 0.01)


@click.command(
    help="What a turn costs in another checkout and here: CPU ms a turn by part, medians (and of the ratios)."
)
@click.option("--before", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--chats", default=8, show_default=True, type=click.IntRange(1, 64))
@click.option("--turns", default=20, show_default=True, type=click.IntRange(1, 1000), help="Of each chat, in a round.")
@click.option("--rounds", default=10, show_default=True, type=click.IntRange(1, 1000))
def main(before: Path, chats: int, turns: int, rounds: int) -> None:
    sides = asyncio.run(compare({"before": before.resolve(), "now": REPOSITORY}, chats, turns, rounds))
    click.echo("\n".join(table(sides)))


if __name__ == "__main__":
    main()
