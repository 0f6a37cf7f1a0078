"""How a conversation is followed: how often it is asked, what a reader is told, and when it ends."""

from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from lib import errors
from lib.auth import callers
from lib.conversations import stream
from lib.conversations.stream import Encoder, Event, SessionChange, StreamedMessage
from lib.database import commands
from lib.http.sse import StreamBroken
from tests.unit.sql_functions import SqlFunctions, raised

CONVERSATION, SESSION = uuid4(), uuid4()
CONTACT = callers.Contact(uuid4(), uuid4(), CONVERSATION, "asserted", "their-token")


def said(text: str) -> dict[str, Any]:
    return {
        "id": str(uuid4()), "session_id": str(SESSION), "turn_id": None, "role": "member", "text": text,
        "partial": False, "created_at": "2026-11-21T12:00:00Z",
    }  # fmt: skip


class Kept:
    """follow_conversation over messages that a test adds to, in parts of two."""

    def __init__(self, sql: SqlFunctions, *texts: str) -> None:
        self.messages = [said(text) for text in texts]
        self.taken_over = False
        self.asked: list[dict[str, Any]] = []
        sql.functions["follow_conversation"] = self.answer

    def answer(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(arguments)
        ids = [message["id"] for message in self.messages]
        after = arguments["after"] or (ids[-1] if arguments["only_new"] and ids else None)
        rest = self.messages[ids.index(after) + 1 if after else 0 :]
        part = rest[:2]
        return {
            "messages": part,
            "last": part[-1]["id"] if part else after,
            "session": {"session_id": str(SESSION), "status": "active", "taken_over": self.taken_over},
            "more": len(rest) > 2,
        }


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(stream, "LONGEST_PAUSE_SECONDS", 0.03)


async def follow(after: UUID | None = None, stop: int = 100, then: Any = None) -> list[Event]:
    """The events up to so many; after each one ``then`` is called with how many there are."""
    rpc = commands.reading_as(CONTACT)
    part = await stream.read(rpc, CONVERSATION, after)
    heard: list[Event] = []
    async for event in stream.follow(rpc, CONVERSATION, part, after):
        heard.append(event)
        if then is not None:
            then(len(heard))
        if len(heard) == stop:
            break
    return heard


def texts(heard: list[Event]) -> list[str]:
    return [event.text for event in heard if isinstance(event, StreamedMessage)]


async def test_parts_follow_at_once_and_every_message_comes_once(sql: SqlFunctions) -> None:
    kept = Kept(sql, "a", "b", "c", "d", "e")
    heard = await follow(stop=6)
    assert isinstance(heard[0], SessionChange)
    assert texts(heard) == ["a", "b", "c", "d", "e"]
    assert [call["after"] for call in kept.asked] == [None, kept.messages[1]["id"], kept.messages[3]["id"]]


async def test_a_change_of_the_session_comes_before_the_messages_after_it(sql: SqlFunctions) -> None:
    kept = Kept(sql, "a")

    def take_over(count: int) -> None:
        if count == 2:
            kept.taken_over = True
            kept.messages.append(said("b"))

    first, _, changed, second = await follow(stop=4, then=take_over)
    assert isinstance(first, SessionChange)
    assert isinstance(changed, SessionChange)
    assert isinstance(second, StreamedMessage)
    assert (first.standing.taken_over, changed.standing.taken_over) == (False, True)
    # Whoever breaks off in between goes on with what was said.
    assert (first.last, str(changed.last)) == (None, kept.messages[0]["id"])


async def test_it_ends_with_its_time_and_may_be_resumed(sql: SqlFunctions, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept(sql)
    clock = iter(range(0, 10_000, 20))
    monkeypatch.setattr(stream, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    heard = await follow()
    assert heard[-1] == StreamBroken("stream_limit")
    assert len(kept.asked) < 30
    wire = Encoder().encode(heard[-1])
    assert b'"code":"stream_limit"' in wire
    assert b'"retryable":true' in wire
    assert b"id:" not in wire


async def test_it_ends_with_the_readers_token(sql: SqlFunctions) -> None:
    kept = Kept(sql, "a")

    def end(count: int) -> None:
        if count == 2:
            sql.functions["follow_conversation"] = lambda _: errors.TokenExpired()

    _, *heard, last = await follow(then=end)
    assert (texts(heard), last, len(kept.asked)) == (["a"], StreamBroken("token_expired"), 1)
    assert b'"retryable":false' in Encoder().encode(last)


async def test_pauses_grow_up_to_their_bound_while_nothing_happens(
    sql: SqlFunctions, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(sql)
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 20:
            kept.messages.append(said("at last"))
        if len(slept) == 22:
            sql.functions["follow_conversation"] = lambda _: raised("PT404", "conversation_not_found")

    monkeypatch.setattr(stream, "asyncio", SimpleNamespace(sleep=sleep))
    await follow()
    assert slept[0] == 0.01
    assert slept[:20] == sorted(slept[:20])
    assert max(slept) == 0.03
    assert slept[20] == 0.01, "after a message they are short again"
