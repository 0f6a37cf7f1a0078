"""A member answers in the persona's place: what happens to messages meanwhile, and how the takeover ends.

The access matrix has the callers, tests/functions the refusals of the routes.
"""

import asyncio
from collections import Counter

import pytest

from tests.database.desk import (
    JSON,
    PERSONA,
    SYSTEM,
    WORKSPACE,
    Desk,
    Raised,
    managing,
    on_a_turn,
    on_behalf,
    refusal,
    with_token,
)

WITH_CODE = "verb, actor_id::text, code"


async def test_the_persona_is_silent_during_a_takeover_and_answers_again_afterwards(desk: Desk) -> None:
    boss, ann = await desk.member("owner"), await desk.register("ann@example.test")
    session = ann["session_id"]
    first = await desk.start(with_token(ann), "Hello")
    await desk.finish(first, answer="Hi, I am a machine")

    taken = await desk.take_over(boss, session)
    attempt: JSON = {"client_message_id": "m-2", "attempt_id": "0" * 32}
    asked = await desk.start(with_token(ann), "Is anybody there?", **attempt)
    repeated = await desk.start(with_token(ann), "Is anybody there?", **attempt)
    spoken = await desk.say(boss, session, "Yes, me.")
    back = await desk.hand_back(boss, session)
    again = await desk.start(with_token(ann), "And now?")

    assert (taken["taken_over_by"], taken["changed"], taken["stopping"]) == (boss["user_id"], True, False)
    assert taken["assigned_user_id"] == boss["user_id"], "it was not assigned"
    assert (asked["status"], asked["taken_over"], asked["repeat"]) == ("completed", True, False)
    assert (asked["history"], asked["persona"]["secret"]) == ([], None), "no persona is called"
    assert (spoken["role"], spoken["created"]) == ("member", True)
    assert (back["taken_over_by"], back["taken_over_at"], back["changed"]) == (None, None, True)
    assert (again["status"], again["taken_over"]) == ("active", False)
    assert [(line["role"], line["text"]) for line in again["history"]] == [
        ("contact", "Hello"),
        ("persona", "Hi, I am a machine"),
        ("contact", "Is anybody there?"),
        ("member", "Yes, me."),
    ]
    verbs = ("session.taken_over", "session.handed_back")
    assert await desk.audited(session) == [(verb, boss["user_id"]) for verb in verbs]
    # The turn without an answer is repeated, read, cancelled and finished like any other that has ended.
    later = await desk.start(with_token(ann), "Is anybody there?", client_message_id="m-2")
    for repeat in (repeated, later):
        assert (repeat["turn_id"], repeat["repeat"], repeat["taken_over"]) == (asked["turn_id"], True, True)
    read = await desk.read(asked)
    assert (read["status"], read["taken_over"], read["text"], read["message_id"]) == ("completed", True, "", None)
    cancelled = await desk.call("cancel_turn", on_behalf(with_token(ann)["caller"]), turn_id=asked["turn_id"])
    assert cancelled["status"] == "completed"
    assert (await desk.finish(asked, answer="Too late"))["changed"] is False
    kept = await desk.row("sessions", session)
    assert (kept["turn_count"], kept["message_count"]) == (3, 5)


async def test_an_open_breaker_does_not_refuse_and_the_limits_count(desk: Desk) -> None:
    boss, ann = await desk.member("owner"), await desk.register("ann@example.test")
    await desk.admin.execute(
        "insert into public.persona_breakers (workspace_id, persona_id, state, failures, opened_at, retry_at) "
        "values ($1, $2, 'open', 5, now(), now() + interval '1 hour')",
        WORKSPACE,
        PERSONA,
    )
    assert (await desk.start(with_token(ann), "Hello")).status == 503
    assert await desk.count("messages") == 0
    await desk.take_over(boss, ann["session_id"])

    taken = "select coalesce(sum(taken), 0) from public.rate_limits"
    before = await desk.admin.fetchval(taken)
    asked = await desk.start(with_token(ann), "Hello")
    assert (asked.status, asked["status"], asked["taken_over"]) == (200, "completed", True)
    assert await desk.admin.fetchval(taken) > before
    assert asked["limits"], "the caller is told how much is left"
    await desk.hand_back(boss, ann["session_id"])
    assert (await desk.start(with_token(ann), "Hello")).status == 503


