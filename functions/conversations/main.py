"""conversations: the messages of a conversation, as a list and as a live stream."""

from typing import Literal
from uuid import UUID

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from lib import config, errors
from lib.auth import callers, client_info
from lib.conversations import history
from lib.conversations import stream as domain
from lib.database import commands
from lib.database.paging import NewestPageRequest, Page
from lib.http import app, read_limits, request_body
from lib.http.streaming import DRAIN_SECONDS, Stream


async def stream(request: Request) -> Response:
    """Stream a conversation's messages from a position on, then new ones."""
    conversation_id = app.path_id(request, "conversation_id")
    caller = await callers.require_reader(request)
    after = _after(request)
    rpc = commands.reading_as(caller)
    part = await domain.read(rpc, conversation_id, after)
    known = after if isinstance(after, UUID) else None
    seconds = config.settings().conversation_stream_seconds + DRAIN_SECONDS
    followed = domain.follow(rpc, conversation_id, part, known)
    events = await read_limits.opened(followed, caller, client_info.of(request).address, seconds)
    return Stream(events, drain=False, encoder=domain.Encoder())


async def list_messages(request: Request) -> Page[history.ConversationMessage]:
    """A page of a conversation's messages, the newest first."""
    conversation_id = app.path_id(request, "conversation_id")
    caller = await callers.require_reader(request)
    page = request_body.read_query(request, NewestPageRequest)
    return await history.read(caller, conversation_id, page)


def _after(request: Request) -> UUID | Literal["latest"] | None:
    """The reader's last message. Last-Event-ID, which browsers update, takes precedence over ?after=."""
    if (last := app.as_id(request.headers.get("last-event-id"))) is not None:
        return last
    if (asked := request.query_params.get("after")) is None:
        return None
    if asked == "latest":
        return "latest"
    if (message_id := app.as_id(asked)) is None:
        raise errors.InvalidBody([errors.FieldError("after", "must be a message's id, or latest")], part="query")
    return message_id


_serve = app.function("conversations", {"stream": stream, "list_messages": list_messages})


@functions_framework.aio.http
async def conversations(request: Request) -> Response:
    """The function's entry point."""
    return await _serve(request)
