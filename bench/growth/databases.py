"""A server of its own with one database for each size, gone at the end."""

import contextlib
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import asyncpg

from local import migrations, supabase_shim
from local.paths import server_binaries, server_user
from local.ports import free_port
from local.postgres import Cluster

_TEMPLATE = "migrated"
_PASSWORD = "growth"  # noqa: S105 (the server's own, and it ends with the run)
_PASSWORDS = supabase_shim.Passwords(postgres="owner", authenticator="gate", auth_admin="keeper")

# All that is measured fits into memory: a page that is read from a disk would say more of the disk.
_SETTINGS = {"shared_buffers": "1GB", "max_wal_size": "8GB", "autovacuum": "off"}


@contextlib.contextmanager
def serve() -> Iterator[Cluster]:
    """A running server, which is stopped and removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="switchboard-growth-"))
    # Postgres's user, who is not root, walks through.
    folder.chmod(0o711)
    cluster = Cluster(
        bin_dir=server_binaries(),
        data_dir=folder / "data",
        port=free_port(),
        password=_PASSWORD,
        run_as=server_user(),
        settings=_SETTINGS,
        durable=False,
    )
    try:
        cluster.init()
        cluster.start()
        yield cluster
    finally:
        cluster.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


async def prepare(cluster: Cluster) -> None:
    """Have a database with every migration and the demo workspace, which the others are copies of."""
    await _execute(cluster.url(), f"create database {_TEMPLATE}")
    await supabase_shim.apply(cluster.url(database=_TEMPLATE), _PASSWORDS)
    await _execute(cluster.url(), f"alter database {_TEMPLATE} owner to postgres")
    owner = cluster.url("postgres", _PASSWORDS.postgres, _TEMPLATE)
    await migrations.apply(owner)
    await migrations.seed(owner)


async def make(cluster: Cluster, name: str) -> str:
    """A copy; its URL for the superuser."""
    await _execute(cluster.url(), f"create database {name} template {_TEMPLATE} owner postgres")
    return cluster.url(database=name)


async def filled(url: str, fill: Callable[[asyncpg.Connection], Awaitable[None]]) -> None:
    """Have a database filled over one connection, however long that takes."""
    connection = await asyncpg.connect(url, command_timeout=None)
    try:
        await fill(connection)
    finally:
        await connection.close()


async def drop(cluster: Cluster, name: str) -> None:
    """Make room for the next."""
    await _execute(cluster.url(), f"drop database {name} with (force)")


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
