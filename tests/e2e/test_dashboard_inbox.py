"""The inbox of the members' page: what a visitor and a member write to each other, what stays, and who sees what."""

import re
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import asyncpg
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, Route, expect

from tests.e2e.chats import Chat, stored
from tests.e2e.conftest import Faults
from tests.e2e.dashboards import Dashboard
from tests.e2e.shops import Shop
from tests.functions.conftest import Visitor, add_model
from tests.functions.people import Person, sign_up
from tests.functions.test_archive import grow_old
from tests.functions.test_devices import heard
from tests.standins.openai import OpenAI


@pytest_asyncio.fixture
async def desk(shop: Shop, browser: Browser, faults: Faults) -> AsyncIterator[Dashboard]:
    """The members' page of the shop, in a browser of its own."""
    context = await browser.new_context()
    context.on("page", faults.watch)
    yield Dashboard(shop.stack, shop.workspace, context)
    await context.close()


@pytest_asyncio.fixture
async def owner(dashboard: Dashboard) -> AsyncIterator[Person]:
    """The workspace's owner, who uses the routes."""
    async with aiohttp.ClientSession(dashboard.stack.api_url) as client:
        yield await sign_up(client, dashboard.workspace, dashboard.stack, "owner")


async def opened(owner: Person, dashboard: Dashboard, text: str = "Hello", **fields: Any) -> dict[str, Any]:
    """The ids of a session in which a visitor has written."""
    visitor = Visitor(owner.client, dashboard.workspace.space_id)
    return (await visitor.say(text, **fields))[0].data


def messages(page: Page, role: str) -> Locator:
    """The whole messages of the open conversation."""
    return page.get_by_role("log").locator(f".message.{role}:not(.draft, .sending)")


def items(page: Page) -> Locator:
    """The conversations of the list."""
    return page.get_by_role("grid", name="Conversations").get_by_role("link")


async def answer(page: Page, text: str) -> None:
    """Type an answer and send it by the keyboard."""
    await page.get_by_label("Your answer").fill(text)
    await page.get_by_label("Your answer").press("Control+Enter")


async def test_a_visitor_and_a_member_talk_until_the_persona_answers_again(shop: Shop, desk: Dashboard) -> None:
    member = await desk.sign_in(view="?tab=unassigned#/inbox")
    page = member.page
    await expect(page.get_by_text("Every conversation is assigned.")).to_be_visible()
    chat: Chat = await shop.chat(await shop.site())
    await chat.say("Hello")
    await chat.answered()
    await expect(items(page)).to_have_count(1)
    await page.keyboard.press("j")
    await expect(page.get_by_role("row", selected=True)).to_be_visible()
    await page.keyboard.press("Enter")
    await expect(messages(page, "persona")).to_have_count(1)

    await page.get_by_role("button", name="Take over", exact=True).click()
    await expect(page.get_by_role("button", name="Hand back")).to_be_visible()
    await answer(page, "**Ana** here")
    await expect(messages(page, "member").locator("strong")).to_have_text([member.email, "Ana"])
    await expect(chat.page.get_by_role("log").locator(".member")).to_contain_text("Ana here")
    await chat.say("Thanks, and the price?")
    await expect(messages(page, "contact")).to_have_count(2)
    await expect(items(page).first).to_contain_text("and the price?")

    await page.get_by_role("button", name="Hand back").click()
    await expect(page.get_by_text("until you take over")).to_be_visible()
    await chat.say("And you, machine?")
    await chat.answered(2)
    await expect(messages(page, "persona")).to_have_count(2)
    await page.reload()
    await expect(messages(page, "member").locator("header strong")).to_have_text([member.email])


async def test_an_answer_is_shown_as_it_is_written_and_a_member_stops_it(
    shop: Shop, held: OpenAI, desk: Dashboard
) -> None:
    page = (await desk.sign_in(view="#/inbox")).page
    chat = await shop.chat(await shop.site())
    await chat.say("Tell me everything")
    await items(page).click()
    await expect(page.locator(".draft")).to_contain_text("You wrote:")
    await page.get_by_role("button", name="Stop the answer").click()
    await expect(messages(page, "persona")).to_contain_text("The answer was cut off here.")
    await expect(page.locator(".draft")).to_have_count(0)
    assert await chat.answered() == "You wrote:"


