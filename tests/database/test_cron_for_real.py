"""The schedules on the real pg_cron, as Debian packages it for Postgres 15. All tests wait for the same minute."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime

import asyncpg
import pytest_asyncio
from aiohttp import web

from local import migrations, supabase_shim
from local.sender import Sender
from tests import servers
from tests.database.desk import Answer, Desk
from tests.servers import LEFT_OUT, PASSWORDS, Server

SETTINGS = {
    "shared_preload_libraries": "pg_cron",
    "cron.database_name": "postgres",
    # Jobs run in background workers, which need no password.
    "cron.use_background_workers": "on",
    "max_worker_processes": "20",
}

PATIENCE = 75.0
"""Seconds. The schedules run every minute."""

INFREQUENT = (
    "switchboard-archive", "switchboard-prune", "switchboard-retention", "switchboard-session-cleanup",
    "switchboard-session-stats",
)  # fmt: skip

CALLED = {"archive_url": "/archive", "worker_url": "/worker", "session_cleanup_url": "/chat-sessions/cleanup"}
"""The paths that the schedules call, by the name of the URL's secret."""


@dataclass
class Minute:
    """A database with pg_cron, in which every schedule has something to do from ``arranged`` on."""

    desk: Desk
    stale: Answer
    calls: asyncio.Queue[tuple[str, str | None, str]]
    schedules: dict[str, str]
    arranged: datetime
    deadline: float

    async def until_run(self, job: str) -> None:
        """Return when a schedule has run successfully, as the role postgres. Fails at the deadline."""
        query = (
            "select d.status, d.username, d.return_message from cron.job_run_details d join cron.job j using (jobid)"
            " where j.jobname = $1 and d.start_time > $2 and d.end_time is not null order by d.runid limit 1"
        )
        while not (runs := await self.desk.all(query, job, self.arranged)):
            assert time.monotonic() < self.deadline, f"{job} did not run in time"
            await asyncio.sleep(0.3)
        assert runs[0][:2] == ("succeeded", "postgres"), runs[0]


async def _migrate(server: Server) -> None:
    await supabase_shim.apply(server.admin_url(), PASSWORDS, cron=False)
    await migrations.apply(server.owner_url("postgres"), leave_out=LEFT_OUT[15])
    await migrations.seed(server.owner_url("postgres"))


async def _listen(stack: AsyncExitStack, calls: asyncio.Queue[tuple[str, str | None, str]]) -> str:
    async def take(request: web.Request) -> web.Response:
        calls.put_nowait((request.path, request.headers.get("Authorization"), await request.text()))
        return web.json_response({})

    app = web.Application()
    app.router.add_post("/{path:.+}", take)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}"


async def _send(stack: AsyncExitStack, url: str) -> None:
    """Send requests with the stand-in for pg_net: only pg_cron is real."""
    connection = await asyncpg.connect(url)
    stack.push_async_callback(connection.close)
    sender = await stack.enter_async_context(Sender(url, connection))
    sending = asyncio.create_task(sender.run())

    async def stop() -> None:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)

    stack.push_async_callback(stop)


async def _run_every_minute(owner_url: str) -> None:
    """Run the infrequent schedules every minute, as the role that owns them."""
    owner = await asyncpg.connect(owner_url)
    try:
        await owner.execute(
            "select cron.alter_job(jobid, schedule := '* * * * *') from cron.job where jobname = any ($1::text[])",
            list(INFREQUENT),
        )
    finally:
        await owner.close()


@pytest_asyncio.fixture(scope="module")
async def minute() -> AsyncIterator[Minute]:
    """A running server whose schedules have something to do."""
    if not (servers.require(15).parent / "lib" / "pg_cron.so").exists():
        servers.missing("pg_cron is not installed; it comes with Debian's postgresql-15-cron.")
    with servers.running(15, SETTINGS) as server:
        await _migrate(server)
        async with AsyncExitStack() as stack:
            calls: asyncio.Queue[tuple[str, str | None, str]] = asyncio.Queue()
            url = await _listen(stack, calls)
            await _send(stack, server.admin_url())
            desk = await stack.enter_async_context(Desk(server.gate_url("postgres"), server.admin_url()))
            for name, path in CALLED.items():
                await desk.keep_secret(f"{url}{path}", name)
            await desk.keep_secret("s3cret", "cron_secret")
            stale = await desk.start()
            await desk.flush(stale, 0, "Hel")
            await desk.let_lease_run_out(stale)
            await desk.admin.execute("update public.rate_limits set window_started_at = now() - interval '25 hours'")
            schedules = {row[0]: row[1] for row in await desk.admin.fetch("select jobname, schedule from cron.job")}
            await _run_every_minute(server.owner_url("postgres"))
            arranged = await desk.admin.fetchval("select clock_timestamp()")
            yield Minute(desk, stale, calls, schedules, arranged, time.monotonic() + PATIENCE)


async def test_the_migrations_create_the_schedules_of_the_owner(minute: Minute) -> None:
    assert minute.schedules == {
        "switchboard-expire-turns": "* * * * *",
        "switchboard-worker": "* * * * *",
        "switchboard-archive": "15 3 * * *",
        "switchboard-archive-jobs": "* * * * *",
        "switchboard-session-cleanup": "25 * * * *",
        "switchboard-prune": "45 3 * * *",
        "switchboard-retention": "5 4 * * *",
        "switchboard-forget-secrets": "50 3 * * *",
        "switchboard-session-stats": "6-59/10 * * * *",
    }
    jobs = await minute.desk.all("select username, database, active from cron.job")
    assert set(jobs) == {("postgres", "postgres", True)}


async def test_a_turn_whose_lease_expired_is_ended(minute: Minute) -> None:
    await minute.until_run("switchboard-expire-turns")
    read = await minute.desk.read(minute.stale)
    assert (read["status"], read["text"], read["error_code"]) == ("timeout", "Hel", "lease_expired")


async def test_the_functions_are_called_with_the_secret_from_vault(minute: Minute) -> None:
    for job in ("switchboard-archive", "switchboard-worker", "switchboard-session-cleanup"):
        await minute.until_run(job)
    calls: set[tuple[str, str | None, str]] = set()
    while len({path for path, *_ in calls}) < len(CALLED):
        calls.add(await asyncio.wait_for(minute.calls.get(), 10))
    assert calls == {(path, "Bearer s3cret", "{}") for path in CALLED.values()}


async def test_past_days_are_counted_for_the_statistics(minute: Minute) -> None:
    await minute.until_run("switchboard-session-stats")
    counted = "select (now() - interval '1 hour')::date in (d, d + 1) from private.stats_counted_until() d"
    assert await minute.desk.one(counted) == (True,)


async def test_expired_rate_limits_are_pruned(minute: Minute) -> None:
    await minute.until_run("switchboard-prune")
    assert await minute.desk.count("rate_limits") == 0
