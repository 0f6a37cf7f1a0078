"""Session templates over HTTP: created, changed and removed, and sessions that start from them."""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from tests.functions.conftest import Workspace
from tests.functions.people import Staff, audit


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


UNFIT: Sequence[tuple[dict[str, Any], str]] = (
    ({"name": None}, ""), ({"name": ""}, "name"), ({"name": "x" * 201}, "name"), ({"surprise": 1}, "surprise"),
    ({"name": " \t"}, "name"), ({"workflow": "charter", "workflow_step": "no step"}, "workflow_step"),
    ({"first_messages": [""]}, "first_messages.0"), ({"first_messages": ["x" * 16_001]}, "first_messages.0"),
    ({"first_messages": ["x"] * 11}, "first_messages"), ({"workflow": "1st", "workflow_step": "x"}, "workflow"),
    ({"metadata": []}, "metadata"), ({"persona_id": "x"}, "persona_id"), ({"workflow": "charter"}, ""),
)  # fmt: skip


async def test_an_invalid_template_is_refused(workspace: Workspace, staff: Staff) -> None:
    for members, field in UNFIT:
        new = {"name": "x", **members}
        status, document = await staff.owner.ask("POST", f"/workspaces/{workspace.id}/session-templates", new)
        assert (status, document["code"]) == (422, "invalid_body"), new
        assert [error["field"] for error in document["errors"]] == [field], new


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
