"""A member of the team answers in the embedded chat: every reader sees each message at once, and once."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import asyncpg
import pytest
import pytest_asyncio
from playwright.async_api import Locator, Request, expect

from tests.e2e.chats import Chat, stored
from tests.e2e.conftest import Faults
from tests.e2e.shops import Shop
from tests.e2e.test_widget_access import AXE
from tests.functions.people import Person, sign_up
from tests.standins.openai import OpenAI

PERSON = "A member of the team answers you now."


@pytest_asyncio.fixture
async def owner(shop: Shop) -> AsyncIterator[Person]:
    """The shop's owner, at another desk."""
    async with aiohttp.ClientSession(shop.stack.api_url) as client:
        yield await sign_up(client, shop.workspace, shop.stack, "owner")


async def session_of(shop: Shop) -> str:
    row = await shop.workspace.row("select id::text from public.sessions where workspace_id = $1", shop.workspace.id)
    return str(row["id"])


async def say(shop: Shop, owner: Person, text: str) -> None:
    await owner.done("POST", f"/chat-sessions/{await session_of(shop)}/messages", {"text": text})


async def take_over(shop: Shop, owner: Person) -> None:
    await owner.done("POST", f"/chat-sessions/{await session_of(shop)}/takeover")


async def greeted(shop: Shop, owner: Person | None = None, **attributes: Any) -> Chat:
    """The chat on a page after one answer, taken over by the owner if there is one."""
    chat = await shop.chat(await shop.site(**attributes))
    await chat.say("Hello")
    await chat.answered()
    if owner is not None:
        await take_over(shop, owner)
    return chat


async def say_elsewhere(shop: Shop, owner: Person, text: str) -> None:
    """A follow-up of a member, which needs no takeover."""
    row = await shop.workspace.row("select contact_id from public.sessions where workspace_id = $1", shop.workspace.id)
    message = {"text": text, "role": "member", "source": "email"}
    await owner.done("POST", f"/contacts/{row['contact_id']}/messages", message)


def members(chat: Chat) -> Locator:
    """What a member said, bubble by bubble."""
    return chat.page.get_by_role("log").locator(".member")


async def test_a_member_answers_until_they_hand_back(shop: Shop, owner: Person, database: asyncpg.Connection) -> None:
    chat = await greeted(shop, owner)
    await expect(chat.panel.get_by_text(PERSON)).to_be_visible()

    await say(shop, owner, "Ana here, see https://example.com/offer")
    await expect(members(chat)).to_have_count(1)
    await expect(members(chat)).to_contain_text("Team member: Ana here, see")
    await expect(members(chat).get_by_role("link")).to_have_attribute("href", "https://example.com/offer")
    await chat.say("Thanks, and the price?")
    await expect(chat.draft).to_be_hidden()
    await expect(chat.button("Send")).to_be_visible()
    await say(shop, owner, "It is 12.")
    await expect(members(chat)).to_have_count(2)
    entries = (
        await chat.page.get_by_role("log").locator(".message").evaluate_all("all => all.map(one => one.classList[1])")
    )
    assert entries == ["contact", "persona", "member", "contact", "member"], "there is no empty answer"

    await owner.done("POST", f"/chat-sessions/{await session_of(shop)}/handback")
    await expect(chat.panel.get_by_text(PERSON)).to_be_hidden()
    await chat.say("And you, machine?")
    answer = await chat.answered(2)
    assert (await stored(database, shop.workspace))[-1] == answer
    assert (await chat.kept())["pending"] is None


async def test_an_answer_in_progress_stops_for_the_member(
    shop: Shop, held: OpenAI, owner: Person, database: asyncpg.Connection
) -> None:
    chat = await shop.chat(await shop.site())
    await chat.say("Tell me everything")
    await chat.growing()
    await take_over(shop, owner)
    assert [await chat.answered()] == await stored(database, shop.workspace) == ["You wrote:"]
    await expect(chat.panel.get_by_text("Stopped")).to_be_visible()
    await say(shop, owner, "Let me.")
    await expect(members(chat)).to_have_count(1)


async def test_messages_that_arrive_while_the_chat_is_closed_count_on_its_badge(shop: Shop, owner: Person) -> None:
    chat = await greeted(shop, owner)
    await say(shop, owner, "one")
    await expect(members(chat)).to_have_count(1)
    asked: list[Request] = []
    await chat.button("Close the chat").click()
    chat.page.on("request", lambda request: asked.append(request) if "/conversations/" in request.url else None)
    badge = chat.launcher.locator(".badge")
    await expect(badge).to_be_hidden()
    await say(shop, owner, "two")
    await expect(badge).to_have_text("1")
    # A closed chat follows no conversation that rests: it leaves the stream after a glance.
    await owner.done("POST", f"/chat-sessions/{await session_of(shop)}/handback")
    await chat.keep(takenOver=False, messages=[message | {"at": 0} for message in (await chat.kept())["messages"]])
    await chat.page.reload()
    async with chat.page.expect_event("requestfailed", lambda request: "/conversations/" in request.url):
        await expect(badge).to_have_text("1")
    # Visited again, it reads what it missed, long after the last message too.
    await say_elsewhere(shop, owner, "three")
    await chat.page.reload()
    await expect(badge).to_have_text("2")
    await expect(chat.launcher).to_have_attribute("aria-label", "Open the chat (new messages: 2)")
    await chat.open()
    await expect(members(chat)).to_have_count(3)
    await expect(badge).to_be_hidden()
    await take_over(shop, owner)
    # After a reload each is there once, in its place.
    await chat.reload()
    await say(shop, owner, "four")
    await expect(members(chat)).to_have_count(4)
    texts = await members(chat).evaluate_all("all => all.map(one => one.lastChild.textContent)")
    assert texts == ["one", "two", "three", "four"]
    assert asked
    for request in asked:
        assert (await request.all_headers())["authorization"].startswith("Bearer ")
    assert not any("eyJ" in request.url for request in asked), "the token is in no address"