async def test_a_refused_answer_is_undone_and_its_text_survives_a_reload(
    dashboard: Dashboard, owner: Person, database: asyncpg.Connection, faults: Faults
) -> None:
    faults.forgive = ("net::ERR", "Failed to load")
    session = (await opened(owner, dashboard))["session_id"]
    page = (await dashboard.sign_in(view=f"#/inbox/{session}")).page
    await page.get_by_role("button", name="Take over", exact=True).click()
    await expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible()
    field, path = page.get_by_label("Your answer"), "**/chat-sessions/*/messages"

    async def lose_request(route: Route) -> None:
        await route.abort()

    async def lose_response(route: Route) -> None:
        await route.fetch()
        await route.abort()

    for number, lose in enumerate((lose_request, lose_response), start=1):
        text = f"Answer {number}"
        # The stream is lost too, so that the page cannot know that the message has arrived.
        await page.route("**/stream*", lose_request)
        await page.reload()
        await page.route(path, lose)
        await answer(page, text)
        await expect(page.get_by_role("alert").filter(has_text="was not sent")).to_be_visible()
        await expect(field).to_have_value(text)
        await expect(page.locator(".message.member")).to_have_count(number - 1)
        await page.unroute("**/stream*")
        await page.unroute(path)
        if lose is lose_request:
            await page.reload()
            await expect(field).to_have_value(text)
        await field.press("Control+Enter")
        await expect(messages(page, "member")).to_have_count(number)
        await expect(field).to_have_value("")
        await expect(page.locator(".sending")).to_have_count(0)
        assert await stored(database, dashboard.workspace, "member") == ["Answer 1", "Answer 2"][:number]
    await page.reload()
    await expect(messages(page, "member")).to_have_count(2)
    await expect(field).to_have_value("")
    # What was under way comes back before what was typed since, and what is then removed stays away.
    await page.route(path, lambda _: None)
    for text in ("One", "Two"):
        await answer(page, text)
    await field.fill("Three")
    for value in ("One\n\nTwo\n\nThree", ""):
        await page.reload()
        await expect(field).to_have_value(value)
        await field.fill("")


async def test_a_failed_answer_is_explained(shop: Shop, held: OpenAI, desk: Dashboard) -> None:
    shop.workspace.persona_id = await add_model(shop.workspace, held.url("no-such-model"))
    page = (await desk.sign_in(view="#/inbox")).page
    chat = await shop.chat(await shop.site())
    await chat.say("Hello")
    await items(page).click()
    await expect(page.get_by_text("server refuses our calls: check its address and secret")).to_be_visible()


async def test_older_messages_are_loaded_on_scrolling_up_and_deliveries_followed(
    dashboard: Dashboard, owner: Person, database: asyncpg.Connection
) -> None:
    ids = await opened(owner, dashboard, "The first")
    for table, column in (("conversations", "id"), ("sessions", "conversation_id")):
        move = f"update public.{table} set channel = 'whatsapp' where {column} = $1"
        await database.execute(move, ids["conversation_id"])
    for role, column, author, count in (
        ("contact", "contact_id", ids["contact_id"], 60),
        ("member", "user_id", owner.id, 1),
    ):
        # The pause makes the order of the ids that of the times.
        await database.execute(
            f"insert into public.messages (workspace_id, conversation_id, session_id, role, {column}, text)"
            " select $1, $2, $3, $4::public.message_role, $5, 'Text ' || place from generate_series(1, $6::int) place"
            " where pg_sleep(0.002) is not null",
            *(dashboard.workspace.id, ids["conversation_id"], ids["session_id"], role, author, count),
        )
    await database.execute(
        "insert into public.message_deliveries (message_id, part, workspace_id, conversation_id, status)"
        " select id, 0, workspace_id, conversation_id, 'sent' from public.messages"
        " where conversation_id = $1 and role = 'member'",
        ids["conversation_id"],
    )
    page = (await dashboard.sign_in(view=f"#/inbox/{ids['session_id']}")).page
    log = page.get_by_role("log")
    await expect(log.locator(".delivery")).to_have_text("sent")
    await expect(log.get_by_text("Text 60")).to_be_in_viewport()
    assert await log.get_by_text("The first", exact=True).count() == 0
    # The conversation is drawn again before the scrolling's event, as it may be on a slow machine.
    await log.evaluate("log => { log.scrollTop = 0; document.querySelector('.about').click(); }")
    await expect(log.get_by_text("The first", exact=True)).to_have_count(1)
    assert await log.evaluate("log => log.scrollTop") > 0, "what was read stays in its place"
    assert await messages(page, "contact").count() == 61
    await database.execute(
        "update public.message_deliveries set status = 'read' where conversation_id = $1", ids["conversation_id"]
    )
    await expect(log.locator(".delivery")).to_have_text("read", timeout=30_000)
    author = log.locator(".member header strong")
    await expect(author).to_have_text(owner.email)
    # The page knows who has left: at the latest when it is loaded again.
    await database.execute("delete from public.workspace_members where user_id = $1", owner.id)
    await page.reload()
    await expect(author).to_have_text("Former member")


