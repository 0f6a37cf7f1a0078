"""Cost of a turn over HTTP: Switchboard beside the floor and LangGraph's Postgres saver.

One Postgres that writes durably, a database for each system, and one model for all. Within a round the systems take
turns, in an order that rotates; a ratio compares two systems within one round. After the first round, which is not
counted, every database is analyzed, so that no system runs on plans for empty tables.
"""

import asyncio
import contextlib
import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import click
import uvloop

from bench import load, rounds, stacks
from local.paths import REPOSITORY
from local.stack import Stack

FLOOR, OURS, LANGGRAPH = SYSTEMS = ("floor", "switchboard", "langgraph_saver")

TURNS_PER_THREAD = 10
MESSAGE = "Could you tell me whether the parcel that I sent last week has arrived by now?"
QUESTION = {"model": "fake", "messages": [{"role": "user", "content": MESSAGE}], "stream": True}
HEADS = (
    "chats", "system", "turns/s (least to most)", "of the floor", "of LangGraph", "first token added, ms p50", "p95",
    "CPU ms per turn: server", "Postgres",
)  # fmt: skip


class System(NamedTuple):
    """A running system: its server process, the URL that takes messages, and its database's URL."""

    pid: int
    url: str
    database_url: str


class Round(NamedTuple):
    """One system at one number of chats in one round. Delays of first tokens in seconds, CPU in seconds per turn."""

    rate: float
    delays: list[float]
    direct_delays: list[float]
    server_cpu: float
    postgres_cpu: float

    def added(self, percent: int) -> float:
        """The time to the first token on top of the model's own: the difference of the two percentiles."""
        return rounds.percentile(self.delays, percent) - rounds.percentile(self.direct_delays, percent)


@contextlib.contextmanager
def running(names: Sequence[str], stack: Stack, model_url: str, *options: str) -> Iterator[dict[str, System]]:
    """The systems of these names."""
    systems = {}
    with contextlib.ExitStack() as started:
        for name in names:
            if name == OURS:
                space_id = stacks.add_model(stack, model_url)
                url = f"{stack.api_url}/space/{space_id}/chat/stream"
                systems[name] = System(stack.pids()["gateway"], url, stack.admin_url)
                continue
            stacks.execute(stack, f"create database {name}")
            database_url = urlunsplit(urlsplit(stack.admin_url)._replace(path=f"/{name}"))
            python = sys.executable if name == FLOOR else langgraph_python()
            pid, origin = started.enter_context(stacks.server(name, database_url, model_url, *options, python=python))
            systems[name] = System(pid, f"{origin}/chat", database_url)
        yield systems


