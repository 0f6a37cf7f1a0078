"""A member answers in the persona's place: who may, what becomes of messages meanwhile, and how it ends."""

import asyncio
from typing import Any

import asyncpg
import pytest

from tests.database.desk import (
    ANONYMOUS,
    JSON,
    PERSONA,
    SYSTEM,
    WORKSPACE,
    Answer,
    Desk,
    Raised,
    member,
    on_behalf,
    user,
    with_token,
)


async def take_over(desk: Desk, caller: JSON, session_id: str) -> Answer:
    return await desk.call("take_over_session", on_behalf(caller), session_id=session_id)


async def hand_back(desk: Desk, caller: JSON, session_id: str) -> Answer:
    return await desk.call("hand_back_session", on_behalf(caller), session_id=session_id)


async def say(desk: Desk, caller: JSON, session_id: str, text: str = "A person here.", **more: Any) -> Answer:
    return await desk.call("say_as_member", on_behalf(caller), session_id=session_id, text=text, **more)


async def assign(desk: Desk, caller: JSON, session_id: str, who: JSON | None) -> Answer:
    return await desk.call("assign_session", on_behalf(caller), session_id=session_id, user_id=who and who["user_id"])


async def session_of(desk: Desk, session_id: str) -> asyncpg.Record:
    row = await desk.admin.fetchrow(
        "select status::text, taken_over_by::text, taken_over_at, assigned_user_id::text, message_count, turn_count, "
        "last_activity_at from public.sessions where id = $1",
        session_id,
    )
    assert row is not None
    return row


async def audited(desk: Desk, object_id: str) -> list[tuple[str, str | None, str | None]]:
    rows = await desk.admin.fetch(
        "select verb, actor_id::text, code from public.audit_events where object_id = $1 order by created_at, id",
        object_id,
    )
    return [(row["verb"], row["actor_id"], row["code"]) for row in rows]


async def said(desk: Desk, session_id: str) -> list[tuple[str, str]]:
    rows = await desk.admin.fetch(
        "select role::text, text from public.messages where session_id = $1 order by created_at, id", session_id
    )
    return [(row["role"], row["text"]) for row in rows]


async def test_a_member_takes_over_answers_and_hands_back_and_the_persona_answers_again(desk: Desk) -> None:
    boss = await member(desk, "owner")
    ann = await desk.register("ann@example.test")
    session = ann["session_id"]
    first = await desk.start(with_token(ann), "Hello")
    await desk.finish(first, answer="Hi, I am a machine")

    taken = await take_over(desk, boss, session)
    asked = await desk.start(with_token(ann), "Is anybody there?", client_message_id="m-2")
    spoken = await say(desk, boss, session, "Yes, me.")
    back = await hand_back(desk, boss, session)
    again = await desk.start(with_token(ann), "And now?")

    assert (taken["taken_over_by"], taken["changed"], taken["stopping"]) == (boss["user_id"], True, False)
    assert taken["assigned_user_id"] == boss["user_id"], "nobody looked after it"
    assert (asked["status"], asked["taken_over"], asked["repeat"]) == ("completed", True, False)
    assert (asked["history"], asked["persona"]["secret"]) == ([], None), "nobody is called"
    assert (spoken["role"], spoken["created"]) == ("member", True)
    assert (back["taken_over_by"], back["taken_over_at"], back["changed"]) == (None, None, True)
    assert (again["status"], again["taken_over"]) == ("active", False)
    assert [(line["role"], line["text"]) for line in again["history"]] == [
        ("contact", "Hello"),
        ("persona", "Hi, I am a machine"),
        ("contact", "Is anybody there?"),
        ("member", "Yes, me."),
    ]
    assert await audited(desk, session) == [
        ("session.taken_over", boss["user_id"], None),
        ("session.handed_back", boss["user_id"], None),
    ]


