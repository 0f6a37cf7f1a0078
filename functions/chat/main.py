"""chat: a message goes in, the persona's answer comes out as a stream; and the script that a page chats with."""

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from lib import answering, auth, clients, db, errors, http, limits, protocols, sse, turns
from lib import widget as widgets
from lib.stream import Stream


async def stream(request: Request) -> Response:
    """Take a message in and stream its answer; the same client message again follows the first answer, and one to a
    session that a member took over has none."""
    space_id = http.path_id(request, "space_id")
    protocol = protocols.of(request)
    caller = await auth.caller_of(request)
    message = await protocol.read(request, caller)
    turn = await turns.start(caller, space_id, message, clients.of(request))
    headers = limits.headers(turn.limits)
    if turn.repeated or turn.taken_over:
        events = turns.follow(turn.rpc, await turns.stand(turn), turn.opened)
        return Stream(events, drain=False, encoder=protocol.encoder(), headers=headers)
    return Stream(answering.stream_answer(turn), drain=True, encoder=protocol.encoder(), headers=headers)


async def resume(request: Request) -> Response:
    """Stream a turn again from a position on: what is stored at once, then as it goes on."""
    turn_id = http.path_id(request, "turn_id")
    protocol = protocols.of(request)
    caller = await auth.require_reader(request)
    after = _after(request) if protocol.positions else None
    rpc = db.reading_as(caller)
    state = await turns.resume(rpc, turn_id, after)
    opened = state.opened() if after is None else None
    return Stream(turns.follow(rpc, state, opened), drain=False, encoder=protocol.encoder())


async def resume_chat(request: Request) -> Response:
    """Stream the turn under way in the caller's chat from its beginning; 204 where none is."""
    space_id, chat_id = http.path_id(request, "space_id"), request.path_params["chat_id"]
    protocol = protocols.of(request)
    caller = await auth.caller_of(request)
    if not isinstance(caller, auth.Contact | auth.User):
        return http.nothing()
    rpc = db.reading_as(caller)
    state = await turns.read_active(rpc, space_id, chat_id)
    if state is None:
        return http.nothing()
    return Stream(turns.follow(rpc, state, state.opened()), drain=False, encoder=protocol.encoder())


async def cancel(request: Request) -> turns.Stopped:
    """Stop an answer; what was said is kept, and a turn that has ended stays as it is."""
    turn_id = http.path_id(request, "turn_id")
    caller = await auth.require_reader(request)
    return await turns.cancel(caller, turn_id)


async def widget(request: Request) -> Response:
    """The script that a page embeds."""
    return widgets.answer(request)


def _after(request: Request) -> int | None:
    """The reader's position. Last-Event-ID, which a browser keeps up to date, comes before ?after=."""
    if (last := sse.position(request.headers.get("last-event-id"))) is not None:
        return last
    if (asked := request.query_params.get("after")) is None:
        return None
    if (position := sse.position(asked)) is None:
        raise errors.InvalidBody([errors.FieldError("after", "must be a number of characters")])
    return position


_serve = http.function(
    "chat",
    {"stream": stream, "resume": resume, "resume_chat": resume_chat, "cancel": cancel, "widget": widget},
)


@functions_framework.aio.http
async def chat(request: Request) -> Response:
    """The function's entry point."""
    return await _serve(request)
