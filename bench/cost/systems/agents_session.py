"""The OpenAI Agents SDK's SQLAlchemySession alone, without its Runner: get_items, add_items, the model, add_items.

As its documentation has it: the asyncpg driver under an AsyncEngine that the sessions share; they make the tables.
"""

import contextlib
import uuid
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Any

from agents.extensions.memory import SQLAlchemySession
from sqlalchemy.ext.asyncio import create_async_engine

from bench.cost.systems.completions import Completions
from bench.cost.systems.library import Library
from bench.cost.worker import Settings


class _Chat(Library):
    def __init__(self, engine: Any, model: Completions) -> None:
        super().__init__(model)
        self._engine = engine
        self._session: Any = None

    async def answer(self, message: str, *, new_thread: bool) -> AsyncIterator[str]:
        if new_thread:
            self._session = SQLAlchemySession(str(uuid.uuid4()), engine=self._engine)
        history = await self._session.get_items()
        asked = {"role": "user", "content": message}
        await self._session.add_items([asked])
        tokens = []
        async for token in self._model.stream([*history, asked]):
            tokens.append(token)
            yield token
        await self._session.add_items([{"role": "assistant", "content": "".join(tokens)}])


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
