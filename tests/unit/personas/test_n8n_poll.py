import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
import pytest_asyncio

from lib import personas
from lib.personas import Text, n8n_poll
from tests.standins.n8n import HEADER, SECRET, STARTED, N8n, line
from tests.unit.persona_turns import Heard, hear, make_turn

ANSWER = "You wrote: Grüße 👋 at noon"


@pytest_asyncio.fixture
async def n8n() -> AsyncIterator[N8n]:
    async with N8n() as running:
        yield running


async def ask(
    n8n: N8n, poll_url: str, *, path: str = "accept", secret: str | None = None, time_limit: int = 20, **config: Any
) -> Heard:
    config = {"url": n8n.url(path), "mode": "poll", "poll_url": poll_url, "poll_seconds": 0.2, **config}
    return await hear("n8n", make_turn(config=config, secret=secret, time_limit_seconds=time_limit))


def polls(n8n: N8n) -> list[Any]:
    return n8n.received[1:]


async def test_a_workflow_is_asked_until_it_has_the_answer(n8n: N8n) -> None:
    started = time.monotonic()
    heard = await ask(n8n, n8n.url("job?times=2"))
    assert (heard.pieces, heard.error) == ([Text(ANSWER)], None)
    assert [poll.body for poll in polls(n8n)] == [
        {
            "turnId": "turn-1",
            "sessionId": "session-1",
            "conversationId": "conversation-1",
            "acknowledgement": {"job": "job of turn-1"},
        }
    ] * 3
    assert 0.6 <= time.monotonic() - started < 2


@pytest.mark.parametrize(
    "how",
    ["202", "204", "running", "pending", "Waiting", "in_progress", "500", "503", "429", "408", "hang-up", "cut"],
)
async def test_what_only_means_not_yet_is_asked_again(n8n: N8n, how: str) -> None:
    heard = await ask(n8n, n8n.url(f"job?how={how}"))
    assert (heard.text, heard.error, len(polls(n8n))) == (ANSWER, None, 2)


