"""Switchboard, from outside: a client that POSTs messages to a chat space and reads the events, and nothing else.

Who opens a thread has no token and gets one with the answer.
"""

import contextlib
import re
import uuid
from collections.abc import AsyncIterator

from bench.cost.systems.wire import Asker, WireError, request
from bench.cost.worker import MESSAGE, Settings

_NEW_ID = str(uuid.UUID(int=0)).encode()
_TOKEN = re.compile(rb'"token":"([^"]+)"')

_SAID: dict[str, object] = {"message": MESSAGE, "client_message_id": _NEW_ID.decode()}


class _Chat:
    def __init__(self, settings: Settings) -> None:
        self._asker = Asker(settings.url, settings.model_url)
        self._url = settings.url
        self._opening = request(settings.url, _SAID)
        self._asking = self._opening

    async def turn(self, *, new_thread: bool) -> float:
        said = self._opening if new_thread else self._asking
        answer, first = await self._asker.have_turn(said.replace(_NEW_ID, str(uuid.uuid4()).encode()))
        if new_thread:
            token = _TOKEN.search(answer)
            if token is None:
                raise WireError("no token came with the first answer")
            self._asking = request(self._url, _SAID, token[1].decode())
        return first

    async def direct(self) -> float:
        return await self._asker.direct()


class _Switchboard:
    versions: dict[str, str] = {}  # noqa: RUF012 - read only

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def chat(self) -> _Chat:
        return _Chat(self._settings)


@contextlib.asynccontextmanager
async def open_system(settings: Settings) -> AsyncIterator[_Switchboard]:
    """Ready at once: the stack runs already."""
    yield _Switchboard(settings)
