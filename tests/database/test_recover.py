"""A session that timed out or was interrupted goes on with its history."""

import pytest

from tests.database.desk import JSON, PERSONA, WORKSPACE, Answer, Desk, Raised, user, with_token


async def _recover(desk: Desk, token: JSON, session_id: str) -> Answer:
    return await desk.call(
        "recover_session", {"role": "switchboard", "scope": {}, "caller": token["caller"]}, session_id=session_id
    )


async def _time_out(desk: Desk, session_id: str) -> None:
    await desk.admin.execute(
        "update public.sessions set status = 'timeout', ended_at = now() where id = $1", session_id
    )


async def test_a_timed_out_session_is_active_again_with_its_history(desk: Desk) -> None:
    ann = with_token(await desk.register("ann@example.test"))
    turn = await desk.start(ann, "My order is 7.")
    await desk.finish(turn, answer="Noted.")
    await _time_out(desk, turn["session_id"])

    back = await _recover(desk, ann, turn["session_id"])

    assert (back["status"], back["changed"]) == ("active", True)
    assert [(said["role"], said["text"]) for said in back["messages"]] == [
        ("contact", "My order is 7."),
        ("persona", "Noted."),
    ]
    assert back["last_turn"]["status"] == "completed"
    assert (await _recover(desk, ann, turn["session_id"]))["changed"] is False
    following = await desk.start(ann, "Which was it?")
    assert following["session_id"] == turn["session_id"]
    assert [said["text"] for said in following["history"]] == ["My order is 7.", "Noted."]


async def test_an_interrupted_answer_is_ended_and_shown(desk: Desk) -> None:
    ann = with_token(await desk.register("ann@example.test"))
    turn = await desk.start(ann, client_message_id="m1")
    await desk.flush(turn, 0, "Well, ")
    assert (await _recover(desk, ann, turn["session_id"]))["last_turn"]["status"] == "active"
    await desk.let_lease_run_out(turn)

    back = await _recover(desk, ann, turn["session_id"])

    assert back["last_turn"] == {
        "turn_id": turn["turn_id"],
        "status": "timeout",
        "error_code": "lease_expired",
        "client_message_id": "m1",
    }
    assert [(said["text"], said["partial"]) for said in back["messages"]] == [("Hello", False), ("Well, ", True)]
    assert back["status"] == "active"


async def test_a_message_session_lost_with_its_process_is_recovered(desk: Desk) -> None:
    await desk.admin.execute("update public.personas set session_policy = 'per_message' where id = $1", PERSONA)
    ann = with_token(await desk.register("ann@example.test"))
    turn = await desk.start(ann)
    await desk.let_lease_run_out(turn)

    back = await _recover(desk, ann, turn["session_id"])

    assert (back["status"], back["changed"], back["last_turn"]["status"]) == ("active", True, "timeout")
    assert (await desk.start(ann, "again"))["session_id"] == turn["session_id"]


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
async def test_what_ended_otherwise_stays_ended(desk: Desk, status: str) -> None:
    ann = with_token(await desk.register("ann@example.test"))
    turn = await desk.start(ann)
    await desk.finish(turn)
    await desk.admin.execute("update public.sessions set status = $1, ended_at = now()", status)

    refused = await _recover(desk, ann, turn["session_id"])

    assert (refused.status, refused["code"], refused["session_status"]) == (409, "transition_not_allowed", status)


async def test_a_conversation_that_lives_on_in_another_session_has_no_use_for_the_old(desk: Desk) -> None:
    ann = with_token(await desk.register("ann@example.test"))
    turn = await desk.start(ann)
    await desk.finish(turn)
    await _time_out(desk, turn["session_id"])
    newer = await desk.start(ann)

    refused = await _recover(desk, ann, turn["session_id"])

    assert (refused.status, refused["live_session_id"]) == (409, newer["session_id"])
    assert await desk.count("sessions", "status = 'active'") == 1


async def test_nobody_else_recovers_a_session(desk: Desk) -> None:
    ann = await desk.register("ann@example.test")
    bob = with_token(await desk.register("bob@example.test"))
    for caller in (bob, {"caller": {"kind": "anonymous"}}, {"caller": {"kind": "system"}}):
        with pytest.raises(Raised) as refused:
            await _recover(desk, caller, ann["session_id"])
        assert (refused.value.status, refused.value.code) == (404, "session_not_found")


async def test_an_agent_sees_no_more_of_the_history_than_the_sessions_they_were_given(desk: Desk) -> None:
    ann = with_token(await desk.register("ann@example.test"))
    first = await desk.start(ann, "Between you and me")
    await desk.finish(first, answer="Of course.")
    await desk.admin.execute(
        "update public.sessions set status = 'completed', ended_at = now() where id = $1", first["session_id"]
    )
    second = await desk.start(ann, "A question")
    await desk.finish(second, answer="Yes?")
    agent, admin = await desk.sign_up(None), await desk.sign_up(None)
    for member, role in ((agent, "agent"), (admin, "admin")):
        await desk.admin.execute(
            "insert into public.workspace_members (workspace_id, user_id, role) values ($1, $2, $3)",
            WORKSPACE,
            member,
            role,
        )
    await desk.admin.execute(
        "update public.sessions set assigned_user_id = $1 where id = $2", agent, second["session_id"]
    )

    told = {}
    for name, token in (("agent", {"caller": user(agent)}), ("admin", {"caller": user(admin)}), ("ann", ann)):
        back = await _recover(desk, token, second["session_id"])
        told[name] = [said["text"] for said in back["messages"]]

    everything = ["Between you and me", "Of course.", "A question", "Yes?"]
    assert told == {"agent": everything[2:], "admin": everything, "ann": everything}
