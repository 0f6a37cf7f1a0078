"""Applies supabase/migrations and supabase/seed.sql, with the Supabase CLI's history table."""

import re
from collections.abc import Sequence
from pathlib import Path

import asyncpg

from local.paths import REPOSITORY
from local.statements import Statement, split

MIGRATIONS = REPOSITORY / "supabase" / "migrations"
SEED = REPOSITORY / "supabase" / "seed.sql"

_FILE_NAME = re.compile(r"^(?P<version>\d+)_(?P<name>.+)\.sql$")

# The columns that `supabase db push` creates and reads, so both can migrate the same database.
_HISTORY = """
create schema if not exists supabase_migrations;
create table if not exists supabase_migrations.schema_migrations (version text not null primary key);
alter table supabase_migrations.schema_migrations add column if not exists statements text[];
alter table supabase_migrations.schema_migrations add column if not exists name text;
"""


class MigrationError(Exception):
    """A statement failed; its file was rolled back, earlier files stay applied."""

    def __init__(self, file: Path, line: int, cause: asyncpg.PostgresError) -> None:
        self.file = file
        self.line = line
        self.sqlstate: str = cause.sqlstate or ""
        message = f"{file.name}:{line}: {cause} ({self.sqlstate})"
        for label in ("detail", "hint", "context"):
            if said := getattr(cause, label, None):
                message += f"\n  {label}: {said}"
        super().__init__(message)


async def apply(url: str, folder: Path = MIGRATIONS, leave_out: Sequence[str] = ()) -> list[str]:
    """Apply the pending migrations and return their versions.

    Each file runs in one transaction with its history row. `leave_out` names parts of file names to skip (for a server
    without an extension). Raises MigrationError.
    """
    connection = await asyncpg.connect(url)
    applied = []
    try:
        await connection.execute("set client_min_messages = warning")
        # Concurrent starts run one after another; the lock ends with the connection.
        await connection.execute("select pg_advisory_lock(hashtext('switchboard migrations'))")
        await connection.execute(_HISTORY)
        known = {
            row["version"]
            for row in await connection.fetch("select version from supabase_migrations.schema_migrations")
        }
        for file in sorted(folder.glob("*.sql")):
            name = _FILE_NAME.match(file.name)
            if name is None or name["version"] in known or any(part in file.name for part in leave_out):
                continue
            statements = split(file.read_text())
            async with connection.transaction():
                await run(connection, file, statements)
                await connection.execute(
                    "insert into supabase_migrations.schema_migrations (version, name, statements) values ($1, $2, $3)",
                    name["version"],
                    name["name"],
                    [statement.text for statement in statements],
                )
            # A file's settings (search_path, role) must not affect the next file.
            await connection.execute("reset role; reset all; set client_min_messages = warning")
            applied.append(name["version"])
    finally:
        await connection.close()
    return applied


async def seed(url: str, file: Path = SEED) -> None:
    """Run the seed file, which is repeatable, in one transaction; without a file, do nothing.

    Raises MigrationError.
    """
    if not file.exists():
        return
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("set client_min_messages = warning")
        async with connection.transaction():
            await run(connection, file, split(file.read_text()))
    finally:
        await connection.close()


async def run(connection: asyncpg.Connection, file: Path, statements: list[Statement]) -> None:
    """Execute a file's statements. Raises MigrationError, which names the file and line."""
    for statement in statements:
        try:
            await connection.execute(statement.text)
        except asyncpg.PostgresError as error:
            # The server counts characters of the statement, from 1.
            offset = int(getattr(error, "position", None) or 1) - 1
            raise MigrationError(file, statement.line + statement.text.count("\n", 0, offset), error) from error