async def test_a_takeover_stops_the_answer_and_keeps_its_text(desk: Desk) -> None:
    boss, ann = await desk.member("owner"), await desk.arrive()
    turn, stale = await desk.start(ann, "Hello"), await desk.start(message="Hello")
    await desk.flush(turn, 0, "Let me")
    await desk.let_lease_run_out(stale)

    taken = await desk.take_over(boss, turn["session_id"])
    told = await desk.call("flush_turn", on_a_turn(), turn_id=turn["turn_id"], position=6, piece=" think")
    await desk.finish(turn, "cancelled", "Let me think")
    again = await desk.take_over(boss, turn["session_id"])

    assert (taken["changed"], taken["stopping"], told["stop"]) == (True, True, True)
    assert (again["changed"], again["stopping"], again["taken_over_at"]) == (False, False, taken["taken_over_at"])
    assert await desk.said(turn["session_id"]) == [("contact", "Hello"), ("persona", "Let me think")]
    assert [verb for verb, _ in await desk.audited(turn["turn_id"])] == ["turn.cancel_requested", "turn.cancelled"]
    # A turn whose worker is gone is ended at once.
    assert (await desk.take_over(boss, stale["session_id"]))["stopping"] is False
    assert (await desk.read(stale))["status"] == "timeout"


async def test_a_session_per_message_lasts_until_it_is_handed_back(desk: Desk) -> None:
    boss = await desk.member("owner")
    await desk.admin.execute("update public.personas set session_policy = 'per_message' where id = $1", PERSONA)
    ann = with_token(await desk.register("ann@example.test"))
    turn = await desk.start(ann, "Hello")
    await desk.take_over(boss, turn["session_id"])
    await desk.finish(turn, "cancelled", "Well")

    asked = await desk.start(ann, "Anybody?")
    assert (asked["session_id"], asked["taken_over"]) == (turn["session_id"], True)
    assert (await desk.row("sessions", turn["session_id"]))["status"] == "active"
    await desk.hand_back(boss, turn["session_id"])
    last = await desk.start(ann, "Thanks")
    await desk.finish(last)
    assert last["session_id"] == turn["session_id"]
    assert (await desk.row("sessions", turn["session_id"]))["status"] == "completed"


async def test_a_message_resumes_a_paused_session_only_after_the_takeover(desk: Desk) -> None:
    boss, ann = await desk.member("owner"), await desk.register("ann@example.test")
    await desk.take_over(boss, ann["session_id"])
    assert (await desk.change(boss, ann["session_id"], "pause"))["changed"] is True

    await desk.start(with_token(ann), "Hello?")
    assert (await desk.row("sessions", ann["session_id"]))["status"] == "paused"
    await desk.hand_back(boss, ann["session_id"])
    await desk.start(with_token(ann), "Hello?")
    assert (await desk.row("sessions", ann["session_id"]))["status"] == "active"
    assert (await desk.audited(ann["session_id"]))[-1] == ("session.resumed", ann["contact_id"])


async def test_one_of_several_members_takes_over_and_an_admin_hands_back_for_another(desk: Desk) -> None:
    members = [await desk.member("admin") for _ in range(5)]
    session = (await desk.register("ann@example.test"))["session_id"]
    answers = await asyncio.gather(*(desk.take_over(who, session) for who in members))
    assert sorted(answer.status for answer in answers) == [200, 409, 409, 409, 409]
    winner = next(who for who, answer in zip(members, answers, strict=True) if answer.status == 200)
    assert {answer["taken_over_by"] for answer in answers} == {winner["user_id"]}

    other = next(who for who in members if who != winner)
    assert [(await desk.hand_back(other, session))["changed"] for _ in range(2)] == [True, False]
    assert (await desk.take_over(other, session))["taken_over_by"] == other["user_id"]


