"""supabase/policies/ is the present truth: the migrations lead there, and one command writes what changed."""

import shutil
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from local import migrations, policies
from local.migrations import MigrationError
from tests.servers import Server

EVERYBODY = ("anon", "authenticated", "contact", "switchboard", "service_role")


@pytest.fixture
def owner_url(server_18: Server, migrated: str) -> str:
    """A migrated database, for the role that migrations run as."""
    return server_18.owner_url(migrated)


@pytest_asyncio.fixture
async def owner(owner_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection as that role."""
    connection = await asyncpg.connect(owner_url)
    yield connection
    await connection.close()


@pytest.fixture
def edited(tmp_path: Path) -> Path:
    """A copy of the folder in which one policy says something else, one is renamed, one is new and one file is gone."""
    folder = tmp_path / "policies"
    shutil.copytree(policies.POLICIES, folder)
    sessions = folder / "sessions.sql"
    sessions.write_text(sessions.read_text().replace("private.own_sessions()", "private.own_conversations()"))
    spaces = folder / "spaces.sql"
    renamed = spaces.read_text().replace("Members read their workspace's spaces", 'Everybody "here" reads')
    spaces.write_text(renamed.replace('"Everybody "here" reads"', '"Everybody ""here"" reads"'))
    contacts = folder / "contacts.sql"
    contacts.write_text(
        contacts.read_text()
        + '\ncreate policy "Admins change contacts; all of them"\n    on public.contacts for update to authenticated\n'
        "    using (workspace_id in (select private.admin_workspaces()));\n"
    )
    (folder / "rate_limits.sql").unlink()
    return folder


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Where the migration goes."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    return folder


async def test_a_freshly_migrated_database_has_the_policies_of_the_folder(owner: asyncpg.Connection) -> None:
    assert await policies.changed_tables(owner) == []
    assert await policies.present(owner) == await policies.declared(owner) != {}
    assert await policies.write_migration(owner, migrations=Path("/nowhere")) is None


async def test_every_table_has_row_level_security_and_a_file_and_every_file_is_a_table(
    owner: asyncpg.Connection,
) -> None:
    tables = await owner.fetch(
        "select relname, relrowsecurity from pg_class "
        "where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')"
    )
    files = sorted(policies.POLICIES.iterdir())

    assert {table["relname"]: table["relrowsecurity"] for table in tables} == {file.stem: True for file in files}
    assert {file.suffix for file in files} == {".sql"}


async def test_a_file_holds_the_policies_of_its_own_table(owner: asyncpg.Connection, tmp_path: Path) -> None:
    for file in policies.POLICIES.glob("*.sql"):
        alone = tmp_path / file.stem
        alone.mkdir()
        shutil.copy(file, alone)

        assert set(await policies.declared(owner, alone)) == {file.stem}


async def test_there_is_one_permissive_policy_per_table_role_and_operation(owner: asyncpg.Connection) -> None:
    for table, found in (await policies.present(owner)).items():
        commands = Counter(
            (role, command) for _, kind, roles, command, _, _ in found for role in roles if kind == "PERMISSIVE"
        )
        assert {key: number for key, number in commands.items() if number > 1} == {}, table
        assert not [command for _, command in commands if command == "ALL"], table
        assert {role for role, _ in commands} <= set(EVERYBODY), f"{table}: a policy for everybody, or an unknown role"


async def test_a_policy_stands_behind_every_grant_and_a_grant_behind_every_policy(owner: asyncpg.Connection) -> None:
    """A grant without a policy gives nothing, a policy without a grant neither: each is a mistake."""
    granted = {
        (row["table_name"], row["grantee"], row["privilege_type"])
        for row in await owner.fetch(
            # A grant on a table is one on its columns as well, except for deleting.
            "select table_name, grantee, privilege_type from information_schema.role_column_grants "
            "where table_schema = 'public' and grantee in ('anon', 'authenticated', 'contact', 'switchboard') "
            "union select table_name, grantee, privilege_type from information_schema.role_table_grants "
            "where table_schema = 'public' and grantee in ('anon', 'authenticated', 'contact', 'switchboard')"
        )
    }
    allowed = {
        (table, role, command)
        for table, found in (await policies.present(owner)).items()
        for _, _, roles, command, _, _ in found
        for role in roles
    }

    assert allowed == granted


async def test_the_command_writes_a_migration_that_brings_a_database_to_the_folder(
    owner: asyncpg.Connection, owner_url: str, edited: Path, written: Path
) -> None:
    assert await policies.changed_tables(owner, edited) == ["contacts", "rate_limits", "sessions", "spaces"]

    file = await policies.write_migration(owner, "edit_policies", edited, written)

    assert file is not None
    assert (file.parent, file.name[14:]) == (written, "_edit_policies.sql")
    assert await policies.changed_tables(owner) == []
    assert await migrations.apply(owner_url, written) == [file.name[:14]]
    assert await policies.changed_tables(owner, edited) == []
    assert await policies.changed_tables(owner) == ["contacts", "rate_limits", "sessions", "spaces"]
    assert await policies.write_migration(owner, "again", edited, written) is None


async def test_the_migration_says_what_changed_whole_and_nothing_of_other_tables(
    owner: asyncpg.Connection, edited: Path, written: Path
) -> None:
    file = await policies.write_migration(owner, "edit_policies", edited, written)

    assert file is not None
    text = file.read_text()
    before = await policies.present(owner)
    for table in ("contacts", "rate_limits", "sessions", "spaces"):
        for name, *_ in before[table]:
            assert f'drop policy "{name}" on public.{table};' in text
    for table in ("contacts", "sessions", "spaces"):
        assert (edited / f"{table}.sql").read_text().strip() in text
    assert "public.messages" not in text


async def test_a_migration_that_breaks_off_leaves_every_policy_as_it_was(
    owner: asyncpg.Connection, owner_url: str, edited: Path, written: Path
) -> None:
    before = await policies.present(owner)
    file = await policies.write_migration(owner, "edit_policies", edited, written)
    assert file is not None
    file.write_text(file.read_text() + "\nselect 1 / 0;\n")

    with pytest.raises(MigrationError, match="division by zero"):
        await migrations.apply(owner_url, written)

    assert await policies.present(owner) == before


async def test_looking_at_a_folder_leaves_the_database_as_it_was_even_when_a_file_is_wrong(
    owner: asyncpg.Connection, edited: Path
) -> None:
    before = await policies.present(owner)
    await policies.changed_tables(owner, edited)
    (edited / "jobs.sql").write_text("create policy nonsense")

    with pytest.raises(asyncpg.PostgresSyntaxError):
        await policies.changed_tables(owner, edited)

    assert await policies.present(owner) == before
