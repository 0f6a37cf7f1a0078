"""Sessions move along their workflow and carry a request, quotes and a proposal.

Steps, quotes and proposals in any order are test_workflow_lifecycle's; the access matrix has the callers.
"""

import asyncio
from typing import Any

import pytest

from tests.database.desk import (
    JSON,
    PERSONA,
    WORKSPACE,
    Answer,
    Desk,
    managing,
    on_behalf,
    own_token,
    refusal,
    with_token,
)

STEPS = ("understanding_request", "searching_aircraft", "requesting_quotes", "proposal_ready")

ALLOWED = {
    None: ["understanding_request"],
    "understanding_request": ["requesting_quotes", "searching_aircraft"],
    "searching_aircraft": ["requesting_quotes", "understanding_request"],
    "requesting_quotes": ["proposal_ready", "searching_aircraft", "understanding_request"],
    "proposal_ready": ["requesting_quotes", "searching_aircraft", "understanding_request"],
}


async def work(desk: Desk, caller: JSON, session_id: str, **changes: Any) -> Answer:
    return await desk.call("update_chat_session_workflow", on_behalf(caller), session_id=session_id, changes=changes)


async def trip(desk: Desk, caller: JSON, session_id: str, **info: Any) -> Answer:
    return await desk.call("update_chat_session_with_trip_info", on_behalf(caller), session_id=session_id, trip=info)


async def quote(desk: Desk, caller: JSON, session_id: str, key: str, **news: Any) -> Answer:
    arguments = {"session_id": session_id, "operator_key": key, "quote": news}
    return await desk.call("update_chat_session_with_quote", on_behalf(caller), **arguments)


async def propose(desk: Desk, caller: JSON, session_id: str, **news: Any) -> Answer:
    return await desk.call("update_chat_session_with_proposal", on_behalf(caller), session_id=session_id, proposal=news)


async def note_activity(desk: Desk, caller: JSON, session_id: str) -> Answer:
    return await desk.call("update_chat_session_activity", on_behalf(caller), session_id=session_id)


async def extend(desk: Desk, caller: JSON, workflow: str, from_step: str | None, to_step: str) -> Answer:
    transition = {"workflow": workflow, "from_step": from_step, "to_step": to_step}
    arguments = {"workspace_id": WORKSPACE, "transition": transition}
    return await desk.call("add_workflow_transition", managing(caller), **arguments)


async def logged(desk: Desk, session_id: str) -> list[tuple[Any, ...]]:
    return await desk.all(
        "select workflow, from_step, to_step from public.workflow_steps where session_id = $1 order by created_at, id",
        session_id,
    )


async def started(desk: Desk, step: str | None = None) -> tuple[JSON, str]:
    """An owner, and a contact's session at a step."""
    boss, ann = await desk.member("owner"), await desk.register("ann@example.test")
    for passed in STEPS[: STEPS.index(step) + 1] if step else ():
        assert (await work(desk, boss, ann["session_id"], step=passed))["changed"] is True
    return boss, ann["session_id"]


async def test_the_built_in_transitions(desk: Desk) -> None:
    built_in = await desk.all("select from_step, to_step from public.workflow_transitions where workspace_id is null")
    assert set(built_in) == {(present, step) for present, allowed in ALLOWED.items() for step in allowed}


