"""The Agent-User Interaction protocol's side: its events for an answer, and the body with which its agents run.

A run is a turn: the run's id is the client message id of the last message, so that a repeated run is the same turn. The
stream is that of protocol 1.0 (docs.ag-ui.com), as the types of the package `ag-ui-protocol` describe it; each event
also has an id, the position in the answer, which readers of the protocol ignore. The package is imported by the first
run, because few deployments have one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from lib import errors
from lib.auth import callers
from lib.chat.events import Delta, Done, Event, Failed, Opened
from lib.chat.turns import ChatMessage
from lib.fields.models import Body
from lib.http import request_body
from lib.http.sse import StreamBroken

if TYPE_CHECKING:
    from ag_ui import core

BODY_LIMIT = 4 * 1024 * 1024
"""Bytes of a body: an agent sends the whole thread with each run. AWS Lambda accepts 6 MB."""

CUSTOM_EVENT = "switchboard"
"""The name of the custom event with a new contact token, which is kept with no message: `{token}`."""


_COUNTS = {
    "prompt_tokens": "input_tokens",
    "completion_tokens": "output_tokens",
    "total_tokens": "total_tokens",
}

Kind = TypeVar("Kind", bound=BaseModel)


class Run(ChatMessage):
    """The message of a run, with the ids under which its agent knows the run and its thread."""

    run_id: str
    thread_id: str


class Encoder:
    """With `protocol=ag-ui`: the events of one run. The text message has the turn's id; the ids of events are
    positions, as in our own format. A reader that resumes gets the rest of the message, which its agent appends."""

    headers: Mapping[str, str] = {}
    events: ClassVar[Mapping[str | None, Any]] = {None: None}
    """Without names. The protocol describes the data."""

    def __init__(self, opened: Opened, message: ChatMessage | None) -> None:
        from ag_ui.encoder import EventEncoder  # noqa: PLC0415 (of few deployments)

        self._encode = EventEncoder().encode
        self._opened = opened
        self._message_id = str(opened.turn_id)
        self._thread_id, self._run_id = str(opened.conversation_id), self._message_id
        if isinstance(message, Run):
            self._thread_id, self._run_id = message.thread_id, message.run_id
        self._begun = False
        self._speaking = False
        self._ended = False

    def encode(self, event: Event) -> bytes:
        """The run's events for an event, the last of them with the position as its id; nothing after the end."""
        if self._ended:
            return b""
        self._ended = not isinstance(event, Opened | Delta)
        parts = [self._encode(part).encode() for part in self._parts(event)]
        position = _position(event)
        if parts and position is not None:
            parts[-1] = b"id: %d\n%b" % (position, parts[-1])
        return b"".join(parts)

    def _parts(self, event: Event) -> Iterator[core.BaseEvent]:
        from ag_ui import core  # noqa: PLC0415 (of few deployments)

        opened = self._opened
        if not self._begun:
            self._begun = True
            yield core.RunStartedEvent(
                thread_id=self._thread_id,
                run_id=self._run_id,
                protocol_version=core.PROTOCOL_VERSION,
                metadata=dict(opened.document()),
            )
            if opened.token is not None:
                yield core.CustomEvent(name=CUSTOM_EVENT, value={"token": opened.token})
        if isinstance(event, Delta):
            if not self._speaking:
                self._speaking = True
                yield core.TextMessageStartEvent(message_id=self._message_id, role="assistant")
            yield core.TextMessageContentEvent(message_id=self._message_id, delta=event.text)
        elif not isinstance(event, Opened):
            if self._speaking:
                yield core.TextMessageEndEvent(message_id=self._message_id)
            yield self._ending(event)

    def _ending(self, event: Done | Failed | StreamBroken) -> core.BaseEvent:
        from ag_ui import core  # noqa: PLC0415 (of few deployments)

        if not isinstance(event, Done):
            problem = errors.failure_document(event.code)
            retryable = {"retryable": problem["retryable"]}
            return core.RunErrorEvent(message=problem["title"], code=problem["code"], metadata=retryable)
        outcome: dict[str, Any] = {
            "status": event.status,
            "message_id": str(event.message_id) if event.message_id else None,
            "text_length": event.text_length,
        }
        outcome |= {"usage": event.usage} if event.usage else {}
        outcome |= {"taken_over": True} if event.taken_over else {}
        cancelled = event.status == "cancelled"
        return core.RunFinishedEvent(
            thread_id=self._thread_id,
            run_id=self._run_id,
            outcome=core.RunFinishedCancelledOutcome() if cancelled else core.RunFinishedSuccessOutcome(),
            usage=_usage(event.usage or {}),
            metadata=outcome,
        )


