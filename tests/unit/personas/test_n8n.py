"""What n8n is sent, and what of a workflow's answer is text."""

import json
from typing import Any

import pytest

from tests.standins.n8n import N8n, line
from tests.unit.peer import ASK, playing
from tests.unit.persona_turns import ANSWER, MESSAGE, Heard, ask, said


async def answer(n8n: N8n, *chunks: bytes, **options: Any) -> Heard:
    """What is heard of a workflow that answers these bytes."""
    return await ask("n8n", n8n.say("mine", *chunks, **options))


@pytest.mark.parametrize(("user_id", "shown"), [(None, "contact-1"), ("user-1", "user-1")])
async def test_a_workflow_gets_the_six_fields_and_those_of_chat_trigger_but_no_history(
    n8n: N8n, user_id: str | None, shown: str
) -> None:
    await ask("n8n", n8n.url("last-node"), turn={"user_id": user_id, "history": said("an earlier word")})
    assert n8n.received[0].body == {
        "message": MESSAGE, "conversationId": "conversation-1", "personaId": "persona-1", "userId": shown,
        "sessionId": "session-1", "turnId": "turn-1", "action": "sendMessage", "chatInput": MESSAGE,
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


@pytest.mark.parametrize(
    ("chunks", "texts"),
    [
        ([BEGIN, *TOOLS, b"\n", b'"a string"\n[1]\n{"no":"type"}\n', END], ["Hello"]),
        ([*TWO_NODES, line("end", node="a"), line("item", "3", node="b"), line("end", node="b")], ["1 ", "2", "3"]),
        (HALVES, ["Hi ", "from b", "👋!"]),
        ([b'{"type":"hello"}\n', BEGIN, HELLO, END], ["Hello"]),
        ([BEGIN, line("error", "once"), HELLO, END], ["Hello"]),
    ],
    ids=["tools and unknown types", "two nodes at once", "half an emoji", "another first line", "a recovered error"],
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


async def test_less_than_a_tag_is_not_a_page(n8n: N8n) -> None:
    assert (await answer(n8n, b"<3 and 2 < \xe4", content_type='TEXT/Html ; Charset="Latin-1"')).text == "<3 and 2 < ä"


async def test_an_error_line_counts_although_the_connection_stays_open() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    async with playing([ASK, head + BEGIN + line("error", "no memory"), ASK]).running() as peer:
        assert (await ask("n8n", peer.url, idle_seconds=0.2)).code == "persona_failed"
