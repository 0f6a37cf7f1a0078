"""Databases that commands reach, with settings of their own."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from lib import config
from lib.database import commands
from tests.database.commands.calls import Database, opened
from tests.servers import VERSIONS, Server


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """The functions' settings, with no PostgREST anywhere; call it to set the database's."""

    def change(**environment: str) -> None:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        config.settings.cache_clear()

    change(
        SUPABASE_URL="http://127.0.0.1:9",
        SUPABASE_ANON_KEY="x",
        SUPABASE_JWT_SECRET="a-secret-of-the-project-that-is-long-enough",
        CRON_SECRET="what-the-schedules-send",
    )
    yield change
    config.settings.cache_clear()


@pytest_asyncio.fixture(scope="module", params=(*VERSIONS, "pooler"))
async def opened_anywhere(request: pytest.FixtureRequest, server: Callable[[int], Server]) -> AsyncIterator[Database]:
    """For `anywhere`."""
    pooled = request.param == "pooler"
    async with opened(server(VERSIONS[-1] if pooled else request.param), pooled=pooled) as database:
        yield database


@pytest_asyncio.fixture(scope="module")
async def opened_here(server: Callable[[int], Server]) -> AsyncIterator[Database]:
    """For `database`."""
    async with opened(server(VERSIONS[-1])) as database:
        yield database


@pytest_asyncio.fixture
async def anywhere(opened_anywhere: Database, settings: Callable[..., None]) -> AsyncIterator[Database]:
    """A database on every version, and behind a pooler in transaction mode."""
    async with _in_use(opened_anywhere, settings):
        yield opened_anywhere


@pytest_asyncio.fixture
async def database(opened_here: Database, settings: Callable[..., None]) -> AsyncIterator[Database]:
    """A database on the version of the local backend."""
    async with _in_use(opened_here, settings):
        yield opened_here


@asynccontextmanager
async def _in_use(database: Database, settings: Callable[..., None]) -> AsyncIterator[None]:
    settings(SWITCHBOARD_DATABASE_URL=database.url, SWITCHBOARD_DATABASE_PREPARED_STATEMENTS=str(not database.pooled))
    yield
    await commands.close()
    await database.clear()
