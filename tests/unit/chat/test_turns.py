"""How the stream of a stored turn ends, and which messages are sent again."""

import contextlib
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from lib import errors
from lib.auth import callers
from lib.chat import turns
from lib.chat.events import Delta, Done, Event, Failed
from lib.database import commands
from lib.http.sse import StreamBroken
from tests.unit.sql_functions import SqlFunctions, raised
from tests.unit.turn import MESSAGE, Database, start

CONTACT = callers.Contact(uuid4(), uuid4(), uuid4(), "asserted", "their-token")


@pytest.fixture
def database(sql: SqlFunctions, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A running turn with its first text; pauses are short."""
    monkeypatch.setattr(turns, "FOLLOW_PAUSE_SECONDS", 0.01)
    database = Database(sql)
    database.chunks = "Hel"
    return database


async def followed(database: Database, then: Callable[[], Any] = lambda: None) -> list[Event]:
    """The events of the turn; ``then`` is called after the first read."""
    rpc = commands.reading_as(CONTACT)
    state = await turns.read(rpc, database.turn_id)
    then()
    return [event async for event in turns.follow(rpc, state, None)]


@pytest.mark.parametrize(
    ("status", "error_code", "end"),
    [
        ("cancelled", None, Done("cancelled", MESSAGE, text_length=5, position=5)),
        ("failed", "persona_cut_off", Failed("persona_cut_off", 5)),
        ("failed", None, Failed("internal_error", 5)),
        ("timeout", "lease_expired", Failed("lease_expired", 5)),
        ("timeout", None, Failed("persona_timeout", 5)),
    ],
)
async def test_a_turn_ends_as_it_is_stored(database: Database, status: str, error_code: str | None, end: Event) -> None:
    events = await followed(database, lambda: database.end_elsewhere(status, "Hello", error_code))
    assert events == [Delta("Hel", 3), Delta("lo", 5), end]


async def test_a_stream_that_lasts_too_long_ends_for_the_reader_to_resume(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "FOLLOW_LIMIT_SECONDS", 0.05)
    assert (await followed(database))[-1] == StreamBroken("stream_limit")


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (errors.TokenExpired, "token_expired"),
        (lambda: raised("PT404", "turn_not_found"), "turn_not_found"),
        (lambda: raised("57P01", "no"), "backend_unavailable"),
    ],
)
async def test_a_stream_whose_turn_cannot_be_read_any_more_ends_with_the_reason(
    database: Database, sql: SqlFunctions, failure: Callable[[], Any], told: str
) -> None:
    failing = {"read_turn": lambda _: failure()}
    events = await followed(database, lambda: sql.functions.update(failing))
    assert events == [Delta("Hel", 3), StreamBroken(told)]


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
    with contextlib.nullcontext() if tries > 1 else pytest.raises(errors.BackendUnavailable):
        await start(caller, client_message_id=client_message_id)
    assert sql.names() == ["start_turn"] * tries
