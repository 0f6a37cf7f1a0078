"""The OpenAI Agents SDK's SQLAlchemySession alone, without its Runner: get_items, add_items, the model, add_items.

As its documentation has it: the asyncpg driver under an AsyncEngine that the sessions share; they make the tables.
"""

import contextlib
import time
import uuid
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Any

from agents.extensions.memory import SQLAlchemySession
from sqlalchemy.ext.asyncio import create_async_engine

from bench.cost.systems.completions import Completions
from bench.cost.worker import MESSAGE, Settings


class _Chat:
    def __init__(self, engine: Any, model: Completions) -> None:
        self._engine = engine
        self._model = model
        self._session: Any = None

    async def turn(self, *, new_thread: bool) -> float:
        if new_thread:
            self._session = SQLAlchemySession(str(uuid.uuid4()), engine=self._engine)
        history = await self._session.get_items()
        asked = {"role": "user", "content": MESSAGE}
        await self._session.add_items([asked])
        first, tokens = 0.0, []
        async for token in self._model.stream([*history, asked]):
            first = first or time.perf_counter()
            tokens.append(token)
        await self._session.add_items([{"role": "assistant", "content": "".join(tokens)}])
        return first

    async def direct(self) -> float:
        return await self._model.direct()


class _Agents:
    def __init__(self, engine: Any, model: Completions) -> None:
        self._engine = engine
        self._model = model
        self.versions = {name: version(name) for name in ("openai-agents", "sqlalchemy")}

    async def chat(self) -> _Chat:
        return _Chat(self._engine, self._model)


@contextlib.asynccontextmanager
async def open_system(settings: Settings) -> AsyncIterator[_Agents]:
    """Make the tables and a pool of 10."""
    model = Completions(settings.model_url)
    url = settings.database_url.replace("postgresql://", "postgresql+asyncpg://")
    engine = create_async_engine(url, pool_size=10, max_overflow=0)
    await SQLAlchemySession("first", engine=engine, create_tables=True).get_items()
    yield _Agents(engine, model)
    await engine.dispose()
    await model.close()
