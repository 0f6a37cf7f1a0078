"""A shim for what only Supabase's Postgres images have, as SQL: roles, auth, vault, net and cron."""

from dataclasses import dataclass
from pathlib import Path

import asyncpg

SQL = Path(__file__).parent / "sql"


@dataclass(frozen=True)
class Passwords:
    """Passwords of the login roles."""

    postgres: str
    authenticator: str
    auth_admin: str


async def apply(admin_url: str, passwords: Passwords, *, cron: bool = True) -> None:
    """Apply local/sql/*.sql as the superuser, in order, and set the passwords; repeatable.

    `cron=False` uses the real pg_cron, which the server must have loaded: shared_preload_libraries = pg_cron,
    cron.database_name = postgres, and cron.use_background_workers = on, because its own connections send no password.
    """
    left_out = "61_real_cron.sql" if cron else "60_cron.sql"
    connection = await asyncpg.connect(admin_url)
    try:
        # Concurrent preparations would conflict in the shared catalog of roles.
        async with connection.transaction():
            await connection.execute("set local client_min_messages = warning")
            await connection.execute("select pg_advisory_xact_lock(hashtext('switchboard stand-ins'))")
            for file in sorted(SQL.glob("*.sql")):
                if file.name != left_out:
                    await connection.execute(file.read_text())
            for role, password in (
                ("postgres", passwords.postgres),
                ("authenticator", passwords.authenticator),
                ("supabase_auth_admin", passwords.auth_admin),
            ):
                await _set_password(connection, role, password)
    finally:
        await connection.close()


async def let_in(url: str, role: str, password: str) -> None:
    """Set the password of a role that a migration created, as an operator does on a hosted project (as postgres)."""
    connection = await asyncpg.connect(url)
    try:
        await _set_password(connection, role, password)
    finally:
        await connection.close()


async def _set_password(connection: asyncpg.Connection, role: str, password: str) -> None:
    await connection.execute(
        await connection.fetchval(
            "select format('alter role %I login password %L', $1::text, $2::text)", role, password
        )
    )
