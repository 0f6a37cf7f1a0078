import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
import pytest_asyncio

from lib import personas
from lib.personas import HistoryMessage, Text, Usage, sanitizer
from tests.standins.openai import DONE, MODEL, SECRET, USAGE, OpenAI, chunk, document, event, usage_chunk
from tests.unit.persona_turns import Heard, hear, make_turn, said

ANSWER = "You wrote: Grüße 👋 at noon"


@pytest_asyncio.fixture
async def openai() -> AsyncIterator[OpenAI]:
    async with OpenAI() as running:
        yield running


async def ask(
    base_url: str, *, secret: str | None = None, time_limit: int = 20, turn: dict[str, Any] | None = None, **config: Any
) -> Heard:
    config = {"base_url": base_url, "model": MODEL, **config}
    return await hear("openai", make_turn(config=config, secret=secret, time_limit_seconds=time_limit, **(turn or {})))


def used(heard: Heard) -> dict[str, Any]:
    """What the last piece says was used."""
    last = heard.pieces[-1]
    assert isinstance(last, Usage)
    return dict(last.usage)


# What is sent


async def test_only_what_was_configured_is_sent(openai: OpenAI) -> None:
    heard = await ask(openai.base_url("stream"))
    assert (heard.text, heard.error) == (ANSWER, None)
    assert openai.received[0].body == {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Grüße 👋 at noon"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_the_settings_of_the_model_are_sent(openai: OpenAI) -> None:
    settings: dict[str, Any] = {
        "temperature": 0.2,
        "max_completion_tokens": 100,
        "extra": {"top_p": 0.5, "reasoning_effort": "low"},
    }
    assert (await ask(openai.base_url("stream"), **settings)).error is None
    body = openai.received[0].body
    assert {name: body[name] for name in ("temperature", "max_completion_tokens", "top_p", "reasoning_effort")} == {
        "temperature": 0.2,
        "max_completion_tokens": 100,
        "top_p": 0.5,
        "reasoning_effort": "low",
    }
    assert "max_tokens" not in body


async def test_a_server_that_knows_less_is_asked_for_less(openai: OpenAI) -> None:
    assert (await ask(openai.base_url("old"), max_tokens=100)).code == "persona_refused"
    heard = await ask(openai.base_url("old"), max_tokens=100, include_usage=False)
    assert (heard.text, heard.error) == (ANSWER, None)
    assert openai.received[1].body["max_tokens"] == 100


async def test_the_history_stands_between_system_prompt_and_message(openai: OpenAI) -> None:
    roles = ("contact", "persona", "user", "member")
    history = tuple(HistoryMessage(role, f"of a {role}", "2026-11-21T09:00:00Z") for role in roles)  # type: ignore[arg-type]
    await ask(openai.base_url("stream"), system_prompt="Be brief.", turn={"history": history})
    assert openai.received[0].body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "of a contact"},
        {"role": "assistant", "content": "of a persona"},
        {"role": "user", "content": "of a user"},
        {"role": "assistant", "content": "of a member"},
        {"role": "user", "content": "Grüße 👋 at noon"},
    ]


@pytest.mark.parametrize(
    ("characters", "kept"),
    [(0, []), (4, []), (5, ["three"]), (8, ["three"]), (9, ["two ", "three"]), (12, ["one", "two ", "three"])],
)
async def test_the_newest_of_the_history_is_kept_whole_and_the_message_always(
    openai: OpenAI, characters: int, kept: list[str]
) -> None:
    turn = {"history": said("one", "two ", " \n", "three"), "message": "m" * 16_000}
    await ask(openai.base_url("stream"), history_characters=characters, turn=turn)
    assert [message["content"] for message in openai.received[0].body["messages"]] == [*kept, "m" * 16_000]


async def test_a_model_that_wants_turns_gets_turns(openai: OpenAI) -> None:
    roles = ("persona", "contact", "contact", "persona", "member", "contact")
    history = tuple(HistoryMessage(role, f"{place}", "2026-11-21T09:00:00Z") for place, role in enumerate(roles))  # type: ignore[arg-type]
    turn = {"history": history, "message": "6"}
    await ask(openai.base_url("stream"), alternate=True, system_prompt="Be brief.", turn=turn)
    assert [(message["role"], message["content"]) for message in openai.received[0].body["messages"]] == [
        ("system", "Be brief."),
        ("user", "1\n\n2"),
        ("assistant", "3\n\n4"),
        ("user", "5\n\n6"),
    ]


