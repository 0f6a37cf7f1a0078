"""Running the measurement: one stack, one model, for each system a client and a server, and rounds in turns."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import aiohttp
import asyncpg

from bench.cost import peers, processes, sampling, statements
from bench.cost.figures import Cell, Statements
from bench.cost.worker import Settings
from local.paths import REPOSITORY
from local.ports import free_port
from local.processes import tied_options
from local.stack import Stack, start_stack

OURS, OURS_OVER_POSTGREST, FLOOR = "switchboard", "switchboard_postgrest", "floor"
PEERS = (
    "langgraph_saver",
    "langgraph_saver_exit",
    "agents_session",
    "chainlit_layer",
    "chainlit_layer_reading",
)
SYSTEMS = (FLOOR, OURS, OURS_OVER_POSTGREST, *PEERS)

ROLES = {OURS: "switchboard_login", OURS_OVER_POSTGREST: "authenticator"}
"""Who calls the database for each of ours; for the others it is the superuser, in databases of their own."""

DIRECT_SHARE = 0.3
"""How long the model alone is called before each round, as a share of the round."""

COUNTED_TURNS = 20
NO_LIMIT = 1_000_000

Report = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What to measure. `first_ms` and `token_ms`: what the model takes for its first token, and between two.

    Every system is measured over HTTP; with `in_process` the others than ours are called within the client's process.
    `together`: the server before them writes tokens that came together at once, as ours does, and not each by itself.
    `sampled`: find out, too, where the functions spend their CPU. `env` adds to their environment.
    """

    systems: Sequence[str] = SYSTEMS
    chats: Sequence[int] = (1, 8, 32)
    seconds: float = 3.0
    rounds: int = 5
    first_ms: float = 0.0
    token_ms: float = 0.0
    sampled: bool = True
    in_process: bool = False
    together: bool = False
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What was measured, with what."""

    cells: tuple[Cell, ...]
    statements: dict[str, Statements]
    versions: dict[str, str]
    functions_ms: dict[str, float]
    """CPU of the functions a turn, in ms by part (bench/cost/sampling.py); empty where it was not sampled."""


class MeasurementError(Exception):
    """A process that takes part has ended or does not answer; the message says which and what it said last."""


class Process:
    """A child that answers a line of JSON with a line of JSON; it ends with us."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self._name = name
        self._process = process
        self._log = log

    @classmethod
    async def start(
        cls, name: str, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None
    ) -> "Process":
        """Start it; what it says on standard error goes to the log."""
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                limit=2**26,
                cwd=REPOSITORY,
                env=env or {**os.environ, "PYTHONPATH": str(REPOSITORY)},
                **tied_options(signal.SIGTERM),
            )
        return cls(name, process, log)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    async def read(self, seconds: float) -> Any:
        """The next line. Raises MeasurementError when none comes in time."""
        assert self._process.stdout is not None  # noqa: S101 - a pipe was asked for
        line = b""
        with contextlib.suppress(TimeoutError):
            line = await asyncio.wait_for(self._process.stdout.readline(), seconds)
        if not line:
            raise MeasurementError(f"{self._name} does not answer: {self._log.read_text(errors='replace')[-2000:]}")
        return json.loads(line)

    async def ask(self, request: object, seconds: float = 120) -> Any:
        """Send a line and read the answer. Raises MeasurementError."""
        assert self._process.stdin is not None  # noqa: S101 - a pipe was asked for
        with contextlib.suppress(ConnectionError):
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            await self._process.stdin.drain()
        return await self.read(seconds)

    async def stop(self) -> None:
        """End it, and wait until it has."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        await self._process.wait()


async def measure(plan: Plan, report: Report) -> Result:
    """Measure everything that the plan names, each system in processes of its own that wait while it is not its turn.

    Within a round all systems follow each other, in an order that moves by one from round to round. Raises
    MeasurementError, PeersError and StackError.
    """
    folder = Path(tempfile.mkdtemp(prefix="switchboard-cost-"))
    try:
        foreign = plan.sampled or set(plan.systems) & set(PEERS)
        python = await asyncio.to_thread(peers.install, report) if foreign else Path(sys.executable)
        report("Starting Postgres, PostgREST and the functions")
        stack = await asyncio.to_thread(start_stack, folder, durable=True, functions_env=plan.env)
        try:
            async with _running(plan, stack, folder, python) as bench:
                return await bench.run(report)
        finally:
            await asyncio.to_thread(stack.stop)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class _Bench:
    plan: Plan
    stack: Stack
    admin: asyncpg.Connection
    model: Process
    workers: dict[str, Process]
    servers: dict[str, Process]
    versions: dict[str, str]
    python: Path

    async def run(self, report: Report) -> Result:
        for name, worker in self.workers.items():
            report(f"Warming up {name}")
            await worker.ask({"chats": 2, "turns": 10, "direct_seconds": 0.1})
        counted = {name: await self._count(name) for name in self.workers}
        cells = []
        names = list(self.workers)
        for number in range(self.plan.rounds):
            order = names[number % len(names) :] + names[: number % len(names)]
            for chats in self.plan.chats:
                for name in order:
                    cells.append(cell := await self._round(name, chats, number))
                    report(
                        f"round {number + 1} of {self.plan.rounds}: {chats:>2} chats, {name}: {cell.rate:.0f} turns/s"
                    )
        cells.sort(key=lambda cell: (names.index(cell.system), cell.round))
        sampled = await self._sample(report) if self.plan.sampled and OURS in self.workers else {}
        return Result(tuple(cells), counted, self.versions, sampled)

    async def _sample(self, report: Report) -> dict[str, float]:
        """CPU of the functions a turn by part, at 8 chats or as many as there are."""
        worker, pid = self.workers[OURS], self.stack.pids()["gateway"]
        chats = min(8, max(self.plan.chats))
        seconds = max(self.plan.seconds * 2, 2)
        report(f"Sampling the functions at {chats} chats")
        await worker.ask({"chats": chats, "turns": 1, "direct_seconds": 0})
        before, turns = processes.cpu({OURS: pid})[OURS], 0

        async def have_turns() -> None:
            nonlocal turns
            turns = (await worker.ask({"chats": chats, "seconds": seconds, "direct_seconds": 0}))["turns"]

        try:
            found = await sampling.sample(self.python, pid, seconds, have_turns)
        except sampling.SamplingError as problem:
            report(f"The functions could not be sampled: {problem}")
            return {}
        used = processes.cpu({OURS: pid})[OURS] - before
        return sampling.milliseconds(found, max(turns, 1), used * 1000 / max(turns, 1))

    async def _round(self, name: str, chats: int, number: int) -> Cell:
        worker = self.workers[name]
        # Connections that were closed in the meantime are opened before the clock runs.
        await worker.ask({"chats": chats, "turns": 1, "direct_seconds": 0})
        direct = await worker.ask({"chats": chats, "turns": 0, "direct_seconds": self.plan.seconds * DIRECT_SHARE})
        roots = {"program": worker.pid, "model": self.model.pid, "postgres": self.stack.pids()["postgres"]}
        if name == OURS:
            roots |= {"functions": self.stack.pids()["gateway"]}
        elif name in self.servers:
            roots |= {"functions": self.servers[name].pid}
        if name == OURS_OVER_POSTGREST:
            roots |= {"postgrest": self.stack.pids()["postgrest"]}
        before = processes.cpu(roots)
        played = await worker.ask({"chats": chats, "seconds": self.plan.seconds, "direct_seconds": 0})
        after = processes.cpu(roots)
        turns = max(int(played["turns"]), 1)
        return Cell(
            system=name,
            chats=chats,
            round=number,
            turns=turns,
            rate=turns / played["seconds"],
            first_tokens=tuple(played["first_tokens"]),
            direct_first_tokens=tuple(direct["direct_first_tokens"]),
            cpu={part: (after[part] - before[part]) / turns for part in roots},
        )

    async def _count(self, name: str) -> Statements:
        async def have_turns() -> None:
            await self.workers[name].ask({"chats": 1, "turns": COUNTED_TURNS, "direct_seconds": 0})

        return await statements.count(
            self.admin,
            self.stack.state_dir / "logs" / "postgres.log",
            database="postgres" if name in ROLES else _database(name),
            role=ROLES.get(name, "supabase_admin"),
            turns=COUNTED_TURNS,
            have_turns=have_turns,
        )


@contextlib.asynccontextmanager
async def _running(plan: Plan, stack: Stack, folder: Path, python: Path) -> AsyncIterator[_Bench]:
    async with contextlib.AsyncExitStack() as started:
        logs = folder / "logs"

        async def start(name: str, command: Sequence[str], env: Mapping[str, str] | None = None) -> Process:
            process = await Process.start(name, command, logs / f"{name}.log", env)
            started.push_async_callback(process.stop)
            return process

        paces = ["--first-ms", str(plan.first_ms), "--token-ms", str(plan.token_ms)]
        model = await start("model", [sys.executable, "-m", "bench.cost.model", *paces])
        model_url = f"http://127.0.0.1:{await model.read(20)}/v1/chat/completions"
        admin = await asyncpg.connect(stack.admin_url)
        started.push_async_callback(admin.close)
        path = f"/space/{await add_space(admin, model_url)}/chat/stream"
        version = await admin.fetchval("show server_version")
        versions = {"python": sys.version.split()[0], "postgres": version.split()[0]}
        workers, servers = {}, {}
        writes = ["together"] if plan.together else []
        for name in plan.systems:
            await admin.execute(f"create database {_database(name)}")
            settings = Settings(_url(stack.admin_url, _database(name)), model_url, stack.api_url + path)
            program, interpreter = name, str(python if name in PEERS else sys.executable)
            if name == OURS_OVER_POSTGREST:
                port = free_port()
                env = stack.gateway_env(port, SWITCHBOARD_DATABASE_URL="")
                servers[name] = await start(f"{name}-server", [sys.executable, "-m", "local.gateway"], env)
                await _answers(f"http://127.0.0.1:{port}")
                program, settings = OURS, replace(settings, url=f"http://127.0.0.1:{port}{path}")
            elif name != OURS and not plan.in_process:
                servers[name] = await start(f"{name}-server", [interpreter, "-m", "bench.cost.server", name, *writes])
                listening = await servers[name].ask(asdict(settings))
                versions |= listening["versions"]
                program, interpreter = "served", sys.executable
                settings = replace(settings, url=listening["url"])
            workers[name] = await start(name, [interpreter, "-m", "bench.cost.worker", program])
            versions |= (await workers[name].ask(asdict(settings)))["versions"]
        yield _Bench(plan, stack, admin, model, workers, servers, versions, python)


async def _answers(url: str) -> None:
    """Wait until a server is there. Raises MeasurementError."""
    async with aiohttp.ClientSession() as http:
        for _ in range(200):
            with contextlib.suppress(aiohttp.ClientError):
                async with http.get(f"{url}/healthz") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.1)
    raise MeasurementError(f"{url} does not answer")


async def add_space(admin: asyncpg.Connection, model_url: str) -> UUID:
    """A workspace whose persona is the model and whose limits nobody reaches."""
    workspace_id = await admin.fetchval(
        "insert into public.workspaces (name, allowed_networks) values ('Cost', '{127.0.0.0/8}') returning id"
    )
    persona_id = await admin.fetchval(
        "insert into public.personas (workspace_id, kind, name, config)"
        " values ($1, 'openai', 'Model', $2) returning id",
        workspace_id,
        json.dumps({"base_url": model_url.removesuffix("/chat/completions"), "model": "fake"}),
    )
    space_id: UUID = await admin.fetchval(
        "insert into public.spaces (workspace_id, kind, name, persona_id)"
        " values ($1, 'embed', 'Cost', $2) returning id",
        workspace_id,
        persona_id,
    )
    limits = await admin.fetch(
        "select table_name, column_name from information_schema.columns where table_schema = 'public'"
        " and table_name in ('workspaces', 'spaces') and column_name like '%\\_per\\_minute%'"
    )
    for table, column in limits:
        scope = "id" if table == "workspaces" else "workspace_id"
        await admin.execute(f"update public.{table} set {column} = {NO_LIMIT} where {scope} = $1", workspace_id)  # noqa: S608
    return space_id


def _database(name: str) -> str:
    return f"cost_{name}"


def _url(url: str, database: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))
