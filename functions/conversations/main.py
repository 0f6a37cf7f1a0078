"""conversations: the messages of a conversation, as a list and as a live stream."""

from typing import Annotated
from uuid import UUID

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from lib import config
from lib.auth import client_info
from lib.auth.callers import Contact, User
from lib.conversations import history
from lib.conversations import stream as domain
from lib.database import commands
from lib.database.paging import NewestPageRequest, Page
from lib.devices import session_links
from lib.http import app, read_limits
from lib.http.binding import Header
from lib.http.streaming import DRAIN_SECONDS, Stream


async def stream_conversation(
    request: Request,
    caller: Contact | User,
    conversation_id: UUID,
    asked: domain.StreamQuery,
    last_event_id: Annotated[str | None, Header()],
) -> Stream[domain.Event]:
    """Stream a conversation's messages from a position on, then new ones."""
    # Last-Event-ID, which browsers update, takes precedence over ?after=.
    after = app.as_id(last_event_id) or asked.after
    rpc = commands.reading_as(caller)
    part = await domain.read(rpc, conversation_id, after)
    known = after if isinstance(after, UUID) else None
    seconds = config.settings().conversation_stream_seconds + DRAIN_SECONDS
    followed = domain.follow(rpc, conversation_id, part, known)
    events = await read_limits.opened(followed, caller, client_info.of(request).address, seconds)
    return Stream(events, drain=False, encoder=domain.Encoder())


async def list_messages(
    caller: Contact | User, conversation_id: UUID, page: NewestPageRequest
) -> Page[history.ConversationMessage]:
    """A page of a conversation's messages, the newest first."""
    return await history.read(caller, conversation_id, page)


async def link_session(user: User, wanted: session_links.SessionToLink) -> session_links.LinkedSession:
    """Link a device session to the user."""
    return await session_links.link(user, wanted)


_HANDLERS = (stream_conversation, list_messages, link_session)

# A handler has the name of its route.
_serve = app.function("conversations", {handler.__name__: handler for handler in _HANDLERS})


@functions_framework.aio.http
async def conversations(request: Request) -> Response:
    """The function's entry point."""
    return await _serve(request)