async def test_the_path_is_joined_to_the_base_url(openai: OpenAI) -> None:
    base = openai.base_url("stream")
    for url in (base, f"{base}/", f"{base}/chat/completions", f"{base}/chat/completions/", f"{base}#there"):
        assert (await ask(url)).error is None
    assert {received.path for received in openai.received} == {"/stream/v1/chat/completions"}


async def test_a_secret_is_a_bearer_unless_set_otherwise(openai: OpenAI) -> None:
    assert (await ask(openai.base_url("secured"), secret=SECRET)).text == ANSWER
    assert (await ask(openai.base_url("secured"), secret=SECRET, auth="bearer")).text == ANSWER
    assert (await ask(openai.base_url("secured"), secret=SECRET, auth="none")).code == "persona_refused"
    assert SECRET not in str(openai.received[-1])
    assert (await ask(openai.base_url("stream"))).text == ANSWER
    assert "authorization" not in openai.received[-1].headers


async def test_a_gateway_takes_its_own_header_and_query(openai: OpenAI) -> None:
    url = openai.base_url("gateway", "?api-version=2024-10-21")
    assert (await ask(url, secret=SECRET, auth={"header": "api-key"})).text == ANSWER


@pytest.mark.parametrize(
    ("config", "secret"),
    [
        ({"auth": "bearer"}, None),
        ({}, "two\r\nlines: x"),
        ({"auth": {"header": "Host"}}, "x"),
        ({"auth": "basic"}, "x"),
        ({"model": ""}, None),
        ({"model": None}, None),
        ({"temperature": 2.1}, None),
        ({"temperature": float("nan")}, None),
        ({"max_tokens": 0}, None),
        ({"max_tokens": 5, "max_completion_tokens": 5}, None),
        ({"history_characters": -1}, None),
        ({"system_prompt": "x" * 32_001}, None),
        ({"extra": {"stream": False}}, None),
        ({"extra": {"model": "another"}}, None),
        ({"extra": {"messages": []}}, None),
        ({"extra": {"n": 2}}, None),
        ({"extra": {"note": "x" * 16_000}}, None),
        ({"extra": []}, None),
        ({"idle_seconds": 0}, None),
        ({"unknown": 1}, None),
        ({"base_url": "ftp://127.0.0.1/v1"}, None),
        ({"base_url": "http://user:word@127.0.0.1/v1"}, None),
    ],
)
async def test_settings_that_make_no_sense_send_nothing(
    openai: OpenAI, config: dict[str, Any], secret: str | None
) -> None:
    heard = await ask(**{"base_url": openai.base_url("stream"), "secret": secret, **config})
    assert (heard.code, heard.pieces, openai.received) == ("persona_misconfigured", [], [])


async def test_an_address_that_nobody_allowed_is_not_called(openai: OpenAI) -> None:
    heard = await ask(openai.base_url("stream"), turn={"allowed_networks": ()})
    assert (heard.code, openai.received) == ("persona_address_refused", [])


# Answers


async def test_each_token_is_a_piece_and_the_usage_comes_last(openai: OpenAI) -> None:
    heard = await ask(openai.base_url("stream"))
    assert heard.texts == ["You", " wrote:", " Grüße", " 👋", " at", " noon"]
    assert used(heard) == {**USAGE, "finish_reason": "stop", "model": f"{MODEL}-2026-11-01"}


async def test_the_first_token_does_not_wait_for_the_second(openai: OpenAI) -> None:
    started = time.monotonic()
    turn = make_turn(config={"base_url": openai.base_url("silent"), "model": MODEL})
    async with aclosing(personas.find("openai").answer(turn)) as answer:
        assert await anext(answer) == Text("You wr")
    assert time.monotonic() - started < 5


async def test_the_next_turn_uses_the_same_connection(openai: OpenAI) -> None:
    for _ in range(3):
        await ask(openai.base_url("stream"))
    assert len({received.port for received in openai.received}) == 1


async def test_a_server_that_does_not_stream_is_heard_all_the_same(openai: OpenAI) -> None:
    heard = await ask(openai.base_url("plain"))
    assert (heard.texts, heard.error) == ([ANSWER], None)
    assert used(heard)["total_tokens"] == 14


@pytest.mark.parametrize("query", ["", "?done=1", "?comments=1", "?comments=1&done=1"])
async def test_a_connection_that_stays_open_holds_nobody_up(openai: OpenAI, query: str) -> None:
    started = time.monotonic()
    heard = await ask(openai.base_url("open", query))
    assert (heard.text, heard.error) == (ANSWER, None)
    # Two seconds is how long the figures are waited for behind the last word.
    assert time.monotonic() - started < (2 if "done" in query else 8)


