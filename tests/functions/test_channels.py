"""Conversations in messengers, from the provider's delivery to its API, over HTTP.

What SQL guarantees is tests/database/test_channel_messages.py's, the form of calls tests/unit/channels'.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import aiohttp
import pytest
import pytest_asyncio

from local.ports import free_port
from local.processes import tied_options
from local.stack import Stack
from tests.functions.conftest import Workspace, add_model, until, until_healthy
from tests.functions.people import Staff
from tests.functions.test_senders import add_channel, post
from tests.functions.test_worker import work
from tests.senders import SENDERS
from tests.standins import discord, telegram, whatsapp
from tests.standins.discord import Discord
from tests.standins.messenger import Fault, MessengerApi
from tests.standins.openai import OpenAI
from tests.standins.telegram import Telegram
from tests.standins.whatsapp import WhatsApp


@dataclass
class Channel:
    """A channel, the stand-in for its provider's API, and what arrives there."""

    client: aiohttp.ClientSession
    workspace: Workspace
    kind: str
    api: MessengerApi
    id: str = ""

    async def connect(self, token: str, **columns: Any) -> "Channel":
        """Create it with this token."""
        await self.workspace.allow_loopback()
        row: dict[str, Any] = {
            "persona_id": self.workspace.persona_id,
            "token_secret_id": await self.workspace.add_secret(token),
            "config": json.dumps({"api_base": self.api.url, "username": telegram.BOT["username"]}),
        }
        self.id = await add_channel(self.workspace, SENDERS[self.kind], **row | columns)
        return self

    async def deliver(self, document: dict[str, Any]) -> dict[str, Any]:
        """Deliver what a provider sends; the document."""
        status, answer = await post(self.client, SENDERS[self.kind], self.id, json.dumps(document).encode())
        assert status == 200, answer
        return document

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query; $1 is the workspace."""
        return [tuple(row) for row in await self.workspace.database.fetch(query, self.workspace.id)]

    async def settled(self) -> None:
        """Return once no job is left that is due."""
        await self.workspace.settled()

    async def sent(self) -> list[tuple[Any, ...]]:
        """The parts that went out: status and external id."""
        query = "select status::text, external_id from public.message_deliveries where workspace_id = $1"
        return await self.rows(f"{query} order by attempted_at")


@pytest_asyncio.fixture
async def bot(client: aiohttp.ClientSession, workspace: Workspace) -> AsyncIterator[Channel]:
    """A Telegram bot whose persona answers without delay."""
    async with Telegram() as api:
        yield await Channel(client, workspace, "telegram", api).connect(telegram.TOKEN)


async def test_a_message_is_answered_once_in_its_chat(bot: Channel) -> None:
    update = await bot.deliver(telegram.update("Hello"))
    (answer,) = await bot.api.until(1)
    await asyncio.gather(*(bot.deliver(update) for _ in range(3)))
    await bot.deliver(telegram.update("Again"))
    await bot.api.until(2)
    await bot.settled()
    assert [chat for chat, _ in bot.api.texts] == ["42", "42"]
    assert "Hello" in answer
    said = await bot.rows("select role::text, text from public.messages where workspace_id = $1 order by created_at")
    assert [role for role, _ in said] == ["contact", "persona"] * 2
    assert said[1][1] == answer
    identity = await bot.rows(
        "select c.first_name, i.kind::text, i.key, i.evidence::text, i.verified_by from public.contacts c"
        " join public.contact_identities i on i.contact_id = c.id where c.workspace_id = $1"
    )
    assert identity == [("N42", "telegram", "42", "verified", "telegram")]
    assert await bot.sent() == [("sent", "9001"), ("sent", "9002")]


async def test_a_group_is_answered_where_it_mentions_the_bot_and_in_its_topic(bot: Channel) -> None:
    group: dict[str, Any] = {"chat": -1001, "is_topic_message": True, "message_thread_id": 3}
    await bot.deliver(telegram.update("Lunch?", sender=1, **group))
    text = "@concierge_bot where?"
    mention = telegram.mention(text, "@concierge_bot")
    await bot.deliver(telegram.update(text, sender=2, **group, entities=mention))
    (answer,) = await bot.api.until(1)
    assert f"N2: {text}" in answer
    (call,) = bot.api.received
    assert (call.document["chat_id"], call.document["message_thread_id"]) == (-1001, 3)
    # A reply to the bot needs no mention, and the group's move needs no new conversation.
    replied = {"message_id": 9001, "date": 1, "chat": {"id": -1001, "type": "supergroup"}, "from": telegram.BOT}
    await bot.deliver(telegram.update("", sender=1, chat=-1001, migrate_to_chat_id=-1002))
    await bot.settled()
    await bot.deliver(telegram.update("Thanks", sender=1, **group | {"chat": -1002}, reply_to_message=replied))
    await bot.api.until(2)
    assert [chat for chat, _ in bot.api.texts] == ["-1001", "-1002"]
    assert await bot.rows("select count(*) from public.conversations where workspace_id = $1") == [(1,)]


async def test_what_one_sender_says_is_recalled_for_no_other_and_in_no_group(
    bot: Channel, workspace: Workspace
) -> None:
    settings = "recall_limit = 5, remember_turns = true, history_limit = 0"
    await workspace.database.execute(f"update public.personas set {settings} where workspace_id = $1", workspace.id)
    text = "@concierge_bot which tulip?"
    asked: list[tuple[str, dict[str, Any]]] = [
        ("The safe opens with tulip.", {}),
        ("Which tulip?", {"sender": 2}),
        (text, {"chat": -1001}),
        ("tulip?", {}),
    ]
    for number, (said, place) in enumerate(asked, 1):
        sent: dict[str, Any] = {"sender": 1, **place}
        if "chat" in place:
            sent["entities"] = telegram.mention(said, "@concierge_bot")
        await bot.deliver(telegram.update(said, **sent))
        answers = await bot.api.until(number)
        await bot.settled()
    assert ["safe" in answer for answer in answers] == [True, False, False, True]
    assert "I remember" in answers[3]
    assert "I remember" not in "".join(answers[:3])


async def test_messages_in_quick_succession_are_answered_as_one_and_edits_are_read(
    bot: Channel, client: aiohttp.ClientSession, workspace: Workspace, openai: OpenAI
) -> None:
    persona = await add_model(workspace, openai.url("stream"), {"collect_seconds": 2})
    await workspace.database.execute("update public.channels set persona_id = $1 where id = $2", persona, UUID(bot.id))
    first = await bot.deliver(telegram.update("one"))
    await bot.deliver(telegram.update("two"))
    edited = first["message"] | {"text": "ONE", "edit_date": 1790000100}
    await bot.deliver({"update_id": 999_999, "edited_message": edited})
    assert await bot.api.until(1) == ["You wrote: ONE\ntwo"]
    await bot.settled()
    assert len(bot.api.texts) == len(openai.received) == 1


@pytest.mark.parametrize(
    ("fault", "calls", "state"),
    [
        (Fault(429, {"ok": False, "parameters": {"retry_after": 1}}), 2, "sent"),
        (Fault(502), 1, "failed"),
        (Fault(400, {"ok": False, "description": "Bad Request: no"}), 1, "failed"),
        (Fault(lost=True), 1, "unknown"),
    ],
)
async def test_what_a_provider_refuses_is_tried_again_or_recorded_and_what_is_lost_is_not_repeated(
    bot: Channel, fault: Fault, calls: int, state: str
) -> None:
    bot.api.faults.append(fault)
    await bot.deliver(telegram.update("Hello"))

    async def recorded() -> bool:
        return [status for status, _ in await bot.sent()] == [state]

    await until(recorded)
    assert len(bot.api.received) == calls
    ((status, error),) = await bot.rows(
        "select status::text, last_error from public.jobs where workspace_id = $1 and kind = 'send_message'"
    )
    expected = {429: "succeeded", 502: "queued", 400: "dead", 500: "succeeded"}[fault.status]
    assert status == expected or (status, error) == ("running", None), "it may be about to end"


async def test_a_long_answer_is_sent_in_parts_and_a_blocked_bot_is_no_endless_work(
    bot: Channel, workspace: Workspace, openai: OpenAI
) -> None:
    persona = await add_model(workspace, openai.url("stream"))
    await workspace.database.execute("update public.channels set persona_id = $1 where id = $2", persona, UUID(bot.id))
    text = "\n".join("word " * 100 for _ in range(9))
    await bot.deliver(telegram.update(text[:4096]))
    await bot.deliver(telegram.update("Hi", sender=403))
    parts = await bot.api.until(2)
    await bot.settled()
    assert " ".join(parts).split() == f"You wrote: {text[:4096]}".split()
    assert [(status, external_id) for status, external_id in await bot.sent() if external_id] == [
        ("sent", "9001"), ("sent", "9002"),
    ]  # fmt: skip
    errors = "select error from public.message_deliveries where workspace_id = $1 and status = 'failed'"
    assert await bot.rows(errors) == [("403 Forbidden: bot was blocked by the user",)]


async def test_a_member_answers_through_the_channel_and_sees_what_became_of_it(bot: Channel, staff: Staff) -> None:
    await bot.deliver(telegram.update("Hello"))
    await bot.api.until(1)
    await bot.settled()
    ((session, conversation),) = await bot.rows(
        "select id, conversation_id from public.sessions where workspace_id = $1 and channel = 'telegram'"
    )
    await staff.admin.done("POST", f"/chat-sessions/{session}/takeover")
    await staff.admin.done("POST", f"/chat-sessions/{session}/messages", {"text": "A person here."})
    await bot.deliver(telegram.update("Thanks"))
    assert (await bot.api.until(2))[1] == "A person here."
    await bot.settled()
    assert len(bot.api.texts) == 2, "the persona is silent"
    items = (await staff.admin.done("GET", f"/conversations/{conversation}/messages"))["items"]
    deliveries = {item["text"]: item["deliveries"] for item in items}
    assert [part["status"] for part in deliveries["A person here."]] == ["sent"]
    assert deliveries["Thanks"] == []
    shown = (await staff.admin.done("GET", f"/chat-sessions/{session}"))["messages"]
    assert {message["text"]: message["deliveries"] for message in shown} == deliveries


@pytest_asyncio.fixture
async def number(client: aiohttp.ClientSession, workspace: Workspace) -> AsyncIterator[Channel]:
    """A phone number of WhatsApp."""
    async with WhatsApp() as api:
        made = Channel(client, workspace, "whatsapp", api)
        yield await made.connect(whatsapp.TOKEN, external_id=whatsapp.NUMBER)


async def test_whatsapps_statuses_are_those_of_the_message_in_whatever_order_they_come(number: Channel) -> None:
    await number.deliver(whatsapp.message("Hello"))
    await number.api.until(1)
    await number.settled()
    assert await number.sent() == [("sent", "wamid.OUT1")]
    reference = number.api.received[0].document["biz_opaque_callback_data"]
    for state, shown in (("delivered", "delivered"), ("sent", "delivered"), ("read", "read")):
        await number.deliver(whatsapp.status("wamid.OUT1", state))
        await number.settled()
        assert await number.sent() == [(shown, "wamid.OUT1")]
    # A worker died before it knew the id: the status brings it.
    await number.workspace.database.execute(
        "update public.message_deliveries set status = 'unknown', external_id = null where workspace_id = $1",
        number.workspace.id,
    )
    failed = {"errors": [{"code": 131026, "title": "Message undeliverable"}]}
    await number.deliver(whatsapp.status("wamid.OUT1", "failed", reference, **failed))
    await number.settled()
    query = "select status::text, external_id, error from public.message_deliveries where workspace_id = $1"
    assert await number.rows(query) == [("failed", "wamid.OUT1", "131026 Message undeliverable")]


async def test_a_whatsapp_sender_keeps_the_thread_when_the_number_gives_way_to_a_scoped_id(number: Channel) -> None:
    await number.deliver(whatsapp.message("By number"))
    await number.api.until(1)
    await number.settled()
    await number.deliver(whatsapp.message("By both", user_id="DE.77"))
    await number.api.until(2)
    await number.settled()
    await number.deliver(whatsapp.message("By id", number=None, user_id="DE.77"))
    await number.api.until(3)
    assert [chat for chat, _ in number.api.texts] == ["4915112345678", "DE.77", "DE.77"]
    assert await number.rows("select count(*) from public.conversations where workspace_id = $1") == [(1,)]
    identities = (
        "select kind::text, key, evidence::text from public.contact_identities where workspace_id = $1 order by 1, 2"
    )
    assert await number.rows(identities) == [
        ("phone", "+4915112345678", "verified"),
        ("whatsapp", "+4915112345678", "verified"),
        ("whatsapp", "DE.77", "verified"),
    ]


async def test_what_the_business_writes_in_its_own_app_silences_the_persona(number: Channel, staff: Staff) -> None:
    await number.deliver(whatsapp.message("Hello"))
    await number.api.until(1)
    await number.settled()
    await number.deliver(whatsapp.echo("I am on it.", "4915112345678"))
    await number.deliver(whatsapp.message("Thanks"))
    await number.settled()
    assert len(number.api.texts) == 1
    taken = "select taken_over_by from public.sessions where workspace_id = $1 and channel = 'whatsapp'"
    assert await number.rows(taken) == [(staff.owner.id,)]
    said = "select text from public.messages where workspace_id = $1 and role = 'member'"
    assert await number.rows(said) == [("I am on it.",)]


@pytest_asyncio.fixture
async def app(client: aiohttp.ClientSession, workspace: Workspace) -> AsyncIterator[Channel]:
    """An application of Discord."""
    async with Discord() as api:
        made = Channel(client, workspace, "discord", api)
        yield await made.connect(discord.TOKEN, external_id=discord.APPLICATION)


async def test_a_command_is_completed_by_its_token_and_other_messages_are_the_bots(app: Channel, staff: Staff) -> None:
    asked = await app.deliver(discord.command("Hello"))
    await app.api.until(1)
    (chat, answer) = app.api.texts[0]
    assert (chat, "Hello" in answer) == (asked["token"], True)
    in_server = await app.deliver(discord.command("In a server", guild="1"))
    await app.api.until(2)
    assert app.api.texts[1][0] == in_server["token"]
    assert "N80351110224678912: In a server" in app.api.texts[1][1]
    await app.settled()
    ((session,),) = await app.rows(
        "select s.id from public.sessions s join public.contacts c on c.id = s.contact_id"
        " where s.workspace_id = $1 and s.channel = 'discord' and c.kind = 'person'"
    )
    await staff.admin.done("POST", f"/chat-sessions/{session}/takeover")
    await staff.admin.done("POST", f"/chat-sessions/{session}/messages", {"text": "A person here."})
    await app.api.until(3)
    assert app.api.texts[2] == (asked["channel_id"], "A person here.")


async def test_discord_recognises_what_is_sent_again_after_a_call_that_broke_off(app: Channel) -> None:
    app.api.faults.append(Fault(lost=True))
    await app.deliver(discord.command("Hello"))
    await app.api.until(1)
    await app.workspace.database.execute(
        "update public.jobs set next_attempt_at = now() where workspace_id = $1", app.workspace.id
    )

    async def sent() -> bool:
        await app.workspace.database.execute(
            "update public.jobs set next_attempt_at = now() where workspace_id = $1 and status = 'queued'",
            app.workspace.id,
        )
        return [status for status, _ in await app.sent()] == ["sent"]

    await until(sent)
    assert (len(app.api.received), len(app.api.texts)) == (2, 1)


@pytest.fixture
def another_worker(stack: Stack) -> Any:
    """Starts a further process of the functions, which may be killed."""

    def start() -> tuple[subprocess.Popen[bytes], str]:
        port = free_port()
        process = subprocess.Popen(
            [sys.executable, "-m", "local.gateway"], env=stack.gateway_env(port), **tied_options(signal.SIGKILL)
        )
        return process, f"http://127.0.0.1:{port}"

    return start


async def test_a_worker_that_is_killed_after_sending_leaves_the_part_unknown_and_unrepeated(
    bot: Channel, stack: Stack, client: aiohttp.ClientSession, another_worker: Callable[[], tuple[Any, str]]
) -> None:
    await bot.deliver(telegram.update("Hello"))
    await bot.api.until(1)
    await bot.settled()
    process, url = another_worker()
    await until_healthy(url)
    bot.api.held = asyncio.Event()
    # The stack's own worker may look for more jobs for a second yet, and its schedule may call it.
    gateway = stack.pids()["gateway"]
    os.kill(gateway, signal.SIGSTOP)
    try:
        # The answer is to be sent again.
        await bot.workspace.database.execute(
            "with gone as (delete from public.message_deliveries where workspace_id = $1)"
            " update public.jobs set status = 'queued', finished_at = null"
            " where workspace_id = $1 and kind = 'send_message'",
            bot.workspace.id,
        )
        async with aiohttp.ClientSession(url) as other:
            working = asyncio.create_task(work(other, stack))
            await bot.api.until(2)
            process.kill()
            process.wait()
            with pytest.raises(aiohttp.ClientError):
                await working
    finally:
        os.kill(gateway, signal.SIGCONT)
    bot.api.held.set()
    assert await bot.sent() == [("sending", None)]
    await bot.workspace.database.execute(
        "update public.jobs set lease_until = now() where workspace_id = $1 and status = 'running'", bot.workspace.id
    )
    await work(client, stack)
    await bot.settled()
    assert await bot.sent() == [("unknown", None)]
    assert len(bot.api.texts) == 2
