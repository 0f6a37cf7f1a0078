"""A turn is streamed, stored and finished once, whatever the persona, the database or the process does."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest

from lib import personas
from lib.chat import turn_runner, turn_writer, turns
from lib.chat.events import Delta, Done, Event, Failed, Opened
from lib.database import retries
from lib.http.sse import StreamBroken
from lib.personas import Deferred, PersonaError, PersonaTurn, Piece, Text, Usage, sanitizer
from tests.unit.sql_functions import SqlFunctions, raised
from tests.unit.turn import MESSAGE, SPACE, Database, start

USER = UUID(int=7)


class Persona:
    """A persona that takes these steps: it says pieces, calls and awaits functions, and raises exceptions."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: tuple[Any, ...] = ()
        self.closed = asyncio.Event()
        monkeypatch.setattr(personas, "find", lambda _: self)

    async def answer(self, _: PersonaTurn) -> AsyncGenerator[Piece, None]:
        try:
            for step in self.steps:
                if isinstance(step, BaseException):
                    raise step
                if not callable(step):
                    yield step
                elif (waiting := step()) is not None:
                    await waiting
        finally:
            self.closed.set()

    async def heard(self, *steps: Any, then: Callable[[list[Event]], Any] = lambda _: None) -> list[Event]:
        """The events of its answer; ``then`` is called after each."""
        self.steps, events = steps, list[Event]()
        async with asyncio.timeout(20):
            async for event in turn_runner.stream_answer(await start()):
                events.append(event)
                then(events)
        return events


def hang() -> Awaitable[None]:
    return asyncio.sleep(3_600)


