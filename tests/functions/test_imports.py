"""Imports over HTTP: what is stored, that a repeat stores nothing twice, and what is refused."""

import asyncio
from typing import Any

import aiohttp

from local.stack import Stack
from tests.functions.conftest import Visitor, Workspace
from tests.functions.people import Staff, sign_up

ANN = {"external_id": "1", "first_name": "Ann", "identities": ["email:ann@example.com", "phone:+41446681800"]}
TALK: dict[str, Any] = {
    "external_id": "7",
    "contact": "1",
    "persona": "Helpdesk",
    "messages": [
        {"external_id": "71", "role": "contact", "text": "Where is my order?", "created_at": "2024-03-01T10:00:00Z"},
        {"external_id": "72", "role": "persona", "text": "Let me look.", "created_at": "2024-03-01T10:00:00Z"},
        {"external_id": "73", "role": "member", "text": "It left.", "created_at": "2024-03-02T09:00:00Z",
         "author": {"id": "5", "name": "Bob"}},
    ],
}  # fmt: skip


def statuses(result: dict[str, Any], kind: str = "contacts") -> list[str]:
    """The results of a batch's items: the code of a refused one, else its status."""
    return [one.get("code", one["status"]) for one in result[kind]]


async def test_a_batch_is_stored_once_with_its_times_and_authors(staff: Staff, workspace: Workspace) -> None:
    path = f"/workspaces/{workspace.id}/imports"
    await workspace.database.execute(
        "insert into public.event_subscriptions (workspace_id, url, event_types)"
        " values ($1, 'https://example.com/', '{message.created,session.started}')",
        workspace.id,
    )
    batch = {"source": "helpdesk", "contacts": [ANN], "conversations": [TALK]}
    before = await workspace.counts()
    dry = await staff.admin.done("POST", path, {**batch, "dry_run": True})
    assert (statuses(dry), statuses(dry, "conversations")) == (["created"], ["created"])
    assert await workspace.counts() == before

    for expected in ("created", "unchanged"):
        result = await staff.admin.done("POST", path, batch)
        assert (statuses(result), statuses(result, "conversations")) == ([expected], [expected])
    later = {"external_id": "74", "role": "contact", "text": "Thanks.", "created_at": "2024-03-03T09:00:00Z"}
    longer = {**TALK, "messages": [*TALK["messages"], later]}
    result = await staff.admin.done("POST", path, {**batch, "conversations": [longer]})
    assert statuses(result, "conversations") == ["updated"]

    rows = await workspace.database.fetch(
        "select m.role, m.text, m.speaker, m.created_at::date::text as day from public.messages m"
        " where workspace_id = $1 and m.created_at < '2025-01-01' order by m.created_at, m.id",
        workspace.id,
    )
    assert [tuple(row) for row in rows] == [
        ("contact", "Where is my order?", None, "2024-03-01"),
        ("persona", "Let me look.", None, "2024-03-01"),
        ("member", "It left.", "Bob", "2024-03-02"),
        ("contact", "Thanks.", None, "2024-03-03"),
    ]
    row = await workspace.row(
        "select s.status, s.message_count, c.session_id = s.id as linked, v.proof, p.enabled,"
        "       (select count(*) from public.contact_identities i where i.evidence = 'asserted') > 0 as asserted,"
        "       (select count(*) from public.events e where e.workspace_id = $1) as events,"
        "       (select count(*) from public.event_deliveries j where j.workspace_id = $1) as deliveries"
        "  from public.sessions s join public.contacts c on c.id = s.contact_id"
        "  join public.conversations v on v.id = s.conversation_id join public.personas p on p.id = s.persona_id"
        " where s.workspace_id = $1 and s.created_at < '2025-01-01'",
        workspace.id,
    )
    assert row == {
        "status": "completed", "message_count": 4, "linked": True, "proof": "asserted", "enabled": False,
        "asserted": True, "events": 0, "deliveries": 0,
    }  # fmt: skip

    # What was forgotten stays forgotten.
    tea = {"external_id": "1", "contact": "1", "content": "Likes tea.", "created_at": "2024-03-01T10:00:00Z"}
    for expected in ("created", "unchanged"):
        result = await staff.admin.done("POST", path, {"source": "helpdesk", "memories": [tea]})
        assert statuses(result, "memories") == [expected]
        await staff.admin.ask("DELETE", f"/memories/{result['memories'][0]['id']}")

    # What the retention deleted does not come back and is not counted again, also when newer messages have come.
    await workspace.database.execute(
        "select private.delete_expired('messages', array(select id from public.sessions where workspace_id = $1))",
        workspace.id,
    )
    newer = {**TALK, "messages": [{**later, "external_id": "75", "created_at": "2024-03-04T09:00:00Z"}]}
    both = {**TALK, "messages": [*longer["messages"], *newer["messages"]]}
    for talk, expected in ((longer, "unchanged"), (newer, "updated"), (both, "unchanged")):
        result = await staff.admin.done("POST", path, {**batch, "conversations": [talk]})
        assert statuses(result, "conversations") == [expected]
    count = "select s.message_count, (select count(*) from public.messages m where m.session_id = s.id) as messages"
    imported = " from public.sessions s where s.workspace_id = $1 and s.created_at < '2025-01-01'"
    row = await workspace.row(count + imported, workspace.id)
    assert row == {"message_count": 5, "messages": 1}


