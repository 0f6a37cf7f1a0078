"""Answer templates over HTTP: every member reads them, owners and admins write them."""

from uuid import uuid4

from tests.functions.conftest import Workspace
from tests.functions.people import Staff, audit


async def test_an_answer_template_is_made_changed_and_removed(workspace: Workspace, staff: Staff) -> None:
    path = f"/workspaces/{workspace.id}/answer-templates"
    new = {"id": str(uuid4()), "name": "Greeting", "shortcut": "Hi", "text": "Hello, **how** can I help?"}
    status, made = await staff.admin.ask("POST", path, new)
    one = f"/answer-templates/{made['id']}"
    stored = {**new, "shortcut": "hi", "workspace_id": str(workspace.id), "created_at": made["created_at"]}
    assert (status, made) == (201, stored)
    assert await staff.owner.done("POST", path, new) == made
    assert await staff.agent.done("GET", path) == {"items": [made]}
    changed = await staff.owner.done("PATCH", one, {"text": "Hello!", "shortcut": None})
    assert changed == {name: value for name, value in made.items() if name != "shortcut"} | {"text": "Hello!"}

    other = await staff.owner.done("POST", path, {"name": "Bye", "shortcut": "bye", "text": "Goodbye."})
    for body, code in (({"name": "Greeting"}, "name_taken"), ({"shortcut": "BYE"}, "shortcut_taken")):
        taken = {"name": "Other", "text": "x"} | body
        assert await staff.owner.refused("POST", path, taken) == (409, code)
    second = f"/answer-templates/{other['id']}"
    assert await staff.owner.refused("PATCH", second, {"name": "Greeting"}) == (409, "name_taken")
    assert await staff.owner.refused("PATCH", one, {"shortcut": "bye"}) == (409, "shortcut_taken")
    for unfit in ({"shortcut": "two words"}, {"shortcut": "x" * 33}, {"text": " "}, {"name": None}):
        assert await staff.owner.refused("PATCH", one, unfit) == (422, "invalid_body"), unfit

    missing = (404, "answer_template_not_found")
    writes: list[tuple[str, str, dict[str, str] | None]] = [
        ("POST", path, {"name": "x", "text": "x"}),
        ("PATCH", one, {"name": "x"}),
        ("DELETE", one, None),
    ]
    for method, at, given in writes:
        theirs = missing if at == one else (404, "workspace_not_found")
        assert await staff.agent.refused(method, at, given) == (403, "forbidden")
        assert await staff.other_admin.refused(method, at, given) == theirs
        assert await staff.contact.refused(method, at, given) == (403, "forbidden")
        assert await staff.anonymous.refused(method, at, given) == (401, "token_missing")
    assert await staff.stranger.refused("GET", path) == (404, "workspace_not_found")
    assert await staff.owner.ask("DELETE", one) == (204, {})
    assert await staff.owner.refused("PATCH", one, {"name": "x"}) == missing
    verbs = [verb for verb, object_id, *_ in await audit(workspace) if str(object_id) == made["id"]]
    assert verbs == ["answer_template.created", "answer_template.changed", "answer_template.removed"]
