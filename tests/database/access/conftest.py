"""A database of its own on the stack's server, and the same rows behind the stack's PostgREST."""

import json
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest_asyncio

from local import migrations, supabase_shim
from local.stack import Stack
from tests.database.access import rows
from tests.database.access.matrix import Probe

_DATABASE = "access"

_OF_THE_STACK = ("private.wakes", "private.sweeps", "private.session_stats_marks", "private.session_stats_progress")
"""Tables that the stack's own schedules keep, and in which nothing can be told apart."""


def _database(url: str) -> str:
    return urlsplit(url)._replace(path=f"/{_DATABASE}").geturl()


@pytest_asyncio.fixture(scope="package")
async def probe(stack: Stack) -> AsyncIterator[Probe]:
    """A migrated database that holds nothing but the labelled rows."""
    server = await asyncpg.connect(stack.admin_url)
    await server.execute(f"create database {_DATABASE}")
    admin_url, db_url = (_database(url) for url in (stack.admin_url, stack.db_url))
    await supabase_shim.apply(admin_url, stack.keys.passwords)
    await migrations.apply(db_url)
    # Without a statement cache every cell is planned as its own caller.
    connection = await asyncpg.connect(admin_url, statement_cache_size=0)
    # Binary, because only so can it be part of a row; its first byte is the format's version.
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda value: b"\x01" + json.dumps(value).encode(),
        decoder=lambda value: json.loads(value[1:]),
    )
    await rows.load(connection)
    for name in ("worker_url", "cron_secret"):
        await connection.execute("select vault.create_secret('http://127.0.0.1:9/', $1)", name)
    yield await Probe.over(connection)
    await connection.close()
    await server.execute(f"drop database {_DATABASE} with (force)")
    await server.close()


@pytest_asyncio.fixture(scope="package")
async def rest_url(stack: Stack) -> AsyncIterator[str]:
    """PostgREST over a database that holds the labelled rows among others."""
    connection = await asyncpg.connect(stack.admin_url)
    secrets = await rows.load(connection, leave_out=_OF_THE_STACK)
    yield stack.rest_url
    await rows.remove(connection, secrets)
    await connection.close()
