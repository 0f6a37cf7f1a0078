"""Answers of workflows by webhook: the reader who waits for one, repeats, and senders without the secret.

Other bodies are tests/unit/providers/test_n8n.py's, and deliveries that fail tests/unit/webhooks/test_deliveries.py's.
"""

import asyncio
import json
from typing import Any
from uuid import uuid4

import aiohttp
import pytest_asyncio

from tests import events
from tests.events import text_of
from tests.functions.conftest import CALLBACK_SECRET, Visitor, Workspace, ask_n8n
from tests.standins.n8n import STARTED, N8n

BEARER = {"Authorization": f"Bearer {CALLBACK_SECRET}"}


@pytest_asyncio.fixture
async def asking(client: aiohttp.ClientSession, workspace: Workspace, n8n: N8n) -> Visitor:
    """A visitor of a workflow that only acknowledges."""
    return await ask_n8n(client, workspace, n8n.say("acknowledge", json.dumps(STARTED).encode()), mode="async")


async def post(client: aiohttp.ClientSession, body: Any, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    async with client.post("/webhooks/n8n", json=body, headers=headers) as response:
        return response.status, await response.json(content_type=None)


async def test_an_answer_reaches_the_waiting_reader_once_and_a_late_one_changes_nothing(
    client: aiohttp.ClientSession, workspace: Workspace, asking: Visitor
) -> None:
    async with asyncio.timeout(20), asking.post("a word") as response:
        reading = events.read(response)
        opened = (await anext(reading)).data
        body = {"turnId": opened["turn_id"], "output": "Here it is."}
        answers = await asyncio.gather(*(post(client, body, BEARER) for _ in range(5)))
        heard = [event async for event in reading]
    assert [status for status, _ in answers] == [200] * 5
    assert sorted(answer["duplicate"] for _, answer in answers) == [False, True, True, True, True]
    assert ([event.name for event in heard], text_of(heard)) == (["delta", "done"], "Here it is.")
    job = await workspace.row("select * from public.jobs where workspace_id = $1", workspace.id)
    assert (job["status"], job["attempts"]) == ("succeeded", 1)
    event = await workspace.row("select * from public.inbound_events where workspace_id = $1", workspace.id)
    assert json.loads(event["raw_body"]) == body
    assert CALLBACK_SECRET not in str(event)

    late = await post(client, {**body, "output": "Late."}, BEARER)
    assert late == (200, {"received": True, "duplicate": False})
    asking.token = opened["token"]
    assert text_of(await asking.resume(opened["turn_id"])) == "Here it is."
    counts = await workspace.counts()
    assert (counts["inbound_events"], counts["messages"]) == (2, 2)


async def test_a_wrong_secret_and_an_unknown_turn_are_the_same_refusal(
    client: aiohttp.ClientSession, workspace: Workspace, asking: Visitor
) -> None:
    secret_id = await workspace.add_secret("the-other-persona's-secret")
    other = await workspace.add_persona("demo", {"delay_ms": 0}, callback_secret_id=secret_id)
    await Visitor(client, await workspace.add_space(persona_id=other)).say("hello")
    without_secret = (await Visitor(client, workspace.space_id).say("hello"))[0].data["turn_id"]
    wrong, others = ({"Authorization": f"Bearer {secret}"} for secret in ("wrong", "the-other-persona's-secret"))
    async with asyncio.timeout(20), asking.post("a word") as response:
        waiting = (await anext(events.read(response))).data["turn_id"]
        refusals = [
            await post(client, {"turnId": turn_id, "output": "x"}, headers)
            for turn_id, headers in (
                *((waiting, headers) for headers in (wrong, others, {})),
                *((str(uuid4()), headers) for headers in (BEARER, wrong)),
                *((without_secret, headers) for headers in (BEARER, {"Authorization": "Bearer "}, {})),
            )
        ]
        assert {(status, document["code"]) for status, document in refusals} == {(401, "secret_invalid")}
        assert len({json.dumps(document) for _, document in refusals}) == 1
        assert (await workspace.counts())["inbound_events"] == 0
        assert (await post(client, {"turnId": waiting, "output": "The end."}, BEARER))[0] == 200
