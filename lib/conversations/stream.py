"""The live stream of a conversation: every message, the answer under way, and the state of its session.

A reader first gets what was stored after its position, read under its own rights, and then what the hub finds
(lib/conversations/hub.py). The id of each event is a position, from which any process resumes exactly.
"""

import contextlib
import re
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal, Self
from uuid import UUID

from pydantic import AfterValidator
from typing_extensions import TypedDict

from lib import config, errors, log
from lib.auth import callers
from lib.conversations.hub import (
    Conversation,
    Level,
    Place,
    PresentMember,
    Reader,
    SessionState,
    StreamedMessage,
    hub,
)
from lib.database import commands
from lib.database.commands import Rpc
from lib.fields.models import Record
from lib.http import sse
from lib.http.sse import StreamBroken

BATCH = 100
"""Most messages of one read; if there are more, the next read follows at once."""

_POSITION = re.compile(r"([0-9a-f-]{36})(?:~(\d{16}))?(?:\.([0-9a-f-]{36})\.(\d{1,9}))?", re.IGNORECASE)
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


@dataclass(frozen=True)
class Position:
    """What a reader has: all messages up to ``after``, and of a turn's answer under way so many characters.

    ``changed_at`` is the time of the message's last change that the reader has. Written as `<message id>`, with
    `~<microseconds since 1970>` for a changed message, and `.<turn id>.<characters>` during an answer.
    """

    after: UUID | None = None
    changed_at: datetime | None = None
    turn_id: UUID | None = None
    characters: int = 0

    @classmethod
    def parse(cls, text: str | None) -> Self | None:
        """The position, or None if the text is none."""
        found = _POSITION.fullmatch(text or "")
        try:
            if found is None:
                return None
            changed_at = _EPOCH + int(found[2]) * _MICROSECOND if found[2] else None
            return cls(UUID(found[1]), changed_at, UUID(found[3]) if found[3] else None, int(found[4] or 0))
        except ValueError:
            return None

    def __str__(self) -> str:
        if self.after is None:
            return ""
        changed = f"~{(self.changed_at - _EPOCH) // _MICROSECOND:016}" if self.changed_at else ""
        turn = f".{self.turn_id}.{self.characters}" if self.turn_id else ""
        return f"{self.after}{changed}{turn}"


class MessageBatch(Record):
    """The messages after a position, and the session's state.

    ``last`` and ``last_at`` are the position for the next read; ``last_changed``: that message has changed.
    """

    messages: tuple[StreamedMessage, ...]
    last: UUID | None
    last_at: datetime | None
    last_changed: bool = False
    session: SessionState | None
    level: Level
    more: bool


@dataclass(frozen=True)
class SessionChange:
    """The session changed; a reader that resumes at this position misses no message."""

    standing: SessionState
    position: Position


@dataclass(frozen=True)
class MessageAdded:
    """A new message."""

    message: StreamedMessage
    position: Position


@dataclass(frozen=True)
class AnswerGrew:
    """The next piece of the answer under way; it ends with the message of this turn."""

    turn_id: UUID
    text: str
    position: Position


@dataclass(frozen=True)
class ConversationChange:
    """The user's current conversation is this one from now on; None: they have none."""

    conversation_id: UUID | None


@dataclass(frozen=True)
class PresenceChange:
    """The members who have the conversation open are these from now on; for members."""

    members: tuple[PresentMember, ...]


Event = SessionChange | MessageAdded | AnswerGrew | ConversationChange | PresenceChange | StreamBroken


class _Current(Record):
    conversation_id: UUID | None


def _known(after: str) -> str:
    if after != "latest" and Position.parse(after) is None:
        raise ValueError("must be the id of an event, or latest")
    return after


class StreamQuery(Record):
    """Where a stream begins: after the event with this id, or with what comes next (latest)."""

    after: Annotated[str, AfterValidator(_known)] | None = None
    """The id of the reader's last event, or ``latest`` for what is new only; ``Last-Event-ID`` takes precedence."""

    def position(self, last_event_id: str | None) -> Position | Literal["latest"] | None:
        """The reader's position. Last-Event-ID, which browsers update, takes precedence."""
        if self.after == "latest":
            return Position.parse(last_event_id) or "latest"
        return Position.parse(last_event_id) or Position.parse(self.after)


async def read(rpc: Rpc, conversation_id: UUID, position: Position | Literal["latest"]) -> MessageBatch:
    """The messages after a position; latest returns none, only the current position.

    Raises Refused (conversation_not_found, message_not_found) if the caller may not see them.
    """
    after = Position() if position == "latest" else position
    arguments = {
        "conversation_id": conversation_id,
        "after": after.after,
        "after_at": after.changed_at,
        "only_new": position == "latest",
        "message_limit": BATCH,
    }
    return await rpc.call("follow_conversation", arguments, MessageBatch, repeatable=True)


async def current(user: callers.User) -> UUID | None:
    """The user's own conversation with the newest message."""
    found = await commands.reading_as(user).call("read_current_conversation", {}, _Current, repeatable=True)
    return found.conversation_id


