"""Links between a device session and its user, made with a claim code, or with the bare id if it cannot be guessed."""

import hashlib
import re
from datetime import datetime
from typing import Literal, Self
from uuid import UUID

from pydantic import AliasChoices, Field, SecretStr, model_validator

from lib.auth import callers
from lib.database import commands
from lib.fields.models import Body, Record
from lib.fields.types import Label

_MISREAD = str.maketrans("OIL", "011")
_RANDOM_HEX = re.compile(
    r"[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}|[0-9a-f]{40,}", re.IGNORECASE
)
_RANDOM_TEXT = re.compile(r"(?=.*[A-Z].*[A-Z])(?=.*[a-z].*[a-z])(?=.*[0-9].*[0-9])[A-Za-z0-9_-]{22,}")


class SessionToLink(Body):
    """The session to link: its ``claim_code``, or the ``session_id`` that the device sends."""

    session_id: Label | None = None
    claim_code: SecretStr | None = Field(default=None, max_length=100)

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.session_id is None) == (self.claim_code is None):
            raise ValueError("either session_id or claim_code must be given")
        return self


class DeviceSession(Record):
    """A device session. ``session_id`` is the id that the device sends; ``conversation_id`` has the transcript."""

    id: UUID
    workspace_id: UUID
    provider: str
    session_id: str = Field(validation_alias=AliasChoices("external_id", "session_id"))
    uid: str | None
    user_id: UUID | None
    linked_with: Literal["uid", "session_id", "claim_code", "member"] | None
    linked_at: datetime | None
    conversation_id: UUID | None
    created_at: datetime
    last_segment_at: datetime | None
    closed_at: datetime | None


class LinkedSession(Record):
    """The linked session."""

    ok: Literal[True] = True
    session: DeviceSession


async def link(user: callers.User, wanted: SessionToLink) -> LinkedSession:
    """Attach a session to the user; a repeat by the same user changes nothing.

    Raises Refused: device_session_not_found, claim_code_required (the id can be guessed or is a device's uid),
    device_session_linked (to another user; only a claim code transfers it), rate_limited (ten attempts a minute).
    """
    code = wanted.claim_code and wanted.claim_code.get_secret_value()
    arguments = {
        "external_id": wanted.session_id,
        "claim_hash": code and hash_claim_code(code),
        "unguessable": wanted.session_id is not None and is_unguessable(wanted.session_id),
    }
    rpc = commands.acting_as(user, callers.Scope.of_caller(user))
    return LinkedSession(session=await rpc.call("link_device_session", arguments, DeviceSession, repeatable=True))


def is_unguessable(session_id: str) -> bool:
    """Whether an id is random beyond doubt: it contains a random UUID (version 4), 40 hexadecimal digits, or 22
    characters of base 64 with letters of both cases and digits. Anything else may be a counter or a time."""
    found = _RANDOM_HEX.search(session_id) or _RANDOM_TEXT.fullmatch(session_id)
    return found is not None and len(set(found[0].lower())) >= 8


def hash_claim_code(claim_code: str) -> str:
    """The hash under which a claim code is stored: of its letters and digits, in any case, misread ones corrected."""
    typed = re.sub(r"[^0-9A-Z]", "", claim_code.upper()).translate(_MISREAD)
    return hashlib.sha256(typed.encode()).hexdigest()
