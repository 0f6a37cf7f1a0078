"""The workflow's routes over HTTP: who moves a session on, who finds it by what it works towards, and who sees what."""

import asyncio
from typing import Any
from uuid import uuid4

import aiohttp
import pytest_asyncio

from local.stack import Stack
from tests.functions.conftest import Workspace
from tests.functions.people import Person, Staff, sign_up, staff_of
from tests.functions.test_sessions import session_of

ONE = "00000000-0000-4000-8000-000000000001"


@pytest_asyncio.fixture
async def staff(client: aiohttp.ClientSession, workspace: Workspace, stack: Stack) -> Staff:
    """Everybody."""
    return await staff_of(client, workspace, stack)


@pytest_asyncio.fixture
async def session_id(workspace: Workspace, staff: Staff) -> str:
    """The session that the contact's registration opened."""
    return str((await session_of(workspace, staff.contact))["id"])


def writes(session_id: str) -> list[tuple[str, str, Any]]:
    """Every route that changes a session's work, with a body that fits."""
    at = f"/chat-sessions/{session_id}"
    return [
        ("PATCH", f"{at}/workflow", {"step": "understanding_request"}),
        ("PUT", f"{at}/request", {"origin": "LSZH"}),
        ("PUT", f"{at}/quotes/acme", {"status": "received"}),
        ("PUT", f"{at}/proposal", {"status": "draft"}),
        ("POST", f"{at}/activity", None),
        ("DELETE", f"{at}/refs/{uuid4()}", None),
    ]


async def test_a_session_goes_from_a_request_to_a_proposal(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff, session_id: str
) -> None:
    at = f"/chat-sessions/{session_id}"
    trip = f"atrip-{uuid4().int % 10**12}"
    begun = await staff.admin.done(
        "PATCH",
        f"{at}/workflow",
        {
            "step": "UNDERSTANDING_REQUEST",
            "workflowState": {"budget": 20_000},
            "trip": {"origin": "LSZH", "destination": "EGGW", "passengers": 4, "tripId": trip.upper()},
        },
    )
    assert (begun["workflow"], begun["workflow_step"], begun["changed"]) == ("charter", "understanding_request", True)
    assert [(ref["kind"], ref["external_id"]) for ref in begun["refs"]] == [("trip", trip)]
    code = uuid4().hex[:8].upper()
    known = await staff.admin.done(
        "PUT",
        f"{at}/request",
        {"departs_at": "2027-03-01T09:00:00Z", "trip_code": code.lower(), "rfq_ids": [f"arfq-{code}"]},
    )
    assert (known["request"]["origin"], known["request"]["departs_at"]) == ("LSZH", "2027-03-01T09:00:00Z")
    for step in ("searching_aircraft", "requesting_quotes"):
        await staff.admin.done("PATCH", f"{at}/workflow", {"step": step})
    for operator in ("Acme Air", "jets", "skye"):
        await staff.admin.done("PUT", f"{at}/quotes/{operator}", {"status": "requested"})
    await staff.admin.done("PUT", f"{at}/quotes/JETS", {"status": "declined"})
    given = await staff.admin.done(
        "PUT", f"{at}/quotes/acme%20air", {"status": "received", "amount": 12_000.5, "currency": "eur"}
    )
    assert given["quote"]["operator"] == "Acme Air"
    assert given["quote_counts"] == {
        "expected": 3, "received": 1, "declined": 1, "expired": 0, "withdrawn": 0, "late": 0,
    }  # fmt: skip
    status, refused = await staff.admin.ask("PATCH", f"{at}/workflow", {"step": "understanding"})
    assert (status, refused["code"], refused["workflow_step"]) == (409, "step_not_allowed", "requesting_quotes")
    assert refused["allowed_steps"] == ["proposal_ready", "searching_aircraft", "understanding_request"]
    await staff.admin.done("PATCH", f"{at}/workflow", {"step": "proposal_ready"})
    await staff.admin.done("PUT", f"{at}/proposal", {"title": "Zurich to Luton"})

    # Found by whatever it is known by, in either form, and shown with what it came to.
    for found_by in (trip, trip.upper(), code, code.lower(), f"ARFQ-{code}"):
        (item,) = (await staff.owner.done("GET", f"/chat-sessions?external_id={found_by}"))["items"]
        assert item["id"] == session_id
    (item,) = (await staff.owner.done("GET", f"/trips/{code.lower()}/chat-sessions"))["items"]
    assert item["id"] == session_id
    assert (await staff.owner.done("GET", f"/trips/arfq-{code}/chat-sessions"))["items"] == []
    request_id = known["request"]["id"]
    assert item["request"] == {
        "id": request_id, "origin": "LSZH", "destination": "EGGW", "departs_at": "2027-03-01T09:00:00Z",
        "passengers": 4,
    }  # fmt: skip
    assert item["primary_quote"] == {
        "id": given["quote"]["id"], "operator": "Acme Air", "amount": 12_000.5, "currency": "EUR",
    }  # fmt: skip
    assert (item["workflow_step"], item["quote_counts"], item["proposal"]["status"]) == (
        "proposal_ready",
        given["quote_counts"],
        "draft",
    )
    assert item["taken_over"] is False
    full = await staff.owner.done("GET", at)
    assert full["workflow_state"] == {"budget": 20_000}
    assert {each["operator_key"]: each["status"] for each in full["quotes"]} == {
        "acme air": "received", "jets": "declined", "skye": "requested",
    }  # fmt: skip
    happened = [each["event"] for each in full["timeline"] if each["event"] != "session.created"]
    assert happened == [
        "workflow.step", "workflow.step", "workflow.step", "quote.requested", "quote.requested", "quote.requested",
        "quote.declined", "quote.received", "workflow.step", "proposal.draft",
    ]  # fmt: skip
    assert {each["actor_id"] for each in full["timeline"] if each["event"] != "session.created"} == {
        str(staff.admin.id)
    }

    # Whose session it is sees the request and what was proposed to them, and nothing of quotes and steps.
    seen = await staff.contact.done("GET", at)
    assert seen["workflow_step"] == "proposal_ready"
    assert seen["request"]["id"] == request_id
    hidden = {"primary_quote", "quote_counts", "quotes", "tags", "refs", "workflow_state", "proposal", "taken_over_by"}
    assert not hidden & set(seen)
    assert [each["event"] for each in seen["timeline"]] == ["session.created"]
    await staff.admin.done("PUT", f"{at}/proposal", {"status": "sent"})
    (own,) = (await staff.contact.done("GET", "/chat-sessions"))["items"]
    assert own["proposal"]["status"] == "sent"
    by_request = await staff.contact.done("GET", f"/requests/{request_id}/chat-session")
    assert by_request["id"] == session_id
    for query in (f"external_id={code}", "has_quote=true", "tag=vip"):
        assert (await staff.contact.done("GET", f"/chat-sessions?{query}"))["items"] == []
    assert len((await staff.contact.done("GET", "/chat-sessions?has_quote=false"))["items"]) == 1