async def test_an_answer_cut_by_its_token_limit_is_an_answer_and_says_so(openai: OpenAI) -> None:
    heard = await ask(openai.say("length", event(chunk("You wr")), event(chunk(finish="length")), DONE))
    assert (heard.text, heard.error) == ("You wr", None)
    assert used(heard)["finish_reason"] == "length"


HELLO = event(chunk("Hello"))
STOP = event(chunk(finish="stop"))


@pytest.mark.parametrize(
    "chunks",
    [
        [event(chunk(role="assistant")), HELLO, STOP, event(usage_chunk()), DONE],
        [event({"choices": [], "prompt_filter_results": []}), HELLO, STOP, DONE],
        [event({"choices": [{"index": 0, "content_filter_offsets": {}}]}), HELLO, STOP, DONE],
        [event({"choices": None}), event({"choices": [None, 3]}), HELLO, STOP, DONE],
        [event(chunk(reasoning_content="Hm. ")), event(chunk(None, reasoning="Hm.")), HELLO, STOP, DONE],
        [event({**chunk("Hello"), "error": None, "usage": None}), STOP, DONE],
        [event({"choices": [{"delta": {"content": "Hello"}, "finish_reason": ""}]}), STOP, DONE],
        [event({"choices": [{"index": 1, "delta": {"content": "Bye"}}]}), HELLO, STOP, DONE],
        [event(chunk([{"type": "thinking", "thinking": []}, {"type": "text", "text": "Hello"}])), STOP],  # type: ignore[arg-type]
        [event(chunk(tool_calls=[], function_call=None)), HELLO, STOP, DONE],
        [HELLO, STOP],
        [HELLO, DONE],
        [HELLO, STOP.rstrip(b"\n")],
        [HELLO, STOP, DONE.rstrip(b"\n")],
        [HELLO.replace(b"\n", b"\r\n"), STOP.replace(b"\n", b"\r\n"), DONE],
        [HELLO.replace(b"\n", b"\r"), STOP.replace(b"\n", b"\r"), DONE.replace(b"\n", b"\r")],
        [b"\xef\xbb\xbf", HELLO, STOP, DONE],
        [b"\r\n \xef\xbb\xbf", HELLO, STOP, DONE],
        [b": OPENROUTER PROCESSING\n\n", HELLO, b":\n\n", b"data:\n\n", STOP, DONE],
        [b"event: message\nid: 1\nretry: 10\n", HELLO, STOP, DONE],
        [b'data: {"choices": [{"index": 0,\ndata: "delta": {"content":\ndata:"Hello"}}]}\n\n', STOP, DONE],
        [HELLO, STOP, DONE, event({"error": "after the end"}), b"\xff\xfe\n\n"],
    ],
)
async def test_what_servers_add_and_leave_out_does_not_matter(openai: OpenAI, chunks: list[bytes]) -> None:
    heard = await ask(openai.say("strange", *chunks))
    assert (heard.texts, heard.error) == (["Hello"], None)


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/octet-stream", "application/json"])
async def test_a_wrong_content_type_does_not_matter(openai: OpenAI, content_type: str) -> None:
    assert (await ask(openai.say("mislabelled", HELLO, STOP, DONE, content_type=content_type))).text == "Hello"
    body = json.dumps(document("Hello"), indent=2).encode()
    assert (await ask(openai.say("mislabelled", body, content_type=content_type))).text == "Hello"


async def test_an_emoji_in_two_halves_is_one_again(openai: OpenAI) -> None:
    heard = await ask(openai.say("halves", event(chunk("Hi \ud83d")), event(chunk("\udc4b\x00!")), STOP))
    assert "".join(heard.texts) == "Hi 👋!"
    heard = await ask(openai.say("half", event(chunk("Hi \ud83d")), STOP))
    assert heard.text == "Hi \N{REPLACEMENT CHARACTER}"


async def test_white_space_waits_for_a_word(openai: OpenAI) -> None:
    heard = await ask(openai.say("blank", event(chunk("\n\n")), event(chunk("Hi")), event(chunk(" ")), STOP))
    assert heard.texts == ["\n\nHi", " "]


