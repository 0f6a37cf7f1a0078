"""Workflows that acknowledge a message and are asked for the answer later."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from lib.personas import n8n_poll
from tests.standins.n8n import HEADER, SECRET, STARTED, N8n, line
from tests.standins.server import Received
from tests.unit.persona_turns import ANSWER, Heard, calling, hear


async def ask(n8n: N8n, poll_url: str, *, path: str = "accept", turn: Any = None, **config: Any) -> Heard:
    """What is heard of a workflow that is asked every 0.2 seconds."""
    config = {"mode": "poll", "poll_url": poll_url, "poll_seconds": 0.2, **config}
    return await hear("n8n", calling("n8n", n8n.url(path), turn=turn, **config))


def polls(n8n: N8n) -> list[Received]:
    return n8n.received[1:]


@pytest.mark.parametrize(
    "how",
    ["202", "204", "running", "pending", "Waiting", "in_progress", "500", "503", "429", "408", "hang-up", "cut"],
)
async def test_a_poll_that_only_means_not_yet_is_repeated(n8n: N8n, how: str) -> None:
    heard = await ask(n8n, n8n.url(f"job?how={how}"))
    assert (heard.text, heard.error, len(polls(n8n))) == (ANSWER, None, 2)


async def test_a_poll_that_hangs_is_given_up_for_the_next(n8n: N8n, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(n8n_poll, "_LONGEST_POLL_SECONDS", 0.2)
    assert (await ask(n8n, n8n.url("job?how=hang"))).text == ANSWER


async def test_a_server_that_is_down_for_a_while_is_asked_again(n8n: N8n) -> None:
    async with N8n() as other:
        url, port = other.url("job?times=0"), other.port
    asking = asyncio.create_task(ask(n8n, url))
    while not n8n.received:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    async with N8n(port=port, jobs=n8n.jobs):
        assert (await asking).text == ANSWER


async def test_a_server_sets_the_next_pause(n8n: N8n, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    loop = asyncio.get_running_loop
    monkeypatch.setattr(n8n_poll, "asyncio", SimpleNamespace(sleep=sleep, get_running_loop=loop))
    assert (await ask(n8n, n8n.url("job?how=503&after=2"))).text == ANSWER
    assert pauses == [0.2, 2]


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
async def test_the_acknowledgement_is_sent_with_every_poll(n8n: N8n, acknowledged: bytes, sent: object) -> None:
    n8n.say("mine", acknowledged)
    heard = await ask(n8n, n8n.say("answer", b'{"output": "Here."}'), path="mine")
    assert (heard.text, heard.error) == ("Here.", None)
    assert polls(n8n)[0].body["acknowledgement"] == sent


async def test_both_calls_carry_the_secret(n8n: N8n) -> None:
    await ask(n8n, n8n.url("job"), auth={"header": HEADER}, turn={"secret": SECRET})
    assert [received.headers[HEADER.lower()] for received in n8n.received] == [SECRET] * 3


@pytest.mark.parametrize(
    "chunks",
    [
        [b'[{"text": "Hi"}]'],
        [b'{"status": "success", "data": {"output": "Hi"}}'],
        [b'{"status": 7, "output": "Hi"}'],
        [line("begin"), line("item", "H"), line("item", "i"), line("end")],
    ],
)
async def test_an_answer_has_the_forms_of_a_synchronous_one(n8n: N8n, chunks: list[bytes]) -> None:
    heard = await ask(n8n, n8n.say("answer", *chunks))
    assert (heard.texts, heard.error) == (["Hi"], None)


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
async def test_an_error_that_a_further_poll_cannot_fix_ends_the_turn(
    n8n: N8n, body: bytes, status: int, code: str, detail: str
) -> None:
    heard = await ask(n8n, n8n.say("answer", body, status=status))
    assert (heard.code, detail in heard.detail, len(polls(n8n))) == (code, True, 1), heard.error


@pytest.mark.parametrize(
    ("path", "how", "reason"),
    [
        ("accept", "running", "not done"),
        ("accept", "503", "503"),
        ("accept", "hang", "begin to answer"),
        ("accept", "503&after=900", "503"),
        ("slow?seconds=1.2", "running", "not done"),
    ],
)
async def test_polling_ends_at_the_limit_of_the_turn(n8n: N8n, path: str, how: str, reason: str) -> None:
    # Of the few polls the last comes long before the limit, so that it is answered.
    url, limit = n8n.url(f"job?times=99&how={how}"), {"time_limit_seconds": 2}
    async with asyncio.timeout(20):
        heard = await ask(n8n, url, path=path, poll_seconds=0.9, turn=limit)
    assert (heard.code, reason in heard.detail) == ("persona_timeout", True), heard.error


@pytest.mark.parametrize(
    ("path", "poll_host", "code"),
    [
        ("failing", "127.0.0.1", "persona_failed"),
        ("long", "127.0.0.1", "persona_bad_answer"),
        ("accept", "10.0.0.1", "persona_address_refused"),
    ],
)
async def test_a_refused_message_or_poll_address_is_not_polled(n8n: N8n, path: str, poll_host: str, code: str) -> None:
    n8n.say("long", b"x" * 20_000)  # an acknowledgement is no place for an answer
    assert (await ask(n8n, n8n.url("job", host=poll_host), path=path)).code == code
    assert polls(n8n) == []


@pytest.mark.parametrize("how", ["running", "hang"])
async def test_a_cancelled_turn_is_not_polled_again(n8n: N8n, how: str) -> None:
    listening = asyncio.create_task(ask(n8n, n8n.url(f"job?times=99&how={how}")))
    while not polls(n8n):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    listening.cancel()
    await asyncio.wait({listening})
    assert listening.cancelled()
    asked = len(polls(n8n))
    await asyncio.sleep(0.5)
    assert len(polls(n8n)) == asked
