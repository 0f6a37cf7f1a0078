"""The errors of a call over asyncpg, whether the server refused it or was lost."""

import asyncpg

CALL_FAILED = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""InternalClientError: the server's farewell was read before the call, the end of the connection was not yet."""