async def test_only_counts_that_make_sense_are_kept(openai: OpenAI) -> None:
    usage = {"prompt_tokens": "9", "completion_tokens": -1, "total_tokens": True}
    heard = await ask(openai.say("counts", event({**chunk("Hi", finish="stop"), "model": 4, "usage": usage})))
    assert used(heard) == {"finish_reason": "stop"}
    heard = await ask(openai.say("none", event({"choices": [{"delta": {"content": "Hi"}}]}), DONE))
    assert heard.pieces == [Text("Hi")]


# What goes wrong


@pytest.mark.parametrize(
    ("behaviour", "code", "detail", "kept"),
    [
        ("failing-late", "persona_failed", "The server had an error", "You wr"),
        ("cut", "persona_cut_off", "broke", "You wr"),
        ("secured", "persona_refused", "401: Incorrect API key provided.", ""),
        ("no-such", "persona_refused", "404: The model `parrot-1` does not exist.", ""),
        ("old", "persona_refused", "400: Unrecognized request argument", ""),
        ("redirect", "persona_refused", "not followed", ""),
        ("huge", "persona_too_large", "characters", None),
        ("endless-line", "persona_too_large", "bytes", ""),
    ],
)
async def test_a_failure_says_what_went_wrong(
    openai: OpenAI, behaviour: str, code: str, detail: str, kept: str | None
) -> None:
    heard = await ask(openai.base_url(behaviour))
    assert heard.error is not None
    assert (heard.code, detail in heard.error.detail) == (code, True), heard.error
    assert kept is None or heard.text == kept


@pytest.mark.parametrize(
    ("status", "body", "said", "retryable"),
    [
        (400, {"error": {"message": "bad", "code": "content_filter"}}, "400: bad", False),
        (403, {"error": "no entry"}, "403: no entry", False),
        (404, {"detail": "Not Found"}, "404: Not Found", False),
        (422, {"detail": [{"loc": ["body"], "msg": "field required"}]}, "422: field required", False),
        (429, [{"error": {"message": "quota", "status": "RESOURCE_EXHAUSTED"}}], "429: quota", True),
        (500, {"object": "error", "message": "boom"}, "500: boom", True),
        (503, None, "503: overloaded", True),
        (502, {"error": {"code": 502}}, '502: {"error": {"code": 502}}', True),
        (500, {"error": {"error": {"error": {"error": {"error": {"error": {"error": "deep"}}}}}}}, "500", True),
    ],
)
async def test_a_refusal_of_any_form_is_told(
    openai: OpenAI, status: int, body: object, said: str, retryable: bool
) -> None:
    raw = b"<h1>overloaded</h1>" if body is None else json.dumps(body).encode()
    heard = await ask(openai.say("refusing", raw, status=status, content_type="application/json"))
    assert heard.error is not None
    assert (heard.code, heard.error.retryable) == ("persona_refused", retryable)
    assert said in heard.error.detail


@pytest.mark.parametrize(
    ("chunks", "code", "kept"),
    [
        ([HELLO], "persona_cut_off", "Hello"),
        ([HELLO, STOP[:30]], "persona_cut_off", "Hello"),
        ([HELLO, event(chunk(finish="content_filter")), DONE], "persona_declined", "Hello"),
        ([event(chunk(refusal="I can")), event(chunk(refusal="not.")), STOP, DONE], "persona_declined", ""),
        ([HELLO, event(chunk(tool_calls=[{"index": 0, "id": "1"}])), STOP], "persona_bad_answer", "Hello"),
        ([event(chunk(finish="tool_calls")), DONE], "persona_bad_answer", ""),
        ([HELLO, event(chunk(finish="error")), DONE], "persona_failed", "Hello"),
        ([HELLO, event({"error": {"message": "no"}})], "persona_failed", "Hello"),
        ([HELLO + event({"error": {"message": "no"}})], "persona_failed", "Hello"),
        ([HELLO, STOP, event({"error": "no credit"})], "persona_failed", "Hello"),
        ([HELLO, b"event: error\n", event({"message": "no"})], "persona_failed", "Hello"),
        ([HELLO, b"event: error\ndata: overloaded\n\n"], "persona_failed", "Hello"),
        ([b'data: {"error": ' + b'{"error":' * 400 + b"1" + b"}" * 401 + b"\n\n"], "persona_failed", ""),
        ([HELLO, b"data: {broken\n\n", STOP], "persona_bad_answer", "Hello"),
        ([HELLO, b"data: 42\n\n", STOP], "persona_bad_answer", "Hello"),
        ([b"data: " + b"[" * 100_000 + b"\n\n"], "persona_bad_answer", ""),
        ([event(chunk(" \n")), STOP, DONE], "persona_bad_answer", ""),
        ([event(chunk(finish="length")), DONE], "persona_bad_answer", ""),
        ([STOP, DONE], "persona_bad_answer", ""),
        ([DONE], "persona_bad_answer", ""),
        ([b""], "persona_bad_answer", ""),
        ([b"\xef\xbb"], "persona_bad_answer", ""),
        ([b" \n\n"], "persona_bad_answer", ""),
        ([b": nothing\n\n"], "persona_bad_answer", ""),
        ([b"Internal Server Error"], "persona_bad_answer", ""),
        ([b"<!DOCTYPE html><h1>Sign in</h1>"], "persona_bad_answer", ""),
        ([b"\x00\xff\xfe\x80\n\n\r\r" * 100], "persona_bad_answer", ""),
        ([b"{"], "persona_bad_answer", ""),
        ([b"{}"], "persona_bad_answer", ""),
        ([b"[]"], "persona_bad_answer", ""),
        ([b'{"model":"m","response":"Hello"}\n{"model":"m"}\n'], "persona_bad_answer", ""),
        ([b'{"choices":[]}'], "persona_bad_answer", ""),
        ([b'{"error":{"message":"no"}}'], "persona_failed", ""),
        ([b'[{"error":{"message":"no"}}]'], "persona_failed", ""),
        ([json.dumps(document(None, refusal="No.")).encode()], "persona_declined", ""),
        ([json.dumps(document(None, finish="tool_calls", tool_calls=[{}])).encode()], "persona_bad_answer", ""),
    ],
)
async def test_a_body_that_is_no_whole_answer(openai: OpenAI, chunks: list[bytes], code: str, kept: str) -> None:
    heard = await ask(openai.say("broken", *chunks))
    assert (heard.code, heard.text) == (code, kept), heard.error