async def test_assigning_ends_an_agents_takeover_and_leaves_an_owners(desk: Desk) -> None:
    boss, agent, other = await desk.member("owner"), await desk.member("agent"), await desk.member("agent")
    session = (await desk.register("ann@example.test"))["session_id"]
    await desk.assign(boss, session, agent)
    assert (await desk.take_over(agent, session))["changed"] is True

    moved = await desk.assign(boss, session, other)
    assert (moved["assigned_user_id"], moved["taken_over_by"]) == (other["user_id"], None)
    assert (await desk.take_over(boss, session))["changed"] is True
    moved = await desk.assign(boss, session, agent)
    assert (moved["assigned_user_id"], moved["taken_over_by"]) == (agent["user_id"], boss["user_id"])
    refused = await desk.hand_back(agent, session)
    assert (refused.status, refused["code"]) == (409, "taken_over")
    assert [(await desk.assign(boss, session, None))["changed"] for _ in range(2)] == [True, False]
    assert Counter(verb for verb, _ in await desk.audited(session)) == {
        "session.assigned": 4, "session.taken_over": 2, "session.handed_back": 1,
    }  # fmt: skip


@pytest.mark.parametrize("status", ["completed", "failed", "timeout", "cancelled", "archived"])
async def test_a_takeover_ends_with_its_session_and_a_finished_session_is_not_taken_over(
    desk: Desk, status: str
) -> None:
    boss, session = await desk.member("owner"), (await desk.register("ann@example.test"))["session_id"]
    await desk.take_over(boss, session)
    await desk.end_session(session, status)
    kept = await desk.row("sessions", session)
    assert (kept["taken_over_by"], kept["taken_over_at"]) == (None, None)
    assert (await desk.audited(session, WITH_CODE))[-1] == ("session.handed_back", None, "session_ended")
    for act in (desk.take_over, desk.say):
        refused = await act(boss, session)
        assert (refused.status, refused["code"], refused["session_status"]) == (409, "transition_not_allowed", status)
    assert (await desk.hand_back(boss, session))["changed"] is False


async def test_a_members_message_does_not_delay_the_idle_timeout_that_ends_the_takeover(desk: Desk) -> None:
    boss, ann = await desk.member("owner"), await desk.register("ann@example.test")
    session = ann["session_id"]
    await desk.take_over(boss, session)
    await desk.admin.execute("update public.sessions set last_activity_at = now() - interval '25 hours'")
    await desk.say(boss, session)
    assert (await desk.call("expire_idle_sessions", SYSTEM))["timed_out"] == 1
    kept = await desk.row("sessions", session)
    assert (kept["status"], kept["taken_over_by"]) == ("timeout", None)
    recovered = await desk.call("recover_session", on_behalf(with_token(ann)["caller"]), session_id=session)
    assert recovered["status"] == "active"
    assert (await desk.start(with_token(ann)))["status"] == "active", "the persona answers"


@pytest.mark.parametrize("way", ["removed", "deleted"])
async def test_a_former_member_is_assigned_to_no_session_and_has_taken_none_over(desk: Desk, way: str) -> None:
    boss, admin = await desk.member("owner"), await desk.member("admin")
    ann, ben = await desk.register("ann@example.test"), await desk.register("ben@example.test")
    await desk.take_over(admin, ann["session_id"])
    await desk.assign(boss, ben["session_id"], admin)
    await desk.end_session(ben["session_id"], "completed")
    if way == "removed":
        await desk.call("remove_member", managing(boss), workspace_id=WORKSPACE, user_id=admin["user_id"])
        last = (await desk.audited(ann["session_id"], WITH_CODE))[-1]
        assert last == ("session.handed_back", boss["user_id"], "unattended")
    else:
        await desk.admin.execute("delete from auth.users where id = $1", admin["user_id"])
    for session in (ann, ben):
        kept = await desk.row("sessions", session["session_id"])
        assert (kept["taken_over_by"], kept["taken_over_at"], kept["assigned_user_id"]) == (None, None, None)
    assert (await desk.start(with_token(ann)))["status"] == "active"


