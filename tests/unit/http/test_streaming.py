"""A stream sends each event at once, and its source outlives a reader and a server that stop."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import aiohttp
import pytest
from starlette.types import Receive, Scope, Send

from lib.chat.events import Delta, Done, Event, Opened, ServerSentEvents
from lib.http import streaming as stream
from lib.http.streaming import Stream
from tests import events
from tests.unit.conftest import serving

OPENED = Opened(UUID(int=1), UUID(int=2), UUID(int=3), None)
ONE = Delta("one", 3)
END = Done("completed", None, text_length=3, position=3)


class Source:
    """A source that takes these steps: it yields events, awaits functions, pauses for numbers, raises exceptions."""

    def __init__(self, *steps: Any) -> None:
        self.steps = steps
        self.began, self.cancelled, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def events(self) -> AsyncGenerator[Event, None]:
        try:
            for step in self.steps:
                if isinstance(step, BaseException):
                    raise step
                if isinstance(step, int | float):
                    await asyncio.sleep(step)
                elif callable(step):
                    await step()
                else:
                    yield step
                    self.began.set()
            self.ended.set()
        except (asyncio.CancelledError, GeneratorExit) as stopped:
            if isinstance(stopped, asyncio.CancelledError):
                await asyncio.sleep(0.01)  # a source that tidies up is waited for
            self.cancelled.set()
            raise

    def response(self, *, drain: bool = True) -> Stream[Event]:
        return Stream(self.events(), drain=drain, encoder=ServerSentEvents())


FOREVER = 3_600


@pytest.fixture(autouse=True)
def no_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """No heartbeat, which would send what waits."""
    monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", FOREVER)


@asynccontextmanager
async def streaming(source: Source, *, drain: bool = True) -> AsyncIterator[aiohttp.ClientResponse]:
    """The answer of a server that answers everything with a stream from the source."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await source.response(drain=drain)(scope, receive, send)

    async with (
        asyncio.timeout(20),
        serving(app) as origin,
        aiohttp.ClientSession(origin) as session,
        session.get("/") as answer,
    ):
        yield answer


def answering(
    source: Source, *, drain: bool = True, each_takes: float = 0
) -> tuple[Coroutine[Any, Any, None], list[dict[str, Any]]]:
    """An answer to a reader who stays, not begun yet, and its messages, each of which takes so many seconds."""
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        await asyncio.sleep(each_takes)
        sent.append(dict(message))

    async def receive() -> Any:
        await asyncio.sleep(FOREVER)

    return source.response(drain=drain)({"type": "http"}, receive, send), sent


def names(sent: list[dict[str, Any]]) -> list[list[str]]:
    """The names of the events in each part of an answer."""
    parser = events.Parser()
    assert sent[0]["type"] == "http.response.start"
    assert [part["more_body"] for part in sent[1:]] == [True] * (len(sent) - 2) + [False]
    return [[event.name for event in parser.feed(part["body"])] for part in sent[1:]]


@pytest.mark.parametrize("drain", [True, False])
@pytest.mark.parametrize(
    ("before", "after", "heard"),
    [
        ([ONE], [END], ["delta", "done"]),
        ([], [END], ["done"]),
        ([OPENED], [ONE, END], ["turn", "delta", "done"]),
        ([0.03, OPENED], [ONE, END], ["turn", "delta", "done"]),
        ([ONE, 0.002, OPENED], [END], ["delta", "turn", "done"]),
    ],
    ids=["a text", "the head", "an opening", "a late opening", "an opening behind a text"],
)
async def test_an_event_is_sent_before_the_next_is_made(
    before: list[Any], after: list[Any], heard: list[str], drain: bool
) -> None:
    seen = asyncio.Event()
    if not before:
        seen.set()
    last, got = (heard[-len(after) - 1] if before else ""), list[str]()
    async with streaming(Source(*before, seen.wait, *after), drain=drain) as answer:
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["cache-control"] == "no-cache, no-transform"
        assert answer.headers["x-accel-buffering"] == "no"
        async for event in events.read(answer):
            got.append(event.name)
            if event.name == last:
                seen.set()
    assert got == heard


async def test_events_that_come_together_are_one_write_with_the_opening_and_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream, "OPENING_SECONDS", FOREVER)
    for steps, parts in (
        ([*(Delta("x", number) for number in range(50)), END], [["delta"] * 50 + ["done"]]),
        ([OPENED, 0, ONE, 0.05, END], [["turn", "delta"], ["done"]]),
    ):
        answer, sent = answering(Source(*steps))
        await answer
        assert names(sent) == parts


async def test_silence_is_filled_with_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", 0.02)
    parser, heard = events.Parser(), asyncio.Event()
    async with streaming(Source(heard.wait, END)) as answer:
        got = []
        async for chunk in answer.content.iter_any():
            got += [event.name for event in parser.feed(chunk)]
            if len(parser.comments) >= 2:
                heard.set()
    assert got == ["done"]


async def test_a_heartbeat_behind_the_last_event_does_not_keep_the_stream_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", 0.02)
    answer, sent = answering(Source(ONE, 0.01, END), each_takes=0.1)
    await asyncio.wait_for(answer, 20)
    assert sent[-1]["more_body"] is False
    assert b"event: done" in b"".join(message.get("body", b"") for message in sent)


@pytest.mark.parametrize("drain", [True, False])
async def test_a_source_is_drained_or_closed_when_its_reader_leaves(drain: bool) -> None:
    left = asyncio.Event()
    source = Source(ONE, *[ONE, 0.01] * 20, left.wait, END)
    async with streaming(source, drain=drain) as answer:
        async for _ in events.read(answer):
            break
        answer.close()
        left.set()
        await (source.ended if drain else source.cancelled).wait()
    assert source.ended.is_set() is drain


async def test_a_reader_that_takes_nothing_does_not_delay_the_source() -> None:
    source = Source(*(Delta("x" * 100_000, position) for position in range(200)))
    async with streaming(source) as answer:
        await source.ended.wait()
        answer.close()


async def test_a_source_that_breaks_ends_in_an_error_event(log_lines: list[dict[str, Any]]) -> None:
    async with streaming(Source(ONE, RuntimeError("the secret of the house"))) as answer:
        text, error = await events.read_all(answer)
    assert (text.name, error.name) == ("delta", "error")
    assert error.data == {"code": "internal_error", "title": "Something went wrong on our side.", "retryable": True}
    assert any(line["event"] == "stream_broke" for line in log_lines)


@pytest.mark.parametrize(("drain", "code"), [(True, "turn_interrupted"), (False, "stream_limit")])
async def test_a_reader_learns_that_the_server_stops_before_the_end(drain: bool, code: str) -> None:
    source = Source(ONE, FOREVER)
    answer, sent = answering(source, drain=drain, each_takes=0.02)
    running = asyncio.create_task(answer)
    await source.began.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert source.cancelled.is_set(), "it has tidied up"
    assert f'"code":"{code}"'.encode() in b"".join(message.get("body", b"") for message in sent)
    assert sent[-1]["more_body"] is False
