"""The contacts of the members' page: creating, merging, erasing and importing."""

import asyncio
import csv
import io
import json
import zipfile
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from tests.e2e.conftest import Faults
from tests.e2e.dashboards import Dashboard
from tests.e2e.histories import add_contact, chat
from tests.e2e.test_dashboard_sessions import rows, search

CSV = (
    "\ufeffE-Mail;Full name;Segments;Shoe size\r\nann@people.test;Ann Lee;vip,new;39\r\n;Nameless;;\r\n"
    "wang@people.test;王 小明;;41\r\n"
)
LINES = (
    '{"contact": {"external_id": "1", "first_name": "Leila", "identities": ["email:leila@people.test"]}}\n'
    '{"conversation": {"external_id": "2", "contact": "1", "persona": "Old desk", "messages":'
    ' [{"role": "contact", "text": "Hello", "created_at": "2024-03-01T10:00:00Z"}]}}\n'
    "nonsense\n"
)


async def test_a_contact_is_created_found_by_any_script_and_edited(dashboard: Dashboard, faults: Faults) -> None:
    faults.forgive = ("409 (Conflict)",)
    await add_contact(dashboard, "ليلى", "حسن", "leila@people.test")
    await add_contact(dashboard, "小明", "王", "wang@people.test")
    member = await dashboard.sign_in(view="#/contacts")
    page = member.page
    for text, email in (("ليل", "leila@people.test"), ("小明", "wang@people.test")):
        await search(member, text)
        await expect(rows(page).locator(".of-email")).to_have_text([email])
    await page.get_by_role("button", name="Clear filters").click()
    await expect(rows(page)).to_have_count(2)
    await page.get_by_role("button", name="New contact").click()
    await member.check_axe("create")
    await page.get_by_label("First name").fill("Ann")
    await page.get_by_label("Emails and numbers").fill("wang@people.test")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("dialog").get_by_role("alert")).to_be_visible()
    await page.get_by_label("Emails and numbers").fill("ann@people.test\nwhatsapp:+49 151 1234567")
    await page.get_by_label("Attributes").fill("plan: pro")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Ann")
    await expect(page.get_by_text("WhatsApp")).not_to_have_count(0)
    await page.get_by_role("button", name="Edit", exact=True).click()
    await page.get_by_label("Last name").fill("Lee")
    await page.get_by_label("Attributes").fill("seats: 2")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Ann Lee")
    await expect(page.locator(".facts dt")).to_contain_text(["seats"])
    await expect(page.locator(".facts")).not_to_contain_text("plan")
    edit = page.get_by_role("button", name="Edit", exact=True)
    for key in ("Escape", "Enter"):
        await edit.press("Enter")
        await page.get_by_role("button", name="Cancel").focus()
        await page.keyboard.press(key)
        await expect(page.get_by_role("dialog")).to_have_count(0)
        await expect(edit).to_be_focused()
    await member.check_axe("contact")


async def test_a_merge_is_reviewed_made_and_undone(dashboard: Dashboard) -> None:
    told = await chat(dashboard, "ann@people.test", "Hello")
    other = await add_contact(dashboard, "Ann", "Lee", "lee@people.test")
    database = dashboard.workspace.database
    named = "update public.contacts set first_name = 'Anna', attributes = '{\"plan\": \"pro\"}' where id = $1"
    await database.execute(named, told["contact_id"])
    await database.execute('update public.contacts set attributes = \'{"plan": "free"}\' where id = $1', other)
    member = await dashboard.sign_in(view=f"#/contacts/{told['contact_id']}")
    page = member.page
    await page.get_by_role("button", name="Merge …").click()
    dialog = page.get_by_role("dialog", name="Merge contacts")
    await dialog.get_by_role("searchbox").fill("Lee")
    await dialog.get_by_role("button", name="lee@people.test").click()
    await expect(dialog.get_by_text("Sessions: 1")).to_be_visible()
    for collision in ("Two names: Ann Lee stays, Anna does not.", "Attributes with two values: plan"):
        await expect(dialog.get_by_text(collision)).to_be_visible()
    await member.check_axe("merge")
    await dialog.get_by_role("button", name="Merge", exact=True).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Ann Lee")
    await expect(page.get_by_role("link", name="All sessions (1)")).to_be_visible()
    await page.get_by_role("button", name="Undo the merge").click()
    await expect(page.get_by_role("link", name="All sessions (1)")).to_have_count(0)
    await member.open(f"#/contacts/{told['contact_id']}")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Anna")
    await expect(page.locator(".facts")).to_contain_text("pro")


