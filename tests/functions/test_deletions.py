"""Deleting spaces, personas and workspaces over HTTP: who may, what is in use, and what goes along."""

from uuid import UUID, uuid4

import aiohttp
import pytest
import pytest_asyncio

from local.stack import Stack
from tests.functions.conftest import Visitor, Workspace, add_workspace
from tests.functions.people import Staff, audit, setup_of, staff_of


@pytest_asyncio.fixture
async def staff(client: aiohttp.ClientSession, workspace: Workspace, stack: Stack) -> Staff:
    """Everybody."""
    return await staff_of(client, workspace, stack)


async def test_only_owners_delete(workspace: Workspace, staff: Staff) -> None:
    space_id, persona_id = await workspace.add_space(), await workspace.add_persona("demo", {})
    paths = (f"/spaces/{space_id}", f"/personas/{persona_id}", f"/workspaces/{workspace.id}?name=Test")
    before = await setup_of(workspace)
    for path in paths:
        assert await staff.admin.refused("DELETE", path) == (403, "forbidden")
        assert await staff.agent.refused("DELETE", path) == (403, "forbidden")
    assert await setup_of(workspace) == before
    for path in paths:
        assert await staff.owner.done("DELETE", path) == {}
        noun = path.split("/")[1].removesuffix("s")
        assert await staff.owner.refused("DELETE", path) == (404, f"{noun}_not_found")


async def test_a_space_goes_with_its_secrets_once_nobody_talks_there(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff
) -> None:
    space_id = await workspace.add_space()
    path = f"/spaces/{space_id}"
    secret = (await staff.owner.done("POST", f"{path}/hmac-secret"))["secret"]
    visitor = Visitor(client, space_id)
    said = (await visitor.say("hello"))[0].data
    assert await staff.owner.refused("DELETE", path) == (409, "space_in_use")
    await staff.owner.done("PATCH", f"/chat-sessions/{said['session_id']}/pause")
    assert await staff.owner.refused("DELETE", path) == (409, "space_in_use")
    await staff.owner.done("PATCH", f"/chat-sessions/{said['session_id']}/complete")

    await staff.owner.done("DELETE", path)
    assert await staff.owner.refused("GET", path) == (404, "space_not_found")
    async with visitor.post("hello again") as response:
        assert response.status == 404
    held = "select count(*) from vault.decrypted_secrets where decrypted_secret = $1"
    assert await workspace.database.fetchval(held, secret) == 0
    kept = await staff.agent.ask("GET", f"/chat-sessions/{said['session_id']}")
    assert kept[0] == 404, "not this agent's"
    assert (await staff.admin.done("GET", f"/chat-sessions/{said['session_id']}"))["status"] == "completed"
    conversation = "select space_id from public.conversations where id = $1"
    assert await workspace.database.fetchval(conversation, UUID(said["conversation_id"])) is None
    assert ("space.deleted", space_id, staff.owner.id, None) in await audit(workspace)


async def test_a_persona_goes_that_nothing_points_at(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff
) -> None:
    persona_id, other = await workspace.add_persona("demo", {"delay_ms": 0}), await workspace.add_persona("demo", {})
    path = f"/personas/{persona_id}"
    space_id = await workspace.add_space(persona_id=persona_id)
    before = await setup_of(workspace)
    assert await staff.owner.refused("DELETE", path) == (409, "persona_in_use"), "a space names it"
    assert await setup_of(workspace) == before
    await Visitor(client, space_id).say("hello")
    await staff.owner.done("PATCH", f"/spaces/{space_id}", {"persona_id": str(other)})
    assert await staff.owner.refused("DELETE", path) == (409, "persona_in_use"), "it has spoken"

    unused = await workspace.add_persona("demo", {})
    await staff.owner.done("PUT", f"/personas/{unused}/secret", {"secret": f"sent {unused}"})
    await staff.owner.done("POST", f"/personas/{unused}/callback-secret")
    await staff.owner.done("DELETE", f"/personas/{unused}")
    held = "select count(*) from vault.decrypted_secrets where decrypted_secret = $1 or description like $2"
    assert await workspace.database.fetchval(held, f"sent {unused}", f"%{unused}") == 0
    assert ("persona.deleted", unused, staff.owner.id, None) in await audit(workspace)


async def test_a_workspace_goes_whole_and_alone_when_its_name_is_repeated(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff
) -> None:
    elsewhere = await add_workspace(workspace.database)
    await Visitor(client, elsewhere.space_id).say("hello")
    await Visitor(client, workspace.space_id).say("hello")
    path = f"/workspaces/{workspace.id}"
    before, others = await setup_of(workspace), (await setup_of(elsewhere), await elsewhere.counts())
    for query, refusal in (
        ("", (422, "invalid_body")),
        ("?name=", (409, "wrong_name")),
        ("?name=test", (409, "wrong_name")),
        ("?name=Test&force=1", (422, "invalid_body")),
    ):
        assert await staff.owner.refused("DELETE", path + query) == refusal
    assert await setup_of(workspace) == before

    await staff.owner.done("DELETE", f"{path}?name=Test")
    assert [rows for rows in await setup_of(workspace) if rows] == []
    assert set((await workspace.counts()).values()) == {0}
    assert await staff.owner.refused("GET", path) == (404, "workspace_not_found")
    assert (await setup_of(elsewhere), await elsewhere.counts()) == others


@pytest.mark.parametrize("name", ["", " ", "\u2003\t"])
async def test_a_name_of_blanks_is_no_name(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff, name: str
) -> None:
    before = await setup_of(workspace), await workspace.counts()
    resolve: dict[str, object] = {
        "workspace_id": str(workspace.id),
        "create": True,
        "identities": [f"telegram:{uuid4().int % 10**9 + 1}"],
    }
    asked: list[tuple[str, str, dict[str, object], str]] = [
        ("PATCH", f"/workspaces/{workspace.id}", {"name": name}, "name"),
        ("POST", f"/workspaces/{workspace.id}/spaces", {"name": name, "persona_id": str(workspace.persona_id)}, "name"),
        ("POST", f"/workspaces/{workspace.id}/personas", {"name": name, "kind": "demo"}, "name"),
        ("POST", "/admin/contacts/resolve", {**resolve, "first_name": name}, "first_name"),
        ("POST", "/admin/contacts/resolve", {**resolve, "last_name": name}, "last_name"),
        ("POST", "/admin/contacts/resolve", {**resolve, "kind": "group", "title": name}, "title"),
    ]
    for method, path, body, field in asked:
        status, answer = await staff.owner.ask(method, path, body)
        assert (status, answer["code"]) == (422, "invalid_body"), path
        assert [fault["field"] for fault in answer["errors"]] == [field]
    assert await staff.operator.refused("POST", "/workspaces", {"name": name}) == (422, "invalid_body")
    for field in ("first_name", "last_name"):
        arrival = {"email": "ann@example.com", field: name}
        async with client.post(f"/space/{workspace.space_id}/register", json=arrival) as response:
            assert response.status == 422
            assert [fault["field"] for fault in (await response.json())["errors"]] == [field]
    assert (await setup_of(workspace), await workspace.counts()) == before