async def test_an_agent_sees_what_is_assigned_to_them(dashboard: Dashboard, owner: Person, faults: Faults) -> None:
    faults.forgive = ("404",)
    hidden = (await opened(owner, dashboard, email="hidden@example.com"))["session_id"]
    mine = (await opened(owner, dashboard, email="mine@example.com"))["session_id"]
    agent = await dashboard.sign_in("agent", view="#/inbox")
    await expect(agent.page.get_by_text("No conversation is open.")).to_be_visible()
    await owner.done("PATCH", f"/chat-sessions/{mine}/assign", {"user_id": str(agent.user_id)})
    await expect(items(agent.page)).to_have_count(1)
    await expect(items(agent.page)).to_contain_text("mine@example.com")
    await items(agent.page).click()
    await expect(messages(agent.page, "contact")).to_have_count(1)
    await expect(agent.page.get_by_label("Assigned to")).to_have_count(0)
    await owner.done("PATCH", f"/chat-sessions/{mine}/assign", {"user_id": None})
    await expect(agent.page.get_by_role("alert").filter(has_text="you may not see it")).to_be_visible()
    await expect(items(agent.page)).to_have_count(0)
    await agent.open(f"#/inbox/{hidden}")
    await expect(agent.page.get_by_role("alert")).to_have_text(
        "This session does not exist, or you may not see it. Try again"
    )


async def test_two_members_see_each_other(dashboard: Dashboard, owner: Person, browser: Browser) -> None:
    view = f"#/inbox/{(await opened(owner, dashboard))['session_id']}"
    first = await dashboard.sign_in(view=view)
    context = await browser.new_context()
    second = await dashboard.sign_in("admin", view=view, context=context)
    for here, other in ((first, second), (second, first)):
        await expect(here.page.get_by_text(f"{other.email} is here too.")).to_be_visible()
    await second.page.get_by_label("Your answer").press_sequentially("I think")
    await expect(first.page.get_by_text(f"{second.email} is typing")).to_be_visible()
    await second.page.get_by_role("button", name="Take over", exact=True).click()
    await expect(first.page.get_by_text(f"{second.email} answers in this conversation.")).to_be_visible()
    await second.page.get_by_role("link", name="Sessions").click()
    await expect(first.page.get_by_text(f"{second.email} is here too.")).to_have_count(0)
    await context.close()


async def test_lists_learn_what_others_change_and_other_tabs_read(
    dashboard: Dashboard, owner: Person, browser: Browser
) -> None:
    told = await opened(owner, dashboard, email="ann@example.com")
    inbox = await dashboard.sign_in(view="?tab=unread#/inbox")
    context = await browser.new_context()
    sessions = (await dashboard.sign_in("admin", "#/sessions", context)).page
    tab = await inbox.page.context.new_page()
    await expect(items(inbox.page).first).to_contain_text("ann@example.com")
    await tab.goto(f"{dashboard.url}#/inbox/{told['session_id']}")
    beside = tab.get_by_role("complementary", name="Contact")
    await expect(beside.get_by_text("ann@example.com").first).to_be_visible()
    await expect(items(inbox.page)).to_have_count(0)
    await owner.done("PATCH", f"/contacts/{told['contact_id']}", {"first_name": "Ann", "last_name": "Lee"})
    await owner.done("PUT", f"/chat-sessions/{told['session_id']}/tags", {"tags": ["vip"]})
    for place in (items(tab), tab.get_by_role("heading", level=2), beside, sessions.get_by_role("rowgroup")):
        await expect(place.get_by_text("Ann Lee").first).to_be_visible()
    await expect(sessions.locator(".tag")).to_have_text(["vip"])
    await context.close()


async def test_what_is_read_leaves_the_unread_ones(dashboard: Dashboard, owner: Person) -> None:
    for name in ("a", "b"):
        await opened(owner, dashboard, email=f"{name}@example.com")
    page = (await dashboard.sign_in(view="?tab=unread#/inbox")).page
    await expect(items(page)).to_have_count(2)
    for name in ("a", "b"):
        await items(page).filter(has_text=f"{name}@example.com").click()
        await expect(items(page).filter(has_text=f"{name}@example.com").locator(".dot")).to_have_count(0)
    await expect(items(page)).to_have_count(1)
    await page.reload()
    await expect(page.get_by_text("You have read everything.")).to_be_visible()


