"""One run: a durable stack of its own, 32 chats, a killer, and the wait until everything has ended."""

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import asyncpg

from local import processes
from local.paths import REPOSITORY
from local.stack import Stack, start_stack
from tests.faults import checker, records
from tests.faults.clients import Settings
from tests.faults.killer import Killer, deck
from tests.standins.n8n import N8n

CLIENTS_OUTPUT = "clients.log"
ACKNOWLEDGED, UNFINISHED = 5, 3
"""How many messages since the last kill are acknowledged, and how many of these not answered, before the next one."""
CHATTING_SECONDS = 120
WEIGHTS = {"demo at once": 0.2, "demo slowly": 0.25, "n8n at once": 0.2, "n8n slowly": 0.35}


@dataclass(frozen=True)
class Plan:
    """What to run. `sweep_seconds`: how often turns are swept; 60 is what a deployment does."""

    kills: int
    seed: int
    chats: int = 32
    pause: float = 4.0
    sweep_seconds: int = 60


class RunError(Exception):
    """The run itself did not work, so nothing was shown."""


class Progress:
    """What the clients have written since the last kill: a slow machine is given the time to chat."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._read = 0

    async def until_chatting(self) -> None:
        """Wait until there is something to disturb: enough messages acknowledged, some of them unfinished.

        Raises TimeoutError.
        """
        acknowledged, ended = set[str](), set[str]()
        async with asyncio.timeout(CHATTING_SECONDS):
            while len(acknowledged) < ACKNOWLEDGED or len(acknowledged - ended) < UNFINISHED:
                await asyncio.sleep(0.05)
                for record in self._new_records():
                    if record["kind"] == "acknowledged":
                        acknowledged.add(record["turn"])
                    elif record.get("name") in ("done", "error"):
                        ended.add(record["turn"])

    def _new_records(self) -> list[records.Record]:
        if not self._log.exists():
            return []
        with self._log.open("rb") as file:
            file.seek(self._read)
            # The last line may be under way.
            whole = file.read().rpartition(b"\n")
        self._read += len(whole[0]) + len(whole[1])
        return [json.loads(line) for line in whole[0].splitlines()]


@contextlib.contextmanager
def own_stack(folder: Path) -> Iterator[Stack]:
    """A stack that writes as durably as a deployment's, in a folder of its own; its processes end with this one."""
    with start_stack(folder, durable=True) as running:
        yield running


