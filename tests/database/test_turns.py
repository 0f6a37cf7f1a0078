"""One message and its answer: one at a time, flushed, finished once, and ended by the sweep when its worker is gone."""

import asyncio
from typing import Any

import pytest

from tests.database.desk import JSON, PERSONA, Answer, Desk, Raised, with_token

ENDS = ["completed", "failed", "timeout", "cancelled"]


async def _ann(desk: Desk) -> JSON:
    return with_token(await desk.register("ann@example.test"))


async def _per_message(desk: Desk) -> None:
    await desk.admin.execute("update public.personas set session_policy = 'per_message' where id = $1", PERSONA)


async def _session(desk: Desk, turn: Answer, *columns: str) -> tuple[Any, ...]:
    row = await desk.row("sessions", turn["session_id"])
    return tuple(row[column] for column in columns)


async def test_a_second_message_during_a_turn_is_told_to_wait(desk: Desk) -> None:
    ann = await _ann(desk)
    turn = await desk.start(ann)

    refused = await desk.start(ann, "and another thing")

    assert (refused.status, refused.retry_after) == (409, 1)
    assert [limit["name"] for limit in refused.body.pop("limits")] == ["messages_by_contact", "messages_by_space"]
    assert refused.body == {"code": "turn_in_progress", "retry_after": 1, "turn_id": turn["turn_id"]}
    assert await desk.count("messages") == 1
    assert await _session(desk, turn, "turn_count") == (1,)
    await desk.finish(turn)
    assert (await desk.start(ann, "and another thing")).status == 200


@pytest.mark.parametrize("after_a_finished_session", [False, True])
async def test_of_ten_concurrent_messages_one_is_answered(desk: Desk, *, after_a_finished_session: bool) -> None:
    ann = await _ann(desk)
    before = 0
    if after_a_finished_session:
        await _per_message(desk)
        await desk.finish(await desk.start(ann))
        before = 1

    async with Desk(desk.gate_url, desk.admin_url, connections=10) as crowd:
        turns = await asyncio.gather(*(crowd.start(ann, f"message {n}") for n in range(10)))

    assert sorted(each.status for each in turns) == [200] + [409] * 9
    assert await desk.count("turns") == await desk.count("messages", "role = 'contact'") == before + 1
    assert await desk.count("sessions") == before + 1


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
    assert (message["contact_id"], message["user_id"], str(message["persona_id"])) == (None, None, PERSONA)
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
    audited = await desk.admin.fetch("select verb, code from public.audit_events where object_id = $1", turn["turn_id"])
    assert [tuple(row) for row in audited] == ([] if status == "completed" else [(f"turn.{status}", "why")])


async def test_a_turn_is_not_finished_as_active(desk: Desk) -> None:
    turn = await desk.start()
    with pytest.raises(Raised) as refused:
        await desk.finish(turn, "active")
    assert refused.value.status == 422


async def test_of_ten_concurrent_finishers_one_wins_and_all_are_told_the_same(desk: Desk) -> None:
    turn = await desk.start()
    await desk.flush(turn, 0, "Hello")

    async with Desk(desk.gate_url, desk.admin_url, connections=10) as crowd:
        ends = await asyncio.gather(*(crowd.finish(turn, ENDS[n % 4], f"Answer {n}") for n in range(10)))

    assert sum(each["changed"] for each in ends) == 1
    assert len({(each["status"], each["message_id"], each["text_length"]) for each in ends}) == 1
    assert await desk.count("messages", "role = 'persona'") == 1
    assert await _session(desk, turn, "message_count") == (2,)


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
    ann = await _ann(desk)
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
    ann = await _ann(desk)
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


async def test_a_session_per_message_ends_with_its_turn_and_the_next_message_opens_another(desk: Desk) -> None:
    await _per_message(desk)
    ann = await _ann(desk)
    turns = []
    for status in (*ENDS, "swept", "overtaken"):
        turn = await desk.start(ann)
        turns.append(turn)
        if status in ENDS:
            await desk.finish(turn, status)
        else:
            await desk.let_lease_run_out(turn)
            if status == "swept":
                await desk.expire()
    last = await desk.start(ann)

    for turn, status in zip(turns, (*ENDS, "timeout", "timeout"), strict=True):
        assert await _session(desk, turn, "status", "turn_count") == (status, 1)
        assert (await _session(desk, turn, "ended_at"))[0] is not None
    assert await _session(desk, last, "status") == ("active",)
    assert len({turn["session_id"] for turn in (*turns, last)}) == 7
    assert await desk.count("conversations") == 1
    assert str(await desk.admin.fetchval("select session_id from public.contacts")) == turns[0]["session_id"]


@pytest.mark.parametrize("status", ["paused", *ENDS])
async def test_a_message_resumes_a_paused_session_and_opens_another_after_a_finished_one(
    desk: Desk, status: str
) -> None:
    ann = await _ann(desk)
    first = await desk.start(ann)
    await desk.finish(first)
    await desk.admin.execute(
        "update public.sessions set status = $1::text::public.session_status,"
        " last_activity_at = now() - interval '1 day', ended_at = case when $1 <> 'paused' then now() end",
        status,
    )

    turn = await desk.start(ann)

    assert turn["conversation_id"] == first["conversation_id"]
    assert (turn["session_id"] == first["session_id"]) == (status == "paused")
    assert await _session(desk, first, "status") == ("active" if status == "paused" else status,)
    recent = "id = $1 and status = 'active' and last_activity_at > now() - interval '1 minute'"
    assert await desk.count("sessions", recent, turn["session_id"]) == 1
