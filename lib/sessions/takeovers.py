"""Takeovers: a member answers in a session in the persona's place, and hands it back."""

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
    """Who answers in a session (None: its persona) and who looks after it; not ``changed`` where it stood so before."""

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
    """What a member says in the persona's place."""

    text: Message
    client_message_id: Label | None = None


class Assignment(Body):
    """Who is to look after a session; None: nobody in particular."""

    user_id: UUID | None


async def take_over(user: callers.User, session_id: UUID) -> Takeover:
    """Let the user answer in the session from now on; an unassigned one is assigned to them.

    The persona begins no answer any more. The one under way is stopped, with what was seen of it kept: waits for that
    up to 10 s. Raises Refused: session_not_found, forbidden (its own contact), taken_over (with ``taken_over_by``),
    transition_not_allowed (with ``session_status``).
    """
    rpc = commands.acting_as(user, callers.Scope.at_home(user))
    changed = False

    async def attempt(_: bool) -> _TakeoverAttempt:
        nonlocal changed
        taken = await rpc.call("take_over_session", {"session_id": session_id}, _TakeoverAttempt, repeatable=True)
        changed = changed or taken.changed
        return taken

    taken = await until_stopped(attempt, lambda taken: taken.stopping)
    return Takeover(**taken.model_dump(exclude={"stopping", "changed"}), changed=changed)


async def hand_back(user: callers.User, session_id: UUID) -> Takeover:
    """Let the persona answer again: for the member who took the session over, and for owners and admins.

    Raises Refused: session_not_found, forbidden, taken_over (another member has it).
    """
    rpc = commands.acting_as(user, callers.Scope.at_home(user))
    return await rpc.call("hand_back_session", {"session_id": session_id}, Takeover, repeatable=True)


async def say(user: callers.User, session_id: UUID, message: MemberMessage) -> PostedMessage:
    """Add what the member says who took the session over. The same client message again is the first one.

    Raises Refused: session_not_found, forbidden, not_taken_over, taken_over, transition_not_allowed.
    """
    rpc = commands.acting_as(user, callers.Scope.at_home(user))
    arguments = {"session_id": session_id, **message.model_dump()}
    return await rpc.call("say_as_member", arguments, PostedMessage, repeatable=message.client_message_id is not None)


async def assign(user: callers.User, session_id: UUID, assignment: Assignment) -> Takeover:
    """Have a member look after a session, which agents need to see it; for owners and admins.

    An agent who had taken it over and may no longer work on it hands it back by this. Raises Refused:
    session_not_found, forbidden, member_not_found.
    """
    rpc = commands.acting_as(user, callers.Scope.at_home(user))
    arguments = {"session_id": session_id, "user_id": assignment.user_id}
    return await rpc.call("assign_session", arguments, Takeover, repeatable=True)
