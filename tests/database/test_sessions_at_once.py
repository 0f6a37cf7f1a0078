"""Changing many sessions in one call: each by itself, in any order, by several callers concurrently."""

import asyncio
from uuid import uuid4

from tests.database.desk import JSON, Answer, Desk, on_behalf, with_token

CHANGED, UNKNOWN = {"status": "paused", "changed": True}, {"code": "session_not_found"}


async def change(desk: Desk, caller: JSON, session_ids: list[str], status: str) -> dict[str, JSON]:
    """The items, by the session's id."""
    answer = await desk.call("change_sessions_status", on_behalf(caller), session_ids=session_ids, status=status)
    assert (answer.status, answer.retry_after) == (200, None)
    items = {item.pop("id"): item for item in answer["items"]}
    assert len(items) == len(answer["items"])
    return items


async def arrivals(desk: Desk, count: int) -> list[Answer]:
    return [await desk.register(f"s{number}@example.test") for number in range(count)]


async def test_each_session_is_changed_by_itself(desk: Desk) -> None:
    boss, (_, space) = await desk.member("owner"), await desk.open_workspace()
    live, paused, over = [each["session_id"] for each in await arrivals(desk, 3)]
    foreign = (await desk.register("x@example.test", space=space))["session_id"]
    for session_id, status in ((paused, "paused"), (over, "cancelled")):
        assert (await change(desk, boss, [session_id], status))[session_id]["changed"] is True
    turn = await desk.start(await desk.arrive("y"))
    nothing, answering = str(uuid4()), turn["session_id"]
    found = await change(desk, boss, [live, nothing, paused, over, answering, foreign, live], "completed")
    assert found == {
        live: {"status": "completed", "changed": True},
        paused: {"status": "completed", "changed": True},
        over: {"code": "transition_not_allowed", "session_status": "cancelled"},
        answering: {
            "code": "turn_in_progress", "stopping": True, "first": True, "turn_id": turn["turn_id"], "retry_after": 1,
        },
        foreign: UNKNOWN,
        nothing: UNKNOWN,
    }  # fmt: skip
    assert (await desk.row("sessions", foreign))["status"] == "active"
    assert await desk.audited(live) == [("session.completed", boss["user_id"])]
    # The answer that was asked to stop has stopped by the next call.
    await desk.finish(turn, "cancelled")
    again = await change(desk, boss, [live, answering], "completed")
    assert [again[key]["changed"] for key in (live, answering)] == [False, True]


async def test_an_owner_here_who_is_an_agent_elsewhere_changes_only_assigned_sessions_there(desk: Desk) -> None:
    boss, (other, space) = await desk.member("owner"), await desk.open_workspace()
    await desk.join(boss["user_id"], "agent", other)
    (here,) = await arrivals(desk, 1)
    there = [(await desk.register(f"{number}@example.test", space=space))["session_id"] for number in range(2)]
    assign = "update public.sessions set assigned_user_id = $1 where id = $2"
    await desk.admin.execute(assign, boss["user_id"], there[0])
    found = await change(desk, boss, [here["session_id"], *there], "paused")
    assert found == {here["session_id"]: CHANGED, there[0]: CHANGED, there[1]: UNKNOWN}


async def test_a_call_changes_up_to_a_hundred_sessions_and_to_no_other_status(desk: Desk) -> None:
    boss, ids = await desk.member("owner"), [str(uuid4()) for _ in range(101)]
    for given, status in ((ids, "paused"), (ids[:1], "timeout")):
        refused = await desk.refused("change_sessions_status", on_behalf(boss), session_ids=given, status=status)
        assert refused[0] == 422
    assert len(await change(desk, boss, ids[:100], "paused")) == 100
    assert await change(desk, boss, [], "paused") == {}


async def test_callers_that_name_the_same_sessions_in_different_orders_do_not_deadlock(desk: Desk) -> None:
    boss, people = await desk.member("owner"), await arrivals(desk, 8)
    ids = [each["session_id"] for each in people]
    async with desk.crowd(12) as crowd:

        async def talk(token: JSON) -> None:
            for _ in range(4):
                turn = await crowd.start(token)
                if turn.status == 200:
                    await crowd.finish(turn)

        changes = [
            change(crowd, boss, ids[place:] + ids[:place], status)
            for place in range(0, 8, 2)
            for status in ("paused", "active", "paused")
        ]
        talking = asyncio.gather(*(talk(with_token(each)) for each in people))
        for items in await asyncio.gather(*changes):
            assert all("changed" in item for item in items.values())
        await talking
    for session_id in ids:
        moved = [verb for verb, _ in await desk.audited(session_id)]
        paused, resumed = moved.count("session.paused"), moved.count("session.resumed")
        assert paused - resumed == ((await desk.row("sessions", session_id))["status"] == "paused")
        assert len(moved) == paused + resumed > 0
