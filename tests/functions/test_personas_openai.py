"""Models over HTTP: the request, the stream, and failures."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import aiohttp
import pytest
import pytest_asyncio

from tests import events
from tests.events import text_of
from tests.functions.conftest import Visitor, Workspace, failed_turn
from tests.standins.openai import DONE, MODEL, SECRET, USAGE, OpenAI, chunk, event


@pytest_asyncio.fixture
async def openai() -> AsyncIterator[OpenAI]:
    """A stand-in for OpenAI's server."""
    async with OpenAI() as running:
        yield running


async def ask_openai(
    client: aiohttp.ClientSession,
    workspace: Workspace,
    base_url: str,
    *,
    columns: dict[str, Any] | None = None,
    **config: Any,
) -> Visitor:
    """A visitor of a space whose persona is the model behind this URL."""
    await workspace.allow_loopback()
    secret_id = await workspace.add_secret(SECRET)
    config = {"base_url": base_url, "model": MODEL, **config}
    persona_id = await workspace.add_persona("openai", config, secret_id=secret_id, **(columns or {}))
    return Visitor(client, await workspace.add_space(persona_id=persona_id))


async def test_the_model_receives_the_system_prompt_and_a_bounded_history(
    client: aiohttp.ClientSession, workspace: Workspace, openai: OpenAI
) -> None:
    system, messages = ("system", "Be brief."), ("one of some length", "two", "three")
    _, two, three = (("user", message) for message in messages)
    of_one, of_two = (("assistant", f"You wrote: {message}") for message in messages[:2])
    url = openai.base_url("secured")
    for config, columns, expected in (
        ({"system_prompt": "Be brief."}, {"history_limit": 3}, [system, of_one, two, of_two, three]),
        ({"history_characters": 20}, {}, [two, of_two, three]),
    ):
        visitor = await ask_openai(client, workspace, url, columns=columns, **config)
        for message in messages:
            assert text_of(await visitor.say(message)) == f"You wrote: {message}"
        sent = openai.received[-1].body["messages"]
        assert [(said["role"], said["content"]) for said in sent] == expected


async def test_the_usage_is_in_the_last_event_and_stored(
    client: aiohttp.ClientSession, workspace: Workspace, openai: OpenAI
) -> None:
    visitor = await ask_openai(client, workspace, openai.base_url("secured"))
    heard = await visitor.say("a word")
    usage = {**USAGE, "finish_reason": "stop", "model": f"{MODEL}-2026-11-01"}
    assert heard[-1].data["usage"] == usage
    turn_id = heard[0].data["turn_id"]
    turn = await workspace.row("select usage, status from public.turns where id = $1", UUID(turn_id))
    assert (json.loads(turn["usage"]), turn["status"]) == (usage, "completed")
    assert (await visitor.resume(turn_id))[-1].data["usage"] == usage


async def test_a_token_is_sent_before_the_next_one_arrives(
    client: aiohttp.ClientSession, workspace: Workspace, openai: OpenAI
) -> None:
    visitor = await ask_openai(client, workspace, openai.base_url("silent"), columns={"time_limit_seconds": 5})
    async with asyncio.timeout(4), visitor.post("a word") as response:
        heard = events.read(response)
        assert [(await anext(heard)).name, (await anext(heard)).data["text"]] == ["turn", "You wr"]


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        ("failing-late", "persona_failed"),
        ("cut", "persona_cut_off"),
        ("silent", "persona_timeout"),
        ("filtered", "persona_declined"),
    ],
)
async def test_the_text_before_an_error_is_kept(
    client: aiohttp.ClientSession, workspace: Workspace, openai: OpenAI, behaviour: str, code: str
) -> None:
    openai.say("filtered", event(chunk("You wr")), event(chunk(finish="content_filter")), DONE)
    visitor = await ask_openai(client, workspace, openai.base_url(behaviour), columns={"time_limit_seconds": 1})
    await failed_turn(workspace, visitor, await visitor.say("a word"), code, "You wr")


async def test_the_detail_of_a_refused_secret_is_stored_without_the_secret(
    client: aiohttp.ClientSession, workspace: Workspace, openai: OpenAI
) -> None:
    body = json.dumps({"error": {"message": f"Incorrect API key provided: {SECRET}"}}).encode()
    visitor = await ask_openai(client, workspace, openai.say("telling", body, status=401))
    heard = await visitor.say("a word")
    assert heard[-1].data["code"] == "persona_refused"
    assert "key" not in json.dumps(heard[-1].data)
    stored = await workspace.row("select detail from public.turn_errors where workspace_id = $1", workspace.id)
    assert stored["detail"].endswith("(401: Incorrect API key provided: [secret])")
