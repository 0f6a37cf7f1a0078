"""The guarantees of every kind that calls a server: secrets, addresses, limits and errors."""

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
import pytest_asyncio

from lib import personas
from lib.personas import Text
from tests.standins import n8n, openai
from tests.standins.n8n import N8n
from tests.standins.openai import OpenAI
from tests.standins.server import StandIn
from tests.unit.persona_turns import ANSWER, Heard, ask, calling

SECRET = "the user:secret of the persona"
BASIC = base64.b64encode(SECRET.encode()).decode()


class Called:
    """A kind and its server."""

    def __init__(self, kind: str, server: StandIn) -> None:
        self.kind, self.server = kind, server

    async def ask(self, behaviour: str, *, turn: dict[str, Any] | None = None, **config: Any) -> Heard:
        return await ask(self.kind, self.server.url(behaviour), turn=turn, **config)


@pytest_asyncio.fixture(params=["n8n", "openai"])
async def called(request: pytest.FixtureRequest) -> AsyncIterator[Called]:
    """Each kind in turn."""
    server: StandIn = {"n8n": N8n, "openai": OpenAI}[request.param]()
    async with server:
        yield Called(request.param, server)


@pytest.mark.parametrize(
    ("config", "secret"),
    [
        ({"auth": "bearer"}, None),
        ({"auth": "bearer"}, ""),
        ({"auth": "bearer"}, "two\r\nlines: x"),
        ({"x": 1}, None),
        ({"auth": "basic"}, None),
        ({"auth": "basic"}, "no colon"),
        ({"auth": "basic"}, "two:\nlines"),
    ],
)
async def test_a_persona_that_is_not_set_up_sends_nothing(
    called: Called, config: dict[str, Any], secret: str | None
) -> None:
    heard = await called.ask("stream", turn={"secret": secret}, **config)
    assert (heard.code, heard.pieces, called.server.received) == ("persona_misconfigured", [], [])


async def test_an_address_that_the_workspace_does_not_allow_is_not_called(called: Called) -> None:
    heard = await called.ask("stream", turn={"allowed_networks": ()})
    assert (heard.code, called.server.received) == ("persona_address_refused", [])


@pytest.mark.parametrize(
    ("auth", "header", "sent"),
    [
        ("bearer", "authorization", f"Bearer {SECRET}"),
        ("basic", "authorization", f"Basic {BASIC}"),
        ({"header": "X-Key"}, "x-key", SECRET),
        ("none", None, None),
    ],
)
async def test_the_secret_is_sent_in_the_header_that_is_set_and_nowhere_else(
    called: Called, auth: Any, header: str | None, sent: str | None
) -> None:
    assert (await called.ask("stream", auth=auth, turn={"secret": SECRET})).text == ANSWER
    (received,) = called.server.received
    secret_headers = {name: value for name, value in received.headers.items() if SECRET in value or BASIC in value}
    assert secret_headers == ({header: sent} if header else {})
    assert SECRET not in str(received.body)


async def test_the_first_piece_does_not_wait_for_the_second(called: Called) -> None:
    turn = calling(called.kind, called.server.url("silent"))
    async with asyncio.timeout(20), aclosing(personas.find(called.kind).answer(turn)) as answer:
        assert await anext(answer) == Text("You wr")


async def test_the_next_turn_uses_the_same_connection(called: Called) -> None:
    for _ in range(3):
        await called.ask("stream")
    assert len({received.port for received in called.server.received}) == 1


