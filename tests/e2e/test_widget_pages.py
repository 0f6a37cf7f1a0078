"""The embedded chat on every kind of page, and in the words and with the face that its space gives it."""

import json
import re
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.e2e.chats import Chat
from tests.e2e.conftest import Faults
from tests.e2e.shops import Shop
from tests.e2e.sites import Site, strict
from tests.standins.openai import OpenAI

LANDMARKS = ("banner", "complementary", "contentinfo", "form", "navigation", "region", "search")

PROTOTYPES = """
  // As Prototype.js 1.6 and MooTools 1.2 change them.
  Object.prototype.extend = Object.prototype.method = function () {};
  for (const { prototype } of [Array, String, Number, Date]) prototype.toJSON = function () { return String(this); };
  Array.prototype.reduce = function () { return this.length > 1 ? this : this[0]; };
  Array.prototype.entries = function () { return this; };
  Array.from = (values) => (values && values.length ? [...Array(values.length)].map((_, place) => values[place]) : []);
  Function.prototype.bind = function (self, values) { return (...more) => this.apply(self, values ?? more); };
  Element.prototype.remove = function () { this.parentNode.removeChild(this); return this; };
  window.Event = window.Element = function () {};
"""


# Eight by eight pixels of rgb(200, 30, 60).
PIXELS = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEUlEQVR42mM4IWeDFTEMLQkAd2xIgbfXr88AAAAASUVORK5CYII="


async def put(shop: Shop, site: Site, look: dict[str, Any]) -> None:
    """Set the look of the page's space, and its persona's name and picture."""
    picture = f"data:image/png;base64,{PIXELS}"
    database, space_id = shop.workspace.database, site.attributes["data-space"]
    await database.execute("update public.spaces set look = $2 where id = $1::text::uuid", space_id, json.dumps(look))
    await database.execute(
        "update public.personas set name = 'Ana', picture = $2 where id = $1", shop.workspace.persona_id, picture
    )


async def sandbox(shop: Shop, site: Site, page: Page) -> None:
    """The page has the rights of a frame with `sandbox="allow-scripts"`: no storage, no locks, no forms."""
    site.policy = f"{site.policy}; sandbox allow-scripts"
    await shop.workspace.database.execute(
        "update public.spaces set allowed_origins = '{*}' where id = $1::text::uuid", site.attributes["data-space"]
    )


async def module(shop: Shop, site: Site, page: Page) -> None:
    """The script is a module."""
    site.attributes["type"] = "module"


async def prototypes(shop: Shop, site: Site, page: Page) -> None:
    """Old libraries have changed what values inherit."""
    await page.add_init_script(PROTOTYPES)


@pytest.mark.parametrize("kind", [sandbox, module, prototypes])
async def test_the_chat_works_on_pages_that_are(shop: Shop, faults: Faults, kind: Any) -> None:
    site, page = await shop.site(register="required"), await shop.context.new_page()
    await kind(shop, site, page)
    await page.goto(site.origin)
    chat = Chat(page, shop.workspace)
    await chat.open()
    await page.get_by_label("Email").fill("ann@example.test")
    await page.get_by_label("Email").press("Enter")
    for count, message in enumerate(("My boat is called *Petrel*", "What is my boat called?"), start=1):
        await chat.say(message)
        assert "Petrel" in await chat.answered(count)
    await chat.button("Close the chat").click()
    await expect(chat.panel).to_be_hidden()
    assert (await shop.workspace.counts())["conversations"] == 1


SWAPS = {
    "another body": "document.documentElement.replaceChild(body(), document.body)",
    "other content": "document.body.replaceChildren(...body().childNodes)",
    "a copy of the page": "document.documentElement.replaceChild(document.body.cloneNode(true), document.body)",
}


