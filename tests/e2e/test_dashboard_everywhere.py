"""What holds in every view of the members' page: a write that fails is explained and undone, and each fits a phone."""

from collections.abc import Mapping
from itertools import cycle
from uuid import uuid4

import pytest
from playwright.async_api import Browser, Locator, Page, Route, expect

from tests.e2e.conftest import Faults
from tests.e2e.dashboards import Dashboard
from tests.e2e.histories import add_contact, chat
from tests.e2e.test_dashboard_operations import DEAD
from tests.functions.test_devices import heard

Step = tuple[str, ...]

# A view, what a member does there, and what is then as before: a field with its value, a text that is there, or one
# that is not ("-"). {names} are those of the world below.
WRITES: tuple[tuple[str, tuple[Step, ...], tuple[Step, ...]], ...] = (
    ("inbox/{session}", (("choose", "Assigned to", "{email}"),), (("value", "Assigned to", ""),)),
    ("inbox/{session}", (("press", "Take over"),), (("text", "until you take over"),)),
    ("inbox/{session}", (("press", "Complete"), ("confirm", "Complete")), (("-", "This session has ended."),)),
    ("inbox/{session}", (("enter", "Add a tag", "new"),), (("value", "Add a tag", "new"), ("-", "Remove the tag new"))),
    ("inbox/{session}", (("press", "Remove the tag old"),), (("name", "Remove the tag old"),)),
    (
        "inbox/{session}",
        (("press", "Link another identity"), ("enter", "Identity", "a@b.test")),
        (("value", "Identity", "a@b.test"),),
    ),
    (
        "inbox/{heard}",
        (("press", "Link a device"), ("choose", "What this device hears belongs to", "{email}")),
        (("value", "What this device hears belongs to", ""),),
    ),
    ("sessions/{session}", (("choose", "Member", "{email}"),), (("value", "Member", ""),)),
    ("sessions/{session}", (("press", "Pause"),), (("name", "Pause"),)),
    (
        "sessions/{session}",
        (("press", "Mark as failed"), ("fill", "Reason", "late"), ("confirm", "Mark as failed")),
        (("value", "Reason", "late"),),
    ),
    (
        "sessions",
        (("check", "Select all loaded sessions"), ("press", "Pause"), ("confirm", "Pause")),
        (("-", "Sessions changed: 0"),),
    ),
    (
        "contacts/{contact}",
        (("enter", "Add a tag", "new"),),
        (("value", "Add a tag", "new"), ("-", "Remove the tag new")),
    ),
    (
        "contacts/{contact}",
        (("enter", "Address or number", "a@b.test"),),
        (("value", "Address or number", "a@b.test"),),
    ),
    (
        "contacts/{contact}",
        (("press", "Remove Email ann@people.test"), ("confirm", "Delete")),
        (("name", "Remove Email ann@people.test"),),
    ),
    ("contacts/{contact}", (("press", "Forget"), ("confirm", "Forget")), (("text", "Likes tea."),)),
    (
        "contacts/{contact}",
        (("press", "Sign out everywhere"), ("confirm", "Sign out everywhere")),
        (("-", "The contact was signed out."),),
    ),
    (
        "contacts/{contact}",
        (("press", "Edit"), ("fill", "Last name", "Poe"), ("confirm", "Save")),
        (("value", "Last name", "Poe"), ("text", "Ann Lee")),
    ),
    (
        "contacts/{contact}",
        (("press", "Erase …"), ("fill", "Type Ann Lee to confirm", "Ann Lee"), ("confirm", "Erase for good")),
        (("name", "Erase for good"),),
    ),
    ("contacts/conflicts", (("press", "Dismiss"),), (("name", "Dismiss"),)),
    ("operations/jobs", (("press", "Discard"),), (("text", "it broke"),)),
    ("operations/jobs", (("press", "Replay"),), (("text", "it broke"), ("-", "The job is tried again."))),
    ("settings/members", (("choose", "Role of {email}", "admin"),), (("value", "Role of {email}", "agent"),)),
    ("settings/members", (("row", "{email}", "Remove"), ("confirm", "Remove")), (("name", "Role of {email}"),)),
    ("settings/spaces/{space}", (("press", "Generate"),), (("text", "No secret is set."),)),
    ("settings/spaces/{space}", (("press", "Delete"), ("confirm", "Delete")), (("name", "Delete"),)),
    ("settings/spaces/{space}", (("fill", "Name", "Other"), ("press", "Save")), (("value", "Name", "Other"),)),
    ("settings/api-keys", (("press", "Revoke"), ("confirm", "Revoke")), (("name", "Revoke"),)),
    (
        "settings/workflows",
        (("press", "Delete the transition from start to asked"),),
        (("name", "Delete the transition from start to asked"),),
    ),
    ("settings/personas/{persona}", (("enter", "Test message", "Hi"),), (("value", "Test message", "Hi"),)),
    ("settings/event-subscriptions/{subscription}", (("press", "Send a test"),), (("-", "The test arrived"),)),
    ("settings/channels/{channel}", (("press", "Connect"),), (("name", "Connect"), ("-", "The token is valid"))),
    (
        "settings/channels/{channel}",
        (("fill", "To", "42"), ("press", "Send a test message")),
        (("value", "To", "42"), ("name", "Send a test message")),
    ),
)


