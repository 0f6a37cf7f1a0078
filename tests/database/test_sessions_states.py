"""Sessions are started without a message, paused, resumed, completed and cancelled: by which callers, and when.

The transitions beside everything else are test_sessions_lifecycle's; what other callers are refused is the access
matrix's.
"""

import asyncio
from typing import Any

import pytest

from tests.database.desk import (
    ANONYMOUS,
    JSON,
    PERSONA,
    SPACE,
    WORKSPACE,
    Answer,
    Desk,
    claims,
    member,
    on_a_turn,
    on_behalf,
    refusal,
    user,
    with_token,
)

WANTED = {"pause": "paused", "resume": "active", "complete": "completed", "cancel": "cancelled"}

FORBIDDEN, NO_SESSION = (403, "forbidden"), (404, "session_not_found")


async def change(desk: Desk, caller: JSON, session_id: str, verb: str) -> Answer:
    return await desk.call("change_session_status", on_behalf(caller), session_id=session_id, status=WANTED[verb])


async def start(desk: Desk, token: JSON, **more: Any) -> Answer:
    return await desk.call("start_session", token, **more)


async def audited(desk: Desk, session_id: str) -> list[tuple[Any, ...]]:
    query = "select verb, actor_id::text from public.audit_events where object_id = $1 order by created_at, id"
    return await desk.all(query, session_id)


async def new_contact(desk: Desk) -> str:
    (made,) = await desk.one("insert into public.contacts (workspace_id) values ($1) returning id::text", WORKSPACE)
    return str(made)


async def test_a_session_is_paused_resumed_and_completed_once_each(desk: Desk) -> None:
    boss, ann = await member(desk), await desk.register("ann@example.test")
    for verb in ("pause", "resume", "complete"):
        for changed in (True, False):
            answer = await change(desk, boss, ann["session_id"], verb)
            assert (answer.status, answer["status"], answer["changed"]) == (200, WANTED[verb], changed)
    verbs = [f"session.{done}" for done in ("paused", "resumed", "completed")]
    assert await audited(desk, ann["session_id"]) == [(verb, boss["user_id"]) for verb in verbs]
    assert await desk.count("sessions", "status = 'completed' and ended_at is not null") == 1


@pytest.mark.parametrize("status", ["completed", "failed", "timeout", "cancelled", "archived"])
async def test_a_terminal_state_is_final_and_named_in_the_refusal(desk: Desk, status: str) -> None:
    boss, ann = await member(desk, "owner"), await desk.register("ann@example.test")
    await desk.end_session(ann["session_id"], status)
    for verb, wanted in WANTED.items():
        answer = await change(desk, boss, ann["session_id"], verb)
        if wanted == status:
            assert (answer.status, answer["changed"]) == (200, False)
        else:
            assert (answer.status, answer["code"], answer["session_status"]) == (409, "transition_not_allowed", status)
    assert await audited(desk, ann["session_id"]) == []


async def test_an_agent_changes_assigned_sessions_and_a_contact_or_user_only_cancels_their_own(desk: Desk) -> None:
    agent, other = await member(desk, "agent"), await member(desk, "owner", (await desk.open_workspace())[0])
    ann, bob = await desk.register("ann@example.test"), await desk.arrive("bob")
    una = user(await desk.sign_up("una@example.test"), "una@example.test")
    hers = await desk.start(claims(una))
    await desk.finish(hers)
    for caller, session_id in ((with_token(ann)["caller"], ann["session_id"]), (una, hers["session_id"])):
        for verb in WANTED:
            for stranger in (agent, bob["caller"], other, {"kind": "system"}, ANONYMOUS):
                assert await refusal(change(desk, stranger, session_id, verb)) == NO_SESSION
            if verb != "cancel":
                assert await refusal(change(desk, caller, session_id, verb)) == FORBIDDEN
        assert (await change(desk, caller, session_id, "cancel"))["status"] == "cancelled"
    assigned = await desk.start(bob)
    assign = "update public.sessions set assigned_user_id = $1 where id = $2"
    await desk.admin.execute(assign, agent["user_id"], assigned["session_id"])
    assert (await change(desk, agent, assigned["session_id"], "pause"))["changed"] is True


@pytest.mark.parametrize("verb", ["complete", "cancel"])
async def test_ending_a_session_first_stops_its_answer_and_keeps_the_text(desk: Desk, verb: str) -> None:
    boss, ann = await member(desk), await desk.arrive()
    turn = await desk.start(ann)
    await desk.flush(turn, 0, "Well, ")

    waiting = await change(desk, boss, turn["session_id"], verb)

    ids = {name: turn[name] for name in ("turn_id", "session_id")}
    assert waiting.body == {"code": "turn_in_progress", "retry_after": 1, "stopping": True, **ids}
    assert waiting.status == 409
    told = await desk.call("flush_turn", on_a_turn(), turn_id=turn["turn_id"], position=6, piece="I")
    assert told["stop"] is True
    await desk.finish(turn, "cancelled", None)
    ended = await change(desk, boss, turn["session_id"], verb)
    assert (ended["status"], ended["changed"]) == (WANTED[verb], True)
    assert await desk.one("select text, partial from public.messages where role = 'persona'") == ("Well, I", True)
    # An expired turn is ended at once.
    expired = await desk.start(ann)
    await desk.let_lease_run_out(expired)
    await change(desk, boss, expired["session_id"], verb)
    assert (await desk.read(expired))["status"] == "timeout"
    assert await desk.count("sessions", "status in ('active', 'paused')") == 0


