"""Workspaces and their members over HTTP: who may make and change them, and who may not."""

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest
import pytest_asyncio

from lib import routes
from lib.auth import callers
from local.stack import Stack
from tests.functions.conftest import Workspace, add_workspace
from tests.functions.people import Person, Staff, audit, setup_of, sign_up, staff_of


@pytest_asyncio.fixture
async def staff(client: aiohttp.ClientSession, workspace: Workspace, stack: Stack) -> Staff:
    """Everybody."""
    return await staff_of(client, workspace, stack)


async def roles(workspace: Workspace) -> dict[UUID, str]:
    rows = await workspace.database.fetch(
        "select user_id, role from public.workspace_members where workspace_id = $1", workspace.id
    )
    return {row["user_id"]: row["role"] for row in rows}


# Every route, for those who are nobody here ---------------------------------------------------------------------------

BODIES: dict[str, Any] = {
    "create_workspace": {"name": "x"},
    "change_workspace": {"name": "x"},
    "add_member": {"email": "somebody@people.test", "role": "agent"},
    "set_member": {"role": "agent"},
    "create_space": {"name": "x", "persona_id": str(uuid4())},
    "change_space": {"name": "x"},
    "rotate_hmac_secret": {},
    "create_persona": {"name": "x", "kind": "demo"},
    "change_persona": {"name": "x"},
    "set_persona_secret": {"secret": "x"},
    "rotate_callback_secret": {},
    "add_transition": {"workflow": "refund", "to_step": "asked"},
    "create_template": {"name": "x"},
    "change_template": {"name": "x"},
}
ROUTES = [route for route in routes.of("workspaces") if route.name != "list_workspaces"]
every_route = pytest.mark.parametrize("route", ROUTES, ids=[route.name for route in ROUTES])


QUERIES = {"delete_workspace": "?name=Test"}


def noun_of(route: routes.Route) -> str:
    """Of what the path's first id is."""
    return route.path.partition("{")[2].partition("_id}")[0]


async def address(route: routes.Route, workspace: Workspace, user_id: UUID) -> str:
    template_id = await workspace.database.fetchval(
        "insert into public.session_templates (workspace_id, name) values ($1, $2) returning id",
        workspace.id,
        f"Template {uuid4()}",
    )
    return (route.path + QUERIES.get(route.name, "")).format(
        workspace_id=workspace.id,
        space_id=workspace.space_id,
        persona_id=workspace.persona_id,
        user_id=user_id,
        transition_id=uuid4(),
        template_id=template_id,
    )


@every_route
async def test_who_is_no_member_finds_nothing_and_changes_nothing(
    workspace: Workspace, staff: Staff, route: routes.Route
) -> None:
    path, body = await address(route, workspace, staff.agent.id), BODIES.get(route.name)
    noun = noun_of(route)
    hidden = (403, "forbidden") if route.name == "create_workspace" else (404, f"{noun}_not_found")
    before = await setup_of(workspace)
    assert await staff.anonymous.refused(route.method, path, body) == (401, "token_missing")
    assert await staff.contact.refused(route.method, path, body) == (403, "forbidden")
    assert await staff.stranger.refused(route.method, path, body) == hidden
    assert await staff.other_admin.refused(route.method, path, body) == hidden
    if route.name != "create_workspace":
        assert await staff.operator.refused(route.method, path, body) == hidden, "who makes workspaces reads none"
    assert await setup_of(workspace) == before


@every_route
async def test_an_agent_reads_and_changes_nothing(workspace: Workspace, staff: Staff, route: routes.Route) -> None:
    path, body = await address(route, workspace, staff.owner.id), BODIES.get(route.name)
    before = await setup_of(workspace)
    if route.method == "GET":
        assert (await staff.agent.ask("GET", path))[0] == 200
    else:
        assert await staff.agent.refused(route.method, path, body) == (403, "forbidden")
    assert await setup_of(workspace) == before


@every_route
async def test_an_unknown_id_is_not_found(workspace: Workspace, staff: Staff, route: routes.Route) -> None:
    if route.name == "create_workspace":
        return
    first = noun_of(route)
    for unknown in (str(uuid4()), "no-id"):
        ids = dict.fromkeys(("workspace_id", "space_id", "persona_id", "transition_id", "template_id"), unknown)
        path = (route.path + QUERIES.get(route.name, "")).format(**ids, user_id=staff.agent.id)
        assert await staff.owner.refused(route.method, path, BODIES.get(route.name)) == (404, f"{first}_not_found")