async def test_a_write_that_fails_is_explained_and_undone_in_every_view(dashboard: Dashboard, faults: Faults) -> None:
    faults.forgive = ("net::ERR", "500 (Internal")
    names = await _world(dashboard)
    page = (await dashboard.sign_in()).page
    is_outage = True

    async def fail(route: Route) -> None:
        passive = any(part in route.request.url for part in ("/read", "/presence", "/auth/"))
        if route.request.method == "GET" or passive:
            await route.fallback()
        elif is_outage:
            await route.abort()
        else:
            body = '{"status": 500, "code": "broken", "title": "A fault of Switchboard."}'
            await route.fulfill(status=500, body=body, headers={"access-control-allow-origin": "*"})

    await page.route("**/*", fail)
    # In turn: a view asks one client, which tells both apart.
    for (view, steps, stays), is_outage in zip(WRITES, cycle((True, False)), strict=False):
        told = "The server cannot be reached." if is_outage else "A fault of Switchboard."
        await page.goto(f"{dashboard.url}#/{view.format_map(names)}")
        await page.reload()
        for step in steps:
            await _do(page, *(part.format_map(names) for part in step))
        await expect(page.get_by_text(told).first, f"{view} {steps}").to_be_visible()
        # Also above a dialog that stays open.
        assert await page.locator(".toasts").evaluate("toasts => toasts.matches(':popover-open')")
        for what, *values in stays:
            await _check(page, what, [value.format_map(names) for value in values])
        await page.evaluate(
            "for (const key of Object.keys(localStorage)) if (key.includes(':draft:')) delete localStorage[key]"
        )


ALL = (*dict.fromkeys(view for view, *_ in WRITES), "contacts", "analytics", "operations/health")
TABLES = ("inbox/{session}", "sessions", "contacts", "operations/jobs", "settings/members")


@pytest.mark.parametrize(
    ("languages", "width", "views"),
    [
        *(("pt", 390, ALL), ("ar", 390, ALL), ("de en es fr tr", 390, TABLES)),
        *(("de en fr", 1024, TABLES), ("ar es pt tr", 1024, TABLES)),
    ],
)
async def test_no_view_is_wider_than_its_screen_and_no_head_is_cut(
    dashboard: Dashboard, browser: Browser, languages: str, width: int, views: tuple[str, ...]
) -> None:
    names = await _world(dashboard)
    context = await browser.new_context(viewport={"width": width, "height": 800})
    page = (await dashboard.sign_in(context=context)).page
    wide = """() => [...document.querySelectorAll(
            'html, main, .view, .section, form, dialog, .list nav, button, .head > *')]
        .filter((each) => each.checkVisibility() && each.scrollWidth > each.clientWidth + 1)
        .map((each) => each.className || each.textContent || each.tagName)"""
    for language in languages.split():
        # Signed in by its English words.
        chosen = f"Object.defineProperty(navigator, 'languages', {{value: ['{language}'], configurable: true}})"
        await page.add_init_script(chosen)
        for view in views:
            await page.goto(f"{dashboard.url}#/{view.format_map(names)}")
            await page.reload()
            await expect(page.locator("main :is(h1, h2)").first).to_be_attached()
            await expect(page.locator("main .state[role=status]")).to_have_count(0)
            assert await page.evaluate(wide) == [], (language, view)
    await context.close()


