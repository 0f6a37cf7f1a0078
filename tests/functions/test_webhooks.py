import asyncio
import json
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
import pytest_asyncio

from tests import events
from tests.events import Received, text_of
from tests.functions.conftest import CALLBACK_SECRET, Visitor, Workspace, ask_n8n, problem
from tests.standins.n8n import STARTED, N8n

PATH = "/webhooks/n8n"
BEARER = {"Authorization": f"Bearer {CALLBACK_SECRET}"}


class Asked:
    """A turn whose answer was promised for later, and the reader who waits for it."""

    def __init__(self, visitor: Visitor) -> None:
        self.visitor = visitor
        self.turn_id = ""
        self._begun = asyncio.Event()
        self.hearing = asyncio.create_task(self._hear())

    async def _hear(self) -> list[Received]:
        heard = []
        async with self.visitor.post("a word") as response:
            async for event in events.read(response):
                heard.append(event)
                self.turn_id = heard[0].data["turn_id"]
                self.visitor.token = heard[0].data.get("token", self.visitor.token)
                self._begun.set()
        return heard

    async def begun(self) -> str:
        await asyncio.wait_for(self._begun.wait(), 10)
        return self.turn_id

    async def heard(self) -> list[Received]:
        return await asyncio.wait_for(self.hearing, 20)


@pytest_asyncio.fixture
async def asked(client: aiohttp.ClientSession, workspace: Workspace, n8n: N8n) -> Asked:
    """A message for a workflow that only acknowledges; nobody has answered yet."""
    url = n8n.say("acknowledge", json.dumps(STARTED).encode())
    waiting = Asked(await ask_n8n(client, workspace, url, mode="async"))
    await waiting.begun()
    return waiting


