"""The live view over HTTP: answers as they are typed, a user's current conversation, and a workspace's list.

How a conversation is followed is test_conversations'; that nothing is lost or repeated, test_live_property's.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from local.stack import Stack
from tests import events
from tests.events import Received
from tests.functions.conftest import Visitor, Workspace, another_process, until_healthy
from tests.functions.people import Person, Staff
from tests.functions.test_conversations import begun, following, take
from tests.standins.openai import OpenAI


@asynccontextmanager
async def reading(person: Person, path: str, last: str = "") -> AsyncIterator[AsyncIterator[Received]]:
    """The events of a stream as they come."""
    headers = {"Authorization": f"Bearer {person.token}", "Last-Event-ID": last}
    async with person.client.get(path, headers=headers) as response:
        assert response.status == 200, await response.text()
        yield events.read(response)


async def test_a_contact_and_a_member_see_an_answer_as_it_is_typed(
    held_visitor: Visitor, openai: OpenAI, staff: Staff
) -> None:
    contact = Person(held_visitor.client, uuid4(), "", held_visitor.token)
    (session,) = (await contact.done("GET", "/chat-sessions"))["items"]
    where = session["conversation_id"]
    async with AsyncExitStack() as rest:
        own, members = [await rest.enter_async_context(following(who, where)) for who in (contact, staff.owner)]
        answer = await rest.enter_async_context(held_visitor.post("hello"))
        for stream in (own, members):
            _, asked, typed = await take(stream, 3)
            assert (asked.name, asked.data["text"]) == ("message", "hello")
            assert (typed.name, typed.data["text"]) == ("delta", "You wrote:")
            assert typed.data["turn_id"] == asked.data["turn_id"]
            assert typed.id == f"{asked.id}.{asked.data['turn_id']}.10"
        resumed = await rest.enter_async_context(following(contact, where, headers={"Last-Event-ID": typed.id}))
        assert [event.name for event in await take(resumed, 1)] == ["session"]
        await openai.release()
        await answer.read()
        for stream in (own, members, resumed):
            heard = await take(stream, 1)
            while heard[-1].name == "delta":
                heard += await take(stream, 1)
            assert (heard[-1].name, heard[-1].data["text"]) == ("message", "You wrote: hello")
            assert "You wrote: hello".startswith("You wrote:" + events.text_of(heard))
            assert heard[-1].id == heard[-1].data["id"]


async def test_the_current_conversation_is_the_one_with_the_newest_message(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff
) -> None:
    user, spaces = staff.stranger, [workspace.space_id, await workspace.add_space(persona_id=workspace.persona_id)]
    assert await user.done("GET", "/conversations/current") == {"ok": True, "messages": []}
    async with reading(user, "/conversations/current/stream") as live:
        assert [(event.name, event.data) for event in await take(live, 1)] == [
            ("conversation", {"conversation_id": None})
        ]
        found = []
        for number, space_id in enumerate(spaces):
            persona = await workspace.add_persona("demo", {"delay_ms": 0})
            await workspace.database.execute(
                "update public.spaces set persona_id = $2 where id = $1", space_id, persona
            )
            said = (await Visitor(client, space_id, user.token).say(f"Hello {number}"))[0].data
            found.append(said["conversation_id"])
            moved, state, asked, answered = await take(live, 4)
            assert (moved.name, moved.data["conversation_id"]) == ("conversation", found[-1])
            assert state.data["user_id"] == str(user.id)
            assert (asked.data["text"], answered.data["role"]) == (f"Hello {number}", "persona")
        current = await user.done("GET", "/conversations/current")
        assert (current["conversation"]["id"], current["ok"]) == (found[1], True)
        assert [message["id"] for message in current["messages"]] == [asked.data["id"], answered.data["id"]]
    ticket = await user.done("POST", "/stream-tickets", {"conversation_id": "current"})
    # A message of a former conversation is no position in the current one, which is streamed from its beginning.
    for last, count in ((asked.id, 1), (found[0], 2)):
        async with client.get(f"{ticket['path']}?sid={ticket['ticket']}", headers={"Last-Event-ID": last}) as response:
            live = events.read(response)
            assert [event.name for event in await take(live, 2 + count)] == ["conversation", "session"] + [
                "message"
            ] * count


async def test_members_see_the_changes_in_their_own_lists(visitor: Visitor, staff: Staff, workspace: Workspace) -> None:
    path = f"/workspaces/{workspace.id}/stream"
    async with reading(staff.owner, path) as all_of_it, reading(staff.agent, path) as assigned:
        for stream in (all_of_it, assigned):
            assert [(event.name, event.data) for event in await take(stream, 1)] == [("begin", {"reset": False})]
        _, where, session, contact = await begun(visitor)
        changed = await until(all_of_it, lambda data: data.get("message_count") == 2)
        assert changed.data["last_message"]["role"] == "persona"
        ids = {"session_id": session, "conversation_id": where, "contact_id": contact}
        assert changed.data == changed.data | ids | {"status": "active", "taken_over": False}
        assert set(changed.data) == {
            "session_id", "conversation_id", "contact_id", "persona_id", "status", "taken_over", "message_count",
            "created_at", "last_activity_at", "last_message",
        }  # fmt: skip
        to_agent = {"user_id": str(staff.agent.id)}
        await staff.owner.done("PATCH", f"/chat-sessions/{session}/assign", to_agent)
        for stream in (all_of_it, assigned):
            (event,) = await take(stream, 1)
            assert (event.name, event.data["assigned_user_id"]) == ("session", str(staff.agent.id))
        await staff.agent.done("POST", f"/chat-sessions/{session}/takeover")
        for stream in (all_of_it, assigned):
            (event,) = await take(stream, 1)
            assert event.data["taken_over"] is True
        await staff.owner.done("PATCH", f"/chat-sessions/{session}/assign", {"user_id": None})
        (event,) = await take(assigned, 1)
        assert (event.name, event.data) == ("removed", {"session_id": session})
        (last,) = await take(all_of_it, 1)
        assert "assigned_user_id" not in last.data
        leave = "delete from public.workspace_members where user_id = $1"
        await workspace.database.execute(leave, staff.agent.id)
        (end,) = await take(assigned, 1)
        ended = {"code": "workspace_not_found", "title": "There is no such workspace.", "retryable": False}
        assert (end.name, end.data) == ("error", ended)
    async with reading(staff.owner, path, last.id) as again:
        await take(again, 1)
        await staff.owner.done("PATCH", f"/chat-sessions/{session}/complete")
        (event,) = await take(again, 1)
        assert event.data["status"] == "completed", (last, event)
    async with reading(staff.owner, path, event.id) as again:
        await take(again, 1)
        for method, where, body in (
            ("PUT", f"/chat-sessions/{session}/tags", {"tags": ["vip"]}),
            ("PATCH", f"/contacts/{contact}", {"first_name": "Ann"}),
        ):
            await staff.owner.done(method, where, body)
            (event,) = await take(again, 1)
            assert (event.name, event.data["session_id"], event.data["status"]) == ("session", session, "completed")
    async with reading(staff.owner, path, event.id) as again:
        await visitor.say("hello again")
        begin, event = await take(again, 2)
        assert (begin.data, event.data["session_id"] != session) == ({"reset": False}, True)
    old = f"{int(time.time() * 1e6) - 3_600_000_000}"
    async with reading(staff.owner, path, old) as again:
        assert [event.data for event in await take(again, 1)] == [{"reset": True}]


async def until(stream: AsyncIterator[Received], fits: Any) -> Received:
    """The next event that fits."""
    async with asyncio.timeout(10):
        while not fits((event := await anext(stream)).data):
            pass
        return event


@pytest.mark.parametrize("path", ["/workspaces/{workspace}/stream?after=soon", "/conversations/current/stream?after=5"])
async def test_a_position_that_is_none_is_refused(staff: Staff, workspace: Workspace, path: str) -> None:
    asked = path.replace("{workspace}", str(workspace.id))
    assert await staff.owner.refused("GET", asked) == (422, "invalid_body")


async def test_announced_changes_arrive_at_once_while_a_process_listens(
    workspace: Workspace, staff: Staff, stack: Stack
) -> None:
    async with AsyncExitStack() as rest:
        url = rest.enter_context(another_process(stack, SWITCHBOARD_LISTEN="true"))
        await until_healthy(url)
        client = await rest.enter_async_context(aiohttp.ClientSession(url))
        visitor, owner = Visitor(client, workspace.space_id), Person(client, staff.owner.id, "", staff.owner.token)
        contact, where, session, _ = await begun(visitor)
        await owner.done("POST", f"/chat-sessions/{session}/takeover")
        lists = await rest.enter_async_context(reading(owner, f"/workspaces/{workspace.id}/stream"))
        live = await rest.enter_async_context(following(contact, where, params={"after": "latest"}))
        await take(lists, 1)
        await take(live, 1)
        await asyncio.sleep(0.5)
        waits = list[float]()
        for number in range(10):
            began = time.monotonic()
            await owner.done("POST", f"/chat-sessions/{session}/messages", {"text": f"Hello {number}"})
            (spoken,) = await take(live, 1)
            (changed,) = await take(lists, 1)
            waits.append(time.monotonic() - began)
            assert spoken.data["text"] == changed.data["last_message"]["text"] == f"Hello {number}"
        assert sorted(waits)[7] < 0.5, waits
