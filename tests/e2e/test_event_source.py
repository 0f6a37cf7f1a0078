"""A browser's own EventSource, over a line that breaks: no event twice, none missed, and an end.

The second test runs the code of docs/streams.md.
"""

import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import aiohttp
import jwt
from playwright.async_api import Page, Route

from local.paths import REPOSITORY
from tests import events
from tests.e2e.conftest import Faults
from tests.e2e.shops import Shop
from tests.functions.conftest import Visitor
from tests.functions.people import Person, sign_up
from tests.standins.openai import OpenAI

FOLLOW = re.findall(
    r"```js\n(async function follow.*?)```", (REPOSITORY / "docs" / "streams.md").read_text(), re.DOTALL
)[0]

OPEN = """
(url) => {
  window.heard = [];
  window.source = new EventSource(url);
  for (const name of ["turn", "delta", "done"])
    source.addEventListener(name, (event) => heard.push([name, JSON.parse(event.data)]));
}
"""
"""The least that a page does; it does not close the source."""

RUN = f"""
([stream, token]) => {{
  window.heard = [];
  const host = "";
  {FOLLOW}
  follow(stream, (name, data) => heard.push([name, data]));
}}
"""


@asynccontextmanager
async def visited(shop: Shop) -> AsyncIterator[tuple[Visitor, Person]]:
    """A visitor of the shop's space and, as a person, the contact."""
    async with aiohttp.ClientSession(shop.stack.api_url) as client:
        visitor = Visitor(client, await shop.workspace.add_space(persona_id=shop.workspace.persona_id))
        async with client.post(f"/space/{visitor.space_id}/register", json={"email": "a@example.com"}) as response:
            visitor.token = (await response.json())["token"]
        yield visitor, Person(client, uuid4(), "", visitor.token)


async def heard_by(page: Page, *names: str) -> list[dict[str, Any]]:
    """The data of the events of these names, in order."""
    return [data for name, data in await page.evaluate("() => heard") if name in names]


async def test_an_event_source_resumes_a_turn_and_stops_at_its_end(shop: Shop, held: OpenAI, faults: Faults) -> None:
    faults.forgive = ("ERR_",)
    line, page = await shop.line(), await shop.context.new_page()
    await page.goto(line.url)
    async with visited(shop) as (visitor, contact), visitor.post("hello") as answer:
        turn_id = (await anext(events.read(answer))).data["turn_id"]
        issued = await contact.done("POST", "/stream-tickets", {"turn_id": turn_id})
        await page.evaluate(OPEN, f"{issued['path']}?sid={issued['ticket']}")
        await page.wait_for_function("() => heard.length > 1")
        line.cut()
        await held.release()
        await answer.read()
        await page.wait_for_function("() => source.readyState === EventSource.CLOSED")
    assert len(await heard_by(page, "turn")) == len(await heard_by(page, "done")) == 1
    assert "".join(data["text"] for data in await heard_by(page, "delta")) == "You wrote: hello"


async def test_a_page_follows_a_conversation_beyond_a_ticket(shop: Shop, faults: Faults) -> None:
    faults.forgive = ("ERR_", "401")
    line, page = await shop.line(), await shop.context.new_page()
    await page.goto(line.url)
    tickets = list[str]()

    async def issue(route: Route) -> None:
        """Let the first ticket expire within three seconds."""
        answer = await route.fetch()
        issued = await answer.json()
        if not tickets:
            claims = jwt.decode(issued["ticket"], options={"verify_signature": False})
            issued["ticket"] = jwt.encode(claims | {"exp": int(time.time()) - 7}, shop.stack.jwt_secret)
        tickets.append(issued["ticket"])
        await route.fulfill(response=answer, json=issued)

    await page.route("**/stream-tickets", issue)
    async with AsyncExitStack() as rest:
        visitor, _ = await rest.enter_async_context(visited(shop))
        opened = (await visitor.say("one"))[0].data
        owner = await sign_up(visitor.client, shop.workspace, shop.stack, "owner")
        await page.evaluate(RUN, [{"conversation_id": opened["conversation_id"]}, owner.token])
        await page.wait_for_function("() => heard.length === 3")
        line.cut()
        await visitor.say("two")
        await page.wait_for_function("() => heard.filter(([name]) => name === 'message').length === 4")
        await visitor.say("three")
        await page.wait_for_function("() => heard.filter(([name]) => name === 'message').length === 6")
    read = await heard_by(page, "message")
    assert [message["text"] for message in read if message["role"] == "contact"] == ["one", "two", "three"]
    assert len({message["id"] for message in read}) == 6
    assert len(tickets) == 2
