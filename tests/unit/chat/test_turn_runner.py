import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from lib import personas
from lib.chat import turn_runner, turn_writer, turns
from lib.chat.events import Delta, Done, Event, Failed, Opened
from lib.chat.turns import Turn
from lib.database import retries
from lib.http.sse import StreamBroken
from lib.personas import Deferred, PersonaError, PersonaTurn, Piece, Text, Usage, sanitizer
from tests.unit.sql_functions import SqlFunctions, raised
from tests.unit.turn import Database, start

Say = Callable[[PersonaTurn], AsyncGenerator[Piece, None]]


@pytest.fixture
def database(sql: SqlFunctions, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A turn's database, and pauses that are short."""
    monkeypatch.setattr(turn_writer, "PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(turn_writer, "SILENCE_SECONDS", 0.05)
    monkeypatch.setattr(turns, "FOLLOW_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(turn_runner, "GRACE_SECONDS", 0)
    return Database(sql)


def speak(monkeypatch: pytest.MonkeyPatch, say: Say) -> None:
    """Let the persona of every kind say this."""

    class Speaker:
        def answer(self, turn: PersonaTurn) -> AsyncGenerator[Piece, None]:
            return say(turn)

    monkeypatch.setattr(personas, "find", lambda _: Speaker())


async def answer(turn: Turn | None = None) -> list[Event]:
    return [event async for event in turn_runner.stream_answer(turn or await start())]


def said(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


async def two_words(_: PersonaTurn) -> AsyncGenerator[Piece, None]:
    yield Text("Hello ")
    yield Text("you")
    yield Usage({"tokens": 2})


async def test_a_short_turn_is_two_calls(
    database: Database, sql: SqlFunctions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn_writer, "PAUSE_SECONDS", 1)
    speak(monkeypatch, two_words)
    events = await answer()
    assert sql.names() == ["start_turn", "finish_turn"]
    opened, first, second, done = events
    assert isinstance(opened, Opened)
    assert (first, second) == (Delta("Hello ", 6), Delta("you", 9))
    assert done == Done("completed", database.message_id, text_length=9, position=9, usage={"tokens": 2})
    assert database.finished_with["answer"] == "Hello you"
    assert database.finished_with["usage"] == {"tokens": 2}
    assert database.finished_with["first_token_ms"] >= 0


async def test_the_persona_is_given_what_the_database_says(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[PersonaTurn] = []

    async def listen(turn: PersonaTurn) -> AsyncGenerator[Piece, None]:
        given.append(turn)
        yield Text("ok")

    speak(monkeypatch, listen)
    await answer()
    (turn,) = given
    assert (turn.turn_id, turn.message, turn.secret) == (str(database.turn_id), "hello", "hush")
    assert [message.text for message in turn.history] == ["before"]
    assert [str(network) for network in turn.allowed_networks] == ["127.0.0.0/8", "fd00::/8"]
    assert "hush" not in repr(turn)


async def test_each_word_goes_on_before_the_next_is_said(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = asyncio.Event()

    async def wait_for_the_reader(_: PersonaTurn) -> AsyncGenerator[Piece, None]:
        yield Text("one")
        await asyncio.wait_for(heard.wait(), 5)
        yield Text("two")

    speak(monkeypatch, wait_for_the_reader)
    async for event in turn_runner.stream_answer(await start()):
        if isinstance(event, Delta):
            heard.set()
    assert database.text == "onetwo"


async def test_the_text_is_stored_behind_the_stream(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def slowly(_: PersonaTurn) -> AsyncGenerator[Piece, None]:
        for _word in range(10):
            await asyncio.sleep(0.01)
            yield Text("word ")

    speak(monkeypatch, slowly)
    events = await answer()
    assert said(events) == database.text == "word " * 10
    assert database.chunks
    assert database.text.startswith(database.chunks)


@pytest.mark.parametrize("code", ["persona_unreachable", "persona_cut_off", "persona_misconfigured"])
async def test_a_persona_that_fails_leaves_a_failed_turn_with_what_it_said(
    database: Database, monkeypatch: pytest.MonkeyPatch, code: Any
) -> None:
    async def fail(_: PersonaTurn) -> AsyncGenerator[Piece, None]:
        yield Text("Hel")
        raise PersonaError(code, "the other side said no")

    speak(monkeypatch, fail)
    events = await answer()
    assert events[-1] == Failed(code, position=3)
    kept = database.finished_with
    assert (kept["status"], kept["answer"], kept["error_code"]) == ("failed", "Hel", code)
    assert kept["error_detail"] == "the other side said no"


async def test_a_persona_with_a_bug_is_an_internal_error(
    database: Database, monkeypatch: pytest.MonkeyPatch, log_lines: list[dict[str, Any]]
) -> None:
    async def break_down(_: PersonaTurn) -> AsyncGenerator[Piece, None]:
        yield Text("Hel")
        raise ZeroDivisionError

    speak(monkeypatch, break_down)
    assert (await answer())[-1] == Failed("internal_error", position=3)
    assert any("ZeroDivisionError" in line.get("traceback", "") for line in log_lines)


@pytest.mark.parametrize("nothing", [Usage({}), Text(""), Text("\x00"), Text(" \n")])
async def test_an_answer_without_a_word_is_a_bad_one(
    database: Database, monkeypatch: pytest.MonkeyPatch, nothing: Piece
) -> None:
    async def say_nothing(_: PersonaTurn) -> AsyncGenerator[Piece, None]:
        yield nothing

    speak(monkeypatch, say_nothing)
    last = (await answer())[-1]
    assert isinstance(last, Failed)
    assert last.code == "persona_bad_answer"
    assert database.status == "failed"


@pytest.mark.parametrize(
    "wrong",
    [
        "text",
        None,
        Text(None),  # type: ignore[arg-type]
        Text(b"bytes"),  # type: ignore[arg-type]
        Usage({"price": float("nan")}),
        Usage({"price": b"1"}),
        Usage({"model": "\x00"}),
        Usage([1]),  # type: ignore[arg-type]
    ],
    ids=repr,
)
async def test_what_is_no_piece_of_an_answer_ends_it_at_once(
    database: Database, monkeypatch: pytest.MonkeyPatch, log_lines: list[dict[str, Any]], wrong: Piece
) -> None:
    async def slip(_: PersonaTurn) -> AsyncGenerator[Piece, None]:
        yield Text("Hel")
        yield wrong
        await asyncio.sleep(60)

    speak(monkeypatch, slip)
    assert (await answer())[-1] == Failed("internal_error", position=3)
    assert (database.status, database.text) == ("failed", "Hel")
    assert any("sanitizer.py" in line.get("traceback", "") for line in log_lines)


async def test_of_what_is_said_all_that_can_be_stored_goes_on(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stammer(_: PersonaTurn) -> AsyncGenerator[Piece, None]:
        for text in ("a\x00b", "", "\ud83d", "\ude42", "c", "\ud83d"):
            yield Text(text)

    speak(monkeypatch, stammer)
    events = await answer()
    assert said(events) == database.text == "ab🙂c\ufffd"
    assert [event.text for event in events if isinstance(event, Delta)] == ["ab", "🙂", "c", "\ufffd"]


async def test_an_answer_has_an_end(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sanitizer, "MAX_CHARACTERS", 7)

    async def go_on(_: PersonaTurn) -> AsyncGenerator[Piece, None]:
        while True:
            yield Text("on ")
            await asyncio.sleep(0)

    speak(monkeypatch, go_on)
    assert (await answer())[-1] == Failed("persona_too_large", position=6)
    assert (database.status, database.text) == ("failed", "on on ")


async def test_a_persona_that_does_not_stop_is_left_behind(
    database: Database, monkeypatch: pytest.MonkeyPatch, log_lines: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(turn_runner, "STOP_SECONDS", 0.1)
    database.time_limit = 1
    release = asyncio.Event()

    async def cling(_: PersonaTurn) -> AsyncGenerator[Piece, None]:
        yield Text("Hel")
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()
        yield Text("lo")

    speak(monkeypatch, cling)
    assert (await asyncio.wait_for(answer(), 10))[-1] == Failed("persona_timeout", position=3)
    assert (database.status, database.text) == ("timeout", "Hel")
    assert "persona_does_not_stop" in [line["event"] for line in log_lines]
    release.set()


async def test_whatever_breaks_the_turn_ends_and_so_does_all_that_worked_on_it(
    database: Database, sql: SqlFunctions, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = asyncio.Event()

    async def hang(_: PersonaTurn) -> AsyncGenerator[Piece, None]:
        try:
            await asyncio.sleep(0.1)  # until the first pause is over and texts are stored
            yield Text("Hel")
            await asyncio.sleep(60)
        finally:
            closed.set()

    def break_down(self: turn_writer.TurnWriter, text: str) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(turn_writer.TurnWriter, "add", break_down)
    speak(monkeypatch, hang)
    with pytest.raises(ZeroDivisionError):
        await answer()
    assert closed.is_set()
    assert (database.status, database.finished_with["error_code"]) == ("failed", "internal_error")
    calls = sql.names()
    await asyncio.sleep(0.2)
    assert "flush_turn" in calls
    assert sql.names() == calls


async def test_a_failures_detail_is_kept_as_far_as_it_can_be(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: PersonaTurn) -> AsyncGenerator[Piece, None]:
        yield Text("Hel")
        raise PersonaError("persona_failed", "no\x00thing")

    speak(monkeypatch, fail)
    assert (await answer())[-1] == Failed("persona_failed", position=3)
    assert database.finished_with["error_detail"] == "nothing"


async def test_a_persona_that_never_ends_is_stopped_at_the_turns_limit(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.time_limit = 1
    closed = asyncio.Event()

    async def hang(_: PersonaTurn) -> AsyncGenerator[Piece, None]:
        try:
            yield Text("Hel")
            await asyncio.sleep(60)
        finally:
            closed.set()

    speak(monkeypatch, hang)
    begun = time.monotonic()
    events = await answer()
    assert events[-1] == Failed("persona_timeout", position=3)
    assert 0.9 < time.monotonic() - begun < 3
    assert (database.status, database.text) == ("timeout", "Hel")
    assert closed.is_set()


async def test_a_cancel_elsewhere_stops_the_persona_and_keeps_what_stands(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = asyncio.Event()

    async def chatter(_: PersonaTurn) -> AsyncGenerator[Piece, None]:
        try:
            while True:
                yield Text("word ")
                await asyncio.sleep(0.005)
        finally:
            closed.set()

    speak(monkeypatch, chatter)
    events: list[Event] = []
    async for event in turn_runner.stream_answer(await start()):
        events.append(event)
        if len(events) == 10:
            database.end_elsewhere("cancelled", database.chunks)
    done = events[-1]
    assert isinstance(done, Done)
    assert (done.status, done.text_length) == ("cancelled", len(database.text))
    assert done.position == len(said(events))
    assert closed.is_set()


async def test_a_sweep_elsewhere_is_an_error_to_the_reader(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(_: PersonaTurn) -> AsyncGenerator[Piece, None]:
        yield Text("Hel")
        database.end_elsewhere("timeout", "")
        database.error_code = "lease_expired"
        await asyncio.sleep(60)

    speak(monkeypatch, hang)
    assert (await answer())[-1] == Failed("lease_expired", position=3)


async def test_an_answer_that_comes_later_is_followed(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def later(_: PersonaTurn) -> AsyncGenerator[Piece, None]:
        yield Deferred()

    async def call_back() -> None:
        await asyncio.sleep(0.1)
        database.end_elsewhere("completed", "Here it is.")

    speak(monkeypatch, later)
    calling = asyncio.create_task(call_back())
    events = await answer()
    await calling
    assert events[1:] == [
        Delta("Here it is.", 11),
        Done("completed", database.message_id, text_length=11, position=11),
    ]


async def test_a_failure_that_comes_later_is_told_as_such(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def later(_: PersonaTurn) -> AsyncGenerator[Piece, None]:
        yield Deferred()
        database.end_elsewhere("failed", "Hel")
        database.error_code = "persona_failed"

    speak(monkeypatch, later)
    assert (await answer())[1:] == [Delta("Hel", 3), Failed("persona_failed", position=3)]


async def test_an_answer_that_never_comes_ends_at_the_turns_limit(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.time_limit = 1

    async def later(_: PersonaTurn) -> AsyncGenerator[Piece, None]:
        yield Deferred()

    speak(monkeypatch, later)
    assert (await answer())[-1] == Failed("persona_timeout", position=0)
    assert database.status == "timeout"


async def test_a_persona_that_never_pauses_ends_at_the_turns_limit_too(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.time_limit = 1

    async def endless(_: PersonaTurn) -> AsyncGenerator[Piece, None]:
        while True:
            for _piece in range(20):
                yield Text("x")
            await asyncio.sleep(0)

    speak(monkeypatch, endless)
    async with asyncio.timeout(10):
        events = [event async for event in turn_runner.stream_answer(await start())]
    assert isinstance(events[-1], Failed)
    assert events[-1].code == "persona_timeout"


async def test_a_database_that_hiccups_does_not_break_the_stream(
    database: Database, sql: SqlFunctions, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql.functions["flush_turn"] = lambda _: raised("57P01", "no")
    failures = 2

    def finish(arguments: dict[str, Any]) -> Any:
        nonlocal failures
        if failures:
            failures -= 1
            return raised("57P01", "no")
        return database.finish(arguments)

    async def slowly(_: PersonaTurn) -> AsyncGenerator[Piece, None]:
        for _word in range(10):
            await asyncio.sleep(0.01)
            yield Text("word ")

    sql.functions["finish_turn"] = finish
    speak(monkeypatch, slowly)
    events = await answer()
    assert said(events) == database.text == "word " * 10
    assert isinstance(events[-1], Done)


async def test_a_database_that_stays_away_ends_the_stream_with_an_error(
    database: Database, sql: SqlFunctions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "PERSISTENT", retries.Patience(tries=2, longest_pause=0.01))
    sql.functions["finish_turn"] = lambda _: raised("57P01", "no")
    speak(monkeypatch, two_words)
    assert (await answer())[-1] == StreamBroken("backend_unavailable")


@pytest.mark.parametrize("cancels", [1, 2])
async def test_a_process_that_is_stopped_finishes_the_turn_first(
    database: Database, monkeypatch: pytest.MonkeyPatch, cancels: int
) -> None:
    async def hang(_: PersonaTurn) -> AsyncGenerator[Piece, None]:
        yield Text("Hel")
        await asyncio.sleep(60)

    speak(monkeypatch, hang)
    heard = asyncio.Event()

    async def consume() -> None:
        async for event in turn_runner.stream_answer(turn):
            if isinstance(event, Delta):
                heard.set()

    turn = await start()
    consuming = asyncio.create_task(consume())
    await heard.wait()
    for _ in range(cancels):
        consuming.cancel()
        await asyncio.sleep(0.002)
    with pytest.raises(asyncio.CancelledError):
        await consuming
    assert (database.status, database.text) == ("failed", "Hel")
    assert database.finished_with["error_code"] == "turn_interrupted"
