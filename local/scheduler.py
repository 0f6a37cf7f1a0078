"""pg_cron: jobs on a schedule in UTC, one run at a time per job."""

import asyncio
import datetime
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

import asyncpg
from cronsim import CronSim, CronSimError

from lib.database.failures import CALL_FAILED

log = logging.getLogger("cron")

_SECONDS = re.compile(r"^\s*(\d+)\s+seconds?\s*$", re.IGNORECASE)
_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
# The settings that a login would apply, e.g. the role's search_path.
_LOGIN_SETTINGS = """
select set_config(split_part(setting, '=', 1), substr(setting, strpos(setting, '=') + 1), false)
from pg_catalog.pg_db_role_setting as r
join pg_catalog.pg_roles as u on u.oid = r.setrole
cross join unnest(r.setconfig) as setting
where u.rolname = session_user and r.setdatabase = 0
"""
_MAX_RUNNING = 32  # pg_cron's cron.max_running_jobs


@dataclass(frozen=True)
class Job:
    """A row of cron.job: what determines its runs."""

    jobid: int
    schedule: str
    command: str
    database: str
    username: str


class Scheduler:
    """Runs cron.job's active jobs. Use as an async context manager around `run`."""

    def __init__(self, url: str, connection: asyncpg.Connection) -> None:
        self._url = url
        self._connection = connection
        self._changed = asyncio.Event()
        self._tasks: dict[Job, asyncio.Task[None]] = {}
        self._runs: set[asyncio.Task[None]] = set()
        self._one_at_a_time: dict[int, asyncio.Lock] = {}
        self._slots = asyncio.Semaphore(_MAX_RUNNING)

    async def __aenter__(self) -> "Scheduler":
        await self._connection.add_listener("pg_cron", lambda *_: self._changed.set())
        # As pg_cron does at its start: an unfinished run has failed.
        await self._connection.execute(
            "update cron.job_run_details set status = 'failed', return_message = 'server restarted', end_time = now() "
            "where status in ('starting', 'running')"
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = [*self._tasks.values(), *self._runs]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def run(self) -> None:
        """Follow cron.job: every active job has a task, which ends when the job is changed or removed."""
        pool = await asyncpg.create_pool(self._url, min_size=1, max_size=2)
        async with pool:
            while True:
                self._changed.clear()
                rows = await pool.fetch(
                    "select jobid, schedule, command, database, username from cron.job where active"
                )
                wanted = {Job(**row) for row in rows}
                for job in [job for job in self._tasks if job not in wanted]:
                    # A current run continues to its end, as with pg_cron.
                    self._tasks.pop(job).cancel()
                for job in wanted - self._tasks.keys():
                    self._tasks[job] = asyncio.create_task(self._keep(job, pool), name=f"job {job.jobid}")
                try:
                    # Rows changed by hand send no notification.
                    await asyncio.wait_for(self._changed.wait(), 5.0)
                except TimeoutError:
                    continue

    async def _keep(self, job: Job, pool: asyncpg.Pool) -> None:
        """Start the job's runs when they are due. Runs that fall due during a run are combined into one after it."""
        try:
            times = due_times(job.schedule, _now())
            for due in times:
                # In short steps, because the wall clock may jump (a suspended laptop) and the event loop's does not.
                while (pause := (due - _now()).total_seconds()) > 0:  # noqa: ASYNC110 - the clock has no event
                    await asyncio.sleep(min(pause, 15.0))
                run = asyncio.create_task(self._run(job, pool))
                self._runs.add(run)
                run.add_done_callback(self._runs.discard)
                await asyncio.shield(run)
        except CronSimError:
            log.exception("job %s has a schedule that cannot be read: %s", job.jobid, job.schedule)

    async def _run(self, job: Job, pool: asyncpg.Pool) -> None:
        # The lock is shared with the job's earlier version: a run under the old schedule counts too.
        async with self._one_at_a_time.setdefault(job.jobid, asyncio.Lock()), self._slots:
            try:
                await _record_run(job, pool, self._url)
            except CALL_FAILED as error:
                log.warning("job %s: its run was not recorded: %s", job.jobid, error)


async def _record_run(job: Job, pool: asyncpg.Pool, url: str) -> None:
    run = await pool.fetchval(
        "insert into cron.job_run_details (jobid, database, username, command, status) "
        "values ($1, $2, $3, $4, 'starting') returning runid",
        job.jobid,
        job.database,
        job.username,
        job.command,
    )
    try:
        message = await _execute(job, pool, run, url)
        status = "succeeded"
    except CALL_FAILED as error:
        status, message = "failed", f"ERROR: {error}"
    await pool.execute(
        "update cron.job_run_details set status = $2, return_message = $3, end_time = clock_timestamp() "
        "where runid = $1",
        run,
        status,
        message,
    )


async def _execute(job: Job, pool: asyncpg.Pool, run: int, url: str) -> str:
    """Run the command in its own connection as the job's user; returns what pg_cron would record."""
    connection = await asyncpg.connect(url, database=job.database, server_settings={"application_name": "pg_cron"})
    try:
        role = await connection.fetchval("select quote_ident($1)", job.username)
        # Not `set role`: the settings and rights must be those of a login as this user.
        await connection.execute(f"set session authorization {role}")
        await connection.execute(_LOGIN_SETTINGS)
        await pool.execute(
            "update cron.job_run_details set status = 'running', job_pid = $2, start_time = clock_timestamp() "
            "where runid = $1",
            run,
            connection.get_server_pid(),
        )
        tag = await connection.execute(job.command)
    finally:
        await connection.close(timeout=5)
    command, _, count = tag.partition(" ")
    if command == "SELECT":
        return f"{count} row" if count == "1" else f"{count} rows"
    return tag


def due_times(schedule: str, after: datetime.datetime) -> Iterator[datetime.datetime]:
    """The due times of a schedule after `after`, without end; missed ones are skipped. Raises CronSimError.

    `'N seconds'` counts from the start of the previous run; all other schedules are in minutes of UTC.
    """
    if interval := _SECONDS.match(schedule):
        step = datetime.timedelta(seconds=int(interval[1]))
        due = after
        while True:
            due = max(due + step, _now())
            yield due
    fields = _MACROS.get(schedule.strip().lower(), schedule).replace("$", "L")
    times = CronSim(fields, after)
    due = next(times)
    while True:
        yield due
        following = next(times)
        # Runs missed during a run are made up for once.
        late = _now()
        if following <= late:
            times = CronSim(fields, late)
            due = late
        else:
            due = following


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
