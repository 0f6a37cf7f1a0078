"""A stand-in for OpenAI's `/chat/completions` and compatible servers.

    async with OpenAI() as openai:
        openai.base_url("stream")       a server that behaves so, see `OpenAI.BEHAVIOURS`
        openai.say("mine", b"…")        one that answers these bytes, one write each; its base URL
        await openai.allow(4)           the answer of "held" goes on until it has four words; `release`: to its end
        openai.received[-1].body        what it was sent

It refuses with a 400, as OpenAI does, what OpenAI would refuse. Every behaviour answers `You wrote: <the last
message>`, so a test can tell whose answer it reads.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, ClassVar

from aiohttp import web

from tests.standins.server import METADATA_ADDRESS, Behaviour, StandIn, Writer, abort, at_once, streaming

SECRET = "sk-the-secret-of-the-model"
MODEL = "parrot-1"
DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}

_NUMBERS = {"temperature": (0, 2), "top_p": (0, 1), "max_tokens": (1, 10**9), "max_completion_tokens": (1, 10**9)}


@dataclass
class OpenAI(StandIn):
    """The server."""

    ROUTE = "/{name}/v1/chat/completions"
    CONTENT_TYPE = "text/event-stream; charset=utf-8"
    BEHAVIOURS: ClassVar[dict[str, Behaviour]] = {}

    def url(self, name: str, host: str = "127.0.0.1") -> str:
        """The base URL of a behaviour."""
        return f"http://{host}:{self.port}/{name}/v1"

    def base_url(self, name: str, query: str = "") -> str:
        """What a persona is configured with."""
        return self.url(name) + query

    def refusal(self, body: dict[str, Any]) -> web.Response | None:
        """OpenAI's 400."""
        complaint = next(_complaints(body), None)
        return _error(400, complaint) if complaint else None

    def unknown(self, name: str, body: dict[str, Any]) -> web.Response:
        """OpenAI's 404."""
        return _error(404, f"The model `{body.get('model')}` does not exist.", "model_not_found")


def event(value: object, end: str = "\n") -> bytes:
    """One chunk on the wire; JSON escapes all but ASCII, lone surrogates included."""
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


def _answer(body: Mapping[str, Any]) -> str:
    return f"You wrote: {body['messages'][-1]['content']}"


def _envelope(kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1_790_000_000, "model": f"{MODEL}-2026-11-01"}


def _events(request: web.Request) -> AbstractAsyncContextManager[Writer]:
    return streaming(request, headers={"Content-Type": OpenAI.CONTENT_TYPE})


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


async def _held(openai: OpenAI, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Sends the words of its answer as the test allows them."""
    async with _events(request) as write:
        async for piece in openai.held(_answer(body)):
            await write(event(chunk(piece)))
        await write(event(chunk(finish="stop")) + DONE)
    return write.response


async def _stream(_: OpenAI, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    async with _events(request) as write:
        await write(event(chunk("", role="assistant", refusal=None)))
        for number, word in enumerate(_answer(body).split(" ")):
            await write(event(chunk(word if number == 0 else f" {word}")))
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
    """As Azure does: the key in a header of its own, a version in the query string."""
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


async def _failing_late(_: OpenAI, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    async with _events(request) as write:
        await write(event(chunk("You ", role="assistant")))
        await write(event(chunk("wr")))
        await write(event({"error": {"message": "The server had an error", "type": "server_error"}}))
    return write.response


async def _cut(_: OpenAI, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """The process dies in the middle of a chunk."""
    async with _events(request) as write:
        await write(event(chunk("You wr")))
        await write(event(chunk("ote"))[:40])
        await asyncio.sleep(0.05)
        abort(request)
    return write.response


async def _silent(_: OpenAI, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Begins, then says nothing for a long time."""
    async with _events(request) as write:
        await write(event(chunk("You wr")))
        await asyncio.sleep(30)
    return write.response


async def _open(_: OpenAI, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Says all of it, and leaves the connection open; `?done=1`: with [DONE], `?comments=1`: not silently."""
    async with _events(request) as write:
        await write(event(chunk(_answer(body), finish="stop")))
        if request.query.get("done"):
            await write(DONE)
        for _second in range(300):
            await asyncio.sleep(0.1)
            if request.query.get("comments"):
                await write(b": still here\n\n")
    return write.response


async def _marked(_: OpenAI, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Marks every chunk as the last one."""
    async with _events(request) as write:
        for word in _answer(body).split(" "):
            await write(event(chunk(word if word == "You" else f" {word}", finish="stop")))
            await asyncio.sleep(0.45)
        await write(DONE)
    return write.response


async def _slow(_: OpenAI, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    await asyncio.sleep(30)
    return web.json_response(document("late"))


async def _dripping(_: OpenAI, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Never silent and never done: a comment every 50 ms."""
    async with _events(request) as write:
        while True:
            await write(b": OPENROUTER PROCESSING\n\n")
            await asyncio.sleep(0.05)
    return write.response


async def _huge(_: OpenAI, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Streams text without end."""
    async with _events(request) as write:
        while True:
            await write(event(chunk("All work and no play makes Jack a dull boy. " * 500)))
    return write.response


async def _endless_line(_: OpenAI, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    async with _events(request) as write:
        await write(b"data: ")
        while True:
            await write(b"x" * 65_536)
    return write.response


OpenAI.BEHAVIOURS |= {
    "held": _held, "stream": _stream, "secured": _secured, "gateway": _gateway, "old": _old,
    "failing-late": _failing_late, "cut": _cut, "silent": _silent, "open": _open, "slow": _slow, "marked": _marked,
    "dripping": _dripping, "huge": _huge, "endless-line": _endless_line,
    # A server that ignores `stream`.
    "plain": at_once(lambda _, body: web.json_response(document(_answer(body)))),
    "redirect": at_once(lambda *_: web.Response(status=308, headers={"Location": METADATA_ADDRESS})),
}  # fmt: skip
