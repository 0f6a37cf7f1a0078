"""Tickets for streams, for callers who can read them; and the cookie that does the same for pages of our own origin."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal, Self
from uuid import UUID

from pydantic import Field, model_validator

from lib import errors
from lib.auth import callers, stream_tickets
from lib.chat import turns
from lib.conversations import stream, workspace_stream
from lib.database import commands
from lib.fields.models import Body, Record
from lib.fields.types import Flag


class TicketRequest(Body):
    """The stream that a ticket is for. ``cookie`` sets the cookie `sid` to the user's token, or removes it."""

    conversation_id: UUID | Literal["current"] | None = None
    turn_id: UUID | None = None
    workspace_id: UUID | None = None
    cookie: Flag | None = None

    @model_validator(mode="after")
    def _names_one_stream(self) -> Self:
        named = [self.conversation_id, self.turn_id, self.workspace_id]
        if len(named) - named.count(None) > 1 or (self.cookie is None and not any(named)):
            raise ValueError("one stream must be named: conversation_id, turn_id or workspace_id")
        return self

    @property
    def path(self) -> str | None:
        """The path of the stream."""
        if self.turn_id is not None:
            return f"/turns/{self.turn_id}/stream"
        if self.workspace_id is not None:
            return f"/workspaces/{self.workspace_id}/stream"
        return None if self.conversation_id is None else f"/conversations/{self.conversation_id}/stream"


class StreamTicket(Record):
    """A ticket opens the stream at ``path`` until ``expires_at``: `GET {path}?sid={ticket}`.

    Both are absent if only the cookie was asked for; ``expires_at`` is then the end of the cookie that was set.
    """

    ticket: str | None = Field(default=None, repr=False)
    path: str | None = None
    expires_at: datetime | None = None


async def issue(caller: callers.Contact | callers.User, asked: TicketRequest) -> StreamTicket:
    """A ticket for the stream that is named.

    Raises Refused, as the stream itself (conversation_not_found, turn_not_found, workspace_not_found), and Forbidden
    for a contact that asks for what is for users, and for an API key that asks for a cookie.
    """
    for_users = asked.cookie is not None or asked.workspace_id is not None or asked.conversation_id == "current"
    if for_users and not isinstance(caller, callers.User):
        raise errors.Forbidden()
    if asked.cookie and isinstance(caller, callers.ApiKey):
        raise errors.Forbidden()
    if asked.path is None:
        return StreamTicket(expires_at=datetime.fromtimestamp(caller.expires_at, UTC) if asked.cookie else None)
    rpc = commands.reading_as(caller)
    if asked.turn_id is not None:
        await turns.read(rpc, asked.turn_id)
    elif asked.workspace_id is not None and isinstance(caller, callers.User):
        await workspace_stream.read(caller, asked.workspace_id, None)
    elif asked.conversation_id == "current" and isinstance(caller, callers.User):
        await stream.current(caller)
    elif isinstance(asked.conversation_id, UUID):
        await stream.read(rpc, asked.conversation_id, "latest")
    signed = stream_tickets.issue(caller, asked.path)
    return StreamTicket(ticket=signed.token, path=asked.path, expires_at=signed.expires_at)


def cookie(caller: callers.Contact | callers.User, asked: TicketRequest, *, secure: bool) -> Mapping[str, str]:
    """The header that sets the cookie, removes it, or neither. Scripts cannot read it, and it ends with the token."""
    if asked.cookie is None:
        return {}
    value, seconds = (caller.token, int(caller.expires_at - time.time())) if asked.cookie else ("", 0)
    attributes = "; Path=/; HttpOnly; SameSite=Lax" + ("; Secure" if secure else "")
    return {"Set-Cookie": f"{callers.COOKIE}={value}; Max-Age={seconds}{attributes}"}
