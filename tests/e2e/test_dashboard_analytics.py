"""The members' page, analytics: its figures are those of the route, by the filters of the address."""

import asyncio
import csv
import io
import re
from datetime import UTC, datetime, timedelta

from playwright.async_api import Locator, Page, expect

from tests.e2e.dashboards import Dashboard, Member

SESSION = """
with made as (
    insert into public.conversations (workspace_id, user_id, persona_id, space_id, thread_key)
    values ($1, gen_random_uuid(), $2, $3, gen_random_uuid()) returning id
)
insert into public.sessions (workspace_id, conversation_id, persona_id, space_id, status, created_at, ended_at)
select $1, made.id, $2, $3, 'completed', $4, $4 from made
"""


async def test_the_figures_are_the_routes_and_follow_the_period_of_the_address(dashboard: Dashboard) -> None:
    await _add_sessions(dashboard, days_ago=[0, 2, 2, 20, 40])
    member = await dashboard.sign_in(view="#/analytics")
    page = member.page
    await expect(_figure(page, "sessions")).to_contain_text("4")
    await expect(_figure(page, "sessions")).to_contain_text("+300%")
    await expect(_figure(page, "success")).to_contain_text("100%")
    await page.get_by_role("button", name="7 days").click()
    await expect(_figure(page, "sessions")).to_contain_text("3")
    assert "days=7" in page.url
    await page.reload()
    await expect(page.get_by_role("button", name="7 days")).to_have_attribute("aria-pressed", "true")
    await expect(_figure(page, "sessions")).to_contain_text("3")
    await page.get_by_role("button", name="Other days").click()
    await page.get_by_label("From").fill(_day(45))
    await expect(_figure(page, "sessions")).to_contain_text("5")
    assert f"from={_day(45)}" in page.url
    await member.open("?days=30#/analytics")
    await _check_days(member)


async def _check_days(member: Member) -> None:
    """The chart of the days is told in words, and its table and CSV have a row for each day."""
    card = member.page.locator("[data-card=sessions-by-day]")
    await expect(card.get_by_role("img")).to_have_accessible_name(re.compile("4 in all"))
    await expect(card.locator("canvas")).to_be_visible()
    await card.get_by_role("button", name="Table").click()
    rows = card.get_by_role("row")
    await expect(rows).to_have_count(31)
    await member.check_axe("table")
    cells = [await row.get_by_role("cell").first.text_content() for row in (await rows.all())[1:]]
    exported = await _exported(card)
    assert [row[1] for row in exported[1:]] == cells
    assert {row[0]: row[1] for row in exported[1:]}[_day(2)] == "2"

    # Each other card says in its CSV what its table says.
    for other in await member.page.locator("[data-card]").all():
        button = other.get_by_role("button", name="Table")
        if await button.count() and await button.get_attribute("aria-pressed") == "false":
            await button.click()
        shown = [
            await row.get_by_role("rowheader").text_content() for row in (await other.get_by_role("row").all())[1:]
        ]
        if shown:
            assert len(await _exported(other)) == 1 + len(shown)


async def _exported(card: Locator) -> list[list[str]]:
    """The rows of a card's CSV."""
    async with card.page.expect_download() as told:
        await card.get_by_role("button", name="CSV").click()
    path = await (await told.value).path()
    return list(csv.reader(io.StringIO(await asyncio.to_thread(path.read_text, encoding="utf-8-sig"))))


async def test_active_sessions_are_counted_live(dashboard: Dashboard) -> None:
    member = await dashboard.sign_in(view="#/analytics")
    await expect(_figure(member.page, "active_now")).to_contain_text("0")
    await expect(member.page.get_by_text("No session began in these days.")).to_be_visible()
    await _add_sessions(dashboard, days_ago=[0])
    await dashboard.workspace.database.execute(
        "update public.sessions set status = 'active', ended_at = null where workspace_id = $1", dashboard.workspace.id
    )
    await expect(_figure(member.page, "active_now")).to_contain_text("1")


async def _add_sessions(dashboard: Dashboard, days_ago: list[int]) -> None:
    """Completed sessions that began so many days ago."""
    workspace = dashboard.workspace
    times = [(workspace.id, workspace.persona_id, workspace.space_id, _moment(days)) for days in days_ago]
    await workspace.database.executemany(SESSION, times)


def _moment(days_ago: int) -> datetime:
    return datetime.now(UTC) - timedelta(days=days_ago)


def _day(days_ago: int) -> str:
    return str(_moment(days_ago).date())


def _figure(page: Page, name: str) -> Locator:
    return page.locator(f"[data-figure={name}] .value")
