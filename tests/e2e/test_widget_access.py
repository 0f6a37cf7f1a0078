"""The embedded chat for every hand, eye and ear: keyboard, screen reader, phone, darkness, other scripts."""

from typing import Any

import asyncpg
import pytest
from playwright.async_api import Browser, Page, expect

from local.paths import REPOSITORY
from tests.e2e.chats import Chat, stored
from tests.e2e.conftest import Faults
from tests.e2e.shops import Shop
from tests.servers import missing
from tests.standins.openai import OpenAI

MEASURES = """() => {
  const root = document.querySelector("switchboard-chat").shadowRoot;
  const name = (one) => one.getAttribute("aria-label") ?? one.textContent;
  const shown = [...root.querySelectorAll("button, input, textarea")].filter((one) => one.checkVisibility());
  const isSmall = ({ width, height }) => width < 44 || height < 44;
  const isOutside = ({ left, right, top, bottom }) => left < 0 || top < 0 || right > innerWidth || bottom > innerHeight;
  const isWide = (one) => one.checkVisibility() && getComputedStyle(one).overflowX !== "hidden"
    && one.clientWidth > 1 && one.scrollWidth > one.clientWidth + 1;
  const fields = shown.filter((one) => one.matches("input, textarea"));
  return {
    small: shown.filter((one) => isSmall(one.getBoundingClientRect())).map(name),
    outside: shown.filter((one) => isOutside(one.getBoundingClientRect())).map(name),
    letters: Math.min(...fields.map((one) => parseFloat(getComputedStyle(one).fontSize))),
    wide: [document.documentElement, ...root.querySelectorAll("dialog, dialog *")].filter(isWide).map(name),
  };
}"""
"""What matters on a small screen: names of what is too small, outside, or wider than its place; the letters' pixels."""

AXE = REPOSITORY / "node_modules" / "axe-core" / "axe.min.js"


async def focused(page: Page) -> str:
    """The name of what has the focus, inside the chat or outside."""
    name: str = await page.evaluate(
        "() => { let found = document.activeElement; while (found?.shadowRoot?.activeElement)"
        " found = found.shadowRoot.activeElement;"
        " return found.getAttribute('aria-label') ?? found.textContent.trim() ?? found.tagName; }"
    )
    return name


async def test_everything_goes_by_keyboard(shop: Shop) -> None:
    chat = await shop.visit(await shop.site())
    page = chat.page
    await expect(chat.launcher).to_be_visible()
    await page.keyboard.press("Tab")
    assert await focused(page) == "Boats"
    await page.keyboard.press("Tab")
    assert await focused(page) == "Open the chat"
    await page.keyboard.press("Enter")
    assert await focused(page) == "Your message"
    await page.keyboard.type("One line")
    await page.keyboard.press("Shift+Enter")
    await page.keyboard.type("and another")
    await page.keyboard.press("Enter")
    assert "One line\nand another" in await chat.answered()
    assert await focused(page) == "Your message"
    order = []
    for _ in range(3):
        await page.keyboard.press("Shift+Tab")
        order.append(await focused(page))
    assert order == ["Conversation", "Close the chat", "Start over"]
    await page.keyboard.press("Escape")
    await expect(chat.panel).to_be_hidden()
    assert await focused(page) == "Open the chat"
    await page.keyboard.press("Space")
    assert await focused(page) == "Your message"


async def test_a_visitor_stops_an_answer_and_keeps_its_text(
    shop: Shop, held: OpenAI, database: asyncpg.Connection
) -> None:
    chat = await shop.chat(await shop.site())
    await chat.say("Tell me everything")
    await chat.growing()
    await chat.page.keyboard.press("Tab")
    assert await focused(chat.page) == "Stop the answer"
    await chat.page.keyboard.press("Enter")
    assert await chat.answered() == "You wrote:"
    assert await stored(database, shop.workspace) == ["You wrote:"]
    await expect(chat.panel.get_by_text("Stopped", exact=True)).to_be_visible()
    assert await focused(chat.page) == "Your message"
    assert await shop.turns() == ["cancelled"]
    await held.release()
    await chat.say("And now?")
    await chat.answered(2)


async def test_a_stop_that_fails_is_told_and_the_answer_goes_on(shop: Shop, held: OpenAI, faults: Faults) -> None:
    faults.forgive = ("500",)
    chat = await shop.chat(await shop.site())
    headers = {"Access-Control-Allow-Origin": "*"}
    await chat.page.route("**/cancel", lambda route: route.fulfill(status=500, headers=headers))
    await chat.say("Tell me everything")
    await chat.growing()
    await chat.button("Stop the answer").click()
    await expect(chat.panel.get_by_text("could not be stopped")).to_be_visible()
    await held.release()
    await chat.answered()
    assert await shop.turns() == ["completed"]


