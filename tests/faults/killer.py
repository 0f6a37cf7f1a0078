"""The killer: SIGKILLs the parts of a stack, one after the other, at random moments, and notes when each is back.

The stack's supervisor starts again what dies, as the platform under a deployment does; the killer only kills.
"""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg

from local import processes
from local.stack import Stack
from tests.faults.records import Log

PART = {"functions": "gateway", "postgrest": "postgrest", "postgres": "postgres", "backend": "postgres"}
"""Whose process of the stack a victim is; a backend is a child of Postgres."""

WEIGHTS = {"functions": 30, "postgrest": 30, "postgres": 25, "backend": 15}

BACK_SECONDS = 90.0


class NeverBackError(Exception):
    """A part that was killed did not come back."""


def deck(kills: int, rng: random.Random) -> list[str]:
    """The victims of a run in their order: each kind by its weight, and at least once where there is room."""
    counts = Counter({kind: max(1, round(kills * weight / 100)) for kind, weight in WEIGHTS.items()})
    counts["functions"] += kills - counts.total()
    victims = list(counts.elements())
    rng.shuffle(victims)
    return victims[:kills]


class Killer:
    """Kills along a deck.

    `pause` is the mean of the seconds between two kills; `until_chatting` ends when there is something to disturb.
    """

    def __init__(
        self, stack: Stack, log: Log, rng: random.Random, pause: float, until_chatting: Callable[[], Awaitable[None]]
    ) -> None:
        self._stack = stack
        self._log = log
        self._rng = rng
        self._pause = pause
        self._until_chatting = until_chatting
        self._recoveries: set[asyncio.Task[None]] = set()

    async def run(self, victims: list[str], progress: Callable[[str], None]) -> None:
        """Kill every victim, and wait until all is back. Raises NeverBackError."""
        for number, victim in enumerate(victims, 1):
            await asyncio.sleep(min(0.2 + self._rng.expovariate(1 / self._pause), 4 * self._pause))
            await self._until_chatting()
            await self._kill(number, victim)
            progress(victim)
        await asyncio.gather(*self._recoveries)

    async def _kill(self, number: int, victim: str) -> None:
        """Kill it as soon as it runs; what is down already waits until it is back."""
        part = PART[victim]
        deadline = asyncio.get_running_loop().time() + BACK_SECONDS
        while True:
            before = self._stack.pids().get(part)
            pid = before
            if pid is not None and processes.is_alive(pid):
                if victim == "backend":
                    found = _backends(pid)
                    pid = self._rng.choice(found) if found else None
                if pid is not None:
                    break
            if asyncio.get_running_loop().time() > deadline:
                raise NeverBackError(f"{victim} is not there to be killed")
            await asyncio.sleep(0.05)
        assert before is not None
        try:
            name = _command(pid)
            os.kill(pid, signal.SIGKILL)
        except OSError:
            return await self._kill(number, victim)
        self._log.write("kill", victim=victim, number=number, pid=pid, process=name)
        task = asyncio.create_task(self._recovered(number, victim, before))
        self._recoveries.add(task)
        return None

    async def _recovered(self, number: int, victim: str, before: int) -> None:
        """Note when the part works again: another process that is ready; for Postgres, one that takes a query."""
        part = PART[victim]
        deadline = asyncio.get_running_loop().time() + BACK_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.05)
            pid = self._stack.pids().get(part, before)
            if victim != "backend" and (pid == before or not processes.is_alive(pid)):
                continue
            if part != "postgres" or await _answers(self._stack.admin_url):
                self._log.write("back", victim=victim, number=number)
                return
        raise NeverBackError(f"{victim} did not come back in {BACK_SECONDS:.0f} s")


def _command(pid: int) -> str:
    """What a process calls itself. Raises OSError where there is none."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")[:60]


def _backends(postmaster: int) -> list[int]:
    """The server processes that serve PostgREST, or any other child where there is none."""
    try:
        pids = [int(pid) for pid in Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()]
        return [pid for pid in pids if b"authenticator" in Path(f"/proc/{pid}/cmdline").read_bytes()] or pids
    except OSError:
        return []


# The last one is asyncpg's for a server that dies between two of its messages.
_NO_ANSWER = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError, asyncpg.InternalClientError)


async def _answers(url: str) -> bool:
    try:
        connection = await asyncpg.connect(url, timeout=2)
    except _NO_ANSWER:
        return False
    try:
        return bool(await connection.fetchval("select true", timeout=2))
    except _NO_ANSWER:
        return False
    finally:
        connection.terminate()
