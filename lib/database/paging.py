"""Paging: parts of a list, and the cursor after which the next part starts."""

import base64
import binascii
from datetime import datetime
from typing import Annotated, Generic, TypeVar
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field, TypeAdapter, ValidationError

from lib.fields.models import Body, Record
from lib.fields.types import Moment

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 200

Item = TypeVar("Item", bound=BaseModel)


class Page(Record, Generic[Item]):
    """Some items of a list; ``next_cursor`` is the opaque cursor of the next page, absent on the last page."""

    items: tuple[Item, ...]
    next_cursor: str | None = None


class PageRequest(Body):
    """Which page of a list is requested."""

    limit: int = Field(default=DEFAULT_PAGE_SIZE, ge=1, le=MAX_PAGE_SIZE)
    cursor: UUID | None = None
    """The ``next_cursor`` of the previous page."""


class Position(Record):
    """The position of a row in a list ordered by creation time and id: new rows do not move it."""

    created_at: datetime
    id: UUID

    def cursor(self) -> str:
        """Opaque pagination cursor."""
        return base64.urlsafe_b64encode(f"{self.created_at.isoformat()} {self.id}".encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> Position:
    """The position in a cursor. ValueError for a text that is no cursor.

    A forged cursor reveals nothing: the database checks the caller's rights for every page.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        created_at, _, row_id = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii").partition(" ")
        return Position(created_at=_MOMENT.validate_python(created_at, strict=False), id=UUID(row_id))
    except (binascii.Error, UnicodeError, ValueError, ValidationError):
        raise ValueError("is not a cursor of ours") from None


def _readable(cursor: str) -> str:
    read_cursor(cursor)
    return cursor


class NewestPageRequest(Body):
    """Which page of a list with the newest rows first is requested."""

    limit: int = Field(default=DEFAULT_PAGE_SIZE, ge=1, le=MAX_PAGE_SIZE)
    cursor: Annotated[str | None, AfterValidator(_readable)] = None
    """The ``next_cursor`` of the previous page."""


_MOMENT: TypeAdapter[datetime] = TypeAdapter(Moment)
