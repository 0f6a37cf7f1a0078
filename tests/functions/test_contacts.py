"""Contacts over HTTP: resolved, found by filters, read and tagged."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import aiohttp

from lib.contacts import contacts
from lib.workspaces.personas import Persona
from local.stack import Stack
from tests.functions.conftest import Visitor, Workspace, add_workspace
from tests.functions.people import Person, Staff, resolve, sign_up, stock_client

RESOLVE, INVALID = "/admin/contacts/resolve", (422, "invalid_body")


async def contact_of(workspace: Workspace) -> dict[str, UUID]:
    """The ids of the contact who registered, and of their session."""
    row = await workspace.row("select id, session_id from public.contacts where workspace_id = $1", workspace.id)
    return {"contact_id": row["id"], "session_id": row["session_id"]}


async def found(person: Person, **query: str) -> list[str]:
    """The ids that a list gives, newest first."""
    status, answer = await person.ask("GET", "/contacts", params=query)
    assert status == 200, answer
    return [item["id"] for item in answer["items"]]


async def test_what_does_not_fit_is_refused_and_leaves_nothing(workspace: Workspace, staff: Staff) -> None:
    before = await workspace.counts()
    one, create = ["telegram:42"], {"create": True}
    unfit: tuple[dict[str, Any], ...] = (
        {}, {"identities": []}, {"identities": ["42"]}, {"identities": ["icq:42"]}, {"identities": ["email:ana"]},
        {"identities": "telegram:42"}, {"identities": one * 21}, {"identities": one, "nonsense": 1},
        {"identities": one, "kind": "group"}, {"identities": ["telegram:-42", "email:ana@example.com"]},
        {"identities": one, **create, "title": "x"}, {"identities": ["telegram:-42"], **create, "firstName": "x"},
        {"identities": [f"external:auth:{uuid4()}"], **create}, {"identities": one, "group_id": str(uuid4())},
        {"identities": one, "evidence": {"verified_by": "Some Body"}}, {"identities": one, "evidence": "verified"},
        {"platform": "telegram"}, {"platform": "telegram", "platform_id": "\ud800"},
    )  # fmt: skip
    for body in unfit:
        asked = body if "group_id" in body else {"create": True, **body}
        assert await staff.admin.refused("POST", RESOLVE, asked) == INVALID, body
    for query in ("limit=0", "limit=201", "cursor=x", "identity=42", "kind=robot", "active_after=yesterday",
                  "active_after=2026-01-01T00:00:00", "has_session=perhaps", "email=ana", "unknown=1"):  # fmt: skip
        assert await staff.admin.refused("GET", f"/contacts?{query}") == INVALID, query
    contact = (await contact_of(workspace))["contact_id"]
    for query in ("limit=0", "cursor=x", "cursor=1.99999.x", f"cursor=1.1.{contact}'", "surprise=1"):
        assert await staff.admin.refused("GET", f"/contacts/{contact}/journey?{query}") == INVALID
    for tags in (None, "vip", [""], [" "], ["x" * 65], ["a\x00"], [1], ["x"] * 101):
        assert await staff.admin.refused("PUT", f"/contacts/{contact}/tags", {"tags": tags}) == INVALID
    assert await workspace.counts() == before


async def test_a_contact_is_resolved_from_platform_and_id(staff: Staff) -> None:
    assert await staff.admin.refused("POST", RESOLVE, {"platform": "telegram", "platformId": "42"}) == (
        404,
        "contact_not_found",
    )
    body = {
        "platform": "telegram", "platformId": " 0042 ", "create": True, "firstName": "Ann",
        "evidence": {"verifiedBy": "telegram"},
    }  # fmt: skip
    status, answer = await staff.admin.ask("POST", RESOLVE, body)
    assert (status, answer["created"], answer["contact"]["first_name"]) == (201, True, "Ann")
    (identity,) = answer["contact"]["identities"]
    assert identity.items() >= {"kind": "telegram", "key": "42", "value": "0042", "evidence": "verified"}.items()
    assert (identity["verified_by"], identity["asserted_by"]) == ("telegram", "member")
    status, again = await staff.owner.ask("POST", RESOLVE, {"identities": ["Telegram:42"], "create": True})
    assert (status, again["created"], again["contact"]["id"]) == (200, False, answer["contact"]["id"])


async def test_identities_of_two_contacts_are_a_conflict_that_names_them(staff: Staff) -> None:
    ann, bob = await resolve(staff.admin, "telegram:1"), await resolve(staff.admin, "omi:u1")
    status, problem = await staff.admin.ask("POST", RESOLVE, {"identities": ["telegram:1", "omi:u1"], "create": True})
    assert (status, problem["code"], problem["contact_ids"]) == (409, "identity_conflict", sorted([ann, bob]))


async def test_a_group_shows_its_participants(staff: Staff) -> None:
    group = await resolve(staff.admin, "telegram:-1001234567890", title="Trip")
    ann = await resolve(staff.admin, "telegram:1", group_id=group, group_role="member")
    shown = await staff.agent.done("GET", f"/contacts/{group}")
    assert (shown["kind"], shown["title"], [each["contact_id"] for each in shown["participants"]]) == (
        "group",
        "Trip",
        [ann],
    )
    shown = await staff.agent.done("GET", f"/contacts/{ann}")
    assert [(each["contact_id"], each["title"], each["role"]) for each in shown["groups"]] == [
        (group, "Trip", "member")
    ]
    assert await found(staff.agent, kind="group") == [group] == await found(staff.agent, kind="GROUP")


async def test_filters_find_exactly_the_matching_contacts(workspace: Workspace, staff: Staff, visitor: Visitor) -> None:
    registered = str((await contact_of(workspace))["contact_id"])
    ann = await resolve(staff.admin, "email:ann@example.com", "telegram:1", first_name="Ann", last_name='Lee "(x), \\')
    bob = await resolve(staff.admin, "email:bob@example.com", first_name="Bob", last_name="Ånström ΟΔΟΣ")
    user = f"auth:{staff.agent.id}"
    await workspace.database.execute(
        "insert into public.contact_identities (workspace_id, contact_id, kind, key, value, evidence)"
        " values ($1, $2, 'external', $3, $3, 'asserted')", workspace.id, UUID(bob), user,
    )  # fmt: skip
    (turn, *_) = await visitor.say("Hello")
    chatted = turn.data["contact_id"]
    await staff.agent.done("PUT", f"/contacts/{ann}/tags", {"tags": ["  VIP ", "vip", "Follow  up"]})
    await staff.agent.done("PUT", f"/contacts/{chatted}/tags", {"tags": ["seen"]})
    space, now = str(workspace.space_id), datetime.now(UTC)
    before, after = (now - timedelta(hours=1)).isoformat(), (now + timedelta(hours=1)).isoformat()
    tomorrow = (now + timedelta(days=1)).date().isoformat()
    here = {registered, chatted}
    expected: tuple[tuple[dict[str, str], set[str]], ...] = (
        ({}, {registered, ann, bob, chatted}),
        ({"email": " ANN@example.com"}, {ann}), ({"email": "nobody@example.com"}, set()),
        ({"identity": "telegram:01"}, {ann}), ({"identity": "telegram:2"}, set()),
        ({"identity": "telegram:1", "email": "ann@example.com"}, {ann}),
        ({"identity": "telegram:1", "email": "bob@example.com"}, set()),
        ({"user_id": str(staff.agent.id)}, {bob}), ({"user_id": str(staff.owner.id)}, set()),
        ({"tag": "Vip"}, {ann}), ({"tag": "vip", "email": "bob@example.com"}, set()), ({"tag": "' or true --"}, set()),
        ({"space_id": space}, here), ({"space_id": str(workspace.landing_id)}, set()),
        ({"session_id": turn.data["session_id"]}, {chatted}),
        ({"has_session": "true"}, here), ({"has_session": "false"}, {ann, bob}),
        ({"active_after": before}, here), ({"active_after": after}, set()),
        ({"active_before": after}, here), ({"active_before": tomorrow}, here), ({"active_after": tomorrow}, set()),
        ({"active_before": before}, set()),
        ({"kind": "person"}, {registered, ann, bob, chatted}), ({"kind": "group"}, set()),
        ({"text": "an"}, {ann}), ({"text": "ann l"}, {ann}), ({"text": "LEE"}, {ann}),
        ({"text": 'lee "(x), \\'}, {ann}),
        ({"text": "åns"}, {bob}), ({"text": "ÅNSTRÖM ΟΔΟΣ"}, {bob}), ({"text": "nn"}, set()), ({"text": "%"}, set()),
        ({"text": "' or true --"}, set()),
        # One filter decides by which index contacts are found; the others are checked on them.
        ({"tag": "seen", "space_id": space, "has_session": "true", "active_after": before}, {chatted}),
        ({"tag": "vip", "space_id": space}, set()), ({"tag": "vip", "has_session": "false"}, {ann}),
        ({"tag": "seen", "has_session": "false"}, set()), ({"tag": "seen", "active_before": before}, set()),
        ({"space_id": space, "active_after": before, "active_before": after, "has_session": "true"}, here),
        ({"space_id": space, "active_after": after}, set()), ({"has_session": "false", "active_before": after}, set()),
    )  # fmt: skip
    for query, ids in expected:
        listed = await found(staff.admin, workspace_id=str(workspace.id), **query)
        assert (len(listed), set(listed)) == (len(ids), ids), query


async def test_pages_follow_each_other_whoever_comes_meanwhile(staff: Staff) -> None:
    ids = [await resolve(staff.admin, f"telegram:{number}") for number in range(1, 8)]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        _, page = await staff.admin.ask("GET", "/contacts", params={"limit": "3", **cursor})
        assert all("cursor" not in item and "name_key" not in item for item in page["items"])
        seen += [item["id"] for item in page["items"]]
        await resolve(staff.admin, f"telegram:{1000 + len(seen)}")
        if page.get("next_cursor") is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen[:7] == ids[::-1]
    assert len(seen) == len(set(seen)) == 8, "and who registered before them"


async def test_an_agent_finds_and_counts_only_what_they_see(
    workspace: Workspace, staff: Staff, visitor: Visitor
) -> None:
    (turn, *_) = await visitor.say("Hello")
    contact, session = turn.data["contact_id"], turn.data["session_id"]
    seen = await staff.admin.done("GET", f"/contacts/{contact}/activity")
    assert (seen["message_count"], seen["sessions"], seen["id"]) == (2, {"active": 1}, contact)
    assert [each["session_id"] for each in seen["latest_sessions"]] == [session]
    assert seen["session_id"] == session
    assert seen["last_activity_at"]

    unseen = await staff.agent.done("GET", f"/contacts/{contact}/activity")
    assert (unseen["message_count"], unseen["sessions"], unseen["latest_sessions"]) == (0, {}, [])
    assert "last_activity_at" not in unseen
    for query in ({"has_session": "true"}, {"session_id": session}, {"space_id": str(workspace.space_id)}):
        assert await found(staff.agent, **query) == []
    assert await staff.agent.refused("PUT", f"/chat-sessions/{session}/tags", {"tags": ["x"]}) == (
        404,
        "session_not_found",
    )

    await workspace.database.execute(
        "update public.sessions set assigned_user_id = $1 where id = $2", staff.agent.id, UUID(session)
    )
    assert await found(staff.agent, has_session="true") == [contact]
    assert (await staff.agent.done("GET", f"/contacts/{contact}/activity"))["message_count"] == 2
    assert await staff.agent.done("PUT", f"/chat-sessions/{session}/tags", {"tags": ["X", "b"]}) == {"tags": ["b", "x"]}


async def test_tags_are_replaced_as_a_set_and_audited_once(workspace: Workspace, staff: Staff) -> None:
    ids = await contact_of(workspace)
    for path, verb in ((f"/contacts/{ids['contact_id']}/tags", "contact.tagged"),
                       (f"/chat-sessions/{ids['session_id']}/tags", "session.tagged")):  # fmt: skip
        assert await staff.admin.done("PUT", path, {"tags": ["b", "A"]}) == {"tags": ["a", "b"]}
        assert await staff.admin.done("PUT", path, {"tags": ["a", "b"]}) == {"tags": ["a", "b"]}
        assert await staff.admin.done("PUT", path, {"tags": ["c"]}) == {"tags": ["c"]}
        assert await staff.admin.done("PUT", path, {"tags": []}) == {"tags": []}
        audited = "select count(*) from public.audit_events where workspace_id = $1 and verb = $2"
        assert await workspace.database.fetchval(audited, workspace.id, verb) == 3


async def test_the_stock_client_reads_the_same_rows_from_the_views(
    workspace: Workspace, staff: Staff, stack: Stack
) -> None:
    here = ("eq", "workspace_id", str(workspace.id))
    ann = await resolve(staff.admin, "telegram:1", first_name="Ann")
    await staff.agent.done("PUT", f"/contacts/{ann}/tags", {"tags": ["vip"]})
    for view, path, model, filters in (
        ("contact_details", "/contacts", contacts.Contact, [("is", "merged_into_id", None)]),
        ("contacts_by_tag", "/contacts?tag=vip", contacts.Contact, [("eq", "tag", "vip")]),
        ("contact_details", f"/contacts/{ann}", contacts.ContactDetail, [("eq", "id", ann)]),
        ("contact_activity", f"/contacts/{ann}/activity", contacts.ContactActivity, [("eq", "id", ann)]),
        ("persona_settings", f"/workspaces/{workspace.id}/personas", Persona, []),
    ):
        rows = await stock_client(stack, staff.agent, view, here, *filters)
        answer = await staff.agent.done("GET", path)
        read = [model.model_validate(row).model_dump(mode="json", exclude_none=True) for row in rows]
        assert read == answer.get("items", [answer]) != [], view


async def test_a_member_of_two_workspaces_names_one(
    client: aiohttp.ClientSession, workspace: Workspace, stack: Stack
) -> None:
    other = await add_workspace(workspace.database)
    person = await sign_up(client, workspace, stack, "admin")
    await workspace.database.execute(
        "insert into public.workspace_members (workspace_id, user_id, role) values ($1, $2, 'admin')",
        other.id,
        person.id,
    )
    for path in ("/contacts", "/chat-sessions"):
        assert await person.refused("GET", path) == (422, "workspace_required")
        assert (await person.ask("GET", f"{path}?workspaceId={workspace.id}"))[0] == 200
    assert await person.refused("POST", RESOLVE, {"identities": ["telegram:1"]}) == (422, "workspace_required")
    there = await resolve(person, "telegram:1", workspace_id=str(other.id))
    assert await found(person, workspace_id=str(other.id)) == [there]
    assert await found(person, workspace_id=str(workspace.id)) == []


async def test_a_journey_is_read_page_by_page(staff: Staff) -> None:
    (contact,) = (await staff.owner.done("GET", "/contacts"))["items"]
    (session,) = (await staff.owner.done("GET", f"/chat-sessions?contact_id={contact['id']}"))["items"]
    path = f"/contacts/{contact['id']}/journey"
    found = [entry for page in await staff.owner.pages(path, 3) for entry in page]
    assert [(entry["event"], entry.get("session_id")) for entry in found] == [
        ("contact.created", None), ("contact.registered", None), ("contact.identified", None),
        ("session.opened", session["id"]),
    ]  # fmt: skip
    assert found[2] == {
        "at": found[2]["at"], "event": "contact.identified", "identity": "email:contact@example.com",
        "asserted_by": "contact",
    }  # fmt: skip
    assert (await staff.agent.done("GET", path))["items"] == found[:3], "an agent sees no session of others"
