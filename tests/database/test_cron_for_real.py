"""The schedules on the real pg_cron, as Debian packages it for Postgres 15; all of it within one minute."""

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
    # Jobs run inside the server, so that it needs no password to reach itself.
    "cron.use_background_workers": "on",
    "max_worker_processes": "20",
}

PATIENCE = 75.0
"""Seconds: pg_cron's smallest step is a minute."""

SELDOM = ("switchboard-archive", "switchboard-prune", "switchboard-session-cleanup", "switchboard-session-stats")


@dataclass
class Minute:
    """A database that pg_cron looks after, arranged so that every schedule has something to do."""

    desk: Desk
    stale: Answer
    calls: asyncio.Queue[tuple[str, str | None, str]]
    scheduled: dict[str, str]
    arranged: datetime
    deadline: float

    async def run_of(self, job: str) -> asyncpg.Record:
        """The first run of a schedule on what was arranged; fails when there is none in time."""
        while True:
            run = await self.desk.admin.fetchrow(
                "select d.status, d.return_message, d.username "
                "from cron.job_run_details d join cron.job j using (jobid) "
                "where j.jobname = $1 and d.start_time > $2 and d.end_time is not null order by d.runid limit 1",
                job,
                self.arranged,
            )
            if run is not None:
                return run
            assert time.monotonic() < self.deadline, f"{job} did not run in time"
            await asyncio.sleep(0.3)


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
    """Play pg_net, and only pg_net: the keeper of the time is the real one."""
    connection = await asyncpg.connect(url)
    stack.push_async_callback(connection.close)
    sender = await stack.enter_async_context(Sender(url, connection))
    sending = asyncio.create_task(sender.run())

    async def stop() -> None:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)

    stack.push_async_callback(stop)


async def _sooner(owner_url: str) -> None:
    """What is daily or hourly, every minute: as the role that owns the schedules."""
    owner = await asyncpg.connect(owner_url)
    try:
        await owner.execute(
            "select cron.alter_job(jobid, schedule := '* * * * *') from cron.job where jobname = any ($1::text[])",
            list(SELDOM),
        )
    finally:
        await owner.close()


@pytest_asyncio.fixture(scope="module")
async def minute() -> AsyncIterator[Minute]:
    """The running database, arranged; its minute has begun."""
    if not (servers.require(15).parent / "lib" / "pg_cron.so").exists():
        servers.missing("pg_cron is not installed; it comes with Debian's postgresql-15-cron.")
    with servers.running(15, SETTINGS) as server:
        await _migrate(server)
        async with AsyncExitStack() as stack:
            calls: asyncio.Queue[tuple[str, str | None, str]] = asyncio.Queue()
            url = await _listen(stack, calls)
            await _send(stack, server.admin_url())
            desk = await stack.enter_async_context(Desk(server.gate_url("postgres"), server.admin_url()))
            await desk.keep_secret(f"{url}/archive", "archive_url")
            await desk.keep_secret(f"{url}/worker", "worker_url")
            await desk.keep_secret(f"{url}/chat-sessions/cleanup", "session_cleanup_url")
            await desk.keep_secret("s3cret", "cron_secret")
            stale = await desk.start()
            await desk.flush(stale, 0, "Hel")
            await desk.let_lease_run_out(stale)
            await desk.admin.execute("update public.rate_limits set window_started_at = now() - interval '25 hours'")
            scheduled = {row[0]: row[1] for row in await desk.admin.fetch("select jobname, schedule from cron.job")}
            await _sooner(server.owner_url("postgres"))
            arranged = await desk.admin.fetchval("select clock_timestamp()")
            yield Minute(desk, stale, calls, scheduled, arranged, time.monotonic() + PATIENCE)


async def test_the_migrations_leave_their_schedules_to_the_owner(minute: Minute) -> None:
    assert minute.scheduled == {
        "switchboard-expire-turns": "* * * * *",
        "switchboard-worker": "* * * * *",
        "switchboard-archive": "15 3 * * *",
        "switchboard-session-cleanup": "25 * * * *",
        "switchboard-prune": "45 3 * * *",
        "switchboard-forget-secrets": "50 3 * * *",
        "switchboard-session-stats": "6-59/10 * * * *",
    }
    jobs = await minute.desk.admin.fetch("select username, database, active from cron.job")
    assert {tuple(job) for job in jobs} == {("postgres", "postgres", True)}


async def test_the_sweep_runs_by_itself_and_ends_a_turn_that_nobody_works_on(minute: Minute) -> None:
    run = await minute.run_of("switchboard-expire-turns")

    assert (run["status"], run["username"]) == ("succeeded", "postgres"), run["return_message"]
    read = await minute.desk.read(minute.stale)
    assert (read["status"], read["text"], read["error_code"]) == ("timeout", "Hel", "lease_expired")


async def test_the_functions_are_called_over_http_with_the_secret_of_the_vault(minute: Minute) -> None:
    for job in ("switchboard-archive", "switchboard-worker", "switchboard-session-cleanup"):
        run = await minute.run_of(job)
        assert (run["status"], run["username"]) == ("succeeded", "postgres")

    calls: set[tuple[str, str | None, str]] = set()
    while len({path for path, *_ in calls}) < 3:
        calls.add(await asyncio.wait_for(minute.calls.get(), 10))
    paths = ("/archive", "/worker", "/chat-sessions/cleanup")
    assert calls == {(path, "Bearer s3cret", "{}") for path in paths}


async def test_days_that_are_over_are_counted_by_themselves(minute: Minute) -> None:
    run = await minute.run_of("switchboard-session-stats")

    assert (run["status"], run["username"]) == ("succeeded", "postgres"), run["return_message"]
    counted = "select (now() - interval '1 hour')::date in (d, d + 1) from private.stats_counted_until() d"
    assert await minute.desk.admin.fetchval(counted)


async def test_what_counts_nothing_any_more_is_pruned(minute: Minute) -> None:
    run = await minute.run_of("switchboard-prune")

    assert run["status"] == "succeeded", run["return_message"]
    assert await minute.desk.count("rate_limits") == 0
