"""chat: a message comes in, the persona's answer goes out as a stream; also serves the widget and the reference."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from typing import Annotated
from uuid import UUID

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from lib import errors
from lib.auth import client_info
from lib.auth.callers import Caller, Contact, User
from lib.chat import ag_ui, ai_sdk, protocols, turn_runner, turns, whole_answer
from lib.chat.events import Event, Opened, ServerSentEvents
from lib.database import commands, rate_limits
from lib.database.commands import Rpc
from lib.http import app, read_limits, request_body, sse, static_files
from lib.http.app import Ok
from lib.http.binding import Header, Query, ReadBy
from lib.http.streaming import DRAIN_SECONDS, Stream
from lib.memory import turn_recall
from lib.workspaces import looks


async def _message(request: Request, caller: Caller) -> turns.ChatMessage:
    protocol = _protocol(request)
    return protocol.read(await request_body.read_json(request, limit=protocol.body_limit), caller)


Asked = Annotated[protocols.StreamQuery, Query()]
Message = Annotated[turns.ChatMessage, ReadBy(_message)]
Answer = Annotated[Stream[Event], ServerSentEvents, ai_sdk.Encoder, ag_ui.Encoder] | Ok[whole_answer.Answer]


async def stream_chat(request: Request, caller: Caller, space_id: UUID, _: Asked, message: Message) -> Answer:
    """Store a message in a space and stream its answer."""
    return await _begin(request, caller, space_id, message)


async def stream_chat_on_landing(request: Request, caller: Caller, app_id: UUID, _: Asked, message: Message) -> Answer:
    """Store a message on a landing page and stream its answer."""
    return await _begin(request, caller, app_id, message)


async def ask_persona(request: Request, caller: User, persona_id: UUID, _: Asked, message: Message) -> Answer:
    """Store a member's own message to a persona and stream its answer."""
    if message.persona_id not in (None, persona_id):
        raise errors.InvalidBody([errors.FieldError("persona_id", "must be the persona in the path")])
    return await _begin(request, caller, None, message.model_copy(update={"persona_id": persona_id}))


async def _begin(request: Request, caller: Caller, space_id: UUID | None, message: turns.ChatMessage) -> Answer:
    """Store a message, or find it, and answer it."""
    begin = turns.regenerate if message.regenerate else turns.start
    vector = turn_recall.embed_early(caller, space_id or message.persona_id, message.message)
    turn = await begin(caller, space_id, message, client_info.of(request))
    return await _answer(request, caller, replace(turn, vector=vector), message)


async def _answer(
    request: Request, caller: Caller, turn: turns.Turn, message: turns.ChatMessage | None = None
) -> Answer:
    """The answer of a turn: this process answers a new one, and follows one that was there before. A message to a
    taken-over session has none."""
    headers = rate_limits.headers(turn.limits)
    if turn.repeated or turn.taken_over:
        events = await _followed(request, caller, turn.rpc, await turns.snapshot(turn), turn.opened)
        return await _sent(request, turn.opened, events, message, drain=False, headers=headers)
    return await _sent(request, turn.opened, turn_runner.stream_answer(turn), message, drain=True, headers=headers)


