"""Field types of text, times and free-form JSON, with their limits."""

import json
import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field

DEEPEST = 32
"""Deepest nesting of free-form JSON."""

ATTRIBUTES_BYTES = 16 * 1024

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_UNSTORABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")


def storable(text: str) -> str:
    """The text itself. Raises ValueError for control characters other than tab and line breaks."""
    if _UNSTORABLE.search(text):
        raise ValueError("must not contain control characters")
    return text


def in_any_case(value: object) -> object:
    """A text trimmed and in lower case, for enum values; any other value unchanged."""
    return value.strip().lower() if isinstance(value, str) else value


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def storable_json(value: Any, depth: int = 0) -> Any:
    """The JSON value itself. Raises ValueError for a text that is not storable, or for deeper nesting than DEEPEST."""
    if depth > DEEPEST:
        raise ValueError(f"must not be nested more than {DEEPEST} levels deep")
    if isinstance(value, str):
        storable(value)
    elif isinstance(value, dict):
        for name, member in value.items():
            storable(name)
            storable_json(member, depth + 1)
    elif isinstance(value, list):
        for member in value:
            storable_json(member, depth + 1)
    return value


Reason = Annotated[str, Field(max_length=500), AfterValidator(storable), AfterValidator(_not_blank)]
"""Why a session was paused or ended: up to 500 characters, not blank."""

Message = Annotated[str, Field(max_length=16_000), AfterValidator(storable), AfterValidator(_not_blank)]
"""A message: up to 16,000 characters, not blank."""

Content = Annotated[str, Field(max_length=8_000), AfterValidator(storable), AfterValidator(_not_blank)]
"""The content of a memory: up to 8,000 characters, not blank."""

Flag = Annotated[bool, Field(strict=True)]
"""`true` or `false` of a body: neither 0 and 1 nor a text that says yes. A query has texts only, and takes them."""

Label = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(storable)]
"""A short text, such as a key."""

DisplayName = Annotated[Label, AfterValidator(_not_blank)]
"""A display name: a Label that is not blank."""


def is_label(text: str) -> bool:
    """Whether a text is a valid Label."""
    return 1 <= len(text) <= 200 and not _UNSTORABLE.search(text)


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be in the years 1 to 9999 in UTC") from None


def _start_of_day(value: object) -> object:
    return f"{value}T00:00:00Z" if isinstance(value, str) and _DAY.fullmatch(value) else value


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc), BeforeValidator(_start_of_day)]
"""A time in UTC, given with an offset, in the years 1 to 9999: Postgres stores others, which Python cannot represent,
and Python knows offsets that Postgres does not.

A plain date, such as 2026-11-30, is the start of that day in UTC.
"""

JsonObject = Annotated[dict[str, Any], AfterValidator(storable_json)]
"""A JSON object that is stored with a row."""


def _small(value: dict[str, Any]) -> dict[str, Any]:
    if len(json.dumps(value, ensure_ascii=False).encode()) > ATTRIBUTES_BYTES:
        raise ValueError(f"must have at most {ATTRIBUTES_BYTES} bytes as JSON")
    return value


Attributes = Annotated[JsonObject, AfterValidator(_small)]
"""Free-form JSON about a contact or a message, of at most 16 KiB."""
