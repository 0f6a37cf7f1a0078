"""Events through the queue while its workers are killed: every effect exactly once, in order, and how fast.

Senders record deliveries as `webhooks` does, shuffled, and some of them twice. Worker processes run the jobs, and one
of them is SIGKILLed at random moments and started again. The exit status is 1 if an event was lost, had two effects,
was overtaken by a later one of its conversation, or ran beside one. Latency is from the acknowledgement of the first
delivery of an event to its effect.
"""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg
import click
from tqdm import tqdm

from bench import rounds, stacks
from lib.auth import callers
from lib.database import commands
from lib.fields.models import Record
from local import processes
from local.ports import free_port
from local.stack import Stack

SENDERS = 16
HEADS = (
    "events", "deliveries", "kills", "run again", "effects", "lost", "twice", "out of order", "side by side",
    "events/s", "latency, ms p50", "p99", "at most",
)  # fmt: skip
_TABLES = """
create schema bench;
create table bench.runs (
    id bigint generated always as identity primary key, job_id uuid not null, ordering_key text not null,
    started_at timestamptz not null default clock_timestamp(), ended_at timestamptz);
create table bench.effects (
    job_id uuid primary key, position bigint generated always as identity,
    at timestamptz not null default clock_timestamp());
delete from vault.secrets where name = 'worker_url';
"""
_UNANSWERED = """
select case when is_called then last_value else 0 end > (select count(*) from net._http_response)
  from net.http_request_queue_id_seq
"""
_UNFINISHED = "select count(*) from public.jobs where status in ('queued', 'running')"
_SIDE_BY_SIDE = """
select count(*)
  from (select started_at, max(ended_at) over (partition by ordering_key order by started_at, id
                                               rows between unbounded preceding and 1 preceding) as ended_before
          from bench.runs where ended_at is not null) r
 where started_at < ended_before
"""


@dataclass(frozen=True)
class Plan:
    """What is sent, and what is done to the workers."""

    events: int
    duplicates: int
    """Per cent of the events that are delivered twice."""
    conversations: int
    workers: int
    kill_seconds: float
    """Between two kills, on average; 0: none."""
    lease_seconds: int
    rate: float
    """Deliveries per second; 0: as fast as they are acknowledged."""
    seed: int

    @property
    def limit_seconds(self) -> float:
        """The jobs of a worker that was killed are late by the lease."""
        return 20 * self.lease_seconds + self.events / 20


class _Recorded(Record):
    duplicate: bool


