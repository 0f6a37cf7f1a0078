import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import aiohttp
import pytest
from starlette.types import Receive, Scope, Send

from lib.chat import ai_sdk
from lib.chat.events import Delta, Done, Event, Opened, ServerSentEvents
from lib.http import streaming as stream
from lib.http.streaming import Stream
from tests import events
from tests.unit.conftest import serving

Source = Callable[[], AsyncGenerator[Event, None]]
OPENED = Opened(UUID(int=1), UUID(int=2), UUID(int=3), None)
END = Done("completed", None, text_length=3, position=3)


@asynccontextmanager
async def streaming(source: Source, *, drain: bool, **options: Any) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of a server that answers everything with a stream from the source."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Stream(source(), drain=drain, encoder=ServerSentEvents())(scope, receive, send)

    async with serving(app, **options) as origin, aiohttp.ClientSession(origin) as session:
        yield session


def answering(
    source: Source, *, drain: bool = True, each_takes: float = 0
) -> tuple[Coroutine[Any, Any, None], list[dict[str, Any]]]:
    """An answer to a reader who stays, not begun yet, and what it sends, each of which takes so many seconds."""
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        await asyncio.sleep(each_takes)
        sent.append(dict(message))

    async def receive() -> Any:
        await asyncio.sleep(60)

    return Stream(source(), drain=drain, encoder=ServerSentEvents())({"type": "http"}, receive, send), sent


async def test_each_event_goes_out_before_the_next_is_made() -> None:
    seen = asyncio.Event()

    async def waiting() -> AsyncGenerator[Event, None]:
        yield Delta("one", 3)
        await asyncio.wait_for(seen.wait(), 5)
        yield END

    async with streaming(waiting, drain=True) as client, client.get("/") as answer:
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["cache-control"] == "no-cache, no-transform"
        assert answer.headers["x-accel-buffering"] == "no"
        names = []
        async for event in events.read(answer):
            names.append(event.name)
            seen.set()
        assert names == ["delta", "done"]


async def test_an_encoder_says_how_events_look_and_an_answer_has_headers_of_its_own() -> None:
    async def short() -> AsyncGenerator[Event, None]:
        yield Delta("one", 3)
        raise RuntimeError("the secret of the house")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        answer = Stream(short(), drain=True, encoder=ai_sdk.Encoder(), headers={"RateLimit": '"x";r=1;t=2'})
        await answer(scope, receive, send)

    async with serving(app) as origin, aiohttp.ClientSession(origin) as client, client.get("/") as answer:
        assert answer.headers["ratelimit"] == '"x";r=1;t=2'
        assert answer.headers["x-vercel-ai-ui-message-stream"] == "v1"
        assert answer.headers["x-accel-buffering"] == "no"
        frames = (await answer.text()).split("\n\n")
    assert [frame[:26] for frame in frames[:2]] == ['data: {"type":"text-start"', 'data: {"type":"text-delta"']
    assert frames[-3:] == [
        'data: {"type":"error","errorText":"Something went wrong on our side."}', "data: [DONE]", "",
    ]  # fmt: skip


async def test_silence_is_filled_with_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", 0.02)

    async def silent() -> AsyncGenerator[Event, None]:
        await asyncio.sleep(0.1)
        yield END

    parser = events.Parser()
    async with streaming(silent, drain=True) as client, client.get("/") as answer:
        got = [event async for chunk in answer.content.iter_any() for event in parser.feed(chunk)]
    assert [event.name for event in got] == ["done"]
    assert len(parser.comments) >= 2


async def test_a_heartbeat_behind_the_last_event_does_not_keep_the_stream_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", 0.02)

    async def short() -> AsyncGenerator[Event, None]:
        yield Delta("one", 3)
        await asyncio.sleep(0.01)
        yield END

    answer, sent = answering(short, each_takes=0.1)
    await asyncio.wait_for(answer, 5)
    assert sent[-1]["more_body"] is False
    assert b"event: done" in b"".join(message.get("body", b"") for message in sent)


async def leave_after_the_first_event(client: aiohttp.ClientSession) -> None:
    async with client.get("/") as answer:
        async for _ in events.read(answer):
            break
        answer.close()


async def test_a_source_is_drained_when_its_reader_leaves() -> None:
    ended = asyncio.Event()

    async def long() -> AsyncGenerator[Event, None]:
        for position in range(50):
            yield Delta("x", position + 1)
            await asyncio.sleep(0.005)
        ended.set()

    async with streaming(long, drain=True) as client:
        await leave_after_the_first_event(client)
        await asyncio.wait_for(ended.wait(), 5)


async def test_a_follower_stops_when_its_reader_leaves() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncGenerator[Event, None]:
        try:
            while True:
                yield Delta("x", 1)
                await asyncio.sleep(0.01)
        finally:
            closed.set()

    async with streaming(endless, drain=False) as client:
        await leave_after_the_first_event(client)
        await asyncio.wait_for(closed.wait(), 5)


