"""Server-sent events as the HTML standard frames them (html.spec.whatwg.org, server-sent-events)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

from pydantic_core import to_json

HEARTBEAT = b": heartbeat\n\n"
"""A comment that keeps proxies from closing an idle stream; clients ignore it."""

MEDIA_TYPE = "text/event-stream; charset=utf-8"


class Opening:
    """Marks an event that waits briefly for the next one, so that both are sent together."""


@dataclass(frozen=True)
class StreamBroken:
    """The stream ends, although the turn may go on.

    It has no id, so a reader that sends its last id back misses nothing that the turn still adds.
    """

    code: str


class Event(NamedTuple):
    """One event: a name, a JSON object, and the id that a client sends back as Last-Event-ID to resume here."""

    name: str
    data: Mapping[str, Any]
    id: int | str | None = None


Event_contra = TypeVar("Event_contra", contravariant=True)


class Encoder(Protocol[Event_contra]):
    """Encodes the events of one stream; ``headers`` are added to the response."""

    @property
    def headers(self) -> Mapping[str, str]: ...

    def encode(self, event: Event_contra) -> bytes:
        """The encoded event."""
        ...


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
