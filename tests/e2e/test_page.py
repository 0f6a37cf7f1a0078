"""The demo page in a real browser: register, chat, and what a person sees when something goes wrong."""

import os
import shutil
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from local.stack import Stack

CHROMIUM = shutil.which("chromium")

pytestmark = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("CI"),
    reason="needs Debian's Chromium: apt-get install chromium",
)

# Without these Chromium calls home at every start; as root it does not run in its sandbox.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest_asyncio.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Debian's Chromium, without a window."""
    async with async_playwright() as playwright:
        assert CHROMIUM is not None, "Chromium is not installed"
        launched = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield launched
        await launched.close()


@pytest_asyncio.fixture
async def page(browser: Browser, stack: Stack) -> AsyncIterator[Page]:
    """The demo page, opened by somebody new; an error on the page's console fails the test."""
    context = await browser.new_context()
    opened = await context.new_page()
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda said: faults.append(said.text) if "Content Security Policy" in said.text else None)
    await opened.goto(stack.api_url + "/")
    yield opened
    await context.close()
    assert faults == []


async def register(page: Page, email: str) -> None:
    """Fill in the form as a person does."""
    await page.get_by_label("Email").fill(email)
    await page.get_by_label("Name").fill("Ann")
    await page.get_by_role("button", name="Start the chat").click()
    await expect(page.get_by_role("textbox", name="Message")).to_be_focused()


async def say(page: Page, message: str) -> None:
    """Type a message and press Enter."""
    await page.get_by_role("textbox", name="Message").fill(message)
    await page.keyboard.press("Enter")


async def test_a_visitor_registers_and_sees_the_answer_grow(
    page: Page, stack: Stack, database: asyncpg.Connection
) -> None:
    await register(page, "Browser.One@Example.test")
    await say(page, "Hello from a browser")
    answer = page.get_by_role("log").locator(".theirs")
    await expect(answer).not_to_be_empty()
    early = await answer.inner_text()
    await expect(page.locator("#session-status")).to_have_text("completed")
    whole = await answer.inner_text()
    assert len(early) < len(whole), "the whole answer came at once"
    assert whole.startswith(early)

    session = await page.locator("#session-id").inner_text()
    stored = await database.fetch(
        "select role::text, text from public.messages where session_id = $1 order by created_at", session
    )
    assert [row["role"] for row in stored] == ["contact", "persona"]
    assert stored[0]["text"] == "Hello from a browser"
    assert stored[1]["text"].split() == whole.split()


async def test_the_next_message_goes_to_the_same_session_and_is_answered_with_history(page: Page) -> None:
    await register(page, "browser.two@example.test")
    await say(page, "My boat is called Petrel")
    await expect(page.locator("#session-status")).to_have_text("completed")
    first = await page.locator("#session-id").inner_text()
    await say(page, "What is my boat called?")
    answer = page.get_by_role("log").locator(".theirs").nth(1)
    await expect(answer).to_contain_text("Petrel")
    assert await page.locator("#session-id").inner_text() == first


async def test_a_reload_keeps_the_visitor_signed_in(page: Page) -> None:
    await register(page, "browser.three@example.test")
    await say(page, "Before the reload")
    await expect(page.locator("#session-status")).to_have_text("completed")
    first = await page.locator("#session-id").inner_text()
    await page.reload()
    await say(page, "After the reload")
    await expect(page.locator("#session-status")).to_have_text("completed")
    assert await page.locator("#session-id").inner_text() == first


async def test_a_refusal_is_shown_and_the_form_stays(page: Page) -> None:
    await page.locator("#register").evaluate("form => form.noValidate = true")
    await page.get_by_label("Email").fill("not an address")
    await page.get_by_role("button", name="Start the chat").click()
    await expect(page.get_by_role("alert")).to_contain_text("email")
    await expect(page.get_by_label("Email")).to_be_visible()


async def test_what_a_visitor_types_is_shown_as_text(page: Page) -> None:
    await register(page, "browser.four@example.test")
    await say(page, "<img src=x onerror=alert(1)> & <b>bold</b>")
    await expect(page.locator("#session-status")).to_have_text("completed")
    assert await page.locator("#messages img, #messages b").count() == 0


async def test_an_unknown_space_is_told(page: Page, stack: Stack) -> None:
    await page.goto(f"{stack.api_url}/?space=00000000-0000-4000-8000-000000000000")
    await page.get_by_label("Email").fill("browser.five@example.test")
    await page.get_by_role("button", name="Start the chat").click()
    await expect(page.get_by_role("alert")).to_contain_text("no such space")
