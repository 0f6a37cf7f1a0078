"""Which callers may use a route: each route that needs a user or a contact, for callers without the right to it.

Whose rows an agent or a contact sees is test_isolation's and tests/database/access's.
"""

import re
from typing import Any
from uuid import uuid4

import aiohttp

from tests.functions.conftest import Workspace
from tests.functions.people import Staff, setup_of
from tests.functions.test_isolation import NAMED, WITHOUT_BODY, Belongings, body_of, fill
from tests.functions.test_sessions import session_of

ROUTES = [route for route in NAMED if set(route.callers) <= {"contact", "user"}]
MANAGED = [route for route in ROUTES if route.function in ("workspaces", "contacts", "worker")]
FOR_USERS = [*MANAGED, *(route for route in ROUTES if route.name == "ask_persona")]
QUERIES = {"delete_workspace": "?name=Test"}

LISTS = {"list_sessions_of_trip", "list_turn_memories"}
"""A list of what the caller sees is empty for callers from outside."""

FOR_AGENTS = {
    "tag_contact", "tag_session", "capture_message", "sign_out", "accept_invitation", "change_contact",
    "add_contact_tag", "remove_contact_tag", "add_session_tag", "remove_session_tag",
    "add_device_link",
}  # fmt: skip
"""Agents may use these for contacts and sessions that they see, and for their own invitations and devices."""

FOR_ADMINS = {"read_event_subscription", "list_event_deliveries", "read_job", "read_erasure"}
"""What these read is hidden from agents."""

FOR_MANAGERS = {"examine_workspace"}
"""What these read is about the deployment too."""

FOR_OPERATORS = {"set_allowed_networks"}
"""Operators may use these for every workspace."""

NOT_FOUND, FORBIDDEN, MISSING = (404, "workspace_not_found"), (403, "forbidden"), (401, "token_missing")
OUTSIDE = ("stranger", "other_admin", "operator")
READERS = (*OUTSIDE, "contact", "agent")
HIDDEN = {"contact": FORBIDDEN, **dict.fromkeys(OUTSIDE, NOT_FOUND)}
RESOLVE = {"workspace_id": "{workspace_id}", "identities": ["email:contact@example.com"]}
OFFER = {"contact_id": "{contact_id}", "persona_id": "{persona_id}", "thread_key": "offer"}
CLEAN_UP = {"workspace_id": "{workspace_id}", "max_age_hours": 2}

WITHOUT_ID: tuple[tuple[str, str, Any, dict[str, Any]], ...] = (
    ("POST", "/workspaces", {"name": "x"}, dict.fromkeys(("contact", "stranger", "other_admin", "owner"), FORBIDDEN)),
    ("GET", "/invitations", None, {"contact": FORBIDDEN}),
    ("GET", "/contacts", None, {"contact": FORBIDDEN, "stranger": (422, "workspace_required")}),
    ("GET", "/jobs", None, {"contact": FORBIDDEN, "stranger": (422, "workspace_required")}),
    ("GET", "/jobs?workspace_id={workspace_id}", None, HIDDEN),
    ("GET", "/contacts?workspace_id={workspace_id}", None, HIDDEN),
    ("GET", "/contacts/conflicts?workspace_id={workspace_id}", None, HIDDEN),
    ("POST", "/contacts", {"workspace_id": "{workspace_id}"}, HIDDEN),
    ("POST", "/admin/contacts/resolve", RESOLVE, HIDDEN | {"agent": FORBIDDEN}),
    ("GET", "/chat-sessions", None, {}),
    ("GET", "/chat-sessions/active", None, {}),
    ("GET", "/chat-sessions/stats", None, {"contact": FORBIDDEN}),
    ("POST", "/chat-sessions", OFFER, dict.fromkeys(OUTSIDE, (404, "contact_not_found"))),
    ("PUT", "/chat-sessions", OFFER, dict.fromkeys(OUTSIDE, (404, "contact_not_found")) | {"contact": FORBIDDEN}),
    ("POST", "/chat-sessions/bulk-status", {"session_ids": ["{session_id}"], "status": "paused"}, {}),
    ("POST", "/chat-sessions/cleanup", CLEAN_UP, HIDDEN | {"agent": FORBIDDEN}),
    ("GET", "/conversations/current", None, {"contact": FORBIDDEN}),
    ("GET", "/conversations/current/stream", None, {"contact": FORBIDDEN}),
    ("GET", "/workspaces/{workspace_id}/stream", None, HIDDEN),
    ("POST", "/stream-tickets", {"workspace_id": "{workspace_id}"}, HIDDEN),
    ("POST", "/stream-tickets", {"conversation_id": "current"}, {"contact": FORBIDDEN}),
    ("POST", "/stream-tickets", {"turn_id": "{turn_id}"}, dict.fromkeys(READERS, (404, "turn_not_found"))),
    ("POST", "/stream-tickets", {"conversation_id": "{conversation_id}"},
     dict.fromkeys(READERS, (404, "conversation_not_found"))),
)  # fmt: skip


