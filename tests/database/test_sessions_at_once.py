"""Many sessions changed in one call: each on its own, in whatever order they are named, by however many at once."""

import asyncio
from uuid import uuid4

import pytest

from tests.database.desk import JSON, Answer, Desk, Raised, member, on_behalf, user, with_token
from tests.database.test_sessions_states import audited


async def change(desk: Desk, caller: JSON, session_ids: list[str], status: str) -> dict[str, JSON]:
    """The items, by the session's id."""
    answer = await desk.call("change_sessions_status", on_behalf(caller), session_ids=session_ids, status=status)
    assert answer.status == 200
    assert answer.retry_after is None
    items = {item.pop("id"): item for item in answer["items"]}
    assert len(items) == len(answer["items"])
    return items


async def arrivals(desk: Desk, count: int) -> list[Answer]:
    return [await desk.register(f"s{number}@example.test") for number in range(count)]


async def stands(desk: Desk, session_id: str) -> str:
    found: str = await desk.admin.fetchval("select status::text from public.sessions where id = $1", session_id)
    return found


async def test_each_session_is_changed_on_its_own(desk: Desk) -> None:
    boss = await member(desk, "owner")
    live, paused, over, answering, foreign = [
        each["session_id"]
        for each in (
            *await arrivals(desk, 4),
            await desk.register("x@example.test", space=(await desk.open_workspace())[1]),
        )
    ]
    for session_id, status in ((paused, "paused"), (over, "cancelled")):
        assert (await change(desk, boss, [session_id], status))[session_id]["changed"] is True
    turn = await desk.start(with_token(await desk.register("y@example.test")))
    nothing = str(uuid4())
    found = await change(desk, boss, [live, nothing, paused, over, turn["session_id"], foreign, live], "completed")
    assert found == {
        live: {"status": "completed", "changed": True},
        paused: {"status": "completed", "changed": True},
        over: {"code": "transition_not_allowed", "session_status": "cancelled"},
        turn["session_id"]: {
            "code": "turn_in_progress", "stopping": True, "turn_id": turn["turn_id"], "retry_after": 1},
        foreign: {"code": "session_not_found"},
        nothing: {"code": "session_not_found"},
    }  # fmt: skip
    assert (await stands(desk, answering), await stands(desk, foreign)) == ("active", "active")
    assert await audited(desk, live) == [("session.completed", boss["user_id"])]
    # What was asked to stop stops, and is completed when it is asked for again.
    await desk.finish(turn, "cancelled")
    again = await change(desk, boss, [live, turn["session_id"]], "completed")
    assert again[live] == {"status": "completed", "changed": False}
    assert again[turn["session_id"]] == {"status": "completed", "changed": True}


async def test_whose_sessions_they_are_not_finds_none_of_them(desk: Desk) -> None:
    ann, bob = await arrivals(desk, 2)
    agent, stranger = await member(desk, "agent"), user(await desk.sign_up(None))
    ids = [ann["session_id"], bob["session_id"], str(uuid4())]
    for nobody in (agent, stranger):
        assert await change(desk, nobody, ids, "cancelled") == {key: {"code": "session_not_found"} for key in ids}
    # With the token that one of them holds, one is cancelled, and nothing else is done to it.
    caller = with_token(ann)["caller"]
    found = await change(desk, caller, ids, "paused")
    assert found == {key: {"code": "forbidden" if key == ids[0] else "session_not_found"} for key in ids}
    found = await change(desk, caller, ids, "cancelled")
    assert found[ids[0]] == {"status": "cancelled", "changed": True}
    assert await stands(desk, ids[1]) == "active"


async def test_sessions_of_several_workspaces_are_changed_together(desk: Desk) -> None:
    boss = await member(desk, "owner")
    other, space = await desk.open_workspace()
    await desk.admin.execute(
        "insert into public.workspace_members (workspace_id, user_id, role) values ($1, $2, 'agent')",
        other,
        boss["user_id"],
    )
    ids = [
        (await desk.register(f"{number}@example.test", space=where))["session_id"]
        for number, where in enumerate((space, space))
    ] + [each["session_id"] for each in await arrivals(desk, 2)]
    await desk.admin.execute("update public.sessions set assigned_user_id = $1 where id = $2", boss["user_id"], ids[0])
    assert await change(desk, boss, ids, "paused") == {
        ids[0]: {"status": "paused", "changed": True},
        ids[1]: {"code": "session_not_found"},
        ids[2]: {"status": "paused", "changed": True},
        ids[3]: {"status": "paused", "changed": True},
    }


async def test_a_hundred_at_once_and_no_more(desk: Desk) -> None:
    boss = await member(desk, "owner")
    ids = [str(uuid4()) for _ in range(101)]
    with pytest.raises(Raised) as refused:
        await change(desk, boss, ids, "paused")
    assert refused.value.status == 422
    with pytest.raises(Raised) as refused:
        await change(desk, boss, ids[:1], "timeout")
    assert refused.value.status == 422
    assert len(await change(desk, boss, ids[:100], "paused")) == 100
    assert await change(desk, boss, [], "paused") == {}


async def test_many_who_name_the_same_ones_in_other_orders_wait_for_each_other_and_never_in_a_circle(
    desk: Desk,
) -> None:
    boss = await member(desk, "owner")
    tokens = [with_token(each) for each in await arrivals(desk, 8)]
    ids = [
        str(
            await desk.admin.fetchval(
                "select id from public.sessions where conversation_id = $1", token["caller"]["conversation_id"]
            )
        )
        for token in tokens
    ]
    async with Desk(desk.gate_url, desk.admin_url, connections=12) as crowd:

        async def talk(token: JSON) -> None:
            for _ in range(4):
                turn = await crowd.start(token)
                if turn.status == 200:
                    await crowd.finish(turn)

        found = await asyncio.gather(
            *(
                change(crowd, boss, ids[place:] + ids[:place], status)
                for place in range(0, 8, 2)
                for status in ("paused", "active", "paused")
            ),
            *(talk(token) for token in tokens),
        )
    for items in found[:12]:
        assert items is not None
        assert all("changed" in item for item in items.values())
    for session_id in ids:
        moved = [verb for verb, _ in await audited(desk, session_id)]
        paused, resumed = moved.count("session.paused"), moved.count("session.resumed")
        assert paused - resumed == (await stands(desk, session_id) == "paused")
        assert len(moved) == paused + resumed > 0
