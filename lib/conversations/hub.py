"""The hub: one poll of the database for all streams of this process.

A reader joins a topic, a conversation or a workspace, once it has read under its own rights what was stored before. The
hub polls for all topics at once, with the rights of the functions, and wakes the readers of those with news. A reader
takes from its topic what its position lacks and what its level lets it see. Every few seconds the same poll asks
whether each reader may still read, and how much.

A process that listens (`SWITCHBOARD_LISTEN`) polls a topic as soon as a change of it is announced
(lib/database/announcements.py), and all topics every few seconds, since an announcement may be lost.
"""

import asyncio
import json
import math
import time
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from lib import config, errors, log
from lib.auth import callers
from lib.auth.callers import Proof
from lib.database import commands, listening
from lib.fields.models import Record
from lib.personas import Role
from lib.sessions.models import LastMessage, Status

PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 3.0
PAUSE_GROWTH = 1.15
"""Growth of the pause while nothing happens: 3 s after eight idle polls."""

TURN_SECONDS = 0.25
"""Pause of a process that listens while it follows an answer, whose pieces are not announced."""

RECHECK_SECONDS = 4.0
"""After this time the next poll asks again what a reader may read."""

OUTAGE_SECONDS = 30.0
"""Streams end after this time without a successful poll."""

RECENT_SECONDS = 20
"""Longer than private.longest_write(): older changes are not found again."""

KEPT_MESSAGES = 200
KEPT_SECONDS = 60
"""What a topic keeps for readers that join or lag: messages of a conversation, changes of a workspace's sessions."""

Place = tuple[datetime, UUID]
"""The position of a message: the time of its last change, and its id."""

Level = Literal["all", "own", "assigned"]
"""What a reader sees: all sessions; all, as the person whose conversation it is; or an agent's assigned (in a workspace
also their own) ones."""

_LEVELS: Mapping[str, Level] = {"all": "all", "own": "own", "assigned": "assigned"}


class StreamedMessage(Record):
    """A message. ``turn_id`` is the turn of a message to or from the persona; other messages have none.

    ``proof``, for members: whether the contact who sent it has proven who they are. ``speaker``, of what a contact's
    device heard: who spoke, if it was not the contact. ``changed_at``: when its text last changed. ``user_id``, for
    members, of a member's message: the member or API key who wrote it.
    """

    id: UUID
    session_id: UUID
    turn_id: UUID | None
    role: Role
    speaker: str | None = None
    text: str
    partial: bool
    created_at: datetime
    changed_at: datetime | None = None
    proof: Proof | None = None
    user_id: UUID | None = None

    @property
    def place(self) -> Place:
        """The message's position."""
        return self.changed_at or self.created_at, self.id


class SessionState(Record):
    """The state of the live session, or of the last one; ``taken_over``: a member answers instead of the persona.

    ``contact_id`` and ``user_id`` are whose it is. ``proof``, for members: whether its contact has proven who they are.
    """

    session_id: UUID
    status: Status
    taken_over: bool
    contact_id: UUID | None = None
    user_id: UUID | None = None
    proof: Proof | None = None


class PresentMember(Record):
    """A member who has a conversation open."""

    user_id: UUID
    typing: bool


class RunningTurn(Record):
    """The answer under way in a session, as far as it is stored."""

    turn_id: UUID
    session_id: UUID
    text: str


class ChangedSession(Record):
    """A session of a workspace as a list shows it. ``at``: its last change, in microseconds since 1970."""

    at: int
    session_id: UUID
    conversation_id: UUID
    contact_id: UUID | None
    user_id: UUID | None
    persona_id: UUID
    status: Status
    workflow_step: str | None
    taken_over: bool
    assigned_user_id: UUID | None
    opened_by_key_id: UUID | None = None
    message_count: int
    created_at: datetime
    last_activity_at: datetime
    last_message: LastMessage | None

    @property
    def key(self) -> str:
        """The session's key in positions: private.short_id()."""
        return str(self.session_id)[-8:]


