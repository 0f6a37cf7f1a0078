"""Sessions move along their workflow, step by step, and learn what they are about; by members who work on them."""

import asyncio
from typing import Any

import pytest

from tests.database.desk import JSON, PERSONA, WORKSPACE, Answer, Desk, Raised, member, on_behalf, own_token, with_token
from tests.database.test_sessions_states import change

STEPS = ("understanding_request", "searching_aircraft", "requesting_quotes", "proposal_ready")

ALLOWED = {
    None: ["understanding_request"],
    "understanding_request": ["searching_aircraft"],
    "searching_aircraft": ["requesting_quotes", "understanding_request"],
    "requesting_quotes": ["proposal_ready", "searching_aircraft", "understanding_request"],
    "proposal_ready": ["requesting_quotes", "searching_aircraft", "understanding_request"],
}


async def work(desk: Desk, caller: JSON, session_id: str, **changes: Any) -> Answer:
    return await desk.call("update_chat_session_workflow", on_behalf(caller), session_id=session_id, changes=changes)


async def trip(desk: Desk, caller: JSON, session_id: str, **info: Any) -> Answer:
    return await desk.call("update_chat_session_with_trip_info", on_behalf(caller), session_id=session_id, trip=info)


async def quote(desk: Desk, caller: JSON, session_id: str, key: str, **news: Any) -> Answer:
    return await desk.call(
        "update_chat_session_with_quote",
        on_behalf(caller),
        session_id=session_id,
        operator_key=key,
        quote=news,
    )


async def propose(desk: Desk, caller: JSON, session_id: str, **news: Any) -> Answer:
    return await desk.call("update_chat_session_with_proposal", on_behalf(caller), session_id=session_id, proposal=news)


async def extend(desk: Desk, caller: JSON, workflow: str, from_step: str | None, to_step: str) -> Answer:
    managing = {**on_behalf(caller), "scope": {"management": True}}
    transition = {"workflow": workflow, "from_step": from_step, "to_step": to_step}
    return await desk.call("add_workflow_transition", managing, workspace_id=WORKSPACE, transition=transition)


async def end(desk: Desk, session_id: str, status: str) -> None:
    """As if the session had come to this end."""
    await desk.admin.execute(
        "update public.sessions set status = $2::text::public.session_status, ended_at = now(), "
        "archived_at = case when $2 = 'archived' then now() end, "
        "status_before_archive = case when $2 = 'archived' then 'completed'::public.session_status end where id = $1",
        session_id,
        status,
    )


async def logged(desk: Desk, session_id: str) -> list[tuple[str, str | None, str]]:
    rows = await desk.admin.fetch(
        "select workflow, from_step, to_step from public.workflow_steps where session_id = $1 order by created_at, id",
        session_id,
    )
    return [(row["workflow"], row["from_step"], row["to_step"]) for row in rows]


async def test_every_step_leads_to_the_allowed_ones_and_no_further(desk: Desk) -> None:
    boss = await member(desk, "owner")
    for position, (present, allowed) in enumerate(ALLOWED.items()):
        for wanted in STEPS:
            session_id = (await desk.register(f"{position}.{wanted}@example.test"))["session_id"]
            for step in STEPS[:position]:
                assert (await work(desk, boss, session_id, step=step))["workflow_step"] == step
            before = await logged(desk, session_id)
            answer = await work(desk, boss, session_id, step=wanted)
            if wanted == present:
                assert (answer.status, answer["workflow_step"], answer["changed"]) == (200, wanted, False)
                assert await logged(desk, session_id) == before
            elif wanted in allowed:
                assert (answer.status, answer["workflow_step"], answer["changed"]) == (200, wanted, True)
                assert await logged(desk, session_id) == [*before, ("charter", present, wanted)]
            else:
                assert (answer.status, answer["code"]) == (409, "step_not_allowed")
                assert (answer["workflow"], answer["workflow_step"], answer["allowed_steps"]) == (
                    "charter",
                    present,
                    allowed,
                )
                assert await logged(desk, session_id) == before


