"""The embedded chat on a customer's page, which is as strict as a page can be: how it carries an answer through."""

import asyncio
import json
import re

import aiohttp
import asyncpg
import jwt
from playwright.async_api import Page, Route, expect

from local.ports import free_port
from tests.e2e.chats import stored
from tests.e2e.conftest import Faults
from tests.e2e.shops import Shop
from tests.e2e.sites import strict
from tests.standins.openai import OpenAI


async def test_a_visitor_chats_and_sees_the_answer_grow(shop: Shop, held: OpenAI, database: asyncpg.Connection) -> None:
    chat = await shop.chat(await shop.site())
    await chat.say("Hello from a shop")
    await chat.growing()
    await held.allow(4)
    await chat.growing("You wrote: Hello from")
    await held.release()
    assert await chat.answered() == "You wrote: Hello from a shop"
    assert await stored(database, shop.workspace, "contact") == ["Hello from a shop"]
    assert await stored(database, shop.workspace) == ["You wrote: Hello from a shop"]


async def test_a_visitor_registers_first_where_the_page_asks_for_it(shop: Shop, faults: Faults) -> None:
    faults.forgive = ("422",)
    chat = await shop.chat(await shop.site(register="required"))
    email, alert = chat.page.get_by_label("Email"), chat.page.get_by_role("alert")
    await expect(email).to_be_focused()
    await expect(chat.field).to_be_hidden()
    # An invalid address is refused by the page, and one without a domain by the server.
    for wrong in ("no address", "ann@localhost"):
        await email.fill(wrong)
        await email.press("Enter")
        await expect(alert).to_contain_text("email")
    await email.fill("Ann@Example.test")
    await chat.page.get_by_label("Name").fill("Ann")
    await chat.button("Start the chat").click()
    await expect(chat.field).to_be_focused()
    await chat.say("It is me")
    await chat.answered()
    row = await shop.workspace.row(
        "select i.value as email, c.first_name, s.turn_count from public.contacts c"
        " join public.sessions s on s.contact_id = c.id join public.contact_identities i on i.contact_id = c.id"
        " where c.workspace_id = $1",
        shop.workspace.id,
    )
    assert row == {"email": "Ann@Example.test", "first_name": "Ann", "turn_count": 1}


async def test_an_answer_goes_on_after_reloads_and_is_there_if_it_ended_meanwhile(
    shop: Shop, held: OpenAI, database: asyncpg.Connection
) -> None:
    site = await shop.site()
    chat = await shop.chat(site)
    await chat.say("Grüße, 🦜!")
    for words, text in ((2, "You wrote:"), (3, "You wrote: Grüße,")):
        await held.allow(words)
        await chat.growing(text)
        await chat.reload()
        await chat.growing(text)
    await held.release()
    first = await chat.answered()
    assert (await chat.kept())["pending"] is None
    await held.allow(2)
    await chat.say("And you?")
    await chat.growing()
    await chat.page.goto("about:blank")
    await held.release()
    async with asyncio.timeout(60):
        while await shop.turns() != ["completed", "completed"]:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    await chat.page.goto(site.origin)
    assert [first, await chat.answered(2)] == await stored(database, shop.workspace)


async def test_a_connection_that_breaks_is_resumed(
    shop: Shop, held: OpenAI, database: asyncpg.Connection, faults: Faults
) -> None:
    faults.forgive = ("net::ERR",)
    line = await shop.line()
    chat = await shop.chat(await shop.site(api=line.url))
    await chat.say("one two three")
    for words, text in ((2, "You wrote:"), (3, "You wrote: one"), (4, "You wrote: one two")):
        await held.allow(words)
        await chat.growing(text)
        line.cut()
    await held.release()
    assert [await chat.answered()] == await stored(database, shop.workspace) == ["You wrote: one two three"]
    assert await shop.turns() == ["completed"]


async def test_a_message_whose_answer_never_began_is_sent_again_and_stored_once(
    shop: Shop, database: asyncpg.Connection, faults: Faults
) -> None:
    faults.forgive = ("net::ERR",)
    line = await shop.line()
    chat = await shop.chat(await shop.site(api=line.url))
    for count, message in enumerate(("The first, which opens a conversation", "A second", "A third"), start=1):
        line.deaf = True
        await chat.say(message)
        await chat.answered(count)
    assert len(await stored(database, shop.workspace, "contact")) == 3
    assert await shop.turns() == ["completed"] * 3
    assert (await shop.workspace.counts())["conversations"] == 1


async def test_without_a_network_the_chat_waits_and_then_sends(
    shop: Shop, database: asyncpg.Connection, faults: Faults
) -> None:
    faults.forgive = ("net::ERR",)
    chat = await shop.chat(await shop.site())
    await chat.say("While there is a network")
    await chat.answered()
    await shop.context.set_offline(True)
    await chat.say("Said in a tunnel")
    await expect(chat.panel.get_by_text("You are offline")).to_be_visible()
    await shop.context.set_offline(False)
    await chat.answered(2)
    await expect(chat.panel.get_by_text("You are offline")).to_be_hidden()
    assert await stored(database, shop.workspace, "contact") == ["While there is a network", "Said in a tunnel"]


