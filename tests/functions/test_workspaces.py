"""Workspaces and their members over HTTP: created by operators, changed by owners and admins, listed in pages."""

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import aiohttp

from local.stack import Stack
from tests.functions.conftest import Visitor, Workspace, add_workspace
from tests.functions.people import Staff, audit, setup_of, sign_up

FORBIDDEN, INVALID, LAST_OWNER = (403, "forbidden"), (422, "invalid_body"), (409, "last_owner")


async def roles(workspace: Workspace) -> dict[UUID, str]:
    query = "select user_id, role from public.workspace_members where workspace_id = $1"
    return {row["user_id"]: row["role"] for row in await workspace.database.fetch(query, workspace.id)}


async def test_an_operator_creates_a_workspace_with_its_first_owner(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff, stack: Stack
) -> None:
    operator = staff.operator
    settings = {"name": "Example Travel", "archiveAfterDays": 30, "archive_statuses": ["failed"]}
    made = await operator.done("POST", "/workspaces", {**settings, "messages_per_minute_by_contact": 5})
    path = f"/workspaces/{made['id']}"
    assert (made["name"], made["archive_after_days"], made["archive_statuses"]) == ("Example Travel", 30, ["failed"])
    assert (made["messages_per_minute_by_contact"], made["messages_per_minute_by_user"]) == (5, 120)
    assert await operator.done("GET", path) == made
    (owner,) = (await operator.done("GET", f"{path}/members"))["items"]
    assert (owner["user_id"], owner["email"], owner["role"]) == (str(operator.id), operator.email, "owner")
    assert await audit(workspace, UUID(made["id"])) == [
        ("member.added", operator.id, operator.id, "owner"),
        ("workspace.created", UUID(made["id"]), operator.id, None),
    ]
    unconfirmed = await sign_up(client, workspace, stack, confirmed=False)
    for named in ({"owner_id": str(staff.stranger.id)}, {"owner_email": f" {staff.stranger.email.upper()} "}):
        path = f"/workspaces/{(await operator.done('POST', '/workspaces', {'name': 'x', **named}))['id']}"
        assert (await staff.stranger.ask("GET", path))[0] == 200
        assert await operator.refused("GET", path) == (404, "workspace_not_found")
    refusals: tuple[tuple[dict[str, str], tuple[int, str]], ...] = (
        ({"owner_id": str(uuid4())}, (404, "user_not_found")),
        ({"owner_email": unconfirmed.email}, (404, "user_not_found")),
        ({"owner_id": str(staff.owner.id), "owner_email": staff.owner.email}, INVALID),
        ({"id": str(workspace.id)}, (409, "id_taken")),
    )
    for named, refusal in refusals:
        assert await operator.refused("POST", "/workspaces", {"name": "x", **named}) == refusal

    new = {"id": str(uuid4()), "name": "Once"}
    answers = await asyncio.gather(*(operator.done("POST", "/workspaces", new) for _ in range(4)))
    assert answers == [answers[0]] * 4
    assert len(await audit(workspace, UUID(new["id"]))) == 2


async def test_a_user_lists_their_workspaces_page_by_page(
    client: aiohttp.ClientSession, workspace: Workspace, stack: Stack, staff: Staff
) -> None:
    reader = await sign_up(client, workspace, stack, "agent")
    mine = {workspace.id} | {(await add_workspace(workspace.database)).id for _ in range(5)}
    for workspace_id in mine - {workspace.id}:
        member = "insert into public.workspace_members values ($1, $2, 'agent')"
        await workspace.database.execute(member, workspace_id, reader.id)
    pages = await reader.pages("/workspaces", 2)
    seen = [item["id"] for page in pages for item in page]
    assert (sorted(seen), len(pages)) == (sorted(map(str, mine)), 3)
    assert await staff.stranger.done("GET", "/workspaces") == {"items": []}
    for query in ("limit=0", "limit=201", "limit=x", "cursor=x", "page=2"):
        assert await reader.refused("GET", f"/workspaces?{query}") == INVALID


async def test_operators_set_the_networks_that_a_workspace_may_call(workspace: Workspace, staff: Staff) -> None:
    path, networks = f"/workspaces/{workspace.id}/allowed-networks", ["fd00::/8", "10.1.0.0/16", "10.1.0.0/16"]
    assert await staff.owner.refused("PUT", path, {"allowed_networks": networks}) == FORBIDDEN
    for network in ("10.1.0.1/16", "10.1", "", None):
        assert await staff.operator.refused("PUT", path, {"allowed_networks": [network]}) == INVALID
    expected = {"allowed_networks": ["10.1.0.0/16", "fd00::/8"]}
    assert await staff.operator.done("PUT", path, {"allowedNetworks": networks}) == expected
    assert (await staff.owner.done("GET", f"/workspaces/{workspace.id}")).items() >= expected.items()
    assert (await audit(workspace))[-1] == ("workspace.networks_set", workspace.id, staff.operator.id, None)
    assert await staff.operator.done("PUT", path, {"allowed_networks": []}) == {"allowed_networks": []}
    unknown = f"/workspaces/{uuid4()}/allowed-networks"
    assert await staff.operator.refused("PUT", unknown, {"allowed_networks": []}) == (404, "workspace_not_found")


