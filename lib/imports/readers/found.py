"""What a reader finds in a file."""

from collections.abc import Mapping as Documents
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

Mapping = Documents[str, str]
"""Columns by the fields that they are read as; of CSV only."""

Kind = Literal["contact", "conversation", "memory"]


class UnreadableFileError(Exception):
    """The file is not of the format, or cannot be read; the text says why."""


@dataclass(frozen=True)
class Found:
    """A contact or conversation of a file, at a line (of a zip or a document: the item's number). ``fault``: it cannot
    be read."""

    kind: Kind
    document: dict[str, Any]
    line: int
    fault: str | None = None


MALFORMED = (AttributeError, LookupError, TypeError, ValueError)
"""What reading an object raises whose members are of other types than its system's."""


def moment(value: Any) -> str | None:
    """A time of another system, in UTC: seconds since 1970, or ISO 8601; None if it is neither."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC).isoformat()
        if isinstance(value, str) and value.strip().isdecimal() and len(value.strip()) >= 9:
            return datetime.fromtimestamp(int(value), UTC).isoformat()
        if isinstance(value, str):
            read = datetime.fromisoformat(value.strip())
            return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        pass
    return None


def without_nothing(document: Documents[str, Any]) -> dict[str, Any]:
    """The members that say something."""
    return {name: value for name, value in document.items() if value not in (None, "", [], {}, ())}


def names(full: str | None) -> dict[str, str]:
    """A full name as first name and last name."""
    first, _, last = " ".join((full or "").split()).partition(" ")
    return without_nothing({"first_name": first[:200], "last_name": last[:200]})
