"""A stand-in for n8n 2.41: a real HTTP server with webhooks that answer, byte for byte, as n8n's do.

    async with N8n() as n8n:
        n8n.url("stream")          the production URL of a workflow, see `workflows`
        n8n.say("mine", b"…")      a workflow that answers these bytes, one write each
        n8n.received[-1].body      what it was sent

    python -m tests.standins.n8n --port 5678 --callback-url http://127.0.0.1:…/webhooks/n8n
    --callback-secret …

Every workflow answers `You wrote: <message>`, so a test can tell whose answer it reads. The query string of
the URL sets what differs: `?seconds=2` (how long a slow one waits), `?status=201`, `?times=2` (how often it
calls back, or is asked before it has the answer), `?how=204` (in which way it says that it has none yet).
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp
from aiohttp import web

HEADER = "X-N8N-Key"
SECRET = "the-header-auth-secret"
METADATA_ADDRESS = "http://169.254.169.254/latest/meta-data/"
STARTED = {"message": "Workflow was started"}

Workflow = Callable[["N8n", web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Received:
    """One request: the workflow's path, the caller's port, the headers (names in lower case), the JSON body."""

    path: str
    port: int
    headers: Mapping[str, str]
    body: dict[str, Any]


@dataclass
class N8n:
    """The server. `callback_url` and `callback_secret` say where the workflow `async` posts its answer."""

    port: int = 0
    callback_url: str | None = None
    callback_secret: str = ""
    received: list[Received] = field(default_factory=list)
    callback_statuses: list[int] = field(default_factory=list)
    jobs: dict[str, str] = field(default_factory=dict)
    _said: dict[str, tuple[int, Mapping[str, str], tuple[bytes, ...]]] = field(default_factory=dict)
    _callbacks: set[asyncio.Task[None]] = field(default_factory=set)
    _runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_post("/webhook/{path:.+}", self._receive)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        for callback in self._callbacks:
            callback.cancel()
        await asyncio.gather(*self._callbacks, return_exceptions=True)
        assert self._runner is not None
        await self._runner.cleanup()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        """The production URL of a workflow, its query string included in `path`."""
        return f"http://{host}:{self.port}/webhook/{path}"

    def say(
        self,
        path: str,
        *chunks: bytes,
        status: int = 200,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Add a workflow that writes these chunks one by one; the URL to call it."""
        self._said[path] = (status, {"Content-Type": content_type, **(headers or {})}, chunks)
        return self.url(path)

    async def callbacks_done(self) -> None:
        """Wait until every answer that was promised has been posted."""
        await asyncio.gather(*self._callbacks)

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        try:
            body = json.loads(await request.read())
        except ValueError:
            return web.json_response({"code": 422, "message": "Failed to parse request body"}, status=422)
        assert request.transport is not None
        port = request.transport.get_extra_info("peername")[1]
        self.received.append(
            Received(path, port, {name.lower(): value for name, value in request.headers.items()}, body)
        )
        if path in self._said:
            status, headers, chunks = self._said[path]
            async with _streaming(request, status=status, headers=headers) as write:
                for chunk in chunks:
                    await write(chunk)
            return write.response
        workflow = workflows.get(path)
        return await (workflow(self, request, body) if workflow else _unregistered(path))

    def call_back(self, body: dict[str, Any], times: int, seconds: float) -> None:
        """Post the answer for the body's turn later, so many times."""
        task = asyncio.create_task(self._call_back(body, times, seconds))
        self._callbacks.add(task)

    async def _call_back(self, body: dict[str, Any], times: int, seconds: float) -> None:
        assert self.callback_url is not None, "the workflow `async` needs a callback_url"
        async with aiohttp.ClientSession() as session:
            for _ in range(times):
                await asyncio.sleep(seconds)
                async with session.post(
                    self.callback_url,
                    json={"turnId": body["turnId"], "output": _answer(body)},
                    headers={"Authorization": f"Bearer {self.callback_secret}"},
                ) as response:
                    self.callback_statuses.append(response.status)