async def test_a_workspace_adds_steps_and_workflows_of_its_own_and_no_other_has_them(desk: Desk) -> None:
    boss, agent = await member(desk, "admin"), await member(desk, "agent")
    other_workspace, _ = await desk.open_workspace()
    elsewhere = await member(desk, "owner", other_workspace)
    session_id = (await desk.register("ann@example.test"))["session_id"]
    for caller, status in ((agent, 403), (elsewhere, 404)):
        with pytest.raises(Raised) as refused:
            await extend(desk, caller, "charter", "understanding_request", "asking_back")
        assert refused.value.status == status
    first = await extend(desk, boss, "charter", "understanding_request", "asking_back")
    again = await extend(desk, boss, "charter", "understanding_request", "asking_back")
    assert (first["created"], again["created"], first["id"]) == (True, False, again["id"])
    assert (await extend(desk, boss, "charter", None, "understanding_request"))["built_in"] is True
    await extend(desk, boss, "refund", None, "asked")
    await extend(desk, boss, "refund", "asked", "paid")

    await work(desk, boss, session_id, step="understanding_request")
    refused_step = await work(desk, boss, session_id, step="proposal_ready")
    assert refused_step["allowed_steps"] == ["asking_back", "searching_aircraft"]
    assert (await work(desk, boss, session_id, step="asking_back"))["workflow_step"] == "asking_back"
    # Its only beginning need not be named; another workflow begins from its beginning.
    assert (await work(desk, boss, session_id, workflow="refund", step="paid"))["allowed_steps"] == ["asked"]
    begun = await work(desk, boss, session_id, workflow="refund")
    assert (begun["workflow"], begun["workflow_step"]) == ("refund", "asked")
    assert (await work(desk, boss, session_id, workflow="refund"))["changed"] is False
    assert (await work(desk, boss, session_id, step="paid"))["workflow_step"] == "paid"
    assert (await logged(desk, session_id))[-2:] == [("refund", None, "asked"), ("refund", "asked", "paid")]
    with pytest.raises(Raised) as nothing:
        await work(desk, boss, session_id, workflow="unheard_of", step="asked")
    assert (nothing.value.status, nothing.value.code) == (404, "workflow_not_found")

    # In the other workspace nobody heard of either.
    await desk.admin.execute(
        "update public.sessions set workflow = null, workflow_step = null where id = $1", session_id
    )
    theirs = await _session_in(desk, other_workspace)
    with pytest.raises(Raised) as nothing:
        await work(desk, elsewhere, theirs, workflow="refund", step="asked")
    assert nothing.value.code == "workflow_not_found"

    gone = await desk.call(
        "remove_workflow_transition",
        {**on_behalf(boss), "scope": {"management": True}},
        workspace_id=WORKSPACE,
        transition_id=first["id"],
    )
    assert gone["removed"] is True
    await work(desk, boss, session_id, step="understanding_request")
    assert (await work(desk, boss, session_id, step="asking_back")).status == 409


async def _session_in(desk: Desk, workspace: str) -> str:
    return str(
        await desk.admin.fetchval(
            "with c as (insert into public.conversations (workspace_id, user_id, persona_id, thread_key) "
            "select workspace_id, $2, id, 'main' from public.personas where workspace_id = $1 returning *) "
            "insert into public.sessions (workspace_id, conversation_id, user_id, persona_id) "
            "select workspace_id, id, user_id, persona_id from c returning id",
            workspace,
            await desk.sign_up(None),
        )
    )


