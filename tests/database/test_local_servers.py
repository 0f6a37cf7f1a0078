"""Private servers of every supported version: started, killed, recovered and migrated."""

import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from local import migrations, paths, processes, supabase_shim
from local.migrations import MigrationError
from local.ports import Reservations, free_port, is_free
from local.postgres import Cluster
from tests.servers import fetch

PASSWORDS = supabase_shim.Passwords("it's secret", "b", "c")


@pytest.fixture(scope="module", params=sorted(paths.server_bin_dirs()))
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A server of each installed version."""
    folder = Path(tempfile.mkdtemp(prefix="switchboard-"))
    folder.chmod(0o711)
    binaries = paths.server_bin_dirs()[request.param]
    made = Cluster(binaries, folder / "data", free_port(), "ad'min", paths.server_user(), durable=False)
    (folder / "data.new-left-by-a-kill").mkdir()
    made.init()
    made.start()
    yield made
    made.stop("immediate")
    shutil.rmtree(folder, ignore_errors=True)


@pytest_asyncio.fixture
async def url(cluster: Cluster) -> AsyncIterator[str]:
    """An empty database with the stand-ins, as role postgres."""
    await supabase_shim.apply(cluster.url(), PASSWORDS)
    yield cluster.url("postgres", PASSWORDS.postgres)
    connection = await asyncpg.connect(cluster.url())
    await connection.execute("drop schema if exists supabase_migrations cascade; drop table if exists public.made")
    await connection.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two migrations and another file."""
    (tmp_path / "20260101000000_make_table.sql").write_text(
        "-- why\ncreate table made (n int);\ncomment on table made is 'x';\n"
    )
    (tmp_path / "20260102000000_fill_table.sql").write_text("insert into public.made values (1);")
    (tmp_path / "README.sql").write_text("this is no migration")
    return tmp_path


async def test_a_server_has_its_version_and_accepts_only_the_password(cluster: Cluster) -> None:
    assert cluster.version() in paths.server_bin_dirs()
    assert cluster.data_dir.stat().st_mode & 0o777 == 0o700
    assert not list(cluster.data_dir.parent.glob("data.new-*"))
    for password in ("", "wrong"):
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(cluster.url("supabase_admin", password))


@pytest.mark.parametrize("how", ["killed", "stopped, with a pid file that names another process"])
def test_a_server_starts_again(cluster: Cluster, how: str) -> None:
    killed = cluster.server_pid()
    assert killed is not None
    if how == "killed":
        os.kill(killed, signal.SIGKILL)
        # Until the signal is delivered there is a server and nothing to start.
        while processes.is_alive(killed):
            time.sleep(0.01)
    else:
        cluster.stop()
        stale = cluster.data_dir / "postmaster.pid"
        stale.write_text(f"{os.getpid()}\n{cluster.data_dir}\n1\n{cluster.port}\n\n127.0.0.1\n\nready\n")
        assert not cluster.is_running()
    cluster.start()
    assert cluster.is_running()
    assert cluster.server_pid() not in (None, killed, os.getpid())


async def test_the_stand_ins_applied_again_keep_what_a_migration_revoked(url: str, cluster: Cluster) -> None:
    revoke = "alter default privileges for role postgres in schema public revoke all on tables from anon"
    await fetch(url, revoke)
    await supabase_shim.apply(cluster.url(), PASSWORDS)
    await fetch(url, "create table public.made (n int)")
    query = "select has_table_privilege('anon', 'public.made', 'select'), current_user || lower('Ä')"
    assert await fetch(url, query) == [(False, "postgresä")]


async def test_migrations_are_applied_once_and_recorded_as_by_the_supabase_cli(url: str, folder: Path) -> None:
    assert await migrations.apply(url, folder, leave_out=("fill",)) == ["20260101000000"]
    assert await migrations.apply(url, folder) == ["20260102000000"]
    assert await migrations.apply(url, folder) == []
    history = "select version, name, statements from supabase_migrations.schema_migrations order by version"
    assert await fetch(url, history) == [
        ("20260101000000", "make_table", ["-- why\ncreate table made (n int)", "comment on table made is 'x'"]),
        ("20260102000000", "fill_table", ["insert into public.made values (1)"]),
    ]
    assert await fetch(url, "select n from public.made") == [(1,)]


async def test_a_failing_migration_names_its_file_and_line_and_is_rolled_back(url: str, folder: Path) -> None:
    broken = folder / "20260103000000_break.sql"
    broken.write_text("insert into public.made values (2);\n\n-- this\nselect\n  nothing_of_that_name;\n")

    with pytest.raises(MigrationError) as failed:
        await migrations.apply(url, folder)

    assert (failed.value.file, failed.value.line, failed.value.sqlstate) == (broken, 5, "42703")
    assert str(failed.value).startswith('20260103000000_break.sql:5: column "nothing_of_that_name" does not exist')
    last = "select max(version), (select count(*) from public.made) from supabase_migrations.schema_migrations"
    assert await fetch(url, last) == [("20260102000000", 1)]


async def test_a_setting_of_one_migration_does_not_reach_the_next(url: str, tmp_path: Path) -> None:
    (tmp_path / "20260101000000_set.sql").write_text("set search_path = 'pg_catalog'; set role anon; reset role;")
    (tmp_path / "20260102000000_use.sql").write_text("create table made (n int);")
    await migrations.apply(url, tmp_path)
    assert await fetch(url, "select to_regclass('public.made') is not null") == [(True,)]


async def test_a_missing_seed_is_no_error_and_a_broken_one_is(url: str, tmp_path: Path) -> None:
    await migrations.seed(url, tmp_path / "none.sql")
    (tmp_path / "seed.sql").write_text("select 1;\nselect 1 / 0;")
    with pytest.raises(MigrationError, match=r"seed\.sql:2: division by zero"):
        await migrations.seed(url, tmp_path / "seed.sql")


def test_a_port_is_reserved_once_and_never_one_in_use() -> None:
    mine, other = Reservations(), Reservations()
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        used = server.getsockname()[1]
        picked = [mine.pick(used), other.pick(used), mine.pick(0), other.pick(0)]
    assert len({used, *picked}) == 5
    # Nothing listens there yet, but it is reserved until it is given back.
    assert (is_free(picked[0]), mine.take(picked[0]), other.take(picked[0])) == (True, False, False)
    mine.release()
    assert other.take(picked[0])
    other.release()