async def open_conversation(
    caller: callers.Contact | callers.User, conversation_id: UUID, after: Position | Literal["latest"] | None
) -> AsyncGenerator[Event, None]:
    """The events of a conversation after a position, as follow. Raises as read."""
    position = after if isinstance(after, Position) else Position()
    part = await read(commands.reading_as(caller), conversation_id, after or Position())
    return follow(caller, conversation_id, part, position)


def follow(
    caller: callers.Contact | callers.User, conversation_id: UUID, part: MessageBatch, position: Position
) -> AsyncGenerator[Event, None]:
    """The events of a conversation, starting with a batch that was read after a position.

    Always ends with StreamBroken: at the time limit (``stream_limit``: the reader reconnects), or when the reader loses
    access.
    """
    return _follow(caller, conversation_id, part, _View(caller, position), limit_of_streams())


async def open_current(user: callers.User, after: Position | Literal["latest"] | None) -> AsyncGenerator[Event, None]:
    """The events of the user's current conversation, also when that becomes another one. They end as follow's.

    The position is for the first one; every later one is streamed from its beginning. Raises Forbidden.
    """
    return _follow_current(user, await current(user), after)


async def _follow_current(
    user: callers.User, conversation_id: UUID | None, after: Position | Literal["latest"] | None
) -> AsyncGenerator[Event, None]:
    end = limit_of_streams()
    try:
        while True:
            yield ConversationChange(conversation_id)
            events = _wait_for_one(user, end)
            if conversation_id is not None:
                part, position = await _first_part(commands.reading_as(user), conversation_id, after)
                events = _follow(user, conversation_id, part, _View(user, position), end, is_current=True)
            async with contextlib.aclosing(events):
                async for event in events:
                    yield event
                    if isinstance(event, StreamBroken):
                        return
            conversation_id, after = await current(user), None
    except errors.Problem as problem:
        yield StreamBroken(problem.code)


async def _first_part(
    rpc: Rpc, conversation_id: UUID, after: Position | Literal["latest"] | None
) -> tuple[MessageBatch, Position]:
    if isinstance(after, Position):
        try:
            return await read(rpc, conversation_id, after), after
        except errors.Refused as refused:
            # A message of a former conversation.
            if refused.code != "message_not_found":
                raise
            after = None
    return await read(rpc, conversation_id, after or Position()), Position()


async def _wait_for_one(user: callers.User, end: float) -> AsyncGenerator[Event, None]:
    """Wait until the user has a conversation."""
    reader = hub().join(Reader(user, None, "all", current=True))
    try:
        while not reader.moved:
            if (end_event := broken(reader, end)) is not None:
                yield end_event
                return
            await reader.wait(time_left(user, end))
    finally:
        hub().leave(reader)


def limit_of_streams() -> float:
    """The monotonic time at which a stream that begins now has to end."""
    return time.monotonic() + config.settings().conversation_stream_seconds


def time_left(caller: callers.Contact | callers.User, end: float) -> float:
    """Seconds until the time limit or the end of the caller's token."""
    return min(end - time.monotonic(), caller.expires_at - time.time())


def broken(reader: Reader, end: float) -> StreamBroken | None:
    """Why the stream has to end now."""
    if reader.code is not None:
        return StreamBroken(reader.code)
    if reader.caller.expires_at <= time.time():
        return StreamBroken(errors.TokenExpired.code)
    return StreamBroken("stream_limit") if time.monotonic() >= end else None


async def _follow(
    caller: callers.Contact | callers.User,
    conversation_id: UUID,
    part: MessageBatch,
    view: "_View",
    end: float,
    *,
    is_current: bool = False,
) -> AsyncGenerator[Event, None]:
    rpc, reader = commands.reading_as(caller), None
    through: Place | None = None
    try:
        while True:
            for event in view.stored(part):
                yield event
            if not part.more:
                if reader is None:
                    topic = hub().conversation(conversation_id, view.place)
                    reader = hub().join(Reader(caller, topic, part.level, is_current))
                reader.level, reader.waits_for_poll = part.level, True
                view.assigned = view.assigned_in(topic)
                while not topic.lacks(view.place, through) and not view.sees_more(topic, reader.level):
                    # First, because who may no longer read gets no news.
                    if (end_event := broken(reader, end)) is not None:
                        yield end_event
                        return
                    for event in view.news(topic, reader.level):
                        yield event
                    if reader.moved:
                        return
                    await reader.wait(time_left(caller, end))
                # Of what the topic has had before, this reads all that the reader may see.
                through = topic.tail
            part = await read(rpc, conversation_id, view.position)
    except errors.Problem as problem:
        log.info("conversation_stream_ended", conversation_id=conversation_id, code=problem.code)
        yield StreamBroken(problem.code)
    finally:
        if reader is not None:
            hub().leave(reader)