async def test_a_reader_who_takes_nothing_holds_up_no_one() -> None:
    ended = asyncio.Event()

    async def plenty() -> AsyncGenerator[Event, None]:
        for position in range(200):
            yield Delta("x" * 100_000, position)
        ended.set()

    async with streaming(plenty, drain=True) as client, client.get("/") as answer:
        await asyncio.wait_for(ended.wait(), 10)
        answer.close()


async def test_a_source_that_breaks_ends_in_an_error_event(log_lines: list[dict[str, Any]]) -> None:
    async def broken() -> AsyncGenerator[Event, None]:
        yield Delta("x", 1)
        raise RuntimeError("the secret of the house")

    async with streaming(broken, drain=True) as client, client.get("/") as answer:
        got = await events.read_all(answer)
    assert [event.name for event in got] == ["delta", "error"]
    assert got[1].data == {
        "code": "internal_error",
        "title": "Something went wrong on our side.",
        "retryable": True,
    }
    assert any(line["event"] == "stream_broke" for line in log_lines)


async def test_a_server_that_stops_lets_the_source_put_things_in_order() -> None:
    begun, in_order = asyncio.Event(), asyncio.Event()

    async def interrupted() -> AsyncGenerator[Event, None]:
        try:
            yield Delta("x", 1)
            begun.set()
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)
            in_order.set()
            raise

    async with streaming(interrupted, drain=True, timeout_graceful_shutdown=1) as client:
        answer = await client.get("/")
        await begun.wait()
    await asyncio.wait_for(in_order.wait(), 5)
    answer.close()


@pytest.mark.parametrize(("drain", "code"), [(True, "turn_interrupted"), (False, "stream_limit")])
async def test_a_reader_is_told_when_the_server_stops_before_the_end(drain: bool, code: str) -> None:
    started = asyncio.Event()

    async def endless() -> AsyncGenerator[Event, None]:
        yield Delta("one", 3)
        started.set()
        await asyncio.sleep(60)

    answer, sent = answering(endless, drain=drain)
    running = asyncio.create_task(answer)
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    body = b"".join(message.get("body", b"") for message in sent)
    assert f'"code":"{code}"'.encode() in body
    assert sent[-1]["more_body"] is False


async def test_events_that_come_together_are_one_write_and_the_end_with_them() -> None:

    async def at_once() -> AsyncGenerator[Event, None]:
        for number in range(50):
            yield Delta("x", number + 1)
        yield END

    answer, sent = answering(at_once)
    await answer
    start, body = sent
    assert start["type"] == "http.response.start"
    assert body["more_body"] is False
    got = list(events.Parser().feed(body["body"]))
    assert [event.name for event in got] == ["delta"] * 50 + ["done"]
    assert [event.id for event in got] == [*(str(number + 1) for number in range(50)), "4"]


async def test_an_opening_and_text_that_comes_at_once_are_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "OPENING_SECONDS", 5)

    async def answered() -> AsyncGenerator[Event, None]:
        yield OPENED
        await asyncio.sleep(0)
        yield Delta("one", 3)
        await asyncio.sleep(0.05)
        yield END

    answer, sent = answering(answered)
    await answer
    assert sent[0]["type"] == "http.response.start"
    parser = events.Parser()
    assert [[event.name for event in parser.feed(part["body"])] for part in sent[1:]] == [["turn", "delta"], ["done"]]


@pytest.mark.parametrize("seconds", [0.0, stream.OPENING_SECONDS * 3])
async def test_an_opening_does_not_wait_for_text_that_does_not_come(seconds: float) -> None:
    """Neither one that is there at once nor one that comes late, as when a turn is read first."""
    seen = asyncio.Event()

    async def thinking() -> AsyncGenerator[Event, None]:
        await asyncio.sleep(seconds)
        yield OPENED
        await asyncio.wait_for(seen.wait(), 5)
        yield Delta("one", 3)
        yield END

    async with streaming(thinking, drain=True) as client, client.get("/") as answer:
        names = []
        async for event in events.read(answer):
            names.append(event.name)
            seen.set()
        assert names == ["turn", "delta", "done"]


@pytest.mark.parametrize("drain", [True, False])
async def test_an_answers_head_does_not_wait_for_the_first_event(drain: bool) -> None:
    seen = asyncio.Event()

    async def silent() -> AsyncGenerator[Event, None]:
        await asyncio.wait_for(seen.wait(), 5)
        yield END

    async with streaming(silent, drain=drain) as client, client.get("/") as answer:
        seen.set()
        assert [event.name async for event in events.read(answer)] == ["done"]


async def test_an_opening_behind_something_else_does_not_wait() -> None:
    seen = asyncio.Event()

    async def late() -> AsyncGenerator[Event, None]:
        yield Delta("one", 3)
        await asyncio.sleep(stream.OPENING_SECONDS / 5)
        yield OPENED
        await asyncio.wait_for(seen.wait(), 5)
        yield END

    async with streaming(late, drain=True) as client, client.get("/") as answer:
        names = []
        async for event in events.read(answer):
            names.append(event.name)
            if event.name == "turn":
                seen.set()
        assert names == ["delta", "turn", "done"]