async def test_a_conflict_is_merged_undone_and_dismissed(dashboard: Dashboard) -> None:
    one = await add_contact(dashboard, "Ann", "Lee", "ann@people.test")
    other = await add_contact(dashboard, "Anna", "Lee", "anna@people.test")
    await dashboard.workspace.database.execute("select private.open_conflict($1, $2, 'resolve')", one, other)
    member = await dashboard.sign_in(view="#/contacts/conflicts")
    await expect(member.page.get_by_role("link", name="Anna Lee")).to_be_visible()
    await member.check_axe("conflicts")
    page = member.page
    await page.get_by_role("button", name="Review the merge").click()
    dialog = page.get_by_role("dialog", name="Merge contacts")
    await dialog.get_by_role("button", name="Swap").click()
    await dialog.get_by_role("button", name="Merge", exact=True).click()
    await expect(page.get_by_text("No conflict.")).to_be_visible()
    await page.get_by_role("button", name="Undo", exact=True).click()
    await expect(page.get_by_text("The merge is undone.")).to_be_visible()
    await page.get_by_role("button", name="Dismiss").click()
    await expect(page.get_by_text("No conflict.")).to_be_visible()
    await page.get_by_label("Status").select_option("dismissed")
    await expect(page.get_by_role("link", name="Anna Lee")).to_be_visible()


async def test_a_contact_is_exported_signed_out_and_a_memory_of_it_forgotten(dashboard: Dashboard) -> None:
    told = await chat(dashboard, "ann@people.test", "Hello")
    contact, database = told["contact_id"], dashboard.workspace.database
    await database.execute(
        "insert into public.memories (workspace_id, contact_id, kind, content, duplicate_key)"
        " select $1, $2, 'fact', text, gen_random_uuid() from unnest(array['Likes tea.', 'Likes jam.']) text",
        dashboard.workspace.id,
        contact,
    )
    await add_contact(dashboard, "=SUM(1)", "Lee", "lee@people.test")
    member = await dashboard.sign_in(view=f"#/contacts/{contact}")
    page = member.page
    memory = page.get_by_role("listitem").filter(has_text="Likes tea.")
    await memory.get_by_role("button", name="Forget").click()
    await page.get_by_role("dialog").get_by_role("button", name="Forget").click()
    await expect(memory).to_have_count(0)
    await page.get_by_role("button", name="Sign out everywhere").click()
    await page.get_by_role("dialog").get_by_role("button", name="Sign out everywhere").click()
    await expect(page.get_by_text("The contact was signed out.")).to_be_visible()
    cut_off = "select tokens_revoked_at is not null from public.contacts where id = $1"
    assert await database.fetchval(cut_off, contact)
    package = zipfile.ZipFile(io.BytesIO(await downloaded(page, "Export")))
    files = {file["name"] for file in json.loads(package.read("manifest.json"))["files"]}
    assert files | {"manifest.json"} == set(package.namelist())
    said = package.read("memories.jsonl").decode()
    assert ("Likes jam." in said, "Likes tea." in said) == (True, False)
    for view, column, values in (
        ("contacts", "email", ["lee@people.test", "ann@people.test"]),
        ("sessions", "status", ["active"]),
    ):
        await member.open(f"#/{view}")
        text = (await downloaded(page, "Export as CSV")).decode("utf-8-sig")
        assert [row[column] for row in csv.DictReader(io.StringIO(text))] == values
        assert ",=SUM" not in text


async def downloaded(page: Page, button: str) -> bytes:
    """What a button has the browser store."""
    async with page.expect_download(timeout=60_000) as told:
        await page.get_by_role("button", name=button, exact=True).click()
    path = await (await told.value).path()
    return await asyncio.to_thread(path.read_bytes)


