"""Looks: what the embedded chat shows in a space, beyond what the page's script tag sets."""

from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field

from lib.auth import callers
from lib.database import commands
from lib.fields.models import Body, Record
from lib.fields.types import DisplayName, storable

LOOK_BYTES = 32_768
"""Most bytes of a look as JSON: every page of the customer loads it."""

FRESH_SECONDS = 300
"""How long browsers keep a look, as they keep the widget's script."""

LabelName = Annotated[str, Field(pattern=r"^[a-zA-Z]{1,40}$")]
LabelText = Annotated[str, Field(max_length=1_000), AfterValidator(storable)]
LanguageTag = Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[a-z0-9]{2,8}){0,3}$")]
"""A language in lower case, such as de or pt-br."""


class Wording(Body):
    """Words of the chat that replace its own (docs/widget.md), and texts that a visitor may send with one click."""

    labels: dict[LabelName, LabelText] | None = Field(default=None, max_length=100)
    quick_replies: tuple[DisplayName, ...] | None = Field(default=None, max_length=10)


class Look(Wording):
    """The wording for every visitor, and for pages in certain languages."""

    languages: dict[LanguageTag, Wording] | None = Field(default=None, max_length=50)


def _bounded(look: Look) -> Look:
    if len(look.model_dump_json(exclude_unset=True).encode()) > LOOK_BYTES:
        raise ValueError(f"must not have more than {LOOK_BYTES:,} bytes of JSON")
    return look


BoundedLook = Annotated[Look, AfterValidator(_bounded)]


class ShownPersona(Record):
    """The persona that answers in a space, as its visitors see it; the picture is a data URL."""

    name: str
    picture: str | None = None


class ShownLook(Look):
    """The look of a space as its pages read it."""

    persona: ShownPersona


async def read(space_id: UUID) -> ShownLook:
    """How the chat looks in a space. Raises Refused (space_not_found) and BackendUnavailable."""
    rpc = commands.acting_as(callers.Anonymous(), callers.Scope(space_id=space_id))
    return await rpc.call("space_look", {"space_id": space_id}, ShownLook, repeatable=True)
