"""Follow-ups: messages of a contact, a member or a persona from outside the chat."""

from datetime import datetime
from typing import Annotated, ClassVar, Literal
from uuid import UUID

from pydantic import AliasChoices, BeforeValidator, Field

from lib.auth import callers
from lib.auth.client_info import ClientInfo
from lib.database import commands
from lib.fields.models import Arrival, FieldWarning, Record
from lib.fields.types import Attributes, Label, Message, in_any_case


def _role(value: object) -> object:
    """A role in any case; ``assistant`` is what other systems call the persona."""
    role = in_any_case(value)
    return "persona" if role == "assistant" else role


class FollowUp(Arrival):
    """A message from outside the chat: its ``text``, also named ``message``, its author and its origin (``source``).

    ``session_id`` selects a session; by default the newest live one is used. ``space_id`` and ``persona_id`` are used
    if a conversation must be opened.
    """

    droppable: ClassVar[frozenset[str]] = frozenset({"metadata"})

    text: Message = Field(validation_alias=AliasChoices("text", "message"))
    role: Annotated[Literal["contact", "member", "persona"], BeforeValidator(_role)]
    source: Label = "follow_up"
    client_message_id: Label | None = None
    metadata: Attributes = Field(default_factory=dict)
    session_id: UUID | None = None
    space_id: UUID | None = None
    persona_id: UUID | None = None


class PostedMessage(Record):
    """A message without a turn; not ``created`` if the client message was stored before.

    ``warnings`` are the fields that were dropped.
    """

    message_id: UUID
    session_id: UUID
    conversation_id: UUID
    role: Literal["contact", "user", "member", "persona"]
    text: str
    created_at: datetime
    created: bool
    warnings: tuple[FieldWarning, ...] | None = None


async def capture(user: callers.User, contact_id: UUID, follow_up: FollowUp, client: ClientInfo) -> PostedMessage:
    """Add a follow-up to the contact's live session, or open a session; no persona answers it.

    A session that was opened by a typed email without proof is used only if it is named or the only one. A repeated
    client message returns the first one. Raises Refused: contact_not_found, session_not_found, space_not_found,
    persona_not_found, persona_required, forbidden (an agent without access to the session), transition_not_allowed (a
    named session that has ended), idempotency_key_reused (the id was used for another message).
    """
    rpc = commands.acting_as(user, callers.Scope.of_caller(user))
    arguments = {"contact_id": contact_id, **follow_up.model_dump(), "client": client.facts()}
    posted = await rpc.call(
        "capture_message", arguments, PostedMessage, repeatable=follow_up.client_message_id is not None
    )
    return posted.model_copy(update={"warnings": follow_up.warnings or None})