class _View:
    """What one reader has been sent."""

    def __init__(self, caller: callers.Contact | callers.User, position: Position) -> None:
        self._member_id = caller.user_id if isinstance(caller, callers.User) else None
        self.position = position
        self.place: Place | None = None
        self.assigned = frozenset[UUID]()
        self._told: SessionState | None = None
        self._present: tuple[PresentMember, ...] = ()
        self._read_at = 0.0

    def stored(self, part: MessageBatch) -> Iterator[Event]:
        """The events of a batch that was read under the reader's own rights."""
        self._read_at = time.monotonic()
        if not part.messages and part.last is not None:
            self._move(part.last, part.last_at if part.last_changed else self.position.changed_at)
        if part.session is not None:
            yield from self._standing(part.session)
        for message in part.messages:
            yield self._added(message, part.level)
        if part.last is not None and part.last_at is not None:
            self.place = part.last_at, part.last

    def news(self, topic: Conversation, level: Level) -> Iterator[Event]:
        """The events that the topic has and the reader has not."""
        messages, turn = tuple(topic.messages), topic.turn
        # What the reader has read by itself may be newer than the topic's state. Messages tell by their places.
        is_newer = topic.polled_at > self._read_at
        if is_newer and topic.session is not None and self._may_see(topic, level, topic.session.session_id):
            yield from self._standing(topic.session)
        for message in messages:
            if (self.place is None or message.place > self.place) and self._may_see(topic, level, message.session_id):
                yield self._added(message, level)
        if level != "own" and topic.present != self._present:
            self._present = topic.present
            yield PresenceChange(topic.present)
        if is_newer and turn is not None and self._may_see(topic, level, turn.session_id):
            known = self.position.characters if self.position.turn_id == turn.turn_id else 0
            if len(turn.text) > known:
                self.position = replace(self.position, turn_id=turn.turn_id, characters=len(turn.text))
                yield AnswerGrew(turn.turn_id, turn.text[known:], self.position)

    def assigned_in(self, topic: Conversation) -> frozenset[UUID]:
        """The sessions that are assigned to the reader, as far as the topic knows."""
        return frozenset(key for key, members in topic.assigned.items() if self._member_id in members)

    def sees_more(self, topic: Conversation, level: Level) -> bool:
        """Whether a session was assigned to the reader meanwhile: its earlier messages are read first."""
        before, self.assigned = self.assigned, self.assigned_in(topic)
        return level == "assigned" and not self.assigned <= before

    def _may_see(self, topic: Conversation, level: Level, session_id: UUID) -> bool:
        return level != "assigned" or self._member_id in topic.assigned.get(session_id, ())

    def _standing(self, state: SessionState) -> Iterator[Event]:
        state = state if self._member_id is not None else state.model_copy(update={"proof": None})
        if state != self._told:
            self._told = state
            yield SessionChange(state, self.position)

    def _move(self, after: UUID, changed_at: datetime | None) -> None:
        self.position = replace(self.position, after=after, changed_at=changed_at)

    def _added(self, message: StreamedMessage, level: Level) -> Event:
        answered = message.role == "persona" and message.turn_id == self.position.turn_id
        self.place = message.place
        if answered:
            self.position = Position()
        self._move(message.id, message.changed_at)
        hidden = {"proof": None} if self._member_id is None else {}
        # Of members, the person whose conversation it is sees only that they are members.
        hidden |= {"user_id": None} if level == "own" else {}
        return MessageAdded(message.model_copy(update=hidden), self.position)


class DeltaData(TypedDict):
    """More of the answer of a turn under way; ``position``: the characters so far."""

    turn_id: str
    text: str
    position: int


class ConversationData(TypedDict):
    """The conversation that the stream follows from now on; null if the user has none."""

    conversation_id: str | None


class PresenceData(Record):
    """The members who have the conversation open; of what members see only."""

    members: tuple[PresentMember, ...]


_OPTIONAL = ("proof", "user_id", "speaker", "changed_at")
"""What a message has only where it is known and shown."""


class Encoder:
    """The events of a conversation (docs/streams.md)."""

    headers: Mapping[str, str] = {}
    events: ClassVar[Mapping[str, Any]] = {
        "message": StreamedMessage, "session": SessionState, "delta": DeltaData, "conversation": ConversationData,
        "presence": PresenceData, "error": errors.FailureData,
    }  # fmt: skip

    def encode(self, event: Event) -> bytes:
        """The event as a server-sent event."""
        match event:
            case MessageAdded(message, position):
                hidden = {name for name in _OPTIONAL if getattr(message, name) is None}
                data: dict[str, Any] = message.model_dump(mode="json", exclude=hidden)
                return sse.encode(sse.Event("message", data, id=str(position)))
            case SessionChange(standing, position):
                data = standing.model_dump(mode="json", exclude_none=True)
                return sse.encode(sse.Event("session", data, id=str(position) or None))
            case AnswerGrew(turn_id, text, position):
                data = {"turn_id": str(turn_id), "text": text, "position": position.characters}
                return sse.encode(sse.Event("delta", data, id=str(position)))
            case ConversationChange(conversation_id):
                data = {"conversation_id": str(conversation_id) if conversation_id else None}
                return sse.encode(sse.Event("conversation", data))
            case PresenceChange(members):
                # Without an id: it is no position, so a reader keeps its last one.
                return sse.encode(sse.Event("presence", PresenceData(members=members).model_dump(mode="json")))
            case StreamBroken(code):
                return sse.encode(sse.Event("error", errors.failure_document(code)))