async def test_beside_the_conversation_is_what_is_known_of_the_contact(dashboard: Dashboard, owner: Person) -> None:
    first = await opened(owner, dashboard, email="ann@example.com")
    contact, session = first["contact_id"], first["session_id"]
    await dashboard.workspace.database.execute(
        "update public.contacts set first_name = 'Ann', last_name = 'Lee' where id = $1", contact
    )
    earlier = await owner.done(
        "POST",
        "/chat-sessions",
        {"contact_id": contact, "thread_key": "earlier", "persona_id": str(dashboard.workspace.persona_id)},
    )
    await owner.done("PATCH", f"/chat-sessions/{earlier['session_id']}/complete")
    await dashboard.workspace.database.execute(
        "update public.sessions set status_before_archive = status, status = 'archived', archived_at = now()"
        " where id = $1",
        earlier["session_id"],
    )
    await owner.done("POST", "/memories", {"contact_id": contact, "memories": [{"content": "Prefers window seats."}]})
    await owner.done("PUT", f"/contacts/{contact}/tags/vip")
    trip = {"origin": "LSZH", "destination": "EGGW", "passengers": 4}
    await owner.done("PUT", f"/chat-sessions/{session}/request", trip)
    price = {"amount": 12000, "currency": "EUR"}
    await owner.done("PUT", f"/chat-sessions/{session}/quotes/Acme", {"status": "received", **price})
    await owner.done("PUT", f"/chat-sessions/{session}/proposal", {"status": "draft", "title": "To Luton", **price})

    page = (await dashboard.sign_in(view=f"#/inbox/{session}")).page
    beside = page.get_by_role("complementary", name="Contact")
    await beside.get_by_role("button", name="Show more").click()
    for text in (
        *("Ann Lee", "ann@example.com", "not proven", "vip", "Prefers window seats.", "LSZH → EGGW", "4 passengers"),
        *("Acme", "€12,000.00", "To Luton", "Contact created", "Quote received", "archived"),
    ):
        await expect(beside.get_by_text(text).first).to_be_visible()
    await beside.get_by_role("link", name="Website").click()
    await expect(page.get_by_text("This session has ended.")).to_be_visible()


async def test_a_session_is_assigned_tagged_and_its_device_linked(
    dashboard: Dashboard, owner: Person, faults: Faults
) -> None:
    faults.forgive = ("404 (Not Found)",)
    device = await heard(dashboard.workspace, str(uuid4()), uuid4().hex)
    member = await dashboard.sign_in(view="#/inbox")
    page = member.page
    await items(page).click()
    await page.get_by_label("Assigned to").select_option(member.email)
    session = page.get_by_role("group", name="Tags of the session")
    contact = page.get_by_role("group", name="Tags of the contact")
    for tags in (session, contact):
        for tag in ("Urgent", "vip/1"):
            await tags.get_by_label("Add a tag").fill(tag)
            await tags.get_by_label("Add a tag").press("Enter")
            await expect(tags.get_by_role("button", name=f"Remove the tag {tag.lower()}")).to_be_visible()
        async with page.expect_response(lambda response: response.request.method == "DELETE"):
            await tags.get_by_role("button", name="Remove the tag urgent").click()
        await expect(tags.locator(".tag")).to_have_text(["vip/1"])
    await page.get_by_role("button", name="Link a device").click()
    dialog = page.get_by_role("dialog", name="Link a device")
    user = dialog.get_by_label("What this device hears belongs to")
    await user.select_option(owner.email)
    await dialog.get_by_role("button", name="New claim code").click()
    code = await dialog.locator("code").text_content()
    assert code
    claim = dialog.get_by_label("Claim code of a device")
    for typed, told in (("AAAA-BBBB", dialog.get_by_role("alert")), (code, page.get_by_text("is linked to you"))):
        await claim.fill(typed)
        await claim.press("Enter")
        await expect(told).to_be_visible()
    await page.reload()
    await expect(page.get_by_label("Assigned to")).to_have_value(str(member.user_id))
    await expect(session.locator(".tag")).to_have_text(["vip/1"])
    await expect(contact.locator(".tag")).to_have_text(["vip/1"])
    linked = await dashboard.workspace.row("select * from public.device_sessions where id = $1", device["id"])
    assert (linked["user_id"], linked["linked_with"]) == (member.user_id, "claim_code")