async def test_a_poll_that_hangs_is_given_up_for_the_next(n8n: N8n, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(n8n_poll, "_LONGEST_POLL_SECONDS", 0.2)
    assert (await ask(n8n, n8n.url("job?how=hang"))).text == ANSWER


async def test_a_server_that_is_down_for_a_while_is_asked_again(n8n: N8n) -> None:
    async with N8n() as other:
        url, port = other.url("job?times=0"), other.port
    asking = asyncio.create_task(ask(n8n, url))
    await asyncio.sleep(0.5)
    async with N8n(port=port, jobs=n8n.jobs):
        assert (await asking).text == ANSWER


async def test_a_server_says_when_to_ask_again(n8n: N8n) -> None:
    started = time.monotonic()
    assert (await ask(n8n, n8n.url("job?how=503&after=2"))).text == ANSWER
    assert time.monotonic() - started >= 2.2


@pytest.mark.parametrize(
    ("acknowledged", "sent"),
    [
        (b'{"job": 7}', {"job": 7}),
        (json.dumps(STARTED).encode(), STARTED),
        (b"", None),
        (b"  \n", None),
        (b"job-7", "job-7"),
        (b"NaN", "NaN"),
        (b"\xff", "\N{REPLACEMENT CHARACTER}"),
        (b"[" * 40 + b"]" * 40, "[" * 40 + "]" * 40),
        (b"[" * 16_000, "[" * 16_000),
        (b'"\\ud83d"', "\ud83d"),
    ],
)
async def test_what_was_acknowledged_is_sent_with_every_poll(n8n: N8n, acknowledged: bytes, sent: object) -> None:
    n8n.say("mine", acknowledged)
    heard = await ask(n8n, n8n.say("answer", b'{"output": "Here."}'), path="mine")
    assert (heard.text, heard.error) == ("Here.", None)
    assert polls(n8n)[0].body["acknowledgement"] == sent


async def test_an_acknowledgement_is_no_place_for_an_answer(n8n: N8n) -> None:
    n8n.say("mine", b"x" * 20_000)
    heard = await ask(n8n, n8n.url("job"), path="mine")
    assert (heard.code, polls(n8n)) == ("persona_bad_answer", [])


async def test_both_calls_carry_the_secret(n8n: N8n) -> None:
    await ask(n8n, n8n.url("job"), auth={"header": HEADER}, secret=SECRET)
    assert [received.headers[HEADER.lower()] for received in n8n.received] == [SECRET] * 3


@pytest.mark.parametrize(
    ("chunks", "text"),
    [
        ([b'[{"text": "Hi"}]'], "Hi"),
        ([b'{"status": "success", "data": {"output": "Hi"}}'], "Hi"),
        ([b'{"status": 7, "output": "Hi"}'], "Hi"),
        ([line("begin"), line("item", "H"), line("item", "i"), line("end")], "Hi"),
    ],
)
async def test_an_answer_has_the_forms_of_a_synchronous_one(n8n: N8n, chunks: list[bytes], text: str) -> None:
    heard = await ask(n8n, n8n.say("answer", *chunks))
    assert (heard.texts, heard.error) == ([text], None)


@pytest.mark.parametrize(
    ("body", "status", "code", "detail"),
    [
        (b'{"status": "error", "error": {"message": "no credit"}}', 200, "persona_failed", "no credit"),
        (b'{"status": "failed", "message": "no credit"}', 200, "persona_failed", "no credit"),
        (b'[{"status": "crashed"}]', 200, "persona_failed", "failed"),
        (b'{"error": "no credit"}', 200, "persona_failed", "no credit"),
        (b'{"status": "success"}', 200, "persona_bad_answer", "no text"),
        (json.dumps(STARTED).encode(), 200, "persona_misconfigured", "before"),
        (b"", 200, "persona_bad_answer", "empty"),
        (b"{", 200, "persona_bad_answer", "JSON"),
        (b"no", 404, "persona_refused", "404"),
        (b"no", 403, "persona_refused", "403"),
        (b"", 307, "persona_refused", "redirects"),
        (b'{"output": "' + b"x" * 5_000_000 + b'"}', 200, "persona_too_large", "bytes"),
    ],
)
async def test_what_asking_again_does_not_mend_ends_it(
    n8n: N8n, body: bytes, status: int, code: str, detail: str
) -> None:
    heard = await ask(n8n, n8n.say("answer", body, status=status))
    assert heard.error is not None
    assert (heard.code, detail in heard.error.detail, len(polls(n8n))) == (code, True, 1), heard.error


@pytest.mark.parametrize(
    ("how", "reason"), [("running", "not done"), ("503", "503"), ("hang", "begin to answer"), ("503&after=900", "503")]
)
async def test_asking_ends_with_the_turns_limit(n8n: N8n, how: str, reason: str) -> None:
    started = time.monotonic()
    # The last of few polls comes long before the limit, so that it is answered.
    heard = await ask(n8n, n8n.url(f"job?times=99&how={how}"), time_limit=2, poll_seconds=0.7)
    assert heard.error is not None
    assert (heard.code, reason in heard.error.detail) == ("persona_timeout", True), heard.error
    assert 1.9 < time.monotonic() - started < 4


async def test_the_time_of_the_first_call_counts_as_well(n8n: N8n) -> None:
    started = time.monotonic()
    heard = await ask(n8n, n8n.say("never", b'{"status": "running"}'), path="slow?seconds=1.2", time_limit=2)
    assert heard.code == "persona_timeout"
    assert time.monotonic() - started < 3


async def test_a_first_call_that_fails_is_not_followed_by_polls(n8n: N8n) -> None:
    heard = await ask(n8n, n8n.url("job"), path="failing")
    assert (heard.code, polls(n8n)) == ("persona_refused", [])


@pytest.mark.parametrize("how", ["running", "hang"])
async def test_who_is_cancelled_asks_no_more(n8n: N8n, how: str) -> None:
    config = {"url": n8n.url("accept"), "mode": "poll", "poll_url": n8n.url(f"job?times=99&how={how}")}
    turn = make_turn(config={**config, "poll_seconds": 0.5})

    async def listen() -> None:
        async with aclosing(personas.find("n8n").answer(turn)) as answer:
            await anext(answer)

    listening = asyncio.create_task(listen())
    async with asyncio.timeout(10):
        while not polls(n8n):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening
    asked = len(polls(n8n))
    assert asked == 1
    await asyncio.sleep(0.8)
    assert len(polls(n8n)) == asked


async def test_the_poll_url_is_checked_like_the_first(n8n: N8n) -> None:
    heard = await ask(n8n, f"http://10.0.0.1:{n8n.port}/")
    assert (heard.code, polls(n8n)) == ("persona_address_refused", [])


@pytest.mark.parametrize(
    "config",
    [
        {"poll_url": None},
        {"poll_url": "nowhere"},
        {"mode": "async"},
        {"mode": "sync"},
        {"poll_seconds": 0.1},
        {"poll_seconds": 61},
    ],
)
async def test_settings_that_do_not_go_together_send_nothing(n8n: N8n, config: dict[str, Any]) -> None:
    heard = await ask(**{"n8n": n8n, "poll_url": n8n.url("job"), **config})
    assert (heard.code, n8n.received) == ("persona_misconfigured", [])
