"""A session that timed out or whose answer was interrupted resumes with its history.

Which sessions recover, and when, is test_sessions_lifecycle's; the access matrix has the callers.
"""

from typing import Any

import pytest

from tests.database.desk import JSON, PERSONA, Answer, Desk, on_behalf

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
    await desk.admin.execute("update public.sessions set last_activity_at = now() - interval '2 days'")
    await desk.end_session(session_id, "timeout")

    back = await recover(desk, ann["caller"], session_id)

    assert (back["status"], back["changed"], back["last_turn"]["status"]) == ("active", True, "completed")
    assert said(back) == HISTORY
    # Its idle clock starts again.
    assert await desk.count("sessions", "last_activity_at > now() - interval '1 minute'") == 1
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


async def test_a_refusal_names_the_newer_live_session(desk: Desk) -> None:
    ann = await desk.arrive()
    session_id = await answered(desk, ann)
    await desk.end_session(session_id, "timeout")
    newer = await desk.start(ann)
    refused = await recover(desk, ann["caller"], session_id)
    assert (refused.status, refused["code"], refused["session_status"]) == (409, "transition_not_allowed", "timeout")
    assert refused["live_session_id"] == newer["session_id"]


async def test_an_agent_recovers_the_messages_of_assigned_sessions_only(desk: Desk) -> None:
    ann, agent, admin = await desk.arrive(), await desk.member("agent"), await desk.member()
    await desk.end_session(await answered(desk, ann), "completed")
    session_id = await answered(desk, ann)
    await desk.assign(admin, session_id, agent)
    for caller, count in ((agent, 1), (admin, 2), (ann["caller"], 2)):
        assert said(await recover(desk, caller, session_id)) == HISTORY * count