async def test_pausing_lets_the_answer_end_and_a_message_resumes_the_session(desk: Desk) -> None:
    boss, ann = await member(desk), await desk.arrive()
    turn = await desk.start(ann)
    assert (await change(desk, boss, turn["session_id"], "pause"))["changed"] is True
    assert (await desk.finish(turn))["status"] == "completed"
    assert await desk.count("sessions", "status = 'paused'") == 1
    assert (await desk.start(ann))["session_id"] == turn["session_id"]
    assert await audited(desk, turn["session_id"]) == [
        ("session.paused", boss["user_id"]),
        ("session.resumed", ann["caller"]["contact_id"]),
    ]


# Starting ------------------------------------------------------------------------------------------------------------


async def test_a_member_starts_a_session_for_a_contact(desk: Desk) -> None:
    agent, contact = await member(desk, "agent"), await new_contact(desk)
    await desk.admin.execute("update public.personas set enabled = false where id <> $1", PERSONA)

    async with Desk(desk.gate_url, desk.admin_url, connections=10) as crowd:
        started = await asyncio.gather(
            *(start(crowd, on_behalf(agent), contact_id=contact, context={"case": 7}) for _ in range(10))
        )
    first = next(each for each in started if each["created"])
    further = await start(desk, on_behalf(agent), contact_id=contact, thread_key="offer")

    assert (first["status"], first["contact_id"]) == ("active", contact)
    assert sorted(each["created"] for each in started) == [False] * 9 + [True]
    assert {each["session_id"] for each in started} == {first["session_id"]}
    row = await desk.row("sessions", first["session_id"])
    assert (str(row["assigned_user_id"]), row["metadata"]["context"]) == (agent["user_id"], {"case": 7})
    assert await audited(desk, first["session_id"]) == [("session.started", agent["user_id"])]
    assert further["conversation_id"] != first["conversation_id"]
    assert str((await desk.row("contacts", contact))["session_id"]) == first["session_id"]
    # The live session of another member is not an agent's.
    other = on_behalf(await member(desk, "agent"))
    assert await refusal(start(desk, other, contact_id=contact, persona_id=PERSONA)) == FORBIDDEN


async def test_a_contact_and_a_user_start_their_own_sessions(desk: Desk) -> None:
    ann = {**await desk.arrive(), "scope": {"workspace_id": WORKSPACE}}
    live = await start(desk, ann)
    assert live["created"] is False
    await change(desk, ann["caller"], live["session_id"], "cancel")
    new = await start(desk, ann)
    assert (new["created"], new["conversation_id"]) == (True, live["conversation_id"])
    una = claims(user(await desk.sign_up("una@example.test"), "una@example.test"))
    hers = await start(desk, una, space_id=SPACE)
    assert (hers["created"], hers["user_id"]) == (True, una["caller"]["user_id"])
    assert (await desk.start(una))["session_id"] == hers["session_id"]


async def test_a_session_is_not_started_with_foreign_ids_or_without_a_persona(desk: Desk) -> None:
    boss = on_behalf(await member(desk, "owner"))
    ann = {**await desk.arrive(), "scope": {"workspace_id": WORKSPACE}}
    hers = {"contact_id": ann["caller"]["contact_id"]}
    other_workspace, _ = await desk.open_workspace()
    foreign = "insert into public.contacts (workspace_id) values ($1) returning id::text"
    (other,) = await desk.one(foreign, other_workspace)
    before = await desk.everything()
    for token, asked, expected in (
        (boss, {"contact_id": other}, (404, "contact_not_found")),
        (ann, {"contact_id": other}, (404, "contact_not_found")),
        (ann, {"persona_id": other}, (404, "persona_not_found")),
        (ann, {"thread_key": "mine"}, (422, "thread_key_not_allowed")),
        (boss, {**hers, "thread_key": "arrival:x"}, (422, "thread_key_not_allowed")),
        (boss, {**hers, "persona_id": other}, (404, "persona_not_found")),
        (boss, {**hers, "space_id": other}, (404, "space_not_found")),
        (boss, hers, (422, "persona_required")),
        (claims(), {"space_id": SPACE}, FORBIDDEN),
    ):
        assert await refusal(start(desk, token, **asked)) == expected
    assert await desk.everything() == before
    assert (await start(desk, boss, **hers, persona_id=PERSONA)).status == 200


async def test_starting_and_cancelling_counts_at_the_limits(desk: Desk) -> None:
    ann = {**await desk.arrive(), "scope": {"workspace_id": WORKSPACE}}
    await desk.admin.execute("update public.workspaces set messages_per_minute_by_contact = 2")
    # The first start finds the registration's live session, which counts nothing.
    for _ in range(3):
        live = await start(desk, ann)
        await change(desk, ann["caller"], live["session_id"], "cancel")
    refused = await start(desk, ann)
    assert (refused.status, refused["code"], refused["limit"]) == (429, "rate_limited", "messages_by_contact")
    assert await desk.count("sessions", "status = 'active'") == 0
