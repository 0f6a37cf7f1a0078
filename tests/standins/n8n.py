"""A stand-in for n8n 2.41: webhooks that answer, byte for byte, as n8n's do.

    async with N8n() as n8n:
        n8n.url("stream")          the production URL of a workflow, see `N8n.BEHAVIOURS`
        n8n.say("mine", b"…")      a workflow that answers these bytes, one write each
        n8n.received[-1].body      what it was sent

Every workflow answers `You wrote: <message>`, so a test can tell whose answer it reads. The query string of
the URL sets what differs: `?seconds=2` (how long a slow one waits), `?status=201`, `?times=2` (how often it
calls back, or is asked before it has the answer), `?how=204` (in which way it says that it has none yet).
"""

import asyncio
import gzip
import json
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import aiohttp
from aiohttp import web

from tests.standins.server import METADATA_ADDRESS, Behaviour, StandIn, Writer, abort, at_once, seconds, streaming

HEADER = "X-N8N-Key"
SECRET = "the-header-auth-secret"
STARTED = {"message": "Workflow was started"}


@dataclass
class N8n(StandIn):
    """The server. `callback_url` and `callback_secret` say where the workflow `async` posts its answer."""

    ROUTE = "/webhook/{name:.+}"
    CONTENT_TYPE = "application/json"
    BEHAVIOURS: ClassVar[dict[str, Behaviour]] = {}

    callback_url: str | None = None
    callback_secret: str = ""
    jobs: dict[str, str] = field(default_factory=dict)
    _callbacks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aexit__(self, *_: object) -> None:
        for callback in self._callbacks:
            callback.cancel()
        await asyncio.gather(*self._callbacks, return_exceptions=True)
        await super().__aexit__()

    def url(self, name: str, host: str = "127.0.0.1") -> str:
        """The production URL of a workflow."""
        return f"http://{host}:{self.port}/webhook/{name}"

    def unknown(self, name: str, body: dict[str, Any]) -> web.Response:
        """A workflow that is not active."""
        return _json({"code": 404, "message": f'The requested webhook "POST {name}" is not registered.'}, 404)

    def call_back(self, body: dict[str, Any], times: int, pause: float) -> None:
        """Post the answer for the body's turn later, so many times."""

        async def post() -> None:
            assert self.callback_url is not None, "the workflow `async` needs a callback_url"
            answer = {"turnId": body["turnId"], "output": _answer(body)}
            async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {self.callback_secret}"}) as session:
                for _ in range(times):
                    await asyncio.sleep(pause)
                    await session.post(self.callback_url, json=answer)

        self._callbacks.add(asyncio.create_task(post()))


def line(kind: str, content: str | None = None, node: str = "agent", run: int = 0) -> bytes:
    """One line of a stream, as n8n writes it: compact JSON, UTF-8 unescaped."""
    said = {} if content is None else {"content": content}
    metadata = {"nodeId": node, "nodeName": "AI Agent", "itemIndex": 0, "runIndex": run, "timestamp": 1_790_000_000_000}
    text = json.dumps({"type": kind, **said, "metadata": metadata}, separators=(",", ":"), ensure_ascii=False)
    # JavaScript escapes only lone halves of surrogate pairs.
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _answer(body: dict[str, Any]) -> str:
    return f"You wrote: {body.get('chatInput', '')}"


def _json(value: object, status: int = 200) -> web.Response:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return web.Response(text=text, status=status, content_type="application/json")


def _status(request: web.Request) -> int:
    return int(request.query.get("status", 200))


def _lines(request: web.Request) -> AbstractAsyncContextManager[Writer]:
    return streaming(request, headers={"Content-Type": "application/json"})


