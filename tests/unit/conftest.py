"""Settings for every test, a PostgREST at the wire, and a server for what is tested over HTTP."""

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import uvicorn
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from lib import config, log
from lib.database import commands
from lib.http import cors
from lib.http.app import Function
from tests.unit.sql_functions import SqlFunctions

JWT_SECRET = "a-secret-of-the-project-that-is-long-enough"
CRON_SECRET = "what-the-schedules-send"
SUPABASE_URL = "http://127.0.0.1:9"

Configure = Callable[..., None]


@pytest.fixture(autouse=True)
def configure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Configure]:
    """A complete environment; call it with further variables to change the settings."""

    def change(**environment: str) -> None:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        config.settings.cache_clear()
        cors._spaces.clear()

    for name in ("SWITCHBOARD_SIGNING_KEY", "SWITCHBOARD_TRUSTED_PROXIES", "SUPABASE_REST_URL"):
        monkeypatch.delenv(name, raising=False)
    change(
        SUPABASE_URL=SUPABASE_URL,
        SUPABASE_ANON_KEY="the-anon-key",
        SUPABASE_JWT_SECRET=JWT_SECRET,
        SWITCHBOARD_DATABASE_URL="postgresql://switchboard_login:x@127.0.0.1:9/postgres",
        CRON_SECRET=CRON_SECRET,
        SWITCHBOARD_LOG_LEVEL="DEBUG",
    )
    yield change
    config.settings.cache_clear()


@pytest.fixture
def sql(monkeypatch: pytest.MonkeyPatch) -> SqlFunctions:
    """A database whose functions the test defines."""
    functions = SqlFunctions()
    monkeypatch.setattr(commands, "_run", functions.run)
    return functions


@pytest.fixture
def log_lines(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is logged during the test, line by line."""
    lines: list[dict[str, Any]] = []
    monkeypatch.setattr(log, "_write", lambda line: lines.append(json.loads(line)))
    return lines


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, **options: Any) -> AsyncIterator[str]:
    """The address of an ASGI application on a real socket, as it is deployed: uvicorn with our protocol."""
    import asyncio  # noqa: PLC0415

    settings = uvicorn.Config(
        app, port=0, lifespan="off", log_level="error", proxy_headers=False, http="h11", **options
    )
    server = _Server(settings)
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 (uvicorn tells nobody when)
        await asyncio.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await running


def app_of(function: Function) -> ASGIApp:
    """A function as functions-framework serves it: called with the request, its response sent in the same task."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        response = await function(Request(scope, receive, send))
        await response(scope, receive, send)

    return app
