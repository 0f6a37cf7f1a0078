"""The writer behind the stream: stores an answer's text in small batches while it is being given.

Each batch renews the turn's lease and brings back its status, so that a cancel is noticed for free.
"""

import asyncio
import contextlib
from collections.abc import Callable
from uuid import UUID

from lib import errors, log
from lib.database.commands import Patience, Rpc
from lib.fields.models import Record

PAUSE_SECONDS = 1.0
BATCH_CHARACTERS = 2_000
SILENCE_SECONDS = 2.0
"""How long a turn goes without a flush when there is nothing to store: how late a cancel may be noticed, and well
within the 6 s after which a cancel takes whoever answers for gone (private.stop_turn)."""

_PATIENCE = Patience(tries=3, longest_pause=0.4, try_seconds=3, seconds=3)
"""A try that hangs is given up while the next one, on another connection, still comes within those 6 s."""


class _Flushed(Record):
    status: str
    stop: bool


class TurnWriter:
    """Stores the text of one turn from the first character on."""

    def __init__(self, rpc: Rpc, turn_id: UUID) -> None:
        self._rpc = rpc
        self._turn_id = turn_id
        self._waiting: list[str] = []
        self._waiting_length = 0
        self._unconfirmed = ""
        self._stored = 0
        self._full = asyncio.Event()
        self._silence = SILENCE_SECONDS
        self._began: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._tell: Callable[[], None] = _nobody

    def begin(self, tell: Callable[[], None]) -> None:
        """Run in the background and tell when that came to its end. A turn that is over within the first pause, before
        there is anything to store, has no task for it."""
        loop = asyncio.get_running_loop()
        self._began, self._tell = loop.time(), tell
        self._timer = loop.call_later(PAUSE_SECONDS, self._start)

    def end(self) -> list["asyncio.Task[None]"]:
        """Begin no more; what is under way, for the caller to cancel and wait for."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return [self._task] if self._task is not None else []

    def _start(self) -> None:
        self.end()
        self._full.set()  # the first pause is over
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        await self.run()
        self._tell()

    def add(self, text: str) -> None:
        """Take the next piece of the text; it is stored soon."""
        self._waiting.append(text)
        self._waiting_length += len(text)
        if self._waiting_length >= BATCH_CHARACTERS:
            self._full.set()
            if self._timer is not None:
                self._start()

    def watch(self) -> None:
        """Ask for the turn's status every second from now on: somebody else will give the answer."""
        self._silence = PAUSE_SECONDS

    async def run(self) -> str:
        """Store what comes until the turn is no longer active, and return the status that ended it: `cancelled` also
        where somebody asked for that and it is ours to do.

        Never gives up: what could not be stored is sent again with the next batch.
        """
        loop = asyncio.get_running_loop()
        flushed_at = loop.time() if self._began is None else self._began
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PAUSE_SECONDS):
                    await self._full.wait()
            self._full.clear()
            if not self._waiting and not self._unconfirmed and loop.time() - flushed_at < self._silence:
                continue
            status = await self._flush()
            flushed_at = loop.time()
            if status != "active":
                return status

    async def _flush(self) -> str:
        if not self._unconfirmed:
            # A batch that may have arrived must be repeated as it was: position and text belong together.
            self._unconfirmed = "".join(self._waiting)
            self._waiting, self._waiting_length = [], 0
        arguments = {"turn_id": self._turn_id, "position": self._stored, "piece": self._unconfirmed}
        try:
            flushed = await self._rpc.call("flush_turn", arguments, _Flushed, repeatable=True, patience=_PATIENCE)
        except errors.Problem as problem:
            log.warning("flush_failed", turn_id=self._turn_id, code=problem.code)
            return "active"
        self._stored += len(self._unconfirmed)
        self._unconfirmed = ""
        return "cancelled" if flushed.stop else flushed.status


def _nobody() -> None:
    """Who is told where nobody asked."""
