"""What goes to a provider: the parts of a text, each provider's call, and the meaning of its answer."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import telegram as library
from hypothesis import given
from hypothesis import strategies as st

from lib import providers
from lib.channels.sending import split
from lib.outbound import addresses, client
from lib.providers import Messenger, Part, Rejected, Sent
from tests.standins import discord, telegram, whatsapp

MESSENGERS: dict[str, Messenger] = {name: providers.find(name) for name in ("telegram", "whatsapp", "discord")}  # type: ignore[misc]
TOKENS = {"telegram": telegram.TOKEN, "whatsapp": whatsapp.TOKEN, "discord": discord.TOKEN}
PART = Part(text="Hello", chat_id="42", reference="m:0")


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


@given(st.text("ab \n\N{GRINNING FACE}\N{COMBINING ACUTE ACCENT}", max_size=200), st.integers(2, 40))
def test_parts_hold_all_words_in_order_within_the_limit(text: str, most: int) -> None:
    parts = split(text, most)
    assert all(0 < units(part) <= most and part == part.strip() for part in parts)
    assert "".join("".join(parts).split()) == "".join(text.split())


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", []),
        ("short", ["short"]),
        ("one two three\n\nfour\nfive six", ["one two three", "four\nfive six"]),
        ("one two three four five", ["one two three", "four five"]),
        ("x" * 40, ["x" * 16, "x" * 16, "x" * 8]),
        ("\N{GRINNING FACE}" * 9, ["\N{GRINNING FACE}" * 8, "\N{GRINNING FACE}"]),
    ],
)
def test_a_text_is_divided_between_paragraphs_lines_and_words(text: str, parts: list[str]) -> None:
    assert split(text, 16) == parts


ASKED = providers.ChannelMessage(
    delivery_key="1", ordering_key="1", external_id="1", chat_id="42", sender=providers.Sender(id="1"),
    # A fresh one, however long the tests before take.
    sent_at=datetime.now(UTC) + timedelta(days=1), reply_token="tok",
)  # fmt: skip
STALE = replace(ASKED, sent_at=datetime.now(UTC) - timedelta(minutes=15))
NONCE = {"nonce": providers.digest(b"m:0")[:25], "enforce_nonce": True}
PLAIN: dict[str, Any] = {"content": "Hello", "allowed_mentions": {"parse": []}}
WHATSAPP = {"messaging_product": "whatsapp", "type": "text", "text": {"body": "Hello"},
            "biz_opaque_callback_data": "m:0"}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "part", "method", "path", "document", "repeatable"),
    [
        ("telegram", {}, "POST", f"/bot{telegram.TOKEN}/sendMessage", {"chat_id": 42, "text": "Hello"}, (False, False)),
        ("telegram", {"chat_id": "-100", "thread_id": "3"}, "POST", f"/bot{telegram.TOKEN}/sendMessage",
         {"chat_id": -100, "text": "Hello", "message_thread_id": 3}, (False, False)),
        ("whatsapp", {}, "POST", "/x/messages", {**WHATSAPP, "recipient_type": "individual", "to": "42"},
         (False, False)),
        ("whatsapp", {"chat_id": "US.1"}, "POST", "/x/messages",
         {**WHATSAPP, "recipient_type": "individual", "recipient": "US.1"}, (False, False)),
        ("whatsapp", {"chat_id": "g", "is_group": True}, "POST", "/x/messages",
         {**WHATSAPP, "recipient_type": "group", "to": "g"}, (False, False)),
        ("discord", {}, "POST", "/channels/42/messages", PLAIN | NONCE, (True, False)),
        ("discord", {"asked": ASKED}, "PATCH", "/webhooks/x/tok/messages/@original", PLAIN, (True, True)),
        ("discord", {"asked": ASKED, "number": 1}, "POST", "/webhooks/x/tok?wait=true", PLAIN, (False, False)),
        ("discord", {"asked": STALE}, "POST", "/channels/42/messages", PLAIN | NONCE, (True, False)),
    ],
)  # fmt: skip
def test_a_part_is_one_call_that_is_repeated_only_where_the_provider_recognises_it(
    name: str, part: dict[str, Any], method: str, path: str, document: dict[str, Any], repeatable: tuple[bool, bool]
) -> None:
    messenger, sent = MESSENGERS[name], replace(PART, **part)
    call = messenger.call(sent, base="https://api.test", token=TOKENS[name], external_id="x")
    assert (call.method, call.url, call.document) == (method, f"https://api.test{path}", document)
    authorization = {"telegram": None, "whatsapp": f"Bearer {whatsapp.TOKEN}", "discord": f"Bot {discord.TOKEN}"}[name]
    assert call.headers.get("Authorization") == (None if "/webhooks/" in path else authorization)
    assert (messenger.repeatable(sent, 1), messenger.repeatable(sent, 200)) == repeatable


@pytest.mark.parametrize(
    ("name", "status", "body", "outcome"),
    [
        ("telegram", 200, {"ok": True, "result": {"message_id": 7}}, Sent("7")),
        ("telegram", 200, "<html>", Sent(None)),
        ("telegram", 429, {"ok": False, "description": "Too Many", "parameters": {"retry_after": 5}},
         Rejected(error="429 Too Many", retryable=True, retry_after=5)),
        ("telegram", 403, {"ok": False, "description": "Forbidden"}, Rejected(error="403 Forbidden")),
        ("telegram", 400, {"ok": False, "description": "moved", "parameters": {"migrate_to_chat_id": -1009}},
         Rejected(error="400 moved", moved_to="-1009")),
        ("telegram", 502, "<html>", Rejected(error="502 malformed: body", retryable=True)),
        ("whatsapp", 200, {"messages": [{"id": "wamid.X"}]}, Sent("wamid.X")),
        ("whatsapp", 200, [], Sent(None)),
        ("whatsapp", 400, {"error": {"code": 131047, "message": "Re-engagement"}},
         Rejected(error="400 131047 Re-engagement")),
        ("whatsapp", 400, {"error": {"code": 130429, "message": "Slow"}},
         Rejected(error="400 130429 Slow", retryable=True)),
        ("whatsapp", 401, {"error": {"code": 190, "message": "Token"}}, Rejected(error="401 190 Token")),
        ("whatsapp", 503, "", Rejected(error="503 no JSON", retryable=True)),
        ("discord", 200, {"id": "9"}, Sent("9")),
        ("discord", 204, "", Sent(None)),
        ("discord", 429, {"message": "limited", "retry_after": 0.65, "global": False},
         Rejected(error="429 limited", retryable=True, retry_after=0.65)),
        ("discord", 404, {"message": "Unknown Channel", "code": 10003}, Rejected(error="404 Unknown Channel")),
    ],
)  # fmt: skip
def test_an_answer_says_whether_the_part_was_taken(name: str, status: int, body: Any, outcome: Sent | Rejected) -> None:
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    assert MESSENGERS[name].outcome(status, None, content) == outcome
    if status == 503:
        waits = MESSENGERS[name].outcome(status, "12", content)
        assert isinstance(waits, Rejected)
        assert waits.retry_after == 12


async def test_python_telegram_bot_sends_what_we_send_and_reads_what_we_read() -> None:
    async with telegram.Telegram() as api:
        bot = library.Bot(telegram.TOKEN, base_url=f"{api.url}/bot")
        for part in (PART, replace(PART, chat_id="-100", thread_id="3")):
            thread = part.thread_id and int(part.thread_id)
            theirs = await bot.send_message(int(part.chat_id), part.text, message_thread_id=thread or None)
            call = MESSENGERS["telegram"].call(part, base=api.url, token=telegram.TOKEN, external_id=None)
            networks = addresses.networks(("127.0.0.0/8",))
            async with client.post(call.url, json=call.document, headers=call.headers, allowed=networks) as answer:
                ours = MESSENGERS["telegram"].outcome(answer.status, None, await answer.excerpt(10_000))
            assert ours == Sent(str(theirs.message_id + 1))
            by_library, by_us = api.received[-2:]
            assert (by_library.method, by_library.path) == (by_us.method, by_us.path)
            assert {name: str(value) for name, value in by_us.document.items()} == by_library.document
        for status, refusal in ((403, library.error.Forbidden), (400, library.error.BadRequest)):
            with pytest.raises(refusal):
                await bot.send_message(1403 if status == 403 else 1, "x" if status == 403 else " ")
    mention = telegram.mention("@Concierge_Bot hi")
    read = library.Update.de_json(telegram.update("@Concierge_Bot hi", chat=-5, entities=mention), None)
    assert read.message is not None
    assert read.message.parse_entities() == {read.message.entities[0]: "@Concierge_Bot"}
    assert (read.message.chat.type, read.effective_user and read.effective_user.id) == ("supergroup", 42)
