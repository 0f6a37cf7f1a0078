"""A freshly migrated database on a server of its own, for as long as a command needs one."""

import contextlib
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from local import migrations, place, ports, standins
from local.postgres import Cluster
from local.standins import Passwords


@contextlib.asynccontextmanager
async def migrated_server(bin_dir: Path | None = None) -> AsyncIterator[Cluster]:
    """A server whose database holds the stand-ins and every migration, gone at the end.

    `bin_dir` is the server's; the locked wheel's if not given. Raises PostgresError and MigrationError.
    """
    folder = Path(tempfile.mkdtemp(prefix="switchboard-scratch-"))
    password = secrets.token_hex(16)
    cluster = Cluster(
        bin_dir=bin_dir or place.server_binaries(),
        data_dir=folder / "postgres" / "data",
        port=ports.free_port(),
        password=password,
        run_as=place.server_user(),
        durable=False,
    )
    try:
        place.open_state_dir(folder)
        cluster.init()
        cluster.start()
        await standins.apply(cluster.url(), Passwords(password, password, password))
        await migrations.apply(cluster.url("postgres"))
        yield cluster
    finally:
        cluster.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)
