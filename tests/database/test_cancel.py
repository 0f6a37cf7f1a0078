"""Stopping an answer: who may, what is kept, and what becomes of a message that interrupts one."""

import asyncio

import pytest

from tests.database.desk import JSON, PERSONA, WORKSPACE, Answer, Desk, Raised, claims, user, with_token


def _caller(token: JSON, **caller: str) -> JSON:
    return {"role": "switchboard", "scope": {}, "caller": {**token["caller"], **caller}}


async def _cancel(desk: Desk, token: JSON, turn: Answer) -> Answer:
    return await desk.call("cancel_turn", _caller(token), turn_id=turn["turn_id"])


async def _go_quiet(desk: Desk, turn: Answer, *, asked: bool = False) -> None:
    """As if the last flush was seven seconds ago, and the wish to stop four."""
    await desk.admin.execute(
        "update public.turns set lease_until = clock_timestamp() + interval '23 seconds', "
        "cancel_requested_at = case when $2 then clock_timestamp() - interval '4 seconds' else cancel_requested_at end "
        "where id = $1",
        turn["turn_id"],
        asked,
    )


async def _interrupt(desk: Desk) -> None:
    await desk.admin.execute("update public.personas set turn_policy = 'interrupt' where id = $1", PERSONA)


async def test_whoever_answers_is_asked_to_stop_and_keeps_all_that_was_seen(desk: Desk) -> None:
    ann = with_token(await desk.register("ann@example.test"))
    turn = await desk.start(ann)
    await desk.flush(turn, 0, "Hello")

    asked = await _cancel(desk, ann, turn)
    told = await desk.call(
        "flush_turn",
        {"role": "switchboard", "scope": {"workspace_id": WORKSPACE}, "caller": {"kind": "system"}},
        turn_id=turn["turn_id"],
        position=5,
        piece=" wor",
    )
    done = await desk.finish(turn, "cancelled", "Hello world")

    assert (asked["status"], asked["message_id"]) == ("active", None)
    assert told.body == {"status": "active", "stop": True}
    assert (done["changed"], done["status"], done["text_length"]) == (True, "cancelled", 11)
    again = await _cancel(desk, ann, turn)
    assert again.body == {
        "turn_id": turn["turn_id"],
        "status": "cancelled",
        "message_id": done["message_id"],
        "text_length": 11,
    }
    kept = await desk.admin.fetchrow("select text, partial from public.messages where id = $1", done["message_id"])
    assert kept is not None
    assert tuple(kept) == ("Hello world", True)
    audited = await desk.admin.fetch("select verb from public.audit_events where object_id = $1", turn["turn_id"])
    assert [row["verb"] for row in audited] == ["turn.cancel_requested", "turn.cancelled"]


async def test_where_nobody_answers_any_more_the_canceller_ends_it_with_what_was_flushed(desk: Desk) -> None:
    ann = with_token(await desk.register("ann@example.test"))
    turn = await desk.start(ann)
    await desk.flush(turn, 0, "Hello")
    await _go_quiet(desk, turn)

    assert (await _cancel(desk, ann, turn))["status"] == "active", (
        "whoever answers may have waited for the database too"
    )
    await _go_quiet(desk, turn, asked=True)
    ended = await _cancel(desk, ann, turn)

    assert (ended["status"], ended["text_length"]) == ("cancelled", 5)
    assert (await desk.finish(turn, "completed", "Hello world"))["changed"] is False
    assert await desk.count("sessions", "status = 'active'") == 1
    assert (await desk.start(ann, "And now?")).status == 200


async def test_a_cancel_right_after_an_outage_leaves_the_end_to_whoever_answers(desk: Desk) -> None:
    ann = with_token(await desk.register("ann@example.test"))
    turn = await desk.start(ann)
    await desk.flush(turn, 0, "Hello")
    await _go_quiet(desk, turn)

    assert (await _cancel(desk, ann, turn))["status"] == "active"
    assert (await _cancel(desk, ann, turn))["status"] == "active"
    await desk.flush(turn, 5, " world, this was said meanwhile")
    done = await desk.finish(turn, "cancelled", "Hello world, this was said meanwhile.")

    assert (done["changed"], done["status"], done["text_length"]) == (True, "cancelled", 37)


async def test_a_turn_that_has_ended_stays_as_it_is(desk: Desk) -> None:
    ann = with_token(await desk.register("ann@example.test"))
    turn = await desk.start(ann)
    await desk.finish(turn)
    before = await desk.everything()

    assert (await _cancel(desk, ann, turn))["status"] == "completed"
    assert await desk.everything() == before