@pytest.fixture
def database(sql: SqlFunctions, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A turn's database, and pauses that are short."""
    monkeypatch.setattr(turn_writer, "PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(turn_writer, "SILENCE_SECONDS", 0.05)
    monkeypatch.setattr(turns, "FOLLOW_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(turn_runner, "GRACE_SECONDS", 0)
    return Database(sql)


@pytest.fixture
def persona(database: Database, monkeypatch: pytest.MonkeyPatch) -> Persona:
    """The persona of every kind."""
    return Persona(monkeypatch)


def said(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Delta)]


def at_text(heard: asyncio.Event) -> Callable[[list[Event]], None]:
    """Sets the event at the first text."""

    def check(events: list[Event]) -> None:
        if said(events):
            heard.set()

    return check


async def test_a_short_turn_is_two_calls(
    database: Database, persona: Persona, sql: SqlFunctions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn_writer, "PAUSE_SECONDS", 60)
    opened, *events = await persona.heard(Text("Hello "), Text("you"), Usage({"tokens": 2}))
    assert isinstance(opened, Opened)
    done = Done("completed", MESSAGE, text_length=9, position=9, usage={"tokens": 2})
    assert events == [Delta("Hello ", 6), Delta("you", 9), done]
    assert sql.names() == ["start_turn", "finish_turn"]
    assert (database.finished_with["answer"], database.finished_with["usage"]) == ("Hello you", {"tokens": 2})
    assert database.finished_with["first_token_ms"] >= 0


@pytest.mark.parametrize(
    ("found", "sender"),
    [
        ({"proof": "asserted"}, None),
        ({"proof": "verified"}, "contact_id"),
        ({"proof": "verified", "user_id": str(USER)}, "user_id"),
        ({"proof": None, "contact_id": None, "user_id": str(USER)}, "user_id"),
    ],
)
async def test_the_persona_is_given_the_senders_id_only_with_proof(
    database: Database, sql: SqlFunctions, found: dict[str, Any], sender: str | None
) -> None:
    contact = {"name": "Ann", "email": "ann@example.com", "attributes": {"vip": True}}
    started = database.start({}) | found | {"contact": contact}
    sql.functions["start_turn"] = lambda _: started
    one, again = [(await start(metadata={"page": "/"})).for_persona for _ in range(2)]
    assert (one.verified, one.contact is not None) == (sender is not None, sender is not None)
    assert (one.space_id, one.metadata) == (str(SPACE), {"page": "/"})
    if sender is not None:
        assert one.sender_id == started[sender]
        return
    started["conversation_id"] = str(UUID(int=1))
    other = (await start()).for_persona
    assert one.sender_id == again.sender_id != other.sender_id
    assert started["contact_id"] not in repr([one, other])


HEL = Text("Hel")
NO_PIECES: tuple[Any, ...] = (
    "text", None, Text(None), Text(b"bytes"), Usage({"price": float("nan")}), Usage({"price": b"1"}),  # type: ignore[arg-type]
    Usage({"model": "\x00"}), Usage([1]),  # type: ignore[arg-type]
)  # fmt: skip


@pytest.mark.parametrize(
    ("steps", "code", "detail"),
    [
        ((HEL, PersonaError("persona_unreachable", "the other side said no")), "persona_unreachable", "the other side"),
        ((HEL, PersonaError("persona_cut_off", "no")), "persona_cut_off", "no"),
        ((HEL, PersonaError("persona_misconfigured", "no\x00thing")), "persona_misconfigured", "nothing"),
        ((HEL, ZeroDivisionError()), "internal_error", "ZeroDivisionError"),
        *(((HEL, wrong, hang), "internal_error", "") for wrong in NO_PIECES),
        *(((nothing,), "persona_bad_answer", "nothing") for nothing in (Usage({}), Text(""), Text("\x00"))),
        ((Text(" \n"),), "persona_bad_answer", "nothing"),
        ((Text("on "), Text("on "), Text("on "), hang), "persona_too_large", "characters"),
    ],
)
async def test_a_persona_that_fails_leaves_a_failed_turn_with_its_text_and_the_reason(
    database: Database, persona: Persona, log_lines: list[Any], monkeypatch: pytest.MonkeyPatch, steps: Any, code: str,
    detail: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(sanitizer, "MAX_CHARACTERS", 7)
    events = await persona.heard(*steps)
    text = "".join(said(events))
    assert events[-1] == Failed(code, position=len(text))
    kept = database.finished_with
    assert (kept["status"], kept["answer"], kept["error_code"]) == ("failed", text, code)
    assert detail in kept["error_detail"]
    assert text == {"persona_too_large": "on on ", "persona_bad_answer": text}.get(code, "Hel")
    assert (code == "internal_error") == any("traceback" in line for line in log_lines)


FALLBACK: dict[str, Any] = {
    "id": str(UUID(int=8)),
    "kind": "test",
    "config": {},
    "secret": None,
    "time_limit_seconds": 3,
}


@pytest.mark.parametrize(
    "answer", [{"persona": None}, raised("57P01", "no"), {"persona": FALLBACK}], ids=["none", "unknown", "fails too"]
)
@pytest.mark.parametrize(
    ("steps", "code"),
    [((HEL,), None), ((ZeroDivisionError(),), "internal_error"), ((Usage({}),), "persona_bad_answer"),
     ((PersonaError("persona_declined", "no"),), "persona_declined"),
     ((PersonaError("persona_failed", "no"),), "persona_failed")],
)  # fmt: skip
async def test_a_fallback_is_asked_for_only_after_a_failure_and_the_last_failure_stands(
    database: Database, persona: Persona, sql: SqlFunctions, steps: Any, code: str | None, answer: Any
) -> None:
    started = database.start({}) | {"has_fallback": True}
    sql.functions |= {"start_turn": lambda _: started, "start_fallback": lambda _: answer}
    await persona.heard(*steps)
    asked = [] if code in (None, "persona_declined") else ["start_fallback"]
    called = dict.fromkeys(name for name in sql.names() if name != "flush_turn")
    assert list(called) == ["start_turn", *asked, "finish_turn"]
    assert database.finished_with["error_code"] == code


async def test_messages_that_cannot_be_collected_fail_the_turn_but_not_the_persona(
    database: Database, persona: Persona, sql: SqlFunctions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "PERSISTENT", retries.Patience(tries=2, longest_pause=0.01))
    started = database.start({}) | {"collect_seconds": 1}
    sql.functions |= {"start_turn": lambda _: started, "collect_messages": lambda _: raised("57P01", "no")}
    assert (await persona.heard(HEL))[-1] == Failed("backend_unavailable", position=0)
    assert not persona.closed.is_set()


async def endless() -> None:
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    "steps", [(HEL, hang), (HEL, Deferred()), (HEL, *[Text("x"), endless] * 900_000)], ids=["hangs", "defers", "talks"]
)
async def test_a_persona_is_stopped_at_the_limit_of_the_turn(database: Database, persona: Persona, steps: Any) -> None:
    database.time_limit = 1
    events = await persona.heard(*steps)
    assert events[-1] == Failed("persona_timeout", position=len(database.text))
    assert (database.status, database.text) == ("timeout", "".join(said(events)))
    assert persona.closed.is_set()


async def test_a_persona_that_does_not_stop_is_left_behind(
    database: Database, persona: Persona, monkeypatch: pytest.MonkeyPatch, log_lines: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(turn_runner, "STOP_SECONDS", 0.1)
    database.time_limit = 1
    release = asyncio.Event()

    async def cling() -> None:
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()

    assert (await persona.heard(HEL, cling, Text("lo")))[-1] == Failed("persona_timeout", position=3)
    assert (database.status, database.text) == ("timeout", "Hel")
    assert "persona_does_not_stop" in [line["event"] for line in log_lines]
    release.set()


async def test_a_reader_whose_token_is_revoked_gets_an_error_and_the_answer_is_stored(
    database: Database, persona: Persona, sql: SqlFunctions
) -> None:
    sql.functions["flush_turn"] = lambda arguments: database.flush(arguments) | {"revoked": True}
    told = asyncio.Event()
    events = await persona.heard(
        HEL, told.wait, Text("lo"), then=lambda heard: told.set() if isinstance(heard[-1], StreamBroken) else None
    )
    assert events[1:] == [Delta("Hel", 3), StreamBroken("token_revoked")]
    assert (database.status, database.text) == ("completed", "Hello")


async def test_an_unexpected_error_ends_the_turn_and_all_its_tasks(
    database: Database, persona: Persona, sql: SqlFunctions, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def flushed() -> None:
        while "flush_turn" not in sql.names():  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    def break_down(self: turn_writer.TurnWriter, text: str) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(turn_writer.TurnWriter, "add", break_down)
    before = asyncio.all_tasks()
    with pytest.raises(ZeroDivisionError):
        await persona.heard(flushed, HEL, hang)
    assert persona.closed.is_set()
    assert (database.status, database.finished_with["error_code"]) == ("failed", "internal_error")
    assert not [task for task in asyncio.all_tasks() - before if "lib/chat" in str(task)]


@pytest.mark.parametrize(
    ("before", "ending", "heard"),
    [
        (HEL, ("cancelled", "Hel", None), [Delta("Hel", 3), Done("cancelled", MESSAGE, 3, 3)]),
        (HEL, ("timeout", "", "lease_expired"), [Delta("Hel", 3), Failed("lease_expired", 3)]),
        (Deferred(), ("failed", "Hel", "persona_failed"), [Delta("Hel", 3), Failed("persona_failed", 3)]),
        (Deferred(), ("completed", "Here", None), [Delta("Here", 4), Done("completed", MESSAGE, 4, 4)]),
    ],
    ids=["cancelled", "swept", "failed later", "answered later"],
)
async def test_a_turn_that_ends_elsewhere_ends_here_with_its_outcome(
    database: Database,
    persona: Persona,
    monkeypatch: pytest.MonkeyPatch,
    before: Piece,
    ending: Any,
    heard: list[Event],
) -> None:
    hold = hang if before == HEL else lambda: None
    if before != HEL:  # a deferred answer is looked for at every pause
        monkeypatch.setattr(turn_writer, "SILENCE_SECONDS", 60)
    events = await persona.heard(before, lambda: database.end_elsewhere(*ending), hold)
    assert events[1:] == heard
    assert persona.closed.is_set()


async def test_a_database_that_is_away_for_a_while_does_not_break_the_stream(
    database: Database, persona: Persona, sql: SqlFunctions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "PERSISTENT", retries.Patience(tries=5, longest_pause=0.01))
    failures = iter(range(2))
    sql.functions["flush_turn"] = lambda _: raised("57P01", "no")
    sql.functions["finish_turn"] = lambda arguments: (
        database.finish(arguments) if next(failures, None) is None else raised("57P01", "no")
    )
    events = await persona.heard(*[Text("word "), lambda: asyncio.sleep(0.01)] * 10)
    assert "".join(said(events)) == database.text == "word " * 10
    assert isinstance(events[-1], Done)


async def test_a_database_that_stays_away_ends_the_stream_with_an_error(
    persona: Persona, sql: SqlFunctions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "PERSISTENT", retries.Patience(tries=2, longest_pause=0.01))
    sql.functions["finish_turn"] = lambda _: raised("57P01", "no")
    assert (await persona.heard(HEL))[-1] == StreamBroken("backend_unavailable")


@pytest.mark.parametrize("again", [False, True])
async def test_a_process_that_is_stopped_finishes_the_turn_first(
    database: Database, persona: Persona, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    heard, finishing, finish = asyncio.Event(), asyncio.Event(), turns.finish

    async def slow(*arguments: Any, **options: Any) -> turns.FinishResult:
        finishing.set()
        await asyncio.sleep(0.01)
        return await finish(*arguments, **options)

    monkeypatch.setattr(turns, "finish", slow)
    consuming = asyncio.create_task(persona.heard(HEL, hang, then=at_text(heard)))
    await heard.wait()
    consuming.cancel()
    await finishing.wait()
    if again:
        consuming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await consuming
    assert (database.status, database.text) == ("failed", "Hel")
    assert database.finished_with["error_code"] == "turn_interrupted"
