"""One message and its answer: one at a time, flushed, finished once, and ended by the sweep when nobody works on it."""

import asyncio
import uuid
from typing import Any

import asyncpg
import pytest

from tests.database.desk import JSON, PERSONA, WORKSPACE, Desk, Raised, on_a_turn, with_token


async def _ann(desk: Desk) -> JSON:
    return with_token(await desk.register("ann@example.test"))


async def _row(desk: Desk, table: str, key: Any) -> asyncpg.Record:
    row = await desk.admin.fetchrow(f"select * from public.{table} where id = $1", key)
    assert row is not None
    return row


async def _per_message(desk: Desk) -> None:
    await desk.admin.execute("update public.personas set session_policy = 'per_message' where id = $1", PERSONA)


async def test_a_second_message_meanwhile_is_told_to_wait(desk: Desk) -> None:
    ann = await _ann(desk)
    turn = await desk.start(ann)

    refused = await desk.start(ann, "and another thing")

    assert (refused.status, refused.retry_after) == (409, 1)
    assert [limit["name"] for limit in refused.body.pop("limits")] == ["messages_by_contact", "messages_by_space"]
    assert refused.body == {
        "code": "turn_in_progress",
        "retry_after": 1,
        "turn_id": turn["turn_id"],
    }
    assert await desk.count("messages") == 1
    assert (await _row(desk, "sessions", turn["session_id"]))["turn_count"] == 1
    await desk.finish(turn)
    assert (await desk.start(ann, "and another thing")).status == 200


async def test_of_ten_messages_at_once_one_is_answered(desk: Desk) -> None:
    ann = await _ann(desk)

    async with Desk(desk.gate_url, desk.admin_url, connections=10) as crowd:
        turns = await asyncio.gather(*(crowd.start(ann, f"message {n}") for n in range(10)))

    assert sorted(each.status for each in turns) == [200] + [409] * 9
    assert await desk.count("turns") == await desk.count("messages") == 1


async def test_of_ten_messages_at_once_after_a_finished_session_one_opens_the_next(desk: Desk) -> None:
    await _per_message(desk)
    ann = await _ann(desk)
    await desk.finish(await desk.start(ann))

    async with Desk(desk.gate_url, desk.admin_url, connections=10) as crowd:
        turns = await asyncio.gather(*(crowd.start(ann, f"message {n}") for n in range(10)))

    assert sorted(each.status for each in turns) == [200] + [409] * 9
    assert await desk.count("sessions") == 2


async def test_an_answer_can_be_read_while_it_is_flushed_and_afterwards(desk: Desk) -> None:
    turn = await desk.start()
    assert (await desk.read(turn)).body["text"] == ""
    await desk.flush(turn, 0, "Hé")
    await desk.flush(turn, 2, "llo ")
    await desk.flush(turn, 6, "🌍!")

    under_way = [(await desk.read(turn, after))["text"] for after in range(9)]
    first = await desk.read(turn, 4)
    await desk.finish(turn, answer="Héllo 🌍! Bye", usage={"tokens": 3}, first_token_ms=12)
    last = await desk.read(turn, 8)

    assert under_way == ["Héllo 🌍!"[after:] for after in range(9)]
    assert (first["status"], first["position"], first["message_id"]) == ("active", 8, None)
    assert (last["status"], last["text"], last["position"], last["usage"]) == ("completed", " Bye", 12, {"tokens": 3})
    assert last["contact_id"] == turn["contact_id"]
    assert await desk.count("turn_chunks") == 0
    message = await _row(desk, "messages", last["message_id"])
    assert (message["role"], message["text"], message["partial"]) == ("persona", "Héllo 🌍! Bye", False)
    assert (message["contact_id"], message["user_id"], str(message["persona_id"])) == (None, None, PERSONA)
    assert (await _row(desk, "turns", turn["turn_id"]))["first_token_ms"] == 12


async def test_a_flush_sent_twice_changes_nothing(desk: Desk) -> None:
    turn = await desk.start()

    for _ in range(2):
        assert await desk.flush(turn, 0, "Hello") == "active"
    await desk.flush(turn, 5, " you")
    await desk.flush(turn, 0, "Other")

    assert (await desk.read(turn))["text"] == "Hello you"


async def test_a_flush_renews_the_lease_even_when_empty_but_not_beyond_the_deadline(desk: Desk) -> None:
    turn = await desk.start()
    await desk.let_lease_run_out(turn)

    assert await desk.flush(turn, 0, "") == "active"
    assert await desk.expire() == 0
    assert await desk.count("turn_chunks") == 0
    left = "select extract(epoch from lease_until - clock_timestamp()) from public.turns"
    assert 25 < await desk.admin.fetchval(left) <= 30

    await desk.admin.execute("update public.turns set deadline = clock_timestamp() - interval '20 seconds'")
    await desk.flush(turn, 0, "")
    assert 5 < await desk.admin.fetchval(left) <= 10


