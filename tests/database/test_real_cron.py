"""The schedules on the real pg_cron, as Debian packages it for Postgres 15."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from local import demo, migrations, place, standins
from local.ports import free_port
from local.postgres import Cluster

DEBIAN = Path("/usr/lib/postgresql/15")

pytestmark = pytest.mark.skipif(
    not (DEBIAN / "lib" / "pg_cron.so").exists(), reason="Debian's postgresql-15-cron is not installed"
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Postgres 15 with pg_cron loaded."""
    folder = Path(tempfile.mkdtemp(prefix="switchboard-"))
    folder.chmod(0o711)
    made = Cluster(
        bin_dir=DEBIAN / "bin",
        data_dir=folder / "data",
        port=free_port(),
        password="admin",
        run_as=place.server_user(),
        settings={
            "shared_preload_libraries": "pg_cron",
            "cron.database_name": "postgres",
            "cron.use_background_workers": "on",
        },
        durable=False,
    )
    made.init()
    made.start()
    yield made
    made.stop()
    shutil.rmtree(folder, ignore_errors=True)


async def test_the_real_pg_cron_runs_the_archives_schedule_into_pg_nets_queue(cluster: Cluster) -> None:
    await standins.apply(cluster.url(), standins.Passwords("postgres", "authenticator", "auth"), cron=False)
    url = cluster.url("postgres", "postgres")
    await migrations.apply(url, leave_out=("memory",))
    await demo.set_secrets(url, {"archive_url": "http://127.0.0.1:1/archive", "cron_secret": "s" * 16})
    connection = await asyncpg.connect(url)
    try:
        job = await connection.fetchrow("select jobid, schedule from cron.job where command like '%archive%'")
        assert job is not None
        # The daily job as it stands, only sooner: pg_cron's smallest step is a minute.
        await connection.execute("select cron.alter_job($1, schedule := '* * * * *')", job["jobid"])

        deadline = time.monotonic() + 75
        request = None
        while request is None:
            assert time.monotonic() < deadline, "the schedule did not run"
            await asyncio.sleep(0.5)
            request = await connection.fetchrow(
                "select method::text, headers ->> 'Authorization' as bearer from net.http_request_queue "
                "where url = 'http://127.0.0.1:1/archive'"
            )

        assert tuple(request) == ("POST", "Bearer " + "s" * 16)
        run = await connection.fetchrow(
            "select status, username from cron.job_run_details where jobid = $1 order by runid limit 1", job["jobid"]
        )
        assert run is not None
        assert tuple(run) == ("succeeded", "postgres")
    finally:
        await connection.close()
