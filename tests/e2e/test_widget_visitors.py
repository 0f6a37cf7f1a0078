"""The identity of a visitor of the embedded chat: in several tabs, known to the page, or becoming known."""

import hmac
import time

import asyncpg
import jwt
import pytest
from playwright.async_api import expect

from tests.e2e.chats import stored
from tests.e2e.shops import Shop
from tests.e2e.sites import Site, serving
from tests.standins.openai import OpenAI


async def test_two_tabs_show_one_conversation_and_one_takes_over_from_the_other(
    shop: Shop, held: OpenAI, database: asyncpg.Connection
) -> None:
    site = await shop.site()
    first = await shop.chat(site)
    second = await shop.chat(site)
    await held.release()
    await first.say("From the first tab")
    assert await second.answered() == await first.answered()
    await held.allow(2)
    await second.say("From the second tab")
    # The reading tab stores its text for the others, also when the answer pauses.
    for tab in (second, first):
        await tab.growing()
    await expect(first.button("Stop the answer")).to_be_visible()
    await second.page.close()
    await held.release()
    assert await first.answered(2) == "You wrote: From the second tab"
    kept = [message["text"] for message in (await first.kept())["messages"] if message["role"] == "persona"]
    assert kept == await stored(database, shop.workspace)
    assert await shop.turns() == ["completed", "completed"]


async def test_starting_over_in_one_tab_forgets_in_the_other(shop: Shop) -> None:
    site = await shop.site()
    first, second = await shop.chat(site), await shop.chat(site)
    await first.say("To be forgotten")
    await second.answered()
    await first.button("Start over").click()
    await first.button("Keep it").click()
    await expect(first.answers).to_have_count(1)
    await first.button("Start over").click()
    await first.button("Forget it").click()
    for chat in (first, second):
        await expect(chat.answers).to_have_count(0)
    assert await first.kept() == {}
    await second.say("Anew")
    await second.answered()
    await expect(first.answers).to_have_count(1)
    assert (await shop.workspace.counts())["conversations"] == 2


@pytest.mark.parametrize("proof", ["hmac", "token"])
async def test_a_visitor_known_to_the_page_continues_elsewhere_and_leaves_nothing_behind(
    shop: Shop, database: asyncpg.Connection, proof: str
) -> None:
    secret, email = "the secret of the space, of enough length", "ann@example.test"
    site = await shop.site()
    space_id = site.attributes["data-space"]
    vault = await shop.workspace.add_secret(secret)
    await database.execute("update public.spaces set hmac_secret_id = $2 where id = $1::text::uuid", space_id, vault)
    given = {"data-email": email, "data-email-hmac": hmac.digest(secret.encode(), email.encode(), "sha256").hex()}
    if proof == "token":
        given = {"data-identity-token": token(secret, email, 300)}
    known = Site(site.attributes | given | {"data-name": "Ann"}, site.policy)
    async with serving(known):
        await database.execute(
            "update public.spaces set allowed_origins = $2 where id = $1::text::uuid",
            space_id,
            [site.origin, known.origin],
        )
        chat = await shop.chat(known)
        await chat.say("My boat is called Petrel")
        await chat.answered()
        await chat.page.evaluate("() => window.Switchboard.identify(null)")
        await expect(chat.answers).to_have_count(0)
        await chat.page.evaluate("() => localStorage.clear()")
        await chat.reload()
        if proof == "token":
            # The page's function is called again for the registration: the first token is over by then.
            tokens = [token(secret, email, seconds) for seconds in (-300, 300)]
            identify = "tokens => window.Switchboard.identify({identity_token: async () => tokens.shift()})"
            await chat.page.evaluate(identify, tokens)
        await chat.say("What is my boat called?")
        assert "Petrel" in await chat.answered()
    row = await shop.workspace.row(
        "select count(*) as contacts, min(first_name) as name from public.contacts where workspace_id = $1",
        shop.workspace.id,
    )
    assert row == {"contacts": 1, "name": "Ann"}


def token(secret: str, email: str, seconds: int) -> str:
    """An identity token that ends after so many seconds."""
    return jwt.encode({"sub": "4711", "email": email, "exp": int(time.time()) + seconds}, secret, "HS256")


async def test_a_visitor_who_becomes_known_keeps_the_conversation(shop: Shop, database: asyncpg.Connection) -> None:
    chat = await shop.chat(await shop.site())
    await chat.say("My boat is called Petrel")
    await chat.answered()
    known = {"email": "ann@example.test", "first_name": " Ann "}
    await chat.page.evaluate("known => window.Switchboard.identify(known)", known)
    await expect(chat.answers).to_have_count(0)
    await chat.say("What is my boat called?")
    assert "Petrel" in await chat.answered(2)
    counts = await shop.workspace.counts()
    assert [counts[table] for table in ("contacts", "conversations", "sessions")] == [1, 1, 1]
    row = await shop.workspace.row(
        "select c.first_name, i.value from public.contacts c join public.contact_identities i on i.contact_id = c.id"
        " where c.workspace_id = $1 and i.kind = 'email'",
        shop.workspace.id,
    )
    assert row == {"first_name": "Ann", "value": "ann@example.test"}
    await chat.page.evaluate("() => window.Switchboard.identify(null)")
    await expect(chat.answers).to_have_count(0)
    await chat.say("Who is it now?")
    await chat.answered()
    assert (await shop.workspace.counts())["contacts"] == 2, "who signed out is nobody known"


async def test_a_text_that_another_tab_overtakes_is_given_back_to_its_field(
    shop: Shop, database: asyncpg.Connection
) -> None:
    site = await shop.site()
    first, second = await shop.chat(site), await shop.chat(site)
    await first.say("Hello")
    await second.answered()
    # The second tab sends too, and has not yet seen what the first one wrote: it writes over it. What carries messages
    # is held meanwhile.
    key = await second.page.evaluate("() => Object.keys(localStorage)[0]")
    await second.page.evaluate(
        "key => new Promise(held => navigator.locks.request(key, () => new Promise(release => {"
        " window.release = release; held(); })))",
        key,
    )
    before = await second.page.evaluate("key => localStorage.getItem(key)", key)
    await first.say("From the first tab")
    await expect(first.field).to_have_value("")
    message = {"id": "11111111-1111-4111-8111-111111111111", "role": "contact", "text": "From the second tab"}
    pending = {"id": message["id"], "message": message["text"], "turn": None, "after": 0, "text": ""}
    await second.page.evaluate(
        "([key, before, message, pending]) => { const state = JSON.parse(before);"
        " state.messages.push(message); state.pending = {...pending, since: Date.now()};"
        " localStorage.setItem(key, JSON.stringify(state)); }",
        [key, before, message, pending],
    )
    await expect(first.field).to_have_value("From the first tab")
    await second.page.evaluate("() => window.release()")
    await second.answered(2)
    await first.field.press("Enter")
    await first.answered(3)
    assert await stored(database, shop.workspace, "contact") == ["Hello", "From the second tab", "From the first tab"]
