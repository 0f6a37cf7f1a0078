"""What the stand-ins for persona servers share: a real HTTP server on loopback that records its requests."""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from aiohttp import web

METADATA_ADDRESS = "http://169.254.169.254/latest/meta-data/"
"""Where a redirect of a stand-in leads: credentials that no call may reach."""

Behaviour = Callable[[Any, web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]
"""Answers a request with a JSON body; its first argument is the stand-in."""


@dataclass(frozen=True)
class Received:
    """One request: the behaviour's name, the path with its query string, the caller's port, the headers, the body.

    The names of the headers are in lower case.
    """

    name: str
    path: str
    port: int
    headers: Mapping[str, str]
    body: dict[str, Any]


@dataclass
class StandIn:
    """The server. Its behaviours are known by the name in the route; `say` adds further ones.

    An answer of the behaviour `held` stays under way until the test calls `release`; `allow` lets it go on by words.
    """

    ROUTE: ClassVar[str]
    CONTENT_TYPE: ClassVar[str]
    BEHAVIOURS: ClassVar[Mapping[str, Behaviour]]

    port: int = 0
    received: list[Received] = field(default_factory=list)
    _said: dict[str, tuple[int, Mapping[str, str], tuple[bytes, ...]]] = field(default_factory=dict)
    _runner: web.AppRunner | None = None
    _allowed_words: float = 2
    _allowed_more: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_post(self.ROUTE, self._receive)
        application.router.add_get("/allow/{words}", self._receive_allowance)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def url(self, name: str, host: str = "127.0.0.1") -> str:
        """What a persona is configured with for a behaviour; `name` may have a query string."""
        raise NotImplementedError

    def say(
        self,
        name: str,
        *chunks: bytes,
        status: int = 200,
        content_type: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Add a behaviour that writes these chunks one by one; its URL. An empty content type is not sent."""
        kind = self.CONTENT_TYPE if content_type is None else content_type
        self._said[name] = (status, {"Content-Type": kind, **(headers or {})}, chunks)
        return self.url(name)

    async def allow(self, words: float) -> None:
        """Let each held answer go on until it has so many words; at first these are `You wrote:`."""
        async with self._allowed_more:
            self._allowed_words = words
            self._allowed_more.notify_all()

    async def release(self) -> None:
        """Let held answers go on to their end, and do not hold later ones."""
        await self.allow(math.inf)

    async def held(self, answer: str) -> AsyncIterator[str]:
        """An answer in pieces: all of the words that are allowed so far, then those of each later allowance."""
        words, sent = answer.split(" "), 0
        while sent < len(words):
            async with self._allowed_more:
                while self._allowed_words <= sent:
                    await self._allowed_more.wait()
                end = int(min(len(words), self._allowed_words))
            yield " ".join(["", *words[sent:end]] if sent else words[:end])
            sent = end

    @property
    def allow_url(self) -> str:
        """`allow` for a client in another process: a GET below it names the words, `inf` all of them."""
        return f"http://127.0.0.1:{self.port}/allow"

    async def _receive_allowance(self, request: web.Request) -> web.Response:
        await self.allow(float(request.match_info["words"]))
        return web.Response()

    def refusal(self, body: dict[str, Any]) -> web.Response | None:
        """What the real server would refuse about a body."""

    def unknown(self, name: str, body: dict[str, Any]) -> web.Response:
        """The answer under a name that is no behaviour."""
        raise NotImplementedError

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        name, body = request.match_info["name"], json.loads(await request.read())
        assert request.transport is not None
        port = request.transport.get_extra_info("peername")[1]
        headers = {header.lower(): value for header, value in request.headers.items()}
        self.received.append(Received(name, request.path_qs, port, headers, body))
        if name in self._said:
            status, answered, chunks = self._said[name]
            async with streaming(request, status=status, headers=answered) as write:
                for chunk in chunks:
                    await write(chunk)
            return write.response
        if name not in self.BEHAVIOURS:
            return self.unknown(name, body)
        return self.refusal(body) or await self.BEHAVIOURS[name](self, request, body)


class Writer:
    """Writes to a response, each time as a segment of its own, most of the time."""

    def __init__(self, response: web.StreamResponse) -> None:
        self.response = response

    async def __call__(self, data: bytes) -> None:
        await self.response.write(data)
        await asyncio.sleep(0)


@asynccontextmanager
async def streaming(request: web.Request, *, status: int = 200, headers: Mapping[str, str]) -> AsyncIterator[Writer]:
    """A response that is written piece by piece; a caller who hangs up ends it."""
    response = web.StreamResponse(status=status, headers={name: value for name, value in headers.items() if value})
    with suppress(ConnectionResetError):
        await response.prepare(request)
        yield Writer(response)
        await response.write_eof()


def at_once(answer: Callable[[web.Request, dict[str, Any]], web.Response]) -> Behaviour:
    """A behaviour that does not stream."""

    async def behave(_: Any, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return answer(request, body)

    return behave


def abort(request: web.Request) -> None:
    """End the connection as a process that dies does."""
    assert request.transport is not None
    request.transport.abort()


def seconds(request: web.Request, default: float) -> float:
    """The pause that the query string asks for."""
    return float(request.query.get("seconds", default))