class _ConversationNews(Record):
    id: UUID
    messages: tuple[StreamedMessage, ...]
    more: bool
    assigned: Mapping[UUID, tuple[UUID | None, ...]] | None
    session: SessionState | None
    session_at: str | None
    turn: RunningTurn | None
    present: tuple[PresentMember, ...] | None = None


class _News(Record):
    now: int
    readers: Mapping[str, str | None]
    conversations: tuple[_ConversationNews, ...]
    workspaces: Mapping[UUID, tuple[ChangedSession, ...]]


@dataclass(eq=False)
class Conversation:
    """A conversation that streams of this process follow: what came after ``base``, up to ``tail``."""

    id: UUID
    tail: Place | None
    base: Place | None = None
    messages: deque[StreamedMessage] = field(default_factory=deque)
    session: SessionState | None = None
    assigned: dict[UUID, tuple[UUID | None, ...]] = field(default_factory=dict)
    """The member that a session is assigned to, and the key that opened it."""
    turn: RunningTurn | None = None
    present: tuple[PresentMember, ...] = ()
    polled_at: float = -math.inf
    """When the last poll began (monotonic): the state is not older."""
    readers: "set[Reader]" = field(default_factory=set)
    _session_at: str | None = None

    def __post_init__(self) -> None:
        self.base = self.tail

    def lacks(self, *places: Place | None) -> bool:
        """Whether messages after all of these positions are no longer kept."""
        return self.base is not None and all(place is None or place < self.base for place in places)

    def question(self) -> dict[str, Any]:
        """What the poll needs to find the news."""
        at, after = self.tail or (None, None)
        return {
            "id": self.id,
            "at": at.isoformat() if at else None,
            "after": after,
            "session_id": self.session.session_id if self.session else None,
            "session_at": self._session_at,
            "turn_id": self.turn.turn_id if self.turn else None,
            "characters": len(self.turn.text) if self.turn else 0,
            "present": [member.model_dump() for member in self.present],
        }

    def add(self, news: _ConversationNews) -> None:
        """Take the news over, and wake the readers."""
        self.messages.extend(news.messages)
        if news.messages:
            self.tail = news.messages[-1].place
        while len(self.messages) > KEPT_MESSAGES:
            self.base = self.messages.popleft().place
        if news.session is not None:
            self.session, self._session_at = news.session, news.session_at
        self.assigned |= news.assigned or {}
        self.present = self.present if news.present is None else news.present
        if news.turn is not None and self.turn is not None and news.turn.turn_id == self.turn.turn_id:
            self.turn = news.turn.model_copy(update={"text": self.turn.text + news.turn.text})
        else:
            self.turn = news.turn
        for reader in self.readers:
            reader.changed.set()


@dataclass(eq=False)
class Workspace:
    """A workspace whose list streams of this process follow; ``recent`` are the last changes by session."""

    id: UUID
    now: int
    recent: dict[UUID, ChangedSession] = field(default_factory=dict)
    readers: "set[Reader]" = field(default_factory=set)

    def question(self) -> dict[str, Any]:
        """What the poll needs to find the news."""
        recent = self.now - RECENT_SECONDS * 1_000_000
        known = {session.key: session.at for session in self.recent.values() if session.at > recent}
        return {"id": self.id, "since": datetime.fromtimestamp(self.now / 1e6, UTC).isoformat(), "known": known}

    def add(self, now: int, changed: Collection[ChangedSession]) -> None:
        """Take the news over, and wake the readers."""
        oldest = now - KEPT_SECONDS * 1_000_000
        # In the order of their changes.
        kept = {key: session for key, session in self.recent.items() if session.at > oldest}
        for session in changed:
            kept.pop(session.session_id, None)
            kept[session.session_id] = session
        self.recent, self.now = kept, now
        if changed:
            for reader in self.readers:
                reader.changed.set()


