"""Cancelling, interrupting and recovering over HTTP.

Who may cancel is test_isolation's and tests/database's; a cancel after a disconnect is test_use_chat's.
"""

import asyncio
from typing import Any
from uuid import UUID

import aiohttp

from tests import events
from tests.events import text_of
from tests.functions.conftest import Visitor, Workspace, ask_n8n, problem
from tests.standins.n8n import N8n


async def slow(client: aiohttp.ClientSession, workspace: Workspace, **columns: object) -> Visitor:
    persona_id = await workspace.add_persona("demo", {"delay_ms": 200}, **columns)
    return Visitor(client, await workspace.add_space(persona_id=persona_id))


async def cancel(visitor: Visitor, turn_id: str) -> dict[str, Any]:
    async with visitor.client.post(f"/turns/{turn_id}/cancel", headers=visitor.headers) as response:
        assert response.status == 200
        answer: dict[str, Any] = await response.json()
        return answer


async def message_of(workspace: Workspace, turn_id: str) -> dict[str, object]:
    return await workspace.row(
        "select text, partial from public.messages where turn_id = $1 and role = 'persona'", UUID(turn_id)
    )


async def test_a_cancel_ends_the_stream_and_keeps_exactly_the_sent_text(
    client: aiohttp.ClientSession, workspace: Workspace
) -> None:
    visitor = await slow(client, workspace)
    async with asyncio.timeout(10), visitor.post("tell me everything") as response:
        reading = events.read(response)
        heard = [await anext(reading) for _ in range(5)]
        turn_id, visitor.token = heard[0].data["turn_id"], heard[0].data["token"]
        cancelling = asyncio.create_task(cancel(visitor, turn_id))
        heard += [event async for event in reading]
    answer, text = await cancelling, text_of(heard)
    assert (heard[-1].name, heard[-1].data["status"]) == ("done", "cancelled")
    assert (answer["status"], answer["text_length"]) == ("cancelled", len(text))
    assert await message_of(workspace, turn_id) == {"text": text, "partial": True}
    assert await cancel(visitor, turn_id) == answer
    assert "2 earlier messages" in text_of(await visitor.say("and now?"))


async def test_a_silent_persona_is_stopped_before_its_time_limit(
    client: aiohttp.ClientSession, workspace: Workspace, n8n: N8n
) -> None:
    visitor = await ask_n8n(client, workspace, n8n.url("slow"), time_limit_seconds=60)
    async with asyncio.timeout(10), visitor.post("hello") as response:
        reading = events.read(response)
        opened = await anext(reading)
        visitor.token = opened.data["token"]
        answer = await cancel(visitor, opened.data["turn_id"])
        (done,) = [event async for event in reading]
    assert (answer["status"], answer["text_length"]) == ("cancelled", 0)
    assert (done.name, done.data["status"]) == ("done", "cancelled")


async def test_a_message_interrupts_the_answer_if_the_persona_allows_it(
    client: aiohttp.ClientSession, workspace: Workspace
) -> None:
    visitor = await slow(client, workspace, turn_policy="interrupt")
    await visitor.say("hi")
    async with visitor.post("tell me everything") as first:
        reading = events.read(first)
        heard = [await anext(reading) for _ in range(4)]
        second = asyncio.create_task(visitor.say("never mind"))
        heard += [event async for event in reading]
    answered = await second
    assert (heard[-1].name, heard[-1].data["status"]) == ("done", "cancelled")
    assert (answered[-1].name, answered[-1].data["status"]) == ("done", "completed")
    assert await message_of(workspace, heard[0].data["turn_id"]) == {"text": text_of(heard), "partial": True}
    assert "4 earlier messages" in text_of(answered)


async def test_a_timed_out_session_is_recovered_with_its_history(visitor: Visitor, workspace: Workspace) -> None:
    async def recover(headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        async with visitor.client.post(f"/chat-sessions/{session_id}/recover", headers=headers) as response:
            return response.status, await (problem(response) if response.status >= 400 else response.json())

    async def end(status: str) -> None:
        query = "update public.sessions set status = $2::text::public.session_status, ended_at = now() where id = $1"
        await workspace.database.execute(query, UUID(session_id), status)

    heard = await visitor.say("my order is 7")
    session_id = heard[0].data["session_id"]
    await end("timeout")
    status, back = await recover(visitor.headers)
    assert (status, back["status"], back["changed"], back["last_turn"]["status"]) == (200, "active", True, "completed")
    assert [said["text"] for said in back["messages"]] == ["my order is 7", text_of(heard)]
    following = await visitor.say("which was it?")
    assert following[0].data["session_id"] == session_id
    assert "2 earlier messages" in text_of(following)
    assert (await recover({}))[1]["code"] == "token_missing"
    await end("completed")
    status, document = await recover(visitor.headers)
    assert (status, document["code"], document["session_status"]) == (409, "transition_not_allowed", "completed")