async def _sent(
    request: Request,
    opened: Opened,
    events: AsyncGenerator[Event, None],
    message: turns.ChatMessage | None = None,
    *,
    drain: bool,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """The events as a stream, or as one document once the answer is complete."""
    protocol = _protocol(request)
    if protocol.encoder is None:
        return Ok(await whole_answer.collect(opened, events), headers or {})
    return Stream(events, drain=drain, encoder=protocol.encoder(opened, message), headers=headers)


async def resume_turn(
    request: Request,
    caller: Contact | User,
    turn_id: UUID,
    asked: protocols.ResumeQuery,
    last_event_id: Annotated[str | None, Header()],
) -> Answer | None:
    """Stream a turn from a position on: the stored text, then what is added; 204 after its last event."""
    # Last-Event-ID, which browsers update, takes precedence over ?after=.
    last = sse.position(last_event_id)
    after = (asked.after if last is None else last) if _protocol(request).positions else None
    rpc = commands.reading_as(caller)
    state = await turns.resume(rpc, turn_id, after)
    if state.is_read_to_its_end(after):
        # With this a browser's EventSource stops reconnecting.
        return None
    opened = state.opened() if after is None else None
    events = await _followed(request, caller, rpc, state, opened)
    return await _sent(request, state.opened(), events, drain=False)


async def resume_chat(
    request: Request, caller: Caller, space_id: UUID, chat_id: str, _: protocols.StreamQuery
) -> Answer | None:
    """Stream the active turn of the caller's chat from its beginning; 204 if there is none."""
    return await _resume_chat(request, caller, space_id, chat_id)


async def resume_chat_on_landing(
    request: Request, caller: Caller, app_id: UUID, chat_id: str, _: protocols.StreamQuery
) -> Answer | None:
    """Stream the active turn of the caller's chat on a landing page from its beginning; 204 if there is none."""
    return await _resume_chat(request, caller, app_id, chat_id)


async def _resume_chat(request: Request, caller: Caller, space_id: UUID, chat_id: str) -> Answer | None:
    if not isinstance(caller, Contact | User):
        return None
    rpc = commands.reading_as(caller)
    state = await turns.read_active(rpc, space_id, chat_id)
    if state is None:
        return None
    events = await _followed(request, caller, rpc, state, state.opened())
    return await _sent(request, state.opened(), events, drain=False)


async def cancel_turn(caller: Contact | User, turn_id: UUID) -> turns.CancelResult:
    """Cancel a turn; its partial text is kept, and a turn that has ended does not change."""
    return await turns.cancel(caller, turn_id)


async def retry_turn(request: Request, caller: Contact | User, turn_id: UUID, _: Asked) -> Answer:
    """Answer the message of a failed turn anew and stream the answer; a repeat streams the same retry."""
    turn = await turns.retry(caller, turn_id, client_info.of(request))
    return await _answer(request, caller, turn)


async def look(request: Request, space_id: UUID) -> Ok[looks.ShownLook]:
    """How the widget looks in a space."""
    return app.cached(request, await looks.read(space_id), looks.FRESH_SECONDS)


async def widget(request: Request) -> Annotated[Response, "text/javascript"]:
    """The widget's script."""
    return static_files.WIDGET.answer(request)


async def read_description(request: Request) -> Annotated[Response, "application/json"]:
    """This description."""
    return static_files.DESCRIPTION.answer(request)


async def read_reference(request: Request) -> Annotated[Response, "text/html"]:
    """The page that shows the description."""
    return static_files.reference_page()


async def read_reference_file(request: Request, file: str) -> Annotated[Response, "*/*"]:
    """The script and the styles of the page that shows the description."""
    if file not in static_files.REFERENCE:
        raise errors.NotFound()
    return static_files.REFERENCE[file].answer(request)


async def _followed(
    request: Request, caller: Caller, rpc: Rpc, state: turns.TurnState, opened: Opened | None
) -> AsyncGenerator[Event, None]:
    """The events of a turn. One that has ended is sent at once; for others the caller's streams are limited."""
    events = turns.follow(rpc, state, opened)
    if state.status != "active":
        return events
    seconds = turns.FOLLOW_LIMIT_SECONDS + DRAIN_SECONDS
    return await read_limits.opened(events, caller, client_info.of(request).address, seconds)


def _protocol(request: Request) -> protocols.Protocol:
    return protocols.select(request.query_params.get("protocol"), request.headers.getlist("accept"))


_HANDLERS = (
    stream_chat, stream_chat_on_landing, ask_persona, resume_turn, resume_chat, resume_chat_on_landing,
    cancel_turn, retry_turn, look, widget, read_description, read_reference, read_reference_file,
)  # fmt: skip

# A handler has the name of its route.
_serve = app.function("chat", {handler.__name__: handler for handler in _HANDLERS})


@functions_framework.aio.http
async def chat(request: Request) -> Response:
    """The function's entry point."""
    return await _serve(request)