async def test_nobody_else_moves_a_session_and_each_is_told_what_they_may_know(
    workspace: Workspace, staff: Staff, session_id: str
) -> None:
    for method, path, body in writes(session_id):
        assert await staff.contact.refused(method, path, body) == (403, "forbidden"), path
        for person in (staff.stranger, staff.other_admin, staff.agent):
            assert await person.refused(method, path, body) == (404, "session_not_found"), path
        assert await staff.anonymous.refused(method, path, body) == (401, "token_missing"), path
    assert (
        await workspace.database.fetchval("select count(*) from public.requests where session_id = $1", session_id) == 0
    )

    await workspace.database.execute(
        "update public.sessions set assigned_user_id = $1 where id = $2", staff.agent.id, session_id
    )
    for method, path, body in writes(session_id)[:-1]:
        await staff.agent.done(method, path, body)
    assert await staff.agent.refused(*writes(session_id)[-1]) == (404, "ref_not_found")


async def test_a_user_reads_of_their_own_session_what_is_theirs(
    client: aiohttp.ClientSession, workspace: Workspace, stack: Stack, staff: Staff
) -> None:
    guest = await sign_up(client, workspace, stack)
    started = await guest.done("POST", "/chat-sessions", {"space_id": str(workspace.space_id)})
    at = f"/chat-sessions/{started['session_id']}"
    await staff.owner.done("PUT", f"{at}/quotes/acme", {"status": "received", "amount": 1, "currency": "EUR"})
    trip = f"atrip-{uuid4().hex}"
    await staff.owner.done("PATCH", f"{at}/workflow", {"step": "understanding_request", "trip": {"trip_id": trip}})
    for method, path, body in writes(started["session_id"]):
        assert await guest.refused(method, path, body) == (403, "forbidden"), path
    seen = await guest.done("GET", at)
    assert seen["workflow_step"] == "understanding_request"
    assert not {"primary_quote", "quote_counts", "quotes", "tags", "refs", "workflow_state"} & set(seen)
    assert [item["id"] for item in (await guest.done("GET", "/chat-sessions/active"))["items"]] == [
        started["session_id"]
    ]
    for query in (f"external_id={trip}", "has_quote=true"):
        assert (await guest.done("GET", f"/chat-sessions?{query}"))["items"] == []
    assert (await guest.done("GET", f"/trips/{trip}/chat-sessions"))["items"] == []
    active = await guest.done("GET", f"/conversations/{started['conversation_id']}/chat-sessions/active")
    assert active["id"] == started["session_id"]


