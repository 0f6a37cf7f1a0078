import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
import pytest_asyncio

from lib import personas
from lib.personas import Deferred
from tests.standins.n8n import HEADER, SECRET, N8n, line
from tests.unit.persona_turns import Heard, hear, make_turn, said

ANSWER = "You wrote: Grüße 👋 at noon"


@pytest_asyncio.fixture
async def n8n() -> AsyncIterator[N8n]:
    async with N8n() as running:
        yield running


async def ask(url: str, *, secret: str | None = None, time_limit: int = 20, **config: Any) -> Heard:
    return await hear("n8n", make_turn(config={"url": url, **config}, secret=secret, time_limit_seconds=time_limit))


# What is sent


async def test_the_workflow_gets_the_six_fields_and_those_of_chat_trigger(n8n: N8n) -> None:
    await ask(n8n.url("last-node"))
    assert n8n.received[0].body == {
        "message": "Grüße 👋 at noon",
        "conversationId": "conversation-1",
        "personaId": "persona-1",
        "userId": "contact-1",
        "sessionId": "session-1",
        "turnId": "turn-1",
        "action": "sendMessage",
        "chatInput": "Grüße 👋 at noon",
    }


async def test_the_user_is_the_signed_in_one_where_there_is_one(n8n: N8n) -> None:
    await hear("n8n", make_turn(config={"url": n8n.url("last-node")}, user_id="user-1"))
    assert n8n.received[0].body["userId"] == "user-1"


async def test_the_secret_goes_where_the_workflow_looks_for_it(n8n: N8n) -> None:
    heard = await ask(n8n.url("secured"), auth={"header": HEADER}, secret=SECRET)
    assert heard.text == ANSWER
    assert (await ask(n8n.url("bearer"), auth="bearer", secret=SECRET)).text == ANSWER


async def test_without_auth_the_secret_stays_here(n8n: N8n) -> None:
    await ask(n8n.url("last-node"), secret=SECRET)
    assert SECRET not in str(n8n.received[0])


@pytest.mark.parametrize(
    ("config", "secret"),
    [
        ({"auth": "bearer"}, None),
        ({"auth": "bearer"}, ""),
        ({"auth": "bearer"}, "two\r\nlines: x"),
        ({"auth": {"header": "Host"}}, "x"),
        ({"auth": {"header": "Content-Length"}}, "x"),
        ({"auth": {"header": "Not a name"}}, "x"),
        ({"auth": "basic"}, "x"),
        ({"mode": "sometimes"}, None),
        ({"connect_seconds": 0}, None),
        ({"idle_seconds": 10_000}, None),
        ({"unknown": 1}, None),
        ({"url": ""}, None),
        ({"url": "not a url"}, None),
        ({"url": "http://user:word@127.0.0.1/"}, None),
    ],
)
async def test_settings_that_make_no_sense_send_nothing(n8n: N8n, config: dict[str, Any], secret: str | None) -> None:
    heard = await hear("n8n", make_turn(config={"url": n8n.url("last-node"), **config}, secret=secret))
    assert (heard.code, heard.pieces, n8n.received) == ("persona_misconfigured", [], [])


async def test_settings_may_not_be_missing() -> None:
    assert (await hear("n8n", make_turn(config={}))).code == "persona_misconfigured"


async def test_an_address_that_nobody_allowed_is_not_called(n8n: N8n) -> None:
    heard = await hear("n8n", make_turn(config={"url": n8n.url("stream")}, allowed_networks=()))
    assert (heard.code, n8n.received) == ("persona_address_refused", [])


async def test_history_is_not_sent(n8n: N8n) -> None:
    await hear("n8n", make_turn(config={"url": n8n.url("last-node")}, history=said("an earlier word")))
    assert "an earlier word" not in str(n8n.received[0].body)


# Answers


async def test_a_streaming_workflow_is_heard_piece_by_piece(n8n: N8n) -> None:
    heard = await ask(n8n.url("stream"))
    assert heard.texts == ["You", " wrote:", " Grüße", " 👋", " at", " noon"]
    assert heard.error is None