async def test_of_two_who_move_a_session_at_once_one_comes_first_and_the_log_says_so(desk: Desk) -> None:
    boss = await member(desk, "owner")
    for number in range(10):
        session_id = (await desk.register(f"a{number}@example.test"))["session_id"]
        for step in STEPS[:2]:
            await work(desk, boss, session_id, step=step)
        answers = await asyncio.gather(
            work(desk, boss, session_id, step="requesting_quotes"),
            work(desk, boss, session_id, step="understanding_request"),
            work(desk, boss, session_id, step="requesting_quotes"),
        )
        steps = await logged(desk, session_id)
        # Whoever came second moved on from where the first had brought it, or was told so.
        assert [step[1] for step in steps[1:]] == [step[2] for step in steps[:-1]]
        moved = [answer for answer in answers if answer.status == 200 and answer["changed"]]
        assert len(moved) == len(steps) - 2
        assert steps[-1][2] == await desk.admin.fetchval(
            "select workflow_step from public.sessions where id = $1", session_id
        )
        for answer in answers:
            if answer.status == 409:
                assert answer["workflow_step"] in {"requesting_quotes", "understanding_request"}


@pytest.mark.parametrize("status", ["completed", "failed", "timeout", "cancelled", "archived"])
async def test_a_session_that_is_over_moves_no_more_and_says_how_it_stands(desk: Desk, status: str) -> None:
    boss = await member(desk, "owner")
    session_id = (await desk.register("ann@example.test"))["session_id"]
    await work(desk, boss, session_id, step="understanding_request")
    await end(desk, session_id, status)
    before = await desk.admin.fetchrow("select s::text from public.sessions s where id = $1", session_id)
    activity = await desk.call("update_chat_session_activity", on_behalf(boss), session_id=session_id)
    for answer in (
        activity,
        await work(desk, boss, session_id, step="searching_aircraft"),
        await trip(desk, boss, session_id, origin="LSZH"),
        await propose(desk, boss, session_id, status="draft"),
    ):
        assert (answer.status, answer["code"], answer["session_status"]) == (409, "transition_not_allowed", status)
    # Where it stands is no change.
    assert (await work(desk, boss, session_id, step="understanding_request"))["changed"] is False
    assert await desk.admin.fetchrow("select s::text from public.sessions s where id = $1", session_id) == before


async def test_what_belongs_together_is_done_together_or_not_at_all(desk: Desk) -> None:
    boss = await member(desk, "owner")
    session_id = (await desk.register("ann@example.test"))["session_id"]
    refs = [{"system": "avinode", "kind": "trip", "external_id": "atrip-1"}]
    done = await work(
        desk,
        boss,
        session_id,
        step="understanding_request",
        workflow_state={"budget": 20_000, "pets": True},
        trip={"origin": "LSZH", "destination": "EGGW", "passengers": 4, "refs": refs},
    )
    assert done["workflow_state"] == {"budget": 20_000, "pets": True}
    assert (done["request"]["origin"], done["request"]["passengers"]) == ("LSZH", 4)
    assert [ref["external_id"] for ref in done["refs"]] == ["atrip-1"]
    refused = await work(
        desk,
        boss,
        session_id,
        step="proposal_ready",
        workflow_state={"budget": 1},
        trip={"origin": "LFPB", "refs": []},
    )
    assert refused.status == 409
    kept = await work(desk, boss, session_id, workflow_state={"pets": None, "luggage": 6})
    assert kept["workflow_state"] == {"budget": 20_000, "luggage": 6}
    assert kept["request"]["origin"] == "LSZH"
    again = await trip(desk, boss, session_id, passengers=None, refs=refs)
    assert (again["request"]["passengers"], again["request"]["destination"], len(again["refs"])) == (None, "EGGW", 1)
    assert (await trip(desk, boss, session_id, refs=refs))["changed"] is False
    with pytest.raises(Raised) as large:
        await work(desk, boss, session_id, workflow_state={"notes": "x" * 65_536})
    assert (large.value.status, large.value.code) == (422, "invalid_body")


