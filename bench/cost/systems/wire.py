"""The client of everything that is measured over HTTP: a few lines over a socket, because its CPU is the machine's too.

A request is bytes that are there; of an answer the first token and the end are searched for.
"""

import asyncio
import json
import time
from typing import cast
from urllib.parse import urlsplit

from bench.cost.worker import MESSAGE

FIRST = b"event: delta"
"""Where an answer's first token shows, ours and that of the server before the peers."""


class WireError(Exception):
    """The answer is not that of a turn that was completed."""


class _Connection(asyncio.Protocol):
    """One request at a time over one kept connection; notes when the mark first shows and ends with the last chunk."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._mark = b""
        self._first = 0.0
        self._done: asyncio.Future[tuple[bytes, float]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are of a class of their own.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._first and self._mark in self._received:
            self._first = time.perf_counter()
        if self._done is not None and self._received.endswith(b"\r\n0\r\n\r\n"):
            self._done.set_result((self._received, self._first))
            self._done = None

    def connection_lost(self, error: Exception | None) -> None:
        if self._done is not None:
            self._done.set_exception(WireError(f"hung up: {self._received[-500:]!r}"))
            self._done = None

    @property
    def open(self) -> bool:
        """Whether it can be used: a server hangs up on a connection that was silent for long."""
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, request: bytes, mark: bytes) -> tuple[bytes, float]:
        """Send a request; the whole chunked answer as it came, and the clock when the mark first showed."""
        if self._transport is None:
            raise WireError("not connected")
        self._received, self._mark, self._first = b"", mark, 0.0
        done = self._done = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await asyncio.wait_for(done, 60)


def request(url: str, body: dict[str, object], token: str | None = None) -> bytes:
    """A POST of this JSON, as it goes over the wire."""
    at = urlsplit(url)
    content = json.dumps(body).encode()
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    head = (
        f"POST {at.path} HTTP/1.1\r\nHost: {at.netloc}\r\nAccept: text/event-stream\r\n{authorization}"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


class Client:
    """A connection to one address, made anew where the server has hung up."""

    def __init__(self, url: str) -> None:
        at = urlsplit(url)
        self._host, self._port = at.hostname or "", at.port or 80
        self._connection: _Connection | None = None

    async def ask(self, request: bytes, mark: bytes) -> tuple[bytes, float]:
        """As a connection does."""
        if self._connection is None or not self._connection.open:
            loop = asyncio.get_running_loop()
            _, self._connection = await loop.create_connection(_Connection, self._host, self._port)
        return await self._connection.ask(request, mark)


class Asker:
    """A connection to what is measured, and one to the model that it asks."""

    def __init__(self, url: str, model_url: str) -> None:
        self._client = Client(url)
        self._model = Client(model_url)
        asked = {"model": "fake", "messages": [{"role": "user", "content": MESSAGE}], "stream": True}
        self._direct = request(model_url, asked)

    async def have_turn(self, said: bytes) -> tuple[bytes, float]:
        """Hear the answer out; all of it, and the clock at its first token. Raises WireError."""
        answer, first = await self._client.ask(said, FIRST)
        if b"event: done" not in answer or not first:
            raise WireError(answer[-800:].decode("utf-8", "replace"))
        return answer, first

    async def direct(self) -> float:
        """Ask the model itself; the clock at the first token."""
        _, first = await self._model.ask(self._direct, b"word00")
        return first
