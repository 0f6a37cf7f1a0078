"""Following a conversation over HTTP: what a member says reaches the contact's page as it is said."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import jwt
import pytest

from local.stack import Stack
from tests import events
from tests.events import Received
from tests.functions.conftest import Visitor, Workspace, problem
from tests.functions.people import Person, Staff, staff_of
from tests.functions.test_takeover import begun


@pytest.fixture
async def staff(client: aiohttp.ClientSession, workspace: Workspace, stack: Stack) -> Staff:
    return await staff_of(client, workspace, stack)


def conversation_of(visitor: Visitor) -> str:
    """The conversation that a contact token is for, as a page reads it."""
    assert visitor.token is not None
    found: str = jwt.decode(visitor.token, options={"verify_signature": False})["conversation_id"]
    return found


@asynccontextmanager
async def following(
    client: aiohttp.ClientSession, token: str | None, conversation_id: str, **more: Any
) -> AsyncIterator[AsyncIterator[Received]]:
    """A conversation's events as they come."""
    headers = more.pop("headers", {}) | {"Authorization": f"Bearer {token}"}
    path = f"/conversations/{conversation_id}/stream"
    async with client.get(path, headers=headers, **more) as response:
        assert response.status == 200, await response.text()
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        yield events.read(response)


async def take(reading: AsyncIterator[Received], count: int) -> list[Received]:
    """The next events, within ten seconds."""
    async with asyncio.timeout(10):
        return [await anext(reading) for _ in range(count)]


async def test_a_conversation_is_told_from_its_beginning_and_goes_on_live(visitor: Visitor, staff: Staff) -> None:
    visitor, session = await begun(visitor)
    async with following(visitor.client, visitor.token, conversation_of(visitor)) as reading:
        stands, asked, answered = await take(reading, 3)
        assert (stands.name, stands.data) == (
            "session",
            {"session_id": session, "status": "active", "taken_over": False},
        )
        assert (asked.name, asked.data["role"], asked.data["text"]) == ("message", "contact", "hello")
        assert set(answered.data) == {"id", "session_id", "turn_id", "role", "text", "partial", "created_at"}
        assert (answered.data["role"], answered.id) == ("persona", answered.data["id"])
        assert asked.data["turn_id"] == answered.data["turn_id"] is not None

        await staff.owner.done("POST", f"/chat-sessions/{session}/takeover")
        (taken,) = await take(reading, 1)
        assert (taken.name, taken.data["taken_over"], taken.id) == ("session", True, answered.id)
        began = time.monotonic()
        await staff.owner.done("POST", f"/chat-sessions/{session}/messages", {"text": "A person here."})
        (spoken,) = await take(reading, 1)
        assert time.monotonic() - began < 4
        assert (spoken.data["role"], spoken.data["text"], spoken.data["turn_id"]) == ("member", "A person here.", None)
        await visitor.say("Good to hear.")
        (own,) = await take(reading, 1)
        assert (own.data["role"], own.data["text"]) == ("contact", "Good to hear.")
        await staff.owner.done("POST", f"/chat-sessions/{session}/handback")
        (back,) = await take(reading, 1)
        assert (back.name, back.data["taken_over"]) == ("session", False)


async def test_a_follow_up_reaches_the_contacts_page(visitor: Visitor, staff: Staff, workspace: Workspace) -> None:
    visitor, session = await begun(visitor)
    contact = await workspace.database.fetchval("select contact_id::text from public.sessions where id = $1", session)
    async with following(
        visitor.client, visitor.token, conversation_of(visitor), params={"after": "latest"}
    ) as reading:
        await take(reading, 1)
        captured = {"text": "By mail", "role": "contact", "source": "email"}
        sent = await staff.owner.done("POST", f"/contacts/{contact}/messages", captured)
        (event,) = await take(reading, 1)
        assert (event.data["id"], event.data["role"], event.data["text"]) == (sent["message_id"], "contact", "By mail")


@pytest.mark.parametrize("way", ["Last-Event-ID", "after"])
async def test_whoever_comes_again_gets_what_came_after_their_last_message(
    visitor: Visitor, staff: Staff, way: str
) -> None:
    visitor, _ = await begun(visitor)
    where = conversation_of(visitor)
    async with following(visitor.client, visitor.token, where) as reading:
        last = (await take(reading, 3))[-1].id
    await visitor.say("and then?")
    named: dict[str, Any] = {"headers": {way: last}} if way != "after" else {"params": {"after": last}}
    async with following(visitor.client, visitor.token, where, **named) as reading:
        stands, asked, answered = await take(reading, 3)
        assert (stands.name, stands.id) == ("session", last), "nothing is passed over by who breaks off here"
        assert (asked.data["text"], answered.data["role"]) == ("and then?", "persona")
    # From now on: nothing of what was, and a place to go on from.
    async with following(visitor.client, visitor.token, where, params={"after": "latest"}) as reading:
        (stands,) = await take(reading, 1)
        assert (stands.name, stands.id) == ("session", answered.id)


