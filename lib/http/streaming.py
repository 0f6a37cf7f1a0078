"""The response that streams events and outlives its reader.

A function keeps nothing running after its answer, so the answer itself must last until the work is done:
when the reader goes away, the events are still taken from their source, to the end, and thrown away.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any, TypeVar

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from lib import log
from lib.chat.batch_queue import BatchQueue
from lib.chat.events import Encoder, Opened, ServerSentEvents, StreamBroken
from lib.http import sse

Told = TypeVar("Told")

HEARTBEAT_SECONDS = 15.0
OPENING_SECONDS = 0.01
"""How long the answer's head and the turn's opening wait for text that comes at once, to be written with it."""

FAREWELL_SECONDS = 30.0
"""How long a slow reader has for what is still unsent once the source is done."""

LAST_WORD_SECONDS = 1.0
"""How long a reader has for the last event when the server shuts down."""

HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}


class Stream(StreamingResponse):
    """Events of a turn or a conversation, each sent the moment it comes; only the opening waits a little for company.

    The source runs in a task of its own, so that a slow reader holds nobody up. With ``drain`` it runs to
    its end whatever the reader does; without, it is closed when the reader leaves. When the server shuts
    down and cancels the response, the source is cancelled and waited for. The encoder serves this stream alone;
    without one it is our own events. ``headers`` come on top of those that every stream has.
    """

    def __init__(
        self,
        events: AsyncGenerator[Told, None],
        *,
        drain: bool,
        encoder: Encoder[Told | StreamBroken] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._encoder: Encoder[Any] = encoder or ServerSentEvents()
        everything = {**HEADERS, **self._encoder.headers, **(headers or {})}
        super().__init__((), media_type=sse.MEDIA_TYPE, headers=everything)
        self._events: AsyncGenerator[Any, None] = events
        self._drain = drain
        self._sent_at = 0.0
        self._begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events; returns when the source has ended."""
        queue = BatchQueue[bytes | None]()
        self._sent_at = time.monotonic()
        self._beat(queue)
        self._opening = asyncio.get_running_loop().call_later(OPENING_SECONDS, queue.put, b"")
        source = asyncio.create_task(self._pump(queue))
        reader = asyncio.create_task(self._send(queue, send))
        try:
            if self._drain:
                await asyncio.wait({source})
            else:
                await _while_heard({source, reader}, receive)
            if source.done():
                await asyncio.wait({reader}, timeout=FAREWELL_SECONDS)
        finally:
            self._heart.cancel()
            self._opening.cancel()
            await _end(source)
            if not reader.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait({reader}, timeout=LAST_WORD_SECONDS)
            await _end(reader)

    async def _pump(self, queue: BatchQueue[bytes | None]) -> None:
        try:
            async with contextlib.aclosing(self._events) as events:
                async for event in events:
                    patient = isinstance(event, Opened) and not self._begun
                    queue.put(self._encoder.encode(event), hasten=not patient)
        except asyncio.CancelledError:
            # The reader has gone, or the server shuts down: whoever still listens is told that it is not the end.
            queue.put(self._encoder.encode(StreamBroken("turn_interrupted" if self._drain else "stream_limit")))
            raise
        except Exception:
            log.error("stream_broke")
            queue.put(self._encoder.encode(StreamBroken("internal_error")))
        finally:
            queue.put(None)

    def _beat(self, queue: BatchQueue[bytes | None]) -> None:
        """Fill silence; looks now and then, because a clock for each event costs more than the event."""
        silent = time.monotonic() - self._sent_at
        if silent >= HEARTBEAT_SECONDS:
            queue.put(sse.HEARTBEAT)
            silent = 0.0
        self._heart = asyncio.get_running_loop().call_later(HEARTBEAT_SECONDS - silent, self._beat, queue)

    async def _send(self, queue: BatchQueue[bytes | None], send: Send) -> None:
        with contextlib.suppress(OSError):
            # Events that came together are written together: a write for each is what a stream costs most with.
            chunks = await queue.take()
            self._begun = True
            self._opening.cancel()
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while True:
                more = None not in chunks
                self._sent_at = time.monotonic()
                body = b"".join(chunk for chunk in chunks if chunk is not None)
                await send({"type": "http.response.body", "body": body, "more_body": more})
                if not more:
                    return
                chunks = await queue.take()


async def _while_heard(working: "set[asyncio.Task[None]]", receive: Receive) -> None:
    """Wait until one of the tasks has ended, or the reader has left."""
    leaving = asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait({*working, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _end(leaving)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(task: "asyncio.Task[None]") -> None:
    """Cancel a task and wait until it has really ended, even if we are cancelled ourselves meanwhile."""
    task.cancel()
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({task})
