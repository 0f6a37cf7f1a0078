"""One process that has turns with one system, as told on its standard input, a JSON object a line each way.

    python -m bench.cost.worker floor               in this process; `served` and `switchboard`: over HTTP
    <- {"database_url": …, "model_url": …, "url": …}      answered by {"versions": {…}} when it is ready
    <- {"chats": 8, "seconds": 3, "direct_seconds": 1}          answered by a Round as JSON
    <- {"chats": 1, "turns": 20, "direct_seconds": 0}

It imports nothing of the project outside bench/cost, so that it runs in the virtual environment of the peers too.
"""

import asyncio
import importlib
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import Protocol, TypeVar

import uvloop

TURNS_PER_THREAD = 10

MESSAGE = "Could you tell me whether the parcel that I sent last week has arrived by now?"


@dataclass(frozen=True)
class Settings:
    """Where things are. `database_url` is the system's own database.

    `url` is what is asked over HTTP: a chat space of ours, or the server before a library.
    """

    database_url: str
    model_url: str
    url: str = ""


class Chat(Protocol):
    """Somebody who chats: one turn after the other, the first of every ten in a new thread."""

    async def turn(self, *, new_thread: bool) -> float:
        """Say MESSAGE and hear the answer out; the clock (time.perf_counter) at its first token."""
        ...

    async def direct(self) -> float:
        """The same with the model alone and nothing stored."""
        ...


Chatting_co = TypeVar("Chatting_co", bound=Chat, covariant=True)


class System(Protocol[Chatting_co]):
    """What is measured."""

    versions: dict[str, str]

    async def chat(self) -> Chatting_co:
        """One more chat."""
        ...


@dataclass
class Round:
    """What one round of turns came to; times in seconds, of each turn from its start to its first token."""

    turns: int = 0
    seconds: float = 0.0
    first_tokens: list[float] = field(default_factory=list)
    direct_first_tokens: list[float] = field(default_factory=list)


async def play(system: System[Chat], chats: list[Chat], request: dict[str, float]) -> Round:
    """Have turns in so many chats at once for so many seconds, or so many turns in each."""
    played = Round()
    wanted = int(request["chats"])
    while len(chats) < wanted:
        chats.append(await system.chat())
    if request.get("direct_seconds", 0) > 0:
        await _each(
            chats[:wanted], request["direct_seconds"], None, lambda chat, _: chat.direct(), played.direct_first_tokens
        )
    started = time.perf_counter()
    turns = int(request["turns"]) if "turns" in request else None
    await _each(
        chats[:wanted],
        request.get("seconds", 0),
        turns,
        lambda chat, number: chat.turn(new_thread=number % TURNS_PER_THREAD == 0),
        played.first_tokens,
    )
    played.seconds = time.perf_counter() - started
    played.turns = len(played.first_tokens)
    return played


async def _each(
    chats: list[Chat],
    seconds: float,
    turns: int | None,
    act: Callable[[Chat, int], Awaitable[float]],
    first_tokens: list[float],
) -> None:
    deadline = time.perf_counter() + seconds

    async def go_on(chat: Chat) -> None:
        number = 0
        while number < turns if turns is not None else time.perf_counter() < deadline:
            started = time.perf_counter()
            first_tokens.append(await act(chat, number) - started)
            number += 1

    await asyncio.gather(*(go_on(chat) for chat in chats))


async def _serve(name: str) -> None:
    lines = asyncio.StreamReader(limit=2**20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    settings = Settings(**json.loads(await lines.readline()))
    module = importlib.import_module(f"bench.cost.systems.{name}")
    # Whatever a library prints goes to standard error: standard output is ours.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    async with module.open_system(settings) as system:
        chats: list[Chat] = []
        print(json.dumps({"versions": system.versions}), file=answers, flush=True)
        while line := await lines.readline():
            print(json.dumps(asdict(await play(system, chats, json.loads(line)))), file=answers, flush=True)


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1]))
