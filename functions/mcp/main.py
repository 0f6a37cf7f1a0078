"""mcp: the Model Context Protocol, for programs with language models."""

from http import HTTPStatus
from typing import Annotated

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from lib import errors
from lib.auth import client_info
from lib.auth.callers import Caller, User
from lib.http import app, read_limits, request_body
from lib.http.binding import ReadBy
from lib.http.forwarded import ForwardedResponse
from lib.mcp import messages
from lib.mcp.messages import RpcMessage


async def _read(request: Request, _: Caller) -> RpcMessage:
    try:
        return request_body.validate(RpcMessage, await request_body.read_json(request, limit=request_body.JSON_LIMIT))
    except errors.Problem as problem:
        problem.extra |= messages.refusal(problem)
        raise


async def call_tools(
    request: Request, caller: User, message: Annotated[RpcMessage, ReadBy(_read)]
) -> Annotated[Response, "application/json", HTTPStatus.ACCEPTED]:
    """Answer a message of the Model Context Protocol: list the tools, or call one; 202 for a notification.

    JSON-RPC over streamable HTTP, in all versions of the protocol, without sessions (docs/mcp.md). Each message counts
    as a read.
    """
    from lib.mcp import server  # noqa: PLC0415 (a second of imports, which the other functions of a process do without)

    headers = await read_limits.count(caller)
    streams = "text/event-stream" in ",".join(request.headers.getlist("accept")).lower()
    answer = server.application(caller, client_info.of(request), streams=streams)
    return ForwardedResponse(answer, message.content(), headers)


_serve = app.function("mcp", {"call_tools": call_tools})


@functions_framework.aio.http
async def mcp(request: Request) -> Response:
    """The function's entry point."""
    return await _serve(request)
