"""Supabase's advisors, plpgsql_check and squawk report nothing about the database, and each of them finds a mistake."""

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

MISTAKES = {
    "rls_disabled_in_public": "create table public.open (id int primary key); grant select on public.open to anon",
    "function_search_path_mutable": "create function public.loose() returns int language sql as 'select 1'",
    "multiple_permissive_policies": "create policy again on public.spaces for select to authenticated using (true)",
    "auth_rls_initplan": 'alter policy "Members read their workspaces" on public.workspaces'
    " using (auth.uid() is not null)",
}
WRONG = (
    "create function private.wrong() returns void language plpgsql set search_path = '' "
    "as $$ begin perform 1 from public.nowhere; end $$"
)


@pytest_asyncio.fixture
async def url(request: pytest.FixtureRequest, server: Callable[[int], Server]) -> AsyncIterator[str]:
    """A migrated database of the version that the test names, for the superuser."""
    chosen = server(request.param)
    name = await chosen.migrated()
    yield chosen.admin_url(name)
    await chosen.drop(name)


async def execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def check(url: str, home: Path, *arguments: str) -> Ran:
    return await supabase(home, "db", *arguments, f"--remote={url}?sslmode=disable")


@pytest.mark.parametrize("url", [15, 18], indirect=True)
async def test_supabases_advisors_find_every_mistake_and_nothing_else(url: str, tmp_path: Path) -> None:
    advise = ("advisors", "--level", "warn", "--fail-on", "warn")
    advised = await check(url, tmp_path, *advise)
    assert (advised.code, "No issues found" in advised.said) == (0, True), advised.said
    await execute(url, "; ".join(MISTAKES.values()))
    advised = await check(url, tmp_path, *advise)
    assert advised.code != 0
    assert [lint for lint in MISTAKES if lint not in advised.said] == []


@pytest.mark.parametrize("url", [15], indirect=True)
async def test_plpgsql_check_finds_a_mistake_in_the_private_schema_and_nothing_else(url: str, tmp_path: Path) -> None:
    # The CLI works as the role postgres, which may create the extension on hosted projects only.
    try:
        await execute(url, "create extension plpgsql_check with schema public")
    except (asyncpg.FeatureNotSupportedError, asyncpg.UndefinedFileError):
        missing("plpgsql_check is not installed; it comes with Debian's postgresql-15-plpgsql-check.")
    lint = ("lint", "--level", "warning", "--fail-on", "warning", "-s", "public,private")
    linted = await check(url, tmp_path, *lint)
    assert (linted.code, "No schema errors found" in linted.said) == (0, True), linted.said
    await execute(url, WRONG)
    linted = await check(url, tmp_path, *lint)
    assert (linted.code != 0, "nowhere" in linted.said) == (True, True)


def test_squawk_finds_a_mistake_and_none_in_the_migrations(tmp_path: Path) -> None:
    bad = tmp_path / "20990101000000_bad.sql"
    bad.write_text("alter table public.contacts add constraint later check (id is not null);\n")
    for files, is_good in ((sorted(MIGRATIONS.glob("*.sql")), True), ([bad], False)):
        # The configuration is found from the working directory.
        checked = subprocess.run([SQUAWK, *files], cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert (checked.returncode == 0) == is_good, checked.stdout + checked.stderr
    assert "constraint-missing-not-valid" in checked.stdout
