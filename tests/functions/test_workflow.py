"""The workflow's routes over HTTP: what a session works towards, by what it is found, and what its contact sees of it.

Steps, quotes and proposals are tests/database/test_workflow*.py's, filters of lists test_session_lists's, and callers
without the right to a route test_access's.
"""

from typing import Any
from uuid import uuid4

import pytest_asyncio

from tests.functions.conftest import Workspace
from tests.functions.people import Staff
from tests.functions.test_sessions import session_of

INVALID = (422, "invalid_body")
FOR_MEMBERS = {"primary_quote", "quote_counts", "quotes", "tags", "refs", "workflow_state", "taken_over_by"}


@pytest_asyncio.fixture
async def session_id(workspace: Workspace, staff: Staff) -> str:
    """The session that the contact's registration opened."""
    return str((await session_of(workspace, staff.contact))["id"])


async def test_a_session_goes_from_a_request_to_a_proposal(staff: Staff, session_id: str) -> None:
    at, code = f"/chat-sessions/{session_id}", uuid4().hex[:8].upper()
    trip = f"atrip-{uuid4().int % 10**12}"
    wanted = {"origin": "LSZH", "destination": "EGGW", "passengers": 4, "tripId": trip.upper()}
    first = {"step": "UNDERSTANDING_REQUEST", "workflowState": {"budget": 20_000}, "trip": wanted}
    begun = await staff.admin.done("PATCH", f"{at}/workflow", first)
    assert (begun["workflow"], begun["workflow_step"], begun["changed"]) == ("charter", "understanding_request", True)
    assert [(ref["kind"], ref["external_id"]) for ref in begun["refs"]] == [("trip", trip)]
    more = {"departs_at": "2027-03-01T09:00:00Z", "trip_code": code.lower(), "rfq_ids": [f"arfq-{code}"]}
    known = await staff.admin.done("PUT", f"{at}/request", more)
    request = {name: wanted[name] for name in ("origin", "destination", "passengers")}
    request |= {"id": known["request"]["id"], "departs_at": "2027-03-01T09:00:00Z"}
    status, refused = await staff.admin.ask("PATCH", f"{at}/workflow", {"step": "proposal_ready"})
    assert (status, refused["code"], refused["workflow_step"]) == (409, "step_not_allowed", "understanding_request")
    assert refused["allowed_steps"] == ["requesting_quotes", "searching_aircraft"]
    for operator, reported in (("Acme Air", "requested"), ("jets", "requested"), ("JETS", "declined")):
        await staff.admin.done("PUT", f"{at}/quotes/{operator}", {"status": reported})
    price = {"status": "RECEIVED", "amount": 12_000.5, "currency": "eur", "aircraft_type": "PC-24"}
    given = await staff.admin.done("PUT", f"{at}/quotes/acme%20air", price)
    assert given["quote"]["operator"] == "Acme Air"
    counts = {"expected": 2, "received": 1, "declined": 1, "expired": 0, "withdrawn": 0, "late": 0}
    assert given["quote_counts"] == counts
    await staff.admin.done("PUT", f"{at}/proposal", {"title": "Zurich to Luton"})

    # It is found by each of its external ids, as stored and as typed.
    for found_by in (trip, trip.upper(), code, code.lower(), f"ARFQ-{code}"):
        (item,) = (await staff.owner.done("GET", f"/chat-sessions?external_id={found_by}"))["items"]
        assert item["id"] == session_id
    (item,) = (await staff.owner.done("GET", f"/trips/{code.lower()}/chat-sessions?limit=1"))["items"]
    assert (await staff.owner.done("GET", f"/trips/arfq-{code}/chat-sessions"))["items"] == []
    assert (item["id"], item["request"], item["quote_counts"]) == (session_id, request, counts)
    quote = {"id": given["quote"]["id"], "operator": "Acme Air", "amount": 12_000.5, "currency": "EUR"}
    quote |= {"aircraft_type": "PC-24"}
    assert (item["primary_quote"], item["proposal"]["status"], item["taken_over"]) == (quote, "draft", False)
    full = await staff.owner.done("GET", at)
    assert full["workflow_state"] == {"budget": 20_000}
    quotes = {each["operator_key"]: each["status"] for each in full["quotes"]}
    assert quotes == {"acme air": "received", "jets": "declined"}
    assert [(each["event"], each.get("actor_id")) for each in full["timeline"][1:]] == [
        (event, str(staff.admin.id))
        for event in ("workflow.step", "quote.requested", "quote.requested", "quote.declined", "quote.received",
                      "proposal.draft")
    ]  # fmt: skip

    # Its contact sees the request and, once it is sent, the proposal.
    seen = await staff.contact.done("GET", at)
    assert (seen["workflow_step"], seen["request"]["id"]) == ("understanding_request", request["id"])
    assert not (FOR_MEMBERS | {"proposal"}) & seen.keys()
    assert [each["event"] for each in seen["timeline"]] == ["session.created"]
    offer = {"amount": 14_000, "currency": "EUR", "text": "We offer a PC-24."}
    await staff.admin.done("PUT", f"{at}/proposal", {"status": "SENT", **offer})
    (own,) = (await staff.contact.done("GET", "/chat-sessions"))["items"]
    shown = {"id": own["proposal"]["id"], "status": "sent", "title": "Zurich to Luton", **offer}
    assert (own["proposal"], own["workflow_step"]) == (shown, "proposal_ready")
    assert (await staff.contact.done("GET", f"/requests/{request['id']}/chat-session"))["id"] == session_id