async def test_what_is_not_yours_is_not_found(staff: Staff, workspace: Workspace, session_id: str) -> None:
    known = await staff.owner.done("PUT", f"/chat-sessions/{session_id}/request", {"trip_id": f"atrip-{session_id}"})
    request_id, conversation_id = known["request"]["id"], known["conversation_id"]
    for person in (staff.stranger, staff.other_admin, staff.agent):
        assert await person.refused("GET", f"/requests/{request_id}/chat-session") == (404, "request_not_found")
        assert await person.refused("GET", f"/conversations/{conversation_id}/chat-sessions/active") == (
            404,
            "conversation_not_found",
        )
        assert (await person.done("GET", f"/trips/atrip-{session_id}/chat-sessions"))["items"] == []
        assert (await person.done("GET", f"/chat-sessions?external_id=atrip-{session_id}"))["items"] == []
    listed = await staff.owner.done("GET", f"/trips/ATRIP-{session_id}/chat-sessions?limit=1")
    assert [item["id"] for item in listed["items"]] == [session_id]
    (ref,) = known["refs"]
    await staff.owner.done("DELETE", f"/chat-sessions/{session_id}/refs/{ref['id']}")
    assert (await staff.owner.done("GET", f"/trips/atrip-{session_id}/chat-sessions"))["items"] == []
    await staff.owner.done("PATCH", f"/chat-sessions/{session_id}/complete")
    assert await staff.owner.refused("GET", f"/conversations/{conversation_id}/chat-sessions/active") == (
        404,
        "session_not_found",
    )
    found = await staff.owner.done("GET", f"/requests/{request_id}/chat-session")
    assert (found["id"], found["status"]) == (session_id, "completed")
    assert (await staff.owner.ask("POST", f"/chat-sessions/{session_id}/activity"))[1]["session_status"] == "completed"


async def test_what_fits_nothing_is_refused(staff: Staff, session_id: str) -> None:
    at = f"/chat-sessions/{session_id}"
    for method, path, body in (
        ("PATCH", f"{at}/workflow", {"step": "no step!"}),
        ("PATCH", f"{at}/workflow", {"pace": "fast"}),
        ("PATCH", f"{at}/workflow", {"workflow_state": []}),
        ("PUT", f"{at}/request", {"passengers": 0}),
        ("PUT", f"{at}/request", {"departs_at": "tomorrow"}),
        ("PUT", f"{at}/request", {"departs_at": "9999-12-31T23:59:59-00:01"}),
        ("PUT", f"{at}/request", {"departs_at": "0001-01-01T00:00:00+00:01"}),
        ("PUT", f"{at}/request", {"trip_id": " "}),
        ("PUT", f"{at}/quotes/acme", {"status": "fine"}),
        ("PUT", f"{at}/quotes/acme", {"amount": 12}),
        ("PUT", f"{at}/quotes/acme", {"amount": -1, "currency": "EUR"}),
        ("PUT", f"{at}/quotes/acme", {"amount": 1, "currency": "EURO"}),
        ("PUT", f"{at}/quotes/acme", {"amount": 1.001, "currency": "EUR"}),
        ("PUT", f"{at}/quotes/%20", {"status": "requested"}),
        ("PUT", f"{at}/proposal", {"status": "maybe"}),
        ("PUT", "/chat-sessions", {"step": "understanding_request"}),
        ("GET", "/chat-sessions?step=no%20step", None),
        ("GET", "/chat-sessions?has_quote=perhaps", None),
        ("GET", "/chat-sessions?external_id=%20", None),
        ("GET", "/trips/%20/chat-sessions", None),
    ):
        assert await staff.owner.refused(method, path, body) == (422, "invalid_body"), (path, body)
    assert (await staff.owner.done("GET", at)).get("request") is None


async def test_a_trip_at_the_end_of_the_calendar_spoils_no_list(staff: Staff, session_id: str) -> None:
    for departs_at in ("9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00Z"):
        await staff.owner.done("PUT", f"/chat-sessions/{session_id}/request", {"departs_at": departs_at})
        (listed,) = (await staff.owner.done("GET", "/chat-sessions?limit=1"))["items"]
        assert listed["request"]["departs_at"] == departs_at


async def test_a_contacts_session_is_started_and_moved_on_in_one(
    workspace: Workspace, staff: Staff, session_id: str
) -> None:
    contact = await workspace.row("select contact_id, persona_id from public.sessions where id = $1", session_id)
    await staff.owner.done("PATCH", f"/chat-sessions/{session_id}/complete")
    wanted = {
        "contact_id": str(contact["contact_id"]), "persona_id": str(contact["persona_id"]), "thread_key": "offer",
    }  # fmt: skip
    status, refused = await staff.owner.ask("PUT", "/chat-sessions", {**wanted, "step": "proposal_ready"})
    assert (status, refused["code"]) == (409, "step_not_allowed")
    status, started = await staff.owner.ask("PUT", "/chat-sessions", {**wanted, "step": "understanding_request"})
    assert (status, started["created"]) == (201, True)
    status, again = await staff.owner.ask("PUT", "/chat-sessions", {**wanted, "trip": {"origin": "LSZH"}})
    assert (status, again["session_id"], again["request"]["origin"]) == (200, started["session_id"], "LSZH")
    assert await staff.agent.refused("PUT", "/chat-sessions", wanted) == (403, "forbidden")
    assert await staff.other_admin.refused("PUT", "/chat-sessions", wanted) == (404, "contact_not_found")


