"""Conversations, followed live: every message of a contact, a persona or a member, and who answers now.

Following is polling with catch-up: a reader names the last message they have and gets what came after it, from any
process. Nothing is kept for a reader between two questions.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from lib import config, errors, log
from lib.chat.events import StreamBroken
from lib.database.commands import Rpc
from lib.fields.models import Record
from lib.http import sse
from lib.personas import Role
from lib.sessions.models import Status

PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 3.0
PAUSE_GROWTH = 1.15
"""How much longer each pause is than the one before while nothing happens: 3 s after eight quiet ones."""

BATCH = 100
"""How many messages one question brings at most; where there are more it is asked again at once."""


class StreamedMessage(Record):
    """A message. ``turn_id`` is the turn that it asks or answers; a member's and a follow-up have none."""

    id: UUID
    session_id: UUID
    turn_id: UUID | None
    role: Role
    text: str
    partial: bool
    created_at: datetime


class SessionState(Record):
    """How the live session stands, or the last one; ``taken_over``: a member answers in the persona's place."""

    session_id: UUID
    status: Status
    taken_over: bool


class MessageBatch(Record):
    """What was said after a message, and how things stand. ``last`` is the message from which to go on."""

    messages: tuple[StreamedMessage, ...]
    last: UUID | None
    session: SessionState | None
    more: bool


@dataclass(frozen=True)
class SessionChange:
    """The session changed; whoever goes on after ``last`` misses no message."""

    standing: SessionState
    last: UUID | None


Event = StreamedMessage | SessionChange | StreamBroken


async def read(rpc: Rpc, conversation_id: UUID, after: UUID | Literal["latest"] | None) -> MessageBatch:
    """What was said after a message: None is from the beginning, latest only what comes from now on.

    Raises Refused (conversation_not_found, message_not_found) for what the token's holder may not see.
    """
    arguments = {
        "conversation_id": conversation_id,
        "after": None if after == "latest" else after,
        "only_new": after == "latest",
        "message_limit": BATCH,
    }
    return await rpc.call("follow_conversation", arguments, MessageBatch, repeatable=True)


async def follow(
    rpc: Rpc, conversation_id: UUID, part: MessageBatch, after: UUID | None
) -> AsyncGenerator[Event, None]:
    """The events of a conversation from a part that was read on, which comes after the message ``after``.

    Always ends with Broken: at the time's end (``stream_limit``, so that a reader comes again), or when there is
    nothing more to see for them.
    """
    end = time.monotonic() + config.settings().conversation_stream_seconds
    standing: SessionState | None = None
    pause = PAUSE_SECONDS
    while True:
        if part.session is not None and part.session != standing:
            standing, pause = part.session, PAUSE_SECONDS
            yield SessionChange(standing, after if part.messages else part.last)
        for said in part.messages:
            yield said
        after = part.last
        if part.messages:
            pause = PAUSE_SECONDS
        if not part.more:
            left = end - time.monotonic()
            if left <= 0:
                yield StreamBroken("stream_limit")
                return
            await asyncio.sleep(min(pause, left))
            pause = min(pause * PAUSE_GROWTH, LONGEST_PAUSE_SECONDS)
        try:
            part = await read(rpc, conversation_id, after)
        except errors.Problem as problem:
            log.info("conversation_stream_ended", conversation_id=conversation_id, code=problem.code)
            yield StreamBroken(problem.code)
            return


class Encoder:
    """A conversation's events on the wire, as docs/streams.md lists them; the id is the last message's."""

    headers: Mapping[str, str] = {}

    def encode(self, event: Event) -> bytes:
        """One server-sent event."""
        match event:
            case StreamedMessage():
                data: dict[str, Any] = event.model_dump(mode="json")
                return sse.encode(sse.Event("message", data, id=str(event.id)))
            case SessionChange():
                place = str(event.last) if event.last else None
                return sse.encode(sse.Event("session", event.standing.model_dump(mode="json"), id=place))
            case StreamBroken():
                return sse.encode(sse.Event("error", errors.failure_document(event.code)))