async def test_a_turn_without_an_answer_is_repeated_read_and_cancelled_as_any(desk: Desk) -> None:
    boss = await member(desk, "admin")
    ann = await desk.register("ann@example.test")
    await take_over(desk, boss, ann["session_id"])

    first = await desk.start(with_token(ann), "Hello?", client_message_id="m-1", attempt_id="0" * 32)
    again = await desk.start(with_token(ann), "Hello?", client_message_id="m-1", attempt_id="0" * 32)
    await hand_back(desk, boss, ann["session_id"])
    later = await desk.start(with_token(ann), "Hello?", client_message_id="m-1")

    assert (first["repeat"], again["repeat"], later["repeat"]) == (False, True, True)
    assert {turn["turn_id"] for turn in (first, again, later)} == {first["turn_id"]}
    assert (again["taken_over"], later["taken_over"]) == (True, True), "what a turn was does not change"
    read = await desk.read(first)
    assert (read["status"], read["taken_over"], read["text"], read["message_id"]) == ("completed", True, "", None)
    cancelled = await desk.call("cancel_turn", on_behalf(with_token(ann)["caller"]), turn_id=first["turn_id"])
    assert cancelled["status"] == "completed"
    assert (await desk.finish(first, answer="Too late"))["changed"] is False
    kept = await session_of(desk, ann["session_id"])
    assert (kept["turn_count"], kept["message_count"]) == (1, 1)
    assert await said(desk, ann["session_id"]) == [("contact", "Hello?")]


async def test_the_breaker_is_not_asked_and_the_limits_count(desk: Desk) -> None:
    boss = await member(desk, "owner")
    ann = await desk.register("ann@example.test")
    await desk.admin.execute(
        "insert into public.persona_breakers (workspace_id, persona_id, state, failures, opened_at, retry_at) "
        "values ($1, $2, 'open', 5, now(), now() + interval '1 hour')",
        WORKSPACE,
        PERSONA,
    )
    assert (await desk.start(with_token(ann), "Hello")).status == 503
    assert await desk.count("messages") == 0
    await take_over(desk, boss, ann["session_id"])

    before = await desk.admin.fetchval("select coalesce(sum(taken), 0) from public.rate_limits")
    asked = await desk.start(with_token(ann), "Hello")
    after = await desk.admin.fetchval("select coalesce(sum(taken), 0) from public.rate_limits")

    assert (asked.status, asked["status"], asked["taken_over"]) == (200, "completed", True)
    assert after > before
    assert asked["limits"], "the caller is told how much is left"
    await hand_back(desk, boss, ann["session_id"])
    assert (await desk.start(with_token(ann), "Hello")).status == 503


async def test_the_answer_under_way_is_stopped_and_keeps_what_was_seen(desk: Desk) -> None:
    boss = await member(desk, "owner")
    ann = await desk.register("ann@example.test")
    turn = await desk.start(with_token(ann), "Hello")
    await desk.flush(turn, 0, "Let me")

    taken = await take_over(desk, boss, turn["session_id"])
    told = await desk.call(
        "flush_turn",
        {"role": "switchboard", "scope": {"workspace_id": WORKSPACE}, "caller": {"kind": "system"}},
        turn_id=turn["turn_id"],
        position=6,
        piece=" think",
    )
    await desk.finish(turn, "cancelled", "Let me think")
    again = await take_over(desk, boss, turn["session_id"])

    assert (taken["changed"], taken["stopping"]) == (True, True)
    assert told["stop"] is True
    assert (again["changed"], again["stopping"]) == (False, False)
    assert await said(desk, turn["session_id"]) == [("contact", "Hello"), ("persona", "Let me think")]
    assert (await session_of(desk, turn["session_id"]))["taken_over_by"] == boss["user_id"]
    assert [verb for verb, _, _ in await audited(desk, turn["turn_id"])] == ["turn.cancel_requested", "turn.cancelled"]


async def test_an_answer_that_nobody_gives_any_more_is_ended_at_once(desk: Desk) -> None:
    boss = await member(desk, "owner")
    turn = await desk.start(with_token(await desk.register("ann@example.test")))
    await desk.let_lease_run_out(turn)

    assert (await take_over(desk, boss, turn["session_id"]))["stopping"] is False
    assert (await desk.read(turn))["status"] == "timeout"


