"""The protocols of the chat: our own events, or the AI SDK's UI message stream.

A client selects one with ``?protocol=ai-sdk`` or, if it cannot change the URL, with ``Accept: text/event-stream;
protocol=ai-sdk``. The default is our own events.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request

from lib import errors
from lib.auth import callers
from lib.chat import ai_sdk, events
from lib.chat.turns import ChatMessage
from lib.http import request_body, sse


@dataclass(frozen=True)
class Protocol:
    """A protocol: how it reads a message, its encoder, and whether its readers send positions."""

    name: str
    read: Callable[[Request, callers.Caller], Awaitable[ChatMessage]]
    encoder: Callable[[], sse.Encoder[events.Event]]
    positions: bool


async def _read_message(request: Request, _: callers.Caller) -> ChatMessage:
    return await request_body.read(request, ChatMessage)


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("events", _read_message, events.ServerSentEvents, positions=True),
        Protocol("ai-sdk", ai_sdk.read, ai_sdk.Encoder, positions=False),
    )
}


def of(request: Request) -> Protocol:
    """The protocol that a request selects, in its query or else in Accept. Raises InvalidBody for an unknown one."""
    asked = request.query_params.get("protocol")
    if asked is None:
        asked = _accepted(request.headers.getlist("accept")) or "events"
    try:
        return PROTOCOLS[asked]
    except KeyError:
        known = " or ".join(PROTOCOLS)
        raise errors.InvalidBody([errors.FieldError("protocol", f"must be {known}")]) from None


def _accepted(lines: list[str]) -> str | None:
    """The protocol parameter of the first event stream in Accept that has one."""
    for wanted in ",".join(lines).split(","):
        media_type, *parameters = (part.strip() for part in wanted.split(";"))
        if media_type.lower() != "text/event-stream":
            continue
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "protocol":
                return value.strip().strip('"')
    return None