async def test_identities_find_the_contacts_that_have_them(
    client: aiohttp.ClientSession, stack: Stack, staff: Staff, workspace: Workspace, visitor: Visitor
) -> None:
    path = f"/workspaces/{workspace.id}/imports"

    async def imported(*contacts: dict[str, Any]) -> dict[str, Any]:
        return await staff.owner.done("POST", path, {"source": "crm", "contacts": list(contacts)})

    created = await staff.owner.done(
        "POST",
        "/contacts",
        {"workspace_id": str(workspace.id), "first_name": "Ann", "identities": ["email:ann@example.com"],
         "evidence": {"verified_by": "passport"}},
    )  # fmt: skip
    other = {"external_id": "2", "last_name": "Lee", "identities": ["email:ann@example.com", "phone:+41446681800"]}
    third = {"external_id": "3", "first_name": "Anna", "identities": ["phone:0041 44 668 18 00", "email:no email"]}
    result = await imported(other, third, {"external_id": "4", "identities": ["email:new@example.com"]})
    assert statuses(result) == ["updated", "updated", "created"]
    assert {one["id"] for one in result["contacts"][:2]} == {created["id"]}
    assert result["contacts"][1]["dropped"] == ["email"]
    contact = await staff.owner.done("GET", f"/contacts/{created['id']}")
    # Stored values stay, what was lacking is added, and only the proven identity is verified.
    assert (contact["first_name"], contact["last_name"]) == ("Ann", "Lee")
    evidence = {one["kind"]: one["evidence"] for one in contact["identities"]}
    assert evidence == {"email": "verified", "phone": "asserted"}

    both = {"external_id": "5", "identities": ["email:ann@example.com", "email:new@example.com"]}
    group = {"external_id": "6", "kind": "group", "identities": ["external:x:1"], "title": "Crew",
             "participants": [{"contact": "4", "role": "admin"}]}  # fmt: skip
    mixed = {"external_id": "7", "kind": "group", "identities": ["email:x@example.com"]}
    unread = {"external_id": "\ud800"}, {"external_id": "10", "identities": ["\ud800"]}
    result = await imported(both, group, mixed, {"first_name": "x"}, *unread)
    assert statuses(result) == ["identity_conflict", "created", *["invalid_item"] * 3, "created"]
    assert (await staff.owner.done("GET", f"/contacts/{result['contacts'][1]['id']}"))["participants"][0]["role"]

    # Erased here, and still in the source.
    await staff.owner.done("DELETE", f"/contacts/{created['id']}")
    gone = await imported({"external_id": "8", "identities": ["email:ANN@example.com"]}, {"external_id": "2"})
    assert statuses(gone) == ["contact_erased", "contact_erased"]
    said = {**TALK["messages"][0], "external_id": None, "text": "Ann's", "attachments": [{"kind": "file"}]}
    crew = {"external_id": "9", "contact": "6", "persona": "Bot",
            "messages": [{**said, "contact": "2", "speaker": "Ann"}, {**said, "contact": "4", "text": "Bo's"}],
            }  # fmt: skip
    unknown = {**TALK, "contact": "unknown"}
    # What Postgres does not store is refused alone.
    half = {"id": "1", "created_at": said["created_at"], "details": {"from": "\ud800"}}
    unfit = [
        {**crew, "external_id": "10", "messages": [{**said, "attachments": [{"kind": "file", "name": "\x00"}]}]},
        {**crew, "external_id": "11", "messages": [], "sessions": [{"messages": [said], "requests": [half]}]},
    ]
    result = await staff.owner.done("POST", path, {"source": "crm", "conversations": [unknown, crew, *unfit]})
    assert statuses(result, "conversations") == ["contact_not_found", "created", "invalid_item", "invalid_item"]
    kept = await workspace.database.fetch(
        "select m.text, m.speaker, (select count(*) from public.attachments a where a.message_id = m.id)"
        "  from public.messages m where m.workspace_id = $1 and m.created_at < '2025-01-01' order by m.text",
        workspace.id,
    )
    assert [tuple(row) for row in kept] == [("Bo's", None, 1), ("[erased]", None, 0)]


