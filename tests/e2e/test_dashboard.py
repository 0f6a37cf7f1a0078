"""The frame of the members' page: sign-in, roles, languages, and what it weighs."""

import gzip
import json
import re
import subprocess
from typing import Any

from playwright.async_api import Browser, expect

from deploy import dashboard as files
from local.paths import REPOSITORY
from tests.e2e.conftest import Faults
from tests.e2e.dashboards import PASSWORD, Dashboard

LANGUAGES = ("ar", "de", "en", "es", "fr", "pt", "tr")
VIEWS = ("inbox", "sessions", "contacts", "analytics", "operations", "settings")
SAME_WORDS = re.compile(
    r"^(Inbox|Contacts?|Sessions?|Personas?|Status|Agent|agent|admin|Name|CSV|Chat|Code|Webhooks?|Jobs?|\W*|[A-Z]{2,5}|p\d\d)$"
)
"""Words that another language may share with English."""


async def test_a_member_signs_in_sees_the_views_of_the_role_and_signs_out(dashboard: Dashboard, faults: Faults) -> None:
    faults.forgive = ("400 (Bad Request)",)
    agent = await dashboard.sign_in("agent")
    tabs = agent.page.get_by_role("navigation", name="Views").get_by_role("link")
    await expect(tabs).to_have_text(["Inbox", "Sessions", "Contacts", "Analytics", "Settings"])
    await expect(agent.page).to_have_title("Inbox · Switchboard")
    await agent.page.reload()
    await expect(tabs).to_have_count(5)
    await agent.page.get_by_role("button", name="Sign out").click()
    await agent.page.get_by_label("Email").fill(agent.email)
    await agent.page.get_by_label("Password").fill("wrong")
    await agent.page.get_by_role("button", name="Sign in").click()
    await expect(agent.page.get_by_role("alert")).to_have_text("Email or password is wrong.")
    kept = await agent.page.evaluate("Object.keys(localStorage)")
    assert kept == ["switchboard:workspace"]


async def test_an_expired_session_asks_to_sign_in_and_an_outage_of_auth_does_not(
    dashboard: Dashboard, faults: Faults
) -> None:
    faults.forgive = ("400 (Bad Request)", "401 (Unauthorized)", "net::ERR", "Failed to fetch")
    member = await dashboard.sign_in(view="#/settings/personas/new")
    page, name = member.page, member.page.get_by_label("Name", exact=True)
    expire = """changes => { for (const key of Object.keys(localStorage)) if (key.endsWith("-auth-token"))
        localStorage[key] = JSON.stringify({...JSON.parse(localStorage[key]), expires_at: 1, ...changes}); }"""
    await name.fill("Ana")
    await page.evaluate(expire, {"refresh_token": "unknown"})
    await page.get_by_role("button", name="Create").click()
    await page.get_by_label("Email").fill(member.email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await expect(name).to_have_value("Ana")
    await page.route("**/auth/v1/**", lambda route: route.abort())
    await page.evaluate(expire, {})
    await page.get_by_role("button", name="Create").click()
    # The client itself tries for half a minute.
    await expect(page.get_by_text("The server cannot be reached.")).to_be_visible(timeout=60_000)
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_text("You are still signed in")).to_be_visible(timeout=60_000)
    await expect(name).to_have_value("Ana")


async def test_a_view_whose_code_did_not_come_is_loaded_on_request(dashboard: Dashboard, faults: Faults) -> None:
    faults.forgive = ("net::ERR",)
    page = (await dashboard.sign_in(view="#/sessions")).page
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sessions")
    await page.route("**/view-*.js", lambda route: route.abort())
    await page.get_by_role("link", name="Analytics").click()
    await expect(page.get_by_role("alert")).to_contain_text("The server cannot be reached.")
    await page.unroute("**/view-*.js")
    await page.get_by_role("button", name="Try again").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Analytics")