def langgraph_python() -> str:
    """The Python of .venv-cost, with LangGraph as requirements/cost.txt locks it; installed when the lock changes."""
    venv, lock = REPOSITORY / ".venv-cost", REPOSITORY / "requirements" / "cost.txt"
    python, stamp, installed = str(venv / "bin" / "python"), venv / ".installed", sys.version + lock.read_text()
    if not stamp.exists() or stamp.read_text() != installed:
        click.echo(f"Installing LangGraph into {venv.name}", err=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
        pip = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-input"]
        subprocess.run([*pip, "--require-hashes", "--requirement", str(lock)], check=True)
        stamp.write_text(installed)
    return python


async def play(chats: int, seconds: float, act: Callable[[], AsyncIterator[float]]) -> list[float]:
    """Let so many chats act again and again for this long, each at least once; the delays of all first tokens."""
    delays: list[float] = []
    deadline = time.perf_counter() + seconds

    async def run() -> None:
        async for delay in act():
            delays.append(delay)
            if time.perf_counter() >= deadline:
                return

    await asyncio.gather(*(run() for _ in range(chats)))
    return delays


async def measure_round(system: System, model_url: str, postgres: int, chats: int, seconds: float) -> Round:
    """One round of one system. Its connections are open, and the model was asked alone, before the clock runs."""
    server, url, _ = system
    async with load.client() as http:

        async def chat() -> AsyncIterator[float]:
            """The turns of a chat, the first of every ten in a new thread; the delays of their first tokens."""
            token = None
            for number in itertools.count():
                body = {"message": MESSAGE, "client_message_id": str(uuid4())}
                answer = await load.ask(http, url, body, token if number % TURNS_PER_THREAD else None)
                yield answer.completed().delay
                token = answer.token or token

        async def ask_model() -> AsyncIterator[float]:
            while True:
                yield (await load.ask(http, model_url, QUESTION, first=b"word00")).completed(b"[DONE]").delay

        direct = await play(chats, seconds / 3, ask_model)
        await play(chats, 0, chat)
        before = [time.perf_counter(), stacks.cpu_seconds(server), stacks.cpu_seconds(postgres)]
        delays = await play(chats, seconds, chat)
        after = [time.perf_counter(), stacks.cpu_seconds(server), stacks.cpu_seconds(postgres)]
    took, *cpu = ((end - begin) / len(delays) for begin, end in zip(before, after, strict=True))
    return Round(1 / took, delays, direct, *cpu)


async def analyze(systems: Iterable[System]) -> None:
    """Collect the statistics of every database, as autovacuum does within a minute or two."""
    for system in systems:
        connection = await asyncpg.connect(system.database_url)
        await connection.execute("analyze")
        await connection.close()


async def measure(
    systems: dict[str, System], model_url: str, postgres: int, concurrency: Sequence[int], seconds: float, count: int
) -> dict[tuple[int, str], list[Round]]:
    """All rounds, by number of chats and system."""
    found: dict[tuple[int, str], list[Round]] = {(chats, name): [] for chats in concurrency for name in systems}
    are_analyzed = False
    for counts, (chats, name) in rounds.interleaved(list(found), count):
        if counts and not are_analyzed:
            await analyze(systems.values())
            are_analyzed = True
        one = await measure_round(systems[name], model_url, postgres, chats, seconds)
        found[chats, name].extend([one] if counts else [])
    return found


def rows(found: dict[tuple[int, str], list[Round]]) -> Iterator[list[str]]:
    """A row for each number of chats and system: medians of the rounds, with the least and the most."""
    for (chats, name), own in found.items():
        cells = [str(chats), name, rounds.spread([one.rate for one in own], 0)]
        for other in (FLOOR, LANGGRAPH):
            others = found.get((chats, other), [])
            cells.append(rounds.spread([one.rate / beside.rate for one, beside in zip(own, others, strict=False)], 2))
        costs = ((one.added(50), one.added(95), one.server_cpu, one.postgres_cpu) for one in own)
        cells += [f"{statistics.median(values) * 1000:.2f}" for values in zip(*costs, strict=True)]
        yield cells


@click.command(help=__doc__)
@click.option("--seconds", default=3.0, show_default=True, type=click.FloatRange(0.1, 60), help="Of each round.")
@click.option("--rounds", "count", default=5, show_default=True, type=click.IntRange(1, 100))
@click.option("--concurrency", multiple=True, default=(1, 8, 32), show_default=True, type=click.IntRange(1, 256))
@click.option("--only", multiple=True, default=SYSTEMS, show_default=True, type=click.Choice(SYSTEMS))
@click.option("--together", is_flag=True, help="The other systems join tokens that arrive together, as ours does.")
def command(seconds: float, count: int, concurrency: tuple[int, ...], only: tuple[str, ...], together: bool) -> None:
    options = ["together"] if together else []
    with (
        stacks.server("model") as (_, model_url),
        stacks.own_stack() as stack,
        running(only, stack, model_url, *options) as systems,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        measured = measure(systems, model_url, stack.pids()["postgres"], concurrency, seconds, count)
        rounds.show_table(HEADS, rows(runner.run(measured)))
