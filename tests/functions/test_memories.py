"""Memories over HTTP: what members, contacts and users write, list and forget."""

from typing import Any

from tests.functions.conftest import Visitor, Workspace
from tests.functions.people import Person, Staff


async def remember(person: Person, *contents: str | dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    """Remember texts, or whole memories."""
    items = [item if isinstance(item, dict) else {"content": item} for item in contents]
    found: list[dict[str, Any]] = (await person.done("POST", "/memories", {"memories": items, **more}))["memories"]
    return found


async def contents(person: Person, query: str = "") -> list[str]:
    """What a list shows, newest first."""
    return [memory["content"] for memory in (await person.done("GET", f"/memories?{query}"))["items"]]


async def test_a_member_remembers_lists_corrects_and_forgets(workspace: Workspace, staff: Staff) -> None:
    contact = (await staff.admin.done("POST", "/contacts", {"firstName": "Ann"}))["id"]
    likes = {"content": "Likes tea", "kind": "preference", "expiresAt": "2100-01-01"}
    body = {"contactId": contact, "memories": [likes]}
    status, answer = await staff.admin.ask("POST", "/memories", body)
    (tea,) = answer["memories"]
    assert (status, tea["folded"], tea["internal"], tea["created_by"]) == (201, False, True, str(staff.admin.id))
    status, answer = await staff.admin.ask("POST", "/memories", body)
    assert (status, answer["memories"][0]["id"], answer["memories"][0]["folded"]) == (200, tea["id"], True)

    # Single precision has neither number.
    tiny = {"contactId": contact, "memories": [likes | {"importance": 1e-320}]}
    assert (await staff.admin.ask("POST", "/memories", tiny))[0] == 200
    unfit = [("/memories/recall", {"query": "x", "min_score": 1e99}), ("/memories", {"memories": [{"content": " \n"}]})]
    for path, given in unfit:
        assert await staff.admin.refused("POST", path, given) == (422, "invalid_body")
    for item, fault in (
        ({"content": "x" * 16_001}, "content: String should have at most 8000 characters"),
        ({"expires_at": "2020-01-01"}, "expires_at: must be in the future"),
        ({"expires_at": "2100-01-01", "valid_from": "2100-01-01"}, "expires_at: must be after valid_from"),
    ):
        _, refused = await staff.admin.ask("POST", "/memories", {"memories": [{"content": "x", **item}]})
        assert (refused["code"], refused["detail"]) == ("invalid_body", f"memories.0.{fault}")

    known = ("Margin: 40_%", {"content": "Margin: 40x%", "kind": "knowledge"})
    await remember(staff.admin, *known, persona_id=str(workspace.persona_id))
    assert await contents(staff.admin) == ["Margin: 40x%", "Margin: 40_%", "Likes tea"]
    for query, shown in (
        (f"contact_id={contact}", ["Likes tea"]),
        ("without_contact=true&kind=knowledge", ["Margin: 40x%"]),
        (f"persona_id={workspace.persona_id}&text=40_%25", ["Margin: 40_%"]),
        ("text=LIKES", ["Likes tea"]),
        ("text=*", []),
        ("text=40_", ["Margin: 40_%"]),
    ):
        assert await contents(staff.admin, query) == shown, query
    pages = await staff.admin.pages("/memories", 2)
    assert [len(page) for page in pages] == [2, 1]
    # An agent sees what the workspace knows, and the contacts of the own sessions.
    assert await contents(staff.agent) == ["Margin: 40x%", "Margin: 40_%"]
    assert await staff.agent.refused("POST", "/memories", body) == (403, "forbidden")
    assert await staff.agent.refused("DELETE", f"/memories/{tea['id']}") == (404, "memory_not_found")

    (coffee,) = await remember(staff.admin, {"content": "Likes coffee", "supersedes": tea["id"]})
    assert (coffee["contact_id"], coffee["kind"]) == (contact, "preference")
    assert await contents(staff.admin, f"contact_id={contact}") == ["Likes coffee"]
    assert await contents(staff.admin, f"contact_id={contact}&superseded=true") == ["Likes coffee", "Likes tea"]
    cocoa = {"memories": [{"content": "Likes cocoa", "supersedes": tea["id"]}]}
    assert await staff.admin.refused("POST", "/memories", cocoa) == (409, "memory_superseded")
    assert await staff.admin.ask("DELETE", f"/memories/{coffee['id']}") == (204, {})
    assert await contents(staff.admin, f"contact_id={contact}&superseded=true") == []
    await remember(staff.admin, "Likes ale", contact_id=contact)
    into = (await staff.admin.done("POST", "/contacts", {"firstName": "Anna"}))["id"]
    await staff.admin.done("POST", f"/contacts/{contact}/merge", {"into": into})
    assert await contents(staff.admin, f"contact_id={contact}") == ["Likes ale"]

    # A turn of a member's own conversation is nothing that the workspace knows.
    await workspace.database.execute(
        "with own as (insert into public.conversations (workspace_id, persona_id, user_id, thread_key)"
        "             values ($1, $2, $3, 'main') returning id)"
        " insert into public.memories (workspace_id, conversation_id, kind, content)"
        " select $1, id, 'turn', 'Hi' from own",
        workspace.id, workspace.persona_id, staff.agent.id,
    )  # fmt: skip
    assert await contents(staff.admin, "without_contact=true") == ["Margin: 40x%", "Margin: 40_%"]


async def test_a_contact_and_a_user_write_and_read_only_their_own(workspace: Workspace, staff: Staff) -> None:
    visitor, other = Visitor(staff.admin.client, workspace.space_id), Visitor(staff.admin.client, workspace.space_id)
    for one in (visitor, other):
        await one.say("Hello")
    ann, bob = (Person(staff.admin.client, staff.admin.id, "", one.token) for one in (visitor, other))
    (kept,) = await remember(ann, "Likes tea")
    assert "internal" not in kept
    assert (kept["conversation_id"] is None, kept["session_id"] is None) == (False, False)
    await remember(staff.admin, "Asks for tea", session_id=kept["session_id"])
    assert await contents(ann, f"session_id={kept['session_id']}&superseded=true") == ["Likes tea"]
    assert await contents(bob) == []
    assert await bob.refused("DELETE", f"/memories/{kept['id']}") == (404, "memory_not_found")
    turn = {"memories": [{"content": "x", "kind": "turn"}]}
    assert await ann.refused("POST", "/memories", turn) == (422, "invalid_body")
    assert await ann.ask("DELETE", f"/memories/{kept['id']}") == (204, {})
    assert await contents(ann) == []

    guest = staff.stranger
    assert await guest.refused("POST", "/memories", {"memories": [{"content": "x"}]}) == (404, "conversation_not_found")
    assert await contents(guest) == []
    await Visitor(guest.client, workspace.space_id, guest.token).say("Hello")
    await remember(guest, "Lives in Bern")
    assert await contents(guest) == ["Lives in Bern"]
    assert await staff.anonymous.refused("GET", "/memories") == (401, "token_missing")
