"""The AI SDK's side: its UI message stream for an answer, and the body that its `useChat` sends.

The stream is version 1 of github.com/vercel/ai, packages/ai/src/ui-message-stream: JSON chunks as server-sent events
without names and ids, `[DONE]` at the end. Older releases of `ai` 5 and 6 refuse a chunk with a member that they do not
know, so chunks hold only what all of them take. What else we know goes where the protocol leaves room: into message
metadata, and the token, which must not be kept with a message, into a transient data part.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field, ValidationError

from lib import errors
from lib.auth import callers
from lib.chat.events import Delta, Done, Event, Failed, Opened
from lib.chat.turns import ChatMessage
from lib.fields.models import Body
from lib.http import request_body, sse
from lib.http.sse import StreamBroken

BODY_LIMIT = 4 * 1024 * 1024
"""Bytes of a body: useChat sends the whole chat with each message. AWS Lambda accepts 6 MB."""

HEADERS = {"x-vercel-ai-ui-message-stream": "v1"}

_TEXT = "answer"
_DONE = b"data: [DONE]\n\n"

_Chunk = Mapping[str, Any]

_OUR_FIELDS = ("email", "email_hmac", "identity_token", "persona_id", "metadata")


class Encoder:
    """With `protocol=ai-sdk`: the chunks of one assistant message, whose id is the turn's, and `[DONE]`."""

    headers: Mapping[str, str] = HEADERS
    events: ClassVar[Mapping[str | None, Any]] = {None: None}
    """Without names. The AI SDK describes the data."""

    def __init__(self) -> None:
        self._speaking = False
        self._ended = False

    def encode(self, event: Event) -> bytes:
        """The chunks of an event; nothing after the last event."""
        if self._ended:
            return b""
        wire = b"".join(sse.encode_data(chunk) for chunk in self._chunks(event))
        self._ended = not isinstance(event, Opened | Delta)
        return wire + _DONE if self._ended else wire

    def _chunks(self, event: Event) -> Iterator[_Chunk]:
        if isinstance(event, Opened):
            yield from _opening(event)
        elif isinstance(event, Delta):
            if not self._speaking:
                self._speaking = True
                yield {"type": "text-start", "id": _TEXT}
            yield {"type": "text-delta", "id": _TEXT, "delta": event.text}
        else:
            if self._speaking:
                yield {"type": "text-end", "id": _TEXT}
            yield from _ending(event)


def _opening(event: Opened) -> Iterator[_Chunk]:
    yield {"type": "start", "messageId": str(event.turn_id), "messageMetadata": event.document()}
    if event.token is not None:
        # Apps store messages with their metadata; a transient part is not stored.
        yield {"type": "data-switchboard", "data": {"token": event.token}, "transient": True}


def _ending(event: Done | Failed | StreamBroken) -> Iterator[_Chunk]:
    if not isinstance(event, Done):
        problem = errors.failure_document(event.code)
        yield {"type": "message-metadata", "messageMetadata": {"error": problem}}
        yield {"type": "error", "errorText": problem["title"]}
        return
    outcome: dict[str, Any] = {
        "status": event.status,
        "message_id": str(event.message_id) if event.message_id else None,
        "text_length": event.text_length,
    }
    outcome |= {"usage": event.usage} if event.usage else {}
    outcome |= {"taken_over": True} if event.taken_over else {}
    if event.status == "cancelled":
        yield {"type": "message-metadata", "messageMetadata": outcome}
        yield {"type": "abort"}
    else:
        yield {"type": "finish", "messageMetadata": outcome}


class _ChatRequest(Body):
    """The body that useChat sends. Apps may add members of their own, which are ignored."""

    model_config = ConfigDict(extra="ignore")

    messages: list[Any] = Field(min_length=1)
    id: str | None = None
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"
    message_id: str | None = None
    thread_key: str | None = None
    client_message_id: str | None = None
    email: Any = None
    email_hmac: Any = None
    identity_token: Any = None
    persona_id: Any = None
    metadata: Any = None


class _Part(Body):
    model_config = ConfigDict(extra="ignore")

    type: str
    text: str | None = None


class _Message(Body):
    model_config = ConfigDict(extra="ignore")

    role: Literal["user"]
    parts: list[_Part]
    id: str | None = None
    metadata: Any = None


def read(document: object, caller: callers.Caller) -> ChatMessage:
    """The message in a JSON body of useChat, or in one of ours. Raises InvalidBody with the fields that do not fit.

    The last message must be the user's; its text parts are joined, and its id is the client message id, so that a
    repeated request is the same turn; a regenerated message is answered anew. An edited message has no client message
    id. For a signed-in user
    the chat's id is the thread key. Earlier messages are ignored: the database has them.
    """
    if not isinstance(document, dict) or "messages" not in document:
        return request_body.validate(ChatMessage, document)
    sent = request_body.validate(_ChatRequest, document)
    message, text = _said(sent.messages)
    thread_key = sent.thread_key or (sent.id if isinstance(caller, callers.User) else None)
    fields: dict[str, Any] = {
        "message": text,
        "client_message_id": sent.client_message_id or _repeatable_id(sent, message),
        "thread_key": thread_key or None,
        "regenerate": sent.trigger == "regenerate-message",
        "metadata": message.metadata if isinstance(message.metadata, dict) else {},
    }
    ours = {name: value for name in _OUR_FIELDS if (value := getattr(sent, name)) is not None}
    return request_body.validate(ChatMessage, fields | ours)


def _said(messages: list[Any]) -> tuple[_Message, str]:
    """The last message and its text. Raises InvalidBody if it is not the user's or has parts other than text."""
    place = f"messages.{len(messages) - 1}"
    try:
        message = _Message.model_validate(messages[-1])
    except ValidationError as invalid:
        faults = request_body.field_errors(invalid)
    else:
        faults = [
            errors.FieldError(f"parts.{number}", f"must be text: parts of type {part.type[:40]} are not taken")
            for number, part in enumerate(message.parts)
            if part.type != "text" or part.text is None
        ]
        if not faults:
            return message, "".join(part.text or "" for part in message.parts)
    raise errors.InvalidBody(
        [errors.FieldError(f"{place}.{fault.field}".rstrip("."), fault.message) for fault in faults]
    )


def _repeatable_id(sent: _ChatRequest, message: _Message) -> str | None:
    edited = sent.message_id is not None and sent.message_id == message.id
    return None if edited else message.id or None
