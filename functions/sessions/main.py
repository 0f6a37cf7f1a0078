"""sessions: where a conversation's episodes stand, and how they go on."""

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from lib import auth, http
from lib import sessions as domain


async def recover(request: Request) -> domain.Recovered:
    """Make a timed-out or interrupted session go on, with its history."""
    session_id = http.path_id(request, "session_id")
    caller = await auth.require_reader(request)
    return await domain.recover(caller, session_id)


_serve = http.function("sessions", {"recover": recover})


@functions_framework.aio.http
async def sessions(request: Request) -> Response:
    """The function's entry point."""
    return await _serve(request)
