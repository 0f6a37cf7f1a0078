"""The members' page, settings: what each section makes, what is shown once, and what an agent does not see."""

import re

import pytest
from playwright.async_api import Locator, Page, Route, expect

from tests.e2e.conftest import Faults
from tests.e2e.dashboards import Dashboard
from tests.e2e.histories import add_contact
from tests.standins import telegram, whatsapp
from tests.standins.messenger import MessengerApi
from tests.standins.telegram import Telegram
from tests.standins.whatsapp import WhatsApp

SECTIONS = {
    "spaces": "Spaces",
    "personas": "Personas",
    "channels": "Channels",
    "api-keys": "API keys",
    "event-subscriptions": "Event subscriptions",
    "members": "Members",
    "workspace": "Workspace",
    "answer-templates": "Answer templates",
    "session-templates": "Session templates",
    "workflows": "Workflows",
}
PERSONAS: dict[str, dict[str, str]] = {
    "demo": {"Milliseconds before each word": "0"},
    "openai": {"Model": "small", "Base URL": "https://models.example.com/v1"},
    "n8n": {"Webhook URL": "https://n8n.example.com/webhook/x"},
}


async def test_axe_finds_nothing_in_any_section(dashboard: Dashboard) -> None:
    member = await dashboard.sign_in()
    page = member.page
    workspace = dashboard.workspace
    channel = await workspace.add_channel("whatsapp", None, "token")
    places = {f"#/settings/{section}": title for section, title in SECTIONS.items()}
    places |= {
        f"#/settings/spaces/{workspace.space_id}": "Spaces",
        f"#/settings/personas/{workspace.persona_id}": "Personas",
        f"#/settings/channels/{channel}": "Channels",
        "#/settings/personas/new": "Personas",
        "?state=all#/operations/jobs": "Jobs",
        "#/operations/incoming": "Incoming deliveries",
        "#/operations/outgoing": "Outgoing deliveries",
        "#/operations/health": "Health",
    }
    for place, title in places.items():
        await member.open(place)
        await expect(page.get_by_role("heading", level=2, name=title)).to_be_visible()
        await expect(page.get_by_text("Loading …")).to_have_count(0)
        await member.check_axe(place)
    await page.set_viewport_size({"width": 360, "height": 740})
    await member.open("#/settings/members")
    await expect(page.get_by_role("button", name="Invite")).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360


async def test_an_agent_reads_but_changes_nothing(dashboard: Dashboard) -> None:
    agent = await dashboard.sign_in("agent")
    page = agent.page
    workspace = dashboard.workspace
    managing = page.get_by_role("link", name="New").or_(page.locator(".section button:not(:disabled)"))
    for section, title in SECTIONS.items():
        if section == "event-subscriptions":
            continue
        await agent.open(f"#/settings/{section}")
        await expect(page.get_by_role("heading", level=2, name=title)).to_be_visible()
        await expect(managing).to_have_count(0)
    await expect(page.get_by_role("link", name="Event subscriptions")).to_have_count(0)
    await agent.open(f"#/settings/spaces/{workspace.space_id}")
    await expect(page.get_by_label("Allowed origins")).to_be_disabled()
    await expect(page.get_by_role("button", name=re.compile("Save|Generate|Delete"))).to_have_count(0)
    await agent.open(f"#/settings/channels/{await workspace.add_channel('telegram', None, 'token')}")
    await expect(page.get_by_text("Messages can be sent")).to_be_visible()
    await expect(page.get_by_role("button", name=re.compile("Connect|Send|Store"))).to_have_count(0)


