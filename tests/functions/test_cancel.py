"""Stopping, interrupting and going on, over HTTP."""

import asyncio
import time
from uuid import UUID

import aiohttp
import pytest

from local.stack import Stack
from tests import events
from tests.events import Received, text_of
from tests.functions.conftest import Visitor, Workspace, ask_n8n, problem
from tests.functions.test_chat import sign_in
from tests.standins.n8n import N8n


async def _slow(client: aiohttp.ClientSession, workspace: Workspace, **columns: object) -> Visitor:
    persona_id = await workspace.add_persona("demo", {"delay_ms": 200}, **columns)
    return Visitor(client, await workspace.add_space(persona_id=persona_id))


async def _cancel(visitor: Visitor, turn_id: str) -> tuple[int, dict[str, object]]:
    async with visitor.client.post(f"/turns/{turn_id}/cancel", headers=visitor.headers) as response:
        return response.status, await response.json()


async def _message(workspace: Workspace, turn_id: str) -> dict[str, object]:
    return await workspace.row(
        "select text, partial from public.messages where turn_id = $1 and role = 'persona'", UUID(turn_id)
    )


async def test_a_cancel_ends_the_stream_and_keeps_exactly_what_was_seen(
    client: aiohttp.ClientSession, workspace: Workspace
) -> None:
    slow = await _slow(client, workspace)
    heard: list[Received] = []
    async with slow.post("tell me everything") as response:
        reading = events.read(response)
        async for event in reading:
            heard.append(event)
            slow.token = event.data.get("token", slow.token)
            if len(heard) == 5:
                break
        started = time.monotonic()
        cancelling = asyncio.create_task(_cancel(slow, heard[0].data["turn_id"]))
        heard += [event async for event in reading]
        status, answer = await cancelling
    assert time.monotonic() - started < 5
    assert heard[-1].name == "done"
    assert heard[-1].data["status"] == "cancelled"
    text = text_of(heard)
    assert status == 200
    assert (answer["status"], answer["text_length"]) == ("cancelled", len(text))
    assert await _message(workspace, heard[0].data["turn_id"]) == {"text": text, "partial": True}
    # Once more changes nothing, and the conversation goes on with what was said.
    assert (await _cancel(slow, heard[0].data["turn_id"]))[1] == answer
    assert "2 earlier messages" in text_of(await slow.say("and now?"))


async def test_a_silent_persona_is_stopped_within_seconds(
    client: aiohttp.ClientSession, workspace: Workspace, n8n: N8n
) -> None:
    visitor = await ask_n8n(client, workspace, n8n.url("slow"), time_limit_seconds=60)
    async with visitor.post("hello") as response:
        reading = events.read(response)
        opened = await anext(reading)
        visitor.token = opened.data["token"]
        started = time.monotonic()
        status, answer = await _cancel(visitor, opened.data["turn_id"])
        assert time.monotonic() - started < 5
        (done,) = [event async for event in reading]
    assert (status, answer["status"], answer["text_length"]) == (200, "cancelled", 0)
    assert (done.name, done.data["status"]) == ("done", "cancelled")


async def test_a_reader_who_left_can_still_cancel(client: aiohttp.ClientSession, workspace: Workspace) -> None:
    slow = await _slow(client, workspace)
    async with slow.post("hello") as response:
        opened = await anext(events.read(response))
        slow.token = opened.data["token"]
    _, answer = await _cancel(slow, opened.data["turn_id"])
    assert answer["status"] == "cancelled"
    heard = await slow.resume(opened.data["turn_id"])
    assert (heard[-1].name, heard[-1].data["status"]) == ("done", "cancelled")
    assert len(text_of(heard)) == answer["text_length"]


async def test_nobody_cancels_what_is_not_theirs(
    visitor: Visitor, client: aiohttp.ClientSession, workspace: Workspace, stack: Stack
) -> None:
    slow = await _slow(client, workspace)
    await visitor.say("hello")
    owner_of_another = {"Authorization": f"Bearer {await sign_in(client, stack, 'owner@demo.test')}"}
    async with slow.post("hello") as response:
        opened = await anext(events.read(response))
        path = f"/turns/{opened.data['turn_id']}/cancel"
        for headers, status, code in (
            ({}, 401, "token_missing"),
            (visitor.headers, 404, "turn_not_found"),
            (owner_of_another, 404, "turn_not_found"),
        ):
            async with client.post(path, headers=headers) as refused:
                assert refused.status == status
                assert (await problem(refused))["code"] == code
        turn = await workspace.row(
            "select status::text, cancel_requested_at from public.turns where id = $1", UUID(opened.data["turn_id"])
        )
        assert turn == {"status": "active", "cancel_requested_at": None}


@pytest.mark.parametrize("turn_id", ["not-an-id", "00000000-0000-7000-8000-00000000dead"])
async def test_there_is_nothing_to_cancel(visitor: Visitor, turn_id: str) -> None:
    await visitor.say("hello")
    async with visitor.client.post(f"/turns/{turn_id}/cancel", headers=visitor.headers) as response:
        assert response.status == 404
        assert (await problem(response))["code"] == "turn_not_found"


async def test_a_message_interrupts_the_answer_before_where_the_persona_says_so(
    client: aiohttp.ClientSession, workspace: Workspace
) -> None:
    slow = await _slow(client, workspace, turn_policy="interrupt")
    await slow.say("hi")
    async with slow.post("tell me everything") as first:
        reading = events.read(first)
        heard = [await anext(reading) for _ in range(4)]
        # The next answer, which nobody interrupts, is given without a pause.
        await workspace.database.execute(
            "update public.personas set config = '{\"delay_ms\": 0}' where workspace_id = $1", workspace.id
        )
        second = asyncio.create_task(slow.say("never mind"))
        heard += [event async for event in reading]
    answered = await second
    assert (heard[-1].name, heard[-1].data["status"]) == ("done", "cancelled")
    assert (answered[-1].name, answered[-1].data["status"]) == ("done", "completed")
    assert await _message(workspace, heard[0].data["turn_id"]) == {"text": text_of(heard), "partial": True}
    assert "4 earlier messages" in text_of(answered), "what was cut off is history too"


async def test_a_timed_out_session_is_recovered_with_its_history(visitor: Visitor, workspace: Workspace) -> None:
    heard = await visitor.say("my order is 7")
    session_id = heard[0].data["session_id"]
    await workspace.database.execute(
        "update public.sessions set status = 'timeout', ended_at = now() where id = $1", UUID(session_id)
    )
    path = f"/chat-sessions/{session_id}/recover"
    async with visitor.client.post(path, headers=visitor.headers) as response:
        assert response.status == 200
        back = await response.json()
    assert (back["status"], back["changed"], back["last_turn"]["status"]) == ("active", True, "completed")
    assert [said["text"] for said in back["messages"]] == ["my order is 7", text_of(heard)]
    following = await visitor.say("which was it?")
    assert following[0].data["session_id"] == session_id
    assert "2 earlier messages" in text_of(following)
    stranger = Visitor(visitor.client, visitor.space_id)
    await stranger.say("hello")
    async with visitor.client.post(path, headers=stranger.headers) as refused:
        assert (await problem(refused))["code"] == "session_not_found"
    async with visitor.client.post(path) as refused:
        assert (await problem(refused))["code"] == "token_missing"
    await workspace.database.execute(
        "update public.sessions set status = 'completed', ended_at = now() where id = $1", UUID(session_id)
    )
    async with visitor.client.post(path, headers=visitor.headers) as refused:
        assert refused.status == 409
        document = await problem(refused)
    assert (document["code"], document["session_status"]) == ("transition_not_allowed", "completed")
