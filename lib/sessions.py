"""Sessions: the episodes of a conversation, and how they go on."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from lib import auth, db
from lib.personas import Role
from lib.turns import Status


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class Said(_Model):
    """A message of the conversation; ``partial``: an answer that stopped before its end."""

    id: UUID
    turn_id: UUID | None
    role: Role
    text: str
    partial: bool
    created_at: datetime


class LastTurn(_Model):
    """The session's last message and how its answer stands."""

    turn_id: UUID
    status: Status
    error_code: str | None
    client_message_id: str | None


class Recovered(_Model):
    """A session that goes on: the conversation's last 200 messages, oldest first, and where it broke off.

    ``changed``: it had timed out, or its answer was interrupted, until now.
    """

    session_id: UUID
    conversation_id: UUID
    status: str
    changed: bool
    messages: tuple[Said, ...]
    last_turn: LastTurn | None


async def recover(caller: auth.Contact | auth.User, session_id: UUID) -> Recovered:
    """Make a timed-out session active again, and end an answer that nobody gives any more; one that lives is only read.

    Raises Refused: session_not_found for one that the caller may not see, transition_not_allowed with its state
    (``session_status``) for one that has ended otherwise or whose conversation lives on in another.
    """
    rpc = db.acting_as(caller, auth.Scope.at_home(caller))
    return await rpc.call("recover_session", {"session_id": session_id}, Recovered, repeatable=True)