@dataclass
class Run:
    """One run: when each event was sent first, and acknowledged; the workers and how often one was killed."""

    stack: Stack
    plan: Plan
    sent: dict[int, float] = field(default_factory=dict)
    acknowledged: dict[int, float] = field(default_factory=dict)
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    kills: int = 0

    async def measure(self) -> list[str]:
        """The cells of the table."""
        deliveries = [*range(self.plan.events), *range(self.plan.events * self.plan.duplicates // 100)]
        chance = random.Random(self.plan.seed)  # noqa: S311
        chance.shuffle(deliveries)
        database = await asyncpg.connect(self.stack.admin_url)
        started = time.time()
        with self._working(), tqdm(total=self.plan.events, unit="event", file=sys.stderr) as progress:
            killing = asyncio.create_task(self._kill(chance))
            await self._send(deliveries)
            while waiting := await database.fetchval(_UNFINISHED):
                progress.update(self.plan.events - waiting - progress.n)
                if time.time() > started + self.plan.limit_seconds:
                    break
                await asyncio.sleep(0.2)
            killing.cancel()
        cells = await self._judge(database, len(deliveries), started)
        await database.close()
        await commands.close()
        return cells

    @contextlib.contextmanager
    def _working(self) -> Iterator[None]:
        self.workers = [self._start() for _ in range(self.plan.workers)]
        try:
            yield
        finally:
            for worker in self.workers:
                worker.kill()
                worker.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            "-m",
            "bench.servers.jobs_worker",
            self.stack.admin_url,
            str(self.plan.lease_seconds),
        ]
        tied = processes.tied_options(signal.SIGKILL)
        return subprocess.Popen(command, env=self.stack.gateway_env(free_port()), stderr=subprocess.DEVNULL, **tied)

    async def _kill(self, chance: random.Random) -> None:
        while self.plan.kill_seconds:
            await asyncio.sleep(chance.uniform(0, 2 * self.plan.kill_seconds))
            victim = chance.randrange(len(self.workers))
            self.workers[victim].kill()
            self.workers[victim].wait()
            self.workers[victim] = self._start()
            self.kills += 1

    async def _send(self, deliveries: list[int]) -> None:
        waiting = iter(deliveries)
        pause = SENDERS / self.plan.rate if self.plan.rate else 0.0

        async def send() -> None:
            for event in waiting:
                due = time.monotonic() + pause
                await self._deliver(event)
                await asyncio.sleep(max(0.0, due - time.monotonic()))

        async with asyncio.TaskGroup() as group:
            for _ in range(SENDERS):
                group.create_task(send())

    async def _deliver(self, event: int) -> None:
        scope = callers.Scope(workspace_id=UUID(self.stack.workspace_id))
        delivery = {
            "source": "bench",
            "delivery_key": str(event),
            "headers": {},
            "raw_body": "{}",
            "items": [{"key": str(event), "kind": "measured", "ordering_key": str(event % self.plan.conversations)}],
        }
        self.sent.setdefault(event, time.time())
        await commands.acting_as(callers.System(), scope).call("record_event", delivery, _Recorded, repeatable=True)
        self.acknowledged.setdefault(event, time.time())

    async def _judge(self, database: asyncpg.Connection, deliveries: int, started: float) -> list[str]:
        rows = await database.fetch(
            "select e.delivery_key::integer as event, extract(epoch from f.at)::float8 as at"
            "  from bench.effects f"
            "  join public.jobs j on j.id = f.job_id"
            "  join public.inbound_events e on e.id = j.event_id"
            " order by f.position"
        )
        runs, side_by_side = (
            await database.fetchval("select count(*) from bench.runs"),
            await database.fetchval(_SIDE_BY_SIDE),
        )
        effects = [row["event"] for row in rows]
        delays = [max(0.0, row["at"] - self.acknowledged[row["event"]]) for row in rows]
        twice, lost = len(effects) - len(set(effects)), self.plan.events - len(set(effects))
        counts = (lost, twice, self._overtaken(effects), side_by_side)
        if any(counts):
            click.echo(f"lost, twice, out of order, side by side: {counts}", err=True)
        head = (self.plan.events, deliveries, self.kills, runs - len(effects), len(effects), *counts)
        rate = self.plan.events / (max(row["at"] for row in rows) - started)
        latency = [rounds.percentile(delays, 50), rounds.percentile(delays, 99), max(delays)]
        return [*(f"{count:,}" for count in head), f"{rate:,.0f}", *(f"{1000 * value:,.1f}" for value in latency)]

    def _overtaken(self, effects: list[int]) -> int:
        """Events whose effect came after that of an event which was sent only after they were acknowledged."""
        by_conversation = defaultdict(list)
        for event in effects:
            by_conversation[event % self.plan.conversations].append(event)
        overtaken = 0
        for events in by_conversation.values():
            latest = 0.0
            for event in events:
                overtaken += self.acknowledged[event] < latest
                latest = max(latest, self.sent[event])
        return overtaken


async def _until_answered(stack: Stack) -> None:
    """Wait for the stack's own worker, which knows none of these jobs: its schedule may have just called it."""
    database = await asyncpg.connect(stack.admin_url)
    deadline = time.monotonic() + 60
    while await database.fetchval(_UNANSWERED):
        if time.monotonic() > deadline:
            raise click.ClickException("The stack's own worker does not end.")
        await asyncio.sleep(0.1)
    await database.close()


@click.command(help=__doc__)
@click.option("--events", default=10_000, show_default=True, type=click.IntRange(10))
@click.option("--duplicates", default=30, show_default=True, type=click.IntRange(0, 100), help="Per cent sent twice.")
@click.option("--conversations", default=500, show_default=True, type=click.IntRange(1))
@click.option("--workers", default=4, show_default=True, type=click.IntRange(1, 32))
@click.option("--kill-seconds", default=2.0, show_default=True, type=float, help="Between two kills; 0: none.")
@click.option(
    "--lease-seconds", default=60, show_default=True, type=click.IntRange(1), help="Of a killed worker's jobs."
)
@click.option("--rate", default=0.0, show_default=True, type=float, help="Deliveries per second; 0: at once.")
@click.option("--seed", default=7, show_default=True)
def command(**options: float) -> None:
    plan = Plan(**options)  # type: ignore[arg-type]
    with stacks.own_stack() as stack:
        stacks.execute(stack, _TABLES)
        asyncio.run(_until_answered(stack))
        os.environ.update(stack.functions_env)
        cells = asyncio.run(Run(stack, plan).measure())
    rounds.show_table(HEADS, [cells])
    sys.exit(cells[5:9] != ["0"] * 4)
