"""The sessions of the members' page: the list by its filters, and the page of one."""

import re

from playwright.async_api import Browser, Locator, Page, expect

from tests.e2e.conftest import Faults
from tests.e2e.dashboards import Dashboard, Member
from tests.e2e.histories import add_contact, add_sessions, chat

MOST_ROWS = 80


def rows(page: Page) -> Locator:
    """The rows of the list that are elements, without its head."""
    return page.get_by_role("rowgroup").get_by_role("row")


async def search(member: Member, text: str) -> None:
    await member.page.get_by_role("searchbox").fill(text)


async def test_filters_live_in_the_address_and_a_search_finds_every_script(dashboard: Dashboard) -> None:
    await chat(dashboard, "leila@people.test", "ما هي ساعات العمل؟")
    await chat(dashboard, "wang@people.test", "我的订单号是多少")
    await chat(dashboard, "ann@people.test", "Where is my parcel?")
    member = await dashboard.sign_in(view="#/sessions")
    page = member.page
    await expect(rows(page)).to_have_count(3)
    for text, name in (("ساعات", "leila@people.test"), ("订单", "wang@people.test")):
        await page.keyboard.press("/")
        await search(member, text)
        await expect(rows(page)).to_have_count(1)
        await expect(rows(page).get_by_role("link")).to_have_text(name)
        await page.keyboard.press("Enter")
    await page.reload()
    await expect(page.get_by_role("searchbox")).to_have_value("订单")
    await expect(rows(page)).to_have_count(1)
    await page.get_by_label("Status").select_option("paused")
    await expect(page.get_by_text("No session fits these filters.")).to_be_visible()
    await page.get_by_role("button", name="Clear filters").click()
    await expect(rows(page)).to_have_count(3)
    await page.get_by_label("Status").select_option("active")
    await page.get_by_role("button", name="More filters").click()
    email = page.get_by_label(re.compile("Contact.s email"))
    await email.fill("ANN@people.test")
    # Typed, and not in the address yet.
    await page.reload()
    await expect(email).to_have_value("ANN@people.test")
    await expect(rows(page)).to_have_count(1)
    assert re.search(r"\?status=active&email=ANN%40people\.test#/sessions$", page.url)
    await page.get_by_role("heading", level=1).click()
    await page.keyboard.press("j")
    await expect(page.get_by_role("row", selected=True)).to_be_visible()
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Where is my parcel?").first).to_be_visible()
    await page.go_back()
    await expect(page.get_by_label("Status")).to_have_value("active")
    await expect(rows(page)).to_have_count(1)


async def test_a_selection_is_ended_and_the_lists_follow_live(dashboard: Dashboard, browser: Browser) -> None:
    for name in ("ann", "bob"):
        await chat(dashboard, f"{name}@people.test", "Hello")
    member = await dashboard.sign_in(view="#/sessions")
    elsewhere = await browser.new_context()
    other = await dashboard.sign_in("admin", "#/sessions", elsewhere)
    await expect(rows(other.page)).to_have_count(2)
    await member.page.get_by_label("Select all loaded sessions").check()
    await member.page.get_by_role("toolbar").get_by_role("button", name="End", exact=True).click()
    dialog = member.page.get_by_role("dialog", name="End")
    await member.check_axe("bulk")
    await dialog.get_by_label("Reason").fill("closing time")
    await dialog.get_by_role("button", name="End", exact=True).click()
    await expect(member.page.get_by_text("Sessions changed: 2")).to_be_visible()
    for page in (member.page, other.page):
        await expect(rows(page).locator(".status")).to_have_text(["cancelled", "cancelled"])
    await chat(dashboard, "cleo@people.test", "Hello")
    await expect(rows(other.page)).to_have_count(3)
    await elsewhere.close()


async def test_a_session_shows_what_failed_and_is_changed_exported_and_tagged(dashboard: Dashboard) -> None:
    told = await chat(dashboard, "ann@people.test", "Hello **you**")
    fail = "update public.turns set status = 'failed', error_code = 'persona_timeout' where session_id = $1"
    await dashboard.workspace.database.execute(fail, told["session_id"])
    member = await dashboard.sign_in(view=f"#/sessions/{told['session_id']}")
    page = member.page
    await expect(page.locator(".turns").get_by_text("The persona did not answer in time.")).to_be_visible()
    await expect(page.get_by_role("region", name="Transcript").locator("li.contact strong")).to_have_text("you")
    await page.get_by_label("Add a tag").fill("Urgent")
    await page.get_by_label("Add a tag").press("Enter")
    await expect(page.get_by_role("button", name="Remove the tag urgent")).to_be_visible()
    await member.check_axe("session")
    await page.get_by_role("button", name="Mark as failed").click()
    await page.get_by_label("Reason").fill("wrong number")
    await page.get_by_role("dialog").get_by_role("button", name="Mark as failed").click()
    await expect(page.get_by_text("A member marked it as failed. wrong number")).to_be_visible()
    await page.get_by_role("button", name="Recover").click()
    await expect(page.get_by_role("button", name="Pause")).to_be_visible()
    async with page.expect_download(timeout=60_000) as download:
        await page.get_by_role("button", name="Export", exact=True).click()
    assert (await download.value).suggested_filename == f"session-{told['session_id']}.zip"


async def test_an_agent_sees_and_does_only_what_agents_may(dashboard: Dashboard) -> None:
    told = await chat(dashboard, "ann@people.test", "Hello")
    agent = await dashboard.sign_in("agent", "#/sessions")
    await expect(agent.page.get_by_text("No session is assigned to you.")).to_be_visible()
    assign = "update public.sessions set assigned_user_id = $2 where id = $1"
    await dashboard.workspace.database.execute(assign, told["session_id"], agent.user_id)
    await agent.page.reload()
    await rows(agent.page).get_by_role("link").click()
    await expect(agent.page.get_by_role("button", name="Pause")).to_be_visible()
    await expect(agent.page.get_by_role("combobox", name="Member")).to_have_count(0)
    await agent.page.get_by_role("link", name="ann@people.test").click()
    buttons = agent.page.locator("header.tools .actions button")
    await expect(buttons).to_have_text(["Edit", "Sign out everywhere"])
    await agent.open("#/contacts")
    await expect(agent.page.locator("header.tools .actions > *")).to_have_text(
        ["New contact", "Export as CSV", "Conflicts"]
    )


async def test_thousands_of_sessions_scroll_to_the_end_in_few_elements(dashboard: Dashboard, faults: Faults) -> None:
    # Beside other tests a database may be too slow for one of the pages, which a member asks for again.
    faults.forgive = ("503",)
    contact_id = await add_contact(dashboard, "Ann", "Lee", "ann@people.test")
    await add_sessions(dashboard, contact_id, 3000)
    member = await dashboard.sign_in(view="#/sessions")
    grid = member.page.get_by_role("grid")
    await expect(grid).to_have_attribute("aria-rowcount", "201")
    # Scrolled by what a wheel would be told, until every page has come.
    scroll = """(grid) => {
        document.querySelector(".failure button")?.click();
        grid.scrollTop = grid.scrollHeight;
        return Number(grid.ariaRowCount) > 3000;
    }"""
    handle = await grid.element_handle()
    await member.page.wait_for_function(scroll, arg=handle, polling=50, timeout=120_000)
    await grid.evaluate("(grid) => { grid.scrollTop = grid.scrollHeight; }")
    await expect(member.page.get_by_text("Subject 3000", exact=True)).to_be_visible()
    assert await rows(member.page).count() < MOST_ROWS
    await member.check_axe("end of the list")