@every_route
async def test_a_body_with_an_unknown_member_is_refused(
    workspace: Workspace, staff: Staff, route: routes.Route
) -> None:
    if route.name not in BODIES:
        assert route.method in ("GET", "DELETE")
        return
    path = await address(route, workspace, staff.agent.id)
    before = await setup_of(workspace)
    body = {**BODIES[route.name], "allowed_networks": ["10.0.0.0/8"], "workspace_id": str(uuid4())}
    status, answer = await staff.owner.ask(route.method, path, body)
    assert (status, answer["code"]) == (422, "invalid_body")
    assert {"field": "allowed_networks", "message": "Extra inputs are not permitted"} in answer["errors"]
    assert await setup_of(workspace) == before


async def test_a_page_of_any_origin_may_ask_with_a_token(client: aiohttp.ClientSession, workspace: Workspace) -> None:
    for path, method in ((f"/workspaces/{workspace.id}", "PATCH"), (f"/spaces/{workspace.space_id}", "PATCH")):
        asking = {"Origin": "https://admin.example", "Access-Control-Request-Method": method}
        async with client.options(path, headers=asking) as response:
            assert response.status == 204
            assert response.headers["access-control-allow-origin"] == "*"
            assert response.headers["access-control-allow-methods"] == method


# Workspaces -----------------------------------------------------------------------------------------------------------


async def test_an_operator_makes_a_workspace_and_owns_it(workspace: Workspace, staff: Staff) -> None:
    settings = {"name": "Example Travel", "archiveAfterDays": 30, "archive_statuses": ["failed"]}
    made = await staff.operator.done("POST", "/workspaces", {**settings, "messages_per_minute_by_contact": 5})
    made_id = UUID(made["id"])
    assert (made["name"], made["archive_after_days"], made["archive_statuses"]) == ("Example Travel", 30, ["failed"])
    assert (made["messages_per_minute_by_contact"], made["messages_per_minute_by_user"]) == (5, 120)
    assert await staff.operator.done("GET", f"/workspaces/{made_id}") == made
    listed = await staff.operator.done("GET", f"/workspaces/{made_id}/members")
    assert [(item["user_id"], item["email"], item["role"]) for item in listed["items"]] == [
        (str(staff.operator.id), staff.operator.email, "owner")
    ]
    assert await audit(workspace, made_id) == [
        ("member.added", staff.operator.id, staff.operator.id, "owner"),
        ("workspace.created", made_id, staff.operator.id, None),
    ]


async def test_what_a_user_writes_of_themselves_makes_no_operator(staff: Staff) -> None:
    assert await staff.stranger.refused("POST", "/workspaces", {"name": "x"}) == (403, "forbidden")


async def test_the_first_owner_is_named_by_id_or_confirmed_email(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff, stack: Stack
) -> None:
    unconfirmed = await sign_up(client, workspace, stack, confirmed=False)
    for owner in ({"owner_id": str(staff.stranger.id)}, {"owner_email": f" {staff.stranger.email.upper()} "}):
        made = await staff.operator.done("POST", "/workspaces", {"name": "x", **owner})
        assert (await staff.stranger.ask("GET", f"/workspaces/{made['id']}"))[0] == 200
        assert await staff.operator.refused("GET", f"/workspaces/{made['id']}") == (404, "workspace_not_found")
    missing: list[dict[str, Any]] = [{"owner_id": str(uuid4())}, {"owner_email": unconfirmed.email}]
    for owner in missing:
        answer = await staff.operator.refused("POST", "/workspaces", {"name": "x", **owner})
        assert answer == (404, "user_not_found")
    both = {"name": "x", "owner_id": str(staff.owner.id), "owner_email": staff.owner.email}
    assert await staff.operator.refused("POST", "/workspaces", both) == (422, "invalid_body")


async def test_making_a_workspace_twice_under_one_id_makes_one(workspace: Workspace, staff: Staff) -> None:
    new = {"id": str(uuid4()), "name": "Once"}
    answers = await asyncio.gather(*(staff.operator.done("POST", "/workspaces", new) for _ in range(4)))
    assert answers == [answers[0]] * 4
    assert len(await audit(workspace, UUID(new["id"]))) == 2
    taken = {"id": str(workspace.id), "name": "Mine now"}
    assert await staff.operator.refused("POST", "/workspaces", taken) == (409, "id_taken")
    assert (await staff.owner.done("GET", f"/workspaces/{workspace.id}"))["name"] == "Test"


