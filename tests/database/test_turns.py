"""One message and its answer: one at a time, flushed, finished once, and ended by the sweep when its lease expires.

Turns and sessions in any order and concurrently, with a session per conversation or per message, are
test_sessions_lifecycle's.
"""

import asyncio
from typing import Any

import pytest

from tests.database.desk import PERSONA, Answer, Desk, refusal

ENDS = ["completed", "failed", "timeout", "cancelled"]


async def _session(desk: Desk, turn: Answer, *columns: str) -> tuple[Any, ...]:
    row = await desk.row("sessions", turn["session_id"])
    return tuple(row[column] for column in columns)


async def test_a_second_message_during_a_turn_is_told_to_wait(desk: Desk) -> None:
    ann = await desk.arrive()
    turn = await desk.start(ann)

    refused = await desk.start(ann, "and another thing")

    assert (refused.status, refused.retry_after) == (409, 1)
    assert [limit["name"] for limit in refused.body.pop("limits")] == ["messages_by_contact", "messages_by_space"]
    assert refused.body == {"code": "turn_in_progress", "retry_after": 1, "turn_id": turn["turn_id"]}
    assert await desk.count("messages") == 1
    assert await _session(desk, turn, "turn_count") == (1,)
    await desk.finish(turn)
    assert (await desk.start(ann, "and another thing")).status == 200


async def test_an_answer_can_be_read_while_it_is_flushed_and_afterwards(desk: Desk) -> None:
    turn = await desk.start()
    assert (await desk.read(turn)).body["text"] == ""
    for position, piece in ((0, "Hé"), (2, "llo "), (2, "llo "), (6, "🌍!"), (0, "Other")):
        # A flush sent twice changes nothing.
        assert await desk.flush(turn, position, piece) == "active"

    # A reader of the live stream may be ahead of what is flushed.
    ahead = await desk.read(turn, 11)
    assert (ahead["position"], ahead["text"]) == (11, "")
    assert [(await desk.read(turn, after))["text"] for after in range(9)] == ["Héllo 🌍!"[after:] for after in range(9)]
    first = await desk.read(turn, 4)
    await desk.finish(turn, answer="Héllo 🌍! Bye", usage={"tokens": 3}, first_token_ms=12)
    last = await desk.read(turn, 8)

    assert (first["status"], first["position"], first["message_id"]) == ("active", 8, None)
    assert (last["status"], last["text"], last["position"], last["usage"]) == ("completed", " Bye", 12, {"tokens": 3})
    beyond = await desk.read(turn, 2_147_483_647)
    assert (beyond["position"], beyond["text"]) == (12, "")
    assert last["contact_id"] == turn["contact_id"]
    assert await desk.count("turn_chunks") == 0
    message = await desk.row("messages", last["message_id"])
    assert (message["role"], message["text"], message["partial"]) == ("persona", "Héllo 🌍! Bye", False)
    assert (message["contact_id"], message["user_id"], message["persona_id"]) == (None, None, PERSONA)
    assert (await desk.row("turns", turn["turn_id"]))["first_token_ms"] == 12


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


@pytest.mark.parametrize("status", ENDS)
async def test_a_turn_is_finished_once_and_a_late_writer_is_told(desk: Desk, status: str) -> None:
    turn = await desk.start()
    await desk.flush(turn, 0, "Fir")
    answer = None if status == "cancelled" else "First"

    first = await desk.finish(turn, status, answer, error_code=None if status == "completed" else "why")
    late = await desk.finish(turn, "completed", "Second", usage={"tokens": 1})

    # Without an answer, the flushed text is kept.
    text = answer or "Fir"
    assert (first["changed"], first["status"], first["text_length"]) == (True, status, len(text))
    assert late.body == {**first.body, "changed": False}
    assert await desk.flush(turn, 3, "lo") == status
    assert await desk.count("turn_chunks") == 0
    assert (await desk.read(turn))["text"] == text
    assert (await desk.row("messages", first["message_id"]))["partial"] == (status != "completed")
    assert await _session(desk, turn, "status", "turn_count", "message_count") == ("active", 1, 2)
    ended = [] if status == "completed" else [(f"turn.{status}", "why")]
    assert await desk.audited(turn["turn_id"], "verb, code") == ended


async def test_a_turn_is_not_finished_as_active(desk: Desk) -> None:
    turn = await desk.start()
    assert (await refusal(desk.finish(turn, "active")))[0] == 422


async def test_an_empty_answer_is_no_message_and_its_error_is_kept(desk: Desk) -> None:
    turn = await desk.start()

    done = await desk.finish(turn, "failed", None, error_code="persona_unreachable", error_detail="x" * 3000)

    assert (done["message_id"], done["text_length"]) == (None, 0)
    assert (await desk.row("turns", turn["turn_id"]))["error_code"] == "persona_unreachable"
    assert await desk.count("turn_errors", "length(detail) = 2000") == 1
    expected = ("active", 1, "persona_unreachable")
    assert await _session(desk, turn, "status", "message_count", "error_message") == expected


@pytest.mark.parametrize("ended_by", ["the sweep", "the next message"])
async def test_a_turn_whose_lease_expired_is_ended_and_its_text_is_kept(desk: Desk, ended_by: str) -> None:
    ann = await desk.arrive()
    stale, alive = await desk.start(ann, "One"), await desk.start()
    for turn in (stale, alive):
        await desk.flush(turn, 0, "Hel")
        await desk.flush(turn, 3, "lo")
    await desk.let_lease_run_out(stale)
    if ended_by == "the sweep":
        assert (await desk.expire(), await desk.expire()) == (1, 0)

    following = await desk.start(ann, "Two")

    assert (following.status, following["session_id"]) == (200, stale["session_id"])
    assert [each["text"] for each in following["history"]] == ["One", "Hello"]
    read = await desk.read(stale)
    assert (read["status"], read["text"], read["error_code"]) == ("timeout", "Hello", "lease_expired")
    assert (await desk.row("messages", read["message_id"]))["partial"] is True
    assert await desk.flush(stale, 5, "!") == "timeout"
    late = await desk.finish(stale, answer="Hello world")
    assert (late["changed"], late["status"], late["text_length"]) == (False, "timeout", 5)
    assert await _session(desk, following, "status", "turn_count", "message_count") == ("active", 2, 3)
    assert (await desk.read(alive))["status"] == "active"


async def test_the_sweep_skips_a_turn_that_is_being_ended(desk: Desk) -> None:
    turn = await desk.start()
    await desk.let_lease_run_out(turn)
    async with desk.as_owner() as other, other.transaction():
        await other.execute("select 1 from public.turns where id = $1 for update", turn["turn_id"])
        assert await asyncio.wait_for(desk.expire(), 5) == 0
    assert await desk.expire() == 1


async def test_the_next_message_and_a_late_answer_to_an_expired_turn_do_not_deadlock(desk: Desk) -> None:
    ann = await desk.arrive()
    stale = await desk.start(ann)
    await desk.let_lease_run_out(stale)
    async with desk.as_owner() as holder, holder.transaction():
        # With the turn's row locked, both writers begin before either can continue.
        await holder.execute("select 1 from public.turns where id = $1 for update", stale["turn_id"])
        late = asyncio.create_task(desk.finish(stale, answer="late"))
        await desk.until_waiting()
        following = asyncio.create_task(desk.start(ann, "Two"))
        await desk.until_waiting(2)

    await asyncio.gather(late, following)
    assert await desk.count("turns", "status = 'active'") == 1
