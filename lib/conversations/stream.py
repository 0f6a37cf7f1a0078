"""The live stream of a conversation: every message, and the state of its session.

The stream polls: a reader names its last message and receives the following ones, from any process. The server keeps no
state for a reader between polls.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BeforeValidator

from lib import config, errors, log
from lib.auth.callers import Proof
from lib.database.commands import Rpc
from lib.fields.models import Record
from lib.http import sse
from lib.http.sse import StreamBroken
from lib.personas import Role
from lib.sessions.models import Status

PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 3.0
PAUSE_GROWTH = 1.15
"""Growth of the pause while nothing happens: 3 s after eight idle polls."""

BATCH = 100
"""Most messages of one poll; if there are more, the next poll follows at once."""


class StreamedMessage(Record):
    """A message. ``turn_id`` is the turn of a message to or from the persona; other messages have none.

    ``proof``, for members: whether the contact who sent it has proven who they are.
    """

    id: UUID
    session_id: UUID
    turn_id: UUID | None
    role: Role
    text: str
    partial: bool
    created_at: datetime
    proof: Proof | None = None


class SessionState(Record):
    """The state of the live session, or of the last one; ``taken_over``: a member answers instead of the persona.

    ``proof``, for members: whether its contact has proven who they are.
    """

    session_id: UUID
    status: Status
    taken_over: bool
    proof: Proof | None = None


class MessageBatch(Record):
    """The messages after a position, and the session's state. ``last`` is the position for the next poll."""

    messages: tuple[StreamedMessage, ...]
    last: UUID | None
    session: SessionState | None
    more: bool


@dataclass(frozen=True)
class SessionChange:
    """The session changed; a reader that resumes after ``last`` misses no message."""

    standing: SessionState
    last: UUID | None


Event = StreamedMessage | SessionChange | StreamBroken


def _position(after: str) -> str | UUID:
    with contextlib.suppress(ValueError):
        return after if after == "latest" else UUID(after)
    raise ValueError("must be a message's id, or latest")


class StreamQuery(Record):
    """Where a stream begins."""

    after: Annotated[UUID | Literal["latest"] | None, BeforeValidator(_position)] = None


async def read(rpc: Rpc, conversation_id: UUID, after: UUID | Literal["latest"] | None) -> MessageBatch:
    """The messages after a position: None is the beginning; latest returns none, only the current position.

    Raises Refused (conversation_not_found, message_not_found) if the caller may not see them.
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
    """The events of a conversation, starting with a batch that was read after the message ``after``.

    Always ends with StreamBroken: at the time limit (``stream_limit``: the reader reconnects), or when the reader loses
    access.
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
    """Encodes a conversation's events (docs/streams.md); an event's id is the last message's."""

    headers: Mapping[str, str] = {}

    def encode(self, event: Event) -> bytes:
        """The event as a server-sent event."""
        match event:
            case StreamedMessage():
                hidden = {"proof"} if event.proof is None else set[str]()
                data: dict[str, Any] = event.model_dump(mode="json", exclude=hidden)
                return sse.encode(sse.Event("message", data, id=str(event.id)))
            case SessionChange():
                place = str(event.last) if event.last else None
                return sse.encode(
                    sse.Event("session", event.standing.model_dump(mode="json", exclude_none=True), id=place)
                )
            case StreamBroken():
                return sse.encode(sse.Event("error", errors.failure_document(event.code)))
