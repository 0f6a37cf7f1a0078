"""Reading a turn to its end from any position, and taking a message in."""

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from lib import errors
from lib.auth import callers
from lib.chat import turns
from lib.chat.events import Delta, Done, Event, Failed, Opened
from lib.database import commands
from lib.http.sse import StreamBroken
from tests.unit.sql_functions import SqlFunctions, raised
from tests.unit.turn import WORKSPACE, Database, start

TURN, MESSAGE = uuid4(), uuid4()
CONTACT = callers.Contact(uuid4(), uuid4(), uuid4(), "asserted", "their-token")
TEXT = "Hello you, here is your answer."


class Stored:
    """read_turn over a text that grows: each read shows what the next state holds."""

    def __init__(self, sql: SqlFunctions, *states: tuple[str, str], error_code: str | None = None) -> None:
        self.states, self.error_code = list(states), error_code
        self.asked: list[int] = []
        sql.functions["read_turn"] = self.read

    def read(self, arguments: dict[str, Any]) -> dict[str, Any]:
        status, text = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        self.asked.append(arguments["after"])
        rest = text[arguments["after"] :]
        return {
            "turn_id": arguments["turn_id"],
            "session_id": str(uuid4()),
            "conversation_id": str(uuid4()),
            "contact_id": str(CONTACT.contact_id),
            "status": status,
            "position": arguments["after"] + len(rest) if status == "active" else len(text),
            "text": rest,
            "message_id": str(MESSAGE) if status != "active" else None,
            "error_code": self.error_code,
            "usage": None,
        }


async def follow(after: int | None = None) -> list[Event]:
    rpc = commands.reading_as(CONTACT)
    state = await turns.resume(rpc, TURN, after)
    opened = state.opened() if after is None else None
    return [event async for event in turns.follow(rpc, state, opened)]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "FOLLOW_PAUSE_SECONDS", 0.01)


def done(position: int, status: str = "completed") -> Done:
    return Done(status, MESSAGE, text_length=position, position=position)


async def test_a_finished_turn_replays_whole_or_from_any_position(sql: SqlFunctions) -> None:
    Stored(sql, ("completed", TEXT))
    opened, *events = await follow()
    assert isinstance(opened, Opened)
    assert (opened.turn_id, opened.token) == (TURN, None)
    assert events == [Delta(TEXT, len(TEXT)), done(len(TEXT))]
    for after in range(len(TEXT) + 3):
        rest = [Delta(TEXT[after:], len(TEXT))] if after < len(TEXT) else []
        assert await follow(after) == [*rest, done(len(TEXT))]


async def test_a_running_turn_is_followed_to_its_end(sql: SqlFunctions) -> None:
    growing = [("active", text) for text in ("", "Hello", "Hello", "Hello you")]
    stored = Stored(sql, *growing, ("completed", TEXT))
    _, *events = await follow()
    assert events == [Delta("Hello", 5), Delta(" you", 9), Delta(TEXT[9:], len(TEXT)), done(len(TEXT))]
    assert stored.asked == [0, 0, 5, 5, 9]


@pytest.mark.parametrize(
    ("status", "error_code", "end"),
    [
        ("cancelled", None, done(5, "cancelled")),
        ("failed", "persona_cut_off", Failed("persona_cut_off", 5)),
        ("failed", None, Failed("internal_error", 5)),
        ("timeout", "lease_expired", Failed("lease_expired", 5)),
        ("timeout", None, Failed("persona_timeout", 5)),
    ],
)
async def test_a_turn_ends_as_it_is_stored(sql: SqlFunctions, status: str, error_code: str | None, end: Event) -> None:
    Stored(sql, ("active", "Hel"), (status, "Hello"), error_code=error_code)
    assert (await follow())[-1] == end


async def test_a_stream_that_lasts_too_long_ends_for_the_reader_to_resume(
    sql: SqlFunctions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "FOLLOW_LIMIT_SECONDS", 0.05)
    Stored(sql, ("active", "Hel"))
    assert (await follow())[-1] == StreamBroken("stream_limit")


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (errors.TokenExpired, "token_expired"),
        (lambda: raised("PT404", "turn_not_found"), "turn_not_found"),
        (lambda: raised("57P01", "no"), "backend_unavailable"),
    ],
)
async def test_a_stream_whose_turn_cannot_be_read_any_more_ends_with_the_reason(
    sql: SqlFunctions, failure: Callable[[], Any], told: str
) -> None:
    rpc = commands.reading_as(CONTACT)
    Stored(sql, ("active", "Hel"))
    state = await turns.read(rpc, TURN)
    sql.functions["read_turn"] = lambda _: failure()
    assert [event async for event in turns.follow(rpc, state, None)] == [Delta("Hel", 3), StreamBroken(told)]


async def test_a_turn_that_may_not_be_seen_is_not_found(sql: SqlFunctions) -> None:
    sql.functions["read_turn"] = lambda _: raised("PT404", "turn_not_found")
    with pytest.raises(errors.Refused) as refusal:
        await turns.resume(commands.reading_as(CONTACT), TURN, None)
    assert (refusal.value.status, refusal.value.code) == (404, "turn_not_found")


async def test_a_caller_without_a_contact_token_gets_one(sql: SqlFunctions) -> None:
    Database(sql)
    assert (await start()).opened.token is not None
    contact = callers.Contact(WORKSPACE, uuid4(), uuid4(), "asserted", "their-token")
    assert (await start(contact)).opened.token is None


@pytest.mark.parametrize(
    ("caller", "client_message_id", "tries"),
    [
        (callers.Anonymous(), None, 1),
        (callers.Anonymous(), "guessable", 1),
        (callers.Anonymous(), str(UUID(int=7)), 2),
        (callers.User(uuid4(), None, "t"), None, 1),
        (callers.User(uuid4(), None, "t"), "mine", 2),
    ],
)
async def test_a_message_is_sent_again_only_where_it_stays_one_message(
    sql: SqlFunctions, caller: callers.Caller, client_message_id: str | None, tries: int
) -> None:
    Database(sql)
    sql.lost = 1
    if tries == 1:
        with pytest.raises(errors.BackendUnavailable):
            await start(caller, client_message_id=client_message_id)
    else:
        await start(caller, client_message_id=client_message_id)
    assert sql.names() == ["start_turn"] * tries
