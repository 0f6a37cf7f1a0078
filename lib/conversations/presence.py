"""Presence: which members have a conversation open, and who of them is typing."""

from uuid import UUID

from lib.auth import callers
from lib.conversations.hub import PresentMember
from lib.database import commands
from lib.fields.models import Body, Record
from lib.fields.types import Flag


class PresenceRequest(Body):
    """That the member has the conversation open, for 30 seconds. A page repeats it while that is so."""

    typing: Flag
    """Whether the member is typing an answer."""
    present: Flag = True
    """``false``: the member has left the conversation."""


class Presence(Record):
    """The members who have the conversation open, the caller among them."""

    conversation_id: UUID
    members: tuple[PresentMember, ...]


async def tell(user: callers.User, conversation_id: UUID, told: PresenceRequest) -> Presence:
    """Tell the members who follow the conversation's stream that the user is there.

    Raises Refused: conversation_not_found, user_required (an API key).
    """
    rpc = commands.acting_as(user, callers.Scope.of_caller(user))
    arguments = {"conversation_id": conversation_id, "present": told.present, "typing": told.typing}
    return await rpc.call("set_presence", arguments, Presence, repeatable=True)
