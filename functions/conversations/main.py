"""conversations: messages as lists and live streams, changes of a workspace's sessions as a live stream."""

from collections.abc import AsyncGenerator
from typing import Annotated, TypeVar
from uuid import UUID

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from lib import config
from lib.auth import client_info
from lib.auth.callers import Contact, User
from lib.conversations import history, presence, reads, tickets, workspace_stream
from lib.conversations import stream as domain
from lib.database.paging import NewestPageRequest
from lib.devices import session_links
from lib.http import app, read_limits, sse
from lib.http.binding import OPTIONAL, Header
from lib.http.streaming import DRAIN_SECONDS, Stream

Event = TypeVar("Event")


async def stream_conversation(
    request: Request,
    caller: Contact | User,
    conversation_id: UUID,
    asked: domain.StreamQuery,
    last_event_id: Annotated[str | None, Header()],
) -> Annotated[Stream[domain.Event], domain.Encoder]:
    """Stream a conversation's messages from a position on, then new ones, and the answer under way."""
    after = asked.position(last_event_id)
    events = await domain.open_conversation(caller, conversation_id, after)
    return await _counted(request, caller, events, domain.Encoder())


async def stream_current_conversation(
    request: Request, user: User, asked: domain.StreamQuery, last_event_id: Annotated[str | None, Header()]
) -> Annotated[Stream[domain.Event], domain.Encoder]:
    """Stream the user's current conversation, whichever that is."""
    events = await domain.open_current(user, asked.position(last_event_id))
    return await _counted(request, user, events, domain.Encoder())


async def stream_workspace(
    request: Request,
    user: User,
    workspace_id: UUID,
    asked: workspace_stream.StreamQuery,
    last_event_id: Annotated[str | None, Header()],
) -> Annotated[Stream[workspace_stream.Event], workspace_stream.Encoder]:
    """Stream the changes of the sessions in a member's lists."""
    events = await workspace_stream.open_workspace(user, workspace_id, asked.position(last_event_id))
    return await _counted(request, user, events, workspace_stream.Encoder())


async def _counted(
    request: Request,
    caller: Contact | User,
    events: AsyncGenerator[Event, None],
    encoder: sse.Encoder[Event | sse.StreamBroken],
) -> Stream[Event]:
    """The stream, which counts among those of the caller and the address."""
    seconds = config.settings().conversation_stream_seconds + DRAIN_SECONDS
    counted = await read_limits.opened(events, caller, client_info.of(request).address, seconds)
    return Stream(counted, drain=False, encoder=encoder)


async def list_messages(caller: Contact | User, conversation_id: UUID, page: NewestPageRequest) -> history.MessagePage:
    """A page of a conversation's messages, the newest first."""
    return await history.read(caller, conversation_id, page)


async def mark_read(user: User, conversation_id: UUID, read: reads.ReadRequest = OPTIONAL) -> reads.ReadState:
    """Mark a conversation as read by the member, up to a message or to now."""
    return await reads.mark(user, conversation_id, read)


async def tell_presence(user: User, conversation_id: UUID, told: presence.PresenceRequest) -> presence.Presence:
    """Tell the other members that the member has the conversation open, and whether they are typing."""
    return await presence.tell(user, conversation_id, told)


async def link_session(user: User, wanted: session_links.SessionToLink) -> session_links.LinkedSession:
    """Link a device session to the user."""
    return await session_links.link(user, wanted)


async def read_current_conversation(user: User) -> history.CurrentConversation:
    """The user's own conversation with the newest message, and its newest messages."""
    return await history.read_current(user)


async def issue_stream_ticket(
    request: Request, caller: Contact | User, asked: tickets.TicketRequest
) -> app.Created[tickets.StreamTicket]:
    """Issue a ticket for a stream, set the cookie that opens the streams of a user, or remove it."""
    issued = await tickets.issue(caller, asked)
    is_local = request.url.hostname in ("127.0.0.1", "localhost", "::1")
    return app.Created(issued, tickets.cookie(caller, asked, secure=not is_local))


_HANDLERS = (
    stream_conversation, stream_current_conversation, stream_workspace, list_messages, mark_read, tell_presence,
    read_current_conversation, issue_stream_ticket, link_session,
)  # fmt: skip

# A handler has the name of its route.
_serve = app.function("conversations", {handler.__name__: handler for handler in _HANDLERS})


@functions_framework.aio.http
async def conversations(request: Request) -> Response:
    """The function's entry point."""
    return await _serve(request)
