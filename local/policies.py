"""Holding row-level security in supabase/policies/ (the present truth) against a migrated database (its history)."""

from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from local.migrations import MIGRATIONS
from local.place import REPOSITORY

POLICIES = REPOSITORY / "supabase" / "policies"

Policy = tuple[str, str, tuple[str, ...], str, str | None, str | None]
"""Name, permissive or restrictive, roles, operation, using, with check: as Postgres prints them."""

_PRESENT = """
select tablename, policyname, permissive, roles::text[], cmd, qual, with_check
  from pg_policies
 where schemaname = 'public'
 order by tablename, policyname
"""


class UndoError(Exception):
    """Ends a transaction whose outcome was only to be looked at."""


async def present(connection: asyncpg.Connection) -> dict[str, list[Policy]]:
    """The policies that the database has, by table of the schema public."""
    found: dict[str, list[Policy]] = {}
    for row in await connection.fetch(_PRESENT):
        found.setdefault(row["tablename"], []).append(
            (
                row["policyname"],
                row["permissive"],
                tuple(row["roles"]),
                row["cmd"],
                row["qual"],
                row["with_check"],
            )
        )
    return found


async def declared(connection: asyncpg.Connection, folder: Path = POLICIES) -> dict[str, list[Policy]]:
    """The policies that the folder's files make, as this database understands them; it is left as it was."""
    found: dict[str, list[Policy]] = {}
    try:
        async with connection.transaction():
            for table, policies in (await present(connection)).items():
                for name, *_ in policies:
                    await connection.execute(_drop(table, name))
            for file in sorted(folder.glob("*.sql")):
                await connection.execute(file.read_text())
            found = await present(connection)
            raise UndoError
    except UndoError:
        return found


async def changed_tables(connection: asyncpg.Connection, folder: Path = POLICIES) -> list[str]:
    """The tables whose policies differ between the database and the folder."""
    before, after = await present(connection), await declared(connection, folder)
    return sorted(table for table in before.keys() | after.keys() if before.get(table) != after.get(table))


async def write_migration(
    connection: asyncpg.Connection,
    name: str = "replace_policies",
    folder: Path = POLICIES,
    migrations: Path = MIGRATIONS,
) -> Path | None:
    """Write a migration that takes the database's policies to the folder's; None where nothing differs.

    It drops every policy of a changed table and creates the file's: whoever reads the migration sees them whole.
    """
    tables = await changed_tables(connection, folder)
    if not tables:
        return None
    before = await present(connection)
    parts = [
        "-- Row-level security as supabase/policies/ says it; written by `python -m local policies`.",
        "set lock_timeout = '5s';\nset statement_timeout = '60s';",
    ]
    for table in tables:
        parts.append("\n".join(f"{_drop(table, policy[0])};" for policy in before.get(table, [])))
        file = folder / f"{table}.sql"
        parts.append(file.read_text().strip() if file.exists() else "")
    target = migrations / f"{datetime.now(UTC):%Y%m%d%H%M%S}_{name}.sql"
    target.write_text("\n\n".join(part for part in parts if part) + "\n")
    return target


def _drop(table: str, policy: str) -> str:
    return f'drop policy "{policy.replace(chr(34), chr(34) * 2)}" on public.{table}'