async def test_only_members_who_work_on_a_session_move_it(desk: Desk) -> None:
    ann = with_token(await desk.register("ann@example.test"))
    session_id = str(await desk.admin.fetchval("select id from public.sessions"))
    agent, stranger = await member(desk, "agent"), {"kind": "user", "user_id": await desk.sign_up(None)}
    other_workspace, _ = await desk.open_workspace()
    elsewhere = await member(desk, "owner", other_workspace)

    async def tried(caller: JSON) -> tuple[set[int | None], set[str]]:
        refusals = []
        for attempt in (
            work(desk, caller, session_id, step="understanding_request"),
            trip(desk, caller, session_id, origin="LSZH"),
            quote(desk, caller, session_id, "acme", status="received"),
            propose(desk, caller, session_id, status="draft"),
            desk.call("update_chat_session_activity", on_behalf(caller), session_id=session_id),
            desk.call("remove_chat_session_ref", on_behalf(caller), session_id=session_id, ref_id=session_id),
        ):
            with pytest.raises(Raised) as refused:
                await attempt
            refusals.append(refused.value)
        return {refusal.status for refusal in refusals}, {refusal.code for refusal in refusals}

    assert await tried(ann["caller"]) == ({403}, {"forbidden"})
    for caller in (agent, stranger, elsewhere):
        assert await tried(caller) == ({404}, {"session_not_found"})
    await desk.admin.execute("update public.sessions set assigned_user_id = $1", agent["user_id"])
    assert (await work(desk, agent, session_id, step="understanding_request"))["changed"] is True
    assert await desk.count("quotes") == 0


async def test_activity_resets_the_idle_clock_and_nothing_else(desk: Desk) -> None:
    boss = await member(desk, "owner")
    session_id = (await desk.register("ann@example.test"))["session_id"]
    await change(desk, boss, session_id, "pause")
    await desk.admin.execute("update public.sessions set last_activity_at = now() - interval '2 days'")
    answer = await desk.call("update_chat_session_activity", on_behalf(boss), session_id=session_id)
    # Something came in, but no message of the contact's: it stays paused.
    assert (answer.status, answer["status"], answer["changed"]) == (200, "paused", True)
    assert await desk.count("sessions", "last_activity_at > now() - interval '1 minute'") == 1
    # A step of the workflow is nothing that came in.
    await desk.admin.execute("update public.sessions set last_activity_at = now() - interval '2 days'")
    await work(desk, boss, session_id, step="understanding_request")
    await quote(desk, boss, session_id, "acme", status="received")
    assert await desk.count("sessions", "last_activity_at > now() - interval '1 minute'") == 0


async def test_a_session_is_started_or_gone_on_with_and_moved_in_one(desk: Desk) -> None:
    boss = await member(desk, "owner")
    contact_id = (await desk.register("ann@example.test"))["contact_id"]
    await desk.admin.execute("update public.sessions set status = 'completed', ended_at = now()")

    async def wanted(changes: JSON, caller: JSON = boss) -> Answer:
        return await desk.call(
            "create_or_update_chat_session",
            on_behalf(caller),
            changes=changes,
            contact_id=contact_id,
            persona_id=PERSONA,
        )

    refused = await wanted({"step": "proposal_ready"})
    assert (refused.status, refused["code"]) == (409, "step_not_allowed")
    assert "session_id" not in refused.body
    assert await desk.count("sessions") == 1
    first = await wanted({"step": "understanding_request", "trip": {"origin": "LSZH", "refs": []}})
    again = await wanted({"trip": {"destination": "EGGW", "refs": []}})
    assert (first["created"], again["created"]) == (True, False)
    assert first["session_id"] == again["session_id"]
    assert (again["request"]["origin"], again["request"]["destination"]) == ("LSZH", "EGGW")
    assert again["request"]["id"] == first["request"]["id"]
    refused = await wanted({"step": "proposal_ready"})
    assert (refused.status, refused["session_id"]) == (409, first["session_id"])
    with pytest.raises(Raised) as refusal:
        await wanted({}, await member(desk, "agent"))
    assert refusal.value.status == 403