@dataclass(eq=False)
class Reader:
    """One stream. ``level`` is what it may see, ``code`` why it must end.

    ``current``: it follows the user's current conversation, until that is another one (``moved``).
    """

    caller: callers.Contact | callers.User
    topic: Conversation | Workspace | None
    level: Level
    current: bool = False
    moved: bool = False
    waits_for_poll: bool = False
    """It has read by itself what may be newer than the topic, and is woken by the next poll, even without news."""
    code: str | None = None
    checked_at: float = field(default_factory=time.monotonic)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def question(self, key: int) -> dict[str, Any]:
        """What the poll needs to find the level."""
        asked: dict[str, Any] = {"key": str(key), "claims": json.loads(self.caller.token_claims)}
        if isinstance(self.topic, Workspace):
            asked["workspace_id"] = self.topic.id
        elif self.topic is not None and not self.current:
            asked["conversation_id"] = self.topic.id
        return asked

    def told(self, level: str | None) -> None:
        """Take the answer to the question over."""
        self.checked_at = time.monotonic()
        if self.current:
            if level != (str(self.topic.id) if self.topic else None):
                self.moved = True
                self.changed.set()
        elif (found := _LEVELS.get(level or "")) is None:
            self.end(level or "conversation_not_found")
        elif found != self.level:
            self.level = found
            self.changed.set()

    def end(self, code: str) -> None:
        """Let the stream end."""
        self.code = code
        self.changed.set()

    async def wait(self, seconds: float) -> None:
        """Wait for news, at most so long."""
        try:
            async with asyncio.timeout(max(seconds, 0)):
                await self.changed.wait()
        except TimeoutError:
            return
        self.changed.clear()


