"""How conversations are followed: one poll for all readers, what each is sent, and when a stream ends."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from lib import errors
from lib.auth import callers
from lib.conversations import hub as hubs
from lib.conversations import stream, workspace_stream
from lib.conversations.stream import Encoder, Event, MessageAdded, Position, SessionChange
from lib.database import commands
from lib.http.sse import StreamBroken
from tests.unit.sql_functions import SqlFunctions, raised

WORKSPACE, CONVERSATION, SESSION, TURN, AGENT = (uuid4() for _ in range(5))
CONTACT = callers.Contact(WORKSPACE, uuid4(), CONVERSATION, "asserted", "their-token")
MEMBER = callers.User(AGENT, None, "a-token")


def said(text: str, **more: Any) -> dict[str, Any]:
    return {
        "id": str(uuid4()), "session_id": str(SESSION), "turn_id": None, "role": "member", "text": text,
        "partial": False, "created_at": datetime.now(UTC).isoformat(), **more,
    }  # fmt: skip


class Kept:
    """One conversation, as follow_conversation and poll_streams see it, in parts of two messages."""

    def __init__(self, sql: SqlFunctions) -> None:
        self.messages: list[dict[str, Any]] = []
        self.taken_over = False
        self.assigned: UUID | None = None
        self.turn: dict[str, Any] | None = None
        self.level = "all"
        self.reads: list[str | None] = []
        self.polls: list[dict[str, Any]] = []
        sql.functions["follow_conversation"] = self.read
        sql.functions["poll_streams"] = self.poll

    def say(self, *texts: str, **more: Any) -> None:
        self.messages += [said(text, **more) for text in texts]

    def part(self, after: str | None, most: int) -> list[dict[str, Any]]:
        ids = [message["id"] for message in self.messages]
        return self.messages[ids.index(after) + 1 if after else 0 :][:most]

    @property
    def session(self) -> dict[str, Any]:
        return {"session_id": str(SESSION), "status": "active", "taken_over": self.taken_over, "proof": "asserted"}

    def read(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.reads.append(asked["after"])
        visible = self.level == "all" or self.assigned == AGENT
        after = asked["after"] or (self.messages[-1]["id"] if asked["only_new"] and self.messages else None)
        part = self.part(after, 2) if visible else []
        at = {message["id"]: message["created_at"] for message in self.messages}
        last = part[-1]["id"] if part else after
        more = visible and len(self.part(after, 3)) > 2
        state = self.session if visible else None
        return {
            "messages": part, "last": last, "last_at": at.get(last or ""), "session": state, "level": self.level,
            "more": more,
        }  # fmt: skip

    def poll(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.polls.append(asked)
        news = []
        for each in asked["conversations"]:
            part, turn = self.part(each["after"], 2), self.turn
            turn = turn and turn | {"text": turn["text"][each["characters"] if each["turn_id"] else 0 :]}
            member = self.assigned and str(self.assigned)
            version = f"{self.taken_over} {member}"
            if part or turn or each["session_at"] != version:
                news.append({
                    "id": each["id"], "messages": part, "more": len(self.part(each["after"], 3)) > 2, "turn": turn,
                    "session": self.session, "session_at": version, "assigned": {str(SESSION): [member]},
                })  # fmt: skip
        readers = {reader["key"]: self.level for reader in asked["readers"]}
        return {"now": 0, "readers": readers, "conversations": news, "workspaces": {}}


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubs, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(hubs, "LONGEST_PAUSE_SECONDS", 0.03)
    monkeypatch.setattr(hubs, "RECHECK_SECONDS", 0.05)


@pytest.fixture
def kept(sql: SqlFunctions) -> Kept:
    return Kept(sql)


async def follow(
    after: Position | None = None, caller: callers.Contact | callers.User = CONTACT
) -> AsyncIterator[Event]:
    """The events of the conversation, within five seconds each."""
    after = after or Position()
    part = await stream.read(commands.reading_as(caller), CONVERSATION, after)
    async with aclosing(stream.follow(caller, CONVERSATION, part, after)) as events:
        while True:
            async with asyncio.timeout(5):
                try:
                    event = await anext(events)
                except StopAsyncIteration:
                    return
            yield event


async def take(reading: AsyncIterator[Event], count: int) -> list[Any]:
    return [await anext(reading) for _ in range(count)]


def texts(events: list[Event]) -> list[str]:
    return [event.message.text for event in events if isinstance(event, MessageAdded)]


async def test_stored_parts_follow_at_once_and_one_poll_serves_every_reader(kept: Kept) -> None:
    kept.say("a", "b", "c")
    readers = [follow() for _ in range(5)]
    for reader in readers:
        state, *heard = await take(reader, 4)
        assert (type(state), texts(heard)) == (SessionChange, ["a", "b", "c"])
    polls = len(kept.polls)
    kept.say("d", "e", "f")
    kept.taken_over = True
    for heard in await asyncio.gather(*(take(reader, 4) for reader in readers)):
        assert (heard[0].standing.taken_over, texts(heard)) == (True, ["d", "e", "f"])
        # Where it breaks off in between, it resumes with these messages.
        assert str(heard[0].position) == kept.messages[2]["id"]
    assert len(kept.polls) <= polls + 4
    assert len(kept.reads) == 10, "each reader reads the two stored parts itself, and nothing more"
    for reader in readers:
        await reader.aclose()  # type: ignore[attr-defined]
    await asyncio.sleep(0.05)
    assert len(kept.polls) == (polls := len(kept.polls))
    assert hubs.hub().conversations == {}


async def test_an_answer_grows_and_ends_with_its_message_and_a_resume_continues_it(kept: Kept) -> None:
    kept.say("Hello", turn_id=str(TURN), role="contact")
    kept.turn = {"turn_id": str(TURN), "session_id": str(SESSION), "text": "Hi"}
    reading = follow()
    _, _, grown = await take(reading, 3)
    assert (grown.text, str(grown.position)) == ("Hi", f"{kept.messages[0]['id']}.{TURN}.2")
    kept.turn |= {"text": "Hi there"}
    (more,) = await take(reading, 1)
    assert (more.text, more.position.characters) == (" there", 8)
    kept.say("By the way")
    (other,) = await take(reading, 1)
    assert str(other.position) == f"{kept.messages[1]['id']}.{TURN}.8"
    resumed = follow(Position.parse(str(grown.position)))
    _, message, rest = await take(resumed, 3)
    assert (texts([message]), rest.text) == (["By the way"], " there")
    kept.turn = None
    kept.say("Hi there!", turn_id=str(TURN), role="persona")
    for each in (reading, resumed):
        (answer,) = await take(each, 1)
        assert (texts([answer]), str(answer.position)) == (["Hi there!"], kept.messages[-1]["id"])


async def test_an_agent_reads_what_is_assigned_and_first_what_they_missed(kept: Kept) -> None:
    kept.level, kept.assigned = "assigned", AGENT
    kept.say("a")
    reading = follow(caller=MEMBER)
    assert texts(await take(reading, 2)) == ["a"]
    kept.assigned = None
    await asyncio.sleep(0.05)
    kept.say("b")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await anext(reading)
    reading = follow(Position(UUID(kept.messages[0]["id"])), MEMBER)
    waiting = asyncio.create_task(take(reading, 3))
    await asyncio.sleep(0.05)
    kept.assigned = AGENT
    kept.say("c")
    state, *rest = await waiting
    assert (type(state), texts(rest)) == (SessionChange, ["b", "c"])


async def test_what_an_agent_may_not_see_is_not_read_again_and_again(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubs, "KEPT_MESSAGES", 2)
    kept.level, kept.assigned = "assigned", AGENT
    kept.say("a")
    reading = follow(caller=MEMBER)
    await take(reading, 2)
    kept.assigned = None
    waiting = asyncio.create_task(take(reading, 1))
    await asyncio.sleep(0.05)
    for text in "bcdef":
        kept.say(text)
        await asyncio.sleep(0.03)
    assert len(kept.reads) < 12
    kept.assigned = AGENT
    assert texts(await waiting) == ["b"]


@pytest.mark.parametrize(
    ("change", "code", "retryable"),
    [
        ("limit", "stream_limit", True),
        ("expiry", "token_expired", False),
        ("conversation_not_found", "conversation_not_found", False),
        ("token_revoked", "token_revoked", False),
        ("outage", "backend_unavailable", True),
    ],
)
async def test_a_stream_ends_with_its_time_its_token_or_its_right(
    kept: Kept, sql: SqlFunctions, monkeypatch: pytest.MonkeyPatch, change: str, code: str, retryable: bool
) -> None:
    kept.say("a")
    caller = CONTACT
    if change == "expiry":
        caller = callers.Contact(*_ids(), "asserted", "t", expires_at=time.time() + 0.2)
    if change == "limit":
        monkeypatch.setattr(stream, "limit_of_streams", lambda: time.monotonic() + 0.2)
    reading = follow(caller=caller)
    await take(reading, 2)
    if change == "outage":
        monkeypatch.setattr(hubs, "OUTAGE_SECONDS", 0.1)
        sql.functions["poll_streams"] = lambda _: errors.BackendUnavailable()
    elif code == change:
        monkeypatch.setattr(hubs, "RECHECK_SECONDS", 0)
        kept.level = change
        kept.say("not for them")
    (end,) = await take(reading, 1)
    assert end == StreamBroken(code)
    wire = Encoder().encode(end)
    assert f'"retryable":{str(retryable).lower()}'.encode() in wire
    assert b"id:" not in wire
    assert [event async for event in reading] == []


def _ids() -> tuple[UUID, UUID, UUID]:
    return CONTACT.workspace_id, CONTACT.contact_id, CONTACT.conversation_id


async def test_a_short_outage_ends_no_stream_and_loses_nothing(kept: Kept, sql: SqlFunctions) -> None:
    reading = follow()
    await take(reading, 1)
    sql.functions["poll_streams"] = lambda _: raised("57P01", "terminating connection")
    await asyncio.sleep(0.1)
    kept.say("a", "b")
    sql.functions["poll_streams"] = kept.poll
    assert texts(await take(reading, 2)) == ["a", "b"]


async def test_pauses_grow_up_to_their_bound_while_nothing_happens(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 20:
            kept.say("at last")
        await asyncio.sleep(0)

    names = {name: getattr(asyncio, name) for name in ("Event", "timeout", "create_task", "get_running_loop")}
    monkeypatch.setattr(hubs, "asyncio", SimpleNamespace(**names, sleep=sleep))
    await take(follow(), 2)
    assert slept[1] == 0.01, "what the first poll finds is news"
    assert slept[1:20] == sorted(slept[1:20])
    assert max(slept) == 0.03
    assert slept[20:21] in ([], [0.01]), "after a message they are short again"


def test_positions_are_read_as_they_are_written_and_nothing_else_is() -> None:
    message, turn = uuid4(), uuid4()
    at = datetime(2026, 12, 1, 12, 0, 0, 5, UTC)
    for position in (Position(message), Position(message, None, turn, 12), Position(message, at, turn, 12)):
        assert Position.parse(str(position)) == position
    assert str(Position()) == ""
    for text in (
        None,
        "",
        "12",
        f"{message}.",
        f"{message}.{turn}",
        f"{message}.{turn}.-1",
        f"{'-' * 36}",
        f" {message}",
    ):
        assert Position.parse(text) is None
    for text in ("1764547200000000", "1764547200000000.00000000:-15000000.0a1b2c3d:5"):
        assert str(workspace_stream.Position.parse(text)) == text
    for text in (None, "", "5", "1764547200000000.", "1764547200000000.0a1b2c3d", str(message)):
        assert workspace_stream.Position.parse(text) is None