async def test_a_later_session_goes_on_with_the_request_of_the_same_contact_and_of_nobody_else(desk: Desk) -> None:
    boss, agent = await member(desk, "owner"), await member(desk, "agent")
    ann, bob = await desk.register("ann@example.test"), await desk.register("bob@example.test")
    request = (await trip(desk, boss, ann["session_id"], origin="LSZH"))["request"]["id"]
    await quote(desk, boss, ann["session_id"], "acme", status="received", amount=100, currency="EUR")
    with pytest.raises(Raised) as refused:
        await trip(desk, boss, bob["session_id"], request_id=request)
    assert (refused.value.status, refused.value.code) == (404, "request_not_found")
    await end(desk, ann["session_id"], "completed")
    later = (await desk.start(with_token(ann), "Back again"))["session_id"]
    # An agent who looks after the later session only does not find the earlier one's request.
    await desk.admin.execute("update public.sessions set assigned_user_id = $1 where id = $2", agent["user_id"], later)
    with pytest.raises(Raised) as refused:
        await trip(desk, agent, later, request_id=request)
    assert refused.value.code == "request_not_found"
    taken_up = await trip(desk, boss, later, request_id=request)
    assert (taken_up["request"]["origin"], taken_up["primary_quote"]["operator"]) == ("LSZH", "acme")
    assert taken_up["quote_counts"]["received"] == 1
    # From then on the agent sees it, with all that comes of it.
    (found,) = await desk.sessions(own_token(agent), "s.request_id = $1", request)
    assert (found["id"], found["primary_quote"]["operator"]) == (later, "acme")
    # A quote for the earlier one, which is over, stands for the later one as well.
    await quote(desk, boss, ann["session_id"], "acme", status="withdrawn")
    await quote(desk, boss, ann["session_id"], "jets", status="received")
    both = await desk.admin.fetch(
        "select q.operator_key, q.late from public.sessions s join public.quotes q on q.id = s.primary_quote_id "
        "where s.request_id = $1",
        request,
    )
    assert [(row["operator_key"], row["late"]) for row in both] == [("jets", True)] * 2


async def test_a_proposal_is_made_once_and_anew_after_it_was_declined(desk: Desk) -> None:
    boss = await member(desk, "owner")
    session_id = (await desk.register("ann@example.test"))["session_id"]
    await quote(desk, boss, session_id, "acme", status="received", amount="12000.50", currency="EUR")
    early = await propose(desk, boss, session_id, status="accepted")
    assert (early.status, early["allowed"]) == (409, ["draft", "sent"])
    draft = await propose(desk, boss, session_id, title="Zurich to Luton")
    assert (draft["proposal"]["status"], draft["proposal"]["title"]) == ("draft", "Zurich to Luton")
    assert draft["proposal"]["quote_id"] == draft["primary_quote"]["id"]
    assert (await propose(desk, boss, session_id, status="accepted")).status == 409
    sent = await propose(desk, boss, session_id, status="sent")
    assert (sent["proposal"]["id"], sent["proposal"]["status"]) == (draft["proposal"]["id"], "sent")
    assert (await propose(desk, boss, session_id, status="sent"))["changed"] is False
    with pytest.raises(Raised) as refused:
        await propose(desk, boss, session_id, quote_id=session_id)
    assert (refused.value.status, refused.value.code) == (404, "quote_not_found")
    # The answer may come when the session is over; a new proposal is not made then.
    await end(desk, session_id, "completed")
    declined = await propose(desk, boss, session_id, status="declined")
    assert declined["proposal"]["status"] == "declined"
    assert (await propose(desk, boss, session_id, status="sent"))["session_status"] == "completed"
    await desk.admin.execute("update public.sessions set status = 'active', ended_at = null")
    another = await propose(desk, boss, session_id, status="sent")
    assert another["proposal"]["id"] != draft["proposal"]["id"]
    assert await desk.count("proposals") == 2


@pytest.mark.parametrize("moment", ["10000-01-01T00:00:00Z", "0001-12-31T00:00:00Z BC", "infinity"])
async def test_a_trip_departs_when_it_can_be_told(desk: Desk, moment: str) -> None:
    boss = await member(desk, "owner")
    session_id = (await desk.register("ann@example.test"))["session_id"]
    with pytest.raises(Raised) as refusal:
        await trip(desk, boss, session_id, departs_at=moment)
    assert "requests_departs_at" in refusal.value.code
