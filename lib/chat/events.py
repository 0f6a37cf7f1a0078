"""The events of a turn's stream, and their encoding as server-sent events.

An event's id is a position in the answer's text, in characters: 0 for the opening, the length delivered so far for a
delta, the whole length plus one for the end. A reader that sends the last id back receives the rest.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import (
    Any,
    ClassVar,
    NamedTuple,
    NotRequired,  # pydantic's schemas need this one before Python 3.12
)
from uuid import UUID

from typing_extensions import TypedDict

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

    def document(self) -> "TurnData":
        """The ids of the turn, and the warnings if there are any; without the token."""
        document: TurnData = {
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


class TurnData(TypedDict):
    """The message is stored. ``token`` is for a caller without a token; ``warnings`` are the dropped fields."""

    turn_id: str
    session_id: str
    conversation_id: str
    contact_id: str | None
    token: NotRequired[str]
    warnings: NotRequired[list[dict[str, str]]]


class DeltaData(TypedDict):
    """Text of the answer: what arrives together is one event."""

    text: str


class DoneData(TypedDict):
    """The turn has ended, ``completed`` or ``cancelled``. ``taken_over``: a member answers instead of the persona, so
    this turn has no answer."""

    status: str
    message_id: str | None
    text_length: int
    usage: NotRequired[Mapping[str, Any]]
    taken_over: NotRequired[bool]


class ServerSentEvents:
    """The events of a turn. An id is a position: 0 for ``turn``, the number of characters so far for ``delta``, one
    more than the length for the last event, ``done`` or ``error``."""

    headers: Mapping[str, str] = {}
    events: ClassVar[Mapping[str, Any]] = {
        "turn": TurnData, "delta": DeltaData, "done": DoneData, "error": errors.FailureData,
    }  # fmt: skip

    def encode(self, event: Event) -> bytes:
        """The event as a server-sent event."""
        return sse.encode(on_the_wire(event))


def on_the_wire(event: Event) -> sse.Event:
    """The server-sent event for an event: turn, delta, done or error."""
    match event:
        case Delta():
            delta: DeltaData = {"text": event.text}
            return sse.Event("delta", delta, id=event.position)
        case Opened():
            opened = event.document()
            if event.token:
                opened["token"] = event.token
            return sse.Event("turn", opened, id=0)
        case Done():
            done: DoneData = {
                "status": event.status,
                "message_id": str(event.message_id) if event.message_id else None,
                "text_length": event.text_length,
            }
            if event.usage:
                done["usage"] = event.usage
            if event.taken_over:
                done["taken_over"] = True
            return sse.Event("done", done, id=event.position + 1)
        case Failed():
            return sse.Event("error", errors.failure_document(event.code), id=event.position + 1)
        case StreamBroken():
            return sse.Event("error", errors.failure_document(event.code))
