"""Messages that come by another way than the chat: what a contact or a member said elsewhere."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from lib.auth import callers
from lib.auth.client_info import ClientInfo
from lib.database import commands
from lib.fields.models import Body, Record
from lib.fields.types import Attributes, Label, Message


class FollowUp(Body):
    """What was said elsewhere, by whom and where (``source``).

    ``session_id`` names the session that it belongs to; without it that is found. ``space_id`` and ``persona_id`` are
    for a contact with whom a conversation has to be opened.
    """

    text: Message
    role: Literal["contact", "member"]
    source: Label
    client_message_id: Label | None = None
    metadata: Attributes = Field(default_factory=dict)
    session_id: UUID | None = None
    space_id: UUID | None = None
    persona_id: UUID | None = None


class PostedMessage(Record):
    """A message without a turn; not ``created`` where the same client message had been taken in before."""

    message_id: UUID
    session_id: UUID
    conversation_id: UUID
    role: Literal["contact", "user", "member"]
    text: str
    created_at: datetime
    created: bool


async def capture(user: callers.User, contact_id: UUID, follow_up: FollowUp, client: ClientInfo) -> PostedMessage:
    """Add a follow-up to the contact's live session, or open one; no persona answers it.

    What somebody opened by typing the contact's email is passed over, unless it is named or all there is. The same
    client message again is the first one. Raises Refused: contact_not_found, session_not_found, space_not_found,
    persona_not_found, persona_required, forbidden (an agent to whom the session is not assigned),
    transition_not_allowed (a named session that has ended).
    """
    rpc = commands.acting_as(user, callers.Scope.at_home(user))
    arguments = {"contact_id": contact_id, **follow_up.model_dump(), "client": client.facts()}
    return await rpc.call(
        "capture_message", arguments, PostedMessage, repeatable=follow_up.client_message_id is not None
    )