async def test_imports_of_one_file_at_the_same_time_store_it_once(staff: Staff, workspace: Workspace) -> None:
    path, names = f"/workspaces/{workspace.id}/imports", [str(n) for n in range(40)]
    contacts = [{"external_id": name, "first_name": "Ann"} for name in names]
    talks = [{**TALK, "external_id": name, "contact": name, "persona": "New"} for name in names]
    batch = {"source": "helpdesk", "contacts": contacts, "conversations": talks}
    results = await asyncio.gather(*(staff.admin.done("POST", path, batch) for _ in range(4)))
    assert sum(statuses(result).count("created") for result in results) == len(names)
    # Other conversations of the same persona.
    others = [[{**talks[0], "external_id": f"{n}-{m}", "persona": "Newer"} for m in range(40)] for n in range(4)]
    await asyncio.gather(
        *(staff.admin.done("POST", path, {"source": "helpdesk", "conversations": talks}) for talks in others)
    )
    stored = await workspace.row(
        "select (select count(*) from public.contacts where workspace_id = $1 and first_name = 'Ann') as contacts,"
        " (select count(*) from public.personas where workspace_id = $1 and name like 'New%') as personas,"
        " count(*) as sessions, sum(message_count) as messages from public.sessions where workspace_id = $1"
        " and created_at < '2025-01-01'",
        workspace.id,
    )
    assert stored == {"contacts": 40, "personas": 2, "sessions": 200, "messages": 600}


async def test_who_may_import_and_how_much(
    client: aiohttp.ClientSession, stack: Stack, staff: Staff, workspace: Workspace
) -> None:
    path, batch = f"/workspaces/{workspace.id}/imports", {"source": "crm", "contacts": [ANN]}
    before = await workspace.counts()
    assert await staff.agent.refused("POST", path, batch) == (403, "forbidden")
    assert await staff.other_admin.refused("POST", path, batch) == (404, "workspace_not_found")
    assert await staff.anonymous.refused("POST", path, batch) == (401, "token_missing")
    for body in (
        {"source": "crm", "contacts": [ANN] * 1001},
        {"source": "A b", "contacts": [ANN]},
        {"source": "crm", "contacts": [ANN], "conversations": [{**TALK, "sessions": [
            {"messages": TALK["messages"], "steps": [{"id": "1", "created_at": "2024-03-01T10:00:00Z"}]}],
            "messages": []}]},
    ):  # fmt: skip
        assert await staff.admin.refused("POST", path, body) == (422, "invalid_body")
    # What one transaction refuses, it does not store in part.
    assert await workspace.counts() == before
    stranger = await sign_up(client, workspace, stack)
    assert await stranger.refused("POST", path, batch) == (404, "workspace_not_found")