async def test_a_user_lists_their_own_workspaces_page_by_page(
    client: aiohttp.ClientSession, workspace: Workspace, stack: Stack, staff: Staff
) -> None:
    reader = await sign_up(client, workspace, stack, "agent")
    mine = {str(workspace.id)}
    for _ in range(4):
        another = await add_workspace(workspace.database)
        await workspace.database.execute(
            "insert into public.workspace_members values ($1, $2, 'agent')", another.id, reader.id
        )
        mine.add(str(another.id))
    seen: list[str] = []
    cursor, pages = "", 0
    while True:
        page = await reader.done("GET", f"/workspaces?limit=2{cursor}")
        seen += [item["id"] for item in page["items"]]
        pages += 1
        if "next_cursor" not in page:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert (set(seen), len(seen), pages) == (mine, 5, 3)
    assert await staff.stranger.done("GET", "/workspaces") == {"items": []}
    for query in ("limit=0", "limit=201", "limit=x", "cursor=x", "page=2"):
        assert await reader.refused("GET", f"/workspaces?{query}") == (422, "invalid_body")
    assert await staff.contact.refused("GET", "/workspaces") == (403, "forbidden")
    assert await staff.anonymous.refused("GET", "/workspaces") == (401, "token_missing")


@pytest.mark.parametrize("who", ["owner", "admin"])
async def test_owners_and_admins_change_settings_one_by_one(workspace: Workspace, staff: Staff, who: str) -> None:
    person: Person = getattr(staff, who)
    path = f"/workspaces/{workspace.id}"
    before = await person.done("GET", path)
    changed = await person.done("PATCH", path, {"name": "Other", "messages_per_minute_by_space": 7})
    assert changed == {**before, "name": "Other", "messages_per_minute_by_space": 7}
    assert await person.done("PATCH", path, {}) == changed
    assert await person.done("PATCH", path, {"name": "Other"}) == changed
    assert await audit(workspace) == [("workspace.changed", workspace.id, person.id, None)], (
        "what changed nothing is none"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"name": None},
        {"name": "x" * 201},
        {"name": "a\x00b"},
        {"archive_after_days": 0},
        {"archive_after_days": 3651},
        {"archive_statuses": ["active"]},
        {"messages_per_minute_by_contact": 0},
        {"messages_per_minute_by_contact": True},
        {"archive_after_days": "7"},
        {"id": str(uuid4())},
        [],
    ],
)
async def test_a_setting_that_does_not_fit_is_refused(workspace: Workspace, staff: Staff, changes: Any) -> None:
    before = await setup_of(workspace)
    assert await staff.owner.refused("PATCH", f"/workspaces/{workspace.id}", changes) == (422, "invalid_body")
    assert await setup_of(workspace) == before


# Members --------------------------------------------------------------------------------------------------------------


async def test_an_admin_adds_an_agent_by_email_and_takes_them_out(workspace: Workspace, staff: Staff) -> None:
    path = f"/workspaces/{workspace.id}/members"
    invitation = {"email": staff.stranger.email.upper(), "role": "agent"}
    made = await staff.admin.done("POST", path, invitation)
    assert (made["user_id"], made["role"]) == (str(staff.stranger.id), "agent")
    assert made in (await staff.admin.done("GET", path))["items"], "with the email as it is stored"
    assert await staff.admin.done("POST", path, invitation) == made, "again, nothing changes"
    assert (await staff.stranger.ask("GET", path))[0] == 200
    assert (await staff.admin.ask("DELETE", f"{path}/{staff.stranger.id}"))[0] == 204
    assert await staff.admin.refused("DELETE", f"{path}/{staff.stranger.id}") == (404, "member_not_found")
    assert await staff.stranger.refused("GET", path) == (404, "workspace_not_found")
    assert await audit(workspace) == [
        ("member.added", staff.stranger.id, staff.admin.id, "agent"),
        ("member.removed", staff.stranger.id, staff.admin.id, "agent"),
    ]


async def test_putting_a_member_twice_is_putting_them_once(workspace: Workspace, staff: Staff) -> None:
    path = f"/workspaces/{workspace.id}/members/{staff.stranger.id}"
    made = await staff.owner.done("PUT", path, {"role": "agent"})
    assert await staff.owner.done("PUT", path, {"role": "agent"}) == made
    assert (await staff.owner.done("PUT", path, {"role": "admin"}))["role"] == "admin"
    assert [(verb, code) for verb, _, _, code in await audit(workspace)] == [
        ("member.added", "agent"),
        ("member.changed", "admin"),
    ]
    again = {"email": staff.stranger.email, "role": "agent"}
    assert await staff.owner.refused("POST", f"/workspaces/{workspace.id}/members", again) == (409, "member_exists")
    unknown = f"/workspaces/{workspace.id}/members/{uuid4()}"
    assert await staff.owner.refused("PUT", unknown, {"role": "agent"}) == (404, "user_not_found")
    assert await staff.owner.refused("PUT", path, {"role": "god"}) == (422, "invalid_body")