async def test_the_chat_stays_when_the_page_swaps_its_body(shop: Shop, held: OpenAI) -> None:
    # Without Trusted Types, under which a page runs no script again.
    site = await shop.site(policy=strict(shop.stack.api_url).partition("; require-trusted-types-for")[0])
    chat = await shop.chat(site)
    await chat.say("Hello from the first page")
    await chat.growing()
    body = (
        "const body = () => { const made = document.createElement('body'); made.append('Another page'); return made; };"
    )
    # The page's script is in the body, and runs again.
    tag = "const tag = document.createElement('script'); for (const {name, value} of document.scripts[0].attributes)"
    tag += " tag.setAttribute(name, value); document.body.append(tag);"
    for swap in SWAPS.values():
        await chat.page.evaluate(f"() => {{ {body} {swap}; {tag} }}")
        await expect(chat.panel).to_be_visible()
        await expect(chat.page.locator("switchboard-chat")).to_have_count(1)
    await held.release()
    assert await chat.answered() == "You wrote: Hello from the first page"
    await chat.say("And from the last one")
    await chat.answered(2)
    await chat.page.evaluate("() => window.Switchboard.element.remove()")
    await expect(chat.page.locator("switchboard-chat")).to_have_count(0)


async def test_the_open_chat_is_open_after_a_reload_and_leaves_the_focus_alone(shop: Shop) -> None:
    chat = await shop.visit(await shop.site(open=""))
    await expect(chat.field).to_be_focused()
    await chat.reload()
    assert await chat.page.evaluate("() => document.activeElement === document.body")
    await chat.button("Close the chat").click()
    await chat.page.reload()
    await expect(chat.launcher).to_be_visible()
    await expect(chat.panel).to_be_hidden()
    for landmark in LANDMARKS:
        expected = 1 if landmark == "region" else 0
        await expect(chat.page.get_by_role(landmark)).to_have_count(expected)  # type: ignore[arg-type]


async def test_a_space_gives_its_chat_words_quick_replies_and_a_face(shop: Shop) -> None:
    site = await shop.site()
    site.language = "de-CH"
    look = {
        "quick_replies": ["Prices"],
        "languages": {
            "de": {"labels": {"greeting": "Grüezi!", "title": "Am Hafen"}, "quick_replies": ["Preise?", "Lage?"]}
        },
    }
    await put(shop, site, look)
    page = await shop.context.new_page()
    await page.goto(site.origin)
    await page.get_by_role("button", name="Chat öffnen").click()
    panel = page.get_by_role("dialog", name="Am Hafen")
    await expect(panel.locator(".greeting")).to_have_text("Grüezi!")
    await expect(panel.get_by_text("Ana", exact=True)).to_be_visible()
    # Drawn without a request, under a policy that allows no images.
    middle = "canvas => [...canvas.getContext('2d').getImageData(40, 40, 1, 1).data]"
    assert await panel.locator("canvas").evaluate(middle) == [200, 30, 60, 255]
    await panel.get_by_role("button", name="Preise?").click()
    log = page.get_by_role("log", name="Unterhaltung")
    await expect(log.locator(".contact")).to_have_text("Sie: Preise?")
    await expect(log.locator(".persona")).to_contain_text("Ana: You said")
    await expect(panel.get_by_role("group", name="Vorschläge")).to_be_hidden()
    times = await log.locator("time").evaluate_all("all => all.map(one => [one.textContent, one.dateTime])")
    assert len(times) == 2
    assert all(re.fullmatch(r"\d\d:\d\d", shown) and exact.endswith("Z") for shown, exact in times)
    # A message of another day has its date.
    await Chat(page).keep(messages=[{"id": "x", "role": "persona", "text": "Old", "at": 1_700_000_000_000}])
    await page.reload()
    await expect(log.locator("time")).to_contain_text("2023")


ANSWER = "**Two** boats:\n\n| Boat | Price |\n|:--|--:|\n| Petrel | 12 |\n\n- one\n- two\n\n```\nx = 1\n```\n\n[More](https://example.com/)"


async def test_an_answer_in_markdown_is_shown_as_it_is_meant_while_it_grows(shop: Shop, held: OpenAI) -> None:
    chat = await shop.chat(await shop.site())
    await chat.say(ANSWER)
    await held.allow(6)
    await expect(chat.draft.locator("strong")).to_have_text("Two")
    await expect(chat.draft.locator(".markdown")).to_have_text("You wrote: Two boats:")
    await held.release()
    await chat.answered()
    for place, text in (("td >> nth=1", "12"), ("li >> nth=0", "one"), ("pre code", "x = 1"), ("a", "More")):
        await expect(chat.answers.locator(place)).to_have_text(text)
