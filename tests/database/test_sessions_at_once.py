"""Changing many sessions in one call: each by itself, in any order, by several callers concurrently."""

import asyncio
from uuid import uuid4

from tests.database.desk import JSON, Answer, Desk, member, on_behalf, user, with_token
from tests.database.test_sessions_states import audited

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


async def status_of(desk: Desk, session_id: str) -> str:
    return str((await desk.row("sessions", session_id))["status"])


async def test_each_session_is_changed_by_itself(desk: Desk) -> None:
    boss, (_, space) = await member(desk, "owner"), await desk.open_workspace()
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
        answering: {"code": "turn_in_progress", "stopping": True, "turn_id": turn["turn_id"], "retry_after": 1},
        foreign: UNKNOWN,
        nothing: UNKNOWN,
    }
    assert await status_of(desk, foreign) == "active"
    assert await audited(desk, live) == [("session.completed", boss["user_id"])]
    # The answer that was asked to stop has stopped by the next call.
    await desk.finish(turn, "cancelled")
    again = await change(desk, boss, [live, answering], "completed")
    assert [again[key]["changed"] for key in (live, answering)] == [False, True]


async def test_a_caller_changes_only_their_own_sessions_in_any_workspace(desk: Desk) -> None:
    boss, (other, space) = await member(desk, "owner"), await desk.open_workspace()
    ann, bob = await arrivals(desk, 2)
    there = [(await desk.register(f"{number}@example.test", space=space))["session_id"] for number in range(2)]
    ids = [ann["session_id"], bob["session_id"], *there, str(uuid4())]
    await desk.admin.execute(
        "insert into public.workspace_members (workspace_id, user_id, role) values ($1, $2, 'agent')",
        other,
        boss["user_id"],
    )
    assign = "update public.sessions set assigned_user_id = $1 where id = $2"
    await desk.admin.execute(assign, boss["user_id"], there[0])

    for nobody in (await member(desk, "agent"), user(await desk.sign_up(None))):
        assert await change(desk, nobody, ids, "cancelled") == dict.fromkeys(ids, UNKNOWN)
    expected = dict.fromkeys(ids[:3], CHANGED) | dict.fromkeys(ids[3:], UNKNOWN)
    assert await change(desk, boss, ids, "paused") == expected
    # A contact may only cancel.
    for status, item in (("paused", {"code": "forbidden"}), ("cancelled", {"status": "cancelled", "changed": True})):
        found = await change(desk, with_token(ann)["caller"], ids, status)
        assert found == {**dict.fromkeys(ids, UNKNOWN), ids[0]: item}
    assert await status_of(desk, ids[1]) == "paused"


async def test_a_call_changes_up_to_a_hundred_sessions_and_to_no_other_status(desk: Desk) -> None:
    boss, ids = await member(desk, "owner"), [str(uuid4()) for _ in range(101)]
    for given, status in ((ids, "paused"), (ids[:1], "timeout")):
        refused = await desk.refused("change_sessions_status", on_behalf(boss), session_ids=given, status=status)
        assert refused[0] == 422
    assert len(await change(desk, boss, ids[:100], "paused")) == 100
    assert await change(desk, boss, [], "paused") == {}


async def test_callers_that_name_the_same_sessions_in_different_orders_do_not_deadlock(desk: Desk) -> None:
    boss, people = await member(desk, "owner"), await arrivals(desk, 8)
    ids = [each["session_id"] for each in people]
    async with Desk(desk.gate_url, desk.admin_url, connections=12) as crowd:

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
        moved = [verb for verb, _ in await audited(desk, session_id)]
        paused, resumed = moved.count("session.paused"), moved.count("session.resumed")
        assert paused - resumed == (await status_of(desk, session_id) == "paused")
        assert len(moved) == paused + resumed > 0
