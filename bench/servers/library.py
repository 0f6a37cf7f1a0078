"""The server that a user puts in front of a library: Starlette under uvicorn, set up as local/gateway.py.

It has the protocol of a chat space: POST {"message": …} is answered with server-sent events. The event `turn` brings a
token when a thread was opened; a message with that bearer token continues the thread. There are no callers to identify,
no limits and no log. Nothing outside bench/servers is imported, because LangGraph has a virtual environment of its own.
"""

import json
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import aiohttp
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

Answer = Callable[[uuid.UUID, str, bool], AsyncIterator[str]]
"""Answers a message of a thread, which may be new, and ends when everything is stored."""


class Model:
    """The client of an OpenAI-compatible model, read line by line. `together` joins tokens that arrive in one piece."""

    def __init__(self, url: str, *, together: bool) -> None:
        self._url = url
        self._together = together
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
        )

    async def stream(self, messages: Sequence[dict[str, Any]]) -> AsyncIterator[str]:
        """The tokens of the answer, as they arrive."""
        body = {"model": "fake", "messages": messages, "stream": True}
        async with self._session.post(self._url, json=body, raise_for_status=True) as answer:
            rest = b""
            async for piece in answer.content.iter_any() if self._together else answer.content:
                *lines, rest = (rest + piece).split(b"\n")
                events = [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]
                if text := "".join(event["choices"][0]["delta"].get("content", "") for event in events):
                    yield text


def _event(name: str, data: dict[str, str]) -> str:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"


async def serve(answer: Answer) -> None:
    """Serve until SIGTERM; print the port first."""

    async def chat(request: Request) -> StreamingResponse:
        message = (await request.json())["message"]
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        thread_id = uuid.UUID(token) if token else uuid.uuid4()

        async def events() -> AsyncIterator[str]:
            yield _event("turn", {} if token else {"token": str(thread_id)})
            async for text in answer(thread_id, message, not token):
                yield _event("delta", {"text": text})
            yield _event("done", {})

        return StreamingResponse(events(), media_type="text/event-stream")

    app = Starlette(routes=[Route("/chat", chat, methods=["POST"])])
    options: dict[str, Any] = {"http": "h11", "ws": "none", "lifespan": "off", "access_log": False}
    config = uvicorn.Config(app, log_level="warning", server_header=False, timeout_graceful_shutdown=3, **options)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(listening.getsockname()[1], flush=True)
        await uvicorn.Server(config).serve(sockets=[listening])