@pytest.mark.parametrize("kind", list(PERSONAS))
async def test_a_persona_is_made_and_its_secret_never_shown(dashboard: Dashboard, faults: Faults, kind: str) -> None:
    faults.forgive = ("422 (Unprocessable",)
    member = await dashboard.sign_in(view="#/settings/personas/new")
    page = member.page
    await page.get_by_label("Kind").select_option(kind)
    await page.get_by_role("button", name="Create").click()
    name = page.get_by_label("Name", exact=True)
    await expect(name).to_have_attribute("aria-invalid", "true")
    await expect(name).to_have_accessible_description(re.compile("This is needed."))
    await name.fill("Ana")
    for label, value in PERSONAS[kind].items():
        await page.get_by_label(label, exact=True).fill(value)
    await page.get_by_role("button", name="Create").click()
    await expect(page.get_by_role("heading", level=3, name="Ana")).to_be_visible()
    for label, value in PERSONAS[kind].items():
        await expect(page.get_by_label(label, exact=True)).to_have_value(value)
    if kind == "demo":
        await _try(page)
    else:
        await _store_secret(page)


async def _try(page: Page) -> None:
    """A test message is answered in the page."""
    await page.get_by_label("Test message").fill("Is it **you**?")
    await page.get_by_role("button", name="Send", exact=True).click()
    await expect(page.get_by_text("You said:")).to_be_visible()
    await expect(page.get_by_text("complete after")).to_be_visible()


async def _store_secret(page: Page) -> None:
    """A secret is sent once, and is nowhere in the page afterwards."""
    part = page.get_by_role("region", name="Secret for the persona")
    field = part.locator("input[type=password]")
    await field.fill("very-secret-1")
    await part.get_by_role("button", name="Store").click()
    await expect(part.get_by_text("A secret is set.")).to_be_visible()
    await expect(field).to_have_value("")
    await page.reload()
    await expect(part.get_by_text("A secret is set.")).to_be_visible()
    assert "very-secret-1" not in await page.content()


@pytest.mark.parametrize(
    ("api", "token", "more", "left"),
    [
        (Telegram(), telegram.TOKEN, {}, ["Choose a persona that answers"]),
        (WhatsApp(), whatsapp.TOKEN, {"external_id": whatsapp.NUMBER},
         ["Choose a persona that answers", "Enter the webhook address", "Subscribe the app"]),
    ],
    ids=["telegram", "whatsapp"],
)  # fmt: skip
async def test_a_channel_is_connected_and_sends_a_test_message(
    dashboard: Dashboard, faults: Faults, api: MessengerApi, token: str, more: dict[str, str], left: list[str]
) -> None:
    faults.forgive = ("422 (Unprocessable",)
    kind = type(api).__name__.lower()
    workspace = dashboard.workspace
    await workspace.allow_loopback()
    async with api:
        channel = await workspace.add_channel(kind, "the-secret", token, columns=more, api_base=api.url)
        page = (await dashboard.sign_in("admin", f"#/settings/channels/{channel}")).page
        part = page.get_by_role("region", name="Connect", exact=True)
        await part.get_by_role("button", name="Connect").click()
        await expect(part.get_by_text("The token is valid")).to_be_visible()
        for step in left:
            await expect(part.get_by_role("listitem").filter(has_text=step)).to_be_visible()
        await expect(page.get_by_role("group", name="Verify token")).to_have_count(int(kind == "whatsapp"))
        if kind == "telegram":
            assert api.received[-1].document["url"] == f"{dashboard.stack.api_url}/webhooks/telegram/{channel}"
        testing = page.get_by_role("region", name="Send a test message")
        send = testing.get_by_role("button", name="Send a test message")
        await send.click()
        await expect(testing.get_by_label("To")).to_have_attribute("aria-invalid", "true")
        for chat, outcome in (
            ("42000", "taken"),
            ("42000403", "taken" if kind == "whatsapp" else "blocked by the user"),
        ):
            await testing.get_by_label("To").fill(chat)
            await send.click()
            await expect(testing.get_by_role("status")).to_contain_text(outcome)
        assert (api.texts[0][0], api.texts[0][1][:14]) == ("42000", "A test message")


