"""Answers of workflows by webhook: their authentication, repeats, and the reader who waits for them."""

import asyncio
import json
from collections.abc import AsyncIterator
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
    """A turn whose answer comes by webhook, and the reader who waits for it."""

    def __init__(self, visitor: Visitor) -> None:
        self.visitor = visitor
        self.turn_id = ""
        self._begun = asyncio.Event()
        self._hearing = asyncio.create_task(self._hear())

    async def _hear(self) -> list[Received]:
        heard = []
        async with self.visitor.post("a word") as response:
            async for event in events.read(response):
                heard.append(event)
                self.turn_id = heard[0].data["turn_id"]
                self.visitor.token = heard[0].data.get("token", self.visitor.token)
                self._begun.set()
        return heard

    async def begun(self) -> None:
        """Wait for the turn's id."""
        await asyncio.wait_for(self._begun.wait(), 10)

    async def heard(self) -> list[Received]:
        """The whole answer."""
        return await asyncio.wait_for(asyncio.shield(self._hearing), 20)


@pytest_asyncio.fixture
async def asked(client: aiohttp.ClientSession, workspace: Workspace, n8n: N8n) -> AsyncIterator[Asked]:
    """A message to a workflow that only acknowledges; answered by the test or at its end."""
    url = n8n.say("acknowledge", json.dumps(STARTED).encode())
    waiting = Asked(await ask_n8n(client, workspace, url, mode="async"))
    await waiting.begun()
    yield waiting
    await post(client, {"turnId": waiting.turn_id, "output": "The end."}, BEARER)
    await waiting.heard()


async def post(client: aiohttp.ClientSession, body: Any, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    async with client.post(PATH, json=body, headers=headers) as response:
        return response.status, await response.json(content_type=None)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"bearer {CALLBACK_SECRET}"},
        {"X-Switchboard-Secret": CALLBACK_SECRET, "Authorization": "Basic dXNlcjp3b3Jk"},
    ],
)
async def test_an_answer_reaches_the_waiting_reader_and_a_late_one_changes_nothing(
    client: aiohttp.ClientSession, workspace: Workspace, asked: Asked, headers: dict[str, str]
) -> None:
    body = {"turnId": asked.turn_id, "output": "Here it is."}
    assert await post(client, body, headers) == (200, {"received": True, "duplicate": False})
    heard = await asked.heard()
    assert [event.name for event in heard] == ["turn", "delta", "done"]
    assert text_of(heard) == "Here it is."
    (job,) = await workspace.settled()
    assert (job["status"], job["attempts"], job["ordering_key"]) == ("succeeded", 1, asked.turn_id)
    event = await workspace.row("select * from public.inbound_events where workspace_id = $1", workspace.id)
    assert json.loads(event["raw_body"]) == body
    assert set(json.loads(event["headers"])) == {"content-type", "user-agent"}
    assert CALLBACK_SECRET not in str(event)

    assert (await post(client, {**body, "output": "Late."}, headers))[1] == {"received": True, "duplicate": False}
    assert text_of(await asked.visitor.resume(asked.turn_id)) == "Here it is."
    counts = await workspace.counts()
    assert (counts["inbound_events"], counts["messages"]) == (2, 2)


@pytest.mark.parametrize("headers", [{"Webhook-Id": "1"}, {"Idempotency-Key": "1"}, {}])
async def test_a_repeated_delivery_is_processed_once(
    client: aiohttp.ClientSession, workspace: Workspace, asked: Asked, headers: dict[str, str]
) -> None:
    body = {"turn_id": asked.turn_id, "text": "Here it is."}
    answers = await asyncio.gather(*(post(client, body, BEARER | headers) for _ in range(5)))
    assert [status for status, _ in answers] == [200] * 5
    assert sorted(answer["duplicate"] for _, answer in answers) == [False, True, True, True, True]
    assert text_of(await asked.heard()) == "Here it is."
    counts = await workspace.counts()
    assert (counts["inbound_events"], counts["jobs"], counts["messages"]) == (1, 1, 2)
    # The sender's own id tells deliveries apart, else their content does.
    _, reworded = await post(client, {**body, "text": "Reworded."}, BEARER | headers)
    assert reworded["duplicate"] is bool(headers)


@pytest.mark.parametrize("text", ["", "Hel"])
async def test_a_reported_failure_fails_the_turn_without_showing_its_detail(
    client: aiohttp.ClientSession, workspace: Workspace, asked: Asked, text: str
) -> None:
    body = {"turnId": asked.turn_id, "output": text, "error": "The model is down"}
    assert (await post(client, body, BEARER))[0] == 200
    heard = await asked.heard()
    assert (text_of(heard), heard[-1].data["code"]) == (text, "persona_failed")
    assert "model is down" not in json.dumps(heard[-1].data)
    stored = await workspace.row("select detail from public.turn_errors where workspace_id = $1", workspace.id)
    assert stored["detail"] == "The model is down"


async def test_a_wrong_secret_and_an_unknown_turn_are_the_same_refusal(
    client: aiohttp.ClientSession, workspace: Workspace, asked: Asked
) -> None:
    secret_id = await workspace.add_secret("the-other-persona's-secret")
    other = await workspace.add_persona("demo", {"delay_ms": 0}, callback_secret_id=secret_id)
    await Visitor(client, await workspace.add_space(persona_id=other)).say("hello")
    without_secret = (await Visitor(client, workspace.space_id).say("hello"))[0].data["turn_id"]
    wrong, others = ({"Authorization": f"Bearer {secret}"} for secret in ("wrong", "the-other-persona's-secret"))
    refusals = [
        await post(client, {"turnId": turn_id, "output": "x"}, headers)
        for turn_id, headers in (
            *((asked.turn_id, headers) for headers in (wrong, others, {})),
            *((str(uuid4()), headers) for headers in (BEARER, wrong)),
            *((without_secret, headers) for headers in (BEARER, {"Authorization": "Bearer "}, {})),
        )
    ]
    assert {(status, document["code"]) for status, document in refusals} == {(401, "secret_invalid")}
    assert len({json.dumps(document) for _, document in refusals}) == 1
    assert (await workspace.counts())["inbound_events"] == 0


@pytest.mark.parametrize(
    ("path", "content", "status", "code"),
    [
        (PATH, b"{", 400, "invalid_json"),
        (PATH, b"{}", 422, "invalid_body"),
        (PATH, b'{"turnId": "x", "output": "y"}', 422, "invalid_body"),
        (PATH, b" " * (1024 * 1024 + 1), 413, "body_too_large"),
        ("/webhooks/nobody", b"{}", 404, "provider_not_found"),
    ],
)
async def test_a_body_that_is_no_answer_is_refused(
    client: aiohttp.ClientSession, path: str, content: bytes, status: int, code: str
) -> None:
    async with client.post(path, data=content, headers=BEARER) as response:
        assert (response.status, (await problem(response))["code"]) == (status, code)
