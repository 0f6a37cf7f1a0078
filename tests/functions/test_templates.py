"""Session templates over HTTP: who manages them, what is none, and a session that is started by one."""

from typing import Any
from uuid import uuid4

import aiohttp
import pytest
import pytest_asyncio

from local.stack import Stack
from tests.functions.conftest import Workspace
from tests.functions.people import Staff, audit, staff_of


@pytest_asyncio.fixture
async def staff(client: aiohttp.ClientSession, workspace: Workspace, stack: Stack) -> Staff:
    """Everybody."""
    return await staff_of(client, workspace, stack)


async def test_a_template_is_made_changed_and_removed(workspace: Workspace, staff: Staff) -> None:
    path = f"/workspaces/{workspace.id}/session-templates"
    new = {"id": str(uuid4()), "name": "Trip", "personaId": str(workspace.persona_id), "firstMessages": ["Hello."]}
    status, made = await staff.admin.ask("POST", path, new)
    assert status == 201
    assert made == {
        "id": new["id"], "workspace_id": str(workspace.id), "name": "Trip", "persona_id": str(workspace.persona_id),
        "first_messages": ["Hello."], "workflow_state": {}, "metadata": {}, "created_at": made["created_at"],
    }  # fmt: skip
    assert await staff.owner.done("POST", path, new) == made
    assert await staff.agent.done("GET", f"/session-templates/{made['id']}") == made
    assert await staff.agent.done("GET", path) == {"items": [made]}
    changes = {"first_messages": ["One.", "Two."], "metadata": {"campaign": "spring"}}
    changed = await staff.owner.done("PATCH", f"/session-templates/{made['id']}", changes)
    assert changed == {**made, **changes}
    assert await staff.owner.ask("DELETE", f"/session-templates/{made['id']}") == (204, {})
    gone, never = [await staff.owner.ask("GET", f"/session-templates/{one}") for one in (made["id"], "no-id")]
    assert (gone[0], gone[1]["code"], gone[1]["title"]) == (404, "template_not_found", never[1]["title"])
    verbs = [verb for verb, object_id, *_ in await audit(workspace) if str(object_id) == made["id"]]
    assert verbs == ["template.created", "template.changed", "template.removed"]


async def test_who_may_manage_templates(workspace: Workspace, staff: Staff) -> None:
    path = f"/workspaces/{workspace.id}/session-templates"
    made = await staff.owner.done("POST", path, {"name": "Trip"})
    one = f"/session-templates/{made['id']}"
    for method, where, body in (("POST", path, {"name": "x"}), ("PATCH", one, {"name": "x"}), ("DELETE", one, None)):
        assert await staff.agent.refused(method, where, body) == (403, "forbidden")
    for nobody in (staff.stranger, staff.other_admin, staff.operator):
        for method, where, body, code in (
            ("POST", path, {"name": "x"}, "workspace_not_found"), ("GET", path, None, "workspace_not_found"),
            ("GET", one, None, "template_not_found"), ("PATCH", one, {"name": "x"}, "template_not_found"),
            ("DELETE", one, None, "template_not_found"),
        ):  # fmt: skip
            assert await nobody.refused(method, where, body) == (404, code)
    assert await staff.contact.refused("GET", one) == (403, "forbidden")
    assert await staff.anonymous.refused("GET", one) == (401, "token_missing")
    assert await staff.owner.done("GET", one) == made


@pytest.mark.parametrize(
    ("new", "field"),
    [
        ({}, "name"), ({"name": ""}, "name"), ({"name": "x" * 201}, "name"), ({"name": "x", "surprise": 1}, "surprise"),
        ({"name": " \t"}, "name"), ({"name": "x", "workflow": "charter", "workflow_step": "no step"}, "workflow_step"),
        ({"name": "x", "first_messages": [""]}, "first_messages.0"),
        ({"name": "x", "first_messages": ["x" * 16_001]}, "first_messages.0"),
        ({"name": "x", "first_messages": ["x"] * 11}, "first_messages"),
        ({"name": "x", "workflow": "1st", "workflow_step": "x"}, "workflow"),
        ({"name": "x", "metadata": []}, "metadata"), ({"name": "x", "persona_id": "x"}, "persona_id"),
    ],
)  # fmt: skip
async def test_what_is_no_template(workspace: Workspace, staff: Staff, new: dict[str, Any], field: str) -> None:
    status, document = await staff.owner.ask("POST", f"/workspaces/{workspace.id}/session-templates", new)
    assert (status, document["code"]) == (422, "invalid_body")
    assert [error["field"] for error in document["errors"]] == [field]


async def test_a_session_is_started_by_a_template_s_name(workspace: Workspace, staff: Staff) -> None:
    path = f"/workspaces/{workspace.id}/session-templates"
    await staff.owner.done("POST", path, {"name": "Trip", "first_messages": ["Hello.", "Where to?"]})
    (contact,) = (await staff.owner.done("GET", "/contacts"))["items"]
    new = {"contact_id": contact["id"], "template": "Trip", "thread_key": "offer"}
    status, started = await staff.agent.ask("POST", "/chat-sessions", new)
    assert (status, started["created"]) == (201, True)
    read = await staff.agent.done("GET", f"/chat-sessions/{started['session_id']}")
    said = [(each["role"], each["text"]) for each in read["messages"]]
    assert said == [("persona", "Hello."), ("persona", "Where to?")]
    assert read["message_count"] == 2
    assert (await staff.agent.ask("POST", "/chat-sessions", new))[0] == 200
    assert await staff.contact.refused("POST", "/chat-sessions", {"template": "Trip"}) == (403, "forbidden")
    refused = await staff.owner.refused("POST", "/chat-sessions", {**new, "template": "Nothing"})
    assert refused == (404, "template_not_found")


async def test_a_workflow_s_names_are_understood_in_any_case(workspace: Workspace, staff: Staff) -> None:
    preset = {"name": "Trip", "workflow": "Charter", "workflow_step": "UNDERSTANDING_REQUEST"}
    made = await staff.owner.done("POST", f"/workspaces/{workspace.id}/session-templates", preset)
    assert (made["workflow"], made["workflow_step"]) == ("charter", "understanding_request")


async def test_what_starts_a_session_and_moves_it_on_takes_a_template_too(workspace: Workspace, staff: Staff) -> None:
    path = f"/workspaces/{workspace.id}/session-templates"
    preset = {"workflow": "charter", "workflow_step": "understanding_request", "first_messages": ["Where to?"]}
    await staff.owner.done("POST", path, {"name": "Trip", **preset})
    (contact,) = (await staff.owner.done("GET", "/contacts"))["items"]
    wanted = {"contact_id": contact["id"], "template": "Trip", "thread_key": "offer"}
    moved = {"step": "searching_aircraft", "trip": {"origin": "LSZH"}}
    refused = await staff.owner.refused("PUT", "/chat-sessions", {**wanted, "step": "proposal_ready"})
    assert refused == (409, "step_not_allowed")
    status, started = await staff.owner.ask("PUT", "/chat-sessions", {**wanted, **moved})
    assert (status, started["created"], started["workflow_step"]) == (201, True, "searching_aircraft")
    read = await staff.owner.done("GET", f"/chat-sessions/{started['session_id']}")
    assert [message["text"] for message in read["messages"]] == ["Where to?"]
    status, again = await staff.owner.ask("PUT", "/chat-sessions", wanted)
    assert (status, again["session_id"], again["changed"]) == (200, started["session_id"], False)
