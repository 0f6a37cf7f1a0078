"""The members' page, work: jobs and outgoing deliveries, seen and tried again."""

from playwright.async_api import expect

from tests.e2e.dashboards import Dashboard

DEAD = """
insert into public.jobs (workspace_id, kind, status, finished_at, last_error, payload, attempts)
values ($1, $2, 'dead', now(), 'it broke', '{"chat": 7}', 12)
"""

RECEIVED = """
with event as (
    insert into public.inbound_events (workspace_id, source, delivery_key, headers, raw_body)
    values ($1, 'telegram', '7', '{}', '{"update_id": 7}') returning id
)
insert into public.jobs (workspace_id, event_id, kind, status, last_error, finished_at)
select $1, id, 'x', 'dead', 'broken', now() from event
"""


async def test_dead_jobs_are_shown_replayed_and_discarded(dashboard: Dashboard) -> None:
    workspace = dashboard.workspace
    for kind in ("first_kind", "second_kind"):
        await workspace.database.execute(DEAD, workspace.id, kind)
    member = await dashboard.sign_in(view="#/operations")
    page = member.page
    first, second = (page.get_by_role("row").filter(has_text=kind) for kind in ("first_kind", "second_kind"))
    await expect(second).to_contain_text("it broke")
    await first.get_by_role("link", name="first_kind").click()
    await expect(page.get_by_role("region", name="Payload").first).to_contain_text('"chat": 7')
    await page.get_by_role("button", name="Replay").click()
    await expect(page.get_by_text("The job is tried again.")).to_be_visible()
    await page.get_by_role("link", name="Back").click()
    await second.get_by_role("button", name="Discard").click()
    await expect(second).to_have_count(0)
    replayed = "select attempts - uncounted from public.jobs where workspace_id = $1 and kind = 'first_kind'"
    assert await workspace.database.fetchval(replayed, workspace.id) < 12
    await page.get_by_label("State").select_option("discarded")
    await expect(second).to_contain_text("discarded")
    assert "state=discarded" in page.url


async def test_what_a_provider_sent_is_shown_and_the_doctor_links_the_dead_job(dashboard: Dashboard) -> None:
    workspace = dashboard.workspace
    await workspace.database.execute(RECEIVED, workspace.id)
    member = await dashboard.sign_in(view="#/operations/incoming")
    page = member.page
    await page.get_by_role("button", name="Show").click()
    await expect(page.get_by_role("dialog").get_by_role("region", name="Body").first).to_contain_text('"update_id": 7')
    await page.keyboard.press("Escape")
    await member.open("#/operations/health")
    check = page.get_by_role("listitem").filter(has_text="Dead jobs: 1")
    await check.get_by_role("link").click()
    await expect(page.get_by_role("region", name="Body").first).to_contain_text('"update_id": 7')
    await member.open("#/operations/health")
    await expect(page.get_by_role("row").filter(has_text="switchboard-worker")).to_contain_text("* * * * *")
    await member.open("#/operations/incoming")
    await page.get_by_role("button", name="Replay").click()
    await expect(page.get_by_text("The job is tried again.")).to_be_visible()


async def test_a_test_delivery_is_shown_with_its_answer_and_replayed(dashboard: Dashboard) -> None:
    await dashboard.workspace.allow_loopback()
    member = await dashboard.sign_in(view="#/settings/event-subscriptions/new")
    page = member.page
    # A receiver that refuses: this origin has no such route.
    await page.get_by_label("URL").fill(f"{dashboard.stack.api_url}/healthz/none")
    await page.get_by_label("message.created").check()
    await page.get_by_role("button", name="Create").click()
    secret = await page.get_by_role("group", name="Signing secret").text_content()
    await member.check_axe("secret")
    await page.get_by_role("link", name="Go on").click()
    await page.get_by_role("button", name="Send a test").click()
    await expect(page.get_by_text("Not delivered yet (404)")).to_be_visible()
    assert secret
    assert secret not in await page.content()
    await member.open("#/operations/outgoing")
    row = page.get_by_role("row").filter(has_text="404")
    await member.check_axe("deliveries")
    await row.get_by_role("button", name="Show").click()
    await expect(page.get_by_role("dialog").get_by_role("region", name="Answer").first).to_contain_text("not_found")
    await page.keyboard.press("Escape")
    await row.get_by_role("button", name="Replay").click()
    await expect(page.get_by_text("Sent again, not delivered yet.")).to_be_visible()
