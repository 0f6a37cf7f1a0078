"""Takeovers: a member answers a session instead of its persona, and hands it back."""

from datetime import datetime
from uuid import UUID

from lib.auth import callers
from lib.chat.stopping import until_stopped
from lib.conversations.follow_ups import PostedMessage
from lib.database import commands
from lib.fields.models import Body, Record
from lib.fields.types import Label, Message
from lib.sessions.models import Status


class Takeover(Record):
    """The member who answers (None: the persona) and the assigned member; not ``changed`` if nothing changed."""

    session_id: UUID
    conversation_id: UUID
    status: Status
    taken_over_by: UUID | None
    taken_over_at: datetime | None
    assigned_user_id: UUID | None
    changed: bool


class _TakeoverAttempt(Takeover):
    stopping: bool


class MemberMessage(Body):
    """A message that a member sends instead of the persona."""

    text: Message
    client_message_id: Label | None = None


class Assignment(Body):
    """The member to whom a session is assigned; None unassigns it."""

    user_id: UUID | None


async def take_over(user: callers.User, session_id: UUID) -> Takeover:
    """Take a session over: the user answers instead of the persona. An unassigned session is assigned to the user.

    The persona starts no new turn. A running turn is stopped and its delivered text kept; waits for that for at most 10
    s. Raises Refused: session_not_found, forbidden (its own contact), taken_over (with ``taken_over_by``),
    transition_not_allowed (with ``session_status``).
    """
    rpc = commands.acting_as(user, callers.Scope.of_caller(user))
    changed = False

    async def attempt(_: bool) -> _TakeoverAttempt:
        nonlocal changed
        taken = await rpc.call("take_over_session", {"session_id": session_id}, _TakeoverAttempt, repeatable=True)
        changed = changed or taken.changed
        return taken

    taken = await until_stopped(attempt, lambda taken: taken.stopping)
    return Takeover(**taken.model_dump(exclude={"stopping", "changed"}), changed=changed)


async def hand_back(user: callers.User, session_id: UUID) -> Takeover:
    """Hand a session back to its persona: for the member who took it over, and for owners and admins.

    Raises Refused: session_not_found, forbidden, taken_over (by another member).
    """
    rpc = commands.acting_as(user, callers.Scope.of_caller(user))
    return await rpc.call("hand_back_session", {"session_id": session_id}, Takeover, repeatable=True)


async def say(user: callers.User, session_id: UUID, message: MemberMessage) -> PostedMessage:
    """Send a message of the member who took the session over. A repeated client message returns the first one.

    Raises Refused: session_not_found, forbidden, not_taken_over, taken_over, transition_not_allowed,
    idempotency_key_reused (the id was used for another message).
    """
    rpc = commands.acting_as(user, callers.Scope.of_caller(user))
    arguments = {"session_id": session_id, **message.model_dump()}
    return await rpc.call("say_as_member", arguments, PostedMessage, repeatable=message.client_message_id is not None)


async def assign(user: callers.User, session_id: UUID, assignment: Assignment) -> Takeover:
    """Assign a session to a member (agents see only assigned and own sessions); for owners and admins.

    If an agent who took it over loses access by this, the session is handed back. Raises Refused: session_not_found,
    forbidden, member_not_found.
    """
    rpc = commands.acting_as(user, callers.Scope.of_caller(user))
    arguments = {"session_id": session_id, "user_id": assignment.user_id}
    return await rpc.call("assign_session", arguments, Takeover, repeatable=True)