async def test_an_admin_makes_no_admins_and_touches_none(workspace: Workspace, staff: Staff) -> None:
    path = f"/workspaces/{workspace.id}/members"
    before = await roles(workspace)
    for user, role in (
        (staff.stranger, "admin"),
        (staff.stranger, "owner"),
        (staff.agent, "admin"),
        (staff.owner, "agent"),
        (staff.admin, "owner"),
    ):
        assert await staff.admin.refused("PUT", f"{path}/{user.id}", {"role": role}) == (403, "forbidden")
    for email in (staff.stranger.email, "nobody@people.test"):
        invitation = {"email": email, "role": "admin"}
        assert await staff.admin.refused("POST", path, invitation) == (403, "forbidden"), "and it tells of no account"
    assert await staff.admin.refused("DELETE", f"{path}/{staff.owner.id}") == (403, "forbidden")
    assert await roles(workspace) == before
    assert await audit(workspace) == []


@pytest.mark.parametrize("who", ["admin", "agent"])
async def test_everybody_may_leave(workspace: Workspace, staff: Staff, who: str) -> None:
    person: Person = getattr(staff, who)
    path = f"/workspaces/{workspace.id}/members/{person.id}"
    assert (await person.ask("DELETE", path))[0] == 204
    assert person.id not in await roles(workspace)


async def test_the_last_owner_stays_one(workspace: Workspace, staff: Staff) -> None:
    path = f"/workspaces/{workspace.id}/members"
    mine = f"{path}/{staff.owner.id}"
    assert await staff.owner.refused("DELETE", mine) == (409, "last_owner")
    assert await staff.owner.refused("PUT", mine, {"role": "agent"}) == (409, "last_owner")
    assert (await staff.owner.done("PUT", mine, {"role": "owner"}))["role"] == "owner"
    await staff.owner.done("PUT", f"{path}/{staff.admin.id}", {"role": "owner"})
    assert (await staff.owner.ask("DELETE", mine))[0] == 204
    assert await staff.admin.refused("DELETE", f"{path}/{staff.admin.id}") == (409, "last_owner")


async def test_two_owners_who_remove_each_other_at_once_leave_one(workspace: Workspace, staff: Staff) -> None:
    path = f"/workspaces/{workspace.id}/members"
    await staff.owner.done("PUT", f"{path}/{staff.admin.id}", {"role": "owner"})
    await asyncio.gather(
        staff.owner.ask("DELETE", f"{path}/{staff.owner.id}"), staff.admin.ask("DELETE", f"{path}/{staff.admin.id}")
    )
    assert list((await roles(workspace)).values()).count("owner") == 1


async def test_an_email_that_nobody_confirmed_is_not_found_and_the_question_is_audited(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff, stack: Stack
) -> None:
    unconfirmed = await sign_up(client, workspace, stack, confirmed=False)
    path = f"/workspaces/{workspace.id}/members"
    for email in (unconfirmed.email, "nobody@people.test"):
        status, answer = await staff.admin.ask("POST", path, {"email": email, "role": "agent"})
        assert (status, answer["code"]) == (404, "user_not_found")
    assert await audit(workspace) == [("member.sought", workspace.id, staff.admin.id, "user_not_found")] * 2
    assert await staff.admin.refused("POST", path, {"email": "no email", "role": "agent"}) == (422, "invalid_body")


async def test_a_caller_asks_for_ten_emails_a_minute(workspace: Workspace, staff: Staff) -> None:
    path = f"/workspaces/{workspace.id}/members"
    answers = await asyncio.gather(
        *(staff.admin.ask("POST", path, {"email": f"{number}@people.test", "role": "agent"}) for number in range(12))
    )
    assert sorted(status for status, _ in answers) == [404] * 10 + [429] * 2
    late = next(answer for status, answer in answers if status == 429)
    assert (late["code"], late["limit"]) == ("rate_limited", "members_by_email")
    invitation = {"email": staff.stranger.email, "role": "agent"}
    assert await staff.admin.refused("POST", path, invitation) == (429, "rate_limited"), "a yes is counted as well"
    assert (await staff.owner.ask("POST", path, invitation))[0] == 201, "another caller has a count of their own"


async def test_a_token_that_was_signed_for_a_chat_manages_nothing(workspace: Workspace, staff: Staff) -> None:
    caller = callers.User(staff.owner.id, staff.owner.email, "", operator=True).claims()
    expected = {
        callers.Scope(workspace_id=workspace.id, space_id=workspace.space_id): (None, False),
        callers.Scope(management=True): ("owner", True),
    }
    for scope, found in expected.items():
        claims = json.dumps({"role": "switchboard", "scope": scope.claims(), "caller": caller})
        async with workspace.database.transaction():
            await workspace.database.execute("select set_config('request.jwt.claims', $1, true)", claims)
            (row,) = await workspace.database.fetch(
                "select private.caller_role($1) as role, private.is_operator() as operator", workspace.id
            )
        assert (row["role"], row["operator"]) == found
