"""archive: archives old sessions; called by the database's schedule."""

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from lib.archive import sweep as archives
from lib.http import app

BUDGET_SECONDS = 20.0


async def archive_sessions() -> archives.SweepReport:
    """Archive the sessions that are old enough, within the time budget."""
    return await archives.run(budget_seconds=BUDGET_SECONDS)


_serve = app.function("archive", {"archive_sessions": archive_sessions})


@functions_framework.aio.http
async def archive(request: Request) -> Response:
    """The function's entry point."""
    return await _serve(request)
