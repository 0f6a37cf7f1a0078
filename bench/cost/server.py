"""The server that a user would put before a library: Starlette under uvicorn, set as local/gateway.py sets it for ours.

    python -m bench.cost.server floor [together]
    <- {"database_url": …, "model_url": …}          answered by {"versions": {…}, "url": …} when it listens

One route: POST {"message": …, "thread_id": …} is answered by server-sent events: `thread` with its id, a `delta` for
each token as it comes, `done` when the turn is stored. Without a thread's id it opens one. There is no caller to
identify, no limit, no log. With `together` events that are there at the same time are one write.

Like the worker it imports nothing of the project outside bench/cost.
"""

import asyncio
import importlib
import json
import os
import socket
import sys
import uuid
from collections.abc import AsyncIterator

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from bench.cost.systems.library import Library
from bench.cost.worker import Settings, System

PATH = "/chat"


class Server:
    """The route. Threads that were opened stay in memory, as they may in a single process."""

    def __init__(self, system: System[Library], *, together: bool = False) -> None:
        self._system = system
        self._together = together
        self._threads: dict[str, Library] = {}

    async def answer(self, request: Request) -> Response:
        """One turn."""
        said = await request.json()
        thread_id = said.get("thread_id")
        if new_thread := thread_id is None:
            thread_id = str(uuid.uuid4())
            self._threads[thread_id] = await self._system.chat()
        elif thread_id not in self._threads:
            return PlainTextResponse("There is no such thread.", 404)
        tokens = self._threads[thread_id].answer(said["message"], new_thread=new_thread)
        turn = events(thread_id, tokens)
        return StreamingResponse(gathered(turn) if self._together else turn, media_type="text/event-stream")


async def events(thread_id: str, tokens: AsyncIterator[str]) -> AsyncIterator[str]:
    """The events of one turn, each as it goes over the wire."""
    yield _event("thread", {"thread_id": thread_id})
    async for token in tokens:
        yield _event("delta", {"text": token})
    yield _event("done", {})


async def gathered(pieces: AsyncIterator[str]) -> AsyncIterator[str]:
    """The pieces, those that came while the one before was written joined to one."""
    queue: asyncio.Queue[str | None] = asyncio.Queue()

    async def fill() -> None:
        try:
            async for piece in pieces:
                queue.put_nowait(piece)
        finally:
            queue.put_nowait(None)

    source = asyncio.create_task(fill())
    more = True
    while more:
        batch = [await queue.get()]
        while not queue.empty():
            batch.append(queue.get_nowait())
        more = batch[-1] is not None
        yield "".join(piece for piece in batch if piece is not None)
    await source


def _event(name: str, data: dict[str, str]) -> str:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"


async def _serve(name: str, settings: Settings, *, together: bool) -> None:
    module = importlib.import_module(f"bench.cost.systems.{name}")
    # Whatever a library prints goes to standard error: standard output is ours.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    async with module.open_system(settings) as system:
        app = Starlette(routes=[Route(PATH, Server(system, together=together).answer, methods=["POST"])])
        options = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            access_log=False,
            log_level="warning",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=3,
        )
        with socket.create_server(("127.0.0.1", 0)) as listening:
            url = f"http://127.0.0.1:{listening.getsockname()[1]}{PATH}"
            print(json.dumps({"versions": system.versions, "url": url}), file=answers, flush=True)
            await uvicorn.Server(options).serve(sockets=[listening])


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1], Settings(**json.loads(sys.stdin.readline())), together="together" in sys.argv[2:]))