async def test_a_session_of_one_message_stays_with_whoever_took_it_over(desk: Desk) -> None:
    boss = await member(desk, "owner")
    await desk.admin.execute("update public.personas set session_policy = 'per_message' where id = $1", PERSONA)
    ann = with_token(await desk.register("ann@example.test"))
    turn = await desk.start(ann, "Hello")
    await take_over(desk, boss, turn["session_id"])
    await desk.finish(turn, "cancelled", "Well")

    asked = await desk.start(ann, "Anybody?")
    assert (asked["session_id"], asked["taken_over"]) == (turn["session_id"], True)
    assert (await session_of(desk, turn["session_id"]))["status"] == "active"
    await hand_back(desk, boss, turn["session_id"])
    last = await desk.start(ann, "Thanks")
    await desk.finish(last)
    assert last["session_id"] == turn["session_id"]
    assert (await session_of(desk, turn["session_id"]))["status"] == "completed"


async def test_a_paused_session_stays_paused_while_it_is_taken_over(desk: Desk) -> None:
    boss = await member(desk, "owner")
    ann = await desk.register("ann@example.test")
    await take_over(desk, boss, ann["session_id"])
    paused = await desk.call("change_session_status", on_behalf(boss), session_id=ann["session_id"], status="paused")
    assert paused["changed"] is True

    await desk.start(with_token(ann), "Hello?")
    assert (await session_of(desk, ann["session_id"]))["status"] == "paused"
    await hand_back(desk, boss, ann["session_id"])
    await desk.start(with_token(ann), "Hello?")
    assert (await session_of(desk, ann["session_id"]))["status"] == "active"


async def test_one_member_takes_it_over_and_the_next_is_told_who(desk: Desk) -> None:
    boss, admin = await member(desk, "owner"), await member(desk, "admin")
    ann = await desk.register("ann@example.test")
    first = await take_over(desk, boss, ann["session_id"])
    second = await take_over(desk, admin, ann["session_id"])
    same = await take_over(desk, boss, ann["session_id"])

    assert (second.status, second["code"], second["taken_over_by"]) == (409, "taken_over", boss["user_id"])
    assert (same["changed"], same["taken_over_at"]) == (False, first["taken_over_at"])
    refused = await say(desk, admin, ann["session_id"])
    assert (refused.status, refused["code"]) == (409, "taken_over")
    assert (await hand_back(desk, admin, ann["session_id"]))["changed"] is True, "an admin hands back for anybody"
    assert (await hand_back(desk, admin, ann["session_id"]))["changed"] is False
    assert (await take_over(desk, admin, ann["session_id"]))["taken_over_by"] == admin["user_id"]


async def test_two_who_take_it_over_at_once_are_one(desk: Desk) -> None:
    members = [await member(desk, "admin") for _ in range(5)]
    ann = await desk.register("ann@example.test")
    answers = await asyncio.gather(*(take_over(desk, who, ann["session_id"]) for who in members))
    assert sorted(answer.status for answer in answers) == [200, 409, 409, 409, 409]


async def test_an_agent_takes_over_what_is_assigned_and_finds_nothing_else(desk: Desk) -> None:
    boss, agent, other = await member(desk, "owner"), await member(desk, "agent"), await member(desk, "agent")
    ann = await desk.register("ann@example.test")
    session = ann["session_id"]
    for act in (take_over, hand_back, say):
        with pytest.raises(Raised) as refused:
            await act(desk, agent, session)
        assert (refused.value.status, refused.value.code) == (404, "session_not_found")

    assert (await assign(desk, boss, session, agent))["assigned_user_id"] == agent["user_id"]
    assert (await take_over(desk, agent, session))["changed"] is True
    assert (await say(desk, agent, session))["created"] is True
    with pytest.raises(Raised) as refused:
        await assign(desk, agent, session, other)
    assert (refused.value.status, refused.value.code) == (403, "forbidden")

    moved = await assign(desk, boss, session, other)
    assert (moved["assigned_user_id"], moved["taken_over_by"]) == (other["user_id"], None), (
        "who may no longer write there leaves nobody waiting"
    )
    with pytest.raises(Raised) as refused:
        await hand_back(desk, agent, session)
    assert refused.value.status == 404
    assert sorted(verb for verb, _, _ in await audited(desk, session)) == [
        "session.assigned",
        "session.assigned",
        "session.handed_back",
        "session.taken_over",
    ]


