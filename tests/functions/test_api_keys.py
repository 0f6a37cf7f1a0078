"""API keys: machines act as members of the key's workspace, and those for ingest only bring contacts and messages."""

import json
import subprocess
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import aiohttp
import pytest_asyncio

from lib import routes
from lib.auth import api_keys
from local.paths import REPOSITORY
from local.stack import Stack
from tests.functions.conftest import Workspace, add_workspace
from tests.functions.people import Person, Staff, sign_up
from tests.functions.test_access import CLEAN_UP, LISTS, OFFER, QUERIES, RESOLVE
from tests.functions.test_isolation import Belongings, body_of, fill

WITH_BODY: dict[str, Any] = {
    "sessions.start_session": OFFER, "sessions.create_or_update_session": OFFER, "sessions.clean_up_sessions": CLEAN_UP,
    "sessions.change_sessions": {"session_ids": ["{session_id}"], "status": "paused"},
    "contacts.resolve_contact": RESOLVE | {"identities": ["telegram:7"], "create": True},
    "contacts.create_contact": {"workspace_id": "{workspace_id}"},
    "workspaces.create_workspace": {"name": "x"}, "conversations.link_session": {"session_id": "x"},
    "conversations.issue_stream_ticket": {"conversation_id": "{conversation_id}"},
    "memory.remember": {"memories": [{"content": "x"}]}, "memory.recall": {"query": "x"},
    "mcp.call_tools": {"jsonrpc": "2.0", "id": 1, "method": "ping"},
}  # fmt: skip
"""Bodies of routes without an id in their path."""

WITHOUT_ANY = {"archive.archive_sessions"}
"""Routes without an id in their path that take no body."""

JSON = {"Accept": "application/json"}
FOR_MEMBERS = [route for route in routes.ROUTES if "user" in route.callers]
FOR_MEMBERS.sort(key=lambda route: route.name == "replay_job")
"""A replayed job comes last: the worker may finish it at any time."""

USER_REQUIRED = (403, "user_required")
FOR_PEOPLE = {
    "create_api_key", "revoke_api_key", "invite_member", "accept_invitation", "take_over_session", "link_session",
    "add_device_link", "mark_read", "tell_presence",
}  # fmt: skip
"""Only a user may use these."""

FOR_INGEST = {"stream_chat", "stream_chat_on_landing", "ask_persona", "resolve_contact", "capture_message"}
"""An ingest key may use these, and the routes of registration."""


async def key_of(owner: Person, workspace: Workspace, role: str, **more: Any) -> Person:
    """A machine with a new key; ``id`` is the key's."""
    body = {"name": f"The {role}'s key", "role": role, **more}
    made = await owner.done("POST", f"/workspaces/{workspace.id}/api-keys", body)
    return Person(owner.client, UUID(made["id"]), "", made["secret"])


def body_for(route: routes.Route, ids: Mapping[str, str]) -> Any:
    """A valid body of a route, with these ids."""
    name = f"{route.function}.{route.name}"
    if "{" not in route.path and route.method != "GET" and name not in WITHOUT_ANY:
        assert name in WITH_BODY, f"say what {name} takes"
    return fill(WITH_BODY[name] if name in WITH_BODY else body_of(route) if "{" in route.path else None, ids)


async def outcome(caller: Person, route: routes.Route, ours: Belongings) -> tuple[int, str | None]:
    """How a route answers a valid request: 200 for success, else the status and the code. A stream is not read."""
    body = body_for(route, ours.ids)
    headers = {"Authorization": f"Bearer {caller.token}", **JSON}
    path = ours.path(route) + QUERIES.get(route.name, "")
    async with caller.client.request(route.method, path, json=body, headers=headers) as response:
        return (response.status, (await response.json())["code"]) if response.status >= 400 else (200, None)


@pytest_asyncio.fixture
async def ingest(staff: Staff, workspace: Workspace) -> Person:
    """A machine that brings contacts."""
    return await key_of(staff.owner, workspace, "ingest")


async def test_every_route_of_members_answers_an_admins_key_as_it_answers_an_admin(
    client: aiohttp.ClientSession, stack: Stack, workspace: Workspace, staff: Staff, ours: Belongings
) -> None:
    key = await key_of(staff.owner, workspace, "admin")
    elsewhere = await add_workspace(workspace.database)
    admin, theirs = await sign_up(client, elsewhere, stack, "admin"), await Belongings.of(client, elsewhere, stack)
    await key_of(await sign_up(client, elsewhere, stack, "owner"), elsewhere, "agent")
    found = {route.name: await outcome(key, route, ours) for route in FOR_MEMBERS}
    expected = {route.name: await outcome(admin, route, theirs) for route in FOR_MEMBERS}
    assert found == expected | dict.fromkeys(FOR_PEOPLE, USER_REQUIRED)
    assert not [name for name, (status, _) in found.items() if status == 401]


