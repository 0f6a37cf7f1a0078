"""Following a conversation over HTTP: a member's messages reach the contact's page as they are sent.

Who may follow is test_access's and tests/database/test_following.py's, concurrent readers are the latter's.
"""

import asyncio
import hmac
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from local.stack import Stack
from tests import events
from tests.events import Received
from tests.functions.conftest import Visitor, Workspace
from tests.functions.people import Person, Staff, stock_client


async def begun(visitor: Visitor) -> tuple[Person, str, str, str]:
    """The contact of a first message, with the ids of the conversation, the session and the contact."""
    opened = (await visitor.say("hello"))[0].data
    person = Person(visitor.client, uuid4(), "", visitor.token)
    return person, opened["conversation_id"], opened["session_id"], opened["contact_id"]


@asynccontextmanager
async def following(person: Person, conversation_id: str, **more: Any) -> AsyncIterator[AsyncIterator[Received]]:
    """A conversation's events as they come."""
    headers = more.pop("headers", {}) | {"Authorization": f"Bearer {person.token}"}
    async with person.client.get(f"/conversations/{conversation_id}/stream", headers=headers, **more) as response:
        assert response.status == 200, await response.text()
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        yield events.read(response)


async def take(reading: AsyncIterator[Received], count: int) -> list[Received]:
    """The next events, within ten seconds."""
    async with asyncio.timeout(10):
        return [await anext(reading) for _ in range(count)]


async def test_the_history_is_read_page_by_page_and_by_the_stock_client(
    visitor: Visitor, staff: Staff, stack: Stack
) -> None:
    contact, conversation_id, session_id, contact_id = await begun(visitor)
    for text in ("one", "two", "three"):
        await visitor.say(text)
    path = f"/conversations/{conversation_id}/messages"
    for person in (contact, staff.owner):
        read = [message for page in await person.pages(path, 3) for message in page]
        assert [message["role"] for message in read] == ["persona", "contact"] * 4
        assert [message["text"] for message in read[1::2]] == ["three", "two", "one", "hello"]
        assert {message.get("proof") for message in read[1::2]} == {"asserted"}
        assert read[0]["session_id"] == session_id
        assert all("user_id" not in message for message in read)
        rows = await stock_client(stack, person, "conversation_messages", ("eq", "conversation_id", conversation_id))
        assert [row["id"] for row in rows] == [message["id"] for message in read]
        assert {row["contact_id"] for row in rows[1::2]} == {contact_id}
    for query in ("limit=0", "cursor=x", "before=1"):
        status, problem = await contact.ask("GET", f"{path}?{query}")
        assert (status, problem["title"]) == (422, "The query is not valid for this route.")
        assert problem["detail"].startswith(query.partition("=")[0])
    assert await staff.agent.refused("GET", path) == (404, "conversation_not_found")


async def test_members_see_whether_the_person_has_proven_who_they_are(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff
) -> None:
    space_id = await workspace.add_space(hmac_secret_id=await workspace.add_secret("shop-secret"))
    arrival: dict[str, str] = {"email": "ana@example.com"}
    signature = hmac.digest(b"shop-secret", arrival["email"].encode(), "sha256").hex()
    for proof, more in (("asserted", {}), ("verified", {"email_hmac": signature})):
        visitor = Visitor(client, space_id)
        opened = (await visitor.say("hello", **arrival, **more))[0].data
        session_id, where = opened["session_id"], opened["conversation_id"]
        (item,) = (await staff.owner.done("GET", f"/conversations/{where}/chat-sessions"))["items"]
        detail = await staff.owner.done("GET", f"/chat-sessions/{session_id}")
        work = await staff.owner.done("POST", f"/chat-sessions/{session_id}/activity")
        assert [item["proof"], detail["proof"], work["proof"]] == [proof] * 3
        assert [message.get("proof") for message in detail["messages"]] == [proof, None]
        async with following(staff.owner, where) as reading:
            assert [event.data.get("proof") for event in await take(reading, 3)] == [proof, proof, None]
        activity = await staff.owner.done("GET", f"/contacts/{opened['contact_id']}/activity")
        assert {each["session_id"]: each["proof"] for each in activity["latest_sessions"]}[session_id] == proof
        seen = await Person(client, uuid4(), "", visitor.token).done("GET", f"/chat-sessions/{session_id}")
        assert "proof" not in seen
        assert "proof" not in seen["messages"][0]


