"""PostgREST's RPC at the wire, with functions that a test defines."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

Answer = dict[str, Any] | web.StreamResponse
SqlFunction = Callable[[dict[str, Any]], Answer]


@dataclass(frozen=True)
class Call:
    """One call: the function's name, its arguments, and the headers in lower case."""

    name: str
    arguments: dict[str, Any]
    headers: dict[str, str]


@dataclass
class PostgRest:
    """The server. ``functions`` answer by name; ``fail_next`` lets connections die instead."""

    functions: dict[str, SqlFunction] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    fail_next: int = 0
    peers: set[object] = field(default_factory=set)
    url: str = ""
    _runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_post("/rpc/{name}", self._answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def names(self) -> list[str]:
        """The names of the functions that were called, in order."""
        return [call.name for call in self.calls]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        arguments = json.loads(await request.read())
        assert request.transport is not None
        self.peers.add(request.transport.get_extra_info("peername"))
        headers = {header.lower(): value for header, value in request.headers.items()}
        self.calls.append(Call(name, arguments, headers))
        if self.fail_next > 0:
            self.fail_next -= 1
            request.transport.close()
            return web.Response()
        answer = self.functions[name](arguments)
        return answer if isinstance(answer, web.StreamResponse) else web.json_response(answer)


def raised(status: int, code: str, message: str, details: str | None = None) -> web.Response:
    """An error as PostgREST shows one that a function raised."""
    body = {"code": code, "message": message, "details": details, "hint": None}
    return web.json_response(body, status=status)


def refused(status: int, code: str, title: str, **members: Any) -> web.Response:
    """A refusal: a result with its own status, as the function set it."""
    return web.json_response({"code": code, "title": title, **members}, status=status)
