"""Recall over HTTP: it waits for the embedder, but not for long."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from lib.auth import callers
from lib.memory import recall
from tests.unit.conftest import Configure
from tests.unit.sql_functions import SqlFunctions

USER = callers.User(uuid4(), None, "token")


async def test_a_server_that_hangs_leaves_the_words_to_decide(
    sql: SqlFunctions, configure: Configure, monkeypatch: pytest.MonkeyPatch, log_lines: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(recall, "EMBEDDING_SECONDS", 0.1)
    sql.functions["recall_memories"] = lambda _: {"memories": []}
    over = asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        await over.wait()
        return web.json_response({"data": []})

    application = web.Application()
    application.router.add_post("/v1/embeddings", hang)
    async with TestServer(application) as server:
        configure(SWITCHBOARD_EMBEDDINGS=str(server.make_url("/v1")))
        recalled = await recall.recall(USER, recall.RecallRequest(query="tea?"))
        over.set()
    assert (recalled.degraded, sql.calls[-1].arguments["embedding"]) == (True, None)
    assert [line["reason"] for line in log_lines if line["event"] == "embedding_failed"] == ["too_slow"]
