"""Deleting spaces, personas and workspaces over HTTP: who may, when they are in use, and what is deleted with them."""

from uuid import UUID

import aiohttp
import pytest

from tests.functions.conftest import Visitor, Workspace
from tests.functions.people import Staff, audit, setup_of

SECRETS = "select count(*) from vault.decrypted_secrets where decrypted_secret = $1 or description like $2"


async def test_a_space_without_live_sessions_is_deleted_with_its_secrets(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff
) -> None:
    space_id = await workspace.add_space()
    path = f"/spaces/{space_id}"
    secret = (await staff.owner.done("POST", f"{path}/hmac-secret"))["secret"]
    visitor = Visitor(client, space_id)
    said = (await visitor.say("hello"))[0].data
    session = f"/chat-sessions/{said['session_id']}"
    for verb in ("pause", "complete"):
        assert await staff.owner.refused("DELETE", path) == (409, "space_in_use")
        await staff.owner.done("PATCH", f"{session}/{verb}")

    await staff.owner.done("DELETE", path)
    assert await staff.owner.refused("GET", path) == (404, "space_not_found")
    for token, status in ((visitor.token, 401), (None, 404)):
        async with Visitor(client, space_id, token).post("hello again") as response:
            assert response.status == status
    assert await workspace.database.fetchval(SECRETS, secret, "-") == 0
    assert (await staff.admin.done("GET", session))["status"] == "completed"
    conversation = "select space_id from public.conversations where id = $1"
    assert await workspace.database.fetchval(conversation, UUID(said["conversation_id"])) is None
    assert ("space.deleted", space_id, staff.owner.id, None) in await audit(workspace)


async def test_a_persona_without_spaces_and_conversations_is_deleted_with_its_secrets(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff
) -> None:
    used, unused = await workspace.add_persona("demo", {"delay_ms": 0}), await workspace.add_persona("demo", {})
    space_id = await workspace.add_space(persona_id=used)
    await Visitor(client, space_id).say("hello")
    for persona_id in (unused, None):
        # First the space names it, then its conversation does.
        assert await staff.owner.refused("DELETE", f"/personas/{used}") == (409, "persona_in_use")
        await staff.owner.done("PATCH", f"/spaces/{space_id}", {"persona_id": str(persona_id or workspace.persona_id)})
    await staff.owner.done("PUT", f"/personas/{unused}/secret", {"secret": f"sent {unused}"})
    await staff.owner.done("POST", f"/personas/{unused}/callback-secret")
    await staff.owner.done("DELETE", f"/personas/{unused}")
    assert await workspace.database.fetchval(SECRETS, f"sent {unused}", f"%{unused}") == 0
    assert ("persona.deleted", unused, staff.owner.id, None) in await audit(workspace)


async def test_a_workspace_is_deleted_whole_when_its_name_is_repeated(
    client: aiohttp.ClientSession, workspace: Workspace, elsewhere: Workspace, staff: Staff
) -> None:
    for each in (elsewhere, workspace):
        await Visitor(client, each.space_id).say("hello")
    path = f"/workspaces/{workspace.id}"
    before, others = await setup_of(workspace), (await setup_of(elsewhere), await elsewhere.counts())
    invalid, wrong = (422, "invalid_body"), (409, "wrong_name")
    for query, refusal in (("", invalid), ("?name=", wrong), ("?name=test", wrong), ("?name=Test&force=1", invalid)):
        assert await staff.owner.refused("DELETE", path + query) == refusal
    assert await setup_of(workspace) == before

    await staff.owner.done("DELETE", f"{path}?name=Test")
    assert [rows for rows in await setup_of(workspace) if rows] == []
    assert set((await workspace.counts()).values()) == {0}
    assert await staff.owner.refused("GET", path) == (404, "workspace_not_found")
    assert (await setup_of(elsewhere), await elsewhere.counts()) == others


@pytest.mark.parametrize("name", ["", " ", "\u2003\t"])
async def test_a_blank_name_of_what_members_manage_is_refused(workspace: Workspace, staff: Staff, name: str) -> None:
    before = await setup_of(workspace), await workspace.counts()
    place = f"/workspaces/{workspace.id}"
    for person, method, path, body in (
        (staff.operator, "POST", "/workspaces", {}),
        (staff.owner, "PATCH", place, {}),
        (staff.owner, "POST", f"{place}/spaces", {"persona_id": str(workspace.persona_id)}),
        (staff.owner, "POST", f"{place}/personas", {"kind": "demo"}),
    ):
        status, answer = await person.ask(method, path, {**body, "name": name})
        assert (status, answer["code"]) == (422, "invalid_body"), path
        assert [fault["field"] for fault in answer["errors"]] == ["name"]
    assert (await setup_of(workspace), await workspace.counts()) == before
