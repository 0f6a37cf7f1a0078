"""chat: a message comes in, the persona's answer goes out as a stream; also serves the widget's script."""

from collections.abc import AsyncGenerator

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from lib import errors
from lib.auth import callers, client_info
from lib.chat import protocols, turn_runner, turns
from lib.chat.events import Event, Opened
from lib.database import commands, rate_limits
from lib.database.commands import Rpc
from lib.http import app, read_limits, request_body, sse
from lib.http import widget as widgets
from lib.http.streaming import DRAIN_SECONDS, Stream


async def stream(request: Request) -> Response:
    """Store a message and stream its answer. A repeated client message streams the first answer; a message to a
    taken-over session has none."""
    space_id = app.path_id(request, "space_id")
    protocol = _protocol(request)
    caller = await callers.caller_of(request)
    message = protocol.read(await request_body.read_json(request, limit=protocol.body_limit), caller)
    turn = await turns.start(caller, space_id, message, client_info.of(request))
    headers = rate_limits.headers(turn.limits)
    if turn.repeated or turn.taken_over:
        events = await _followed(request, caller, turn.rpc, await turns.snapshot(turn), turn.opened)
        return Stream(events, drain=False, encoder=protocol.encoder(), headers=headers)
    return Stream(turn_runner.stream_answer(turn), drain=True, encoder=protocol.encoder(), headers=headers)


async def resume(request: Request) -> Response:
    """Stream a turn from a position on: the stored text, then what is added."""
    turn_id = app.path_id(request, "turn_id")
    protocol = _protocol(request)
    caller = await callers.require_reader(request)
    after = _after(request) if protocol.positions else None
    rpc = commands.reading_as(caller)
    state = await turns.resume(rpc, turn_id, after)
    opened = state.opened() if after is None else None
    return Stream(await _followed(request, caller, rpc, state, opened), drain=False, encoder=protocol.encoder())


async def resume_chat(request: Request) -> Response:
    """Stream the active turn of the caller's chat from its beginning; 204 if there is none."""
    space_id, chat_id = app.path_id(request, "space_id"), request.path_params["chat_id"]
    protocol = _protocol(request)
    caller = await callers.caller_of(request)
    if not isinstance(caller, callers.Contact | callers.User):
        return app.nothing()
    rpc = commands.reading_as(caller)
    state = await turns.read_active(rpc, space_id, chat_id)
    if state is None:
        return app.nothing()
    events = await _followed(request, caller, rpc, state, state.opened())
    return Stream(events, drain=False, encoder=protocol.encoder())


async def cancel(request: Request) -> turns.CancelResult:
    """Cancel a turn; its partial text is kept, and a turn that has ended does not change."""
    turn_id = app.path_id(request, "turn_id")
    caller = await callers.require_reader(request)
    return await turns.cancel(caller, turn_id)


async def widget(request: Request) -> Response:
    """The widget's script."""
    return widgets.answer(request)


async def _followed(
    request: Request, caller: callers.Caller, rpc: Rpc, state: turns.TurnState, opened: Opened | None
) -> AsyncGenerator[Event, None]:
    """The events of a turn. One that has ended is sent at once; for others the caller's streams are limited."""
    events = turns.follow(rpc, state, opened)
    if state.status != "active":
        return events
    seconds = turns.FOLLOW_LIMIT_SECONDS + DRAIN_SECONDS
    return await read_limits.opened(events, caller, client_info.of(request).address, seconds)


def _protocol(request: Request) -> protocols.Protocol:
    return protocols.select(request.query_params.get("protocol"), request.headers.getlist("accept"))


def _after(request: Request) -> int | None:
    """The reader's position. Last-Event-ID, which browsers update, takes precedence over ?after=."""
    if (last := sse.position(request.headers.get("last-event-id"))) is not None:
        return last
    if (asked := request.query_params.get("after")) is None:
        return None
    if (position := sse.position(asked)) is None:
        raise errors.InvalidBody([errors.FieldError("after", "must be a number of characters")])
    return position


_serve = app.function(
    "chat",
    {"stream": stream, "resume": resume, "resume_chat": resume_chat, "cancel": cancel, "widget": widget},
)


@functions_framework.aio.http
async def chat(request: Request) -> Response:
    """The function's entry point."""
    return await _serve(request)
