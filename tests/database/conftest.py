"""One server of each version for the whole session; a database of its own for each test that asks for one."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack

import asyncpg
import pytest
import pytest_asyncio

from tests import servers
from tests.database.desk import Desk, Loop
from tests.servers import Server


@pytest.fixture(scope="session")
def server() -> Iterator[Callable[[int], Server]]:
    """The session's server of a version, started when it is first asked for."""
    started: dict[int, Server] = {}
    with ExitStack() as stack:

        def of(version: int) -> Server:
            if version not in started:
                started[version] = stack.enter_context(servers.running(version))
            return started[version]

        yield of


@pytest.fixture
def server_18(server: Callable[[int], Server]) -> Server:
    """The version that the local backend runs."""
    return server(18)


@pytest_asyncio.fixture
async def migrated(server_18: Server) -> AsyncIterator[str]:
    """The name of a freshly migrated database on 18 with the demo workspace, dropped after the test."""
    name = await server_18.migrated()
    yield name
    await server_18.drop(name)


@pytest_asyncio.fixture
async def desk(server_18: Server, migrated: str) -> AsyncIterator[Desk]:
    """A freshly migrated database on 18, and its callers."""
    async with Desk(server_18.gate_url(migrated), server_18.admin_url(migrated)) as opened:
        yield opened


@pytest_asyncio.fixture
async def admin(server_18: Server, migrated: str) -> AsyncIterator[asyncpg.Connection]:
    """A superuser's connection to a freshly migrated database on 18."""
    connection = await asyncpg.connect(server_18.admin_url(migrated))
    yield connection
    await connection.close()


@pytest.fixture
def loop_and_desk(server_18: Server) -> Iterator[tuple[Loop, Desk]]:
    """A freshly migrated database on 18 for a synchronous test."""
    loop = Loop()
    database = loop.run(server_18.migrated())
    desk = Desk(server_18.gate_url(database), server_18.admin_url(database))
    loop.run(desk.__aenter__())
    yield loop, desk
    loop.run(desk.__aexit__(None, None, None))
    loop.run(server_18.drop(database))
    loop.close()
