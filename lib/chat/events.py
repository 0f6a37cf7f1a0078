"""What a reader of a turn is told, and how it looks on the wire.

Ids are positions in the answer's text, in characters: 0 for the opening, what has been delivered so far
for a delta, one more than the whole text for the end. A reader who repeats the last one gets the rest.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar
from uuid import UUID

from lib import errors
from lib.http import sse


@dataclass(frozen=True)
class Opened:
    """The turn is stored and its ids are known. ``token`` is there when the caller needs a new one."""

    turn_id: UUID
    session_id: UUID
    conversation_id: UUID
    contact_id: UUID | None
    token: str | None = field(default=None, repr=False)


class Delta(NamedTuple):
    """The next piece of the answer; ``position`` counts the characters up to its end.

    A tuple, as all that is made for each token: a frozen dataclass takes twice as long to make.
    """

    text: str
    position: int


@dataclass(frozen=True)
class Done:
    """The end of a turn that was completed or cancelled; a cancelled one keeps what was said.

    ``text_length`` is what is stored; ``position`` what was delivered, which may be a little more of a
    cancelled answer.
    """

    status: str
    message_id: UUID | None
    text_length: int
    position: int
    usage: Mapping[str, Any] | None = None
    taken_over: bool = False
    """A member answers in the persona's place, in their own time: this turn has no answer."""


@dataclass(frozen=True)
class Failed:
    """The end of a turn that went wrong; ``code`` is one of errors.FAILURES."""

    code: str
    position: int


@dataclass(frozen=True)
class StreamBroken:
    """The end of a stream only, as far as we know.

    It has no id, so that whoever repeats the last one misses nothing of what the turn still adds.
    """

    code: str


Event = Opened | Delta | Done | Failed | StreamBroken

Event_contra = TypeVar("Event_contra", contravariant=True)


class Encoder(Protocol[Event_contra]):
    """How the events of one stream look on the wire; ``headers`` are the answer's own."""

    @property
    def headers(self) -> Mapping[str, str]: ...

    def encode(self, event: Event_contra) -> bytes:
        """The bytes of the next event."""
        ...


class ServerSentEvents:
    """Our own events, as docs/api.md lists them."""

    headers: Mapping[str, str] = {}

    def encode(self, event: Event) -> bytes:
        """One server-sent event."""
        return sse.encode(on_the_wire(event))


def on_the_wire(event: Event) -> sse.Event:
    """The event as a server-sent one: turn, delta, done or error."""
    match event:
        case Delta():
            return sse.Event("delta", {"text": event.text}, id=event.position)
        case Opened():
            ids = {
                "turn_id": str(event.turn_id),
                "session_id": str(event.session_id),
                "conversation_id": str(event.conversation_id),
                "contact_id": str(event.contact_id) if event.contact_id else None,
            }
            return sse.Event("turn", ids | ({"token": event.token} if event.token else {}), id=0)
        case Done():
            data: dict[str, Any] = {
                "status": event.status,
                "message_id": str(event.message_id) if event.message_id else None,
                "text_length": event.text_length,
            }
            data |= {"usage": event.usage} if event.usage else {}
            data |= {"taken_over": True} if event.taken_over else {}
            return sse.Event("done", data, id=event.position + 1)
        case Failed():
            return sse.Event("error", errors.failure_document(event.code), id=event.position + 1)
        case StreamBroken():
            return sse.Event("error", errors.failure_document(event.code))
