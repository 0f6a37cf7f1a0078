"""A database of its own on the stack's server, and the same rows behind the stack's PostgREST."""

import json
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest_asyncio

from local import migrations, supabase_shim
from local.stack import Stack
from tests.database.access import world
from tests.database.access.matrix import Probe

_DATABASE = "access"


def _database(url: str) -> str:
    return urlsplit(url)._replace(path=f"/{_DATABASE}").geturl()


@pytest_asyncio.fixture(scope="package")
async def probe(stack: Stack) -> AsyncIterator[Probe]:
    """A migrated database that holds only the labelled rows."""
    server = await asyncpg.connect(stack.admin_url)
    await server.execute(f"create database {_DATABASE}")
    await supabase_shim.apply(_database(stack.admin_url), stack.keys.passwords)
    await migrations.apply(_database(stack.db_url))
    # Without a statement cache every cell is planned as its own caller.
    connection = await asyncpg.connect(_database(stack.admin_url), statement_cache_size=0)
    # Binary, because only so can it be part of a row; its first byte is the format's version.
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda value: b"\x01" + json.dumps(value).encode(),
        decoder=lambda value: json.loads(value[1:]),
    )
    await world.load(connection, tuple(world.ROWS))
    for name in ("worker_url", "cron_secret"):
        await connection.execute("select vault.create_secret('http://127.0.0.1:9/', $1)", name)
    yield await Probe.over(connection)
    await connection.close()
    await server.execute(f"drop database {_DATABASE} with (force)")
    await server.close()


@pytest_asyncio.fixture(scope="package")
async def rest_url(stack: Stack) -> AsyncIterator[str]:
    """PostgREST over a database that holds the labelled public rows among others."""
    connection = await asyncpg.connect(stack.admin_url)
    # The archive would take the sessions that wait for it here.
    switch = "update cron.job set active = $1 where jobname = 'switchboard-archive-jobs'"
    await connection.execute(switch, False)
    await connection.execute("notify pg_cron")
    await world.load(connection, ("auth.users", *world.PUBLIC))
    yield stack.rest_url
    await world.remove(connection)
    await connection.execute(switch, True)
    await connection.close()
