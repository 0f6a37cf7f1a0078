"""worker: works off the queue, called by the database's schedule and when something is queued."""

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from lib import auth, http, inbound, jobs

BUDGET_SECONDS = 20.0


async def run(request: Request) -> jobs.Report:
    """Work on due jobs until none is left or the time is over."""
    auth.require_cron(request)
    return await jobs.run_due(inbound.HANDLERS, budget_seconds=BUDGET_SECONDS)


_serve = http.function("worker", {"run": run})


@functions_framework.aio.http
async def worker(request: Request) -> Response:
    """The function's entry point."""
    return await _serve(request)