async def test_a_space_shows_its_tag_and_look_as_they_are_typed(dashboard: Dashboard) -> None:
    space = dashboard.workspace.space_id
    member = await dashboard.sign_in(view=f"#/settings/spaces/{space}")
    page = member.page
    tag = page.get_by_role("group", name="Script tag")
    await expect(tag).to_contain_text(f'data-space="{space}" data-color="#0b6b57" async')
    await page.get_by_label("Corner").select_option("start")
    await expect(tag).to_contain_text('data-position="start"')
    await page.get_by_label("Greeting").fill("Welcome aboard!")
    await page.get_by_label("Quick replies").fill("Prices?\nHours?")
    preview = page.locator(".preview")
    await expect(preview).to_contain_text("Welcome aboard!")
    await expect(preview).to_contain_text("Hours?")
    await page.get_by_role("button", name="Save the look").click()
    await expect(page.get_by_text("Saved.")).to_be_visible()
    await page.reload()
    await expect(page.get_by_label("Quick replies")).to_have_value("Prices?\nHours?")
    await expect(page.get_by_label("Name", exact=True)).to_have_value("x")


async def test_what_is_typed_into_a_form_survives_a_reload_until_it_is_saved_or_discarded(
    dashboard: Dashboard, faults: Faults
) -> None:
    faults.forgive = ("net::ERR", "500 (Internal")
    workspace = dashboard.workspace
    contact = await add_contact(dashboard, "Ann", "Lee", "ann@people.test")
    member = await dashboard.sign_in()
    page = member.page

    async def lose(route: Route) -> None:
        await (route.continue_() if route.request.method == "GET" else route.abort())

    for place, label, button, opener in (
        (f"settings/spaces/{workspace.space_id}", "Allowed origins", "Save", None),
        (f"settings/spaces/{workspace.space_id}", "Greeting", "Save the look", None),
        (f"settings/personas/{workspace.persona_id}", "Seconds that it stays open", "Save", None),
        ("settings/personas/new", "Name", "Create", None),
        ("settings/channels/new", "Settings (JSON)", "Create", None),
        ("settings/session-templates/new", "First messages", "Create", None),
        ("settings/api-keys/new", "Name", "Create", None),
        ("settings/members", "Email", "Invite", None),
        ("settings/workspace", "Name", "Save", None),
        ("settings/workflows", "To step", "Create", None),
        ("contacts", "First name", "Save", "New contact"),
        (f"contacts/{contact}", "Last name", "Save", "Edit"),
        (f"contacts/{contact}", "Address or number", "Add", None),
    ):
        typed = "12" if label.startswith("Seconds") else "typed@example.com" if label == "Email" else "Typed ليلى"
        await member.open(f"#/{place}")
        await page.reload()
        for fails in (True, False):
            if opener:
                await page.get_by_role("button", name=opener, exact=True).click()
            field = page.get_by_label(label, exact=True).first
            restored = page.get_by_text("Your unsaved changes are back.")
            if fails:
                before = await field.input_value()
                await field.fill(typed)
                # The server cannot be reached.
                await page.route("**/*", lose)
                await page.get_by_role("button", name=button, exact=True).first.click()
                failure = page.get_by_text("The server cannot be reached.")
                await expect(failure.or_(page.get_by_text("This is not valid JSON."))).to_be_visible()
                await page.unroute("**/*")
                await page.reload()
                continue
            await expect(restored).to_be_visible()
            await expect(field).to_have_value(typed)
        await page.get_by_role("button", name="Discard them").click()
        await expect(restored).to_have_count(0)
        await expect(field).to_have_value(before)
    # Saved: nothing is left to restore. A secret is never kept.
    await member.open("#/settings/members")
    await page.get_by_label("Email").first.fill("new@example.com")
    await page.get_by_role("button", name="Invite").click()
    await expect(page.get_by_role("row").filter(has_text="new@example.com")).to_be_visible()
    await expect(page.get_by_label("Email").first).to_have_value("")
    await member.open(f"#/settings/channels/{await workspace.add_channel('telegram', None)}")
    await page.locator("input[type=password]").first.fill("very-secret-1")
    drafts = "Object.entries(localStorage).filter(([name]) => name.startsWith('switchboard:draft:'))"
    assert await page.evaluate(drafts) == []