async def test_members_follow_what_they_may_read(visitor: Visitor, staff: Staff) -> None:
    visitor, session = await begun(visitor)
    where = conversation_of(visitor)
    for person in (staff.owner, staff.admin):
        async with following(person.client, person.token, where) as reading:
            assert [event.name for event in await take(reading, 3)] == ["session", "message", "message"]
    await staff.owner.done("PATCH", f"/chat-sessions/{session}/assign", {"user_id": str(staff.agent.id)})
    async with following(staff.agent.client, staff.agent.token, where) as reading:
        assert len(await take(reading, 3)) == 3


async def test_what_is_not_theirs_is_not_there(visitor: Visitor, staff: Staff, client: aiohttp.ClientSession) -> None:
    visitor, _ = await begun(visitor)
    path = f"/conversations/{conversation_of(visitor)}/stream"
    other = Visitor(client, visitor.space_id)
    await other.say("me too")
    others = Person(client, uuid4(), "", other.token)
    for person in (others, staff.contact, staff.agent, staff.stranger, staff.other_admin, staff.operator):
        assert await person.refused("GET", path) == (404, "conversation_not_found")
    assert await staff.anonymous.refused("GET", path) == (401, "token_missing")
    for where in (str(uuid4()), "nonsense"):
        assert await staff.owner.refused("GET", f"/conversations/{where}/stream") == (404, "conversation_not_found")
    assert await staff.owner.refused("GET", f"{path}?after=soon") == (422, "invalid_body")
    async with following(client, other.token, conversation_of(other)) as reading:
        foreign = (await take(reading, 2))[-1].id
    assert await Person(client, uuid4(), "", visitor.token).refused("GET", f"{path}?after={foreign}") == (
        404,
        "message_not_found",
    )


async def test_the_stream_ends_with_what_its_reader_may_see(
    visitor: Visitor, staff: Staff, workspace: Workspace
) -> None:
    visitor, session = await begun(visitor)
    await staff.owner.done("PATCH", f"/chat-sessions/{session}/assign", {"user_id": str(staff.agent.id)})
    async with following(staff.agent.client, staff.agent.token, conversation_of(visitor)) as reading:
        await take(reading, 3)
        await workspace.database.execute("delete from public.workspace_members where user_id = $1", staff.agent.id)
        (end,) = await take(reading, 1)
        assert (end.name, end.data["code"], end.data["retryable"]) == ("error", "conversation_not_found", False)
        assert [event async for event in reading] == []


async def test_the_stream_ends_with_its_token(visitor: Visitor, stack: Stack) -> None:
    """PostgREST takes a token for half a minute beyond its end; one that is over longer than that ends the stream."""
    visitor, _ = await begun(visitor)
    assert visitor.token is not None
    claims = jwt.decode(visitor.token, options={"verify_signature": False})
    path = f"/conversations/{claims['conversation_id']}/stream"
    old = jwt.encode(claims | {"exp": int(time.time()) - 60}, stack.jwt_secret, "HS256")
    async with visitor.client.get(path, headers={"Authorization": f"Bearer {old}"}) as response:
        assert (response.status, (await problem(response))["code"]) == (401, "token_expired")


async def test_many_readers_and_writers_miss_nothing(visitor: Visitor, staff: Staff, workspace: Workspace) -> None:
    visitor, session = await begun(visitor)
    where = conversation_of(visitor)
    contact = await workspace.database.fetchval("select contact_id::text from public.sessions where id = $1", session)

    async def write(writer: int) -> None:
        for number in range(5):
            sent = {"text": f"{writer}-{number}", "role": "member", "source": "test"}
            await staff.owner.done("POST", f"/contacts/{contact}/messages", sent)

    async def read() -> list[str]:
        async with following(visitor.client, visitor.token, where) as reading:
            await take(reading, 1)
            return [event.data["id"] for event in await take(reading, 22)]

    *_, first, second = await asyncio.gather(*(write(writer) for writer in range(4)), read(), read())
    rows = await workspace.database.fetch(
        "select id::text from public.messages where conversation_id = $1 order by created_at, id", UUID(where)
    )
    assert first == second == [row["id"] for row in rows]
