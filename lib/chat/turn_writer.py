"""The writer behind the stream: stores an answer's text in small batches while it arrives.

Each flush renews the turn's lease and returns the turn's status, so detecting a cancel costs no extra call.
"""

import asyncio
import contextlib
from collections.abc import Callable
from uuid import UUID

from lib import errors, log
from lib.database.commands import Rpc
from lib.database.retries import Patience
from lib.fields.models import Record

PAUSE_SECONDS = 1.0
BATCH_CHARACTERS = 2_000
SILENCE_SECONDS = 2.0
"""Longest time without a flush if there is nothing to store. It bounds how late a cancel is noticed, well within the 6
s after which a cancel treats the process as gone (private.stop_turn)."""

_PATIENCE = Patience(tries=3, longest_pause=0.4, try_seconds=3, seconds=3)
"""An attempt that hangs is abandoned in time for the next one, on another connection, to complete within those 6 s."""


class _Flushed(Record):
    status: str
    stop: bool
    revoked: bool = False


class TurnWriter:
    """Stores the text of one turn from its first character."""

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
        self._tell: Callable[[], None] = _no_op
        self._tell_revoked: Callable[[], None] = _no_op

    def begin(self, tell: Callable[[], None], tell_revoked: Callable[[], None]) -> None:
        """Start flushing in the background. A turn that ends within the first pause with nothing to store starts no
        task.

        ``tell`` is called when flushing ends, ``tell_revoked`` once if the reader's token is revoked.
        """
        loop = asyncio.get_running_loop()
        self._began, self._tell, self._tell_revoked = loop.time(), tell, tell_revoked
        self._timer = loop.call_later(PAUSE_SECONDS, self._start)

    def end(self) -> list["asyncio.Task[None]"]:
        """Stop the timer; returns the running task, for the caller to cancel and await."""
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
        """Queue the next piece of the text."""
        self._waiting.append(text)
        self._waiting_length += len(text)
        if self._waiting_length >= BATCH_CHARACTERS:
            self._full.set()
            if self._timer is not None:
                self._start()

    def watch(self) -> None:
        """Flush every second from now on, to notice an asynchronous answer."""
        self._silence = PAUSE_SECONDS

    async def run(self) -> str:
        """Store the text until the turn is no longer active. Returns the status that ended it: `cancelled` also if a
        cancel is requested and this process is to carry it out.

        Never gives up: a batch that could not be stored is sent again.
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
            # A batch that may have been stored is repeated unchanged: position and text belong together.
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
        if flushed.revoked:
            self._tell_revoked()
            self._tell_revoked = _no_op
        return "cancelled" if flushed.stop else flushed.status


def _no_op() -> None:
    """No-op callback."""