async def _stream(_: N8n, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    async with _lines(request) as write:
        await write(line("begin"))
        for number, word in enumerate(_answer(body).split(" ")):
            await write(line("item", word if number == 0 else f" {word}"))
            await asyncio.sleep(seconds(request, 0))
        await write(line("end"))
    return write.response


async def _secured(n8n: N8n, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    if request.headers.get(HEADER) != SECRET:
        challenge = {"WWW-Authenticate": 'Basic realm="Webhook"'}
        return web.Response(status=403, text="Authorization data is wrong!", headers=challenge)
    return await _stream(n8n, request, body)


async def _bearer(n8n: N8n, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    if request.headers.get("Authorization") != f"Bearer {SECRET}":
        return web.Response(status=401, text="Authorization is required!")
    return await _stream(n8n, request, body)


async def _error(_: N8n, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    async with _lines(request) as write:
        await write(line("begin"))
        await write(line("item", "You wr"))
        await write(line("error", "The model is overloaded"))
    return write.response


async def _cut(_: N8n, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """The process dies: the socket closes in the middle of a line."""
    async with _lines(request) as write:
        await write(line("begin") + line("item", "You wr"))
        await write(line("item", "ote: ")[:20])
        await asyncio.sleep(0.05)
        abort(request)
    return write.response


async def _silent(_: N8n, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Begins, then says nothing for a long time."""
    async with _lines(request) as write:
        await write(line("begin") + line("item", "You wr"))
        await asyncio.sleep(seconds(request, 30))
        await write(line("end"))
    return write.response


async def _slow(n8n: N8n, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    await asyncio.sleep(seconds(request, 30))
    return await _last_node(n8n, request, body)


_last_node = at_once(lambda _, body: _json({"output": _answer(body)}))


def _respond_text(request: web.Request, body: dict[str, Any]) -> web.Response:
    """`Respond With: Text`: text/html, unless the workflow sets a Content-Type (?type=)."""
    kind = request.query.get("type", "text/html")
    return web.Response(text=_answer(body), content_type=kind, charset="utf-8", status=_status(request))


def _sign_in(*_: Any) -> web.Response:
    """What a login page in front of n8n answers."""
    return web.Response(text="<!DOCTYPE html><html><body><h1>Sign in</h1></body></html>", content_type="text/html")


async def _bomb(_: N8n, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """200 MB of zeros in 200 KB of gzip."""
    packed = gzip.compress(b'{"output":"' + b"0" * 200_000_000 + b'"}', 6)
    return web.Response(body=packed, content_type="application/json", headers={"Content-Encoding": "gzip"})


async def _huge(_: N8n, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Streams text without end."""
    async with _lines(request) as write:
        await write(line("begin"))
        while True:
            await write(line("item", "All work and no play makes Jack a dull boy. " * 500))
    return write.response


async def _async(n8n: N8n, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """`Respond: Immediately`, and an HTTP Request node at the end that posts the answer."""
    n8n.call_back(body, int(request.query.get("times", 1)), seconds(request, 0.05))
    return _json(STARTED)


async def _accept(n8n: N8n, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """`Respond to Webhook` at the beginning: a job that can be polled."""
    n8n.jobs[body["turnId"]] = _answer(body)
    return _json({"job": f"job of {body['turnId']}"}, 202)


async def _job(n8n: N8n, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """The answer to a message that `accept` took, after `?times=` polls without one."""
    if body["acknowledgement"] != {"job": f"job of {body['turnId']}"} or body["turnId"] not in n8n.jobs:
        return _json({"message": "There is no such job"}, 404)
    asked = sum(1 for received in n8n.received if received.name == "job" and received.body == body)
    if asked > int(request.query.get("times", 1)):
        return _json({"status": "success", "output": n8n.jobs[body["turnId"]]})
    match request.query.get("how", "202"):
        case "hang":
            await asyncio.sleep(30)
        case "hang-up":
            abort(request)
        case "cut":
            async with _lines(request) as write:
                await write(b'{"output":')
                abort(request)
            return write.response
        case status if status.isdigit():
            return web.Response(status=int(status), headers={"Retry-After": request.query.get("after", "soon")})
    return _json({"status": request.query["how"], "message": "Not done"})


N8n.BEHAVIOURS |= {
    "stream": _stream, "secured": _secured, "bearer": _bearer, "error": _error, "cut": _cut, "silent": _silent,
    "slow": _slow, "bomb": _bomb, "huge": _huge, "async": _async, "accept": _accept, "job": _job,
    "last-node": _last_node,
    "all-items": at_once(lambda _, body: _json([{"text": _answer(body), "usage": {"tokens": 4}}])),
    "failing": at_once(lambda *_: _json({"message": "Error in workflow"}, 500)),
    "respond": at_once(lambda request, body: _json({"myField": 1, "answer": _answer(body)}, _status(request))),
    "respond-text": at_once(_respond_text),
    "html": at_once(_sign_in),
    "empty": at_once(lambda request, _: web.Response(status=_status(request))),
    "redirect": at_once(lambda *_: web.Response(status=307, headers={"Location": METADATA_ADDRESS})),
    "immediately": at_once(lambda *_: _json(STARTED)),
}  # fmt: skip