async def test_a_workspace_adds_steps_and_workflows_that_no_other_workspace_has(desk: Desk) -> None:
    boss, session_id = await started(desk)
    other_workspace, space = await desk.open_workspace()
    elsewhere = await desk.member("owner", other_workspace)
    theirs = (await desk.register("ann@example.test", space=space))["session_id"]
    first, again = [await extend(desk, boss, "charter", "understanding_request", "asking_back") for _ in range(2)]
    assert (first["created"], again["created"], first["id"]) == (True, False, again["id"])
    assert (await extend(desk, boss, "charter", None, "understanding_request"))["built_in"] is True
    await extend(desk, boss, "refund", None, "asked")
    await extend(desk, boss, "refund", "asked", "paid")

    await work(desk, boss, session_id, step="understanding_request")
    refused_step = await work(desk, boss, session_id, step="proposal_ready")
    assert refused_step["allowed_steps"] == ["asking_back", "requesting_quotes", "searching_aircraft"]
    assert (await work(desk, boss, session_id, step="asking_back"))["workflow_step"] == "asking_back"
    # Another workflow begins at its first step, which need not be named where there is one only.
    assert (await work(desk, boss, session_id, workflow="refund", step="paid"))["allowed_steps"] == ["asked"]
    for changed in (True, False):
        begun = await work(desk, boss, session_id, workflow="refund")
        assert (begun["workflow"], begun["workflow_step"], begun["changed"]) == ("refund", "asked", changed)
    assert (await work(desk, boss, session_id, step="paid"))["workflow_step"] == "paid"
    assert (await logged(desk, session_id))[-2:] == [("refund", None, "asked"), ("refund", "asked", "paid")]
    for caller, where, workflow in ((boss, session_id, "unknown"), (elsewhere, theirs, "refund")):
        refused = await refusal(work(desk, caller, where, workflow=workflow, step="asked"))
        assert refused == (404, "workflow_not_found")

    await desk.admin.execute("update public.sessions set workflow = null, workflow_step = null")
    arguments = {"workspace_id": WORKSPACE, "transition_id": first["id"]}
    assert (await desk.call("remove_workflow_transition", managing(boss), **arguments))["removed"] is True
    await work(desk, boss, session_id, step="understanding_request")
    assert (await work(desk, boss, session_id, step="asking_back")).status == 409


async def test_concurrent_steps_are_logged_one_after_the_other(desk: Desk) -> None:
    boss = await desk.member("owner")
    for number in range(10):
        session_id = (await desk.register(f"a{number}@example.test"))["session_id"]
        for step in STEPS[:2]:
            await work(desk, boss, session_id, step=step)
        wanted = ("requesting_quotes", "understanding_request", "requesting_quotes")
        answers = await asyncio.gather(*(work(desk, boss, session_id, step=step) for step in wanted))
        steps = await logged(desk, session_id)
        assert [step[1] for step in steps[1:]] == [step[2] for step in steps[:-1]]
        moved = [answer for answer in answers if answer.status == 200 and answer["changed"]]
        assert len(moved) == len(steps) - 2
        assert steps[-1][2] == (await desk.row("sessions", session_id))["workflow_step"]
        assert {answer["workflow_step"] for answer in answers if answer.status == 409} <= set(wanted)


@pytest.mark.parametrize("status", ["completed", "failed", "timeout", "cancelled", "archived"])
async def test_a_finished_session_does_not_move(desk: Desk, status: str) -> None:
    boss, session_id = await started(desk, "understanding_request")
    await desk.end_session(session_id, status)
    before = await desk.row("sessions", session_id)
    for attempt in (
        note_activity(desk, boss, session_id),
        work(desk, boss, session_id, step="searching_aircraft"),
        trip(desk, boss, session_id, origin="LSZH"),
        propose(desk, boss, session_id, status="draft"),
    ):
        answer = await attempt
        assert (answer.status, answer["code"], answer["session_status"]) == (409, "transition_not_allowed", status)
    assert (await work(desk, boss, session_id, step="understanding_request"))["changed"] is False
    assert await desk.row("sessions", session_id) == before


