"""Cancelling an answer, by request or by a message that interrupts it, and the text that is kept.

Cancels beside every other change are test_sessions_lifecycle's; the access matrix has the callers.
"""

import asyncio

from tests.database.desk import JSON, PERSONA, Answer, Desk, on_a_turn, on_behalf

ASKED = "cancel_requested_at is not null"
USED = "select taken from public.rate_limits where name = 'messages_by_contact'"


async def cancel(desk: Desk, caller: JSON, turn: Answer) -> Answer:
    return await desk.call("cancel_turn", on_behalf(caller), turn_id=turn["turn_id"])


async def begun(desk: Desk, policy: str = "refuse") -> tuple[JSON, Answer]:
    """A contact's token, and the turn that is being answered."""
    await desk.admin.execute("update public.personas set turn_policy = $1 where id = $2", policy, PERSONA)
    ann = await desk.arrive()
    turn = await desk.start(ann)
    await desk.flush(turn, 0, "Hello")
    return ann, turn


async def age(desk: Desk, turn: Answer, *, asked: bool = False) -> None:
    """Move the last flush seven seconds back, and the request to stop four."""
    await desk.admin.execute(
        "update public.turns set lease_until = clock_timestamp() + interval '23 seconds', cancel_requested_at = "
        "case when $2 then clock_timestamp() - interval '4 seconds' else cancel_requested_at end where id = $1",
        turn["turn_id"],
        asked,
    )


async def test_the_worker_is_told_to_stop_and_stores_all_of_its_text(desk: Desk) -> None:
    ann, turn = await begun(desk)

    asked = await cancel(desk, ann["caller"], turn)
    told = await desk.call("flush_turn", on_a_turn(), turn_id=turn["turn_id"], position=5, piece=" wor")
    done = await desk.finish(turn, "cancelled", "Hello world")

    assert (asked["status"], asked["message_id"]) == ("active", None)
    assert told.body == {"status": "active", "stop": True, "revoked": False}
    assert (done["changed"], done["status"]) == (True, "cancelled")
    ended = {"turn_id": turn["turn_id"], "status": "cancelled", "message_id": done["message_id"], "text_length": 11}
    before = await desk.everything()
    assert (await cancel(desk, ann["caller"], turn)).body == ended
    assert await desk.everything() == before
    message = await desk.row("messages", done["message_id"])
    assert (message["text"], message["partial"]) == ("Hello world", True)


async def test_a_silent_turn_is_ended_by_the_second_cancel_with_the_flushed_text(desk: Desk) -> None:
    ann, turn = await begun(desk)
    await age(desk, turn)
    # Right after an outage, the worker may flush again: it has a few seconds from the request.
    for _ in range(2):
        assert (await cancel(desk, ann["caller"], turn))["status"] == "active"
    await age(desk, turn, asked=True)
    ended = await cancel(desk, ann["caller"], turn)

    assert (ended["status"], ended["text_length"]) == ("cancelled", 5)
    assert (await desk.finish(turn, "completed", "Hello world"))["changed"] is False
    assert await desk.count("sessions", "status = 'active'") == 1
    assert (await desk.start(ann, "And now?")).status == 200


async def test_a_message_interrupts_the_answer_and_waits_for_its_end(desk: Desk) -> None:
    ann, turn = await begun(desk, "interrupt")
    waiting = await desk.start(ann, "Never mind", client_message_id="m2")
    assert (waiting.status, waiting["code"], waiting["stopping"]) == (409, "turn_in_progress", True)
    assert await desk.count("messages", "role = 'contact'") == 1
    await desk.finish(turn, "cancelled", "Hello, pl")
    taken = await desk.start(ann, "Never mind", client_message_id="m2")
    assert [said["text"] for said in taken["history"]] == ["Hello", "Hello, pl"]

    # A silent turn is ended by the message itself.
    await age(desk, taken)
    assert (await desk.start(ann, "Again"))["stopping"] is True
    await age(desk, taken, asked=True)
    assert (await desk.start(ann, "Again")).status == 200
    assert (await desk.read(taken))["status"] == "cancelled"
    assert await desk.count("turns", "status = 'active'") == 1


async def test_the_last_try_of_a_waiting_message_counts_at_the_limits_and_interrupts_nothing(desk: Desk) -> None:
    ann, _ = await begun(desk, "interrupt")
    assert (await desk.start(ann, "Never mind"))["stopping"] is True
    await desk.admin.execute("update public.turns set cancel_requested_at = null")
    (used,) = await desk.one(USED)

    refused = await desk.start(ann, "Never mind", last_try=True)

    assert (refused.status, refused["code"], "stopping" in refused.body) == (409, "turn_in_progress", False)
    assert [limit["name"] for limit in refused["limits"]] == ["messages_by_contact", "messages_by_space"]
    assert await desk.one(USED) == (used + 1,)
    assert await desk.count("turns", ASKED) == 0


async def test_of_concurrent_cancels_and_finishes_one_wins(desk: Desk) -> None:
    ann = await desk.arrive()
    async with desk.crowd(12) as crowd:
        for number in range(6):
            turn = await desk.start(ann)
            await desk.flush(turn, 0, "abc")
            if number % 2:
                await age(desk, turn, asked=True)
            await asyncio.gather(
                *(cancel(crowd, ann["caller"], turn) for _ in range(6)),
                *(crowd.finish(turn, "completed", "abcdef") for _ in range(3)),
            )
            state = await desk.read(turn)
            assert (state["status"], state["text"]) in {("completed", "abcdef"), ("cancelled", "abc")}
            assert await desk.count("messages", "turn_id = $1 and role = 'persona'", turn["turn_id"]) == 1
            asked = "verb = 'turn.cancel_requested' and object_id = $1"
            assert await desk.count("audit_events", asked, turn["turn_id"]) <= 1
    assert await desk.one("select turn_count, message_count from public.sessions") == (6, 12)
