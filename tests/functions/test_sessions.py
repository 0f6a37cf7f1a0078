"""The sessions routes over HTTP: what they change, which requests are invalid, and a session in full.

Callers without the right to a route are test_access's; lists are test_session_lists's; an answer that is ended with its
session is test_cancel's.
"""

import base64
import json
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import aiohttp

from local.stack import Stack
from tests.functions.conftest import Visitor, Workspace
from tests.functions.people import Person, Staff, audit

INVALID = (422, "invalid_body")
ONE = "00000000-0000-4000-8000-000000000001"


async def session_of(workspace: Workspace, person: Person) -> dict[str, Any]:
    """The session that a contact's registration opened."""
    claims = json.loads(base64.urlsafe_b64decode(str(person.token).split(".")[1] + "=="))
    return await workspace.row(
        "select id, conversation_id, contact_id from public.sessions where conversation_id = $1",
        UUID(claims["conversation_id"]),
    )


async def test_a_session_goes_through_its_states(workspace: Workspace, staff: Staff) -> None:
    session = await session_of(workspace, staff.contact)
    reasons = {"pause": "On holiday", "complete": "Sold"}
    for verb, status in (("pause", "paused"), ("resume", "active"), ("complete", "completed")):
        body = {"reason": reasons[verb]} if verb in reasons else None
        path = f"/chat-sessions/{session['id']}/{verb}"
        for changed in (True, False):
            answer = await staff.admin.done("PATCH", path, body)
            assert answer == {
                "session_id": str(session["id"]), "conversation_id": str(session["conversation_id"]),
                "status": status, "changed": changed,
            }  # fmt: skip
    code, document = await staff.owner.ask("PATCH", f"/chat-sessions/{session['id']}/cancel")
    assert (code, document["code"], document["session_status"]) == (409, "transition_not_allowed", "completed")
    several = {"session_ids": [str(session["id"])], "status": "PAUSED"}
    (item,) = (await staff.owner.done("POST", "/chat-sessions/bulk-status", several))["items"]
    assert (item["code"], item["session_status"]) == ("transition_not_allowed", "completed")
    done = [(verb, actor) for verb, object_id, actor, _ in await audit(workspace) if object_id == session["id"]]
    assert done == [(f"session.{state}", staff.admin.id) for state in ("paused", "resumed", "completed")]


async def test_a_contact_cancels_their_own_session(workspace: Workspace, staff: Staff) -> None:
    at = f"/chat-sessions/{(await session_of(workspace, staff.contact))['id']}"
    assert await staff.contact.refused("PATCH", f"{at}/cancel", {"reason": "x" * 501}) == INVALID
    cancelled = await staff.contact.done("PATCH", f"{at}/cancel", {"reason": "I have found another"})
    assert (cancelled["status"], cancelled["changed"]) == ("cancelled", True)
    for person, reason in ((staff.owner, "I have found another"), (staff.contact, None)):
        assert (await person.done("GET", at))["timeline"][-1].get("reason") == reason


async def test_a_member_fails_a_session_with_a_reason(workspace: Workspace, staff: Staff) -> None:
    at = f"/chat-sessions/{(await session_of(workspace, staff.contact))['id']}"
    reason = "Webhook timeout after 10 seconds"
    failed = await staff.owner.done("PATCH", f"{at}/fail", {"reason": reason})
    assert (failed["status"], failed["changed"]) == ("failed", True)
    meaning = "A member has ended the session as failed."
    for person, message in ((staff.owner, reason), (staff.contact, meaning)):
        full = await person.done("GET", at)
        assert (full["error_code"], full["error_message"]) == ("failed_by_member", message)
        # What is known of the client is for members.
        assert full.get("metadata", {}).get("address") == ("127.0.0.1" if person is staff.owner else None)


def cursor_of(text: str) -> str:
    """A query with a cursor that says this."""
    return "cursor=" + base64.urlsafe_b64encode(text.encode()).decode()


UNFIT_QUERIES = (
    "limit=0", "limit=201", "limit=x", "offset=-1", "offset=10001", "status=asleep", "status=", "persona_id=x",
    "created_after=yesterday", "created_after=2026-01-01T00:00:00", "text=", "text=%00", "channel=", "surprise=1",
    "cursor=", "cursor=abc", "cursor=%20", "cursor=é", "cursor=" + "A" * 5000, "step=no%20step", "has_quote=perhaps",
    "external_id=%20", cursor_of("2026-01-01T00:00:00+00:00 not-an-id"), cursor_of(f"never {ONE}"),
    cursor_of(f"2026-01-01T00:00:00+00:00 {ONE}' or true"), cursor_of(f"2026-01-01T00:00:00+00:00 {ONE}") + "&offset=1",
)  # fmt: skip
UNFIT_BODIES: dict[tuple[str, str], tuple[Any, ...]] = {
    ("POST", "/chat-sessions"): (
        {}, {"contact_id": "x"}, {"thread_key": ""}, {"surprise": 1}, {"context": []}, [],
    ),
    ("POST", "/chat-sessions/bulk-status"): (
        {}, {"session_ids": [], "status": "paused"}, {"session_ids": ["x"], "status": "paused"},
        {"session_ids": [f"00000000-0000-4000-8000-{number:012}" for number in range(101)], "status": "paused"},
        {"session_ids": [ONE], "status": "archived"}, {"session_ids": [ONE]},
        {"session_ids": [ONE], "status": "paused", "reason": " "},
    ),
    ("POST", "/chat-sessions/cleanup"): (
        {"workspace_id": ONE, "max_age_hours": 0}, {"workspace_id": ONE, "max_age_hours": 8761}, {"hours": 1},
    ),
}  # fmt: skip