async def test_a_step_its_state_and_its_trip_are_stored_together_or_not_at_all(desk: Desk) -> None:
    boss, session_id = await started(desk)
    refs = [{"system": "avinode", "kind": "trip", "external_id": "atrip-1"}]
    info = {"origin": "LSZH", "destination": "EGGW", "passengers": 4, "refs": refs}
    state = {"budget": 20_000, "pets": True}
    done = await trip(desk, boss, session_id, step=STEPS[0], workflow_state=state, **info)
    assert done["workflow_state"] == state
    assert (done["request"]["origin"], done["request"]["passengers"]) == ("LSZH", 4)
    assert [ref["external_id"] for ref in done["refs"]] == ["atrip-1"]
    refused = {"workflow_state": {"budget": 1}, "trip": {"origin": "LFPB", "refs": []}}
    assert (await work(desk, boss, session_id, step="proposal_ready", **refused)).status == 409
    kept = await work(desk, boss, session_id, workflow_state={"pets": None, "luggage": 6})
    assert kept["workflow_state"] == {"budget": 20_000, "luggage": 6}
    assert kept["request"]["origin"] == "LSZH"
    again = await trip(desk, boss, session_id, passengers=None, refs=refs)
    assert (again["request"]["passengers"], again["request"]["destination"], len(again["refs"])) == (None, "EGGW", 1)
    assert (await trip(desk, boss, session_id, refs=refs))["changed"] is False
    large = work(desk, boss, session_id, workflow_state={"notes": "x" * 65_536})
    assert await refusal(large) == (422, "invalid_body")
    for moment in ("10000-01-01T00:00:00Z", "0001-12-31T00:00:00Z BC", "infinity"):
        assert "requests_departs_at" in (await refusal(trip(desk, boss, session_id, departs_at=moment)))[1]


async def test_noted_activity_resets_the_idle_clock_and_work_does_not(desk: Desk) -> None:
    boss, session_id = await started(desk)
    await desk.change(boss, session_id, "pause")
    age = "update public.sessions set last_activity_at = now() - interval '2 days'"
    recent = "last_activity_at > now() - interval '1 minute'"
    await desk.admin.execute(age)
    answer = await note_activity(desk, boss, session_id)
    # It is no message of the contact, and so resumes nothing.
    assert (answer.status, answer["status"], answer["changed"]) == (200, "paused", True)
    assert await desk.count("sessions", recent) == 1
    await desk.admin.execute(age)
    await work(desk, boss, session_id, step="understanding_request")
    await quote(desk, boss, session_id, "acme", status="received")
    assert await desk.count("sessions", recent) == 0


async def test_one_call_starts_or_continues_a_session_and_moves_it(desk: Desk) -> None:
    boss, session_id = await started(desk)
    await desk.end_session(session_id, "completed")
    contact_id = (await desk.row("sessions", session_id))["contact_id"]

    async def wanted(changes: JSON) -> Answer:
        arguments = {"changes": changes, "contact_id": contact_id, "persona_id": PERSONA}
        return await desk.call("create_or_update_chat_session", on_behalf(boss), **arguments)

    refused = await wanted({"step": "proposal_ready"})
    assert (refused.status, refused["code"], "session_id" in refused.body) == (409, "step_not_allowed", False)
    assert await desk.count("sessions") == 1
    first = await wanted({"step": "understanding_request", "trip": {"origin": "LSZH", "refs": []}})
    again = await wanted({"trip": {"destination": "EGGW", "refs": []}})
    assert (first["created"], again["created"], again["session_id"]) == (True, False, first["session_id"])
    assert (again["request"]["origin"], again["request"]["destination"]) == ("LSZH", "EGGW")
    assert again["request"]["id"] == first["request"]["id"]
    refused = await wanted({"step": "proposal_ready"})
    assert (refused.status, refused["session_id"]) == (409, first["session_id"])