async def test_admins_read_what_went_wrong_with_turns_the_newest_first(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff
) -> None:
    persona_id = await workspace.add_persona("n8n", {"url": "http://127.0.0.1:1/webhook/x"})
    visitor = Visitor(client, await workspace.add_space(persona_id=persona_id))
    turns = [(await visitor.say("hello"))[0].data for _ in range(2)]
    path = f"/workspaces/{workspace.id}/turn-errors"
    page = await staff.admin.done("GET", f"{path}?limit=1")
    (newest,) = page["items"]
    rest = await staff.admin.done("GET", f"{path}?limit=1&cursor={page['next_cursor']}")
    assert [newest["id"], rest["items"][0]["id"]] == [turn["turn_id"] for turn in reversed(turns)]
    assert (newest["code"], newest["status"], newest["persona_id"]) == (
        "persona_address_refused",
        "failed",
        str(persona_id),
    )
    assert "127.0.0.1" in newest["detail"]
    for query, count in ((f"session_id={newest['session_id']}", 2), (f"persona_id={uuid4()}", 0)):
        assert len((await staff.owner.done("GET", f"{path}?{query}"))["items"]) == count
    # An agent reads no addresses and no words of the workspace's services.
    assert await staff.agent.done("GET", path) == {"items": []}


async def test_owners_and_admins_change_settings_one_by_one(workspace: Workspace, staff: Staff) -> None:
    path = f"/workspaces/{workspace.id}"
    networks = "update public.workspaces set allowed_networks = '{10.0.0.0/8}' where id = $1"
    await workspace.database.execute(networks, workspace.id)
    before = await staff.owner.done("GET", path)
    assert before["allowed_networks"] == ["10.0.0.0/8"]
    shown = {name: before[name] for name in before if name != "allowed_networks"}
    assert (await staff.agent.done("GET", path), await staff.agent.done("GET", "/workspaces")) == (
        shown,
        {"items": [shown]},
    )
    for person, changes in (
        (staff.owner, {"name": "Other", "messages_per_minute_by_space": 7}),
        (staff.admin, {"name": "x"}),
    ):
        changed = await person.done("PATCH", path, changes)
        before = {**before, **changes}
        assert changed == before
        assert await person.done("PATCH", path, {}) == await person.done("PATCH", path, changes) == changed
    # A number of hours may be taken back, for the instance's.
    assert (await staff.owner.done("PATCH", path, {"session_timeout_hours": 0}))["session_timeout_hours"] == 0
    assert await staff.owner.done("PATCH", path, {"sessionTimeoutHours": None}) == changed
    # Only a change is audited.
    assert await audit(workspace) == [
        ("workspace.changed", workspace.id, person.id, None)
        for person in (staff.owner, staff.admin, staff.owner, staff.owner)
    ]
    unchanged = await setup_of(workspace)
    unfit: tuple[Any, ...] = (
        {"name": ""}, {"name": None}, {"name": "x" * 201}, {"name": "a\x00b"}, {"archive_after_days": 0},
        {"archive_after_days": 3651}, {"archive_after_days": "7"}, {"archive_statuses": ["active"]},
        {"session_timeout_hours": -1}, {"session_timeout_hours": 8761}, {"session_timeout_hours": "x"},
        {"messages_per_minute_by_contact": 0}, {"messages_per_minute_by_contact": True}, {"id": str(uuid4())}, [],
    )  # fmt: skip
    for changes in unfit:
        assert await staff.owner.refused("PATCH", path, changes) == INVALID, changes
    assert await setup_of(workspace) == unchanged


async def test_a_user_becomes_a_member_by_accepting_an_invitation(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff, stack: Stack
) -> None:
    path, user, other = f"/workspaces/{workspace.id}", staff.stranger, await add_workspace(workspace.database)
    unconfirmed = await sign_up(client, workspace, stack, confirmed=False)
    offer = {"email": f" {user.email.upper()} ", "role": "agent"}
    made = await staff.admin.done("POST", f"{path}/invitations", offer)
    assert (made["email"], made["role"], made["workspace_name"]) == (user.email.upper(), "agent", "Test")
    lasting = datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(made["created_at"])
    assert lasting == timedelta(days=7)
    # Neither an invitation nor a role makes a member: the user's other calls still name no workspace.
    assert await staff.owner.refused("PUT", f"{path}/members/{user.id}", {"role": "agent"}) == (404, "member_not_found")
    assert await user.refused("GET", path) == (404, "workspace_not_found")
    assert await user.done("GET", "/workspaces") == {"items": []}

    theirs = await staff.admin.done("POST", f"{path}/invitations", {"email": unconfirmed.email, "role": "agent"})
    assert (await staff.admin.done("GET", f"{path}/invitations"))["items"] == [made, theirs]
    assert await staff.agent.done("GET", f"{path}/invitations") == {"items": []}
    accept = f"/invitations/{made['id']}/accept"
    for person, own in ((user, [made]), (unconfirmed, []), (staff.agent, []), (staff.admin, [])):
        assert (await person.done("GET", "/invitations"))["items"] == own
        for hidden in (f"/invitations/{theirs['id']}/accept", *([] if own else [accept])):
            assert await person.refused("POST", hidden) == (404, "invitation_not_found")
    assert await user.refused("GET", f"/workspaces/{other.id}/invitations") == (404, "workspace_not_found")

    member = await user.done("POST", accept)
    assert (member["workspace_id"], member["user_id"], member["role"]) == (str(workspace.id), str(user.id), "agent")
    assert await user.done("POST", accept) == member
    assert await staff.admin.refused("POST", f"{path}/invitations", offer) == (409, "already_member")
    listed = (await user.done("GET", f"{path}/members"))["items"]
    assert (str(user.id), "agent") in [(item["user_id"], item["role"]) for item in listed]
    assert await user.done("GET", "/invitations") == {"items": []}
    assert await staff.admin.done("DELETE", f"{path}/invitations/{theirs['id']}") == {}
    assert await staff.admin.done("GET", f"{path}/invitations") == {"items": []}
    assert await audit(workspace) == [
        ("member.invited", UUID(made["id"]), staff.admin.id, "agent"),
        ("member.invited", UUID(theirs["id"]), staff.admin.id, "agent"),
        ("member.added", user.id, user.id, "agent"),
        ("invitation.withdrawn", UUID(theirs["id"]), staff.admin.id, "agent"),
    ]


