"""chat: a message comes in, the persona's answer goes out as a stream; also serves the widget's script and look."""

from collections.abc import AsyncGenerator, Mapping
from uuid import UUID

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from lib import errors
from lib.auth import callers, client_info
from lib.chat import protocols, turn_runner, turns, whole_answer
from lib.chat.events import Event, Opened
from lib.database import commands, rate_limits
from lib.database.commands import Rpc
from lib.http import app, read_limits, request_body, sse
from lib.http import widget as widgets
from lib.http.streaming import DRAIN_SECONDS, Stream
from lib.workspaces import looks


async def stream(request: Request) -> Response:
    """Store a message in a space and stream its answer."""
    return await _stream_in_space(request, "space_id")


async def stream_on_landing(request: Request) -> Response:
    """The same on a landing page."""
    return await _stream_in_space(request, "app_id")


async def ask_persona(request: Request) -> Response:
    """Store a member's own message to a persona and stream its answer."""
    persona_id, protocol = app.path_id(request, "persona_id"), _protocol(request)
    caller = await callers.require_user(request)
    message = protocol.read(await request_body.read_json(request, limit=protocol.body_limit), caller)
    if message.persona_id not in (None, persona_id):
        raise errors.InvalidBody([errors.FieldError("persona_id", "must be the persona in the path")])
    return await _begin(request, protocol, caller, None, message.model_copy(update={"persona_id": persona_id}))


async def _stream_in_space(request: Request, id_name: str) -> Response:
    space_id, protocol = app.path_id(request, id_name), _protocol(request)
    caller = await callers.caller_of(request)
    message = protocol.read(await request_body.read_json(request, limit=protocol.body_limit), caller)
    return await _begin(request, protocol, caller, space_id, message)


async def _begin(
    request: Request,
    protocol: protocols.Protocol,
    caller: callers.Caller,
    space_id: UUID | None,
    message: turns.ChatMessage,
) -> Response:
    """Store a message, or find it, and answer it."""
    begin = turns.regenerate if message.regenerate else turns.start
    turn = await begin(caller, space_id, message, client_info.of(request))
    return await _answer(request, protocol, caller, turn)


async def _answer(request: Request, protocol: protocols.Protocol, caller: callers.Caller, turn: turns.Turn) -> Response:
    """The answer of a turn: this process answers a new one, and follows one that was there before. A message to a
    taken-over session has none."""
    headers = rate_limits.headers(turn.limits)
    if turn.repeated or turn.taken_over:
        events = await _followed(request, caller, turn.rpc, await turns.snapshot(turn), turn.opened)
        return await _sent(protocol, turn.opened, events, drain=False, headers=headers)
    return await _sent(protocol, turn.opened, turn_runner.stream_answer(turn), drain=True, headers=headers)


async def _sent(
    protocol: protocols.Protocol,
    opened: Opened,
    events: AsyncGenerator[Event, None],
    *,
    drain: bool,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The events as a stream, or as one document once the answer is complete."""
    if protocol.encoder is None:
        return app.ok(await whole_answer.collect(opened, events), headers)
    return Stream(events, drain=drain, encoder=protocol.encoder(), headers=headers)


async def resume(request: Request) -> Response:
    """Stream a turn from a position on: the stored text, then what is added."""
    turn_id = app.path_id(request, "turn_id")
    protocol = _protocol(request)
    caller = await callers.require_reader(request)
    after = _after(request) if protocol.positions else None
    rpc = commands.reading_as(caller)
    state = await turns.resume(rpc, turn_id, after)
    opened = state.opened() if after is None else None
    events = await _followed(request, caller, rpc, state, opened)
    return await _sent(protocol, state.opened(), events, drain=False)


async def resume_chat(request: Request) -> Response:
    """Stream the active turn of the caller's chat from its beginning; 204 if there is none."""
    return await _resume_chat(request, "space_id")


async def resume_chat_on_landing(request: Request) -> Response:
    """The same on a landing page."""
    return await _resume_chat(request, "app_id")


async def _resume_chat(request: Request, id_name: str) -> Response:
    space_id, chat_id = app.path_id(request, id_name), request.path_params["chat_id"]
    protocol = _protocol(request)
    caller = await callers.caller_of(request)
    if not isinstance(caller, callers.Contact | callers.User):
        return app.nothing()
    rpc = commands.reading_as(caller)
    state = await turns.read_active(rpc, space_id, chat_id)
    if state is None:
        return app.nothing()
    events = await _followed(request, caller, rpc, state, state.opened())
    return await _sent(protocol, state.opened(), events, drain=False)


async def cancel(request: Request) -> turns.CancelResult:
    """Cancel a turn; its partial text is kept, and a turn that has ended does not change."""
    turn_id = app.path_id(request, "turn_id")
    caller = await callers.require_reader(request)
    await request_body.refuse_members(request)
    return await turns.cancel(caller, turn_id)


async def retry(request: Request) -> Response:
    """Answer the message of a failed turn anew and stream the answer; a repeat streams the same retry."""
    turn_id = app.path_id(request, "turn_id")
    protocol = _protocol(request)
    caller = await callers.require_reader(request)
    await request_body.refuse_members(request)
    turn = await turns.retry(caller, turn_id, client_info.of(request))
    return await _answer(request, protocol, caller, turn)


async def look(request: Request) -> Response:
    """How the widget looks in a space."""
    shown = await looks.read(app.path_id(request, "space_id"))
    return app.cached(request, shown, looks.FRESH_SECONDS)


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
        raise errors.InvalidBody([errors.FieldError("after", "must be a number of characters")], part="query")
    return position


_HANDLERS = (
    stream, stream_on_landing, ask_persona, resume, resume_chat, resume_chat_on_landing, cancel, retry, look, widget,
)  # fmt: skip

# A handler has the name of its route.
_serve = app.function("chat", {handler.__name__: handler for handler in _HANDLERS})


@functions_framework.aio.http
async def chat(request: Request) -> Response:
    """The function's entry point."""
    return await _serve(request)
