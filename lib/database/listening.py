"""Listening for announced changes (lib/database/announcements.py), over a connection of its own.

It needs a direct connection, or a pooler in session mode. A lost connection is opened again by the next `connect`; what
was announced meanwhile is lost, so its user polls too.
"""

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg

from lib import config, log
from lib.auth import callers
from lib.database.commands import CONNECT_SECONDS
from lib.database.failures import CALL_FAILED

CHANNEL = "switchboard_changes"
RETRY_SECONDS = 3.0


@contextlib.asynccontextmanager
async def listener(on_change: Callable[[str], None]) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """A function that makes sure that ``on_change`` gets the announcements, or fails quietly and tries again later."""
    connection: asyncpg.Connection | None = None
    retry_at = 0.0

    async def connect() -> None:
        nonlocal connection, retry_at
        if (connection is not None and not connection.is_closed()) or time.monotonic() < retry_at:
            return
        retry_at = time.monotonic() + RETRY_SECONDS
        try:
            connection = await _connected(on_change)
        except CALL_FAILED as failure:
            log.warning("not_listening", reason=type(failure).__name__)

    try:
        yield connect
    finally:
        if connection is not None:
            connection.terminate()


async def _connected(on_change: Callable[[str], None]) -> asyncpg.Connection:
    url = config.settings().switchboard_database_url.get_secret_value()
    connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS, command_timeout=CONNECT_SECONDS)
    try:
        await connection.add_listener(CHANNEL, lambda _connection, _process, _channel, payload: on_change(str(payload)))
        claims = callers.switchboard_claims(callers.System(), callers.SYSTEM_SCOPE)
        # From here on changes are announced.
        async with connection.transaction():
            await connection.execute("select set_config('request.jwt.claims', $1, true)", claims)
            await connection.execute("select public.begin_listening()")
    except BaseException:
        connection.terminate()
        raise
    return connection
