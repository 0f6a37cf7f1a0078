"""worker: runs queued jobs, called by the database's schedule and when a job is queued; admins manage the jobs."""

from uuid import UUID

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from lib.auth.callers import User
from lib.database import queries
from lib.database.management import managing_as
from lib.database.paging import Page
from lib.http import app
from lib.jobs import jobs, queue
from lib.webhooks.handlers import HANDLERS

BUDGET_SECONDS = 20.0


async def run_jobs() -> queue.RunReport:
    """Run due jobs within the time budget; the next run follows at once if some remain."""
    report = await queue.run_due(HANDLERS, budget_seconds=BUDGET_SECONDS)
    if report.remaining:
        await queue.wake_worker()
    return report


async def list_jobs(user: User, asked: jobs.JobsRequest) -> Page[jobs.Job]:
    """A workspace's jobs, the newest first."""
    return await jobs.list_newest(queries.reading_as(user), asked)


async def read_job(user: User, job_id: UUID) -> jobs.JobDetail:
    """One job, with the delivery that it is about."""
    return await jobs.read(queries.reading_as(user), job_id)


async def replay_job(user: User, job_id: UUID) -> jobs.JobState:
    """Have a dead, discarded or waiting job tried now."""
    replayed = await jobs.replay(managing_as(user), job_id)
    await queue.wake_worker()
    return replayed


async def discard_job(user: User, job_id: UUID) -> jobs.JobState:
    """Set a dead or waiting job aside."""
    return await jobs.discard(managing_as(user), job_id)


_HANDLERS = (run_jobs, list_jobs, read_job, replay_job, discard_job)
_serve = app.function("worker", {handler.__name__: handler for handler in _HANDLERS})


@functions_framework.aio.http
async def worker(request: Request) -> Response:
    """The function's entry point."""
    return await _serve(request)
