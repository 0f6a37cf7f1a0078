"""The floor: the statements that any program that stores chats in Postgres needs, with asyncpg and nothing else.

A turn is four prepared statements, each a commit of its own: insert the user's message (for a new thread together with
the thread), select the last 20 messages, insert the answer, update the counters of the thread.

    python -m bench.servers.floor DATABASE_URL MODEL_URL [together]
"""

import sys
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import uvloop

from bench.servers import library

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


async def _no_reset(_: asyncpg.Connection) -> None:
    """Reset nothing when a connection returns to the pool: no statement changes its settings."""


async def serve(database_url: str, model_url: str, *options: str) -> None:
    """Serve until SIGTERM, with a pool of asyncpg's default size, 10."""
    model = library.Model(model_url, together="together" in options)
    async with asyncpg.create_pool(database_url, reset=_no_reset) as pool:
        await pool.execute(_SCHEMA)

        async def answer(thread_id: UUID, message: str, is_new: bool) -> AsyncIterator[str]:
            await pool.execute(_OPEN if is_new else _ASK, thread_id, message)
            history = await pool.fetch(_HISTORY, thread_id)
            tokens = []
            async for token in model.stream([{"role": row[0], "content": row[1]} for row in reversed(history)]):
                tokens.append(token)
                yield token
            await pool.execute(_ANSWER, thread_id, "".join(tokens))
            await pool.execute(_COUNT, thread_id)

        await library.serve(answer)


if __name__ == "__main__":
    uvloop.run(serve(*sys.argv[1:]))