async def test_a_user_sees_of_their_own_session_nothing_that_is_for_members(workspace: Workspace, staff: Staff) -> None:
    started = await staff.stranger.done("POST", "/chat-sessions", {"space_id": str(workspace.space_id)})
    at, trip = f"/chat-sessions/{started['session_id']}", f"atrip-{uuid4().hex}"
    await staff.owner.done("PUT", f"{at}/quotes/acme", {"status": "received", "amount": 1, "currency": "EUR"})
    await staff.owner.done("PATCH", f"{at}/workflow", {"step": "understanding_request", "trip": {"trip_id": trip}})
    (listed,) = (await staff.stranger.done("GET", "/chat-sessions"))["items"]
    for seen in (listed, await staff.stranger.done("GET", at)):
        assert seen["workflow_step"] == "understanding_request"
        assert not FOR_MEMBERS & seen.keys()
    assert (await staff.stranger.done("GET", f"/trips/{trip}/chat-sessions"))["items"] == []


async def test_a_live_session_is_found_by_its_conversation_and_its_reference_until_these_end(
    staff: Staff, session_id: str
) -> None:
    at, trip = f"/chat-sessions/{session_id}", f"/trips/atrip-{session_id}/chat-sessions"
    known = await staff.owner.done("PUT", f"{at}/request", {"trip_id": f"ATRIP-{session_id}"})
    active = f"/conversations/{known['conversation_id']}/chat-sessions/active"
    assert (await staff.contact.done("GET", active))["id"] == session_id
    found = (staff.contact, "/chat-sessions/active"), (staff.owner, trip)
    for person, path in found:
        assert [item["id"] for item in (await person.done("GET", path))["items"]] == [session_id]
    assert (await staff.owner.done("POST", f"{at}/activity"))["changed"] is True
    await staff.owner.done("DELETE", f"{at}/refs/{known['refs'][0]['id']}")
    await staff.owner.done("PATCH", f"{at}/complete")
    for person, path in found:
        assert (await person.done("GET", path))["items"] == []
    assert await staff.owner.refused("GET", active) == (404, "session_not_found")
    ended = await staff.owner.done("GET", f"/requests/{known['request']['id']}/chat-session")
    assert (ended["id"], ended["status"]) == (session_id, "completed")


UNFIT: tuple[tuple[str, str, tuple[dict[str, Any], ...]], ...] = (
    ("PATCH", "/workflow", ({"step": "no step!"}, {"pace": "fast"}, {"workflow_state": []})),
    ("PUT", "/request", ({"passengers": 0}, {"step": "a", "current_step": "b"}, {"departs_at": "tomorrow"},
                         {"trip_id": " "}, {"departs_at": "9999-12-31T23:59:59-00:01"})),
    ("PUT", "/quotes/acme", ({"status": "fine"}, {"amount": 12}, {"amount": -1, "currency": "EUR"},
                             {"amount": 1, "currency": "EURO"}, {"amount": 1.001, "currency": "EUR"})),
    ("PUT", "/quotes/%20", ({"status": "requested"},)),
    ("PUT", "/proposal", ({"status": "maybe"}, {"amount": 1}, {"status": "draft", "complete": True})),
)  # fmt: skip


async def test_an_invalid_body_is_refused(staff: Staff, session_id: str) -> None:
    at, without_contact = f"/chat-sessions/{session_id}", {"step": "understanding_request"}
    for method, path, bodies in UNFIT:
        for body in bodies:
            assert await staff.owner.refused(method, at + path, body) == INVALID, (path, body)
    assert await staff.owner.refused("PUT", "/chat-sessions", without_contact) == INVALID
    assert await staff.owner.refused("GET", "/trips/%20/chat-sessions") == INVALID
    assert (await staff.owner.done("GET", at)).get("request") is None


async def test_a_trip_at_the_end_of_the_calendar_spoils_no_list(staff: Staff, session_id: str) -> None:
    for departs_at in ("9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00Z"):
        await staff.owner.done("PUT", f"/chat-sessions/{session_id}/request", {"departs_at": departs_at})
        (listed,) = (await staff.owner.done("GET", "/chat-sessions?limit=1"))["items"]
        assert listed["request"]["departs_at"] == departs_at


