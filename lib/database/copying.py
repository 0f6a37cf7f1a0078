"""Rows copied out of the database as CSV: for work that reads more than a command returns.

The rows are those that the functions see of one workspace, under the same policies as a command's.
"""

import asyncio
from uuid import UUID

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from lib import log
from lib.auth import callers
from lib.database import commands, retries
from lib.database.failures import CALL_FAILED
from lib.database.retries import Patience, Unreachable

PATIENT = Patience(tries=3, longest_pause=0.4, try_seconds=15)
"""One try may take longer than the database's own statement timeout (10 s)."""

GATHERING_SECONDS = 0.002
"""Pause after each part, so that the next has many of the server's packets: that costs less CPU than one at a time."""

_ENTER = "select case when set_config('request.jwt.claims', $1, true) is not null then private.enter() end"


async def enter(connection: asyncpg.Connection | PoolConnectionProxy, workspace_id: UUID) -> None:
    """Enter a workspace as ourselves, for a transaction of the role `switchboard`."""
    claims = callers.switchboard_claims(callers.System(), callers.Scope(workspace_id=workspace_id))
    await connection.execute(_ENTER, claims)


async def copy_csv(workspace_id: UUID, query: str, most_bytes: int | None = None) -> bytearray | None:
    """The rows of a query without parameters, as CSV without a header; None if they have more bytes than these.

    Raises BackendUnavailable.
    """

    async def once() -> bytearray | None:
        content = bytearray()

        def is_too_long() -> bool:
            return most_bytes is not None and len(content) > most_bytes

        async def keep(part: bytes) -> None:
            content.extend(part)
            if is_too_long():
                # After an error here asyncpg cancels the copy and waits for that: for ever, if the copy was done.
                connection.terminate()
            await asyncio.sleep(GATHERING_SECONDS)

        try:
            async with (
                asyncio.timeout(PATIENT.try_seconds),
                commands.connection() as connection,
                connection.transaction(),
            ):
                await enter(connection, workspace_id)
                await connection.copy_from_query(query, output=keep, format="csv")
        except CALL_FAILED as failure:
            if is_too_long():
                return None
            log.warning("backend_unreachable", call="copy", reason=type(failure).__name__)
            raise Unreachable(harmless=True) from None
        return content

    return await retries.run(once, PATIENT, repeatable=True)
