from typing import Any
from uuid import UUID, uuid4

import pytest

from lib import errors
from lib.auth import callers
from lib.chat import turns
from lib.chat.events import Delta, Done, Event, Failed, Opened
from lib.chat.turns import TurnState
from lib.database import commands
from lib.database.refusals import SqlError
from lib.http.sse import StreamBroken
from tests.unit.sql_functions import SqlFunctions, raised
from tests.unit.turn import WORKSPACE, Database, start

TURN, MESSAGE = uuid4(), uuid4()
CONTACT = callers.Contact(uuid4(), uuid4(), uuid4(), "asserted", "their-token")
TEXT = "Hello you, here is your answer."


class Stored:
    """read_turn over a text that grows: each read shows what the next state holds."""

    def __init__(self, sql: SqlFunctions, *states: tuple[str, str]) -> None:
        self.states = list(states)
        self.error_code: str | None = None
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


async def test_a_finished_turn_replays_whole(sql: SqlFunctions) -> None:
    Stored(sql, ("completed", TEXT))
    opened, delta, end = await follow()
    assert isinstance(opened, Opened)
    assert (opened.turn_id, opened.token) == (TURN, None)
    assert delta == Delta(TEXT, len(TEXT))
    assert end == done(len(TEXT))


@pytest.mark.parametrize("after", range(len(TEXT) + 3))
async def test_from_any_position_on_the_rest_comes_and_the_end_has_one_id(sql: SqlFunctions, after: int) -> None:
    Stored(sql, ("completed", TEXT))
    events = await follow(after)
    rest = "".join(event.text for event in events if isinstance(event, Delta))
    assert TEXT[:after] + rest == TEXT
    assert events[-1] == done(len(TEXT))
    assert not any(isinstance(event, Opened) for event in events)


async def test_a_running_turn_is_followed_to_its_end(sql: SqlFunctions) -> None:
    stored = Stored(
        sql,
        ("active", ""),
        ("active", "Hello"),
        ("active", "Hello"),
        ("active", "Hello you"),
        ("completed", TEXT),
    )
    _, *events = await follow()
    assert events == [Delta("Hello", 5), Delta(" you", 9), Delta(TEXT[9:], len(TEXT)), done(len(TEXT))]
    assert stored.asked == [0, 0, 5, 5, 9]


async def test_a_cancelled_turn_ends_as_such(sql: SqlFunctions) -> None:
    Stored(sql, ("active", "Hel"), ("cancelled", "Hello"))
    assert (await follow())[-1] == done(5, "cancelled")


@pytest.mark.parametrize(
    ("status", "stored", "shown"),
    [
        ("failed", "persona_cut_off", "persona_cut_off"),
        ("failed", None, "internal_error"),
        ("timeout", "lease_expired", "lease_expired"),
        ("timeout", None, "persona_timeout"),
    ],
)
async def test_a_failed_turn_ends_in_its_error(sql: SqlFunctions, status: str, stored: str | None, shown: str) -> None:
    Stored(sql, ("active", "Hel"), (status, "Hello")).error_code = stored
    assert (await follow())[-1] == Failed(shown, position=5)


async def test_a_stream_that_lasts_too_long_says_go_on(sql: SqlFunctions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "FOLLOW_LIMIT_SECONDS", 0.05)
    Stored(sql, ("active", "Hel"))
    assert (await follow())[-1] == StreamBroken("stream_limit")


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (errors.TokenExpired(), "token_expired"),
        (raised("PT404", "turn_not_found"), "turn_not_found"),
        (raised("57P01", "no"), "backend_unavailable"),
    ],
)
async def test_a_stream_that_cannot_go_on_still_has_an_end(
    sql: SqlFunctions, answer: errors.Problem | SqlError, code: str
) -> None:
    rpc = commands.reading_as(CONTACT)
    Stored(sql, ("active", "Hel"))
    state = await turns.read(rpc, TURN)
    sql.functions["read_turn"] = lambda _: answer
    events = [event async for event in turns.follow(rpc, state, None)]
    assert events == [Delta("Hel", 3), StreamBroken(code)]


async def test_a_turn_that_may_not_be_seen_is_not_found(sql: SqlFunctions) -> None:
    sql.functions["read_turn"] = lambda _: raised("PT404", "turn_not_found")
    with pytest.raises(errors.Refused) as refusal:
        await turns.resume(commands.reading_as(CONTACT), TURN, None)
    assert (refusal.value.status, refusal.value.code) == (404, "turn_not_found")


def test_a_state_opens_a_stream_without_a_token() -> None:
    state = TurnState(
        turn_id=TURN,
        session_id=UUID(int=1),
        conversation_id=UUID(int=2),
        contact_id=None,
        status="active",
        position=0,
        text="",
        message_id=None,
        error_code=None,
    )
    assert state.opened() == Opened(TURN, UUID(int=1), UUID(int=2), None)


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
        with pytest.raises(Exception, match="not available"):
            await start(caller, client_message_id=client_message_id)
    else:
        await start(caller, client_message_id=client_message_id)
    assert sql.names() == ["start_turn"] * tries