async def test_a_flush_is_told_of_a_cancel_and_stores_nothing_more(desk: Desk) -> None:
    turn = await desk.start()
    await desk.flush(turn, 0, "Hel")
    await desk.finish(turn, "cancelled", None)

    assert await desk.flush(turn, 3, "lo") == "cancelled"

    assert await desk.count("turn_chunks") == 0
    message = await desk.admin.fetchrow("select text, partial from public.messages where role = 'persona'")
    assert message is not None
    assert tuple(message) == ("Hel", True)


@pytest.mark.parametrize("status", ["completed", "failed", "timeout", "cancelled"])
async def test_a_turn_is_finished_once_and_a_late_writer_is_told(desk: Desk, status: str) -> None:
    turn = await desk.start()

    first = await desk.finish(turn, status, "First", error_code=None if status == "completed" else "why")
    late = await desk.finish(turn, "completed", "Second", usage={"tokens": 1})

    assert (first["changed"], first["status"], first["text_length"]) == (True, status, 5)
    assert late.body == {**first.body, "changed": False}
    assert (await desk.read(turn))["text"] == "First"
    assert (await _row(desk, "messages", first["message_id"]))["partial"] == (status != "completed")
    session = await _row(desk, "sessions", turn["session_id"])
    assert (session["status"], session["turn_count"], session["message_count"]) == ("active", 1, 2)
    audited = await desk.admin.fetch("select verb, code from public.audit_events where object_id = $1", turn["turn_id"])
    assert [tuple(row) for row in audited] == ([] if status == "completed" else [(f"turn.{status}", "why")])


async def test_of_ten_finishers_at_once_one_wins_and_all_are_told_the_same(desk: Desk) -> None:
    turn = await desk.start()
    await desk.flush(turn, 0, "Hello")

    async with Desk(desk.gate_url, desk.admin_url, connections=10) as crowd:
        ends = await asyncio.gather(
            *(crowd.finish(turn, ("completed", "failed", "cancelled")[n % 3], f"Answer {n}") for n in range(10))
        )

    assert sum(each["changed"] for each in ends) == 1
    assert len({(each["status"], each["message_id"], each["text_length"]) for each in ends}) == 1
    assert await desk.count("messages", "role = 'persona'") == 1
    assert (await _row(desk, "sessions", turn["session_id"]))["message_count"] == 2


async def test_an_answer_of_nothing_is_no_message(desk: Desk) -> None:
    turn = await desk.start()

    done = await desk.finish(turn, "failed", None, error_code="persona_unreachable", error_detail="x" * 3000)

    assert (done["message_id"], done["text_length"]) == (None, 0)
    row = await _row(desk, "turns", turn["turn_id"])
    assert row["error_code"] == "persona_unreachable"
    assert await desk.count("turn_errors", "length(detail) = 2000") == 1
    session = await _row(desk, "sessions", turn["session_id"])
    assert (session["status"], session["message_count"], session["error_message"]) == (
        "active",
        1,
        "persona_unreachable",
    )


async def test_the_sweep_ends_a_turn_that_nobody_works_on_and_keeps_what_was_seen(desk: Desk) -> None:
    stale, alive = await desk.start(), await desk.start()
    for turn in (stale, alive):
        await desk.flush(turn, 0, "Hel")
        await desk.flush(turn, 3, "lo")
    await desk.let_lease_run_out(stale)

    assert await desk.expire() == 1
    assert await desk.expire() == 0

    read = await desk.read(stale)
    assert (read["status"], read["text"], read["error_code"]) == ("timeout", "Hello", "lease_expired")
    assert (await _row(desk, "messages", read["message_id"]))["partial"] is True
    assert (await _row(desk, "sessions", stale["session_id"]))["status"] == "active"
    assert (await desk.read(alive))["status"] == "active"
    late = await desk.finish(stale, answer="Hello world")
    assert (late["changed"], late["status"], late["text_length"]) == (False, "timeout", 5)


async def test_the_next_message_closes_a_turn_that_nobody_works_on(desk: Desk) -> None:
    ann = await _ann(desk)
    stale = await desk.start(ann, "One")
    await desk.flush(stale, 0, "Par")
    await desk.let_lease_run_out(stale)

    turn = await desk.start(ann, "Two")

    assert (turn.status, turn["session_id"]) == (200, stale["session_id"])
    assert [each["text"] for each in turn["history"]] == ["One", "Par"]
    assert (await desk.read(stale))["error_code"] == "lease_expired"
    assert await desk.flush(stale, 3, "tial") == "timeout"
    session = await _row(desk, "sessions", turn["session_id"])
    assert (session["turn_count"], session["message_count"]) == (2, 3)


async def test_the_sweep_leaves_alone_what_somebody_else_is_ending(desk: Desk) -> None:
    turn = await desk.start()
    await desk.let_lease_run_out(turn)
    other = await asyncpg.connect(desk.admin_url)
    try:
        async with other.transaction():
            await other.execute("select 1 from public.turns where id = $1 for update", turn["turn_id"])
            assert await asyncio.wait_for(desk.expire(), 5) == 0
    finally:
        await other.close()
    assert await desk.expire() == 1