async def test_a_conversation_names_the_session_and_a_status_ends_it_once(desk: Desk) -> None:
    boss, session_id = await started(desk)
    conversation_id = (await desk.row("sessions", session_id))["conversation_id"]

    async def wanted(**changes: Any) -> Answer:
        arguments = {"changes": changes, "conversation_id": conversation_id}
        return await desk.call("create_or_update_chat_session", on_behalf(boss), **arguments)

    first = await wanted(step=STEPS[0], workflow_state={"budget": 1}, subject="To Luton", status="paused")
    assert (first["session_id"], first["created"], first["status"]) == (session_id, False, "paused")
    assert (first["workflow_step"], first["workflow_state"], first["subject"]) == (STEPS[0], {"budget": 1}, "To Luton")
    for changed in (True, False):
        ended = await wanted(status="completed", reason="Sold")
        assert (ended["session_id"], ended["status"], ended["changed"]) == (session_id, "completed", changed)
    refused = await wanted(status="cancelled")
    assert (refused.status, refused["code"], refused["session_status"]) == (409, "transition_not_allowed", "completed")
    again = await wanted(status="active")
    assert (again["created"], again["status"], again["conversation_id"]) == (True, "active", conversation_id)
    # A running answer is stopped first; what was changed with the status stays.
    contact = {"contact_id": (await desk.row("sessions", session_id))["contact_id"], "persona_id": PERSONA}
    turn = await desk.start(with_token(await desk.register("bob@example.test")))
    arguments = {"changes": {"status": "completed", "step": STEPS[0]}, "conversation_id": turn["conversation_id"]}
    waiting = await desk.call("create_or_update_chat_session", on_behalf(boss), **arguments)
    assert (waiting.status, waiting["stopping"], waiting["first"]) == (409, True, True)
    await desk.finish(turn, "cancelled")
    done = await desk.call("create_or_update_chat_session", on_behalf(boss), **arguments)
    assert (done["status"], done["workflow_step"], done["changed"]) == ("completed", STEPS[0], True)
    # No session starts to be ended.
    await wanted(status="completed")
    before = await desk.count("sessions")
    arguments = {"changes": {"status": "completed"}, **contact}
    refused_end = await desk.refused("create_or_update_chat_session", on_behalf(boss), **arguments)
    assert (refused_end, await desk.count("sessions")) == ((404, "session_not_found"), before)


async def test_a_sent_proposal_moves_the_session_to_its_step_and_may_complete_it(desk: Desk) -> None:
    boss, session_id = await started(desk, "understanding_request")
    assert (await propose(desk, boss, session_id, status="draft"))["workflow_step"] == "understanding_request"
    sent = await propose(desk, boss, session_id, status="sent", text="We offer this.", amount=1500, currency="EUR")
    assert (sent["workflow_step"], sent["status"]) == ("proposal_ready", "active")
    assert (sent["proposal"]["text"], sent["proposal"]["amount"]) == ("We offer this.", 1500)
    assert (await logged(desk, session_id))[-1] == ("charter", "understanding_request", "proposal_ready")
    for changed in (True, False):
        done = await propose(desk, boss, session_id, status="sent", complete=True)
        assert (done["status"], done["changed"]) == ("completed", changed)
    # A workflow without this step stays where it is.
    await extend(desk, boss, "refund", None, "asked")
    other = (await desk.register("bob@example.test"))["session_id"]
    await work(desk, boss, other, workflow="refund")
    assert (await propose(desk, boss, other, status="sent"))["workflow_step"] == "asked"


async def test_a_later_session_takes_up_a_request_of_its_own_contact_only(desk: Desk) -> None:
    boss, agent = await desk.member("owner"), await desk.member("agent")
    ann, bob = await desk.register("ann@example.test"), await desk.register("bob@example.test")
    request = (await trip(desk, boss, ann["session_id"], origin="LSZH"))["request"]["id"]
    await quote(desk, boss, ann["session_id"], "acme", status="received", amount=100, currency="EUR")
    await desk.end_session(ann["session_id"], "completed")
    later = (await desk.start(with_token(ann), "Back again"))["session_id"]
    await desk.assign(boss, later, agent)
    # Nor does an agent take up the request of a session that is not theirs.
    for caller, asking in ((boss, bob["session_id"]), (agent, later)):
        refused = await refusal(trip(desk, caller, asking, request_id=request))
        assert refused == (404, "request_not_found")
    ref = {"system": "avinode", "kind": "trip", "external_id": "atrip-1"}
    await trip(desk, boss, bob["session_id"], refs=[ref])
    await desk.admin.execute(
        "insert into public.session_refs (workspace_id, session_id, system, kind, external_id)"
        " values ($1, $2, 'avinode', 'rfp', 'arfp-1')", WORKSPACE, ann["session_id"],
    )  # fmt: skip
    taken_up = await trip(desk, boss, later, request_id=request, refs=[ref])
    # Both sessions are found by all ids of the request, and lose one together.
    ids = "select external_id from public.session_refs where session_id = $1 order by 1"
    for session_id in (ann["session_id"], later):
        assert await desk.all(ids, session_id) == [("arfp-1",), ("atrip-1",)]
    removed = next(each["id"] for each in taken_up["refs"] if each["external_id"] == "atrip-1")
    await desk.call("remove_chat_session_ref", on_behalf(boss), session_id=later, ref_id=removed)
    counts = [len(await desk.all(ids, each)) for each in (ann["session_id"], later, bob["session_id"])]
    assert counts == [1, 1, 1]
    assert (taken_up["request"]["origin"], taken_up["primary_quote"]["operator"]) == ("LSZH", "acme")
    assert taken_up["quote_counts"]["received"] == 1
    (found,) = await desk.sessions(own_token(agent), "s.request_id = $1", request)
    assert (found["id"], found["primary_quote"]["operator"]) == (later, "acme")
    # A quote for the finished session is the live one's, and so not late.
    await quote(desk, boss, ann["session_id"], "acme", status="withdrawn")
    await quote(desk, boss, ann["session_id"], "jets", status="received")
    both = await desk.all(
        "select q.operator_key, q.late from public.sessions s join public.quotes q on q.id = s.primary_quote_id "
        "where s.request_id = $1",
        request,
    )
    assert both == [("jets", False)] * 2
    assert (await desk.one("select session_id::text from public.quotes where operator_key = 'jets'"))[0] == later


