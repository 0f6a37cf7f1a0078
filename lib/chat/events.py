"""The events of a turn's stream, and their encoding as server-sent events.

An event's id is a position in the answer's text, in characters: 0 for the opening, the length delivered so far for a
delta, the whole length plus one for the end. A reader that sends the last id back receives the rest.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from lib import errors
from lib.fields.models import FieldWarning
from lib.http import sse
from lib.http.sse import Opening, StreamBroken


@dataclass(frozen=True)
class Opened(Opening):
    """The turn is stored and its ids are known. ``token`` is set if the caller needs a new one; ``warnings`` are the
    fields of the message that were dropped."""

    turn_id: UUID
    session_id: UUID
    conversation_id: UUID
    contact_id: UUID | None
    token: str | None = field(default=None, repr=False)
    warnings: tuple[FieldWarning, ...] = ()

    def document(self) -> dict[str, Any]:
        """The ids of the turn, and the warnings if there are any; without the token."""
        document: dict[str, Any] = {
            "turn_id": str(self.turn_id),
            "session_id": str(self.session_id),
            "conversation_id": str(self.conversation_id),
            "contact_id": str(self.contact_id) if self.contact_id else None,
        }
        if self.warnings:
            document["warnings"] = [warning.model_dump() for warning in self.warnings]
        return document


class Delta(NamedTuple):
    """The next piece of the answer; ``position`` is the length of the text up to its end.

    A tuple, like all per-token objects: creating a frozen dataclass takes twice as long.
    """

    text: str
    position: int


@dataclass(frozen=True)
class Done:
    """The end of a turn that was completed or cancelled; a cancelled turn keeps its partial text.

    ``text_length`` is the stored length; ``position`` the delivered one, which may be a little longer for a cancelled
    turn.
    """

    status: str
    message_id: UUID | None
    text_length: int
    position: int
    usage: Mapping[str, Any] | None = None
    taken_over: bool = False
    """A member answers instead of the persona, so this turn has no answer."""


@dataclass(frozen=True)
class Failed:
    """The end of a failed turn; ``code`` is one of errors.FAILURES."""

    code: str
    position: int


Event = Opened | Delta | Done | Failed | StreamBroken


class ServerSentEvents:
    """Our own events (docs/api.md)."""

    headers: Mapping[str, str] = {}

    def encode(self, event: Event) -> bytes:
        """The event as a server-sent event."""
        return sse.encode(on_the_wire(event))


def on_the_wire(event: Event) -> sse.Event:
    """The server-sent event for an event: turn, delta, done or error."""
    match event:
        case Delta():
            return sse.Event("delta", {"text": event.text}, id=event.position)
        case Opened():
            return sse.Event("turn", event.document() | ({"token": event.token} if event.token else {}), id=0)
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