async def test_only_those_who_may_see_a_turn_stop_it(desk: Desk) -> None:
    ann = with_token(await desk.register("ann@example.test"))
    bob = with_token(await desk.register("bob@example.test"))
    turn = await desk.start(ann)
    owner, agent, stranger, foreign = [await desk.sign_up(None) for _ in range(4)]
    other, _ = await desk.open_workspace()
    for member, role, workspace in (
        (owner, "owner", WORKSPACE),
        (agent, "agent", WORKSPACE),
        (foreign, "owner", other),
    ):
        await desk.admin.execute(
            "insert into public.workspace_members (workspace_id, user_id, role) values ($1, $2, $3)",
            workspace,
            member,
            role,
        )
    denied = [
        bob,
        _caller(ann, contact_id=bob["caller"]["contact_id"]),
        _caller(ann, conversation_id=bob["caller"]["conversation_id"]),
        *({"caller": user(each)} for each in (agent, stranger, foreign)),
        claims(),
        {"caller": {"kind": "system"}},
    ]
    for token in denied:
        with pytest.raises(Raised) as refused:
            await _cancel(desk, token, turn)
        assert (refused.value.status, refused.value.code) == (404, "turn_not_found")
    assert await desk.count("turns", "cancel_requested_at is not null") == 0

    await desk.admin.execute("update public.sessions set assigned_user_id = $1", agent)
    for member in (agent, owner):
        assert (await _cancel(desk, {"caller": user(member)}, turn))["status"] == "active"
    assert await desk.count("turns", "cancel_requested_at is not null") == 1


async def test_a_message_interrupts_the_answer_before_where_the_persona_says_so(desk: Desk) -> None:
    await _interrupt(desk)
    ann = with_token(await desk.register("ann@example.test"))
    turn = await desk.start(ann)
    await desk.flush(turn, 0, "One moment")

    waiting = await desk.start(ann, "Never mind", client_message_id="m2")
    assert (waiting.status, waiting["code"], waiting["stopping"]) == (409, "turn_in_progress", True)
    assert await desk.count("messages", "role = 'contact'") == 1
    assert await desk.flush(turn, 10, "") == "active"
    await desk.finish(turn, "cancelled", "One moment, pl")
    taken = await desk.start(ann, "Never mind", client_message_id="m2")

    assert taken.status == 200
    assert [said["text"] for said in taken["history"]] == ["Hello", "One moment, pl"]


async def test_an_answer_that_nobody_gives_any_more_is_interrupted_all_the_same(desk: Desk) -> None:
    await _interrupt(desk)
    ann = with_token(await desk.register("ann@example.test"))
    turn = await desk.start(ann)
    await desk.flush(turn, 0, "One moment")
    await _go_quiet(desk, turn)

    assert (await desk.start(ann, "Never mind"))["stopping"] is True
    await _go_quiet(desk, turn, asked=True)
    taken = await desk.start(ann, "Never mind")

    assert taken.status == 200
    assert (await desk.read(turn))["status"] == "cancelled"
    assert await desk.count("turns", "status = 'active'") == 1


async def test_cancels_and_the_end_race_and_one_wins(desk: Desk) -> None:
    ann = with_token(await desk.register("ann@example.test"))
    async with Desk(desk.gate_url, desk.admin_url, connections=12) as crowd:
        for round_number in range(6):
            turn = await desk.start(ann)
            await desk.flush(turn, 0, "abc")
            if round_number % 2:
                await _go_quiet(desk, turn, asked=True)
            done = asyncio.gather(
                *(_cancel(crowd, ann, turn) for _ in range(6)),
                *(crowd.finish(turn, "completed", "abcdef") for _ in range(3)),
            )
            await done
            state = await desk.read(turn)
            assert state["status"] in ("completed", "cancelled")
            assert state["text"] == ("abcdef" if state["status"] == "completed" else "abc")
            assert await desk.count("messages", "turn_id = $1 and role = 'persona'", turn["turn_id"]) == 1
    counted = await desk.admin.fetchrow("select turn_count, message_count from public.sessions")
    assert counted is not None
    assert tuple(counted) == (6, 12)


async def test_a_message_that_has_waited_long_enough_counts_and_stops_nobody(desk: Desk) -> None:
    await _interrupt(desk)
    ann = with_token(await desk.register("ann@example.test"))
    await desk.start(ann)
    assert (await desk.start(ann, "Never mind"))["stopping"] is True
    await desk.admin.execute("update public.turns set cancel_requested_at = null")
    used = await desk.admin.fetchval("select taken from public.rate_limits where name = 'messages_by_contact'")

    refused = await desk.start(ann, "Never mind", last_try=True)

    assert (refused.status, refused["code"], "stopping" in refused.body) == (409, "turn_in_progress", False)
    assert [limit["name"] for limit in refused["limits"]] == ["messages_by_contact", "messages_by_space"]
    after = await desk.admin.fetchval("select taken from public.rate_limits where name = 'messages_by_contact'")
    assert after == used + 1
    assert await desk.count("turns", "cancel_requested_at is not null") == 0


async def test_of_many_who_cancel_at_once_the_audit_has_the_first(desk: Desk) -> None:
    async with Desk(desk.gate_url, desk.admin_url, connections=6) as crowd:
        for number in range(5):
            ann = with_token(await desk.register(f"ann-{number}@example.test"))
            turn = await desk.start(ann)
            answers = await asyncio.gather(*(_cancel(crowd, ann, turn) for _ in range(6)))
            assert {each["status"] for each in answers} == {"active"}
            wished = "verb = 'turn.cancel_requested' and object_id = $1"
            assert await desk.count("audit_events", wished, turn["turn_id"]) == 1
