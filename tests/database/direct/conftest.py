"""Direct connections, with settings of their own."""

from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import pytest_asyncio

from lib import config
from lib.database import postgres
from tests.database.direct.direct import Direct, opened
from tests.servers import VERSIONS, Server


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """The functions' settings, with no PostgREST anywhere; call it to set the direct connection's."""

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


@pytest.fixture
def starting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function `start` that counts as one that starts turns; the real one does too much for a test."""
    monkeypatch.setattr(postgres, "STARTING", frozenset({"start"}))


@pytest_asyncio.fixture(params=VERSIONS)
async def anywhere(
    request: pytest.FixtureRequest, server: Callable[[int], Server], settings: Callable[..., None]
) -> AsyncIterator[Direct]:
    """A direct connection on every version."""
    async with opened(server(request.param), settings) as direct:
        yield direct


@pytest_asyncio.fixture
async def direct(server_18: Server, settings: Callable[..., None]) -> AsyncIterator[Direct]:
    """A direct connection on the version of the local backend."""
    async with opened(server_18, settings) as found:
        yield found