async def test_an_owner_who_assigns_goes_on_answering(desk: Desk) -> None:
    boss, agent = await member(desk, "owner"), await member(desk, "agent")
    ann = await desk.register("ann@example.test")
    await take_over(desk, boss, ann["session_id"])
    moved = await assign(desk, boss, ann["session_id"], agent)
    assert (moved["taken_over_by"], moved["assigned_user_id"]) == (boss["user_id"], agent["user_id"])
    refused = await hand_back(desk, agent, ann["session_id"])
    assert (refused.status, refused["code"]) == (409, "taken_over")
    nobody = await assign(desk, boss, ann["session_id"], None)
    assert (nobody["assigned_user_id"], nobody["changed"]) == (None, True)
    assert (await assign(desk, boss, ann["session_id"], None))["changed"] is False


async def test_nobody_else_takes_over_says_hands_back_or_assigns(desk: Desk) -> None:
    ann, ben = await desk.register("ann@example.test"), await desk.register("ben@example.test")
    elsewhere, _ = await desk.open_workspace()
    stranger, foreigner = user(await desk.sign_up(None)), await member(desk, "owner", elsewhere)
    boss = await member(desk, "owner")
    session = ann["session_id"]
    for caller, status in (
        (with_token(ann)["caller"], 403),
        (with_token(ben)["caller"], 404),
        (stranger, 404),
        (foreigner, 404),
        (ANONYMOUS, 404),
        (SYSTEM["caller"], 404),
    ):
        for act in (take_over, hand_back, say):
            with pytest.raises(Raised) as refused:
                await act(desk, caller, session)
            assert refused.value.status == status
        with pytest.raises(Raised) as refused:
            await assign(desk, caller, session, boss)
        assert refused.value.status == status
    with pytest.raises(Raised) as refused:
        await assign(desk, boss, session, foreigner)
    assert (refused.value.status, refused.value.code) == (404, "member_not_found")
    managing = {**on_behalf(boss), "scope": {"management": True}}
    with pytest.raises(Raised) as refused:
        await desk.call("take_over_session", managing, session_id=session)
    assert refused.value.status == 404
    assert (await session_of(desk, session))["taken_over_by"] is None


@pytest.mark.parametrize("status", ["completed", "failed", "timeout", "cancelled", "archived"])
async def test_what_has_ended_is_not_taken_over(desk: Desk, status: str) -> None:
    boss = await member(desk, "owner")
    ann = await desk.register("ann@example.test")
    await take_over(desk, boss, ann["session_id"])
    await desk.admin.execute(
        "update public.sessions set status = $1::text::public.session_status, ended_at = now(), "
        "archived_at = case when $1 = 'archived' then now() end, "
        "status_before_archive = case when $1 = 'archived' then 'completed'::public.session_status end",
        status,
    )
    kept = await session_of(desk, ann["session_id"])
    assert (kept["taken_over_by"], kept["taken_over_at"]) == (None, None), "a takeover ends with its session"
    assert (await audited(desk, ann["session_id"]))[-1] == ("session.handed_back", None, "session_ended")
    for act in (take_over, say):
        refused = await act(desk, boss, ann["session_id"])
        assert (refused.status, refused["code"], refused["session_status"]) == (409, "transition_not_allowed", status)
    assert (await hand_back(desk, boss, ann["session_id"]))["changed"] is False


async def test_a_takeover_ends_with_the_idle_time_out_which_only_the_contact_puts_off(desk: Desk) -> None:
    boss = await member(desk, "owner")
    ann = await desk.register("ann@example.test")
    session = ann["session_id"]
    await take_over(desk, boss, session)
    await desk.admin.execute("update public.sessions set last_activity_at = now() - interval '25 hours'")
    await say(desk, boss, session)
    assert (await desk.call("expire_idle_sessions", SYSTEM))["timed_out"] == 1
    kept = await session_of(desk, session)
    assert (kept["status"], kept["taken_over_by"]) == ("timeout", None)
    recovered = await desk.call("recover_session", on_behalf(with_token(ann)["caller"]), session_id=session)
    assert recovered["status"] == "active"
    assert (await desk.start(with_token(ann)))["status"] == "active", "the persona answers"