async def test_the_next_message_and_the_late_answer_to_a_stale_turn_never_wait_for_each_other_in_a_circle(
    desk: Desk,
) -> None:
    ann = await _ann(desk)
    stale = await desk.start(ann)
    await desk.let_lease_run_out(stale)
    async with asyncpg.create_pool(desk.admin_url, min_size=1, max_size=1) as pool, pool.acquire() as holder:
        # Somebody holds the turn's row, so that both writers have begun before either can go on.
        held = holder.transaction()
        await held.start()
        await holder.execute("select 1 from public.turns where id = $1 for update", stale["turn_id"])
        late = asyncio.create_task(desk.finish(stale, answer="late"))
        await asyncio.sleep(0.1)
        following = asyncio.create_task(desk.start(ann, "Two"))
        await asyncio.sleep(0.1)
        await held.commit()

    outcome = await asyncio.gather(late, following, return_exceptions=True)

    assert [each for each in outcome if isinstance(each, Exception)] == []
    assert await desk.count("turns", "status = 'active'") == 1


async def test_a_session_per_message_ends_with_its_turn_and_the_next_message_opens_another(desk: Desk) -> None:
    await _per_message(desk)
    ann = await _ann(desk)

    sessions = []
    for status in ("completed", "failed", "timeout", "cancelled"):
        turn = await desk.start(ann)
        await desk.finish(turn, status)
        session = await _row(desk, "sessions", turn["session_id"])
        assert (session["status"], session["turn_count"]) == (status, 1)
        assert session["ended_at"] is not None
        sessions.append(turn["session_id"])

    assert len(set(sessions)) == 4
    assert await desk.count("conversations") == 1
    assert str(await desk.admin.fetchval("select session_id from public.contacts")) == sessions[0]


async def test_a_session_per_message_is_timed_out_with_its_turn(desk: Desk) -> None:
    await _per_message(desk)
    ann = await _ann(desk)
    swept = await desk.start(ann)
    await desk.let_lease_run_out(swept)
    await desk.expire()
    overtaken = await desk.start(ann)
    await desk.let_lease_run_out(overtaken)

    turn = await desk.start(ann)

    for stale in (swept, overtaken):
        assert (await _row(desk, "sessions", stale["session_id"]))["status"] == "timeout"
    assert len({each["session_id"] for each in (swept, overtaken, turn)}) == 3
    assert (await _row(desk, "sessions", turn["session_id"]))["status"] == "active"


async def test_a_message_resumes_a_paused_session(desk: Desk) -> None:
    ann = await _ann(desk)
    first = await desk.start(ann)
    await desk.finish(first)
    await desk.admin.execute(
        "update public.sessions set status = 'paused', last_activity_at = now() - interval '1 day'"
    )

    turn = await desk.start(ann)

    assert turn["session_id"] == first["session_id"]
    session = await _row(desk, "sessions", turn["session_id"])
    assert session["status"] == "active"
    recent = "last_activity_at > now() - interval '1 minute'"
    assert await desk.count("sessions", recent) == 1


@pytest.mark.parametrize("status", ["completed", "failed", "timeout", "cancelled"])
async def test_a_message_after_a_finished_session_opens_another_and_leaves_the_finished_one(
    desk: Desk, status: str
) -> None:
    ann = await _ann(desk)
    first = await desk.start(ann)
    await desk.finish(first)
    await desk.admin.execute("update public.sessions set status = $1, ended_at = now()", status)

    turn = await desk.start(ann)

    assert turn["session_id"] != first["session_id"]
    assert turn["conversation_id"] == first["conversation_id"]
    assert (await _row(desk, "sessions", first["session_id"]))["status"] == status


async def test_a_turn_of_another_workspace_is_not_there(desk: Desk) -> None:
    turn = await desk.start()
    workspace, _ = await desk.open_workspace()
    calls: list[tuple[str, JSON]] = [
        ("flush_turn", {"position": 0, "piece": "x"}),
        ("finish_turn", {"status": "completed", "answer": "x"}),
        ("read_turn", {"after": 0}),
    ]

    for function, arguments in calls:
        for token, key in ((on_a_turn(workspace), turn["turn_id"]), (on_a_turn(WORKSPACE), str(uuid.uuid4()))):
            with pytest.raises(Raised) as refused:
                await desk.call(function, token, turn_id=key, **arguments)
            assert (refused.value.status, refused.value.code) == (404, "turn_not_found")
    assert (await desk.read(turn))["status"] == "active"


async def test_a_turn_is_not_finished_as_active(desk: Desk) -> None:
    turn = await desk.start()

    with pytest.raises(Raised) as refused:
        await desk.finish(turn, "active")

    assert refused.value.status == 422
