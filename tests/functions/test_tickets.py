"""What opens a stream without a header: a ticket for one stream, and a user's token in the cookie `sid`.

Who may follow what is test_access's and test_isolation's; how a browser reconnects, tests/e2e/test_event_source.py's.
"""

import asyncio
import time
from typing import Any

import aiohttp
import jwt
import pytest

from local.stack import Stack
from tests import events
from tests.functions.conftest import Visitor, Workspace
from tests.functions.people import Person, Staff
from tests.functions.test_api_keys import key_of
from tests.functions.test_conversations import begun
from tests.functions.test_logs import every_log

INVALID, MISSING, EXPIRED = (401, "token_invalid"), (401, "token_missing"), (401, "token_expired")


async def first(person: Person, path: str, **options: Any) -> tuple[int, str]:
    """The status of a request, and its first event's name or the problem's code."""
    async with person.client.get(path, **options) as response:
        if response.content_type == "text/event-stream":
            return response.status, (await anext(events.read(response))).name
        return response.status, "" if response.status < 400 else (await response.json(content_type=None))["code"]


async def test_a_ticket_opens_its_stream_and_nothing_else(visitor: Visitor, stack: Stack, staff: Staff) -> None:
    ann, where, session, _ = await begun(visitor)
    turn = (await ann.done("GET", f"/conversations/{where}/messages"))["items"][0]["turn_id"]
    asked = {"conversation_id": where}, {"turn_id": turn}
    talk, answer = [await ann.done("POST", "/stream-tickets", body) for body in asked]
    assert [each["path"] for each in (talk, answer)] == [f"/conversations/{where}/stream", f"/turns/{turn}/stream"]
    claims = jwt.decode(talk["ticket"], options={"verify_signature": False})
    assert 55 < claims["exp"] - time.time() <= 60
    late = jwt.encode(claims | {"exp": int(time.time()) - 11}, stack.jwt_secret)
    rest = {"apikey": stack.anon_key, "Authorization": f"Bearer {talk['ticket']}"}
    for path, headers, outcome in (
        (f"{talk['path']}?sid={talk['ticket']}", {}, (200, "session")),
        (f"{talk['path']}?sid={talk['ticket']}&after=latest", {}, (200, "session")),
        (f"/api/conversations/{where.upper()}/stream?sid={talk['ticket']}", {}, (200, "session")),
        (f"{answer['path']}?sid={answer['ticket']}", {}, (200, "turn")),
        (f"{talk['path']}?sid={answer['ticket']}", {}, INVALID),
        (f"{answer['path']}?sid={talk['ticket']}", {}, INVALID),
        (f"{talk['path']}?sid={late}", {}, EXPIRED),
        (f"{talk['path']}?sid={ann.token}", {}, INVALID),
        (f"{talk['path']}?sid={staff.owner.token}", {}, INVALID),
        (f"{talk['path']}?sid=", {}, INVALID),
        (talk["path"], {"Authorization": f"Bearer {talk['ticket']}"}, INVALID),
        (talk["path"], {"Cookie": f"sid={talk['ticket']}"}, INVALID),
        (f"/chat-sessions/{session}", {"Authorization": f"Bearer {talk['ticket']}"}, INVALID),
        (f"/chat-sessions/{session}?sid={talk['ticket']}", {}, MISSING),
        (f"/conversations/{where}/messages?sid={talk['ticket']}", {}, MISSING),
        ("/rest/v1/messages?select=id", rest, (401, "42501")),
    ):  # fmt: skip
        assert await first(ann, path, headers=headers) == outcome, path
    for ticket in (talk["ticket"], answer["ticket"]):
        assert ticket not in every_log(stack)


