"""Revoking contact tokens, on the whole stack: each way to revoke, for routes, for /rest/v1 and for open streams; and
what a member who was removed, or a revoked key, may still do.

The routes are lib/routes.py's. What merges, secrets and deletions do to tokens is tests/database/test_revocation.py's.
"""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from uuid import UUID, uuid4

import aiohttp
import pytest

from lib.routes import ROUTES
from local.stack import Stack
from tests import events
from tests.functions.conftest import Visitor, Workspace, ask_openai
from tests.functions.people import Person, Staff
from tests.functions.test_api_keys import FOR_MEMBERS, key_of, outcome
from tests.functions.test_isolation import Belongings, body_of, fill
from tests.standins.openai import OpenAI

WITHOUT_TOKEN = {"widget", "look", "read_description", "read_reference", "read_reference_file"}
OF_CONTACTS = [
    route for route in ROUTES if {"contact", "anyone"} & set(route.callers) and route.name not in WITHOUT_TOKEN
]
TABLES = (
    "conversations", "sessions", "contact_session_details", "turns", "turn_chunks", "messages", "message_words",
    "requests", "proposals", "contacts", "memories", "session_archives",
)  # fmt: skip
REVOKED = (401, "token_revoked")


@dataclass
class Guest(Person):
    """A contact with a token that a space issued, and the ids of what it may reach."""

    ids: dict[str, str]

    async def refusals(self) -> dict[str, tuple[int, str]]:
        """How each route that takes a contact's token refuses this one; a success has the code ''."""
        found = {}
        for route in OF_CONTACTS:
            body = {"session_ids": [self.ids["session_id"]], "status": "cancelled"}
            body = body if route.name == "change_sessions" else {} if route.name == "start_session" else body_of(route)
            headers = {"Authorization": f"Bearer {self.token}"}
            asked = self.client.request(
                route.method, fill(route.path, self.ids), json=fill(body, self.ids), headers=headers
            )
            async with asked as response:
                failed = response.status >= 400
                found[route.name] = (response.status, (await response.json())["code"] if failed else "")
        return found

    async def rest(self, stack: Stack) -> set[tuple[int, str]]:
        """The statuses and messages of /rest/v1 for all tables."""
        headers, found = {"apikey": stack.anon_key, "Authorization": f"Bearer {self.token}"}, set()
        for table in TABLES:
            async with self.client.get(f"/rest/v1/{table}?select=workspace_id", headers=headers) as response:
                failed = response.status >= 400
                found.add((response.status, (await response.json())["message"] if failed else ""))
        return found


async def arrive(client: aiohttp.ClientSession, space_id: UUID, email: str) -> Guest:
    """Register in a space."""
    async with client.post(f"/space/{space_id}/register", json={"email": email}) as response:
        assert response.status == 201, await response.text()
        arrived = await response.json()
    ids = {"space_id": str(space_id), "app_id": str(space_id), "chat_id": "main", "memory_id": str(uuid4())}
    ids |= {"contact_id": arrived["contact"]["id"], "session_id": arrived["session"]["id"]}
    guest = Guest(client, UUID(int=0), email, arrived["token"], ids)
    (session,) = (await guest.done("GET", "/chat-sessions"))["items"]
    ids["conversation_id"] = session["conversation_id"]
    return guest


async def first_error(response: aiohttp.ClientResponse) -> str:
    """The code of a stream's error, within half a minute."""
    async with asyncio.timeout(30):
        async for event in events.read(response):
            if event.name == "error":
                return str(event.data["code"])
    return ""