async def test_the_transcript_of_an_archived_conversation_is_read_and_restored(
    dashboard: Dashboard, owner: Person
) -> None:
    ids = await opened(owner, dashboard, "Once **upon** a time")
    session = UUID(ids["session_id"])
    await owner.done("POST", f"/chat-sessions/{session}/takeover")
    await owner.done("POST", f"/chat-sessions/{session}/messages", {"text": "The end."})
    drop = "update public.workspaces set archive_retention = 'drop' where id = $1"
    await dashboard.workspace.database.execute(drop, dashboard.workspace.id)
    await grow_old(dashboard.workspace, session)
    headers = {"Authorization": f"Bearer {dashboard.stack.cron_secret}"}
    async with owner.client.post("/archive", json={}, headers=headers) as response:
        assert response.status == 200
    member = await dashboard.sign_in(view=f"#/inbox/{session}")
    page = member.page
    await expect(messages(page, "contact").locator("strong")).to_have_text([re.compile("."), "upon"])
    await expect(messages(page, "member").locator("header strong")).to_have_text(owner.email)
    await expect(page.get_by_text("This session has ended.")).to_be_visible()
    await expect(page.get_by_role("alert")).to_have_count(0)
    await member.open(f"#/sessions/{session}")
    transcript = page.get_by_role("region", name="Transcript")
    await expect(transcript.get_by_text("From the archive.")).to_be_visible()
    await expect(transcript.locator("li")).to_have_count(3)
    await expect(transcript.locator("li.member")).to_contain_text(owner.email)
    await page.get_by_role("button", name="Restore from the archive").click()
    await expect(transcript.get_by_text("From the archive.")).to_have_count(0)
    await expect(transcript.locator("li")).to_have_count(3)


async def test_a_message_of_the_other_direction_is_cut_at_its_end(dashboard: Dashboard, owner: Person) -> None:
    session = (await opened(owner, dashboard))["session_id"]
    await owner.done("POST", f"/chat-sessions/{session}/takeover")
    await owner.done("POST", f"/chat-sessions/{session}/messages", {"text": "مرحبا بكم " * 20})
    rename = "update public.contacts set first_name = $2 where workspace_id = $1"
    await dashboard.workspace.database.execute(rename, dashboard.workspace.id, "مرحبا بكم " * 9)
    member = await dashboard.sign_in()
    await member.page.set_viewport_size({"width": 390, "height": 800})
    for view, text in (("inbox", ".excerpt bdi"), ("inbox", ".line strong"), ("sessions", ".of-contact a")):
        await member.open(f"#/{view}")
        found = member.page.locator(text)
        await expect(found).to_contain_text("مرحبا")
        first, end = await found.evaluate(
            "(box) => { const range = new Range(); range.setStart(box.firstChild, 0); range.setEnd(box.firstChild, 1);"
            " return [range.getBoundingClientRect().right, box.closest('.row').getBoundingClientRect().right]; }"
        )
        assert first <= end


async def test_axe_finds_nothing_in_an_open_conversation(dashboard: Dashboard, owner: Person) -> None:
    session = (await opened(owner, dashboard, "# Hello\n\n- `one`", email="ann@example.com"))["session_id"]
    workspace = dashboard.workspace.id
    template = {"name": "Greeting", "shortcut": "hi", "text": "Good day."}
    await owner.done("POST", f"/workspaces/{workspace}/answer-templates", template)
    await owner.done("PUT", f"/chat-sessions/{session}/tags/urgent")
    member = await dashboard.sign_in(view=f"#/inbox/{session}")
    page, field = member.page, member.page.get_by_label("Your answer")
    await field.press("/")
    await page.get_by_label("Shortcut, name or text").fill("hi")
    await expect(page.get_by_role("button", name="Greeting")).to_be_visible()
    await member.check_axe("templates")
    await page.keyboard.press("Enter")
    await expect(field).to_have_value("Good day.")
    await field.press("Control+Enter")
    await expect(messages(page, "member")).to_contain_text("Good day.")
    await member.check_axe("conversation")
    await page.set_viewport_size({"width": 390, "height": 800})
    await page.get_by_role("button", name="Contact", exact=True).click()
    await expect(page.get_by_role("complementary", name="Contact").get_by_text("ann@example.com").first).to_be_visible()
    await member.check_axe("phone")
    await page.get_by_role("button", name="Close").click()
    await page.get_by_role("link", name="Back").click()
    await expect(items(page)).to_have_count(1)
    await member.check_axe("list")
