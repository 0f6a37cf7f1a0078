"""A stand-in for OpenAI's `/chat/completions` and those who are compatible: a real HTTP server on loopback.

    async with OpenAI() as openai:
        openai.base_url("stream")       a server that behaves so, see `behaviours`
        openai.say("mine", b"…")        one that answers these bytes, one write each; its base URL
        openai.received[-1].body        what it was sent

    python -m tests.standins.openai --port 8081 --tokens 50

It refuses with a 400, as OpenAI does, what OpenAI would refuse. Every behaviour answers `You wrote: <the last
message>`, so a test can tell whose answer it reads; `?tokens=50` makes it as many tokens long, `?seconds=0.1`
waits between them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

SECRET = "sk-the-secret-of-the-model"
MODEL = "parrot-1"
METADATA_ADDRESS = "http://169.254.169.254/latest/meta-data/"
DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}

_NUMBERS = {"temperature": (0, 2), "top_p": (0, 1), "max_tokens": (1, 10**9), "max_completion_tokens": (1, 10**9)}

Behaviour = Callable[["OpenAI", web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Received:
    """One request: the path with its query string, the caller's port, the headers in lower case, the body."""

    path: str
    port: int
    headers: Mapping[str, str]
    body: dict[str, Any]


@dataclass
class OpenAI:
    """The server."""

    port: int = 0
    received: list[Received] = field(default_factory=list)
    _said: dict[str, tuple[int, Mapping[str, str], tuple[bytes, ...]]] = field(default_factory=dict)
    _runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_post("/{behaviour}/v1/chat/completions", self._receive)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def base_url(self, behaviour: str, query: str = "") -> str:
        """What a client is configured with."""
        return f"http://127.0.0.1:{self.port}/{behaviour}/v1{query}"

    def say(
        self, name: str, *chunks: bytes, status: int = 200, content_type: str = "text/event-stream; charset=utf-8"
    ) -> str:
        """Add a behaviour that writes these bytes one by one; its base URL."""
        self._said[name] = (status, {"Content-Type": content_type} if content_type else {}, chunks)
        return self.base_url(name)

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        try:
            body = json.loads(await request.read())
        except ValueError:
            return _error(400, "We could not parse the JSON body of your request.")
        assert request.transport is not None
        self.received.append(
            Received(
                request.path_qs,
                request.transport.get_extra_info("peername")[1],
                {name.lower(): value for name, value in request.headers.items()},
                body,
            )
        )
        name = request.match_info["behaviour"]
        if name in self._said:
            status, headers, chunks = self._said[name]
            async with streaming(request, status=status, headers=headers) as write:
                for chunk in chunks:
                    await write(chunk)
            return write.response
        if name not in behaviours:
            return _error(404, f"The model `{body.get('model')}` does not exist.", "model_not_found")
        complaint = next(_complaints(body), None)
        return _error(400, complaint) if complaint else await behaviours[name](self, request, body)


class Writer:
    """Writes to a response, each time as a segment of its own, most of the time."""

    def __init__(self, response: web.StreamResponse) -> None:
        self.response = response

    async def __call__(self, data: bytes) -> None:
        await self.response.write(data)
        await asyncio.sleep(0)