async def test_admins_extend_the_workflow_and_members_read_it(
    workspace: Workspace, staff: Staff, session_id: str
) -> None:
    at = f"/workspaces/{workspace.id}/workflow-transitions"
    new = {"workflow": "charter", "from_step": "understanding_request", "to_step": "asking_back"}
    for person, refusal in (
        (staff.agent, (403, "forbidden")),
        (staff.stranger, (404, "workspace_not_found")),
        (staff.other_admin, (404, "workspace_not_found")),
    ):
        assert await person.refused("POST", at, new) == refusal
    for body in ({**new, "to_step": "understanding_request"}, {**new, "to_step": "Asking back?"}, {"workflow": "x"}):
        assert await staff.admin.refused("POST", at, body) == (422, "invalid_body")
    status, added = await staff.admin.ask("POST", at, new)
    assert (status, added["created"], added["built_in"]) == (201, True, False)
    assert (await staff.admin.ask("POST", at, new))[0] == 200
    shown = await staff.agent.done("GET", at)
    assert [item["to_step"] for item in shown["items"] if not item["built_in"]] == ["asking_back"]
    assert sum(item["built_in"] for item in shown["items"]) == 10
    assert await staff.stranger.refused("GET", at) == (404, "workspace_not_found")
    for step in ("understanding_request", "asking_back"):
        await staff.owner.done("PATCH", f"/chat-sessions/{session_id}/workflow", {"step": step})
    built_in = next(item["id"] for item in shown["items"] if item["built_in"])
    assert await staff.admin.refused("DELETE", f"{at}/{built_in}") == (404, "transition_not_found")
    assert await staff.agent.refused("DELETE", f"{at}/{added['id']}") == (403, "forbidden")
    await staff.admin.done("DELETE", f"{at}/{added['id']}")
    stands = await staff.owner.done("GET", f"/chat-sessions/{session_id}")
    assert stands["workflow_step"] == "asking_back"


async def test_sessions_are_filtered_by_where_they_stand(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff
) -> None:
    people = [Person(client, uuid4(), "", None) for _ in range(4)]
    made = []
    for number, person in enumerate(people):
        answer = await person.done("POST", f"/space/{workspace.space_id}/register", {"email": f"f{number}@example.com"})
        made.append(answer["session"]["id"])
    await asyncio.gather(
        staff.owner.done("PATCH", f"/chat-sessions/{made[0]}/workflow", {"step": "understanding_request"}),
        staff.owner.done("PUT", f"/chat-sessions/{made[1]}/quotes/acme", {"status": "received"}),
        staff.owner.done("PUT", f"/chat-sessions/{made[2]}/tags", {"tags": ["VIP"]}),
        workspace.database.execute(
            "update public.sessions set taken_over_by = $1, taken_over_at = now() where id = $2",
            staff.owner.id,
            made[3],
        ),
    )
    for query, expected in (
        ("step=Understanding_Request", [made[0]]),
        ("workflow=CHARTER&status=ACTIVE", [made[0]]),
        ("step=proposal_ready", []),
        ("has_quote=true", [made[1]]),
        ("tag=%20Vip", [made[2]]),
        ("tag=vip&has_quote=true", []),
        ("taken_over=true", [made[3]]),
        (f"workspace_id={ONE}&tag=vip", []),
    ):
        found = await staff.owner.done("GET", f"/chat-sessions?{query}")
        assert [item["id"] for item in found["items"]] == expected, query
    without = {item["id"] for item in (await staff.owner.done("GET", "/chat-sessions?has_quote=false"))["items"]}
    assert set(made) - without == {made[1]}
    (taken,) = (await staff.owner.done("GET", "/chat-sessions?taken_over=true"))["items"]
    assert (taken["taken_over"], taken["taken_over_by"]) == (True, str(staff.owner.id))
    (tagged,) = (await staff.owner.done("GET", "/chat-sessions?tag=vip"))["items"]
    assert tagged["tags"] == ["vip"]
    # Nobody is told of another workspace's.
    for person in (staff.stranger, staff.other_admin, staff.agent):
        for query in ("tag=vip", "has_quote=true", "step=understanding_request", "taken_over=true"):
            assert (await person.done("GET", f"/chat-sessions?{query}"))["items"] == []
