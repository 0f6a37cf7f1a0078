"""A streaming response that outlives its reader.

A serverless function stops when its response ends, so the response lasts until the work is done: after the reader
disconnects, the source is drained and its events are discarded.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Generic, TypeVar

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from lib import log
from lib.http import sse
from lib.http.batch_queue import BatchQueue
from lib.http.sse import Encoder, Opening, StreamBroken

Item = TypeVar("Item")

HEARTBEAT_SECONDS = 15.0
OPENING_SECONDS = 0.01
"""How long the response's head and the turn's opening wait for the first text, so that they are sent together."""

DRAIN_SECONDS = 30.0
"""Time for a slow reader to receive the rest once the source has ended."""

LAST_EVENT_SECONDS = 1.0
"""Time for the last event when the server shuts down."""

HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}


class Stream(StreamingResponse, Generic[Item]):
    """A response that sends each event at once; only the turn's opening waits briefly for the first text.

    The source runs in its own task, so a slow reader does not delay it. With ``drain`` it runs to its end even after
    the reader disconnects; without, it is closed then. When the server shuts down and cancels the response, the source
    is cancelled and awaited. The encoder serves this response only. ``headers`` are
    added to those of every stream.
    """

    def __init__(
        self,
        events: AsyncGenerator[Item, None],
        *,
        drain: bool,
        encoder: Encoder[Item | StreamBroken],
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._encoder: Encoder[Any] = encoder
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
                await _until_done_or_disconnected({source, reader}, receive)
            if source.done():
                await asyncio.wait({reader}, timeout=DRAIN_SECONDS)
        finally:
            self._heart.cancel()
            self._opening.cancel()
            await _end(source)
            if not reader.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait({reader}, timeout=LAST_EVENT_SECONDS)
            await _end(reader)

    async def _pump(self, queue: BatchQueue[bytes | None]) -> None:
        try:
            async with contextlib.aclosing(self._events) as events:
                async for event in events:
                    patient = isinstance(event, Opening) and not self._begun
                    queue.put(self._encoder.encode(event), wake=not patient)
        except asyncio.CancelledError:
            # The reader has disconnected or the server shuts down: a reader that still listens learns that the turn
            # goes on.
            queue.put(self._encoder.encode(StreamBroken("turn_interrupted" if self._drain else "stream_limit")))
            raise
        except Exception:
            log.error("stream_broke")
            queue.put(self._encoder.encode(StreamBroken("internal_error")))
        finally:
            queue.put(None)

    def _beat(self, queue: BatchQueue[bytes | None]) -> None:
        """Send heartbeats while the stream is idle. One timer for the stream, because a timer for each event costs more
        than the event."""
        silent = time.monotonic() - self._sent_at
        if silent >= HEARTBEAT_SECONDS:
            queue.put(sse.HEARTBEAT)
            silent = 0.0
        self._heart = asyncio.get_running_loop().call_later(HEARTBEAT_SECONDS - silent, self._beat, queue)

    async def _send(self, queue: BatchQueue[bytes | None], send: Send) -> None:
        with contextlib.suppress(OSError):
            # Queued events are sent in one write, because writes dominate a stream's cost.
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


async def _until_done_or_disconnected(working: "set[asyncio.Task[None]]", receive: Receive) -> None:
    """Wait until one of the tasks ends or the reader disconnects."""
    leaving = asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait({*working, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _end(leaving)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(task: "asyncio.Task[None]") -> None:
    """Cancel a task and wait until it has ended, even if this task is cancelled meanwhile."""
    task.cancel()
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({task})
