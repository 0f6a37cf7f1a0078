"""The floor: what any program that keeps chats in Postgres has to do, with asyncpg and nothing around it.

The four statements of a turn, each prepared, each a commit of its own:

    1. insert the user's message (in a new thread, together with the thread's row, in one statement)
    2. select the thread's last 20 messages
    3. insert the answer
    4. update the thread's counters
"""

import contextlib
import uuid
from collections.abc import AsyncIterator

import asyncpg

from bench.cost.systems.completions import Completions
from bench.cost.systems.library import Library
from bench.cost.worker import Settings

_SCHEMA = """
create table threads (
    id uuid primary key, created_at timestamptz not null default now(), message_count integer not null default 0,
    last_activity_at timestamptz not null default now()
);
create table messages (
    id bigint primary key generated always as identity, thread_id uuid not null references threads (id),
    role text not null, text text not null, created_at timestamptz not null default now()
);
create index messages_thread_id_idx on messages (thread_id, id);
"""
_OPEN = """
with thread as (insert into threads (id) values ($1) returning id)
insert into messages (thread_id, role, text) select id, 'user', $2 from thread
"""
_ASK = "insert into messages (thread_id, role, text) values ($1, 'user', $2)"
_HISTORY = "select role, text from messages where thread_id = $1 order by id desc limit 20"
_ANSWER = "insert into messages (thread_id, role, text) values ($1, 'assistant', $2)"
_COUNT = "update threads set message_count = message_count + 2, last_activity_at = now() where id = $1"


class _Chat(Library):
    def __init__(self, pool: asyncpg.Pool, model: Completions) -> None:
        super().__init__(model)
        self._pool = pool
        self._thread_id = uuid.UUID(int=0)

    async def answer(self, message: str, *, new_thread: bool) -> AsyncIterator[str]:
        if new_thread:
            self._thread_id = uuid.uuid4()
        await self._pool.execute(_OPEN if new_thread else _ASK, self._thread_id, message)
        history = await self._pool.fetch(_HISTORY, self._thread_id)
        messages = [{"role": said["role"], "content": said["text"]} for said in reversed(history)]
        tokens = []
        async for token in self._model.stream(messages):
            tokens.append(token)
            yield token
        await self._pool.execute(_ANSWER, self._thread_id, "".join(tokens))
        await self._pool.execute(_COUNT, self._thread_id)


class _Floor:
    versions = {"asyncpg": asyncpg.__version__}  # noqa: RUF012 - read only

    def __init__(self, pool: asyncpg.Pool, model: Completions) -> None:
        self._pool = pool
        self._model = model

    async def chat(self) -> _Chat:
        return _Chat(self._pool, self._model)


async def _leave(_: asyncpg.Connection) -> None:
    """Nothing was set on the connection that would have to be undone."""


@contextlib.asynccontextmanager
async def open_system(settings: Settings) -> AsyncIterator[_Floor]:
    """Make the tables and open a pool of asyncpg's own size, 10.

    A connection that goes back to the pool is not reset, which would be a fifth to an eighth statement.
    """
    model = Completions(settings.model_url)
    async with asyncpg.create_pool(settings.database_url, reset=_leave) as pool:
        await pool.execute(_SCHEMA)
        yield _Floor(pool, model)
        await model.close()
