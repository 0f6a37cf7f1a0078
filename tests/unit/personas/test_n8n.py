"""What n8n is sent, and what of a workflow's answer is text."""

import json
from typing import Any

import pytest

from lib.personas import ContactFacts, HistoryMessage
from tests.standins.n8n import N8n, line
from tests.unit.peer import ASK, playing
from tests.unit.persona_turns import ANSWER, MESSAGE, Heard, ask, remembered, said


async def answer(n8n: N8n, *chunks: bytes, **options: Any) -> Heard:
    """What is heard of a workflow that answers these bytes."""
    return await ask("n8n", n8n.say("mine", *chunks, **options))


@pytest.mark.parametrize(
    ("contact", "sent"),
    [
        (None, None),
        (
            ContactFacts("Ann Lee", "ann@example.com", {"vip": True}),
            {"name": "Ann Lee", "email": "ann@example.com", "attributes": {"vip": True}},
        ),
    ],
)
async def test_a_workflow_gets_our_fields_and_those_of_chat_trigger(
    n8n: N8n, contact: ContactFacts | None, sent: Any
) -> None:
    history = (
        *said("an earlier word", "<think>hm</think>Hi"),
        HistoryMessage("member", "I'm Bo.", "2026-11-21T09:00:00Z"),
    )
    turn = {
        "verified": contact is not None,
        "contact": contact,
        "history": history,
        "memories": remembered("likes tea"),
        "metadata": {"page": "/"},
    }
    await ask("n8n", n8n.url("last-node"), turn=turn)
    told = [("contact", "an earlier word"), ("persona", "Hi"), ("member", "I'm Bo.")]
    assert n8n.received[0].body == {
        "message": MESSAGE, "conversationId": "conversation-1", "personaId": "persona-1", "userId": "contact-1",
        "sessionId": "session-1", "turnId": "turn-1", "verified": contact is not None, "contact": sent,
        "history": [{"role": role, "text": text, "created_at": "2026-11-21T09:00:00Z"} for role, text in told],
        "memories": [{
            "id": "memory-1", "kind": "fact", "content": "likes tea", "valid_from": "2026-11-21T09:00:00Z", "score": 1,
        }],
        "spaceId": "space-1", "metadata": {"page": "/"}, "action": "sendMessage", "chatInput": MESSAGE,
    }  # fmt: skip


@pytest.mark.parametrize(
    "path",
    [
        "last-node", "all-items", "respond", "respond?status=201", "respond?status=299", "respond-text",
        "respond-text?type=text/plain", "respond-text?type=text/plain&status=202",
    ],
)  # fmt: skip
async def test_every_way_to_answer_at_once_is_understood(n8n: N8n, path: str) -> None:
    heard = await ask("n8n", n8n.url(path))
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
        ({"output": '{"output": "l"}'}, "l"),
        ({"items": [{"output": "n"}]}, "n"),
        ({"output": "<think>hm</think>\n\nm"}, "m"),
    ],
)
async def test_the_text_of_a_json_answer_is_found(n8n: N8n, value: object, text: str) -> None:
    for indent in (None, 2):
        assert (await answer(n8n, json.dumps(value, indent=indent).encode())).text == text


BEGIN, END, HELLO = line("begin"), line("end"), line("item", "Hello")
TOOLS = [line("tool-call-start", '{"query":"secret"}'), HELLO, line("tool-call-end", "[1]")]
TWO_NODES = [*(line("begin", node=node) for node in "ab"), line("item", "1 ", node="a"), line("item", "2", node="b")]
HALVES = [
    BEGIN + line("item", "Hi \ud83d") + line("item", "from b", node="b", run=1),
    line("item", "\udc4b!") + END + line("end", node="b", run=1),
]


AGAIN = [line("begin", run=1)]


def responds(body: Any) -> list[bytes]:
    """What a Respond to Webhook node streams: JSON as the text of one item."""
    content = body if isinstance(body, str) else json.dumps(body)
    return [line("begin", node="r"), line("item", content, node="r"), line("end", node="r")]


