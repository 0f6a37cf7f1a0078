"""What Supabase's own checks, plpgsql_check and squawk say of the database, and that each of them would say it."""

import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from local.migrations import MIGRATIONS
from local.paths import REPOSITORY
from tests.database.supabase_cli import Ran, supabase
from tests.servers import Server, missing

SQUAWK = Path(sys.executable).with_name("squawk")


@pytest_asyncio.fixture
async def url(request: pytest.FixtureRequest, server: Callable[[int], Server]) -> AsyncIterator[str]:
    """A migrated database of this test's own, for the superuser, on the version that the test names."""
    chosen = server(request.param)
    name = await chosen.migrated()
    yield chosen.admin_url(name)
    await chosen.drop(name)


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _advise(url: str, home: Path) -> Ran:
    return await supabase(
        home, "db", "advisors", f"--remote={url}?sslmode=disable", "--level", "warn", "--fail-on", "warn"
    )


async def _lint(url: str, home: Path) -> Ran:
    connection = await asyncpg.connect(url)
    try:
        known = await connection.fetchval("select 1 from pg_available_extensions where name = 'plpgsql_check'")
        if known is None:
            missing("plpgsql_check is not installed; it comes with Debian's postgresql-15-plpgsql-check.")
        # The CLI works as the role postgres, which on hosted projects may create it and here may not.
        await connection.execute("create extension plpgsql_check with schema public")
    finally:
        await connection.close()
    remote = f"--remote={url}?sslmode=disable"
    return await supabase(
        home, "db", "lint", remote, "--level", "warning", "--fail-on", "warning", "-s", "public,private"
    )


def _squawk(*files: Path) -> subprocess.CompletedProcess[str]:
    # The configuration is found from the working directory.
    return subprocess.run([SQUAWK, *files], cwd=REPOSITORY, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("url", [15, 18], indirect=True)
async def test_supabases_advisors_have_nothing_to_warn_of(url: str, tmp_path: Path) -> None:
    advised = await _advise(url, tmp_path)

    assert advised.code == 0, advised.said
    assert "No issues found" in advised.said


@pytest.mark.parametrize("url", [18], indirect=True)
@pytest.mark.parametrize(
    ("mistake", "lint"),
    [
        (
            "create table public.open (id int primary key); grant select on public.open to anon",
            "rls_disabled_in_public",
        ),
        ("create function public.loose() returns int language sql as 'select 1'", "function_search_path_mutable"),
        (
            "create policy again on public.spaces for select to authenticated using (true)",
            "multiple_permissive_policies",
        ),
        (
            'alter policy "Members read their workspaces" on public.workspaces using (auth.uid() is not null)',
            "auth_rls_initplan",
        ),
    ],
    ids=lambda value: value if "_" in value and " " not in value else "",
)
async def test_supabases_advisors_warn_of_a_mistake(url: str, tmp_path: Path, mistake: str, lint: str) -> None:
    await _execute(url, mistake)

    advised = await _advise(url, tmp_path)

    assert advised.code != 0
    assert lint in advised.said


@pytest.mark.parametrize("url", [15], indirect=True)
async def test_plpgsql_check_finds_nothing_wrong_in_any_function(url: str, tmp_path: Path) -> None:
    linted = await _lint(url, tmp_path)

    assert linted.code == 0, linted.said
    assert "No schema errors found" in linted.said


@pytest.mark.parametrize("url", [15], indirect=True)
async def test_plpgsql_check_finds_a_mistake_even_in_the_private_schema(url: str, tmp_path: Path) -> None:
    await _execute(
        url,
        "create function private.wrong() returns void language plpgsql set search_path = '' "
        "as $$ begin perform 1 from public.nowhere; end $$",
    )

    linted = await _lint(url, tmp_path)

    assert linted.code != 0
    assert "nowhere" in linted.said


def test_squawk_finds_nothing_wrong_in_the_migrations() -> None:
    checked = _squawk(*sorted(MIGRATIONS.glob("*.sql")))

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_squawk_finds_a_mistake(tmp_path: Path) -> None:
    bad = tmp_path / "20990101000000_bad.sql"
    bad.write_text("alter table public.contacts add constraint later check (id is not null);\n")

    checked = _squawk(bad)

    assert checked.returncode != 0
    assert "constraint-missing-not-valid" in checked.stdout
