"""Secrets of spaces and personas: given, generated, rotated."""

from typing import Annotated

from pydantic import Field, StringConstraints

from lib.fields.models import Body, Record

MAX_OVERLAP_SECONDS = 7 * 86_400
"""Seconds for which a replaced secret may stay valid: a week."""


class Rotation(Body):
    """Seconds for which the replaced secret stays valid beside the new one; 0 invalidates all older ones at once."""

    overlap_seconds: int = Field(default=3_600, strict=True, ge=0, le=MAX_OVERLAP_SECONDS)


class NewSecret(Record):
    """A generated secret; it is shown only in this response."""

    secret: str = Field(repr=False)


class GivenSecret(Body):
    """The secret that a persona sends with its calls. It is a header's value: printable ASCII, no blanks around it."""

    secret: Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$", max_length=4_096)] = (
        Field(repr=False)
    )