async def test_an_invalid_token_begins_a_new_conversation_and_says_so(shop: Shop, faults: Faults) -> None:
    faults.forgive = ("401",)
    chat = await shop.chat(await shop.site())
    await chat.say("In the old days")
    await chat.answered()
    claims = jwt.decode((await chat.kept())["token"], options={"verify_signature": False})
    over = jwt.encode(claims | {"exp": 1_700_000_000}, shop.stack.jwt_secret, algorithm="HS256")
    for count, token in enumerate((over, "not.a.token"), start=2):
        await chat.keep(token=token)
        await chat.say("Are you still there?")
        await chat.answered(count)
        await expect(chat.panel.get_by_text("a new conversation has begun")).to_be_visible()
    assert (await shop.workspace.counts())["conversations"] == 3


async def test_a_visitor_who_is_signed_out_during_an_answer_forgets_the_token(
    shop: Shop, database: asyncpg.Connection, held: OpenAI, faults: Faults
) -> None:
    faults.forgive = ("401",)
    chat = await shop.chat(await shop.site())
    await chat.say("Hello")
    await chat.growing()
    revoke = "update public.contacts set tokens_revoked_at = now() where workspace_id = $1"
    await database.execute(revoke, shop.workspace.id)
    await expect(chat.panel.get_by_text("was interrupted")).to_be_visible()
    assert (await chat.kept())["token"] is None
    await held.release()
    await chat.say("Hello again")
    await chat.answered(2)
    assert (await shop.workspace.counts())["conversations"] == 2


async def test_a_message_waits_for_the_answer_before_it(shop: Shop, held: OpenAI, faults: Faults) -> None:
    faults.forgive = ("409",)
    site = await shop.site()
    chat = await shop.chat(site)
    await chat.say("Hello")
    await held.release()
    await chat.answered()
    await held.allow(2)
    token = (await chat.kept())["token"]
    url = f"{shop.stack.api_url}/space/{site.attributes['data-space']}/chat/stream"
    headers = {"Authorization": f"Bearer {token}"}
    elsewhere = aiohttp.ClientSession(headers=headers)
    async with elsewhere, elsewhere.post(url, json={"message": "From elsewhere"}) as answer:
        assert answer.status == 200
        await chat.say("And from here")
        await expect(chat.panel.get_by_text("Yours is next")).to_be_visible()
        await held.release()
        await answer.read()
    assert "And from here" in await chat.answered(2)
    await expect(chat.panel.get_by_text("Yours is next")).to_be_hidden()
    assert await shop.turns() == ["completed"] * 3


async def test_a_busy_service_is_asked_again_after_its_retry_after(shop: Shop, faults: Faults) -> None:
    faults.forgive = ("503",)
    chat = await shop.chat(await shop.site())
    calls = 0

    async def busy(route: Route) -> None:
        nonlocal calls
        calls += 1
        origin = {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "retry-after"}
        await route.fulfill(status=503, headers={"Retry-After": "2", **origin}, body="<h1>Busy</h1>")

    await chat.page.route("**/chat/stream", busy, times=2)
    await chat.say("Is anybody there?")
    await expect(chat.panel.get_by_text(re.compile(r"Trying again in [12] s\."))).to_be_visible()
    await chat.answered()
    assert calls == 2
    assert await shop.turns() == ["completed"]


async def test_a_limit_is_shown_and_the_waiting_message_can_be_stopped(
    shop: Shop, database: asyncpg.Connection, faults: Faults
) -> None:
    faults.forgive = ("429",)
    site = await shop.site()
    space_id = site.attributes["data-space"]
    await database.execute("update public.spaces set arrivals_per_minute = 1 where id = $1::text::uuid", space_id)
    url = f"{shop.stack.api_url}/space/{space_id}/chat/stream"
    async with aiohttp.ClientSession() as elsewhere, elsewhere.post(url, json={"message": "First"}) as answer:
        assert answer.status == 200
        await answer.read()
    chat = await shop.chat(site)
    await chat.say("Second")
    await expect(chat.panel.get_by_text(re.compile(r"Trying again in \d+ s\."))).to_be_visible()
    await database.execute("update public.spaces set arrivals_per_minute = 100 where id = $1::text::uuid", space_id)
    await chat.button("Stop the answer").click()
    await expect(chat.panel.get_by_text("Your message was not sent.")).to_be_visible()
    assert await shop.turns() == ["completed"]


async def test_a_failed_answer_is_shown_and_can_be_asked_for_again(shop: Shop, database: asyncpg.Connection) -> None:
    await shop.workspace.allow_loopback()
    nobody = json.dumps({"url": f"http://127.0.0.1:{free_port()}/webhook"})
    await database.execute(
        "update public.personas set kind = 'n8n', config = $2 where id = $1", shop.workspace.persona_id, nobody
    )
    chat = await shop.chat(await shop.site())
    await chat.say("Can you hear me?")
    await expect(chat.panel.get_by_text("There is no answer at the moment.")).to_be_visible()
    await database.execute(
        "update public.personas set kind = 'demo', config = '{}' where id = $1", shop.workspace.persona_id
    )
    await chat.button("Try again").click()
    assert "Can you hear me?" in await chat.answered()
    await expect(chat.panel.get_by_text("There is no answer at the moment.")).to_be_hidden()
    await expect(chat.page.get_by_role("log").locator(".contact")).to_have_count(1)
    assert await shop.turns() == ["failed", "completed"]


