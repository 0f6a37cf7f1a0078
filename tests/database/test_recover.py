"""A session that timed out or whose answer was interrupted resumes with its history.

Recovering beside everything else is test_sessions_lifecycle's.
"""

from typing import Any

import pytest

from tests.database.desk import JSON, PERSONA, Answer, Desk, member, on_behalf, refusal

HISTORY = [("My order is 7.", False), ("Noted.", False)]


async def recover(desk: Desk, caller: JSON, session_id: str) -> Answer:
    return await desk.call("recover_session", on_behalf(caller), session_id=session_id)


def said(answer: Answer) -> list[tuple[Any, ...]]:
    return [(message["text"], message["partial"]) for message in answer["messages"]]


async def answered(desk: Desk, ann: JSON) -> str:
    """A session with a message and its answer; its id."""
    turn = await desk.start(ann, "My order is 7.")
    await desk.finish(turn, answer="Noted.")
    return str(turn["session_id"])


async def test_a_timed_out_session_resumes_with_its_history(desk: Desk) -> None:
    ann = await desk.arrive()
    session_id = await answered(desk, ann)
    await desk.end_session(session_id, "timeout")

    back = await recover(desk, ann["caller"], session_id)

    assert (back["status"], back["changed"], back["last_turn"]["status"]) == ("active", True, "completed")
    assert said(back) == HISTORY
    assert (await recover(desk, ann["caller"], session_id))["changed"] is False
    following = await desk.start(ann, "Which was it?")
    assert (following["session_id"], len(following["history"])) == (session_id, 2)


@pytest.mark.parametrize("policy", ["per_conversation", "per_message"])
async def test_an_expired_answer_is_ended_and_its_session_resumes(desk: Desk, policy: str) -> None:
    await desk.admin.execute("update public.personas set session_policy = $1 where id = $2", policy, PERSONA)
    ann = await desk.arrive()
    turn = await desk.start(ann, client_message_id="m1")
    await desk.flush(turn, 0, "Well, ")
    assert (await recover(desk, ann["caller"], turn["session_id"]))["last_turn"]["status"] == "active"
    await desk.let_lease_run_out(turn)

    back = await recover(desk, ann["caller"], turn["session_id"])

    ended = {"status": "timeout", "error_code": "lease_expired", "client_message_id": "m1"}
    assert back["last_turn"] == {"turn_id": turn["turn_id"], **ended}
    assert (back["status"], said(back)) == ("active", [("Hello", False), ("Well, ", True)])
    assert (await desk.start(ann, "again"))["session_id"] == turn["session_id"]


async def test_another_end_is_final_and_so_is_a_timeout_with_a_newer_session(desk: Desk) -> None:
    ann = await desk.arrive()
    session_id = await answered(desk, ann)
    for status in ("completed", "failed", "cancelled"):
        await desk.end_session(session_id, status)
        refused = await recover(desk, ann["caller"], session_id)
        assert (refused.status, refused["code"], refused["session_status"]) == (409, "transition_not_allowed", status)
    await desk.end_session(session_id, "timeout")
    newer = await desk.start(ann)
    refused = await recover(desk, ann["caller"], session_id)
    assert (refused.status, refused["live_session_id"]) == (409, newer["session_id"])
    assert await desk.count("sessions", "status = 'active'") == 1


async def test_a_caller_recovers_only_what_they_may_read_and_an_agent_sees_only_assigned_sessions(desk: Desk) -> None:
    ann, bob = await desk.arrive(), await desk.arrive("bob")
    await desk.end_session(await answered(desk, ann), "completed")
    session_id = await answered(desk, ann)
    agent, admin = await member(desk, "agent"), await member(desk)
    for caller in (bob["caller"], agent, {"kind": "anonymous"}, {"kind": "system"}):
        assert await refusal(recover(desk, caller, session_id)) == (404, "session_not_found")
    assign = "update public.sessions set assigned_user_id = $1 where id = $2"
    await desk.admin.execute(assign, agent["user_id"], session_id)
    for caller, count in ((agent, 1), (admin, 2), (ann["caller"], 2)):
        assert said(await recover(desk, caller, session_id)) == HISTORY * count
