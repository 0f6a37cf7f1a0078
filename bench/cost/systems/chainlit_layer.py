"""Chainlit's SQLAlchemyDataLayer, called as its messages call it: a thread with its first message, a step a message.

While somebody is connected Chainlit keeps the history in the process's memory, and so does this: nothing is read for
it. The tables are those of its documentation, with an index on a step's thread, which that leaves out.
"""

import contextlib
import os
import tempfile
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import asyncpg

# Importing chainlit writes its files there.
os.environ.setdefault("CHAINLIT_APP_ROOT", tempfile.mkdtemp(prefix="switchboard-chainlit-"))

from chainlit.context import init_http_context
from chainlit.data.sql_alchemy import SQLAlchemyDataLayer
from chainlit.user import User

from bench.cost.systems.completions import Completions
from bench.cost.systems.library import Library
from bench.cost.worker import Settings

_SCHEMA = """
create table users (
    "id" uuid primary key, "identifier" text not null unique, "metadata" jsonb not null, "createdAt" text
);
create table threads (
    "id" uuid primary key, "createdAt" text, "name" text, "userId" uuid references users (id) on delete cascade,
    "userIdentifier" text, "tags" text[], "metadata" jsonb
);
create table steps (
    "id" uuid primary key, "name" text not null, "type" text not null,
    "threadId" uuid not null references threads (id) on delete cascade, "parentId" uuid, "streaming" boolean not null,
    "waitForAnswer" boolean, "isError" boolean, "metadata" jsonb, "tags" text[], "input" text, "output" text,
    "createdAt" text, "command" text, "start" text, "end" text, "generation" jsonb, "showInput" text, "language" text,
    "indent" integer, "defaultOpen" boolean, "autoCollapse" boolean, "modes" jsonb, "icon" text
);
create index on steps ("threadId");
create table elements (
    "id" uuid primary key, "threadId" uuid references threads (id) on delete cascade, "type" text, "url" text,
    "chainlitKey" text, "name" text not null, "display" text, "objectKey" text, "size" text, "page" integer,
    "language" text, "forId" uuid, "mime" text, "props" jsonb, "autoPlay" boolean, "playerConfig" jsonb
);
create table feedbacks (
    "id" uuid primary key, "forId" uuid not null, "threadId" uuid not null, "value" integer not null, "comment" text
);
"""


class _Chat(Library):
    def __init__(self, layer: Any, user_id: str, model: Completions, *, read_thread: bool) -> None:
        super().__init__(model)
        self._layer = layer
        self._user_id = user_id
        self._read_thread = read_thread
        self._thread_id = ""
        self._history: list[dict[str, str]] = []

    async def answer(self, message: str, *, new_thread: bool) -> AsyncIterator[str]:
        if new_thread:
            self._thread_id, self._history = str(uuid.uuid4()), []
            await self._layer.update_thread(self._thread_id, name=message, user_id=self._user_id)
        await self._layer.create_step(self._step("user_message", "user", message))
        if self._read_thread:
            thread = await self._layer.get_thread(self._thread_id)
            self._history = [
                {"role": "assistant" if step["type"] == "assistant_message" else "user", "content": step["output"]}
                for step in thread["steps"]
            ]
        else:
            self._history.append({"role": "user", "content": message})
        tokens = []
        async for token in self._model.stream(self._history):
            tokens.append(token)
            yield token
        await self._layer.create_step(self._step("assistant_message", "assistant", "".join(tokens)))
        self._history.append({"role": "assistant", "content": "".join(tokens)})

    def _step(self, kind: str, name: str, output: str) -> dict[str, Any]:
        now = datetime.now(UTC).isoformat()
        return {
            "id": str(uuid.uuid4()),
            "threadId": self._thread_id,
            "name": name,
            "type": kind,
            "output": output,
            "input": "",
            "streaming": False,
            "isError": False,
            "waitForAnswer": False,
            "createdAt": now,
            "start": now,
            "end": now,
        }


class _Chainlit:
    def __init__(self, layer: Any, user_id: str, model: Completions, *, read_thread: bool) -> None:
        self._layer = layer
        self._user_id = user_id
        self._model = model
        self._read_thread = read_thread
        self.versions = {name: version(name) for name in ("chainlit", "sqlalchemy")}

    async def chat(self) -> _Chat:
        return _Chat(self._layer, self._user_id, self._model, read_thread=self._read_thread)


@contextlib.asynccontextmanager
async def open_system(settings: Settings, *, read_thread: bool = False) -> AsyncIterator[_Chainlit]:
    """Make the tables, the layer with its own pool, and one user."""
    model = Completions(settings.model_url)
    connection = await asyncpg.connect(settings.database_url)
    await connection.execute(_SCHEMA)
    await connection.close()
    layer = SQLAlchemyDataLayer(settings.database_url.replace("postgresql://", "postgresql+asyncpg://"))
    init_http_context()
    user = await layer.create_user(User(identifier="somebody"))
    if user is None:
        raise RuntimeError("Chainlit could not make a user")
    yield _Chainlit(layer, user.id, model, read_thread=read_thread)
    await layer.engine.dispose()
    await model.close()