async def test_a_contacts_session_is_started_and_moved_on_in_one_call(
    workspace: Workspace, staff: Staff, session_id: str
) -> None:
    contact = await workspace.row("select contact_id, persona_id from public.sessions where id = $1", session_id)
    wanted = {**{name: str(value) for name, value in contact.items()}, "thread_key": "offer"}
    refused = await staff.owner.refused("PUT", "/chat-sessions", {**wanted, "step": "proposal_ready"})
    assert refused == (409, "step_not_allowed")
    first = {"workflow": "charter", "workflow_step": "understanding_request", "first_messages": ["Where to?"]}
    templates = f"/workspaces/{workspace.id}/session-templates"
    await staff.owner.done("POST", templates, {"name": "Trip", **first})
    moved = {**wanted, "template": "Trip", "step": "searching_aircraft", "trip": {"origin": "LSZH"}}
    status, started = await staff.owner.ask("PUT", "/chat-sessions", moved)
    assert (status, started["created"], started["workflow_step"]) == (201, True, "searching_aircraft")
    status, again = await staff.owner.ask("PUT", "/chat-sessions", {**wanted, "trip": {"destination": "EGGW"}})
    assert (status, again["session_id"], again["request"]["origin"]) == (200, started["session_id"], "LSZH")
    read = await staff.owner.done("GET", f"/chat-sessions/{started['session_id']}")
    assert [message["text"] for message in read["messages"]] == ["Where to?"]


async def test_a_conversations_session_goes_from_its_trip_to_its_proposal_in_four_calls(
    workspace: Workspace, staff: Staff, session_id: str
) -> None:
    row = await workspace.row("select conversation_id from public.sessions where id = $1", session_id)
    conversation, at = {"conversation_id": str(row["conversation_id"])}, f"/chat-sessions/{session_id}"
    begun = {**conversation, "status": "ACTIVE", "current_step": "understanding_request", "workflow_state": {"a": 1}}
    status, answer = await staff.owner.ask("PUT", "/chat-sessions", {**begun, "subject": "To Luton"})
    assert (status, answer["session_id"], answer["workflow_step"]) == (200, session_id, "understanding_request")
    trip = {"avinode_trip_id": f"atrip-{session_id}", "avinode_rfp_id": "rfp-123", "current_step": "requesting_quotes"}
    moved = await staff.owner.done("PUT", f"{at}/request", {**trip, "workflow_state": {"b": 2}})
    assert (moved["workflow_step"], moved["workflow_state"]) == ("requesting_quotes", {"a": 1, "b": 2})
    assert sorted(ref["kind"] for ref in moved["refs"]) == ["rfp", "trip"]
    (found,) = (await staff.owner.done("GET", f"/trips/atrip-{session_id}/chat-sessions"))["items"]
    assert (found["id"], found["subject"]) == (session_id, "To Luton")
    for person, subject in ((staff.owner, "To Luton"), (staff.contact, None)):
        assert (await person.done("GET", at)).get("subject") == subject
    sent = await staff.owner.done("PUT", f"{at}/proposal", {"status": "sent", "complete": True})
    assert (sent["workflow_step"], sent["status"]) == ("proposal_ready", "completed")
    ended = await staff.owner.done("PUT", "/chat-sessions", {**conversation, "status": "completed", "reason": "Sold"})
    assert (ended["session_id"], ended["created"], ended["changed"]) == (session_id, False, False)
    both = {**conversation, "contact_id": str(uuid4())}
    assert await staff.owner.refused("PUT", "/chat-sessions", both) == INVALID


async def test_admins_extend_the_workflow_and_members_read_it(
    workspace: Workspace, staff: Staff, session_id: str
) -> None:
    at = f"/workspaces/{workspace.id}/workflow-transitions"
    new = {"workflow": "charter", "from_step": "understanding_request", "to_step": "asking_back"}
    for body in ({**new, "to_step": "understanding_request"}, {**new, "to_step": "Asking back?"}, {"workflow": "x"}):
        assert await staff.admin.refused("POST", at, body) == INVALID
    status, added = await staff.admin.ask("POST", at, new)
    assert (status, added["created"], added["built_in"]) == (201, True, False)
    assert (await staff.admin.ask("POST", at, new))[0] == 200
    shown = (await staff.agent.done("GET", at))["items"]
    assert [item["to_step"] for item in shown if not item["built_in"]] == ["asking_back"]
    for step in ("understanding_request", "asking_back"):
        await staff.owner.done("PATCH", f"/chat-sessions/{session_id}/workflow", {"step": step})
    built_in = next(item["id"] for item in shown if item["built_in"])
    assert await staff.admin.refused("DELETE", f"{at}/{built_in}") == (404, "transition_not_found")
    await staff.admin.done("DELETE", f"{at}/{added['id']}")
    assert [item for item in (await staff.agent.done("GET", at))["items"] if not item["built_in"]] == []