async def test_a_removed_members_sessions_go_back_to_the_persona(desk: Desk) -> None:
    boss, admin = await member(desk, "owner"), await member(desk, "admin")
    ann = await desk.register("ann@example.test")
    await take_over(desk, admin, ann["session_id"])
    await desk.call(
        "remove_member",
        {"role": "switchboard", "scope": {"management": True}, "caller": boss},
        workspace_id=WORKSPACE,
        user_id=admin["user_id"],
    )
    kept = await session_of(desk, ann["session_id"])
    assert (kept["taken_over_by"], kept["taken_over_at"]) == (None, None)
    assert (await audited(desk, ann["session_id"]))[-1] == ("session.handed_back", boss["user_id"], "unattended")
    assert (await desk.start(with_token(ann)))["status"] == "active"


async def test_a_deleted_users_sessions_go_back_to_the_persona(desk: Desk) -> None:
    admin = await member(desk, "admin")
    ann = await desk.register("ann@example.test")
    await take_over(desk, admin, ann["session_id"])
    await desk.admin.execute("delete from auth.users where id = $1", admin["user_id"])
    assert (await session_of(desk, ann["session_id"]))["taken_over_by"] is None
    assert (await desk.start(with_token(ann)))["status"] == "active"


async def test_who_is_removed_while_taking_over_leaves_nothing_silent(desk: Desk) -> None:
    """Whichever comes first, the session is the persona's in the end, and neither waits for the other in a circle."""
    sessions = [await desk.register(f"p{number}@example.test") for number in range(12)]
    admins = [await member(desk, "admin") for _ in sessions]

    async def leave(number: int) -> None:
        await asyncio.sleep(number % 4 * 0.002)
        await desk.call(
            "remove_member",
            {"role": "switchboard", "scope": {"management": True}, "caller": admins[number]},
            workspace_id=WORKSPACE,
            user_id=admins[number]["user_id"],
        )

    async def take(number: int) -> str:
        try:
            await take_over(desk, admins[number], sessions[number]["session_id"])
        except Raised as refused:
            return refused.code
        return "taken"

    outcomes = await asyncio.gather(
        *(work(number) for number in range(len(sessions)) for work in (take, leave)), return_exceptions=True
    )
    assert set(outcomes) <= {"taken", "session_not_found", "forbidden", None}
    assert await desk.count("sessions", "taken_over_by is not null") == 0


async def test_a_members_message_is_one_however_often_it_is_sent(desk: Desk) -> None:
    boss = await member(desk, "owner")
    ann = await desk.register("ann@example.test")
    session = ann["session_id"]
    refused = await say(desk, boss, session, client_message_id="c-1")
    assert (refused.status, refused["code"]) == (409, "not_taken_over")
    await take_over(desk, boss, session)
    before = await session_of(desk, session)

    sent = await asyncio.gather(*(say(desk, boss, session, "Once", client_message_id="c-1") for _ in range(4)))
    await hand_back(desk, boss, session)
    later = await say(desk, boss, session, "Once", client_message_id="c-1")

    assert sorted(one["created"] for one in sent) == [False, False, False, True]
    assert {one["message_id"] for one in (*sent, later)} == {sent[0]["message_id"]}
    after = await session_of(desk, session)
    assert after["message_count"] == before["message_count"] + 1 == await desk.count("messages")
    assert after["last_activity_at"] == before["last_activity_at"], "only what comes in keeps it from timing out"


async def test_messages_and_takeovers_at_once_neither_block_nor_lose_anything(desk: Desk) -> None:
    boss = await member(desk, "owner")
    ann = await desk.register("ann@example.test")
    session = ann["session_id"]

    async def write(number: int) -> int:
        turn = await desk.start(with_token(ann), f"m{number}", client_message_id=f"m{number}")
        if turn.status == 200 and turn["status"] == "active":
            await desk.finish(turn, answer="Yes")
        return turn.status

    async def meddle() -> None:
        for _ in range(6):
            await take_over(desk, boss, session)
            await say(desk, boss, session)
            await hand_back(desk, boss, session)

    statuses, _ = await asyncio.gather(asyncio.gather(*(write(number) for number in range(20))), meddle())
    kept = await session_of(desk, session)
    assert set(statuses) <= {200, 409}
    assert kept["turn_count"] == await desk.count("turns") == statuses.count(200)
    assert kept["message_count"] == await desk.count("messages")
    silent = await desk.count("turns", "taken_over")
    assert await desk.count("messages", "role = 'persona'") + silent == await desk.count(
        "turns", "status <> 'cancelled'"
    )