async def post(client: aiohttp.ClientSession, body: Any, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    async with client.post(PATH, json=body, headers=headers) as response:
        answer = await response.json(content_type=None)
        return response.status, answer


async def test_an_answer_by_webhook_reaches_the_reader_who_waits(
    client: aiohttp.ClientSession, workspace: Workspace, asked: Asked
) -> None:
    body = {"turnId": asked.turn_id, "output": "Here it is."}
    assert await post(client, body, BEARER) == (200, {"received": True, "duplicate": False})
    heard = await asked.heard()
    assert [event.name for event in heard] == ["turn", "delta", "done"]
    assert text_of(heard) == "Here it is."
    job = await workspace.row("select * from public.jobs where workspace_id = $1", workspace.id)
    assert (job["status"], job["attempts"]) == ("succeeded", 1)
    event = await workspace.row("select * from public.inbound_events where workspace_id = $1", workspace.id)
    assert json.loads(event["raw_body"]) == body
    assert CALLBACK_SECRET not in str(event)


@pytest.mark.parametrize("headers", [{"Webhook-Id": "1"}, {"Idempotency-Key": "1"}, {}])
async def test_a_delivery_that_comes_again_is_harmless(
    client: aiohttp.ClientSession, workspace: Workspace, asked: Asked, headers: dict[str, str]
) -> None:
    body = {"turn_id": asked.turn_id, "text": "Here it is."}
    answers = await asyncio.gather(*(post(client, body, BEARER | headers) for _ in range(5)))
    assert [status for status, _ in answers] == [200] * 5
    assert sorted(answer["duplicate"] for _, answer in answers) == [False, True, True, True, True]
    assert text_of(await asked.heard()) == "Here it is."
    counts = await workspace.counts()
    assert (counts["inbound_events"], counts["jobs"], counts["messages"]) == (1, 1, 2)


async def test_a_late_answer_is_recorded_and_changes_nothing(
    client: aiohttp.ClientSession, workspace: Workspace, asked: Asked
) -> None:
    await post(client, {"turnId": asked.turn_id, "output": "First."}, BEARER)
    heard = await asked.heard()
    late = await post(client, {"turnId": asked.turn_id, "output": "Second."}, BEARER)
    assert late == (200, {"received": True, "duplicate": False})
    assert text_of(await asked.visitor.resume(asked.turn_id)) == text_of(heard) == "First."
    counts = await workspace.counts()
    assert (counts["inbound_events"], counts["messages"]) == (2, 2)


async def test_a_workflow_that_failed_fails_the_turn(client: aiohttp.ClientSession, asked: Asked) -> None:
    status, _ = await post(client, {"turnId": asked.turn_id, "error": "The model is down"}, BEARER)
    assert status == 200
    heard = await asked.heard()
    assert heard[-1].data["code"] == "persona_failed"
    assert "model is down" not in json.dumps(heard[-1].data), "what went wrong inside is for members"


async def test_the_other_header_does_as_well(client: aiohttp.ClientSession, asked: Asked) -> None:
    body = {"turnId": asked.turn_id, "output": "Here it is."}
    assert (await post(client, body, {"X-Switchboard-Secret": CALLBACK_SECRET}))[0] == 200
    assert text_of(await asked.heard()) == "Here it is."


async def test_a_wrong_secret_and_an_unknown_turn_are_the_same_refusal(
    client: aiohttp.ClientSession, workspace: Workspace, asked: Asked
) -> None:
    known, unknown = ({"turnId": turn_id, "output": "x"} for turn_id in (asked.turn_id, str(uuid4())))
    wrong = {"Authorization": "Bearer wrong"}
    refusals = [
        await post(client, known, wrong),
        await post(client, known, {}),
        await post(client, unknown, BEARER),
        await post(client, unknown, wrong),
    ]
    assert {status for status, _ in refusals} == {401}
    assert len({json.dumps(document) for _, document in refusals}) == 1
    assert refusals[0][1]["code"] == "secret_invalid"
    assert (await workspace.counts())["inbound_events"] == 0
    await post(client, known, BEARER)
    await asked.heard()


async def test_the_secret_of_one_persona_does_not_answer_for_another(
    client: aiohttp.ClientSession, workspace: Workspace, asked: Asked
) -> None:
    other_persona = await workspace.add_persona(
        "demo", {"delay_ms": 0}, callback_secret_id=await workspace.add_secret("the-other-persona's-secret")
    )
    other = Visitor(client, await workspace.add_space(persona_id=other_persona))
    await other.say("hello")
    body = {"turnId": asked.turn_id, "output": "Here it is."}
    status, _ = await post(client, body, {"Authorization": "Bearer the-other-persona's-secret"})
    assert status == 401
    await post(client, body, BEARER)
    await asked.heard()


async def test_a_turn_whose_persona_has_no_secret_takes_no_answer(visitor: Visitor, workspace: Workspace) -> None:
    turn_id = (await visitor.say("hello"))[0].data["turn_id"]
    for headers in ({}, {"Authorization": "Bearer "}, BEARER):
        status, _ = await post(visitor.client, {"turnId": turn_id, "output": "x"}, headers)
        assert status == 401
    assert (await workspace.counts())["inbound_events"] == 0


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 400, "invalid_json"),
        (b"{", 400, "invalid_json"),
        (b"[" * 100_000, 400, "invalid_json"),
        (b"\xff", 400, "invalid_json"),
        (b"{}", 422, "invalid_body"),
        (b'{"turnId": "x", "output": "y"}', 422, "invalid_body"),
        (b" " * (1024 * 1024 + 1), 413, "body_too_large"),
    ],
)
async def test_a_body_that_is_no_answer_is_refused(
    client: aiohttp.ClientSession, content: bytes, status: int, code: str
) -> None:
    async with client.post(PATH, data=content, headers=BEARER) as response:
        assert response.status == status
        assert (await problem(response))["code"] == code


async def test_an_unknown_provider_is_not_found(client: aiohttp.ClientSession) -> None:
    async with client.post("/webhooks/nobody", json={}) as response:
        assert response.status == 404
        assert (await problem(response))["code"] == "provider_not_found"
