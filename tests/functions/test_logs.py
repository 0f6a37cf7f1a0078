"""No log holds what people write: neither Postgres's, nor PostgREST's, nor ours."""

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp
import asyncpg
import pytest

from local.stack import Stack
from tests.functions.conftest import Visitor, Workspace

MARKER = f"ana-{uuid4().hex}"
EMAIL = f"{MARKER}@example.com"


async def through_rest(client: aiohttp.ClientSession, stack: Stack, workspace: Workspace, token: str) -> set[str]:
    """The codes of Postgres's errors that quote a value, by a contact and by an operator."""
    identity = {"workspace_id": str(workspace.id), "kind": "email", "key": EMAIL, "value": EMAIL}
    identity |= {"evidence": "asserted", "contact_id": str(uuid4())}
    contact = {"workspace_id": str(workspace.id)}
    requests: list[tuple[str, str, str, Any]] = [
        (token, "GET", f"messages?id=eq.{MARKER}", None),
        (token, "GET", f"messages?created_at=gt.{MARKER}", None),
        (token, "POST", "rpc/follow_conversation", {"conversation_id": MARKER}),
        (token, "POST", "contacts", {"first_name": MARKER}),
        (stack.service_role_key, "POST", "contacts", {"id": str(workspace.id), **contact, "first_name": MARKER}),
        (stack.service_role_key, "POST", "contacts", {"id": str(workspace.id), **contact, "first_name": MARKER}),
        (stack.service_role_key, "POST", "contacts", {**contact, "first_name": MARKER, "attributes": [MARKER]}),
        (stack.service_role_key, "POST", "contact_identities", identity),
        (stack.service_role_key, "POST", "contacts", {"workspace_id": None, "first_name": MARKER}),
    ]
    codes = set()
    for bearer, method, path, body in requests:
        headers = {"apikey": stack.anon_key, "Authorization": f"Bearer {bearer}"}
        async with client.request(method, f"{stack.api_url}/rest/v1/{path}", json=body, headers=headers) as response:
            codes.add("" if response.status == 201 else (await response.json())["code"])
    return codes


async def through_functions(client: aiohttp.ClientSession, workspace: Workspace, visitor: Visitor) -> None:
    """Bodies and messages that are refused, here or in SQL."""
    register = f"/space/{workspace.space_id}/register"
    for body in (
        {"email": MARKER}, {"email": EMAIL, "email_hmac": MARKER}, {"email": EMAIL, "attributes": MARKER},
        {"email": EMAIL, "phone": MARKER}, {"email": EMAIL, "first_name": MARKER * 100}, [MARKER], MARKER,
    ):  # fmt: skip
        async with client.post(register, json=body) as response:
            assert response.status < 500
    for fields in ({"client_message_id": MARKER}, {"thread_key": MARKER * 20}, {"persona_id": MARKER}):
        for message in (MARKER, f"{MARKER} again", f"{MARKER}\x00"):
            async with visitor.post(message, **fields) as response:
                assert response.status < 500
                await response.read()
    for path in (f"turns/{MARKER}/stream", f"chat-sessions?text={MARKER}", f"chat-sessions?workspace_id={MARKER}"):
        async with client.get(f"/{path}", headers=visitor.headers) as response:
            assert response.status < 500


def every_log(stack: Stack) -> str:
    """What Postgres, PostgREST and the functions have logged."""
    return "\n".join(log.read_text(errors="replace") for log in Path(stack.layout.state_dir).glob("**/*.log"))


async def test_no_log_quotes_a_person_whatever_goes_wrong(
    client: aiohttp.ClientSession, workspace: Workspace, visitor: Visitor, stack: Stack, database: asyncpg.Connection
) -> None:
    await visitor.say("hello")
    token = visitor.headers["Authorization"].removeprefix("Bearer ")
    # Invalid values, no right, a key that exists, a check, a reference, a null.
    assert await through_rest(client, stack, workspace, token) == {
        "", "22P02", "22007", "42501", "23505", "23514", "23503", "23502",
    }  # fmt: skip
    await through_functions(client, workspace, visitor)
    functions = await asyncpg.connect(stack.functions_env["SWITCHBOARD_DATABASE_URL"])
    for statement in (f"select '{MARKER}'::integer", f"do $$ begin raise warning '{MARKER}'; end $$"):
        try:
            await functions.execute(statement)
        except asyncpg.DataError:
            continue
    await functions.close()

    # The logs are read, and Postgres writes the errors of others to its own.
    canary = uuid4().hex
    with pytest.raises(asyncpg.DataError):
        await database.execute(f"select 'canary-{canary}'::integer")
    logs = every_log(stack)
    assert canary in logs
    assert '"event": "request"' in logs
    assert [line for line in logs.splitlines() if MARKER in line] == []


@pytest.mark.parametrize("path", ["/auth/v1/signup", "/rest/v1/rpc/check_request", "/chat-sessions", "/worker"])
async def test_a_client_that_leaves_within_its_body_is_no_error(stack: Stack, path: str) -> None:
    api, before = urlsplit(stack.api_url), every_log(stack).count("Traceback")
    for rest in ("Content-Length: 9\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n5\r\n{", "Content-Length: x\r\n\r\n"):
        _, sent = await asyncio.open_connection(api.hostname, api.port)
        sent.write(f"POST {path} HTTP/1.1\r\nHost: {api.netloc}\r\napikey: {stack.anon_key}\r\n{rest}".encode())
        await sent.drain()
        sent.close()
    async with aiohttp.ClientSession() as http, http.get(f"{stack.api_url}/healthz") as answer:
        assert answer.status == 200
    await asyncio.sleep(0.2)
    assert every_log(stack).count("Traceback") == before
