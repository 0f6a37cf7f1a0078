"""Contacts over HTTP: who may resolve, find, read and tag them, and what the lists find."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest
import pytest_asyncio

from lib import routes
from local.stack import Stack
from tests.functions.conftest import Visitor, Workspace, add_workspace
from tests.functions.people import Person, Staff, sign_up, staff_of

RESOLVE = "/admin/contacts/resolve"


@pytest_asyncio.fixture
async def staff(client: aiohttp.ClientSession, workspace: Workspace, stack: Stack) -> Staff:
    """Everybody; one contact has registered."""
    return await staff_of(client, workspace, stack)


async def contact_of(workspace: Workspace) -> dict[str, UUID]:
    """The ids of the contact who registered, and of their session."""
    row = await workspace.row("select id, session_id from public.contacts where workspace_id = $1", workspace.id)
    return {"contact_id": row["id"], "session_id": row["session_id"]}


async def made(person: Person, *identities: str, **more: Any) -> str:
    """The id of the contact that is found or created."""
    answer = await person.done("POST", RESOLVE, {"identities": list(identities), "create": True, **more})
    found: str = answer["contact"]["id"]
    return found


async def found(person: Person, **query: str) -> list[str]:
    """The ids that a list gives, newest first."""
    status, answer = await person.ask("GET", "/contacts", params=query)
    assert status == 200, answer
    return [item["id"] for item in answer["items"]]


# Who may ------------------------------------------------------------------------------------------------------------

BODIES: dict[str, Any] = {
    "resolve_contact": {"identities": ["email:contact@example.com"]},
    "capture_message": {"text": "By mail", "role": "contact", "source": "email"},
    "merge_contact": {"into": str(uuid4())},
    "tag_contact": {"tags": ["vip"]},
    "tag_session": {"tags": ["vip"]},
}
ONE_CONTACT = [route for route in routes.of("contacts") if "{" in route.path]


@pytest.mark.parametrize("route", ONE_CONTACT, ids=[route.name for route in ONE_CONTACT])
async def test_who_is_no_member_finds_nothing_and_changes_nothing(
    workspace: Workspace, staff: Staff, route: routes.Route
) -> None:
    ids = await contact_of(workspace)
    noun = route.path.partition("{")[2].partition("_id}")[0]
    body = BODIES.get(route.name)
    hidden = (404, f"{noun}_not_found")
    ids["conflict_id"] = uuid4()
    for path in (route.path.format(**ids), route.path.format_map(dict.fromkeys(ids, uuid4()))):
        assert await staff.anonymous.refused(route.method, path, body) == (401, "token_missing")
        assert await staff.contact.refused(route.method, path, body) == (403, "forbidden")
        for nobody in (staff.stranger, staff.other_admin, staff.operator):
            assert await nobody.refused(route.method, path, body) == hidden
    assert await staff.owner.refused(route.method, route.path.format_map(dict.fromkeys(ids, "x")), body) == hidden
    assert (
        await workspace.database.fetchval("select count(*) from public.tags where workspace_id = $1", workspace.id) == 0
    )


async def test_lists_and_resolving_are_for_those_who_work_there(workspace: Workspace, staff: Staff) -> None:
    path = f"/contacts?workspace_id={workspace.id}"
    body = {"workspace_id": str(workspace.id), "identities": ["email:contact@example.com"]}
    for person, status, code in (
        (staff.anonymous, 401, "token_missing"),
        (staff.contact, 403, "forbidden"),
        (staff.stranger, 404, "workspace_not_found"),
        (staff.other_admin, 404, "workspace_not_found"),
        (staff.operator, 404, "workspace_not_found"),
    ):
        assert await person.refused("GET", path) == (status, code)
        assert await person.refused("POST", RESOLVE, body) == (status, code)
    for unnamed in (staff.stranger, staff.operator):
        assert await unnamed.refused("GET", "/contacts") == (422, "workspace_required")
    assert await staff.agent.refused("POST", RESOLVE, body) == (403, "forbidden")
    assert len(await found(staff.agent)) == 1
    assert (await staff.admin.done("POST", RESOLVE, body))["created"] is False


async def test_what_does_not_fit_is_refused_and_leaves_nothing(workspace: Workspace, staff: Staff) -> None:
    before = await workspace.counts()
    unfit: tuple[dict[str, Any], ...] = (
        {},
        {"identities": []},
        {"identities": ["42"]},
        {"identities": ["icq:42"]},
        {"identities": ["email:ana"]},
        {"identities": "telegram:42"},
        {"identities": ["telegram:42"] * 21},
        {"identities": ["telegram:42"], "nonsense": 1},
        {"identities": ["telegram:42"], "kind": "group"},
        {"identities": ["telegram:-42", "email:ana@example.com"]},
        {"identities": ["telegram:42"], "create": True, "title": "x"},
        {"identities": ["telegram:-42"], "create": True, "firstName": "x"},
        {"identities": [f"external:auth:{uuid4()}"], "create": True},
        {"identities": ["telegram:42"], "evidence": {"verified_by": "Some Body"}},
        {"identities": ["telegram:42"], "evidence": "verified"},
        {"identities": ["telegram:42"], "group_id": str(uuid4())},
        {"platform": "telegram"},
        {"platform": "telegram", "platform_id": "\ud800"},
    )
    for body in unfit:
        asked = body if "group_id" in body else {"create": True, **body}
        assert await staff.admin.refused("POST", RESOLVE, asked) == (422, "invalid_body"), body
    for query in ("limit=0", "limit=201", "cursor=x", "identity=42", "kind=robot", "active_after=yesterday",
                  "active_after=2026-01-01T00:00:00", "has_session=perhaps", "email=ana", "unknown=1"):  # fmt: skip
        assert await staff.admin.refused("GET", f"/contacts?{query}") == (422, "invalid_body"), query
    contact = (await contact_of(workspace))["contact_id"]
    for tags in (None, "vip", [""], [" "], ["x" * 65], ["a\x00"], [1], ["x"] * 101):
        assert await staff.admin.refused("PUT", f"/contacts/{contact}/tags", {"tags": tags}) == (422, "invalid_body")
    assert await workspace.counts() == before


# Resolving -----------------------------------------------------------------------------------------------------------


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


async def test_fifty_at_once_make_one_contact(workspace: Workspace, staff: Staff) -> None:
    ids = await asyncio.gather(*(made(staff.admin, "whatsapp:+1 650 555 1234", "whatsapp:US.1") for _ in range(50)))
    assert len(set(ids)) == 1
    assert (await workspace.counts())["contacts"] == 2


async def test_identities_of_two_contacts_are_a_conflict_that_names_them(staff: Staff) -> None:
    ann, bob = await made(staff.admin, "telegram:1"), await made(staff.admin, "omi:u1")
    status, problem = await staff.admin.ask("POST", RESOLVE, {"identities": ["telegram:1", "omi:u1"], "create": True})
    assert (status, problem["code"], problem["contact_ids"]) == (409, "identity_conflict", sorted([ann, bob]))


async def test_a_group_shows_its_participants(staff: Staff) -> None:
    group = await made(staff.admin, "telegram:-1001234567890", title="Trip")
    ann = await made(staff.admin, "telegram:1", group_id=group, group_role="member")
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


# Finding -------------------------------------------------------------------------------------------------------------


async def test_filters_find_exactly_whom_they_mean(workspace: Workspace, staff: Staff, visitor: Visitor) -> None:
    registered = str((await contact_of(workspace))["contact_id"])
    ann = await made(staff.admin, "email:ann@example.com", "telegram:1", first_name="Ann", last_name="Lee")
    bob = await made(staff.admin, "email:bob@example.com", first_name="Bob", last_name="Ånström")
    (turn, *_) = await visitor.say("Hello")
    chatted = turn.data["contact_id"]
    await staff.agent.done("PUT", f"/contacts/{ann}/tags", {"tags": ["  VIP ", "vip", "Follow  up"]})
    now = datetime.now(UTC)
    before, after = (now - timedelta(hours=1)).isoformat(), (now + timedelta(hours=1)).isoformat()
    for query, expected in (
        ({}, {registered, ann, bob, chatted}),
        ({"email": " ANN@example.com"}, {ann}),
        ({"email": "nobody@example.com"}, set()),
        ({"identity": "telegram:01"}, {ann}),
        ({"identity": "telegram:2"}, set()),
        ({"tag": "Vip"}, {ann}),
        ({"tag": "vip", "email": "bob@example.com"}, set()),
        ({"space_id": str(workspace.space_id)}, {registered, chatted}),
        ({"space_id": str(workspace.landing_id)}, set()),
        ({"session_id": turn.data["session_id"]}, {chatted}),
        ({"has_session": "true"}, {registered, chatted}),
        ({"has_session": "false"}, {ann, bob}),
        ({"active_after": before}, {registered, chatted}),
        ({"active_after": after}, set()),
        ({"active_before": after}, {registered, chatted}),
        ({"active_before": before}, set()),
        ({"kind": "person"}, {registered, ann, bob, chatted}),
        ({"kind": "group"}, set()),
        ({"text": "an"}, {ann}),
        ({"text": "ann l"}, {ann}),
        ({"text": "LEE"}, {ann}),
        ({"text": "åns"}, {bob}),
        ({"text": "nn"}, set()),
        ({"text": "%"}, set()),
        ({"text": "' or true --"}, set()),
        ({"tag": "' or true --"}, set()),
    ):
        listed = await found(staff.admin, workspace_id=str(workspace.id), **query)
        assert (len(listed), set(listed)) == (len(expected), expected), query


async def test_pages_follow_each_other_whoever_comes_meanwhile(staff: Staff) -> None:
    ids = [await made(staff.admin, f"telegram:{number}") for number in range(1, 8)]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        _, page = await staff.admin.ask("GET", "/contacts", params={"limit": "3", **cursor})
        assert all("cursor" not in item and "name_key" not in item for item in page["items"])
        seen += [item["id"] for item in page["items"]]
        await made(staff.admin, f"telegram:{1000 + len(seen)}")
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
    assert await person.refused("GET", "/contacts") == (422, "workspace_required")
    assert await person.refused("POST", RESOLVE, {"identities": ["telegram:1"]}) == (422, "workspace_required")
    there = await made(person, "telegram:1", workspace_id=str(other.id))
    assert await found(person, workspace_id=str(other.id)) == [there]
    assert await found(person, workspace_id=str(workspace.id)) == []


# Visitors -----------------------------------------------------------------------------------------------------------


async def test_a_visitor_who_registers_with_their_token_goes_on_in_their_chat(
    client: aiohttp.ClientSession, workspace: Workspace, visitor: Visitor
) -> None:
    (turn, *_) = await visitor.say("Hello")
    async with client.post(
        f"/space/{workspace.space_id}/register", json={"email": "ann@example.com"}, headers=visitor.headers
    ) as response:
        assert response.status == 201
        answer = await response.json()
    assert (answer["contact"]["id"], answer["session"]["id"]) == (turn.data["contact_id"], turn.data["session_id"])
    visitor.token = answer["token"]
    (again, *_) = await visitor.say("And on")
    assert again.data["conversation_id"] == turn.data["conversation_id"]
    assert (await workspace.counts())["contacts"] == 1


async def test_a_journey_is_read_page_by_page(workspace: Workspace, staff: Staff) -> None:
    (contact,) = (await staff.owner.done("GET", "/contacts"))["items"]
    (session,) = (await staff.owner.done("GET", f"/chat-sessions?contact_id={contact['id']}"))["items"]
    assert session["contact"]["id"] == contact["id"]
    assert (await staff.owner.done("GET", f"/contacts?session_id={session['id']}"))["items"] == [contact]
    await staff.owner.done("PATCH", f"/chat-sessions/{session['id']}/complete")

    path = f"/contacts/{contact['id']}/journey"
    found, query = [], "?limit=2"
    while True:
        page = await staff.owner.done("GET", path + query)
        found += page["items"]
        if "next_cursor" not in page:
            break
        query = f"?limit=2&cursor={page['next_cursor']}"
    assert [(entry["event"], entry.get("session_id")) for entry in found] == [
        ("contact.created", None), ("contact.registered", None), ("contact.identified", None),
        ("session.opened", session["id"]), ("session.completed", session["id"]),
    ]  # fmt: skip
    assert found[2] == {
        "at": found[2]["at"], "event": "contact.identified", "identity": "email:contact@example.com",
        "asserted_by": "contact",
    }  # fmt: skip
    seen = (await staff.agent.done("GET", path))["items"]
    assert seen == [entry for entry in found if "session_id" not in entry]
    for nobody in (staff.stranger, staff.other_admin, staff.operator):
        assert await nobody.refused("GET", path) == (404, "contact_not_found")
    assert await staff.contact.refused("GET", path) == (403, "forbidden")
    for query in ("limit=0", "cursor=x", "cursor=1.99999.x", f"cursor=1.1.{contact['id']}'", "surprise=1"):
        assert await staff.owner.refused("GET", f"{path}?{query}") == (422, "invalid_body")