async def test_a_session_without_proof_takes_up_no_request_of_another_conversation(desk: Desk) -> None:
    await desk.believe_hmacs()
    boss, proven = await desk.member("owner"), await desk.prove("ann@example.test")
    typed, again = [await desk.register("ann@example.test") for _ in range(2)]
    arrivals = (proven, typed, again)
    assert len({arrived["contact_id"] for arrived in arrivals}) == 1
    secret, own = [
        (await trip(desk, boss, arrived["session_id"], origin="LSZH"))["request"]["id"] for arrived in (proven, typed)
    ]

    async def read(arrived: Answer) -> str | None:
        (session,) = await desk.sessions(own_token(with_token(arrived)["caller"]))
        return session["request"] and str(session["request"]["id"])

    for arrived, request in ((typed, secret), (again, secret), (again, own)):
        refused = await trip(desk, boss, arrived["session_id"], request_id=request)
        assert (refused.status, refused["code"], refused["session_id"]) == (
            409, "proof_required", arrived["session_id"],
        )  # fmt: skip
    assert [await read(arrived) for arrived in arrivals] == [secret, own, None]
    # A person with proof continues what was begun without; the person without reads no more of it.
    assert (await trip(desk, boss, proven["session_id"], request_id=own))["request"]["id"] == own
    assert [await read(arrived) for arrived in arrivals] == [own, None, None]
    refused = await propose(desk, boss, typed["session_id"], status="sent")
    assert (refused.status, refused["code"]) == (409, "proof_required")


async def test_a_proposal_names_its_quote_and_keeps_its_id(desk: Desk) -> None:
    boss, session_id = await started(desk)
    await quote(desk, boss, session_id, "acme", status="received", amount="12000.50", currency="EUR")
    early = await propose(desk, boss, session_id, status="accepted")
    assert early["allowed"] == ["draft", "sent"]
    draft = await propose(desk, boss, session_id, title="Zurich to Luton")
    assert (draft["proposal"]["status"], draft["proposal"]["title"]) == ("draft", "Zurich to Luton")
    assert draft["proposal"]["quote_id"] == draft["primary_quote"]["id"]
    sent = await propose(desk, boss, session_id, status="sent")
    assert (sent["proposal"]["id"], sent["proposal"]["status"]) == (draft["proposal"]["id"], "sent")
    assert await refusal(propose(desk, boss, session_id, quote_id=session_id)) == (404, "quote_not_found")
    # A finished session takes the answer to its proposal.
    await desk.end_session(session_id, "completed")
    assert (await propose(desk, boss, session_id, status="declined"))["proposal"]["status"] == "declined"
