"""worker: runs queued jobs; called by the database's schedule and when a job is queued."""

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from lib.http import app
from lib.jobs import queue
from lib.webhooks.handlers import HANDLERS

BUDGET_SECONDS = 20.0


async def run_jobs() -> queue.RunReport:
    """Run due jobs within the time budget."""
    return await queue.run_due(HANDLERS, budget_seconds=BUDGET_SECONDS)


_serve = app.function("worker", {"run_jobs": run_jobs})


@functions_framework.aio.http
async def worker(request: Request) -> Response:
    """The function's entry point."""
    return await _serve(request)
