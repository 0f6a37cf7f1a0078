"""Messages in quick succession over HTTP: one answer to all of them, for every reader."""

import asyncio

import aiohttp

from tests import events
from tests.events import text_of
from tests.functions.conftest import Workspace, ask_openai
from tests.standins.openai import OpenAI


async def test_messages_at_once_are_stored_once_each_and_answered_once(
    client: aiohttp.ClientSession, workspace: Workspace, openai: OpenAI
) -> None:
    visitor = await ask_openai(client, workspace, openai.url("stream"), columns={"collect_seconds": 3})
    async with client.post(f"/space/{visitor.space_id}/register", json={"email": "a@example.com"}) as response:
        visitor.token = (await response.json())["token"]
    said = ("one", "two", "three", "one")
    answers = await asyncio.gather(*(visitor.say(text, client_message_id=text) for text in said))
    (text,) = {text_of(heard) for heard in answers}
    assert len({heard[0].data["turn_id"] for heard in answers}) == 1
    lines = text.removeprefix("You wrote: ").split("\n")
    assert sorted(lines) == ["one", "three", "two"]
    await visitor.say("four")
    sent = [[message["content"] for message in call.body["messages"]] for call in openai.received]
    assert sent == [["\n".join(lines)], [*lines, text, "four"]]


async def test_a_burst_that_is_cancelled_is_not_answered_until_all_of_it_is_retried(
    client: aiohttp.ClientSession, workspace: Workspace, openai: OpenAI
) -> None:
    visitor = await ask_openai(client, workspace, openai.url("stream"), columns={"collect_seconds": 30})
    async with asyncio.timeout(20), visitor.post("one") as response:
        reading = events.read(response)
        opened = (await anext(reading)).data
        visitor.token = opened["token"]
        async with visitor.post("two", client_message_id="2") as joined:
            assert (await anext(events.read(joined))).data["turn_id"] == opened["turn_id"]
        async with client.post(f"/turns/{opened['turn_id']}/cancel", headers=visitor.headers) as cancelled:
            assert (await cancelled.json())["status"] == "cancelled"
        assert (await anext(reading)).data["status"] == "cancelled"
        assert openai.received == []
        async with client.post(f"/turns/{opened['turn_id']}/retry", headers=visitor.headers) as retried:
            assert text_of(await events.read_all(retried)) == "You wrote: one\ntwo"