def new_folder() -> Path:
    """An empty folder that Postgres's user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="switchboard-faults-"))
    # Postgres's user, who is not root, walks through.
    folder.chmod(0o711)
    return folder


async def run(stack: Stack, folder: Path, plan: Plan, say: Callable[[str], None]) -> None:
    """Kill and chat as planned; everything that happened is in the folder then, and no turn is active.

    Raises RunError, and NeverBackError when a part did not come back.
    """
    rng = random.Random(plan.seed)  # noqa: S311 - to be repeatable
    async with N8n() as n8n:
        spaces = await _prepare(stack, n8n, plan)
        (folder / records.RUN).write_text(json.dumps(asdict(plan) | {"started": time.time()}))
        settings = Settings(
            api_url=stack.api_url,
            anon_key=stack.anon_key,
            log=str(folder / records.CLIENTS),
            seed=plan.seed,
            chats=plan.chats,
            spaces=spaces,
            weights=WEIGHTS,
            max_away_seconds=plan.sweep_seconds,
        )
        clients = _start_clients(settings, folder / CLIENTS_OUTPUT)
        log = records.Log(folder / records.KILLS)
        try:
            killed = 0

            def progress(victim: str) -> None:
                nonlocal killed
                killed += 1
                say(f"{time.strftime('%H:%M:%S')}  {killed:>4}/{plan.kills}  {victim}")
                if clients.poll() is not None:
                    raise _broken(folder)

            until_chatting = Progress(folder / records.CLIENTS).until_chatting
            await Killer(stack, log, rng, plan.pause, until_chatting).run(deck(plan.kills, rng), progress)
            say("All is back; waiting until every turn has ended.")
            clients.send_signal(signal.SIGTERM)
            async with asyncio.timeout(300 + 2 * plan.sweep_seconds):
                if await asyncio.to_thread(clients.wait):
                    raise _broken(folder)
            await _wait_until_quiet(stack, 90 + 2 * plan.sweep_seconds)
        except TimeoutError as late:
            raise RunError("the clients did not chat, or did not end") from late
        finally:
            log.close()
            if clients.poll() is None:
                clients.kill()
                clients.wait()


def _broken(folder: Path) -> RunError:
    """The clients ended too early: what they last said, because the folder may be removed."""
    return RunError(f"the clients broke:\n{(folder / CLIENTS_OUTPUT).read_text()[-4000:]}")


async def check(stack: Stack, folder: Path) -> checker.Report:
    """Judge a run."""
    connection = await asyncpg.connect(stack.admin_url)
    try:
        return await checker.check(folder, stack.state_dir / "logs", connection)
    finally:
        await connection.close()


async def _prepare(stack: Stack, n8n: N8n, plan: Plan) -> dict[str, str]:
    """A workspace with four spaces, whose personas answer at once and slowly, here and over the wire."""
    connection = await asyncpg.connect(stack.db_url)
    try:
        # No person writes here: Postgres logs every error, so that the checker finds those that no kill explains.
        logins = ("authenticator", "switchboard_login")
        await connection.execute("".join(f"alter role {login} reset log_min_messages;" for login in logins))
        await connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = any($1::text[])", logins
        )
        workspace = await connection.fetchval(
            "insert into public.workspaces (name, allowed_networks) values ('Faults', '{127.0.0.0/8}') returning id"
        )
        personas = {
            "demo at once": ("demo", {"delay_ms": 0}, "per_conversation"),
            "demo slowly": ("demo", {"delay_ms": 80}, "per_conversation"),
            "n8n at once": ("n8n", {"url": n8n.url("stream")}, "per_message"),
            "n8n slowly": ("n8n", {"url": n8n.url("stream?seconds=0.25")}, "per_conversation"),
        }
        spaces = {}
        for name, (kind, config, policy) in personas.items():
            persona = await connection.fetchval(
                """
                insert into public.personas (workspace_id, kind, name, config, session_policy, history_limit)
                values ($1, $2, $3, $4, $5::text::public.session_policy, 2) returning id
                """,
                *(workspace, kind, name, json.dumps(config), policy),
            )
            # Everybody comes from one address here. One space keeps a limit that is reached, so that refusals occur.
            limit = 120 if name == "n8n at once" else 10_000
            spaces[name] = str(
                await connection.fetchval(
                    """
                    insert into public.spaces (workspace_id, kind, name, persona_id, arrivals_per_minute,
                                               arrivals_per_minute_by_address)
                    values ($1, 'embed', $2, $3, 10000, $4) returning id
                    """,
                    *(workspace, name, persona, limit),
                )
            )
        if plan.sweep_seconds != 60:
            await connection.execute(
                "select cron.schedule('switchboard-expire-turns', $1, 'select private.expire_turns()')",
                f"{plan.sweep_seconds} seconds",
            )
    finally:
        await connection.close()
    return spaces


def _start_clients(settings: Settings, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.clients"],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"},
            **processes.tied_options(signal.SIGKILL),
        )
    assert process.stdin is not None
    process.stdin.write(json.dumps(asdict(settings)).encode())
    process.stdin.close()
    return process


async def _wait_until_quiet(stack: Stack, seconds: float) -> None:
    """Wait until no turn is active: what nobody was told of ends too. What is left then is the checker's to find."""
    deadline = time.monotonic() + seconds
    connection = await asyncpg.connect(stack.admin_url)
    try:
        while await connection.fetchval("select exists (select from public.turns where status = 'active')"):
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(0.5)
    finally:
        await connection.close()


def remove(folder: Path) -> None:
    """Remove a run's folder."""
    shutil.rmtree(folder, ignore_errors=True)