async def test_a_member_who_is_removed_while_taking_over_holds_no_session(desk: Desk) -> None:
    """In either order the session is the persona's in the end, and neither call deadlocks."""
    sessions = [await desk.register(f"p{number}@example.test") for number in range(12)]
    admins = [await desk.member("admin") for _ in sessions]
    for session, admin in zip(sessions[::2], admins[::2], strict=True):
        await desk.assign(admin, session["session_id"], admin)

    async def leave(number: int) -> None:
        await asyncio.sleep(number % 4 * 0.002)
        user_id = admins[number]["user_id"]
        await desk.call("remove_member", managing(admins[number]), workspace_id=WORKSPACE, user_id=user_id)

    async def take(number: int) -> str:
        try:
            await desk.take_over(admins[number], sessions[number]["session_id"])
        except Raised as refused:
            return refused.code
        return "taken"

    outcomes = await asyncio.gather(
        *(work(number) for number in range(len(sessions)) for work in (take, leave)), return_exceptions=True
    )
    assert set(outcomes) <= {"taken", "session_not_found", "forbidden", None}
    assert await desk.count("sessions", "taken_over_by is not null or assigned_user_id is not null") == 0


async def test_a_members_message_sent_again_is_the_same_message(desk: Desk) -> None:
    boss, session = await desk.member("owner"), (await desk.register("ann@example.test"))["session_id"]
    refused = await desk.say(boss, session, client_message_id="c-1")
    assert (refused.status, refused["code"]) == (409, "not_taken_over")
    await desk.take_over(boss, session)
    before = await desk.row("sessions", session)

    sent = await asyncio.gather(*(desk.say(boss, session, "Once", client_message_id="c-1") for _ in range(4)))
    await desk.hand_back(boss, session)
    later = await desk.say(boss, session, "Once", client_message_id="c-1")

    assert sorted(one["created"] for one in sent) == [False, False, False, True]
    assert {one["message_id"] for one in (*sent, later)} == {sent[0]["message_id"]}
    for caller, text in ((boss, "Twice"), (await desk.member("owner"), "Once")):
        refused_again = await refusal(desk.say(caller, session, text, client_message_id="c-1"))
        assert refused_again == (409, "idempotency_key_reused")
    after = await desk.row("sessions", session)
    assert after["message_count"] == before["message_count"] + 1 == await desk.count("messages")
    assert after["last_activity_at"] == before["last_activity_at"]


async def test_concurrent_messages_and_takeovers_neither_block_nor_lose_anything(desk: Desk) -> None:
    boss, ann = await desk.member("owner"), await desk.register("ann@example.test")
    session = ann["session_id"]

    async def write(number: int) -> int:
        turn = await desk.start(with_token(ann), f"m{number}", client_message_id=f"m{number}")
        if turn.status == 200 and turn["status"] == "active":
            await desk.finish(turn, answer="Yes")
        return turn.status

    async def meddle() -> None:
        for _ in range(6):
            await desk.take_over(boss, session)
            await desk.say(boss, session)
            await desk.hand_back(boss, session)

    statuses, _ = await asyncio.gather(asyncio.gather(*(write(number) for number in range(20))), meddle())
    kept = await desk.row("sessions", session)
    assert set(statuses) <= {200, 409}
    assert kept["turn_count"] == await desk.count("turns") == statuses.count(200)
    assert kept["message_count"] == await desk.count("messages")
    silent = await desk.count("turns", "taken_over")
    assert await desk.count("messages", "role = 'persona'") + silent == await desk.count(
        "turns", "status <> 'cancelled'"
    )