async def everything(workspace: Workspace) -> list[Any]:
    tags = "select count(*) from public.tags where workspace_id = $1"
    counts = await workspace.counts(), await workspace.database.fetchval(tags, workspace.id)
    return [await setup_of(workspace), counts]


async def test_callers_from_outside_find_nothing_and_change_nothing(
    workspace: Workspace, staff: Staff, ours: Belongings
) -> None:
    before = await everything(workspace)
    for route in ROUTES:
        query, body = QUERIES.get(route.name, ""), body_of(route)
        noun, path = re.findall(r"\{(\w+)_id", route.path)[0], ours.path(route) + query
        hidden = (404, f"{noun}_not_found")
        expected = {} if route.name in LISTS else dict.fromkeys(OUTSIDE, hidden)
        if route.name in FOR_OPERATORS:
            del expected["operator"]
        expected |= {"anonymous": MISSING} | ({"contact": FORBIDDEN} if route in FOR_USERS else {})
        found = {who: await getattr(staff, who).refused(route.method, path, body) for who in expected}
        assert found == expected, route
        for unknown in (str(uuid4()), "no-id") if route.name not in LISTS else ():
            path = re.sub(r"\{\w+\}", unknown, route.path) + query
            assert await staff.owner.refused(route.method, path, body) == hidden, route
    for method, path, body, refusals in WITHOUT_ID:
        expected, asked = {"anonymous": MISSING, **refusals}, (method, fill(path, ours.ids), fill(body, ours.ids))
        found = {who: await getattr(staff, who).refused(*asked) for who in expected}
        assert found == expected, asked
    assert await everything(workspace) == before


async def test_a_contact_changes_nothing_of_their_own_session(
    workspace: Workspace, staff: Staff, ours: Belongings
) -> None:
    own = Belongings(ours.ids | {"session_id": str((await session_of(workspace, staff.contact))["id"])})
    before = await everything(workspace)
    for route in ROUTES:
        if "{session_id}" in route.path and "contact" not in route.callers:
            assert await staff.contact.refused(route.method, own.path(route), body_of(route)) == FORBIDDEN, route
    assert await everything(workspace) == before


async def test_an_agent_reads_and_changes_nothing(workspace: Workspace, staff: Staff, ours: Belongings) -> None:
    before = await everything(workspace)
    for route in MANAGED:
        path = ours.path(route) + QUERIES.get(route.name, "")
        if route.method == "GET" and route.name in FOR_MANAGERS:
            assert (await staff.agent.refused("GET", path))[0] == 403, route
        elif route.method == "GET":
            assert (await staff.agent.ask("GET", path))[0] == (404 if route.name in FOR_ADMINS else 200), route
        elif route.name not in FOR_AGENTS:
            assert await staff.agent.refused(route.method, path, body_of(route)) == FORBIDDEN, route
    assert await everything(workspace) == before


async def test_a_body_with_an_unknown_member_is_refused(workspace: Workspace, staff: Staff, ours: Belongings) -> None:
    before = await everything(workspace)
    for route in MANAGED:
        if route.name in FOR_OPERATORS:
            continue
        if route.function == "workspaces" and (body := body_of(route)) is not None:
            unknown = {**body, "allowed_networks": ["10.0.0.0/8"]}
            status, answer = await staff.owner.ask(route.method, ours.path(route), unknown)
            assert (status, answer["code"]) == (422, "invalid_body"), route
            fault = {"field": "allowed_networks", "message": "Extra inputs are not permitted"}
            assert fault in answer["errors"], route
    for route in ROUTES:
        if f"{route.function}.{route.name}" in WITHOUT_BODY:
            refused = await staff.owner.refused(route.method, ours.path(route), {"surprise": 1})
            assert refused == (422, "invalid_body"), route
    assert await everything(workspace) == before


async def test_any_origin_may_use_a_token(client: aiohttp.ClientSession, workspace: Workspace) -> None:
    for path in (f"/workspaces/{workspace.id}", f"/spaces/{workspace.space_id}"):
        asking = {"Origin": "https://admin.example", "Access-Control-Request-Method": "PATCH"}
        async with client.options(path, headers=asking) as response:
            assert response.status == 204
            assert response.headers["access-control-allow-origin"] == "*"
            assert response.headers["access-control-allow-methods"] == "PATCH"