async def test_an_ingest_key_registers_resolves_captures_and_sends_and_nothing_else(
    ingest: Person, ours: Belongings
) -> None:
    for route in FOR_MEMBERS:
        status, code = await outcome(ingest, route, ours)
        if route.name in FOR_INGEST and route.function in ("chat", "contacts"):
            assert status == 200, (route, code)
        else:
            assert (status, code) == (403, "forbidden"), route


async def test_a_key_proves_whom_it_names_and_is_not_limited_by_address(
    workspace: Workspace, staff: Staff, ingest: Person
) -> None:
    limits = "update public.spaces set arrivals_per_minute_by_address = 1 where workspace_id = $1"
    await workspace.database.execute(limits, workspace.id)
    register, email = f"/space/{workspace.space_id}/register", "ada@example.com"
    first = await ingest.done("POST", register, {"email": email, "first_name": "Ada"})
    again = await ingest.done("POST", register, {"email": email, "first_name": "Augusta"})
    assert (again["contact"], again["session"]["id"]) == (first["contact"], first["session"]["id"])
    await ingest.done("POST", register, {"email": "bob@example.com"})
    chat = f"/space/{workspace.space_id}/chat/stream"
    _, said = await ingest.ask("POST", f"{chat}?protocol=json", {"message": "Hi", "email": email})
    assert said["session_id"] == first["session"]["id"]
    assert await ingest.refused("POST", chat, {"message": "Hi", "email": "no address"}) == (422, "invalid_body")
    await workspace.database.execute(limits.replace("_by_address", ""), workspace.id)
    assert await ingest.refused("POST", register, {"email": "eve@example.com"}) == (429, "rate_limited")
    resolved = await ingest.done("POST", "/admin/contacts/resolve", {"identities": ["telegram:42"], "create": True})
    # It reads nothing: it gets no contact's token, and of a resolved contact only what it named.
    assert first.keys() == again.keys() == {"success", "contact", "session"}
    await staff.admin.done("PATCH", f"/contacts/{first['contact']['id']}", {"add_identities": ["telegram:41"]})
    known = (await ingest.done("POST", "/admin/contacts/resolve", {"identities": [f"email:{email}"]}))["contact"]
    assert known.keys() == {"id", "workspace_id", "kind", "created_at", "attributes", "identities", "tags"}
    assert [identity["key"] for identity in known["identities"]] == [email]
    contact = await staff.agent.done("GET", f"/contacts/{first['contact']['id']}")
    assert contact["first_name"] == "Augusta"
    identity = next(each for each in contact["identities"] if each["kind"] == "email")
    assert (identity["evidence"], identity["verified_by"]) == ("verified", "api_key")
    assert resolved["contact"]["identities"][0]["verified_by"] == "api_key"
    audited = "select distinct verb, actor_kind from public.audit_events where actor_id = $1"
    events = {tuple(row) for row in await workspace.database.fetch(audited, ingest.id)}
    assert events >= {("contact.registered", "key"), ("contact.created", "key")}


async def test_an_agents_key_sees_the_sessions_that_it_opened(
    workspace: Workspace, staff: Staff, ours: Belongings
) -> None:
    key = await key_of(staff.owner, workspace, "agent")
    assert await key.refused("GET", f"/chat-sessions/{ours.ids['session_id']}") == (404, "session_not_found")
    contact = (await key.done("POST", "/contacts", {"first_name": "Ada"}))["id"]
    opened = await key.done("POST", "/chat-sessions", {"contact_id": contact, "persona_id": str(workspace.persona_id)})
    path = f"/chat-sessions/{opened['session_id']}"
    assert [item["id"] for item in (await key.done("GET", "/chat-sessions"))["items"]] == [opened["session_id"]]
    assert (await key.done("PATCH", f"{path}/pause"))["status"] == "paused"
    assert await staff.agent.refused("GET", path) == (404, "session_not_found")
    said = {"text": "Hello", "role": "member", "source": "email"}
    sent = await key.done("POST", f"/contacts/{contact}/messages", said)
    written = await workspace.row("select user_id from public.messages where id = $1", UUID(sent["message_id"]))
    assert written["user_id"] == key.id


