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
from tests.functions.conftest import Visitor, Workspace
from tests.standins.openai import DONE, MODEL, SECRET, USAGE, OpenAI, chunk, event


@pytest_asyncio.fixture
async def openai() -> AsyncIterator[OpenAI]:
    """A server of a model that answers as OpenAI's does."""
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
    """Somebody in a space whose persona is the model behind this URL."""
    await workspace.allow_loopback()
    secret_id = await workspace.add_secret(SECRET)
    config = {"base_url": base_url, "model": MODEL, **config}
    persona_id = await workspace.add_persona("openai", config, secret_id=secret_id, **(columns or {}))
    return Visitor(client, await workspace.add_space(persona_id=persona_id))


def sent(openai: OpenAI) -> list[list[tuple[str, str]]]:
    """The messages of every request."""
    return [[(said["role"], said["content"]) for said in received.body["messages"]] for received in openai.received]


async def test_system_prompt_and_history_reach_the_model(
    client: aiohttp.ClientSession, workspace: Workspace, openai: OpenAI
) -> None:
    visitor = await ask_openai(
        client, workspace, openai.base_url("secured"), system_prompt="Be brief.", columns={"history_limit": 3}
    )
    for message in ("one", "two", "three"):
        assert text_of(await visitor.say(message)) == f"You wrote: {message}"
    system = ("system", "Be brief.")
    assert sent(openai) == [
        [system, ("user", "one")],
        [system, ("user", "one"), ("assistant", "You wrote: one"), ("user", "two")],
        [system, ("assistant", "You wrote: one"), ("user", "two"), ("assistant", "You wrote: two"), ("user", "three")],
    ]


async def test_the_history_is_bounded_by_its_characters(
    client: aiohttp.ClientSession, workspace: Workspace, openai: OpenAI
) -> None:
    visitor = await ask_openai(client, workspace, openai.base_url("secured"), history_characters=20)
    await visitor.say("a first message of some length")
    await visitor.say("two")
    await visitor.say("three")
    assert sent(openai)[2] == [("user", "two"), ("assistant", "You wrote: two"), ("user", "three")]


async def test_what_was_used_is_told_and_stored(
    client: aiohttp.ClientSession, workspace: Workspace, openai: OpenAI
) -> None:
    visitor = await ask_openai(client, workspace, openai.base_url("secured"))
    heard = await visitor.say("a word")
    usage = {**USAGE, "finish_reason": "stop", "model": f"{MODEL}-2026-11-01"}
    # Tokens that came together are one delta.
    names = [event.name for event in heard]
    assert (names[0], set(names[1:-1]), names[-1]) == ("turn", {"delta"}, "done")
    assert heard[-1].data["usage"] == usage
    turn_id = heard[0].data["turn_id"]
    turn = await workspace.row("select usage, status from public.turns where id = $1", UUID(turn_id))
    assert (json.loads(turn["usage"]), turn["status"]) == (usage, "completed")
    assert (await visitor.resume(turn_id))[-1].data["usage"] == usage


async def test_a_token_is_with_the_reader_before_the_next_is_said(
    client: aiohttp.ClientSession, workspace: Workspace, openai: OpenAI
) -> None:
    visitor = await ask_openai(client, workspace, openai.base_url("silent"), columns={"time_limit_seconds": 5})
    async with asyncio.timeout(4), visitor.post("a word") as response:
        heard = events.read(response)
        assert [(await anext(heard)).name, (await anext(heard)).data["text"]] == ["turn", "You wr"]


@pytest.mark.parametrize(
    ("behaviour", "status", "code"),
    [
        ("failing-late", "failed", "persona_failed"),
        ("cut", "failed", "persona_cut_off"),
        ("silent", "timeout", "persona_timeout"),
        ("filtered", "failed", "persona_declined"),
    ],
)
async def test_what_was_said_before_an_error_is_kept(
    client: aiohttp.ClientSession, workspace: Workspace, openai: OpenAI, behaviour: str, status: str, code: str
) -> None:
    openai.say("filtered", event(chunk("You wr")), event(chunk(finish="content_filter")), DONE)
    visitor = await ask_openai(client, workspace, openai.base_url(behaviour), columns={"time_limit_seconds": 1})
    heard = await visitor.say("a word")
    assert text_of(heard) == "You wr"
    assert (heard[-1].name, heard[-1].data["code"]) == ("error", code)
    turn = await workspace.row("select * from public.turns where id = $1", UUID(heard[0].data["turn_id"]))
    assert (turn["status"], turn["error_code"]) == (status, code)
    answer = await workspace.row(
        "select text, partial from public.messages where turn_id = $1 and role = 'persona'", turn["id"]
    )
    assert (answer["text"], answer["partial"]) == ("You wr", True)
    assert (await visitor.resume(str(turn["id"])))[-1].data == heard[-1].data


async def test_a_secret_that_is_refused_is_told_to_members_without_it(
    client: aiohttp.ClientSession, workspace: Workspace, openai: OpenAI
) -> None:
    body = json.dumps({"error": {"message": f"Incorrect API key provided: {SECRET}"}}).encode()
    visitor = await ask_openai(client, workspace, openai.say("telling", body, status=401))
    heard = await visitor.say("a word")
    assert heard[-1].data["code"] == "persona_refused"
    assert "key" not in json.dumps(heard[-1].data)
    stored = await workspace.row("select detail from public.turn_errors where workspace_id = $1", workspace.id)
    assert stored["detail"].endswith("(401: Incorrect API key provided: [secret])")