async def test_an_answer_that_was_stopped_has_its_price(openai: OpenAI) -> None:
    url = openai.say("filtered", HELLO, event(chunk(finish="content_filter")), event(usage_chunk()), DONE)
    heard = await ask(url)
    assert heard.code == "persona_declined"
    assert used(heard) == {**USAGE, "finish_reason": "content_filter", "model": f"{MODEL}-2026-11-01"}


async def test_a_text_without_end_is_not_taken(openai: OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sanitizer, "MAX_CHARACTERS", 7)
    heard = await ask(openai.say("long", HELLO, event(chunk("12")), event(chunk("3")), STOP))
    assert (heard.code, heard.text) == ("persona_too_large", "Hello12")


@pytest.mark.parametrize(
    ("behaviour", "config", "kept"),
    [
        ("slow", {"first_byte_seconds": 0.1}, ""),
        ("slow", {}, ""),
        ("silent", {"idle_seconds": 0.1}, "You wr"),
        ("silent", {}, "You wr"),
        ("dripping", {}, ""),
    ],
)
async def test_a_slow_model_is_given_up_within_the_turns_limit(
    openai: OpenAI, behaviour: str, config: dict[str, Any], kept: str
) -> None:
    started = time.monotonic()
    heard = await ask(openai.base_url(behaviour), time_limit=1, **config)
    assert (heard.code, heard.text) == ("persona_timeout", kept)
    assert time.monotonic() - started < 4


async def test_a_model_that_is_down_is_unreachable() -> None:
    heard = await ask("http://127.0.0.1:1/v1")
    assert heard.code == "persona_unreachable"


@pytest.mark.parametrize("echo", ["status", "chunk", "event", "document", "refusal"])
async def test_a_secret_that_is_sent_back_is_in_no_detail(openai: OpenAI, echo: str) -> None:
    said = f"bad key {SECRET}"
    body = {
        "status": json.dumps({"error": {"message": said}}).encode(),
        "chunk": event({"error": {"message": said}}),
        "event": f"event: error\ndata: {said}\n\n".encode(),
        "document": json.dumps({"error": said}).encode(),
        "refusal": event(chunk(refusal=said)) + STOP,
    }[echo]
    heard = await ask(openai.say("echo", body, status=401 if echo == "status" else 200), secret=SECRET)
    assert heard.error is not None
    assert "[secret]" in heard.error.detail
    assert SECRET not in str(heard.error)


async def test_who_stops_listening_hangs_up(openai: OpenAI, caplog: pytest.LogCaptureFixture) -> None:
    turn = make_turn(config={"base_url": openai.base_url("huge"), "model": MODEL})
    with caplog.at_level(logging.WARNING):
        async with aclosing(personas.find("openai").answer(turn)) as answer:
            await anext(answer)
    assert caplog.records == []
