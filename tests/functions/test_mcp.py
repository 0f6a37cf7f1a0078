"""The Model Context Protocol, spoken by the official client over real HTTP."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import aiohttp
import httpx2
import pytest
import pytest_asyncio
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.types import INVALID_REQUEST, CallToolResult, JSONRPCError, TextContent, jsonrpc_message_adapter

from local.stack import Stack
from tests.functions.conftest import Workspace, add_model, until
from tests.functions.people import Person, Staff, resolve
from tests.functions.test_api_keys import key_of
from tests.standins.openai import OpenAI

ERAS = ("legacy", "auto")
"""Of the protocol: with a handshake, and with an envelope in each request."""


@contextlib.asynccontextmanager
async def connected(stack: Stack, caller: Person, mode: str = "auto") -> AsyncIterator[Client]:
    """The official client, with the caller's token."""
    headers = {"Authorization": f"Bearer {caller.token}"} if caller.token else {}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=20) as http,
        Client(streamable_http_client(f"{stack.api_url}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


@pytest_asyncio.fixture
async def key(workspace: Workspace, staff: Staff) -> Person:
    """A program with an admin's key."""
    return await key_of(staff.owner, workspace, "admin")


async def done(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """The structured result of a tool call that succeeds; the client has checked it against the tool's schema."""
    result = await client.call_tool(tool, arguments)
    assert isinstance(result, CallToolResult)
    assert not result.is_error, result.content
    document: dict[str, Any] = result.structured_content
    return document


async def refused(client: Client, tool: str, **arguments: Any) -> str:
    """The code of a tool call that is refused, which its text names too."""
    result = await client.call_tool(tool, arguments)
    assert isinstance(result, CallToolResult)
    assert result.is_error, result.content
    code: str = result.structured_content["code"]
    (text,) = result.content
    assert isinstance(text, TextContent)
    assert f'"{code}"' in text.text
    return code


@pytest.mark.parametrize("mode", ERAS)
async def test_a_program_holds_a_contacts_conversation(
    stack: Stack, workspace: Workspace, key: Person, mode: str
) -> None:
    heard: list[str | None] = []

    async def progress(progress: float, total: float | None, message: str | None) -> None:
        heard.append(message)

    async with connected(stack, key, mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert all(tool.description and tool.output_schema for tool in tools.values())
        assert tools["send_message"].input_schema["required"] == ["persona_id", "message"]
        found = await done(client, "resolve_contact", identities=["telegram:77"], create=True)
        contact = found["contact"]["id"]
        started = await done(client, "start_session", contact_id=contact, persona_id=str(workspace.persona_id))
        message = {"persona_id": str(workspace.persona_id), "contact_id": contact, "message": "Hello!"}
        result = await client.call_tool("send_message", message, progress_callback=progress)
        assert isinstance(result, CallToolResult)
        answer = result.structured_content
        assert (found["created"], answer["contact_id"]) == (True, contact)
        assert answer["session_id"] == started["session_id"]
        assert "".join(filter(None, heard)) == answer["text"] != ""
        read = await done(client, "read_session", session_id=started["session_id"])
        assert [said["text"] for said in read["messages"]] == ["Hello!", answer["text"]]
        assert read == read | {"contact": {**read["contact"], "id": contact}, "status": "active"}
    _, session = await key.ask("GET", f"/chat-sessions/{started['session_id']}")
    assert [said["id"] for said in session["messages"]] == [said["id"] for said in read["messages"]]


async def test_what_is_remembered_of_a_contact_is_that_contacts(stack: Stack, staff: Staff, key: Person) -> None:
    ana, bob = [await resolve(staff.admin, f"telegram:{number}") for number in (1, 2)]
    async with connected(stack, key) as client:
        (stored,) = (await done(client, "remember", content="Likes window seats.", contact_id=ana))["memories"]
        (again,) = (await done(client, "remember", content="likes window seats", contact_id=ana))["memories"]
        assert (again["id"], stored["folded"], again["folded"]) == (stored["id"], False, True)
        (other,) = (await done(client, "remember", content="Likes window seats.", contact_id=bob))["memories"]
        assert await refused(client, "remember", content="x", contact_id=str(uuid4())) == "contact_not_found"
        assert await refused(client, "remember", content="x", expires_at="2020-01-01") == "invalid_body"
        for contact, memory in ((ana, stored), (bob, other)):
            found = (await done(client, "recall", query="Which seats?", contact_id=contact))["memories"]
            assert [(hit["id"], hit["reasons"]["words"]) for hit in found] == [(memory["id"], ["seat"])]
    listed = [(await key.done("GET", f"/memories?contact_id={contact}"))["items"] for contact in (ana, bob)]
    assert [[memory["id"] for memory in items] for items in listed] == [[stored["id"]], [other["id"]]]


async def test_a_tool_is_refused_as_the_route_is_refused(stack: Stack, workspace: Workspace, staff: Staff) -> None:
    persona, contact = str(workspace.persona_id), await resolve(staff.admin, "telegram:1")
    async with connected(stack, staff.admin) as admin:
        own = await done(admin, "send_message", persona_id=persona, message="My own")
        assert own["contact_id"] is None
        theirs = await done(admin, "start_session", contact_id=contact, persona_id=persona)
        assert await refused(admin, "start_session", contact_id=str(uuid4())) == "contact_not_found"
        assert await refused(admin, "send_message", persona_id=persona, message=" ") == "invalid_body"
        assert await refused(admin, "resolve_contact", identities=["telegram:2"]) == "contact_not_found"
        with pytest.raises(MCPError, match="There is no tool"):
            await admin.call_tool("drop_tables", {})
    async with connected(stack, staff.agent) as agent:
        spoken = {"persona_id": persona, "message": "Hello!", "contact_id": contact}
        assert await refused(agent, "send_message", **spoken) == "forbidden"
        assert await refused(agent, "read_session", session_id=theirs["session_id"]) == "session_not_found"
    async with connected(stack, staff.other_admin) as stranger:
        for tool, arguments in (
            ("send_message", {"persona_id": persona, "message": "Hello!"}),
            ("read_session", {"session_id": own["session_id"]}),
            ("start_session", {"contact_id": contact, "persona_id": persona}),
        ):
            assert (await refused(stranger, tool, **arguments)).endswith("_not_found")


async def test_every_message_has_a_caller_and_needs_no_session(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff, key: Person
) -> None:
    call = {"name": "send_message", "arguments": {"persona_id": str(workspace.persona_id), "message": "Hello!"}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
    for caller, refusal in (
        (staff.anonymous, (401, "token_missing")),
        (Person(client, uuid4(), "", "swb_none"), (401, "api_key_invalid")),
        (staff.contact, (403, "forbidden")),
    ):
        assert await caller.refused("POST", "/mcp", message) == refusal
    # Without a handshake, and as one document where the client accepts no stream.
    headers = {"Authorization": f"Bearer {key.token}", "Accept": "application/json", "X-Request-Id": "a-request-id"}
    async with client.post("/mcp", json=message, headers=headers) as response:
        assert (response.status, response.content_type) == (200, "application/json")
        assert response.headers["X-Request-Id"] == "a-request-id"
        assert "mcp-session-id" not in response.headers
        assert (await response.json())["result"]["structuredContent"]["status"] == "completed"
    # A notification has no id, and null is none of a request.
    for unfit in (None, True, 1.5):
        status, answer = await key.ask("POST", "/mcp", message | {"id": unfit})
        error = jsonrpc_message_adapter.validate_python(answer)
        assert isinstance(error, JSONRPCError)
        assert (status, answer["code"], error.id, error.error.code) == (422, "invalid_body", None, INVALID_REQUEST)
    # Half of a pair of surrogates is no text.
    broken = message | {"params": call | {"arguments": {"message": "\ud83d"}}}
    async with client.post("/mcp", json=broken, headers=headers) as response:
        assert response.status == 400
    for method in ("GET", "DELETE"):
        async with client.request(method, "/mcp", headers=headers) as response:
            assert (response.status, response.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize("mode", ERAS)
async def test_an_answer_is_stored_though_its_reader_has_gone(
    stack: Stack, workspace: Workspace, key: Person, openai: OpenAI, mode: str
) -> None:
    persona = await add_model(workspace, openai.url("held"))
    heard = asyncio.Event()

    async def progress(progress: float, total: float | None, message: str | None) -> None:
        heard.set()

    async def ask() -> None:
        async with connected(stack, key, mode) as client:
            arguments = {"persona_id": str(persona), "message": "Hello!"}
            await client.call_tool("send_message", arguments, progress_callback=progress)

    asking = asyncio.create_task(ask())
    async with asyncio.timeout(10):
        await heard.wait()
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking
    await openai.release()

    async def is_completed() -> bool:
        turn = "select status from public.turns where workspace_id = $1"
        return bool(await workspace.database.fetchval(turn, workspace.id) == "completed")

    await until(is_completed)
