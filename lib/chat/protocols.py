"""The protocols of the chat: our own events, the AI SDK's UI message stream, the Agent-User Interaction protocol, or
the whole answer as one JSON document.

A client selects one with ``?protocol=ai-sdk`` or, if it cannot change the URL, with ``Accept: text/event-stream;
protocol=ai-sdk``. A client that accepts ``application/json`` and no event stream gets the document. The default is our
own events.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from lib import errors
from lib.auth import callers
from lib.chat import ag_ui, ai_sdk, events
from lib.chat.turns import ChatMessage
from lib.fields.models import Record
from lib.http import request_body, sse


@dataclass(frozen=True)
class Protocol:
    """A protocol: the most bytes of a body, how its JSON is read as a message, its encoder for a turn and, in the
    request that brings it, its message (None: the whole answer is sent as one document), and whether its readers send
    positions."""

    name: str
    body_limit: int
    read: Callable[[object, callers.Caller], ChatMessage]
    encoder: Callable[[events.Opened, ChatMessage | None], sse.Encoder[events.Event]] | None
    positions: bool


class StreamQuery(Record):
    """The query of the routes that answer with a turn."""

    protocol: Literal["events", "json", "ai-sdk", "ag-ui"] | None = None
    """``events`` are those described here, ``json`` is the whole answer as one document, ``ai-sdk`` is the stream
    of the AI SDK's ``useChat``, ``ag-ui`` that of the Agent-User Interaction protocol (docs/streams.md). Otherwise the
    Accept header decides."""


class ResumeQuery(StreamQuery):
    """From where a turn's answer is streamed: its number of characters."""

    after: int | None = Field(default=None, ge=0, lt=1_000_000_000)
    """The number of characters that the reader has; ``Last-Event-ID`` takes precedence."""


def _read_message(document: object, _: callers.Caller) -> ChatMessage:
    if isinstance(document, dict) and "messages" in document and "message" not in document:
        of, name = ("an AG-UI agent", "ag-ui") if "runId" in document else ("useChat", "ai-sdk")
        hint = f"is a body of {of}: add ?protocol={name} to the URL"
        raise errors.InvalidBody([errors.FieldError("messages", hint)])
    return request_body.validate(ChatMessage, document)


def _own_encoder(_: events.Opened, __: ChatMessage | None) -> events.ServerSentEvents:
    return events.ServerSentEvents()


def _ai_sdk_encoder(_: events.Opened, __: ChatMessage | None) -> ai_sdk.Encoder:
    return ai_sdk.Encoder()


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("events", request_body.JSON_LIMIT, _read_message, _own_encoder, positions=True),
        Protocol("json", request_body.JSON_LIMIT, _read_message, None, positions=True),
        Protocol("ai-sdk", ai_sdk.BODY_LIMIT, ai_sdk.read, _ai_sdk_encoder, positions=False),
        Protocol("ag-ui", ag_ui.BODY_LIMIT, ag_ui.read, ag_ui.Encoder, positions=True),
    )
}


def select(asked: str | None, accept: Iterable[str]) -> Protocol:
    """The protocol that the query names, or else the first of the Accept headers that names one.

    Raises InvalidBody for an unknown protocol.
    """
    if asked is None:
        asked = _accepted(accept) or "events"
    try:
        return PROTOCOLS[asked]
    except KeyError:
        known = ", ".join(PROTOCOLS)
        raise errors.InvalidBody([errors.FieldError("protocol", f"must be one of {known}")], part="query") from None


def _accepted(lines: Iterable[str]) -> str | None:
    """The protocol of the first event stream in Accept that names one; ``json`` for JSON and no event stream."""
    accepted: dict[str, list[str]] = {}
    for wanted in ",".join(lines).split(","):
        media_type, *parameters = (part.strip() for part in wanted.split(";"))
        accepted.setdefault(media_type.lower(), []).extend(parameters)
    for parameter in accepted.get("text/event-stream", ()):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "protocol":
            return value.strip().strip('"')
    return "json" if "application/json" in accepted and "text/event-stream" not in accepted else None
