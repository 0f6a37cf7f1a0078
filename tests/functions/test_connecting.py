"""Connecting a channel and sending a test message over HTTP, against stand-ins for the providers' APIs."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from local.ports import free_port
from tests.functions.conftest import Workspace
from tests.functions.people import Staff
from tests.standins import discord, telegram, whatsapp
from tests.standins.discord import Discord
from tests.standins.messenger import Fault, MessengerApi
from tests.standins.telegram import Telegram
from tests.standins.whatsapp import WhatsApp

URL = {"url": "https://api.example.com/"}
APIS: dict[str, tuple[type[MessengerApi], str, str]] = {
    "telegram": (Telegram, telegram.TOKEN, str(telegram.BOT["id"])),
    "whatsapp": (WhatsApp, whatsapp.TOKEN, whatsapp.NUMBER),
    "discord": (Discord, discord.TOKEN, discord.APPLICATION),
}
BUSY = Fault(429, {"ok": False, "description": "Too Many Requests", "parameters": {"retry_after": 5}})


@dataclass
class Connecting:
    """A channel with a token, the stand-in for its provider, and the admin who connects it."""

    api: MessengerApi
    workspace: Workspace
    staff: Staff
    id: str

    async def ask(self, what: str, body: Any) -> tuple[int, dict[str, Any]]:
        """What a route answers to the admin."""
        return await self.staff.admin.ask("POST", f"/channels/{self.id}/{what}", body)

    async def set(self, **columns: Any) -> None:
        """Change columns of the channel."""
        for name, value in columns.items():
            query = f"update public.channels set {name} = $2 where id = $1"
            await self.workspace.database.execute(query, UUID(self.id), value)


@pytest_asyncio.fixture
async def connecting(request: pytest.FixtureRequest, workspace: Workspace, staff: Staff) -> AsyncIterator[Connecting]:
    """A channel of the parameter's kind, else of Telegram, without a persona; WhatsApp's with what Meta gives."""
    kind = getattr(request, "param", "telegram")
    api_type, token, external_id = APIS[kind]
    await workspace.allow_loopback()
    async with AsyncExitStack() as ends:
        api = await ends.enter_async_context(api_type())
        given = {"external_id": external_id} if kind == "whatsapp" else {}
        secret = "the-app-secret" if kind == "whatsapp" else None
        channel = await workspace.add_channel(kind, secret, token, columns=given, api_base=api.url)
        yield Connecting(api, workspace, staff, str(channel))


@pytest.mark.parametrize(
    ("connecting", "more", "done", "left", "calls"),
    [
        ("telegram", {}, ["token_verified", "webhook_set"], ["choose_persona"], ["getMe", "setWebhook"]),
        ("whatsapp", {}, ["token_verified"], ["choose_persona", "enter_webhook", "subscribe_app"],
         ["fields=display_phone_number,verified_name"]),
        ("whatsapp", {"accountId": "7"}, ["token_verified", "app_subscribed"], ["choose_persona", "enter_webhook"],
         ["fields=display_phone_number,verified_name", "subscribed_apps"]),
        ("discord", {}, ["token_verified", "command_registered", "webhook_set"], ["choose_persona", "install_app"],
         ["@me", "commands", "@me"]),
    ],
    indirect=["connecting"],
)  # fmt: skip
async def test_a_channel_is_connected_again_and_again_to_the_same_effect(
    connecting: Connecting, more: dict[str, str], done: list[str], left: list[str], calls: list[str]
) -> None:
    await connecting.set(enabled=False)
    first, again = [await connecting.ask("connect", URL | more) for _ in range(2)]
    assert first == again
    status, answer = first
    kind = next(kind for kind, (api, *_) in APIS.items() if isinstance(connecting.api, api))
    assert (status, answer["done"], answer["left"]) == (200, done, left)
    assert answer["webhook_url"] == f"https://api.example.com/webhooks/{kind}/{connecting.id}"
    assert ("verify_token" in answer) == (kind == "whatsapp")
    assert [re.split(r"[/?]", call.path)[-1] for call in connecting.api.received] == calls * 2
    channel = await connecting.staff.admin.done("GET", f"/channels/{connecting.id}")
    assert (channel["external_id"], channel["enabled"]) == (APIS[kind][2], True)
    assert channel["has_verify_secret"]


async def test_members_who_connect_at_the_same_time_and_later_tell_one_secret(connecting: Connecting) -> None:
    for times in (4, 1):
        answers = await asyncio.gather(*(connecting.ask("connect", URL) for _ in range(times)))
        assert {status for status, _ in answers} == {200}
    told = [call.document["secret_token"] for call in connecting.api.received if "secret_token" in call.document]
    assert (len(told), len(set(told))) == (5, 1)


@pytest.mark.parametrize(
    ("connecting", "chat"),
    [("telegram", "42"), ("whatsapp", "4915112345678"), ("whatsapp", "DE.77"), ("discord", "300")],
    indirect=["connecting"],
)
async def test_a_test_message_is_sent_each_time(connecting: Connecting, chat: str) -> None:
    await connecting.set(external_id="106540352242922")
    sent = [await connecting.ask("test", {"to": chat}) for _ in range(2)]
    assert [(status, answer["outcome"]) for status, answer in sent] == [(200, "sent")] * 2
    assert all(answer["external_id"] for _, answer in sent)
    assert [to for to, _ in connecting.api.texts] == [chat] * 2
    assert (await connecting.workspace.counts())["messages"] == 0


@pytest.mark.parametrize(
    ("fault", "chat", "outcome", "detail"),
    [
        (None, "403", "refused", "403 Forbidden: bot was blocked by the user"),
        (BUSY, "42", "busy", "429 Too Many Requests"),
        (Fault(502, {}), "42", "busy", "502"),
        (Fault(lost=True), "42", "unknown", "The call broke off, so it may have been sent."),
        ("closed", "42", "unreachable", "127.0.0.1 refused the connection"),
        ("not_allowed", "42", "address_refused", "127.0.0.1 is an address outside the allowed networks"),
    ],
)
async def test_what_became_of_a_test_message_is_told(
    connecting: Connecting, fault: Fault | str | None, chat: str, outcome: str, detail: str
) -> None:
    if isinstance(fault, Fault):
        connecting.api.faults.append(fault)
    elif fault == "closed":
        await connecting.set(config=json.dumps({"api_base": f"http://127.0.0.1:{free_port()}"}))
    elif fault == "not_allowed":
        closing = "update public.workspaces set allowed_networks = '{}' where id = $1"
        await connecting.workspace.database.execute(closing, connecting.workspace.id)
    status, answer = await connecting.ask("test", {"to": chat})
    assert (status, answer["outcome"]) == (200, outcome)
    assert answer["detail"].startswith(detail)
    assert telegram.TOKEN not in json.dumps(answer)


@pytest.mark.parametrize(
    ("what", "body", "columns", "refusal"),
    [
        ("connect", URL, {"kind": "omi"}, (422, "channel_not_connectable")),
        ("test", {"to": "42"}, {"kind": "omi"}, (422, "channel_not_connectable")),
        ("connect", URL, {"token_secret_id": None}, (422, "channel_incomplete")),
        ("connect", URL, {"kind": "whatsapp"}, (422, "channel_incomplete")),
        ("test", {"to": "42"}, {"enabled": False}, (422, "channel_incomplete")),
        ("test", {"to": "42"}, {"kind": "whatsapp"}, (422, "channel_incomplete")),
        ("connect", URL, {"external_id": "7"}, (409, "external_id_differs")),
        ("connect", URL, {"config": '{"api_base": "http://169.254.169.254"}'}, (422, "address_refused")),
        ("connect", {"url": "ftp://example.com"}, {}, (422, "invalid_body")),
        ("connect", {"url": "https://a@example.com"}, {}, (422, "invalid_body")),
        ("connect", {"url": f"https://{'a' * 500}"}, {}, (422, "invalid_body")),
        ("connect", {"url": None}, {}, (422, "invalid_body")),
        ("connect", {}, {}, (422, "invalid_body")),
        ("connect", {**URL, "accountId": "7/../8"}, {}, (422, "invalid_body")),
        ("test", [], {}, (422, "invalid_body")),
        ("test", {"to": None}, {}, (422, "invalid_body")),
        ("test", {"to": 42}, {}, (422, "invalid_body")),
        ("test", {"to": "9" * 100_000}, {}, (422, "invalid_body")),
        ("test", {"to": "@name"}, {}, (422, "invalid_body")),
        ("test", {"to": "9" * 19}, {}, (422, "invalid_body")),
        ("test", {"to": "4\N{ARABIC-INDIC DIGIT TWO}"}, {}, (422, "invalid_body")),
        # No other route of the API is called with the token.
        ("test", {"to": "../users/@me"}, {"kind": "discord"}, (422, "invalid_body")),
        ("test", {"to": "42?x"}, {"kind": "discord"}, (422, "invalid_body")),
        ("test", {"to": "42\n"}, {"kind": "discord"}, (422, "invalid_body")),
    ],
)
async def test_what_cannot_be_connected_or_tested_is_not_called(
    connecting: Connecting, what: str, body: Any, columns: dict[str, Any], refusal: tuple[int, str]
) -> None:
    await connecting.set(**columns)
    status, answer = await connecting.ask(what, body)
    assert (status, answer["code"]) == refusal
    assert [call.path.rpartition("/")[2] for call in connecting.api.received] in ([], ["getMe"])
    assert connecting.api.texts == []


async def test_a_provider_that_refuses_changes_nothing_and_its_words_are_told(connecting: Connecting) -> None:
    before = await connecting.staff.admin.done("GET", f"/channels/{connecting.id}")
    odd: list[dict[str, Any]] = [{"result": None}, {"result": {"id": "a/b"}}, {"result": []}]
    faults = [Fault(401, {"description": "Unauthorized"}), Fault(200, {}), *(Fault(200, each) for each in odd)]
    for fault in (*faults, Fault(500, {"error": "no"}), Fault(302, {}, {"Location": "http://169.254.169.254/"})):
        connecting.api.faults.append(fault)
        status, answer = await connecting.ask("connect", URL)
        assert (status, answer["code"]) == (422, "provider_refused"), fault
    assert await connecting.staff.admin.done("GET", f"/channels/{connecting.id}") == before
    connecting.api.faults.append(Fault(lost=True))
    assert (await connecting.ask("connect", URL))[1]["code"] == "provider_unreachable"
    for _ in range(30):
        status, answer = await connecting.ask("test", {"to": "403"})
        if status == 429:
            break
    assert (answer["code"], answer["limit"]) == ("rate_limited", "channel_calls")
