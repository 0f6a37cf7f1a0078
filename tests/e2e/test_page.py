"""The demo page in a real browser: it embeds the chat as a customer does, and shows what becomes of a message."""

import asyncpg
import pytest_asyncio
from playwright.async_api import BrowserContext, expect

from local.stack import Stack
from tests.e2e.chats import Chat


@pytest_asyncio.fixture
async def chat(context: BrowserContext, stack: Stack) -> Chat:
    """The chat of the demo page, opened by somebody new with the button in the middle of the page."""
    page = await context.new_page()
    await page.goto(stack.api_url + "/")
    chat = Chat(page)
    await expect(chat.launcher).to_be_visible()
    await page.get_by_role("main").get_by_role("button", name="Open the chat").click()
    await expect(chat.panel).to_be_visible()
    return chat


async def shown(chat: Chat, name: str) -> str:
    """What the page shows of the last turn."""
    return await chat.page.locator(f"#{name}").inner_text()


async def test_a_visitor_registers_and_the_page_shows_the_rows_of_their_message(
    chat: Chat, database: asyncpg.Connection
) -> None:
    await chat.page.get_by_label("Email").fill("Browser.One@Example.test")
    await chat.page.get_by_label("Name").fill("Ann")
    await chat.button("Start the chat").click()
    await chat.say("Hello from a browser")
    whole = await chat.answered()
    await expect(chat.page.locator("#status")).to_have_text("answered")
    stored = await database.fetch(
        "select m.role::text, m.text from public.messages m join public.turns t on t.id = m.turn_id"
        " where t.id = $1::text::uuid and t.session_id = $2::text::uuid order by m.created_at",
        await shown(chat, "turn-id"),
        await shown(chat, "session-id"),
    )
    assert [tuple(row) for row in stored] == [("contact", "Hello from a browser"), ("persona", whole)]
    email = await database.fetchval(
        "select value from public.contact_identities where contact_id = $1::text::uuid", await shown(chat, "contact-id")
    )
    assert email == "Browser.One@Example.test"


async def test_registration_is_optional_and_the_next_message_is_answered_with_history(chat: Chat) -> None:
    await chat.button("Continue without").click()
    await chat.say("My boat is called Petrel")
    await chat.answered()
    first = await shown(chat, "session-id")
    await chat.reload()
    await chat.say("What is my boat called?")
    assert "Petrel" in await chat.answered(2)
    assert await shown(chat, "session-id") == first


async def test_the_page_shows_the_tag_and_the_request_that_do_the_same_elsewhere(chat: Chat, stack: Stack) -> None:
    tag, request = await chat.page.locator("pre").all_inner_texts()
    assert tag == f'<script src="{stack.api_url}/widget.js" data-space="{stack.space_id}" async></script>'
    assert request.endswith(f"{stack.api_url}/space/{stack.space_id}/chat/stream")


async def test_the_reference_shows_every_route_and_loads_nothing_from_elsewhere(
    context: BrowserContext, stack: Stack
) -> None:
    page, complaints, asked = await context.new_page(), list[str](), set[str]()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("request", lambda request: asked.add(request.url.removeprefix(stack.api_url)))
    await page.goto(stack.api_url + "/docs")
    await expect(page.get_by_role("heading", name="Switchboard")).to_be_visible()
    await expect(page.get_by_text("/space/{space_id}/chat/stream", exact=True)).to_be_visible()
    assert complaints == []
    assert {path for path in asked if not path.startswith("data:")} == {
        "/docs", "/docs/reference.css", "/docs/reference.js", "/openapi.json",
    }  # fmt: skip
