"""What the stand-ins for messengers' APIs share: a real HTTP server on loopback that keeps what it was sent."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from aiohttp import web


@dataclass(frozen=True)
class Received:
    """One call of the API: its method, its path, the headers (names in lower case), and its document."""

    method: str
    path: str
    headers: Mapping[str, str]
    document: dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """What the next call gets instead of an answer. ``lost``: it takes effect and is not answered."""

    status: int = 500
    document: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    lost: bool = False


@dataclass
class MessengerApi:
    """The server. ``texts`` are the messages that reached a chat, `(chat, text)` in their order."""

    TEXT_NAME: ClassVar[str]

    port: int = 0
    received: list[Received] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    held: asyncio.Event | None = None
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)
    _runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._receive)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        """The API's address."""
        return f"http://127.0.0.1:{self.port}"

    def answer(self, call: Received) -> tuple[int, Any]:
        """The status and document for a call; a message is added to the texts."""
        raise NotImplementedError

    async def until(self, texts: int) -> list[str]:
        """The texts of the messages, once there are so many."""
        async with asyncio.timeout(15), self._news:
            await self._news.wait_for(lambda: len(self.texts) >= texts)
        return [text for _, text in self.texts]

    async def until_received(self, calls: int) -> None:
        """Return once so many calls have come."""
        async with asyncio.timeout(15), self._news:
            await self._news.wait_for(lambda: len(self.received) >= calls)

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if request.content_type == "application/x-www-form-urlencoded":
            document: dict[str, Any] = dict(await request.post())
        else:
            document = json.loads(body) if body else {}
        headers = {name.lower(): value for name, value in request.headers.items()}
        call = Received(request.method, request.path_qs, headers, document)
        async with self._news:
            self.received.append(call)
            self._news.notify_all()
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None and not fault.lost:
            return web.json_response(fault.document, status=fault.status, headers=fault.headers)
        status, answered = self.answer(call)
        async with self._news:
            self._news.notify_all()
        if self.held is not None:
            await self.held.wait()
        if fault is not None:
            assert request.transport is not None
            request.transport.abort()
        return web.json_response(answered, status=status)
