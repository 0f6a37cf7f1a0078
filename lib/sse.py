"""Server-sent events as the HTML standard frames them (html.spec.whatwg.org, server-sent-events)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

HEARTBEAT = b": heartbeat\n\n"
"""A comment: keeps what stands between from closing a silent stream, and is invisible to readers."""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
"""As json.dumps with these options, which makes an encoder anew for each call."""

MEDIA_TYPE = "text/event-stream; charset=utf-8"


@dataclass(frozen=True)
class Event:
    """One event: a name, a JSON object, and the id a reader repeats as Last-Event-ID to go on from here."""

    name: str
    data: Mapping[str, Any]
    id: int | None = None


def encode(event: Event) -> bytes:
    """The event on the wire."""
    head = f"event: {event.name}\n" if event.id is None else f"id: {event.id}\nevent: {event.name}\n"
    return head.encode() + encode_data(event.data)


def encode_data(data: Mapping[str, Any]) -> bytes:
    """An event without name and id. JSON escapes line breaks, so the data is always one line."""
    return f"data: {_encode(data)}\n\n".encode()


def position(text: str | None) -> int | None:
    """The position in a Last-Event-ID, or None where it is absent or not one of ours."""
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 9:
        return None
    return int(text)
