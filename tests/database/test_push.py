"""The real Supabase CLI takes supabase/ to a database that has only what Supabase itself brings."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest_asyncio

from local import migrations
from tests.database import catalogue
from tests.database.supabase_cli import Ran, supabase
from tests.servers import Server


@pytest_asyncio.fixture
async def bare(server_18: Server) -> AsyncIterator[str]:
    """The name of a database with Supabase's roles and schemas and nothing of ours."""
    name = await server_18.bare()
    yield name
    await server_18.drop(name)


async def _push(server: Server, database: str, home: Path, *flags: str, env: dict[str, str] | None = None) -> Ran:
    url = f"{server.owner_url(database)}?sslmode=disable"
    return await supabase(home, "db", "push", f"--remote={url}", "--yes", *flags, env=env)


async def _read(server: Server, database: str) -> catalogue.Catalogue:
    connection = await asyncpg.connect(server.admin_url(database))
    try:
        return await catalogue.read(connection)
    finally:
        await connection.close()


async def _fetch(server: Server, database: str, query: str) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(server.admin_url(database))
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


def _files() -> list[str]:
    return sorted(file.name for file in migrations.MIGRATIONS.glob("*.sql"))


async def test_a_push_makes_the_database_and_the_history_that_our_own_command_makes(
    server_18: Server, bare: str, migrated: str, tmp_path: Path
) -> None:
    pushed = await _push(server_18, bare, tmp_path)

    assert pushed.code == 0, pushed.said
    assert all(file in pushed.said for file in _files())
    there, here = await _read(server_18, bare), await _read(server_18, migrated)
    for kind in here:
        assert there[kind] == here[kind], kind
    assert [row[0] for row in here["history"]] == [file.split("_")[0] for file in _files()]


async def test_a_second_push_and_our_own_command_have_nothing_left_to_do(
    server_18: Server, bare: str, tmp_path: Path
) -> None:
    await _push(server_18, bare, tmp_path)
    before = await _read(server_18, bare)

    again = await _push(server_18, bare, tmp_path)

    assert (again.code, "up to date" in again.said) == (0, True), again.said
    assert await migrations.apply(server_18.owner_url(bare)) == []
    assert await _read(server_18, bare) == before


async def test_after_our_own_command_a_push_has_nothing_left_to_do(
    server_18: Server, migrated: str, tmp_path: Path
) -> None:
    before = await _read(server_18, migrated)

    pushed = await _push(server_18, migrated, tmp_path)

    assert (pushed.code, "up to date" in pushed.said) == (0, True), pushed.said
    assert await _read(server_18, migrated) == before


async def test_a_dry_run_tells_and_does_nothing(server_18: Server, bare: str, tmp_path: Path) -> None:
    dry = await _push(server_18, bare, tmp_path, "--dry-run")

    assert dry.code == 0, dry.said
    assert all(file in dry.said for file in _files())
    assert (await _fetch(server_18, bare, "select to_regclass('public.workspaces')::text")) == [(None,)]


async def test_a_push_with_the_seed_brings_the_demo_workspace_and_without_it_does_not(
    server_18: Server, bare: str, migrated: str, tmp_path: Path
) -> None:
    spaces = "select id::text, name from public.spaces order by id"
    await _push(server_18, bare, tmp_path)
    assert await _fetch(server_18, bare, spaces) == []

    seeded = await _push(server_18, bare, tmp_path, "--include-seed")

    assert seeded.code == 0, seeded.said
    assert await _fetch(server_18, bare, spaces) == await _fetch(server_18, migrated, spaces) != []


async def test_a_push_puts_the_schedules_addresses_and_secret_into_vault(
    server_18: Server, bare: str, tmp_path: Path
) -> None:
    env = {
        "SWITCHBOARD_ARCHIVE_URL": "https://archive.example",
        "SWITCHBOARD_WORKER_URL": "https://worker.example",
        "SWITCHBOARD_SESSION_CLEANUP_URL": "https://sessions.example/chat-sessions/cleanup",
        "CRON_SECRET": "s3cret",
    }

    pushed = await _push(server_18, bare, tmp_path, env=env)

    assert pushed.code == 0, pushed.said
    secrets = "select name, decrypted_secret from vault.decrypted_secrets order by name"
    assert await _fetch(server_18, bare, secrets) == [
        ("archive_url", "https://archive.example"),
        ("cron_secret", "s3cret"),
        ("session_cleanup_url", "https://sessions.example/chat-sessions/cleanup"),
        ("worker_url", "https://worker.example"),
    ]


async def test_a_push_that_fails_says_so(server_18: Server, bare: str, tmp_path: Path) -> None:
    await _fetch(server_18, bare, "create schema private")

    pushed = await _push(server_18, bare, tmp_path)

    assert pushed.code != 0
    assert "already exists" in pushed.said
    assert (await _fetch(server_18, bare, "select to_regclass('public.workspaces')::text")) == [(None,)]