async def test_a_page_in_the_background_makes_no_calls(shop: Shop, owner: Person) -> None:
    chat = await shop.chat(await shop.site())
    async with chat.page.expect_response(lambda response: "/conversations/" in response.url):
        await chat.say("Hello")
        await chat.answered()
    ended: list[Request] = []
    chat.page.on("requestfailed", lambda request: ended.append(request) if "/conversations/" in request.url else None)
    hide = "is => { Object.defineProperty(document, 'visibilityState', {value: is, configurable: true});"
    await chat.page.evaluate(hide + " document.dispatchEvent(new Event('visibilitychange')); }", "hidden")
    begun: list[Request] = []
    chat.page.on("request", lambda request: begun.append(request) if "/conversations/" in request.url else None)
    await take_over(shop, owner)
    await say(shop, owner, "Anybody there?")
    await chat.page.wait_for_timeout(1_500)
    assert (len(ended), begun) == (1, []), "the stream was left"
    assert await members(chat).count() == 0
    async with chat.page.expect_request(lambda request: "/conversations/" in request.url):
        await chat.page.evaluate(hide + " document.dispatchEvent(new Event('visibilitychange')); }", "visible")
    await expect(members(chat)).to_have_count(1)


async def test_two_tabs_show_what_one_of_them_reads(shop: Shop, owner: Person) -> None:
    site = await shop.site()
    chat = await shop.chat(site)
    await chat.say("Hello")
    await chat.answered()
    second = await shop.chat(site)
    await take_over(shop, owner)
    for number, text in enumerate(("one", "two"), start=1):
        await say(shop, owner, text)
        for tab in (chat, second):
            await expect(members(tab)).to_have_count(number)
            await expect(tab.panel.get_by_text(PERSON)).to_be_visible()
    # The tab that reads is closed, and the other goes on.
    await chat.page.close()
    await say(shop, owner, "three")
    await expect(members(second)).to_have_count(3)


async def test_a_lost_connection_loses_no_message(shop: Shop, owner: Person, faults: Faults) -> None:
    faults.forgive = ("net::ERR",)
    line = await shop.line()
    chat = await greeted(shop, owner, api=line.url)
    for number in range(1, 4):
        await say(shop, owner, f"m{number}")
        await expect(members(chat)).to_have_count(number)
        line.cut()
    await say(shop, owner, "m4")
    await expect(members(chat)).to_have_count(4)
    texts = await members(chat).evaluate_all("all => all.map(one => one.lastChild.textContent)")
    assert texts == ["m1", "m2", "m3", "m4"]


async def test_a_follow_up_from_elsewhere_is_shown_as_its_sender(shop: Shop, owner: Person) -> None:
    chat = await greeted(shop)
    row = await shop.workspace.row("select contact_id from public.sessions where workspace_id = $1", shop.workspace.id)
    path = f"/contacts/{row['contact_id']}/messages"
    await owner.done("POST", path, {"text": "As I wrote by mail", "role": "contact", "source": "email"})
    await say_elsewhere(shop, owner, "<b>Noted</b>")
    own = chat.page.get_by_role("log").locator(".contact")
    await expect(own).to_have_count(2)
    await expect(own.last).to_contain_text("You: As I wrote by mail")
    await expect(members(chat)).to_contain_text("<b>Noted</b>")
    await chat.say("Good")
    await chat.answered(2)


async def test_scripts_of_the_page_hear_of_a_members_message_and_starting_over_forgets_it(
    shop: Shop, owner: Person
) -> None:
    chat = await shop.chat(await shop.site())
    await chat.page.evaluate(
        "window.heard = []; document.addEventListener('switchboard:message', ({detail}) => window.heard.push(detail))"
    )
    await chat.say("Hello")
    await chat.answered()
    await take_over(shop, owner)
    await say(shop, owner, "Here I am")
    await expect(members(chat)).to_have_count(1)
    heard = await chat.page.evaluate("window.heard")
    assert [said["role"] for said in heard] == ["contact", "persona", "member"]
    assert heard[-1] == {"role": "member", "text": "Here I am", "turn_id": None}
    await chat.page.evaluate("Switchboard.forget()")
    await expect(members(chat)).to_have_count(0)
    await expect(chat.panel.get_by_text(PERSON)).to_be_hidden()
    await chat.say("Hello again")
    await chat.answered()
    assert json.dumps(await chat.kept()).count("Here I am") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_members_message_is_distinguished_for_every_reader(shop: Shop, owner: Person, scheme: str) -> None:
    await shop.context.add_init_script(path=AXE)
    chat = await greeted(shop, owner, scheme=scheme)
    await say(shop, owner, "A person speaks.")
    await expect(members(chat)).to_have_count(1)
    await expect(members(chat).get_by_text("Team member")).to_be_visible()
    await expect(chat.panel.get_by_role("status").filter(has_text=PERSON)).to_have_count(1)
    found = await chat.page.evaluate("() => axe.run('switchboard-chat', { resultTypes: ['violations'] })")
    assert found["passes"], "axe did not look at the chat"
    assert [one["id"] for one in found["violations"]] == []