async def test_an_api_key_is_shown_once_and_revoked(dashboard: Dashboard) -> None:
    member = await dashboard.sign_in(view="#/settings/api-keys/new")
    page = member.page
    await page.get_by_label("Name", exact=True).fill("Crawler")
    await page.get_by_role("button", name="Create").click()
    key = await page.get_by_role("group", name="Crawler").text_content()
    assert key
    await page.get_by_role("link", name="Back").click()
    row = page.get_by_role("row").filter(has_text="Crawler")
    await expect(row).to_be_visible()
    assert key not in await page.content()
    await row.get_by_role("button", name="Revoke").click()
    await page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    await expect(row.get_by_role("button", name="Revoke")).to_have_count(0)


async def test_an_answer_template_is_written_and_deleted(dashboard: Dashboard) -> None:
    page = (await dashboard.sign_in("admin", "#/settings/answer-templates/new")).page
    for label, value in (("Name", "Greeting"), ("Shortcut", "hi"), ("Text (markdown)", "**Good** day.")):
        await page.get_by_label(label, exact=True).fill(value)
    await page.get_by_role("button", name="Create").click()
    await page.get_by_label("Shortcut").fill("")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Saved.")).to_be_visible()
    await page.reload()
    await expect(page.get_by_label("Text (markdown)")).to_have_value("**Good** day.")
    await expect(page.get_by_label("Shortcut")).to_have_value("")
    await page.get_by_role("button", name="Delete").click()
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(page.get_by_text("There is none yet.")).to_be_visible()


async def test_an_invitation_is_made_and_withdrawn(dashboard: Dashboard, faults: Faults) -> None:
    faults.forgive = ("422 (", "409 (")
    member = await dashboard.sign_in(view="#/settings/members")
    part = member.page.get_by_role("region", name="Invitations").first
    for email, said in (
        ("new@", "This is no email address."),
        (member.email, "This user is a member already."),
        ("new@example.com", ""),
    ):
        await part.get_by_label("Email").fill(email)
        await part.get_by_role("button", name="Invite").click()
        await expect(part.locator(".failure")).to_have_text([said] if said else [])
    row = part.get_by_role("row").filter(has_text="new@example.com")
    await row.get_by_role("button", name="Withdraw").click()
    await expect(row).to_have_count(0)


async def test_retention_is_previewed_and_workflows_are_drawn(dashboard: Dashboard) -> None:
    member = await dashboard.sign_in(view="#/settings/workspace")
    page = member.page
    await page.get_by_label("Audit events").fill("30")
    await page.get_by_role("button", name="Preview").click()
    await expect(page.get_by_text("Nothing would be deleted now.")).to_be_visible()
    await member.open("#/settings/workflows")
    for step in (("", "asked"), ("asked", "answered")):
        await _add_transition(page, *step)
    graph = page.get_by_role("group", name="Steps of own").get_by_role("img")
    await expect(graph).to_have_accessible_name("start → asked, asked → answered")
    await expect(graph.locator("text")).to_have_text(["asked", "answered"])


async def _add_transition(page: Page, from_step: str, to_step: str) -> None:
    form: Locator = page.get_by_role("form", name="Add a transition")
    await form.get_by_label("Workflow").fill("own")
    await form.get_by_label("From step").fill(from_step)
    await form.get_by_label("To step").fill(to_step)
    await form.get_by_role("button", name="Create").click()
    await expect(page.get_by_role("img", name=f"→ {to_step}")).to_be_visible()