async def test_the_first_piece_does_not_wait_for_the_second(n8n: N8n) -> None:
    turn = make_turn(config={"url": n8n.url("silent")})
    started = time.monotonic()
    async with aclosing(personas.find("n8n").answer(turn)) as answer:
        await anext(answer)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "path",
    [
        "last-node",
        "all-items",
        "respond",
        "respond?status=201",
        "respond?status=299",
        "respond-text",
        "respond-text?type=text/plain",
        "respond-text?type=text/plain&status=202",
    ],
)
async def test_every_way_to_answer_at_once_is_understood(n8n: N8n, path: str) -> None:
    heard = await ask(n8n.url(path))
    assert (heard.text, heard.error) == (ANSWER, None)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"output": "a", "text": "b"}, "a"),
        ({"text": "b", "message": "c"}, "b"),
        ({"message": {"role": "assistant", "content": "c"}}, "c"),
        ({"answer": "d"}, "d"),
        ({"data": {"output": "e"}}, "e"),
        ([{"output": [{"content": [{"type": "output_text", "text": "f"}]}]}], "f"),
        ({"output": "", "text": "g"}, "g"),
        ({"output": "h\x00\x1b[1m\ud83d"}, "h[1m\N{REPLACEMENT CHARACTER}"),
        ("i", "i"),
        ({"type": "greeting", "output": "j"}, "j"),
        ({"type": "item", "output": "k"}, "k"),
    ],
)
async def test_the_text_of_a_json_answer_is_found(n8n: N8n, value: object, text: str) -> None:
    for indent in (None, 2):
        url = n8n.say("json", json.dumps(value, indent=indent).encode())
        assert (await ask(url)).text == text


async def test_tool_calls_and_types_of_the_future_are_not_for_the_reader(n8n: N8n) -> None:
    url = n8n.say(
        "tools",
        line("begin"),
        line("tool-call-start", '{"query":"secret"}'),
        line("item", "Hello"),
        line("tool-call-end", "[1,2,3]"),
        b"\n",
        b'"a string"\n[1]\n{"no":"type"}\n',
        line("end"),
    )
    assert (await ask(url)).text == "Hello"


async def test_nodes_that_speak_at_once_are_heard_in_the_order_of_arrival(n8n: N8n) -> None:
    url = n8n.say(
        "two",
        line("begin", node="a"),
        line("begin", node="b"),
        line("item", "1 ", node="a"),
        line("item", "2 ", node="b"),
        line("end", node="a"),
        line("item", "3", node="b"),
        line("end", node="b"),
    )
    assert (await ask(url)).texts == ["1 ", "2 ", "3"]


async def test_an_emoji_cut_in_two_by_javascript_is_one_again(n8n: N8n) -> None:
    url = n8n.say(
        "halves",
        line("begin") + line("item", "Hi \ud83d") + line("item", "from b", node="b", run=1),
        line("item", "\udc4b!") + line("end") + line("end", node="b", run=1),
    )
    assert (await ask(url)).texts == ["Hi ", "from b", "👋!"]


async def test_a_first_line_of_another_type_does_not_hide_the_stream(n8n: N8n) -> None:
    url = n8n.say("later", b'{"type":"hello"}\n', line("begin"), line("item", "Hello"), line("end"))
    assert (await ask(url)).texts == ["Hello"]


async def test_a_workflow_that_answers_later_is_only_asked(n8n: N8n) -> None:
    heard = await ask(n8n.url("immediately"), mode="async")
    assert heard.pieces == [Deferred()]


# What goes wrong


@pytest.mark.parametrize(
    ("path", "code", "detail"),
    [
        ("error", "persona_failed", "The model is overloaded"),
        ("cut", "persona_cut_off", "broke"),
        ("html", "persona_bad_answer", "HTML"),
        ("empty", "persona_bad_answer", "empty"),
        ("empty?status=204", "persona_bad_answer", "empty"),
        ("immediately", "persona_misconfigured", "before the workflow is done"),
        ("secured", "persona_refused", "403: Authorization data is wrong!"),
        ("not-there", "persona_refused", "404"),
        ("failing", "persona_refused", "500"),
        ("respond?status=418", "persona_refused", "418"),
        ("redirect", "persona_refused", "not followed"),
        ("huge", "persona_too_large", "characters"),
        ("respond-text?type=application/pdf", "persona_bad_answer", "application/pdf"),
        ("respond-text?type=text/event-stream", "persona_bad_answer", "text/event-stream"),
        ("respond-text?type=application/json", "persona_bad_answer", "not the JSON"),
    ],
)
async def test_a_failure_says_what_went_wrong(n8n: N8n, path: str, code: str, detail: str) -> None:
    heard = await ask(n8n.url(path))
    assert heard.error is not None
    assert (heard.code, detail in heard.error.detail) == (code, True), heard.error


@pytest.mark.parametrize("path", ["error", "cut"])
async def test_what_was_said_before_the_failure_was_said(n8n: N8n, path: str) -> None:
    heard = await ask(n8n.url(path))
    assert heard.text == "You wr"