async def _world(dashboard: Dashboard) -> Mapping[str, str]:
    """The ids and the agent's address that the table names."""
    workspace, database = dashboard.workspace, dashboard.workspace.database
    _, email = await dashboard.add_user("agent")
    device = await heard(workspace, str(uuid4()), uuid4().hex)
    told = await chat(dashboard, "ann@people.test", "Hello")
    other = await add_contact(dashboard, "Anna", "Lee", "anna@people.test")
    await database.execute("select private.open_conflict($1, $2, 'resolve')", told["contact_id"], other)
    await database.execute(DEAD, workspace.id, "dead_kind")
    await database.execute(
        "update public.contacts set first_name = 'Ann', last_name = 'Lee' where id = $1", told["contact_id"]
    )
    for query in (
        "insert into public.memories (workspace_id, contact_id, kind, content, duplicate_key)"
        " values ($1, $2, 'fact', 'Likes tea.', gen_random_uuid())",
        "insert into public.tags (workspace_id, contact_id, name) values ($1, $2, 'old')",
    ):
        await database.execute(query, workspace.id, told["contact_id"])
    for query in (
        "insert into public.workflow_transitions (workspace_id, workflow, to_step) values ($1, 'own', 'asked')",
        "insert into public.api_keys (id, workspace_id, name, role, hash)"
        " values (gen_random_uuid(), $1, 'Crawler', 'agent', repeat('0', 64))",
    ):
        await database.execute(query, workspace.id)
    subscription = await database.fetchval(
        "insert into public.event_subscriptions (workspace_id, url, event_types)"
        " values ($1, 'https://events.example.com', array['message.created']) returning id",
        workspace.id,
    )
    channel = await workspace.add_channel("telegram", "the-secret", "42:token")
    heard_session = await database.fetchval(
        "select id from public.sessions where conversation_id = $1", device["conversation_id"]
    )
    return {
        "email": email, "session": str(told["session_id"]), "contact": str(told["contact_id"]),
        "heard": str(heard_session), "space": str(workspace.space_id), "persona": str(workspace.persona_id),
        "subscription": str(subscription), "channel": str(channel),
    }  # fmt: skip


async def _do(page: Page, verb: str, name: str, value: str = "") -> None:
    match verb:
        case "press":
            await page.get_by_role("button", name=name, exact=True).first.click()
        case "confirm":
            await page.get_by_role("dialog").get_by_role("button", name=name, exact=True).last.click()
        case "row":
            await page.get_by_role("row").filter(has_text=name).get_by_role("button", name=value).click()
        case "check":
            await page.get_by_label(name, exact=True).check()
        case "choose":
            await _field(page, name).select_option(label=value)
        case _:
            await _field(page, name).fill(value)
            if verb == "enter":
                await _field(page, name).press("Enter")


def _field(page: Page, name: str) -> Locator:
    """A field by its name; the text around a list of choices is not only that."""
    return page.get_by_role("combobox", name=name, exact=True).or_(page.get_by_role("textbox", name=name)).first


async def _check(page: Page, what: str, values: list[str]) -> None:
    name = values[0]
    found = page.get_by_role("combobox", name=name).or_(page.get_by_role("button", name=name, exact=True))
    match what:
        case "value":
            await expect(_field(page, name)).to_have_value(values[1])
        case "name":
            await expect(found.first).to_be_visible()
        case "text":
            await expect(page.get_by_text(name).first).to_be_visible()
        case _:
            await expect(page.get_by_text(name, exact=True).or_(found)).to_have_count(0)
