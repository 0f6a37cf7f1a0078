"""Parts of the backend fail: it is said, nothing is half-written, and it goes on by itself."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from uuid import UUID

import aiohttp
import pytest

from local.stack import Stack
from tests import events
from tests.functions.conftest import Visitor, Workspace, problem

EMAIL = {"email": "ana@example.com"}


async def all_up(client: aiohttp.ClientSession, path: str) -> None:
    """Wait until a registration is accepted again; whoever answers meanwhile answers a well-formed 503."""
    async with asyncio.timeout(60):
        while not await registers(client, path):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def registers(client: aiohttp.ClientSession, path: str) -> bool:
    try:
        async with client.post(path, json=EMAIL) as response:
            if response.status == 201:
                return True
            assert response.status == 503, await response.text()
            assert (await problem(response))["code"] == "backend_unavailable"
            assert response.headers["retry-after"] == "1"
    except aiohttp.ClientConnectorError:
        pass  # the functions' own server is on its way back
    return False


@contextlib.asynccontextmanager
async def without(stack: Stack, part: str) -> AsyncIterator[None]:
    """A part of the backend is killed and stays away inside."""
    supervisor = stack.pids()["supervisor"]
    os.kill(supervisor, signal.SIGSTOP)  # so that nobody brings it back before we have looked
    try:
        os.kill(stack.pids()[part], signal.SIGKILL if part == "postgrest" else signal.SIGINT)
        await asyncio.sleep(0.5)
        yield
    finally:
        os.kill(supervisor, signal.SIGCONT)


@pytest.mark.parametrize("part", ["postgrest", "postgres"])
async def test_while_a_part_of_the_backend_is_down_it_is_said_and_then_it_goes_on(
    client: aiohttp.ClientSession, stack: Stack, workspace: Workspace, part: str
) -> None:
    visitor = Visitor(client, workspace.space_id)
    conversation_id = (await visitor.say("hello"))[0].data["conversation_id"]
    register, chat = f"/space/{workspace.space_id}/register", f"/space/{workspace.space_id}/chat/stream"
    read = f"/conversations/{conversation_id}/chat-sessions"
    headers = {"Authorization": f"Bearer {visitor.token}"}
    requests = (("POST", register, EMAIL), ("POST", chat, {"message": "x"}), ("GET", read, None))
    async with without(stack, part):
        for method, path, body in requests:
            async with client.request(method, path, json=body, headers=headers) as response:
                # Only queries need PostgREST.
                if part == "postgrest" and method == "POST":
                    assert response.status in (200, 201), await response.text()
                    await response.read()
                    continue
                assert response.status == 503
                assert (await problem(response))["code"] == "backend_unavailable"
                assert response.headers["retry-after"] == "1"
    await all_up(client, register)


async def status(workspace: Workspace, turn_id: UUID) -> str:
    found: str = await workspace.database.fetchval("select status from public.turns where id = $1", turn_id)
    return found


async def test_a_functions_server_that_stops_finishes_its_turns_first(
    client: aiohttp.ClientSession, stack: Stack, workspace: Workspace
) -> None:
    persona_id = await workspace.add_persona("demo", {"delay_ms": 2_000})
    visitor = Visitor(client, await workspace.add_space(persona_id=persona_id))
    heard = []
    async with visitor.post("hello") as response:
        with contextlib.suppress(aiohttp.ClientError):
            async for event in events.read(response):
                heard.append(event)
                if len(heard) == 2:
                    os.kill(stack.pids()["gateway"], signal.SIGTERM)
    turn_id = UUID(heard[0].data["turn_id"])
    async with asyncio.timeout(30):
        while await status(workspace, turn_id) == "active":  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    turn = await workspace.row("select status, error_code from public.turns where id = $1", turn_id)
    assert (turn["status"], turn["error_code"]) == ("failed", "turn_interrupted")
    said = await workspace.row(
        "select text, partial from public.messages where turn_id = $1 and role = 'persona'", turn_id
    )
    assert said["text"].startswith(heard[1].data["text"])
    assert said["partial"] is True
    await all_up(client, f"/space/{workspace.space_id}/register")