@pytest.mark.parametrize(
    ("chunks", "code"),
    [
        ([line("begin"), line("item", "Hi")], "persona_cut_off"),
        ([line("begin"), line("item", "Hi"), line("end")[:-9]], "persona_cut_off"),
        ([line("item", "Hi")], "persona_cut_off"),
        ([line("begin")], "persona_cut_off"),
        ([line("begin", node="a"), line("item", "Hi", node="b"), line("end", node="b")], "persona_cut_off"),
        ([line("begin"), b"<html>\n", line("end")], "persona_bad_answer"),
        ([line("begin"), line("end")], "persona_bad_answer"),
        ([line("begin"), line("item", " \n"), line("end")], "persona_bad_answer"),
        ([line("error", "no")], "persona_failed"),
        ([line("begin"), line("item", "Hi"), b'{"type":"error","content":"no"}\n'], "persona_failed"),
        ([b""], "persona_bad_answer"),
        ([b"  \n"], "persona_bad_answer"),
        ([b"null"], "persona_bad_answer"),
        ([b"42"], "persona_bad_answer"),
        ([b"{}"], "persona_bad_answer"),
        ([b'{"output": " "}'], "persona_bad_answer"),
        ([b'[{"output":"a"},{"output":"b"}]'], "persona_bad_answer"),
        ([b"[" * 100_000], "persona_bad_answer"),
        ([b'{"output": "\xff"}'], "persona_bad_answer"),
        ([b'{"error": {"message": "no credit"}}'], "persona_failed"),
    ],
)
async def test_a_body_that_is_no_whole_answer(n8n: N8n, chunks: list[bytes], code: str) -> None:
    assert (await ask(n8n.say("broken", *chunks))).code == code


async def test_an_error_that_the_node_recovers_from_is_none(n8n: N8n) -> None:
    url = n8n.say("again", line("begin"), line("error", "once"), line("item", "Hello"), line("end"))
    assert (await ask(url)).error is None


async def test_plain_text_may_come_in_any_pieces_but_not_empty(n8n: N8n) -> None:
    text = "  Grüße 👋\x00"
    url = n8n.say("text", *(bytes([byte]) for byte in text.encode()), content_type="text/plain")
    heard = await ask(url)
    assert heard.text == "  Grüße 👋"
    assert not any(piece.isspace() for piece in heard.texts[:1])
    assert (await ask(n8n.say("blank", b" \n ", content_type="text/plain"))).code == "persona_bad_answer"


@pytest.mark.parametrize("charset", ["hex", "zlib_codec", "idna", "nonsense"])
async def test_a_character_set_that_is_none_is_refused(n8n: N8n, charset: str) -> None:
    url = n8n.say("strange", b"abcd", content_type=f"text/plain; charset={charset}")
    assert (await ask(url)).code == "persona_bad_answer"


async def test_less_than_a_tag_is_not_a_page(n8n: N8n) -> None:
    url = n8n.say("heart", b"<3 and 2 < 3", content_type="text/html; charset=utf-8")
    assert (await ask(url)).text == "<3 and 2 < 3"


async def test_a_persona_that_is_down_is_unreachable() -> None:
    heard = await ask("http://127.0.0.1:1/webhook/x")
    assert heard.code == "persona_unreachable"
    assert heard.error is not None
    assert heard.error.retryable


@pytest.mark.parametrize(
    ("path", "config"),
    [
        ("slow", {"first_byte_seconds": 0.1}),
        ("silent", {"idle_seconds": 0.1}),
        ("slow", {}),
        ("silent", {"idle_seconds": 800}),
    ],
)
async def test_a_slow_persona_is_given_up_within_the_turns_limit(n8n: N8n, path: str, config: dict[str, Any]) -> None:
    started = time.monotonic()
    heard = await ask(n8n.url(path), time_limit=1, **config)
    assert heard.code == "persona_timeout"
    assert time.monotonic() - started < 4


async def test_an_error_line_counts_although_the_connection_stays_open() -> None:
    async def hang(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        writer.write(line("begin") + line("error", "no memory"))

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        heard = await ask(url, idle_seconds=0.2)
    assert heard.code == "persona_failed"


@pytest.mark.parametrize("echo", ["error", "status", "document"])
async def test_a_secret_that_is_sent_back_is_in_no_detail(n8n: N8n, echo: str) -> None:
    body = {
        "error": line("begin") + line("error", f"bad key {SECRET}"),
        "status": SECRET.encode(),
        "document": json.dumps({"error": f"bad key {SECRET}"}).encode(),
    }[echo]
    url = n8n.say("echo", body, status=400 if echo == "status" else 200)
    heard = await ask(url, auth="bearer", secret=SECRET)
    assert heard.error is not None
    assert "[secret]" in heard.error.detail
    assert SECRET not in str(heard.error)


async def test_a_detail_is_one_short_line(n8n: N8n) -> None:
    url = n8n.say("page", b"<html>\n<body>" + b"word \x00\n" * 1_000, status=502, content_type="text/html")
    heard = await ask(url)
    assert heard.error is not None
    assert len(heard.error.detail) < 300
    assert heard.error.detail.isprintable()
    assert "<" not in heard.error.detail


async def test_who_stops_listening_hangs_up(n8n: N8n, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        async with aclosing(personas.find("n8n").answer(make_turn(config={"url": n8n.url("huge")}))) as answer:
            await anext(answer)
        await asyncio.sleep(0.05)
    assert caplog.records == []