async def test_erasing_asks_for_the_name_and_shows_the_receipt(dashboard: Dashboard) -> None:
    told = await chat(dashboard, "ann@people.test", "Hello")
    member = await dashboard.sign_in(view=f"#/contacts/{told['contact_id']}")
    page = member.page
    await page.get_by_role("button", name="Erase …").click()
    dialog = page.get_by_role("dialog", name="Erase ann@people.test")
    run = dialog.get_by_role("button", name="Erase for good")
    await dialog.get_by_role("textbox").fill("ann@people.tes")
    await expect(run).to_be_disabled()
    await dialog.get_by_role("textbox").fill("ann@people.test")
    await member.check_axe("erase")
    await run.click()
    await expect(dialog.get_by_text("All of it is erased.")).to_be_visible()
    await expect(dialog.get_by_role("row", name="messages")).to_contain_text("2")
    await dialog.get_by_role("button", name="Check again").click()
    await expect(dialog.get_by_text("Nothing is left.")).to_be_visible()
    await member.check_axe("receipt")
    await dialog.locator("footer").get_by_role("button", name="Close").click()
    await expect(page.get_by_text("No contact yet.")).to_be_visible()
    await page.get_by_role("link", name="Erasures").click()
    await expect(page.locator("summary")).to_contain_text(member.email)


async def test_an_import_says_what_it_leaves_out(dashboard: Dashboard) -> None:
    page = (await dashboard.sign_in(view="#/contacts")).page
    await page.get_by_role("button", name="Import").click()
    dialog = page.get_by_role("dialog", name="Import contacts")
    file: Any = {"name": "x.csv", "mimeType": "text/plain", "buffer": b"First name,Email\nAnn,not-an-email\n"}
    await dialog.get_by_label("File").set_input_files(file)
    await dialog.get_by_role("button", name="Dry run").click()
    await expect(dialog.locator(".outcome tbody tr")).to_contain_text("Left out, as it does not fit: Email")
    await expect(dialog.get_by_text("new: 1")).to_be_visible()


@pytest.mark.parametrize(
    ("name", "text", "refused", "names"),
    [
        ("people.csv", CSV, ("3", "neither an id nor an identity"), ["Ann Lee", "王 小明"]),
        ("desk.jsonl", LINES, ("3", "no JSON object"), ["Leila"]),
    ],
)
async def test_an_import_is_tried_refuses_a_row_and_runs(
    dashboard: Dashboard, name: str, text: str, refused: tuple[str, str], names: list[str]
) -> None:
    member = await dashboard.sign_in(view="#/contacts")
    page = member.page
    await page.get_by_role("button", name="Import").click()
    dialog = page.get_by_role("dialog", name="Import contacts")
    file: Any = {"name": name, "mimeType": "text/plain", "buffer": text.encode()}
    await dialog.get_by_label("File").set_input_files(file)
    if name.endswith(".csv"):
        await expect(dialog.get_by_label("Field of E-Mail")).to_have_value("email")
        await dialog.get_by_label("Field of Shoe size").select_option("-")
    await member.check_axe("mapping")
    await expect(dialog.get_by_role("button", name="Import now")).to_be_disabled()
    await dialog.get_by_role("button", name="Dry run").click()
    await expect(dialog.get_by_text("new: 2 · refused: 1")).to_be_visible()
    line = dialog.locator(".outcome tbody tr")
    await expect(line).to_contain_text([refused[0]])
    await expect(line).to_contain_text([refused[1]])
    assert await dashboard.workspace.database.fetchval(
        "select count(*) = 0 from public.contacts where workspace_id = $1", dashboard.workspace.id
    )

    async def hold(route: Route) -> None:
        await expect(dialog.get_by_role("progressbar")).to_be_visible()
        await member.check_axe("importing")
        await route.continue_()

    await page.route("**/imports", hold)
    await dialog.get_by_role("button", name="Import now").click()
    await expect(dialog.get_by_text("Imported: new: 2 · refused: 1")).to_be_visible()
    await dialog.locator("footer").get_by_role("button", name="Close").click()
    await expect(rows(page)).to_have_count(len(names))
    assert sorted(await rows(page).get_by_role("link").all_inner_texts()) == names
    attributes = "select count(*) from public.contacts where workspace_id = $1 and attributes <> '{}'"
    assert await dashboard.workspace.database.fetchval(attributes, dashboard.workspace.id) == 0