@asynccontextmanager
async def streaming(
    request: web.Request, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> AsyncIterator[Writer]:
    """A response that is written piece by piece."""
    response = web.StreamResponse(status=status, headers={"Content-Type": "text/event-stream"} | dict(headers or {}))
    if headers == {}:
        del response.headers["Content-Type"]
    with suppress(ConnectionResetError):  # the caller hung up
        await response.prepare(request)
        yield Writer(response)
        await response.write_eof()


def event(value: object, end: str = "\n") -> bytes:
    """One chunk as it goes over the wire; JSON escapes what is no ASCII, lone surrogates included."""
    return f"data: {json.dumps(value)}{end}{end}".encode()


def chunk(content: str | None = None, *, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    """A chunk of the first choice."""
    if content is not None:
        delta["content"] = content
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return _envelope("chat.completion.chunk") | {"choices": [choice]}


def usage_chunk() -> dict[str, Any]:
    """The last chunk before [DONE], when it was asked for."""
    return _envelope("chat.completion.chunk") | {"choices": [], "usage": USAGE}


def document(content: str | None, *, finish: str = "stop", **message: Any) -> dict[str, Any]:
    """The answer of a server that does not stream."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}
    return _envelope("chat.completion") | {"choices": [choice], "usage": USAGE}


def answer_to(body: Mapping[str, Any], tokens: int = 0) -> list[str]:
    """The tokens of the answer to a request."""
    words = f"You wrote: {body['messages'][-1]['content']}".split(" ")
    words = [word if number == 0 else f" {word}" for number, word in enumerate(words)]
    return [words[number % len(words)] for number in range(tokens)] if tokens else words


def _envelope(kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1_790_000_000, "model": f"{MODEL}-2026-11-01"}


def _complaints(body: Mapping[str, Any]) -> Iterator[str]:
    """What OpenAI would refuse about a request."""
    if not isinstance(body.get("model"), str):
        yield "you must provide a model parameter"
    if body.get("stream") is not True:
        yield "this stand-in streams: 'stream' must be true"
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        yield "[] is too short - 'messages'"
        return
    for place, message in enumerate(messages):
        if not isinstance(message, dict) or set(message) != {"role", "content"}:
            yield f"Invalid 'messages[{place}]'"
        elif message["role"] not in ("user", "assistant") and (message["role"], place) != ("system", 0):
            yield f"Invalid 'messages[{place}].role'"
        elif not isinstance(message["content"], str) or not message["content"].strip():
            yield f"Invalid 'messages[{place}].content'"
    if body.get("stream_options", {"include_usage": True}) != {"include_usage": True}:
        yield "Invalid 'stream_options'"
    if "max_tokens" in body and "max_completion_tokens" in body:
        yield "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
    for name, (least, most) in _NUMBERS.items():
        if name in body and not (isinstance(body[name], int | float) and least <= body[name] <= most):
            yield f"Invalid '{name}'"


def _error(status: int, message: str, code: str | None = None) -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return web.json_response({"error": error}, status=status)


async def _stream(_: OpenAI, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    async with streaming(request) as write:
        await write(event(chunk("", role="assistant", refusal=None)))
        for token in answer_to(body, int(request.query.get("tokens", 0))):
            await write(event(chunk(token)))
            await asyncio.sleep(float(request.query.get("seconds", 0)))
        await write(event(chunk(finish="stop")))
        if "stream_options" in body:
            await write(event(usage_chunk()))
        await write(DONE)
    return write.response


async def _secured(openai: OpenAI, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    if request.headers.get("Authorization") != f"Bearer {SECRET}":
        return _error(401, "Incorrect API key provided.", "invalid_api_key")
    return await _stream(openai, request, body)


async def _gateway(openai: OpenAI, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Azure's way: the key in a header of its own, a version in the query string, a chunk about filters first."""
    if request.headers.get("api-key") != SECRET or "Authorization" in request.headers:
        return _error(401, "Access denied due to invalid subscription key.", "401")
    if not request.query.get("api-version"):
        return _error(404, "Resource not found", "404")
    return await _stream(openai, request, body)


async def _old(openai: OpenAI, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """A compatible server of an earlier year: it knows neither of the newer parameters."""
    for name in ("stream_options", "max_completion_tokens"):
        if name in body:
            return _error(400, f"Unrecognized request argument supplied: {name}")
    return await _stream(openai, request, body)


async def _plain(_: OpenAI, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Ignores `stream`."""
    return web.json_response(document("".join(answer_to(body))))


async def _failing_late(_: OpenAI, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    async with streaming(request) as write:
        await write(event(chunk("You ", role="assistant")))
        await write(event(chunk("wr")))
        await write(event({"error": {"message": "The server had an error", "type": "server_error"}}))
    return write.response


async def _cut(_: OpenAI, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """The process dies in the middle of a chunk."""
    async with streaming(request) as write:
        await write(event(chunk("You wr")))
        await write(event(chunk("ote"))[:40])
        await asyncio.sleep(0.05)
        assert request.transport is not None
        request.transport.abort()
    return write.response


async def _silent(_: OpenAI, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Begins, then says nothing for a long time."""
    async with streaming(request) as write:
        await write(event(chunk("You wr")))
        await asyncio.sleep(30)
    return write.response


async def _open(openai: OpenAI, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Says all of it, and leaves the connection open; `?done=1`: with [DONE], `?comments=1`: not silently."""
    async with streaming(request) as write:
        await write(event(chunk("".join(answer_to(body)), finish="stop")))
        if request.query.get("done"):
            await write(DONE)
        for _ in range(300):
            await asyncio.sleep(0.1)
            if request.query.get("comments"):
                await write(b": still here\n\n")
    return write.response


async def _slow(_: OpenAI, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    await asyncio.sleep(30)
    return web.json_response(document("late"))


async def _dripping(_: OpenAI, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Never silent and never done: a comment every 50 ms."""
    async with streaming(request) as write:
        while True:
            await write(b": OPENROUTER PROCESSING\n\n")
            await asyncio.sleep(0.05)
    return write.response


async def _huge(_: OpenAI, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Streams text without end."""
    async with streaming(request) as write:
        while True:
            await write(event(chunk("All work and no play makes Jack a dull boy. " * 500)))
    return write.response


async def _endless_line(_: OpenAI, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """One line without end."""
    async with streaming(request) as write:
        await write(b"data: ")
        while True:
            await write(b"x" * 65_536)
    return write.response


async def _redirect(_: OpenAI, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    return web.Response(status=308, headers={"Location": METADATA_ADDRESS})


behaviours: dict[str, Behaviour] = {
    "stream": _stream,
    "secured": _secured,
    "gateway": _gateway,
    "old": _old,
    "plain": _plain,
    "failing-late": _failing_late,
    "cut": _cut,
    "silent": _silent,
    "open": _open,
    "slow": _slow,
    "dripping": _dripping,
    "huge": _huge,
    "endless-line": _endless_line,
    "redirect": _redirect,
}


async def _serve(port: int, tokens: int) -> None:
    async with OpenAI(port=port) as openai:
        query = f"?tokens={tokens}" if tokens else ""
        print(f"OpenAI stand-in: {openai.base_url('stream', query)}; also {', '.join(behaviours)}", flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="A stand-in for OpenAI's chat completions on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--tokens", type=int, default=0, help="how long an answer is; 0: as long as the message")
    arguments = parser.parse_args()
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(arguments.port, arguments.tokens))


if __name__ == "__main__":
    main()