@pytest.mark.parametrize("way", ["sign_out", "disable", "leak"])
async def test_a_revoked_token_ends_everywhere_and_other_tokens_do_not(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff, stack: Stack, openai: OpenAI, way: str
) -> None:
    space_id = (await ask_openai(client, workspace, openai.url("held"))).space_id
    space = f"/spaces/{space_id}"
    await staff.admin.done("POST", f"{space}/hmac-secret", {})
    ann, ben = [await arrive(client, space_id, f"{name}@example.com") for name in ("ann", "ben")]
    eve = await arrive(client, workspace.space_id, "eve@example.com")
    headers = {"Authorization": f"Bearer {ann.token}"}
    async with AsyncExitStack() as streams:
        answer = await streams.enter_async_context(Visitor(client, space_id, ann.token).post("Hello"))
        opened = await anext(events.read(answer))
        ann.ids["turn_id"] = opened.data["turn_id"]
        paths = (f"/turns/{ann.ids['turn_id']}/stream", f"/conversations/{ann.ids['conversation_id']}/stream")
        others = [await streams.enter_async_context(client.get(path, headers=headers)) for path in paths]
        work = await staff.admin.done("PUT", f"/chat-sessions/{ann.ids['session_id']}/request", {"origin": "LSZH"})
        ann.ids["request_id"] = work["request"]["id"]
        assert await ann.rest(stack) == {(200, "")}

        if way == "sign_out":
            await staff.agent.done("POST", f"/contacts/{ann.ids['contact_id']}/sign-out")
        elif way == "disable":
            await staff.admin.done("PATCH", space, {"enabled": False})
        else:
            await staff.admin.done("POST", f"{space}/hmac-secret", {"overlap_seconds": 0})

        refusals = await ann.refusals()
        assert {name: got for name, got in refusals.items() if got != REVOKED} == {}
        assert await ann.rest(stack) == {REVOKED}
        assert [await first_error(stream) for stream in (*others, answer)] == ["token_revoked"] * 3
        # The message was accepted, so its answer is stored.
        await openai.release()
        assert b"event:" not in await answer.content.read()
    query = "select status::text from public.turns where id = $1"
    assert await workspace.database.fetchval(query, ann.ids["turn_id"]) == "completed"

    assert (await eve.ask("GET", "/chat-sessions"))[0] == 200
    ben_may = await ben.ask("GET", "/chat-sessions")
    assert (ben_may[0], ben_may[1].get("code")) == ((200, None) if way == "sign_out" else REVOKED)
    if way == "disable":
        await staff.admin.done("PATCH", space, {"enabled": True})
    # At once, in the same second: a new token is good, and the old one is not.
    again = await arrive(client, space_id, "ann@example.com")
    assert await again.rest(stack) == {(200, "")}
    assert await ann.rest(stack) == {REVOKED}


REMOVED = ("admin", "agent", "key")
STREAMS = ("/workspaces/{workspace_id}/stream", "/conversations/{conversation_id}/stream")


@pytest.mark.parametrize("who", REMOVED)
async def test_a_member_who_was_removed_is_a_stranger_in_every_route_and_stream(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff, ours: Belongings, who: str
) -> None:
    person = await key_of(staff.owner, workspace, "admin") if who == "key" else getattr(staff, who)
    assigned = {"user_id": None if who == "key" else str(person.id)}
    await staff.owner.done("PATCH", f"/chat-sessions/{ours.ids['session_id']}/assign", assigned)
    headers = {"Authorization": f"Bearer {person.token}"}
    async with AsyncExitStack() as open_streams:
        streams = [
            await open_streams.enter_async_context(client.get(fill(path, ours.ids), headers=headers))
            for path in STREAMS
        ]
        assert [stream.status for stream in streams] == [200, 200]
        at = "api-keys" if who == "key" else "members"
        await staff.owner.done("DELETE", f"/workspaces/{workspace.id}/{at}/{person.id}")
        before = await workspace.counts()
        # A space is open to any visitor.
        for route in (route for route in FOR_MEMBERS if "anyone" not in route.callers):
            expected = (401, "api_key_invalid") if who == "key" else await outcome(staff.stranger, route, ours)
            assert await outcome(person, route, ours) == expected, route
        assert await workspace.counts() == before
        codes = {await first_error(stream) for stream in streams}
    assert codes <= {"api_key_invalid", "workspace_not_found", "conversation_not_found"}, codes