@pytest.mark.parametrize(
    ("kind", "behaviour", "code", "detail", "kept"),
    [
        ("n8n", "error", "persona_failed", "The model is overloaded", "You wr"),
        ("n8n", "cut", "persona_cut_off", "broke", "You wr"),
        ("n8n", "html", "persona_bad_answer", "HTML", ""),
        ("n8n", "empty", "persona_bad_answer", "empty", ""),
        ("n8n", "empty?status=204", "persona_bad_answer", "empty", ""),
        ("n8n", "immediately", "persona_misconfigured", "before the workflow is done", ""),
        ("n8n", "secured", "persona_refused", "403: Authorization data is wrong!", ""),
        ("n8n", "not-there", "persona_refused", "404", ""),
        ("n8n", "failing", "persona_failed", "500", ""),
        ("n8n", "respond?status=418", "persona_refused", "418", ""),
        ("n8n", "redirect", "persona_refused", "not followed", ""),
        ("n8n", "huge", "persona_too_large", "characters", None),
        ("n8n", "respond-text?type=application/pdf", "persona_bad_answer", "application/pdf", ""),
        ("n8n", "respond-text?type=text/event-stream", "persona_bad_answer", "text/event-stream", ""),
        ("n8n", "respond-text?type=application/json", "persona_bad_answer", "not the JSON", ""),
        ("openai", "failing-late", "persona_failed", "The server had an error", "You wr"),
        ("openai", "cut", "persona_cut_off", "broke", "You wr"),
        ("openai", "secured", "persona_refused", "401: Incorrect API key provided.", ""),
        ("openai", "no-such", "persona_refused", "404: The model `parrot-1` does not exist.", ""),
        ("openai", "old", "persona_input_refused", "400: Unrecognized request argument", ""),
        ("openai", "redirect", "persona_refused", "not followed", ""),
        ("openai", "huge", "persona_too_large", "characters", None),
        ("openai", "endless-line", "persona_too_large", "bytes", ""),
    ],
)
async def test_a_failure_names_its_cause_and_keeps_the_text_before_it(
    n8n: N8n, openai: OpenAI, kind: str, behaviour: str, code: str, detail: str, kept: str | None
) -> None:
    heard = await ask(kind, {"n8n": n8n, "openai": openai}[kind].url(behaviour))
    assert (heard.code, detail in heard.detail) == (code, True), heard.error
    assert kept is None or heard.text == kept


@pytest.mark.parametrize("kind", ["n8n", "openai"])
async def test_a_server_that_is_down_is_unreachable_and_may_be_asked_again(kind: str) -> None:
    heard = await ask(kind, "http://127.0.0.1:1/webhook/x")
    assert heard.error is not None
    assert (heard.code, heard.error.retryable) == ("persona_unreachable", True)


@pytest.mark.parametrize(
    ("behaviour", "config", "kept"),
    [
        ("slow", {"first_byte_seconds": 0.1}, ""),
        ("silent", {"idle_seconds": 0.1}, "You wr"),
        ("slow", {}, ""),
        ("silent", {}, "You wr"),
    ],
)
async def test_a_slow_server_is_given_up_at_the_first_limit(
    called: Called, behaviour: str, config: dict[str, Any], kept: str
) -> None:
    async with asyncio.timeout(20):
        heard = await called.ask(behaviour, turn={"time_limit_seconds": 60 if config else 1}, **config)
    assert (heard.code, heard.text) == ("persona_timeout", kept)


@pytest.mark.parametrize(
    ("kind", "status", "body"),
    [
        ("n8n", 200, n8n.line("begin") + n8n.line("error", f"bad key {SECRET}")),
        ("n8n", 400, SECRET.encode()),
        ("n8n", 400, f"Basic {BASIC} is not secret of the persona".encode()),
        ("n8n", 200, json.dumps({"error": f"bad key {SECRET}"}).encode()),
        ("openai", 401, json.dumps({"error": {"message": SECRET}}).encode()),
        ("openai", 200, openai.event({"error": {"message": SECRET}})),
        ("openai", 200, f"event: error\ndata: {SECRET}\n\n".encode()),
        ("openai", 200, json.dumps({"error": SECRET}).encode()),
        ("openai", 200, openai.event(openai.chunk(refusal=SECRET)) + openai.event(openai.chunk(finish="stop"))),
    ],
)
async def test_a_secret_that_is_sent_back_is_in_no_detail(kind: str, status: int, body: bytes) -> None:
    async with {"n8n": N8n, "openai": OpenAI}[kind]() as server:
        heard = await ask(kind, server.say("echo", body, status=status), auth="bearer", turn={"secret": SECRET})
    assert "[secret]" in heard.detail
    assert not any(form in str(heard.error) for form in (SECRET, BASIC, "secret of the persona"))


async def test_a_detail_is_one_short_line(called: Called) -> None:
    page = b"<html>\n<body>" + b"word \x00\n" * 1_000
    called.server.say("page", page, status=502, content_type="text/html")
    heard = await called.ask("page")
    assert 0 < len(heard.detail) < 300
    assert heard.detail.isprintable()
    assert called.kind == "openai" or "<" not in heard.detail


async def test_a_reader_who_stops_ends_the_call(called: Called, caplog: pytest.LogCaptureFixture) -> None:
    turn = calling(called.kind, called.server.url("huge"))
    with caplog.at_level(logging.WARNING):
        async with aclosing(personas.find(called.kind).answer(turn)) as answer:
            await anext(answer)
    assert caplog.records == []