async def test_a_stream_has_the_stored_messages_and_then_each_new_event(visitor: Visitor, staff: Staff) -> None:
    ann, where, session, contact = await begun(visitor)
    path = f"/chat-sessions/{session}"
    async with following(ann, where) as reading:
        state, asked, answered = await take(reading, 3)
        assert state.name == "session"
        linked = {"session_id": session, "status": "active", "taken_over": False, "contact_id": contact}
        assert state.data == linked
        assert (asked.name, asked.data["role"], asked.data["text"]) == ("message", "contact", "hello")
        assert set(answered.data) == {"id", "session_id", "turn_id", "role", "text", "partial", "created_at"}
        assert (answered.data["role"], answered.id) == ("persona", answered.data["id"])
        assert asked.data["turn_id"] == answered.data["turn_id"] is not None

        await staff.owner.done("POST", f"{path}/takeover")
        (taken,) = await take(reading, 1)
        assert (taken.name, taken.data["taken_over"], taken.id) == ("session", True, answered.id)
        began = time.monotonic()
        await staff.owner.done("POST", f"{path}/messages", {"text": "A person here."})
        (spoken,) = await take(reading, 1)
        assert time.monotonic() - began < 4
        assert (spoken.data["role"], spoken.data["text"], spoken.data["turn_id"]) == ("member", "A person here.", None)
        await visitor.say("Good to hear.")
        captured = {"text": "By mail", "role": "contact", "source": "email"}
        sent = await staff.owner.done("POST", f"/contacts/{contact}/messages", captured)
        own, mail = await take(reading, 2)
        assert (own.data["role"], own.data["text"]) == ("contact", "Good to hear.")
        assert (mail.data["id"], mail.data["role"], mail.data["text"]) == (sent["message_id"], "contact", "By mail")
        await staff.owner.done("POST", f"{path}/handback")
        (back,) = await take(reading, 1)
        assert (back.name, back.data["taken_over"]) == ("session", False)


@pytest.mark.parametrize("way", ["headers", "params"])
async def test_a_stream_resumes_after_the_last_event(visitor: Visitor, way: str) -> None:
    ann, where, _, _ = await begun(visitor)
    async with following(ann, where) as reading:
        last = (await take(reading, 3))[-1].id
    await visitor.say("and then?")
    named: dict[str, Any] = {way: {"Last-Event-ID" if way == "headers" else "after": last}}
    async with following(ann, where, **named) as reading:
        state, asked, answered = await take(reading, 3)
        assert (state.name, state.id) == ("session", last), "a reader who disconnects here misses nothing"
        assert (asked.data["text"], answered.data["role"]) == ("and then?", "persona")
    async with following(ann, where, params={"after": "latest"}) as reading:
        (state,) = await take(reading, 1)
        assert (state.name, state.id) == ("session", answered.id)


async def test_a_member_follows_a_conversation_until_they_lose_access(
    visitor: Visitor, staff: Staff, workspace: Workspace
) -> None:
    _, where, session, _ = await begun(visitor)
    assert await staff.owner.refused("GET", f"/conversations/{where}/stream?after=soon") == (422, "invalid_body")
    assign = {"user_id": str(staff.agent.id)}
    await staff.owner.done("PATCH", f"/chat-sessions/{session}/assign", assign)
    async with following(staff.agent, where) as reading:
        assert [event.name for event in await take(reading, 3)] == ["session", "message", "message"]
        leave = "delete from public.workspace_members where user_id = $1"
        await workspace.database.execute(leave, staff.agent.id)
        (end,) = await take(reading, 1)
        assert (end.name, end.data["code"], end.data["retryable"]) == ("error", "conversation_not_found", False)
        assert [event async for event in reading] == []