async def test_an_expired_invitation_is_renewed_by_another(workspace: Workspace, staff: Staff) -> None:
    path, offer = f"/workspaces/{workspace.id}/invitations", {"email": staff.stranger.email, "role": "agent"}
    made = await staff.owner.done("POST", path, offer)
    await workspace.database.execute("update public.invitations set expires_at = now()")
    assert await staff.stranger.done("GET", "/invitations") == {"items": []}
    assert await staff.stranger.refused("POST", f"/invitations/{made['id']}/accept") == (404, "invitation_not_found")
    renewed = await staff.owner.done("POST", path, {**offer, "role": "owner"})
    assert (renewed["id"], renewed["role"]) == (made["id"], "owner")
    assert (await staff.stranger.done("POST", f"/invitations/{made['id']}/accept"))["role"] == "owner"
    for invalid in ({"email": "no email", "role": "agent"}, {"email": staff.stranger.email, "role": "god"}):
        assert await staff.owner.refused("POST", path, invalid) == INVALID


async def test_an_admin_invites_and_removes_agents_only(workspace: Workspace, staff: Staff) -> None:
    path = f"/workspaces/{workspace.id}"
    assert await staff.admin.done("DELETE", f"{path}/members/{staff.agent.id}") == {}
    assert await staff.admin.refused("DELETE", f"{path}/members/{staff.agent.id}") == (404, "member_not_found")
    assert await staff.agent.refused("GET", path) == (404, "workspace_not_found")
    events = [("member.removed", staff.agent.id, staff.admin.id, "agent")]
    assert await audit(workspace) == events

    before = await roles(workspace)
    for role in ("admin", "owner"):
        offer = {"email": staff.stranger.email, "role": role}
        assert await staff.admin.refused("POST", f"{path}/invitations", offer) == FORBIDDEN
    for other, role in ((staff.owner, "agent"), (staff.admin, "owner")):
        assert await staff.admin.refused("PUT", f"{path}/members/{other.id}", {"role": role}) == FORBIDDEN
    assert await staff.admin.refused("DELETE", f"{path}/members/{staff.owner.id}") == FORBIDDEN
    assert (await roles(workspace), await audit(workspace)) == (before, events)


async def test_an_owner_changes_roles_and_every_member_may_leave_but_the_last_owner(
    workspace: Workspace, staff: Staff
) -> None:
    path = f"/workspaces/{workspace.id}/members"
    one, mine = f"{path}/{staff.agent.id}", f"{path}/{staff.owner.id}"
    made = await staff.owner.done("PUT", one, {"role": "agent"})
    assert await staff.owner.done("PUT", one, {"role": "agent"}) == made
    assert (await staff.owner.done("PUT", one, {"role": "admin"}))["role"] == "admin"
    assert [(verb, code) for verb, _, _, code in await audit(workspace)] == [("member.changed", "admin")]
    assert await staff.owner.refused("PUT", f"{path}/{uuid4()}", {"role": "agent"}) == (404, "member_not_found")
    assert await staff.owner.refused("PUT", one, {"role": "god"}) == INVALID

    assert await staff.agent.done("DELETE", one) == {}
    assert await staff.owner.refused("DELETE", mine) == LAST_OWNER
    assert await staff.owner.refused("PUT", mine, {"role": "agent"}) == LAST_OWNER
    assert (await staff.owner.done("PUT", mine, {"role": "owner"}))["role"] == "owner"
    await staff.owner.done("PUT", f"{path}/{staff.admin.id}", {"role": "owner"})
    await asyncio.gather(*(person.ask("DELETE", f"{path}/{person.id}") for person in (staff.owner, staff.admin)))
    assert list((await roles(workspace)).values()) == ["owner"], "of two who leave at the same time, one stays"
