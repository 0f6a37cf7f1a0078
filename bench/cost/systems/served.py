"""A library behind a server (bench/cost/server.py), from outside, with the same client as ours.

Who opens a thread gets its id with the answer.
"""

import contextlib
import re
from collections.abc import AsyncIterator

from bench.cost.systems.wire import Asker, WireError, request
from bench.cost.worker import MESSAGE, Settings

_THREAD_ID = re.compile(rb'"thread_id":"([^"]+)"')


class _Chat:
    def __init__(self, settings: Settings) -> None:
        self._asker = Asker(settings.url, settings.model_url)
        self._url = settings.url
        self._opening = request(settings.url, {"message": MESSAGE})
        self._asking = self._opening

    async def turn(self, *, new_thread: bool) -> float:
        answer, first = await self._asker.have_turn(self._opening if new_thread else self._asking)
        if new_thread:
            thread_id = _THREAD_ID.search(answer)
            if thread_id is None:
                raise WireError("no thread's id came with the first answer")
            self._asking = request(self._url, {"message": MESSAGE, "thread_id": thread_id[1].decode()})
        return first

    async def direct(self) -> float:
        return await self._asker.direct()


class _Served:
    versions: dict[str, str] = {}  # noqa: RUF012 - read only; the server names them

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def chat(self) -> _Chat:
        return _Chat(self._settings)


@contextlib.asynccontextmanager
async def open_system(settings: Settings) -> AsyncIterator[_Served]:
    """Ready at once: the server runs already."""
    yield _Served(settings)