class _Writer:
    def __init__(self, response: web.StreamResponse) -> None:
        self.response = response

    async def __call__(self, data: bytes) -> None:
        await self.response.write(data)
        await asyncio.sleep(0)  # so that each write is a segment of its own, most of the time


@asynccontextmanager
async def _streaming(
    request: web.Request, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> AsyncIterator[_Writer]:
    response = web.StreamResponse(status=status, headers=headers or {"Content-Type": "application/json"})
    with suppress(ConnectionResetError):  # the caller hung up, which n8n does not mind either
        await response.prepare(request)
        yield _Writer(response)
        await response.write_eof()


def line(kind: str, content: str | None = None, node: str = "agent", run: int = 0, item: int = 0) -> bytes:
    """One line of a stream, as n8n writes it: compact JSON, UTF-8 unescaped."""
    chunk: dict[str, Any] = {"type": kind}
    if content is not None:
        chunk["content"] = content
    chunk["metadata"] = {
        "nodeId": node,
        "nodeName": "AI Agent",
        "itemIndex": item,
        "runIndex": run,
        "timestamp": 1_790_000_000_000,
    }
    text = json.dumps(chunk, separators=(",", ":"), ensure_ascii=False)
    # JavaScript escapes only lone halves of surrogate pairs.
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _answer(body: dict[str, Any]) -> str:
    return f"You wrote: {body.get('chatInput', '')}"


def _json(value: object, status: int = 200) -> web.Response:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return web.Response(text=text, status=status, content_type="application/json")


async def _unregistered(path: str) -> web.StreamResponse:
    return _json(
        {
            "code": 404,
            "message": f'The requested webhook "POST {path}" is not registered.',
            "hint": "The workflow must be active for a production URL to run successfully.",
        },
        404,
    )


async def _stream(_: N8n, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    words = _answer(body).split(" ")
    async with _streaming(request) as write:
        await write(line("begin"))
        for number, word in enumerate(words):
            await write(line("item", word if number == 0 else f" {word}"))
            await asyncio.sleep(float(request.query.get("seconds", 0)))
        await write(line("end"))
    return write.response


async def _secured(n8n: N8n, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    if request.headers.get(HEADER) != SECRET:
        return web.Response(
            status=403,
            text="Authorization data is wrong!",
            headers={"WWW-Authenticate": 'Basic realm="Webhook"'},
        )
    return await _stream(n8n, request, body)


async def _bearer(n8n: N8n, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    if request.headers.get("Authorization") != f"Bearer {SECRET}":
        return web.Response(status=401, text="Authorization is required!")
    return await _stream(n8n, request, body)


async def _error(_: N8n, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    async with _streaming(request) as write:
        await write(line("begin"))
        await write(line("item", "You wr"))
        await write(line("error", "The model is overloaded"))
    return write.response


async def _cut(_: N8n, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """The process dies: the socket closes in the middle of a line."""
    async with _streaming(request) as write:
        await write(line("begin") + line("item", "You wr"))
        await write(line("item", "ote: ")[:20])
        await asyncio.sleep(0.05)
        assert request.transport is not None
        request.transport.abort()
    return write.response


async def _silent(_: N8n, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Begins, then says nothing for a long time."""
    async with _streaming(request) as write:
        await write(line("begin") + line("item", "You wr"))
        await asyncio.sleep(float(request.query.get("seconds", 30)))
        await write(line("end"))
    return write.response


async def _slow(_: N8n, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    await asyncio.sleep(float(request.query.get("seconds", 30)))
    return _json({"output": _answer(body)})


async def _last_node(_: N8n, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    return _json({"output": _answer(body)})


async def _all_items(_: N8n, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    return _json([{"text": _answer(body), "usage": {"tokens": 4}}])


async def _failing(_: N8n, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    return _json({"message": "Error in workflow"}, 500)


async def _respond(_: N8n, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    return _json({"myField": 1, "answer": _answer(body)}, int(request.query.get("status", 200)))


async def _respond_text(_: N8n, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """`Respond With: Text`: text/html, unless the workflow sets a Content-Type (?type=)."""
    kind = request.query.get("type", "text/html")
    return web.Response(
        text=_answer(body), content_type=kind, charset="utf-8", status=int(request.query.get("status", 200))
    )


async def _html(_: N8n, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """What a login page in front of n8n answers."""
    return web.Response(text="<!DOCTYPE html><html><body><h1>Sign in</h1></body></html>", content_type="text/html")


async def _empty(_: N8n, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    return web.Response(status=int(request.query.get("status", 200)))


async def _bomb(_: N8n, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """200 MB of zeros in 200 KB of gzip."""
    packed = gzip.compress(b'{"output":"' + b"0" * 200_000_000 + b'"}', 6)
    return web.Response(body=packed, content_type="application/json", headers={"Content-Encoding": "gzip"})


async def _redirect(_: N8n, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """`Respond With: Redirect`."""
    return web.Response(status=307, headers={"Location": METADATA_ADDRESS})


async def _huge(_: N8n, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Streams text without end."""
    async with _streaming(request) as write:
        await write(line("begin"))
        while True:
            await write(line("item", "All work and no play makes Jack a dull boy. " * 500))
    return write.response


async def _immediately(_: N8n, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    return _json(STARTED)


async def _async(n8n: N8n, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """`Respond: Immediately`, and an HTTP Request node at the end that posts the answer."""
    n8n.call_back(body, int(request.query.get("times", 1)), float(request.query.get("seconds", 0.05)))
    return _json(STARTED)


async def _accept(n8n: N8n, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """`Respond to Webhook` at the beginning: a job for which one can ask."""
    n8n.jobs[body["turnId"]] = _answer(body)
    return _json({"job": f"job of {body['turnId']}"}, 202)


async def _job(n8n: N8n, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """The answer to a message that `accept` took, after `?times=` polls without one."""
    if body["acknowledgement"] != {"job": f"job of {body['turnId']}"} or body["turnId"] not in n8n.jobs:
        return _json({"message": "There is no such job"}, 404)
    asked = sum(1 for received in n8n.received if received.path == "job" and received.body == body)
    if asked > int(request.query.get("times", 1)):
        return _json({"status": "success", "output": n8n.jobs[body["turnId"]]})
    return await _not_yet(request, request.query.get("how", "202"))


async def _not_yet(request: web.Request, how: str) -> web.StreamResponse:
    match how:
        case "hang":
            await asyncio.sleep(30)
        case "hang-up":
            assert request.transport is not None
            request.transport.abort()
        case "cut":
            async with _streaming(request) as write:
                await write(b'{"output":')
                assert request.transport is not None
                request.transport.abort()
            return write.response
        case status if status.isdigit():
            return web.Response(status=int(status), headers={"Retry-After": request.query.get("after", "soon")})
    return _json({"status": how, "message": "Not done"})


workflows: dict[str, Workflow] = {
    "stream": _stream,
    "secured": _secured,
    "bearer": _bearer,
    "error": _error,
    "cut": _cut,
    "silent": _silent,
    "slow": _slow,
    "last-node": _last_node,
    "all-items": _all_items,
    "failing": _failing,
    "respond": _respond,
    "respond-text": _respond_text,
    "html": _html,
    "empty": _empty,
    "bomb": _bomb,
    "redirect": _redirect,
    "huge": _huge,
    "immediately": _immediately,
    "async": _async,
    "accept": _accept,
    "job": _job,
}


async def _serve(port: int, callback_url: str | None, callback_secret: str) -> None:
    async with N8n(port=port, callback_url=callback_url, callback_secret=callback_secret) as n8n:
        print(f"n8n stand-in at {n8n.url('<workflow>')}: {', '.join(workflows)}", flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="A stand-in for n8n on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--callback-url", help="where the workflow `async` posts its answers")
    parser.add_argument("--callback-secret", default="")
    arguments = parser.parse_args()
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(arguments.port, arguments.callback_url, arguments.callback_secret))


if __name__ == "__main__":
    main()