async def test_what_an_outage_kept_away_comes_by_itself(dashboard: Dashboard, faults: Faults) -> None:
    faults.forgive = ("net::ERR",)
    page = (await dashboard.sign_in()).page
    for path in ("**/chat-sessions?*", "**/workspaces?*", "**/members?*"):
        await page.route(path, lambda route: route.abort())
        await page.reload()
        await expect(page.get_by_text("The server cannot be reached.")).to_be_visible()
        await page.unroute(path)
        await expect(page.get_by_text("No conversation is open.")).to_be_visible()


async def test_a_user_without_a_workspace_joins_one_by_invitation(dashboard: Dashboard) -> None:
    member = await dashboard.sign_in(None)
    await expect(member.page.get_by_text("Ask an owner")).to_be_visible()
    invite = (
        "insert into public.invitations (workspace_id, workspace_name, email, email_key, role)"
        " values ($1, 'Test', $2, $2, 'admin')"
    )
    await dashboard.workspace.database.execute(invite, dashboard.workspace.id, member.email)
    # Among so many members that theirs is on another page of the list.
    await dashboard.workspace.database.execute(
        """
        with added as (
            insert into auth.users (id, email)
            select ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, 'other' || n || '@members.test'
              from generate_series(1, 250) n
            returning id
        )
        insert into public.workspace_members (workspace_id, user_id, role) select $1, id, 'agent' from added
        """,
        dashboard.workspace.id,
    )
    await member.page.reload()
    await member.page.get_by_role("button", name="Join").click()
    await expect(member.page.get_by_role("navigation", name="Views").get_by_role("link")).to_have_count(6)


async def test_axe_finds_nothing_in_any_view(dashboard: Dashboard) -> None:
    member = await dashboard.sign_in()
    for view in VIEWS:
        await member.open(f"#/{view}")
        await expect(member.page.get_by_role("heading", level=1)).to_be_visible()
        await member.check_axe(view)
    await member.page.keyboard.press("?")
    await expect(member.page.get_by_role("dialog", name="Keys")).to_be_visible()
    await member.check_axe("keys")
    await member.page.keyboard.press("Escape")
    await expect(member.page.get_by_role("dialog")).to_have_count(0)
    await member.page.keyboard.press("g")
    await member.page.keyboard.press("s")
    await expect(member.page.get_by_role("link", name="Sessions")).to_have_attribute("aria-current", "page")


async def test_it_speaks_the_browsers_language_in_its_direction(dashboard: Dashboard, browser: Browser) -> None:
    context = await browser.new_context(locale="ar-EG")
    page = await context.new_page()
    await page.goto(dashboard.url)
    await expect(page.locator("html[lang=ar-EG][dir=rtl]")).to_have_count(1)
    await context.close()


def test_every_language_has_every_word() -> None:
    script = "".join(f"import {name} from './web/dashboard/languages/{name}/index.js';" for name in LANGUAGES)
    script += f"console.log(JSON.stringify({{{','.join(LANGUAGES)}}}))"
    command = ["node", "--input-type=module", "--eval", script]
    words = json.loads(subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True).stdout)
    wrong = [
        (language, name)
        for language in LANGUAGES
        for name in words["en"] | words[language]
        if not _is_translated(words[language].get(name), words["en"].get(name), language)
    ]
    assert wrong == []


def _is_translated(said: Any, text: Any, language: str) -> bool:
    """Whether a language has a word with its values, and its own unless it may share it with English."""
    if isinstance(text, dict):
        return isinstance(said, dict) and "other" in said
    values = set(re.findall(r"\{\w+\}", text))
    return (
        isinstance(said, str)
        and values == set(re.findall(r"\{\w+\}", said))
        and (language == "en" or said != text or bool(SAME_WORDS.match(text)))
    )


def test_it_weighs_less_than_200_kb() -> None:
    """Everything that a reader of one language loads, compressed."""
    loaded = [path for name, path in files.files().items() if not re.match(r"(?!en)(ar|de|es|fr|pt|tr)-", name)]
    sizes = {path.name: len(gzip.compress(path.read_bytes())) for path in loaded}
    assert 50_000 < sum(sizes.values()) < 200_000, sizes