async def test_invalid_queries_and_bodies_are_refused(staff: Staff) -> None:
    for query in UNFIT_QUERIES:
        assert await staff.owner.refused("GET", f"/chat-sessions?{query}") == INVALID, query
    for (method, path), bodies in UNFIT_BODIES.items():
        for body in bodies:
            assert await staff.owner.refused(method, path, body) == INVALID, (path, body)


async def test_one_session_in_full(client: aiohttp.ClientSession, workspace: Workspace, staff: Staff) -> None:
    visitor = Visitor(client, workspace.space_id)
    first = (await visitor.say("one"))[0].data
    await visitor.say("two")
    path = f"/chat-sessions/{first['session_id']}"
    of_conversation = f"/conversations/{first['conversation_id']}/chat-sessions"
    for query, found in (("", 1), ("?status=ACTIVE", 1), ("?status=completed,FAILED&status=timeout", 0)):
        assert len((await staff.owner.done("GET", of_conversation + query))["items"]) == found, query
    (listed,) = (await staff.owner.done("GET", of_conversation))["items"]
    full = await staff.owner.done("GET", path)
    assert (listed["id"], listed.items() <= full.items()) == (first["session_id"], True)
    assert (full["id"], full["turn_count"], full["message_count"]) == (first["session_id"], 2, 4)
    assert [said["role"] for said in full["messages"]] == ["contact", "persona"] * 2
    assert len(full["turns"]) == 2
    assert [event["event"] for event in full["timeline"]][:2] == ["session.created", "turn.started"]
    assert "messages_before" not in full
    last = await staff.owner.done("GET", f"{path}?limit=3")
    rest = await staff.owner.done("GET", f"{path}?limit=3&before={last['messages_before']}")
    assert [*rest["messages"], *last["messages"]] == full["messages"]
    assert await staff.owner.refused("GET", f"{path}?before={uuid4()}") == (404, "message_not_found")
    assert await staff.owner.refused("GET", f"{path}?limit=0") == INVALID
    assert datetime.fromisoformat(full["updated_at"]) > datetime.fromisoformat(full["last_activity_at"])
    # The live sessions, unless the query says otherwise.
    await staff.owner.done("PATCH", f"{path}/complete")
    for query, found in (("", 0), ("?status=COMPLETED", 1)):
        assert len((await staff.owner.done("GET", of_conversation + query))["items"]) == found, query


async def test_a_session_is_started_for_a_contact_or_for_oneself(workspace: Workspace, staff: Staff) -> None:
    session = await session_of(workspace, staff.contact)
    asked = {"contactId": str(session["contact_id"]), "threadKey": "offer", "context": {"deal": 7}}
    status, new = await staff.agent.ask("POST", "/chat-sessions", asked)
    assert (status, new["created"], new["contact_id"]) == (201, True, str(session["contact_id"]))
    status, same = await staff.agent.ask("POST", "/chat-sessions", asked)
    assert (status, same["created"], same["session_id"]) == (200, False, new["session_id"])
    assert [item["id"] for item in (await staff.agent.done("GET", "/chat-sessions"))["items"]] == [new["session_id"]]
    status, own = await staff.contact.ask("POST", "/chat-sessions")
    assert (status, own["session_id"]) == (200, str(session["id"]))
    status, hers = await staff.stranger.ask("POST", "/chat-sessions", {"space_id": str(workspace.space_id)})
    assert (status, hers["user_id"]) == (201, str(staff.stranger.id))


async def test_idle_sessions_time_out_for_an_admin_and_for_the_schedule(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff, stack: Stack
) -> None:
    async def age(hours: int) -> None:
        idle = "update public.sessions set last_activity_at = now() - $2 * interval '1 hour' where workspace_id = $1"
        await workspace.database.execute(idle, workspace.id, hours)

    session, path = await session_of(workspace, staff.contact), "/chat-sessions/cleanup"
    await workspace.database.execute("delete from private.sweeps")
    cron = Person(client, uuid4(), "", stack.cron_secret)
    body = {"workspace_id": str(workspace.id), "max_age_hours": 2}
    assert await cron.refused("POST", path, body) == INVALID
    await age(25)
    # Of all workspaces, so also what other tests left idle.
    swept = await cron.done("POST", path, {})
    assert (swept["timed_out"] >= 1, swept["remaining"]) == (True, False)
    assert (await staff.contact.done("GET", f"/chat-sessions/{session['id']}"))["status"] == "timeout"
    await staff.contact.done("POST", f"/chat-sessions/{session['id']}/recover")
    await age(3)
    for timed_out in (1, 0):
        assert await staff.admin.done("POST", path, body) == {"timed_out": timed_out, "remaining": False}
    # The only workspace of a member, with the hours of a call as curl -d sends it, or with its own.
    headers = {"Authorization": f"Bearer {staff.admin.token}", "Content-Type": "application/x-www-form-urlencoded"}
    for content, hours in ((b'{"maxAgeHours": 24}', 25), (b"", 25)):
        await staff.contact.done("POST", f"/chat-sessions/{session['id']}/recover")
        await age(hours)
        async with client.post(path, data=content, headers=headers) as response:
            assert await response.json() == {"timed_out": 1, "remaining": False}
