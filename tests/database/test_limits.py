"""Limits per minute: on arrivals, by address and by space; on messages, by contact, user, address and space."""

import asyncio
from typing import Any

import pytest

from tests.database.desk import JSON, LANDING, SPACE, Answer, Desk, claims, user

HERE, THERE = {"address": "192.0.2.1"}, {"address": "192.0.2.2"}


async def limit(desk: Desk, **limits: int) -> None:
    """Set limits of the space (arrivals_…) or of the workspace (messages_…)."""
    for name, value in limits.items():
        table = "spaces" if name.startswith("arrivals") else "workspaces"
        await desk.admin.execute(f"update public.{table} set {name} = $1", value)


async def counted(desk: Desk, name: str) -> list[tuple[Any, ...]]:
    return await desk.all("select subject, taken, refused from public.rate_limits where name = $1 order by 1", name)


async def test_the_limit_by_address_refuses_that_address_only(desk: Desk) -> None:
    await limit(desk, arrivals_per_minute_by_address=2)
    await desk.register("a@example.test", client=HERE)
    await desk.start(client=HERE)
    before = await desk.everything()

    for answer in (await desk.register("b@example.test", client=HERE), await desk.start(client=HERE)):
        assert (answer.status, answer["code"]) == (429, "rate_limited")
        assert 1 <= answer["retry_after"] <= 60
        assert answer.retry_after == answer["retry_after"]
        assert HERE["address"] not in str(answer.body)

    # The refusals leave one audit event for the minute.
    before["audit_events"] += 1
    assert await desk.everything() == before
    last = "select verb, code, object_id::text from public.audit_events order by id desc limit 1"
    assert await desk.one(last) == ("limit.exceeded", "arrivals_by_address", SPACE)
    assert await counted(desk, "arrivals_by_address") == [(f"{SPACE} {HERE['address']}", 2, 2)]
    # The limit is a setting of the space: arrivals in another space of the workspace do not count.
    assert (await desk.register("c@example.test", space=LANDING, kind="landing", client=HERE)).status == 200
    assert (await desk.register("b@example.test", client=THERE)).status == 200


async def test_the_limit_by_space_counts_all_addresses_but_no_other_space_and_no_message_with_a_token(
    desk: Desk,
) -> None:
    await limit(desk, arrivals_per_minute=3)
    ann = await desk.arrive()
    for client in (HERE, THERE):
        assert (await desk.register("a@example.test", client=client)).status == 200
    assert (await desk.start(client={"address": "192.0.2.9"})).status == 429
    assert await counted(desk, "arrivals_by_space") == [(SPACE, 3, 1)]
    assert (await desk.register("b@example.test", space=LANDING, kind="landing")).status == 200
    assert (await desk.start(ann)).status == 200

    # The limit ends with its minute.
    await desk.admin.execute("update public.rate_limits set window_started_at = now() - interval '61 seconds'")
    assert (await desk.register("c@example.test")).status == 200
    assert (SPACE, 1, 0) in await counted(desk, "arrivals_by_space")


async def test_a_users_new_conversations_are_arrivals(desk: Desk) -> None:
    await limit(desk, arrivals_per_minute_by_address=2)
    ann = claims(user(await desk.sign_up("ann@example.test"), "ann@example.test"))
    told = [(await desk.start(ann, thread_key=f"t{number}", client=HERE)).status for number in range(4)]
    assert told == [200, 200, 429, 429]
    assert await desk.count("conversations") == 2


@pytest.mark.parametrize("what", ["arrivals", "messages"])
async def test_concurrent_calls_get_exactly_the_limit(desk: Desk, what: str) -> None:
    everybody = [await desk.arrive(f"a{number}") for number in range(24)] if what == "messages" else []
    await limit(desk, arrivals_per_minute_by_address=7, messages_per_minute_by_space=7)

    async with desk.crowd(12) as crowd:
        calls = [crowd.start(each, client=HERE) for each in everybody] or [
            crowd.register(f"a{number}@example.test", client=HERE) for number in range(24)
        ]
        came: list[Answer] = await asyncio.gather(*calls)

    assert sorted(each.status for each in came) == [200] * 7 + [429] * 17
    assert await desk.count("turns" if everybody else "contacts") == 7
    (row,) = await counted(desk, "messages_by_space" if everybody else "arrivals_by_address")
    assert row[1:] == (7, 17)


MESSAGE_LIMITS = ("messages_by_contact", "messages_by_user", "messages_by_address", "messages_by_space")


@pytest.mark.parametrize("name", MESSAGE_LIMITS)
async def test_each_limit_on_messages_refuses_its_subject_only(desk: Desk, name: str) -> None:
    await limit(desk, **{name.replace("messages", "messages_per_minute"): 2})
    first: JSON
    if name == "messages_by_user":
        first, second = [claims(user(await desk.sign_up(f"{each}@example.test"))) for each in "ab"]
    else:
        first, second = [await desk.arrive(each) for each in "ab"]
    for left in (1, 0):
        turn = await desk.start(first, client=HERE, client_message_id=f"m{left}")
        (state,) = [state for state in turn["limits"] if state["name"] == name]
        assert (state["quota"], state["remaining"]) == (2, left)
        assert 0 < state["reset"] <= 60
        await desk.finish(turn)
    before = await desk.everything()

    refused = await desk.start(first, client=HERE)

    assert (refused.status, refused["code"], refused["limit"]) == (429, "rate_limited", name)
    assert refused["limits"] == [{"name": name, "quota": 2, "remaining": 0, "reset": refused["retry_after"]}]
    assert "subject" not in refused.body
    before["audit_events"] += 1
    assert await desk.everything() == before
    ((_, taken, times),) = await counted(desk, name)
    assert (taken, times) == (2, 1)
    # A repeat is answered whatever the limit.
    again = await desk.start(first, client=HERE, client_message_id="m0")
    assert (again.status, again["turn_id"], again["repeat"]) == (200, turn["turn_id"], True)
    assert (await desk.start(second, client=THERE)).status == (429 if name == "messages_by_space" else 200)


async def test_a_message_that_has_to_wait_counts_and_is_told_the_remaining_quota(desk: Desk) -> None:
    await limit(desk, messages_per_minute_by_contact=3)
    ann = await desk.arrive()
    await desk.start(ann)
    answers = [await desk.start(ann) for _ in range(3)]

    assert [each.status for each in answers] == [409, 409, 429]
    left = [{state["name"]: state["remaining"] for state in each["limits"]} for each in answers]
    assert [each["messages_by_contact"] for each in left] == [1, 0, 0]
    assert [each.get("messages_by_space") for each in left] == [999_998, 999_997, None]
