"""What every test may use: one running stack for the whole session, and connections to its database."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import hypothesis
import pytest
import pytest_asyncio

from local.stack import Stack, start_stack

# How long one example takes says nothing where several files run side by side.
hypothesis.settings.register_profile(
    "side by side", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("side by side")


@pytest.fixture(scope="session")
def state_dir() -> Iterator[Path]:
    """An empty state folder that Postgres's user can reach (pytest's own temporary folders are closed to others)."""
    folder = Path(tempfile.mkdtemp(prefix="switchboard-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def stack(state_dir: Path) -> Iterator[Stack]:
    """The whole stack, on free ports; its processes end with the session, however it ends.

    What is scheduled less often than every minute stays off: it would meet one run of the tests in many.
    """
    with start_stack(state_dir) as running:
        asyncio.run(keep_every_minute(running.admin_url))
        yield running


async def keep_every_minute(admin_url: str) -> None:
    """Turn the seldom schedules of a stack off, at once: without word of it they are looked at every few seconds."""
    connection = await asyncpg.connect(admin_url)
    await connection.execute("update cron.job set active = false where schedule <> '* * * * *'; notify pg_cron")
    await connection.close()


@pytest.fixture(scope="session")
def env(stack: Stack) -> dict[str, str]:
    """What `make run` would write to .env.local."""
    return stack.env


@pytest_asyncio.fixture
async def database(stack: Stack) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the superuser, whom no policy stops."""
    connection = await asyncpg.connect(stack.admin_url)
    yield connection
    await connection.close()