async def test_a_key_that_is_not_valid_is_refused_everywhere(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff, ours: Belongings
) -> None:
    expired, revoked = [await key_of(staff.owner, workspace, "admin") for _ in range(2)]
    await workspace.database.execute("update public.api_keys set expires_at = now() where id = $1", expired.id)
    stolen = Person(client, revoked.id, "", f"swb_{revoked.id.hex}{'0' * 64}")
    assert stolen.token is not None
    assert revoked.token is not None
    assert (await revoked.ask("GET", "/contacts"))[0] == 200
    await staff.owner.done("DELETE", f"/workspaces/{workspace.id}/api-keys/{revoked.id}")
    for key, code in (
        (expired, "api_key_expired"),
        (revoked, "api_key_invalid"),
        (stolen, "api_key_invalid"),
        (Person(client, revoked.id, "", api_keys.generate()), "api_key_invalid"),
        (Person(client, revoked.id, "", revoked.token.upper().replace("SWB", "swb")), "api_key_invalid"),
    ):
        for route in FOR_MEMBERS:
            assert await outcome(key, route, ours) == (401, code), route
        register = f"/space/{workspace.space_id}/register"
        assert await key.refused("POST", register, {"email": "ada@example.com"}) == (401, code)


async def test_a_key_finds_nothing_of_another_workspace(
    client: aiohttp.ClientSession, stack: Stack, workspace: Workspace, staff: Staff, ours: Belongings
) -> None:
    elsewhere = await add_workspace(workspace.database)
    key = await key_of(await sign_up(client, elsewhere, stack, "owner"), elsewhere, "admin")
    register = f"/space/{workspace.space_id}/register"
    assert await key.refused("POST", register, {"email": "ada@example.com"}) == (404, "space_not_found")
    for route in (route for route in FOR_MEMBERS if "{" in route.path and route.name not in LISTS):
        status, code = await outcome(key, route, ours)
        assert status in (403, 404) or route.function == "chat", (route, code)


async def test_a_key_is_listed_without_its_secret_and_with_its_last_use(
    workspace: Workspace, staff: Staff, ingest: Person
) -> None:
    path = f"/workspaces/{workspace.id}/api-keys"
    await ingest.done("POST", f"/space/{workspace.space_id}/register", {"email": "ada@example.com"})
    (key,) = (await staff.agent.done("GET", path))["items"]
    assert ingest.token is not None
    assert (key["prefix"], key["role"], key["created_by"]) == (ingest.token[:16], "ingest", str(staff.owner.id))
    assert key["last_used_at"] is not None
    assert ingest.token[-20:] not in json.dumps(key)
    past = {"name": "x", "role": "agent", "expires_at": "2020-01-01"}
    assert await staff.admin.refused("POST", path, past) == (422, "invalid_body")
    stored = await workspace.row("select * from public.api_keys where id = $1", ingest.id)
    assert api_keys.read(ingest.token) == (ingest.id, stored["hash"])


EXPRESSIONS = """
const [text, items] = JSON.parse(process.argv[1])
const $ = (node) => ({ item: { json: items[node] } })
const $execution = { id: '7' }
const evaluated = text.slice(1).replace(/{{(.*?)}}/gs, (_, code) => eval(code))
process.stdout.write(text.startsWith('=') ? evaluated : text)
"""
"""Evaluates the value of a parameter of n8n as n8n does: text with expressions after an equals sign."""


async def test_the_workflow_of_the_docs_runs_with_one_header(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff
) -> None:
    text = (REPOSITORY / "docs" / "n8n" / "switchboard.json").read_text()
    key = await key_of(staff.owner, workspace, "admin")
    workflow, items = json.loads(text), dict[str, Any]()
    assert "swb_" not in text

    def evaluated(value: str) -> str:
        node = ("node", "-e", EXPRESSIONS, json.dumps([value, items]))
        return subprocess.run(node, capture_output=True, text=True, check=True).stdout

    for node in workflow["nodes"]:
        given = node["parameters"]
        if node["type"] == "n8n-nodes-base.set":
            items[node["name"]] = {each["name"]: each["value"] for each in given["assignments"]["assignments"]}
            items[node["name"]] |= {"base_url": "", "space_id": str(workspace.space_id)}
        if node["type"] != "n8n-nodes-base.httpRequest":
            continue
        headers = {each["name"]: each["value"] for each in given["headerParameters"]["parameters"]}
        parameters = given.get("queryParameters", {}).get("parameters", ())
        query = {each["name"]: evaluated(each["value"]) for each in parameters}
        headers |= {"Authorization": f"Bearer {key.token}"}
        body = json.loads(evaluated(given["jsonBody"])) if "jsonBody" in given else None
        url = evaluated(given["url"])
        async with client.request(given["method"], url, params=query, headers=headers, json=body) as response:
            assert response.ok, await response.text()
            items[node["name"]] = await response.json()
    (session,) = items["List"]["items"]
    assert session["contact"]["id"] == items["Resolve"]["contact"]["id"] == items["Register"]["contact"]["id"]
    assert (session["message_count"], items["Ask"]["status"]) == (3, "completed")
    # The contact of the fixture has one too.
    assert items["Statistics"]["sessions"]["total"] == 2