@pytest.mark.parametrize(
    ("chunks", "texts"),
    [
        ([BEGIN, *TOOLS, b"\n", b'"a string"\n[1]\n{"no":"type"}\n', END], ["Hello"]),
        ([*TWO_NODES, line("end", node="a"), line("item", "3", node="b"), line("end", node="b")], ["1 ", "2", "3"]),
        (HALVES, ["Hi ", "from b", "👋!"]),
        ([b'{"type":"hello"}\n', BEGIN, HELLO, END], ["Hello"]),
        ([BEGIN, line("error", "once"), HELLO, END], ["Hello"]),
        ([BEGIN, HELLO, *TOOLS[::2], line("item", "Sunny."), END], ["Hello", "\n\nSunny."]),
        (
            [BEGIN, HELLO, END, *AGAIN, line("item", " \n", run=1), line("item", "Bye", run=1), line("end", run=1)],
            ["Hello", "\n\nBye"],
        ),
        ([BEGIN, HELLO, END, *responds({"output": " Hello"})], ["Hello"]),
        (
            [BEGIN, HELLO, END, *AGAIN, line("item", "Hello", run=1), line("item", "!", run=1), line("end", run=1)],
            ["Hello", "\n\nHello!"],
        ),
        ([BEGIN, line("item", "<thi"), line("item", "nk>Hm.</think>"), HELLO, END], ["Hello"]),
        ([BEGIN, b"keep-alive\n", b": ping\n", HELLO, END], ["Hello"]),
        ([BEGIN, line("item", "["), line("item", "link](x)"), END], ["[link](x)"]),
        ([BEGIN, line("item", '{"a'), line("item", '": 1}'), END], ['{"a": 1}']),
        (responds({"output": "Hello"}), ["Hello"]),
        (responds([{"output": "Hello"}]), ["Hello"]),
        (responds([{"output": "Hello"}, {"text": "Bye"}]), ["Hello\n\nBye"]),
        (responds({"data": [{"json": 1, "output": "Hello"}]}), ["Hello"]),
        (responds({"items": [{"output": "Hello"}, {"output": "Bye"}]}), ["Hello\n\nBye"]),
        (responds('{"output": "{\\"output\\": \\"Hello\\"}"}'), ["Hello"]),
        (responds("{Hello}"), ["{Hello}"]),
    ],
)
async def test_the_items_of_a_stream_are_the_answer(n8n: N8n, chunks: list[bytes], texts: list[str]) -> None:
    heard = await answer(n8n, *chunks)
    assert (heard.texts, heard.error) == (texts, None)


@pytest.mark.parametrize(
    ("chunks", "code"),
    [
        ([BEGIN, HELLO], "persona_cut_off"),
        ([BEGIN, HELLO, END[:-9]], "persona_cut_off"),
        ([HELLO], "persona_cut_off"),
        ([BEGIN], "persona_cut_off"),
        ([line("begin", node="a"), line("item", "Hi", node="b"), line("end", node="b")], "persona_cut_off"),
        ([BEGIN, b"<html>\n", END], "persona_bad_answer"),
        ([BEGIN, END], "persona_bad_answer"),
        ([BEGIN, line("item", " \n"), END], "persona_bad_answer"),
        ([line("error", "no")], "persona_failed"),
        ([BEGIN, HELLO, b'{"type":"error","content":"no"}\n'], "persona_failed"),
        *(([body], "persona_bad_answer") for body in (
            b"", b"  \n", b"null", b"42", b"{}", b'{"output": " "}', b'[{"output":"a"},{"output":"b"}]',
            b"[" * 100_000, b'{"output": "\xff"}',
        )),
        ([b'{"error": {"message": "no credit"}}'], "persona_failed"),
        (responds({"error": "no credit"}), "persona_failed"),
        ([BEGIN, HELLO, line("error", "400 content_filter: try another prompt")], "persona_declined"),
        ([BEGIN, HELLO, line("error", "This model's maximum context length is 8192 tokens")], "persona_input_refused"),
    ],
)  # fmt: skip
async def test_a_body_that_is_no_complete_answer_is_an_error(n8n: N8n, chunks: list[bytes], code: str) -> None:
    assert (await answer(n8n, *chunks)).code == code


async def test_plain_text_may_come_in_any_pieces_but_not_empty(n8n: N8n) -> None:
    pieces = (bytes([byte]) for byte in "  Grüße 👋\x00".encode())
    heard = await answer(n8n, *pieces, content_type="text/plain")
    assert heard.text == "  Grüße 👋"
    assert not heard.texts[0].isspace()
    assert (await answer(n8n, b" \n ", content_type="text/plain")).code == "persona_bad_answer"


@pytest.mark.parametrize("charset", ["hex", "zlib_codec", "idna", "nonsense"])
async def test_an_unknown_character_set_is_refused(n8n: N8n, charset: str) -> None:
    assert (await answer(n8n, b"abcd", content_type=f"text/plain; charset={charset}")).code == "persona_bad_answer"


@pytest.mark.parametrize("content_type", ["text/plain", "text/html; charset=utf-8"])
async def test_json_and_thoughts_in_a_text_are_unwrapped(n8n: N8n, content_type: str) -> None:
    chunks = (b'{"outp', b'ut": "<think>hm</think>Hello"}')
    assert (await answer(n8n, *chunks, content_type=content_type)).text == "Hello"


async def test_less_than_a_tag_is_not_a_page(n8n: N8n) -> None:
    assert (await answer(n8n, b"<3 and 2 < \xe4", content_type='TEXT/Html ; Charset="Latin-1"')).text == "<3 and 2 < ä"


async def test_an_error_line_counts_although_the_connection_stays_open() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    async with playing([ASK, head + BEGIN + line("error", "no memory"), ASK]).running() as peer:
        assert (await ask("n8n", peer.url, idle_seconds=0.2)).code == "persona_failed"
