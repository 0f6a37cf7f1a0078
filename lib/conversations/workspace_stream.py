"""The live stream of a workspace, for members: changes of the sessions in their lists.

Sessions change and commit in any order, so a position is a time and the changes shortly before it that the reader has:
`<microseconds since 1970>`, then `.<session's short id>:<microseconds after that, mostly negative>` for each.
"""

import re
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Self
from uuid import UUID

from pydantic import AfterValidator
from typing_extensions import TypedDict

from lib import errors
from lib.auth import callers
from lib.conversations.hub import ChangedSession, Level, Reader, Workspace, hub
from lib.conversations.stream import broken, limit_of_streams, time_left
from lib.database import commands
from lib.fields.models import Record
from lib.http import sse
from lib.http.sse import StreamBroken

LONGEST_WRITE = 15_000_000
"""Microseconds: what changed longer ago, a newer read has found. As private.longest_write()."""

MOST_KNOWN = 200
"""Changes in a position; with more in so short a time, a resume may repeat the oldest."""

_POSITION = re.compile(r"(\d{16})((?:\.[0-9a-f]{8}:-?\d{1,9}){0,200})")


@dataclass(frozen=True)
class Position:
    """What a reader has: the changes up to ``now``, and those shortly before only if they are ``known``."""

    now: int
    known: Mapping[str, int]

    @classmethod
    def parse(cls, text: str | None) -> Self | None:
        """The position, or None if the text is none."""
        found = _POSITION.fullmatch(text or "")
        if found is None:
            return None
        now, pairs = int(found[1]), (part.split(":") for part in found[2].split(".")[1:])
        return cls(now, {key: now + int(after) for key, after in pairs})

    def __str__(self) -> str:
        latest = sorted(self.known.items(), key=lambda item: item[1])[-MOST_KNOWN:]
        return f"{self.now:016}" + "".join(f".{key}:{at - self.now}" for key, at in latest)


def _known(after: str) -> str:
    if Position.parse(after) is None:
        raise ValueError("must be the id of an event")
    return after


class StreamQuery(Record):
    """Where a stream begins: after the event with this id; without one, now."""

    after: Annotated[str, AfterValidator(_known)] | None = None
    """The id of the reader's last event; ``Last-Event-ID`` takes precedence."""

    def position(self, last_event_id: str | None) -> Position | None:
        """The reader's position. Last-Event-ID, which browsers update, takes precedence."""
        return Position.parse(last_event_id) or Position.parse(self.after)


class Opening(Record):
    """What a stream begins with. ``window``: the last changes; ``mine``: an agent's live assigned sessions.

    ``reset``: what changed since the position is not known, so the reader has to read its lists again.
    """

    level: Level
    reset: bool
    now: int
    sessions: tuple[ChangedSession, ...]
    window: Mapping[str, int]
    mine: frozenset[UUID] | None


@dataclass(frozen=True)
class SessionChanged:
    """A session as it is now."""

    session: ChangedSession
    position: Position


@dataclass(frozen=True)
class SessionRemoved:
    """A session that was assigned to the agent and is no longer."""

    session_id: UUID
    position: Position


@dataclass(frozen=True)
class Begun:
    """The first event. ``reset``: changes may be missing before it, so the reader reads its lists again."""

    reset: bool
    position: Position


Event = SessionChanged | SessionRemoved | Begun | StreamBroken


async def read(user: callers.User, workspace_id: UUID, position: Position | None) -> Opening:
    """What a stream begins with. Raises Refused (workspace_not_found) for a user who is no member."""
    arguments = {
        "workspace_id": workspace_id,
        "since": datetime.fromtimestamp(position.now / 1e6, UTC) if position else None,
        "known": position.known if position else {},
    }
    return await commands.reading_as(user).call("follow_workspace", arguments, Opening, repeatable=True)


async def open_workspace(
    user: callers.User, workspace_id: UUID, position: Position | None
) -> AsyncGenerator[Event, None]:
    """The events of a workspace after a position, as follow. Raises as read."""
    return follow(user, workspace_id, await read(user, workspace_id, position), position)


async def follow(
    user: callers.User, workspace_id: UUID, opening: Opening, position: Position | None
) -> AsyncGenerator[Event, None]:
    """The events of a workspace. Always ends with StreamBroken, as the stream of a conversation."""
    end, view = limit_of_streams(), _View(user.user_id, opening, position)
    reader = hub().join(Reader(user, hub().workspace(workspace_id, opening.now), opening.level))
    topic = reader.topic
    try:
        yield Begun(opening.reset, view.position)
        for session in opening.sessions:
            for event in view.seen(session, opening.level):
                yield event
        view.caught_up(opening)
        while (end_event := broken(reader, end)) is None:
            if isinstance(topic, Workspace):
                for event in view.news(topic, reader.level):
                    yield event
            await reader.wait(time_left(user, end))
        yield end_event
    finally:
        hub().leave(reader)


class _View:
    """What one reader has been sent."""

    def __init__(self, user_id: UUID, opening: Opening, position: Position | None) -> None:
        self._user_id = user_id
        self._mine = set(opening.mine or ())
        began = position is None or opening.reset
        self.position = Position(opening.now, dict(opening.window)) if began or position is None else position

    def caught_up(self, opening: Opening) -> None:
        """The reader has what the opening has."""
        self.position = Position(opening.now, {**self._recent(opening.now), **opening.window})

    def news(self, topic: Workspace, level: Level) -> Iterator[Event]:
        """The events that the topic has and the reader has not."""
        now, recent = topic.now, tuple(topic.recent.values())
        for session in recent:
            if session.at > self.position.now - LONGEST_WRITE and session.at > self.position.known.get(session.key, 0):
                yield from self.seen(session, level)
        if now > self.position.now:
            self.position = Position(now, self._recent(now))

    def seen(self, session: ChangedSession, level: Level) -> Iterator[Event]:
        """The event of a change, if it is for this reader."""
        self.position = Position(self.position.now, {**self.position.known, session.key: session.at})
        if level == "all" or self._user_id in (session.assigned_user_id, session.opened_by_key_id, session.user_id):
            self._mine.add(session.session_id)
            yield SessionChanged(session, self.position)
        elif session.session_id in self._mine:
            self._mine.discard(session.session_id)
            yield SessionRemoved(session.session_id, self.position)

    def _recent(self, now: int) -> Mapping[str, int]:
        return {key: at for key, at in self.position.known.items() if at > now - LONGEST_WRITE}


class RemovedData(TypedDict):
    """A session that is no longer in the member's lists."""

    session_id: str


class BeginData(TypedDict):
    """The stream begins. ``reset``: what changed since the position is unknown, so the lists have to be read again."""

    reset: bool


class Encoder:
    """The events of a workspace (docs/streams.md)."""

    headers: Mapping[str, str] = {}
    events: ClassVar[Mapping[str, Any]] = {
        "begin": BeginData, "session": ChangedSession, "removed": RemovedData, "error": errors.FailureData,
    }  # fmt: skip

    def encode(self, event: Event) -> bytes:
        """The event as a server-sent event."""
        match event:
            case SessionChanged(session, position):
                data = session.model_dump(mode="json", exclude={"at", "opened_by_key_id"}, exclude_none=True)
                return sse.encode(sse.Event("session", data, id=str(position)))
            case SessionRemoved(session_id, position):
                return sse.encode(sse.Event("removed", {"session_id": str(session_id)}, id=str(position)))
            case Begun(reset, position):
                return sse.encode(sse.Event("begin", {"reset": reset}, id=str(position)))
            case StreamBroken(code):
                return sse.encode(sse.Event("error", errors.failure_document(code)))