async def test_a_whole_answer_is_announced_once_and_never_word_by_word(shop: Shop, held: OpenAI) -> None:
    chat = await shop.chat(await shop.site())
    log = chat.page.get_by_role("log")
    await expect(log).to_have_attribute("aria-live", "polite")
    await log.evaluate(
        "log => { window.heard = []; new MutationObserver((changes) => { for (const change of changes)"
        " window.heard.push([change.type, ...[...change.addedNodes].map(node => node.firstChild.textContent)]); })"
        ".observe(log, { childList: true, subtree: true, characterData: true }); }"
    )
    await chat.say("Read this to me")
    await chat.growing()
    await held.release()
    whole = await chat.answered()
    heard = await chat.page.evaluate("() => window.heard")
    assert heard == [["childList", "You: Read this to me"], ["childList", f"x: {whole}"]]


async def measures(page: Page) -> dict[str, Any]:
    """What matters on a small screen."""
    found: dict[str, Any] = await page.evaluate(MEASURES)
    return found


@pytest.mark.parametrize("direction", ["ltr", "rtl"])
async def test_on_a_phone_everything_is_in_reach(shop: Shop, browser: Browser, faults: Faults, direction: str) -> None:
    fine = {"small": [], "outside": [], "letters": 16, "wide": []}
    site = await shop.site(register="optional", language="he" if direction == "rtl" else "")
    phone = await browser.new_context(
        viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True, device_scale_factor=2
    )
    try:
        page = await phone.new_page()
        faults.watch(page)
        await page.goto(site.origin)
        chat = Chat(page)
        box = await chat.launcher.bounding_box()
        assert box is not None
        assert (box["x"] > 180) is (direction == "ltr")
        await chat.launcher.tap()
        await expect(page.get_by_label("Email")).to_be_focused()
        assert await measures(page) == fine
        await chat.button("Continue without").tap()
        await chat.field.fill("https://example.test/" + "long" * 60 + "\nand a second line")
        await chat.button("Send").tap()
        await chat.answered()
        assert await measures(page) == fine
        assert await page.locator("switchboard-chat dialog").evaluate("dialog => dialog.matches(':modal')")
        # The keyboard takes half of the screen.
        await page.set_viewport_size({"width": 360, "height": 320})
        await expect(chat.field).to_be_in_viewport(ratio=1)
        await expect(chat.button("Send")).to_be_in_viewport(ratio=1)
        await chat.button("Close the chat").tap()
        await expect(chat.panel).to_be_hidden()
    finally:
        await phone.close()


async def test_from_right_to_left_the_own_messages_are_on_the_left(shop: Shop) -> None:
    chat = await shop.chat(await shop.site(language="he"))
    await chat.say("שלום")
    await chat.answered()
    mine = await chat.page.get_by_role("log").locator(".contact").bounding_box()
    panel = await chat.panel.bounding_box()
    assert mine is not None
    assert panel is not None
    assert mine["x"] - panel["x"] < 30
    assert panel["x"] < 30


async def test_nothing_moves_under_reduced_motion(shop: Shop, held: OpenAI) -> None:
    chat = await shop.visit(await shop.site())
    await chat.page.emulate_media(reduced_motion="reduce")
    await chat.open()
    await chat.say("Still")
    await chat.growing()
    running = "() => document.querySelector('switchboard-chat').shadowRoot.getAnimations().length"
    assert await chat.page.evaluate(running) == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("color", ["", "#1d4ed8", "gold"])
async def test_axe_finds_nothing(shop: Shop, database: asyncpg.Connection, scheme: Any, color: str) -> None:
    if not AXE.exists():
        missing("There is no axe-core here; it comes from npm (`make install-dev`).")
    await shop.context.add_init_script(path=AXE)
    site = await shop.site(register="optional", color=color)
    chat = await shop.visit(site)
    page = chat.page
    await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")

    async def check(state: str) -> None:
        found = await page.evaluate("() => axe.run('switchboard-chat', { resultTypes: ['violations'] })")
        told = [(one["id"], [node["html"] for node in one["nodes"]]) for one in found["violations"]]
        assert told == [], state
        assert found["passes"], "axe did not look at the chat"

    await expect(chat.launcher).to_be_visible()
    await check("closed")
    await chat.open()
    await check("asking who it is")
    await chat.button("Continue without").click()
    await chat.say("See https://example.test/boats, please")
    await chat.answered()
    await check("answered")
    await chat.button("Start over").click()
    await check("asking whether to forget")
    await chat.button("Keep it").click()
    await database.execute(
        "update public.personas set config = '{\"delay_ms\": 99999}' where id = $1", shop.workspace.persona_id
    )
    await chat.say("Fail, please")
    await expect(chat.panel.get_by_text("not set up correctly")).to_be_visible()
    await check("failed")