def _usage(usage: Mapping[str, Any]) -> list[core.TokenUsage] | None:
    """The tokens that a model counted; None if the persona counts something else."""
    from ag_ui import core  # noqa: PLC0415 (of few deployments)

    known = {theirs: count for ours, theirs in _COUNTS.items() if isinstance(count := usage.get(ours), int)}
    return [core.TokenUsage.model_validate({"model": usage.get("model"), **known})] if known else None


def _position(event: Event) -> int | None:
    """The id of an event (lib/chat/events.py)."""
    match event:
        case Delta():
            return event.position
        case Done() | Failed():
            return event.position + 1
    return 0 if isinstance(event, Opened) else None


class _Forwarded(Body):
    """The app's values that are ours; others are ignored."""

    model_config = ConfigDict(extra="ignore")

    thread_key: Any = None
    email: Any = None
    email_hmac: Any = None
    identity_token: Any = None
    persona_id: Any = None
    metadata: Any = None


def read(document: object, caller: callers.Caller) -> ChatMessage:
    """The message in a body of an agent's run, or in one of ours. Raises InvalidBody with the fields that do not fit.

    The last message must be the user's; its text parts are joined. Earlier messages are ignored: the database has them.
    So are state and tools, which our personas do not have. The run's context is added to the message's metadata. For a
    signed-in user the thread's id is the thread key.
    """
    if not isinstance(document, dict) or "messages" not in document:
        return request_body.validate(ChatMessage, document)
    from ag_ui import core  # noqa: PLC0415 (of few deployments)

    messages = document["messages"] if isinstance(document["messages"], list) else []
    run = _validated(core.RunAgentInput, {**document, "messages": []})
    message = _validated(core.UserMessage, messages[-1] if messages else None, f"messages.{max(len(messages) - 1, 0)}")
    forwarded = request_body.validate(_Forwarded, run.forwarded_props if isinstance(run.forwarded_props, dict) else {})
    metadata: Any = forwarded.metadata if forwarded.metadata is not None else message.metadata or {}
    if run.context and isinstance(metadata, dict):
        metadata = {
            **metadata,
            "context": [entry.model_dump(include={"description", "value"}) for entry in run.context],
        }
    fields: dict[str, Any] = {
        "message": _text(message, len(messages) - 1),
        "client_message_id": run.run_id,
        "thread_key": run.thread_id if isinstance(caller, callers.User) else None,
        "run_id": run.run_id,
        "thread_id": run.thread_id,
    }
    ours = {name: value for name, value in forwarded.model_dump().items() if value is not None}
    return request_body.validate(Run, fields | ours | {"metadata": metadata})


def _validated(kind: type[Kind], value: object, place: str = "") -> Kind:
    """A value as a type of the protocol. Raises InvalidBody."""
    try:
        return kind.model_validate(value)
    except ValidationError as invalid:
        faults = request_body.field_errors(invalid)
    raise errors.InvalidBody(
        [errors.FieldError(f"{place}.{fault.field}".strip("."), fault.message) for fault in faults]
    )


def _text(message: core.UserMessage, number: int) -> str:
    """The text of a message. Raises InvalidBody if it has parts other than text."""
    if isinstance(message.content, str):
        return message.content
    faults = [
        errors.FieldError(
            f"messages.{number}.content.{place}", f"must be text: parts of type {part.type} are not taken"
        )
        for place, part in enumerate(message.content)
        if part.type != "text"
    ]
    if faults:
        raise errors.InvalidBody(faults)
    return "".join(part.text for part in message.content if part.type == "text")