async def test_an_unlisted_page_is_told_so(shop: Shop, faults: Faults) -> None:
    faults.forgive = ("CORS policy", "net::ERR_FAILED", "403")
    chat = await shop.chat(await shop.site(listed=False))
    await chat.say("Hello?")
    await expect(chat.panel.get_by_text("not allowed on this page")).to_be_visible()
    registering = await shop.chat(await shop.site(listed=False, register="required"))
    await registering.page.get_by_label("Email").fill("ann@example.test")
    await registering.button("Start the chat").click()
    await expect(registering.page.get_by_role("alert")).to_contain_text("not allowed on this page")
    assert (await shop.workspace.counts())["contacts"] == 0


async def test_a_page_whose_policy_blocks_the_calls_is_told_so(shop: Shop, faults: Faults) -> None:
    faults.forgive = ("Content Security Policy",)
    policy = strict(shop.stack.api_url).replace(f"connect-src {shop.stack.api_url}", "connect-src 'none'")
    chat = await shop.chat(await shop.site(policy=policy))
    warnings: list[str] = []
    chat.page.on("console", lambda said: warnings.append(said.text))
    await chat.say("Hello?")
    await expect(chat.panel.get_by_text("not allowed on this page")).to_be_visible()
    assert any("connect-src" in warning and "Switchboard:" in warning for warning in warnings)


async def test_markup_in_a_message_stays_text(shop: Shop, database: asyncpg.Connection) -> None:
    chat = await shop.chat(await shop.site())
    attack = (
        '<img src=x onerror="window.harm=1"><script>window.harm=1</script> javascript:alert(1) '
        "![x](https://example.test/x.png) http://example.test/(a). data:text/html,x"
    )
    await chat.say(attack)
    assert attack.replace("![x](https://example.test/x.png)", "x") in await chat.answered()
    assert attack in (await stored(database, shop.workspace))[0]
    await chat.reload()
    log = chat.page.get_by_role("log")
    assert await log.locator("img, script, b").count() == 0
    assert await chat.page.evaluate("() => window.harm") is None
    links = await log.locator("a").evaluate_all("links => links.map(link => [link.href, link.rel, link.target])")
    # The visitor's own message shows addresses, the answer is Markdown. An image is a link: it would ask another host.
    assert [link[0] for link in links] == [*["https://example.test/x.png", "http://example.test/(a)"] * 2]
    assert all("noopener" in link[1] and link[2] == "_blank" for link in links)


async def test_a_page_sets_the_chat_up_and_hears_its_events(shop: Shop, held: OpenAI) -> None:
    site = await shop.site(open="", title="Harbour desk", labels='{"send": "Senden"}', color="#ffe066", register="off")
    chat = await shop.visit(site)
    await expect(chat.panel).to_be_visible()
    await expect(chat.panel.get_by_role("heading", name="Harbour desk")).to_be_visible()
    await expect(chat.button("Senden")).to_be_visible()
    ink = await chat.button("Senden").evaluate("button => getComputedStyle(button).color")
    assert ink == "rgb(0, 0, 0)", "white on yellow cannot be read"
    await chat.page.evaluate(
        "() => { window.heard = []; for (const name of ['turn', 'message', 'close', 'error'])"
        " document.addEventListener('switchboard:' + name, ({detail}) => window.heard.push([name, detail])); }"
    )
    await chat.page.evaluate("() => window.Switchboard.close()")
    assert await chat.page.evaluate("() => window.Switchboard.send('Said by the page')") is True
    assert await chat.page.evaluate("() => window.Switchboard.send('Too early')") is False
    await held.release()
    await expect(chat.launcher).to_have_attribute("aria-label", re.compile("new messages: 1"))
    heard = await chat.page.evaluate("() => window.heard")
    assert [name for name, _ in heard] == ["close", "message", "turn", "message"]
    assert heard[1][1] == {"role": "contact", "text": "Said by the page"}
    assert heard[3][1]["turn_id"] == heard[2][1]["turn_id"]


async def test_a_wrong_tag_is_reported_on_the_console_and_changes_nothing_else(shop: Shop, faults: Faults) -> None:
    faults.forgive = ("Switchboard:",)
    site = await shop.site(register="perhaps")
    page: Page = await shop.context.new_page()
    said: list[str] = []
    page.on("console", lambda line: said.append(line.text))
    await page.goto(site.origin)
    await expect(page.get_by_role("heading", name="A shop")).to_be_visible()
    async with asyncio.timeout(10):
        while not said:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert said == ["Switchboard: data-register cannot be perhaps."]
    assert await page.locator("switchboard-chat").count() == 0