class Hub:
    """The topics and readers of one event loop, which is one for each process of a deployed function."""

    def __init__(self) -> None:
        self.conversations: dict[UUID, Conversation] = {}
        self.workspaces: dict[UUID, Workspace] = {}
        self._readers: set[Reader] = set()
        self._task: asyncio.Task[None] | None = None
        self._polled_at = 0.0
        self._announced: set[UUID] = set()
        self._poke = asyncio.Event()
        self._rpc = commands.acting_as(callers.System(), callers.SYSTEM_SCOPE)

    def join(self, reader: Reader) -> Reader:
        """Let a reader take part from now on, until it leaves."""
        if reader.topic is not None:
            reader.topic.readers.add(reader)
            if config.settings().switchboard_listen:
                self._announced.add(reader.topic.id)
                self._poke.set()
        self._readers.add(reader)
        if self._task is None or self._task.done():
            self._polled_at = time.monotonic()
            self._task = asyncio.create_task(self._run())
        return reader

    def leave(self, reader: Reader) -> None:
        """Take a reader out; the last one stops the polls."""
        self._readers.discard(reader)
        if (topic := reader.topic) is not None:
            topic.readers.discard(reader)
            topics: dict[UUID, Any] = self.workspaces if isinstance(topic, Workspace) else self.conversations
            if not topic.readers and topics.get(topic.id) is topic:
                del topics[topic.id]
        if not self._readers and self._task is not None:
            self._task.cancel()
            self._task = None

    def conversation(self, conversation_id: UUID, place: Place | None) -> Conversation:
        """The topic of a conversation; a new one begins at this position."""
        return self.conversations.setdefault(conversation_id, Conversation(conversation_id, place))

    def workspace(self, workspace_id: UUID, now: int) -> Workspace:
        """The topic of a workspace; a new one begins at this time."""
        return self.workspaces.setdefault(workspace_id, Workspace(workspace_id, now))

    def _on_change(self, payload: str) -> None:
        """An announced change: the ids of a conversation and its workspace."""
        ids = {UUID(word) for word in payload.split()}
        self._announced |= ids & (self.conversations.keys() | self.workspaces.keys())
        if self._announced:
            self._poke.set()

    async def _run(self) -> None:
        try:
            if config.settings().switchboard_listen:
                async with listening.listener(self._on_change) as connect:
                    await self._poll_when_announced(connect)
            else:
                await self._poll_regularly()
        except Exception:
            log.error("hub_broke")
            self._end_all("internal_error")

    async def _poll_regularly(self) -> None:
        pause = PAUSE_SECONDS
        while True:
            await asyncio.sleep(pause)
            is_busy = await self._poll(None)
            pause = PAUSE_SECONDS if is_busy else min(pause * PAUSE_GROWTH, LONGEST_PAUSE_SECONDS)

    async def _poll_when_announced(self, connect: Callable[[], Awaitable[None]]) -> None:
        all_at = 0.0
        while True:
            await connect()
            only = await self._until_announced(all_at)
            if only is None:
                all_at = time.monotonic() + LONGEST_PAUSE_SECONDS
            await self._poll(only)

    async def _until_announced(self, all_at: float) -> set[UUID] | None:
        """The topics to poll, once there are some; None for all."""
        running = {topic.id for topic in self.conversations.values() if topic.turn is not None}
        left = all_at - time.monotonic()
        if left > 0:
            try:
                async with asyncio.timeout(min(left, TURN_SECONDS) if running else left):
                    await self._poke.wait()
            except TimeoutError:
                pass
        self._poke.clear()
        announced, self._announced = self._announced, set()
        return None if time.monotonic() >= all_at else announced | running

    async def _poll(self, only: set[UUID] | None) -> bool:
        """Poll topics, all of them without ``only``; whether there was news. While the database gives no answer, the
        streams wait for it."""
        try:
            while (found := await self._read_news(only)) == "more":
                pass
        except errors.Problem as problem:
            log.warning("streams_not_polled", code=problem.code)
            if time.monotonic() - self._polled_at > OUTAGE_SECONDS:
                self._end_all(problem.code)
            return False
        self._polled_at = time.monotonic()
        return bool(found)

    def _end_all(self, code: str) -> None:
        for reader in self._readers:
            reader.end(code)

    async def _read_news(self, only: set[UUID] | None) -> Literal["more", "news", ""]:
        conversations = [topic for topic in self.conversations.values() if only is None or topic.id in only]
        workspaces = [topic for topic in self.workspaces.values() if only is None or topic.id in only]
        due_before = time.monotonic() - RECHECK_SECONDS
        due = [reader for reader in self._readers if reader.checked_at <= due_before]
        arguments = {
            "conversations": [topic.question() for topic in conversations],
            "workspaces": [topic.question() for topic in workspaces],
            "readers": [reader.question(key) for key, reader in enumerate(due)],
        }
        if not (conversations or workspaces or due):
            return ""
        began = time.monotonic()
        news = await self._rpc.call("poll_streams", arguments, _News, repeatable=True)
        for key, reader in enumerate(due):
            reader.told(news.readers.get(str(key)))
        # A topic that ended meanwhile may have begun again, from elsewhere.
        asked = {topic.id: topic for topic in conversations if self.conversations.get(topic.id) is topic}
        found = [each for each in news.conversations if each.id in asked]
        for each in found:
            asked[each.id].add(each)
        for conversation in conversations:
            conversation.polled_at = began
            for reader in conversation.readers:
                if reader.waits_for_poll:
                    reader.waits_for_poll = False
                    reader.changed.set()
        for topic in workspaces:
            topic.add(news.now, news.workspaces.get(topic.id, ()))
        if any(each.more for each in found):
            return "more"
        return "news" if found or any(news.workspaces.values()) else ""


_hubs: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Hub]" = weakref.WeakKeyDictionary()


def hub() -> Hub:
    """The hub of this event loop."""
    loop = asyncio.get_running_loop()
    if (found := _hubs.get(loop)) is None:
        found = _hubs[loop] = Hub()
    return found
