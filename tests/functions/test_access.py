"""Which callers may use the routes of workspaces and contacts: each route, for callers without the right to it."""

import re
from typing import Any
from uuid import uuid4

import aiohttp
import pytest_asyncio

from lib import routes
from local.stack import Stack
from tests.functions.conftest import Workspace
from tests.functions.people import Staff, setup_of
from tests.functions.test_isolation import Belongings, body_of

ROUTES = [route for name in ("workspaces", "contacts") for route in routes.of(name) if "{" in route.path]
QUERIES = {"delete_workspace": "?name=Test"}

FOR_AGENTS = {"tag_contact", "tag_session", "capture_message"}
"""Agents may use these for contacts and sessions that they see."""

FOR_OPERATORS = {"set_allowed_networks"}
"""Operators may use these for every workspace."""

NOT_FOUND, FORBIDDEN = (404, "workspace_not_found"), (403, "forbidden")
WITHOUT_ID: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/workspaces"): {"stranger": FORBIDDEN, "other_admin": FORBIDDEN, "owner": FORBIDDEN},
    ("GET", "/contacts"): dict.fromkeys(("stranger", "operator"), (422, "workspace_required")),
    ("GET", "/contacts?workspace_id={workspace_id}"): dict.fromkeys(("stranger", "other_admin", "operator"), NOT_FOUND),
    ("GET", "/contacts/conflicts?workspace_id={workspace_id}"): dict.fromkeys(("stranger", "other_admin"), NOT_FOUND),
    ("POST", "/admin/contacts/resolve"): {"agent": FORBIDDEN, "stranger": NOT_FOUND, "other_admin": NOT_FOUND},
}


@pytest_asyncio.fixture
async def ours(client: aiohttp.ClientSession, workspace: Workspace, stack: Stack) -> Belongings:
    """The rows of the workspace."""
    return await Belongings.of(client, workspace, stack)


async def everything(workspace: Workspace) -> list[Any]:
    tags = "select count(*) from public.tags where workspace_id = $1"
    counts = await workspace.counts(), await workspace.database.fetchval(tags, workspace.id)
    return [await setup_of(workspace), counts]


async def test_callers_from_outside_find_nothing_and_change_nothing(
    workspace: Workspace, staff: Staff, ours: Belongings
) -> None:
    before = await everything(workspace)
    for route in ROUTES:
        outside = ["stranger", "other_admin", *(["operator"] if route.name not in FOR_OPERATORS else [])]
        query, body = QUERIES.get(route.name, ""), body_of(route)
        noun, path = re.findall(r"\{(\w+)_id", route.path)[0], ours.path(route) + query
        hidden = (404, f"{noun}_not_found")
        expected = {"anonymous": (401, "token_missing"), "contact": FORBIDDEN, **dict.fromkeys(outside, hidden)}
        found = {
            who: await getattr(staff, who).refused(route.method, ours.path(route) + query, body) for who in expected
        }
        assert found == expected, route
        for unknown in (str(uuid4()), "no-id"):
            path = re.sub(r"\{\w+\}", unknown, route.path) + query
            assert await staff.owner.refused(route.method, path, body) == hidden
    for (method, path), expected in WITHOUT_ID.items():
        body = {"POST": {"name": "x"}, "GET": None}[method]
        if path.endswith("resolve"):
            body = {"workspace_id": str(workspace.id), "identities": ["email:contact@example.com"]}
        expected |= {"anonymous": (401, "token_missing"), "contact": FORBIDDEN}
        found = {who: await getattr(staff, who).refused(method, path.format(**ours.ids), body) for who in expected}
        assert found == expected, path
    assert await everything(workspace) == before


async def test_an_agent_reads_and_changes_nothing(workspace: Workspace, staff: Staff, ours: Belongings) -> None:
    before = await everything(workspace)
    for route in ROUTES:
        path = ours.path(route) + QUERIES.get(route.name, "")
        if route.method == "GET":
            assert (await staff.agent.ask("GET", path))[0] == 200, route
        elif route.name not in FOR_AGENTS:
            assert await staff.agent.refused(route.method, path, body_of(route)) == FORBIDDEN, route
    assert await everything(workspace) == before


async def test_a_body_with_an_unknown_member_is_refused(workspace: Workspace, staff: Staff, ours: Belongings) -> None:
    before = await everything(workspace)
    for route in ROUTES:
        if route.name in FOR_OPERATORS:
            continue
        if route.function == "workspaces" and (body := body_of(route)) is not None:
            unknown = {**body, "allowed_networks": ["10.0.0.0/8"]}
            status, answer = await staff.owner.ask(route.method, ours.path(route), unknown)
            assert (status, answer["code"]) == (422, "invalid_body"), route
            fault = {"field": "allowed_networks", "message": "Extra inputs are not permitted"}
            assert fault in answer["errors"], route
    assert await everything(workspace) == before


async def test_any_origin_may_use_a_token(client: aiohttp.ClientSession, workspace: Workspace) -> None:
    for path in (f"/workspaces/{workspace.id}", f"/spaces/{workspace.space_id}"):
        asking = {"Origin": "https://admin.example", "Access-Control-Request-Method": "PATCH"}
        async with client.options(path, headers=asking) as response:
            assert response.status == 204
            assert response.headers["access-control-allow-origin"] == "*"
            assert response.headers["access-control-allow-methods"] == "PATCH"
