"""Reads: how far a member has read a conversation."""

from datetime import datetime
from uuid import UUID

from lib.auth import callers
from lib.database import commands
from lib.fields.models import Body, Record


class ReadRequest(Body):
    """What was read: all messages up to now, or up to one of them."""

    message_id: UUID | None = None
    """The last message that was shown. A message that comes in meanwhile then stays unread."""


class ReadState(Record):
    """Up to when the member has read the conversation: never less far than before."""

    conversation_id: UUID
    read_at: datetime


async def mark(user: callers.User, conversation_id: UUID, read: ReadRequest) -> ReadState:
    """Mark a conversation as read by the user, a member who sees it.

    Raises Refused: conversation_not_found, message_not_found, user_required (an API key).
    """
    rpc = commands.acting_as(user, callers.Scope.of_caller(user))
    arguments = {"conversation_id": conversation_id, "message_id": read.message_id}
    return await rpc.call("mark_conversation_read", arguments, ReadState, repeatable=True)