async def test_a_ticket_ends_with_the_token_that_it_stands_for(visitor: Visitor, staff: Staff, stack: Stack) -> None:
    ann, where, _, contact = await begun(visitor)
    talk = await ann.done("POST", "/stream-tickets", {"conversation_id": where})
    claims = jwt.decode(str(staff.owner.token), options={"verify_signature": False})
    ends = int(time.time()) + 5
    boss = Person(ann.client, staff.owner.id, "", jwt.encode(claims | {"exp": ends}, stack.jwt_secret))
    brief = (await boss.done("POST", "/stream-tickets", {"conversation_id": where}))["ticket"]
    assert jwt.decode(brief, options={"verify_signature": False})["exp"] == ends
    assert "email" not in str(jwt.decode(brief, options={"verify_signature": False}))
    await staff.owner.done("POST", f"/contacts/{contact}/sign-out")
    assert await first(ann, f"{talk['path']}?sid={talk['ticket']}") == (401, "token_revoked")


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({}, (422, "invalid_body")),
        ({"conversation_id": "{where}", "turn_id": "{where}"}, (422, "invalid_body")),
        ({"conversation_id": "{where}", "cookie": True}, (403, "forbidden")),
        ({"cookie": False}, (403, "forbidden")),
    ],
)
async def test_a_request_for_a_ticket_names_one_stream_and_a_contact_gets_no_cookie(
    visitor: Visitor, body: dict[str, Any], refusal: tuple[int, str]
) -> None:
    ann, where, _, _ = await begun(visitor)
    filled = {name: where if value == "{where}" else value for name, value in body.items()}
    assert await ann.refused("POST", "/stream-tickets", filled) == refusal


async def test_the_cookie_reads_conversations_and_does_nothing_else(
    client: aiohttp.ClientSession, visitor: Visitor, staff: Staff
) -> None:
    ann, where, session, _ = await begun(visitor)
    bearer = {"Authorization": f"Bearer {staff.owner.token}"}
    async with client.post("/stream-tickets", json={"cookie": True}, headers=bearer) as response:
        name, *attributes = response.headers["Set-Cookie"].split("; ")
        assert (response.status, list(await response.json())) == (201, ["expires_at"])
    assert name == f"sid={staff.owner.token}"
    assert attributes[1:] == ["Path=/", "HttpOnly", "SameSite=Lax"]
    assert 0 < int(attributes[0].removeprefix("Max-Age=")) <= 610
    async with client.post("/stream-tickets", json={"cookie": False}, headers=bearer) as response:
        assert response.headers["Set-Cookie"].startswith("sid=; Max-Age=0; ")
    for path, token, outcome in (
        (f"/conversations/{where}/messages", staff.owner.token, (200, "")),
        (f"/conversations/{where}/stream", staff.owner.token, (200, "session")),
        (f"/conversations/{where}/stream", staff.stranger.token, (404, "conversation_not_found")),
        (f"/conversations/{where}/stream", ann.token, INVALID),
        (f"/conversations/{where}/stream", "", MISSING),
        (f"/chat-sessions/{session}", staff.owner.token, MISSING),
    ):
        assert await first(ann, path, headers={"Cookie": f"a=b; sid={token}"}) == outcome, path
    async with client.post("/stream-tickets", json={"cookie": True}, headers={"Cookie": name}) as response:
        assert response.status == 401


async def test_an_api_key_follows_and_gives_tickets_until_it_is_revoked(
    visitor: Visitor, staff: Staff, workspace: Workspace
) -> None:
    _, where, _, _ = await begun(visitor)
    key = await key_of(staff.owner, workspace, "admin")
    assert await key.refused("POST", "/stream-tickets", {"cookie": True}) == (403, "forbidden")
    for body, name in (({"conversation_id": where}, "session"), ({"workspace_id": str(workspace.id)}, "begin")):
        ticket = await key.done("POST", "/stream-tickets", body)
        async with key.client.get(f"{ticket['path']}?sid={ticket['ticket']}") as response:
            reading = events.read(response)
            assert (await anext(reading)).name == name
            if name == "begin":
                await staff.owner.done("DELETE", f"/workspaces/{workspace.id}/api-keys/{key.id}")
                async with asyncio.timeout(10):
                    while (event := await anext(reading)).name != "error":
                        pass
                assert event.data["code"] == "api_key_invalid"
    assert await first(key, f"{ticket['path']}?sid={ticket['ticket']}") == (401, "api_key_invalid")
