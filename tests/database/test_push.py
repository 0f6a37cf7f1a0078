"""The real Supabase CLI pushes supabase/ to a database that has only Supabase's own schemas."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from local import migrations
from tests.database import catalogue
from tests.database.supabase_cli import Ran, supabase
from tests.servers import Server, fetch

FILES = sorted(file.name for file in migrations.MIGRATIONS.glob("*.sql"))
SPACES = "select id::text, name from public.spaces order by id"
TABLE = "select to_regclass('public.workspaces')::text"
SECRETS = "select name, decrypted_secret from vault.decrypted_secrets order by name"
ENV = {
    "SWITCHBOARD_ARCHIVE_URL": "https://archive.example",
    "SWITCHBOARD_WORKER_URL": "https://worker.example",
    "SWITCHBOARD_SESSION_CLEANUP_URL": "https://sessions.example/chat-sessions/cleanup",
    "CRON_SECRET": "s3cret",
}


@pytest_asyncio.fixture
async def bare(server_18: Server) -> AsyncIterator[str]:
    """The name of a database with Supabase's roles and schemas only."""
    name = await server_18.bare()
    yield name
    await server_18.drop(name)


async def push(server: Server, database: str, home: Path, *flags: str, env: dict[str, str] | None = None) -> Ran:
    url = f"{server.owner_url(database)}?sslmode=disable"
    return await supabase(home, "db", "push", f"--remote={url}", "--yes", *flags, env=env)


async def test_a_push_makes_the_database_and_the_history_of_our_own_command(
    server_18: Server, bare: str, migrated: str, tmp_path: Path
) -> None:
    dry = await push(server_18, bare, tmp_path, "--dry-run")
    assert dry.code == 0, dry.said
    assert all(file in dry.said for file in FILES)
    assert await fetch(server_18.admin_url(bare), TABLE) == [(None,)]

    pushed = await push(server_18, bare, tmp_path, env=ENV)

    assert pushed.code == 0, pushed.said
    assert all(file in pushed.said for file in FILES)
    there, here = [await catalogue.read_database(server_18.admin_url(name)) for name in (bare, migrated)]
    for kind in here:
        assert there[kind] == here[kind], kind
    assert [row[0] for row in here["history"]] == [file.split("_")[0] for file in FILES]
    # The schedules' addresses and secret are in Vault.
    assert await fetch(server_18.admin_url(bare), SECRETS) == [
        ("archive_url", ENV["SWITCHBOARD_ARCHIVE_URL"]),
        ("cron_secret", ENV["CRON_SECRET"]),
        ("session_cleanup_url", ENV["SWITCHBOARD_SESSION_CLEANUP_URL"]),
        ("worker_url", ENV["SWITCHBOARD_WORKER_URL"]),
    ]
    # Neither a second push nor our own command has anything left to do, nor a push after our own command.
    for database, before in ((bare, there), (migrated, here)):
        again = await push(server_18, database, tmp_path)
        assert (again.code, "up to date" in again.said) == (0, True), again.said
        assert await migrations.apply(server_18.owner_url(database)) == []
        assert await catalogue.read_database(server_18.admin_url(database)) == before
    # The seed is the demo workspace, which comes only on request.
    assert await fetch(server_18.admin_url(bare), SPACES) == []
    seeded = await push(server_18, bare, tmp_path, "--include-seed")
    assert seeded.code == 0, seeded.said
    assert await fetch(server_18.admin_url(bare), SPACES) == await fetch(server_18.admin_url(migrated), SPACES) != []


async def test_a_push_that_fails_leaves_nothing_and_says_why(server_18: Server, bare: str, tmp_path: Path) -> None:
    await fetch(server_18.admin_url(bare), "create schema private")
    pushed = await push(server_18, bare, tmp_path)
    assert pushed.code != 0
    assert "already exists" in pushed.said
    assert await fetch(server_18.admin_url(bare), TABLE) == [(None,)]
