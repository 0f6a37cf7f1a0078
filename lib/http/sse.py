"""Server-sent events as the HTML standard frames them (html.spec.whatwg.org, server-sent-events)."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic_core import to_json

HEARTBEAT = b": heartbeat\n\n"
"""A comment that keeps proxies from closing an idle stream; clients ignore it."""

MEDIA_TYPE = "text/event-stream; charset=utf-8"


class Event(NamedTuple):
    """One event: a name, a JSON object, and the id that a client sends back as Last-Event-ID to resume here."""

    name: str
    data: Mapping[str, Any]
    id: int | str | None = None


def encode(event: Event) -> bytes:
    """The encoded event."""
    head = f"event: {event.name}\n" if event.id is None else f"id: {event.id}\nevent: {event.name}\n"
    return head.encode() + encode_data(event.data)


def encode_data(data: Mapping[str, Any]) -> bytes:
    """An event without name and id. JSON escapes line breaks, so the data is always one line."""
    return b"data: %b\n\n" % to_json(data)


def position(text: str | None) -> int | None:
    """The position in a Last-Event-ID header, or None if it is absent or not a position."""
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 9:
        return None
    return int(text)
