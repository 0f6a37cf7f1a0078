"""Switchboard, from outside: a client that POSTs messages to a chat space and reads the events, and nothing else.

The client is a few lines over a socket, because its CPU is the machine's too: a request from bytes that are there,
an answer whose first delta and end are searched for. Who opens a thread has no token and gets one with the answer.
"""

import asyncio
import contextlib
import json
import re
import time
import uuid
from collections.abc import AsyncIterator
from typing import cast
from urllib.parse import urlsplit

from bench.cost.worker import MESSAGE, Settings

_NEW_ID = str(uuid.UUID(int=0)).encode()
_TOKEN = re.compile(rb'"token":"([^"]+)"')


_SAID: dict[str, object] = {"message": MESSAGE, "client_message_id": _NEW_ID.decode()}


class SwitchboardError(Exception):
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
            self._done.set_exception(SwitchboardError(f"hung up: {self._received[-500:]!r}"))
            self._done = None

    @property
    def open(self) -> bool:
        """Whether it can be used: a server hangs up on a connection that was silent for long."""
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, request: bytes, mark: bytes) -> tuple[bytes, float]:
        """Send a request; the whole chunked answer as it came, and the clock when the mark first showed."""
        if self._transport is None:
            raise SwitchboardError("not connected")
        self._received, self._mark, self._first = b"", mark, 0.0
        done = self._done = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await asyncio.wait_for(done, 60)


def _request(url: str, body: dict[str, object], token: str | None = None) -> bytes:
    at = urlsplit(url)
    content = json.dumps(body).encode()
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    head = (
        f"POST {at.path} HTTP/1.1\r\nHost: {at.netloc}\r\nAccept: text/event-stream\r\n{authorization}"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


class _Client:
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


class _Chat:
    def __init__(self, settings: Settings) -> None:
        self._ours = _Client(settings.space_url)
        self._model = _Client(settings.model_url)
        self._url = settings.space_url
        self._opening = _request(settings.space_url, _SAID)
        self._asking = self._opening
        asked = {"model": "fake", "messages": [{"role": "user", "content": MESSAGE}], "stream": True}
        self._direct = _request(settings.model_url, asked)

    async def turn(self, *, new_thread: bool) -> float:
        request = self._opening if new_thread else self._asking
        answer, first = await self._ours.ask(request.replace(_NEW_ID, str(uuid.uuid4()).encode()), b"event: delta")
        if b"event: done" not in answer or not first:
            raise SwitchboardError(answer[-800:].decode("utf-8", "replace"))
        if new_thread:
            token = _TOKEN.search(answer)
            if token is None:
                raise SwitchboardError("no token came with the first answer")
            self._asking = _request(self._url, _SAID, token[1].decode())
        return first

    async def direct(self) -> float:
        _, first = await self._model.ask(self._direct, b"word00")
        return first


class _Switchboard:
    versions: dict[str, str] = {}  # noqa: RUF012 - read only

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def chat(self) -> _Chat:
        return _Chat(self._settings)


@contextlib.asynccontextmanager
async def open_system(settings: Settings) -> AsyncIterator[_Switchboard]:
    """Ready at once: the stack runs already."""
    yield _Switchboard(settings)
