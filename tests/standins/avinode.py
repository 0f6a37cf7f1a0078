"""A stand-in for Avinode's API: objects that are read by GET, with the headers that Avinode asks for."""

import json
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from tests.senders import document, payload

API_TOKEN, ACCESS_TOKEN = "the-api-token", "the-access-token"


@dataclass
class Avinode:
    """The server. An object has the payload that `hold` gave it, or the status, with the headers."""

    port: int = 0
    received: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    _held: dict[str, Any] = field(default_factory=dict)
    _runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_get("/api/{path:.+}", self._read)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    @property
    def host(self) -> str:
        """What a channel lists among its allowed hosts."""
        return f"127.0.0.1:{self.port}"

    def hold(self, path: str, case: str | web.Response, **changed: Any) -> None:
        """Answer the path of an object with a recorded one, some of whose fields have other values."""
        if isinstance(case, str):
            object_ = document("avinode_objects", case)
            object_["data"] |= changed
            self._held[path] = object_
        else:
            self._held[path] = case

    def event(self, case: str) -> bytes:
        """A recorded event whose object is here."""
        return payload("avinode", case).replace(b"https://sandbox.avinode.com", f"http://{self.host}".encode())

    async def _read(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received.append((request.match_info["path"], headers))
        if (headers.get("x-avinode-apitoken"), headers.get("authorization")) != (API_TOKEN, f"Bearer {ACCESS_TOKEN}"):
            return web.Response(status=401)
        held = self._held.get(request.match_info["path"])
        if isinstance(held, web.Response):
            return web.Response(status=held.status, headers=held.headers, body=held.body)
        return web.Response(status=404) if held is None else web.Response(
            text=json.dumps(held), content_type="application/json"
        )  # fmt: skip
