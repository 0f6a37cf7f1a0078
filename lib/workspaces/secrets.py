"""Secrets of spaces, personas, channels and event subscriptions: given, generated, rotated."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, StringConstraints

from lib.database.management import Database
from lib.fields.models import Body, Empty, Record

Slot = Literal["hmac", "secret", "callback", "verify", "token", "signing"]
"""Which secret: a space's, under which identity tokens and emails are signed; a persona's own; that of its asynchronous
answers; what verifies a channel's deliveries; the token of its provider's API; an event subscription's, under which
deliveries are signed."""

MAX_OVERLAP_SECONDS = 7 * 86_400
"""Seconds for which a replaced secret may stay valid: a week."""


class Rotation(Body):
    """Seconds for which the replaced secret stays valid beside the new one; 0 invalidates all older ones at once."""

    overlap_seconds: int = Field(default=3_600, strict=True, ge=0, le=MAX_OVERLAP_SECONDS)
    """How long the replaced secret stays valid; 0 invalidates all older ones at once."""


class NewSecret(Record):
    """A generated secret; it is shown only in this response."""

    secret: str = Field(repr=False)


class GivenSecret(Body):
    """The secret that a persona or a channel sends with its calls, or that its provider gave. It is a header's value:
    printable ASCII, no blanks around it."""

    secret: Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$", max_length=4_096)] = (
        Field(repr=False)
    )
    """Printable ASCII without blanks around it, sent with the persona's calls."""


async def replace(database: Database, slot: Slot, owner_id: UUID, given: GivenSecret) -> None:
    """Set the secret of a persona or channel."""
    arguments = {"slot": slot, "owner_id": owner_id, "action": "set", "secret": given.secret}
    await database.call("replace_secret", arguments, Empty, repeatable=True)


async def rotate(database: Database, slot: Slot, owner_id: UUID, rotation: Rotation) -> NewSecret:
    """Replace a secret by a generated one. Not retried: each call generates another one."""
    arguments = {"slot": slot, "owner_id": owner_id, "action": "rotate", "overlap_seconds": rotation.overlap_seconds}
    return await database.call("replace_secret", arguments, NewSecret)


async def remove(database: Database, slot: Slot, owner_id: UUID) -> None:
    """Remove the secret of a space or persona, and former ones that are still valid."""
    arguments = {"slot": slot, "owner_id": owner_id, "action": "remove"}
    await database.call("replace_secret", arguments, Empty, repeatable=True)
