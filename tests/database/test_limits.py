"""How many may arrive in a minute: by address and by space, counted when refused, and nothing else left behind."""

import asyncio

import pytest

from tests.database.desk import LANDING, SPACE, Desk, claims, user, with_token


async def _limit(desk: Desk, *, space: int = 1000, address: int = 1000) -> None:
    await desk.admin.execute(
        "update public.spaces set arrivals_per_minute = $1, arrivals_per_minute_by_address = $2 where id = $3",
        space,
        address,
        SPACE,
    )


async def test_the_limit_by_address_refuses_one_address_and_no_other(desk: Desk) -> None:
    await _limit(desk, address=2)
    here, there = {"address": "192.0.2.1"}, {"address": "192.0.2.2"}
    await desk.register("a@example.test", client=here)
    await desk.start(client=here)
    before = await desk.everything()

    refused = await desk.register("b@example.test", client=here)
    also = await desk.start(client=here)

    for answer in (refused, also):
        assert (answer.status, answer["code"]) == (429, "rate_limited")
        assert answer.retry_after == int(answer["retry_after"])
        assert 1 <= answer.retry_after <= 60
        assert "192.0.2.1" not in str(answer.body)
    # The refusals leave nothing but the minute's one word of them.
    before["audit_events"] += 1
    assert await desk.everything() == before
    said = await desk.admin.fetchrow(
        "select verb, code, object_id::text from public.audit_events order by id desc limit 1"
    )
    assert said is not None
    assert tuple(said) == ("limit.exceeded", "arrivals_by_address", SPACE)
    counted = await desk.admin.fetchrow(
        "select taken, refused from public.rate_limits where name = 'arrivals_by_address' and subject = '192.0.2.1'"
    )
    assert counted is not None
    assert tuple(counted) == (2, 2)
    assert (await desk.register("b@example.test", client=there)).status == 200


async def test_the_limit_by_space_counts_every_address_and_no_other_space(desk: Desk) -> None:
    await _limit(desk, space=3)
    for number in range(3):
        assert (await desk.register(f"a{number}@example.test", client={"address": f"192.0.2.{number}"})).status == 200

    refused = await desk.start(client={"address": "192.0.2.9"})

    assert refused.status == 429
    counted = await desk.admin.fetch("select name, subject, taken, refused from public.rate_limits where refused > 0")
    assert [tuple(row) for row in counted] == [("arrivals_by_space", SPACE, 3, 1)]
    assert (await desk.register("b@example.test", space=LANDING, kind="landing")).status == 200


async def test_a_crowd_at_once_gets_exactly_what_the_limit_allows(desk: Desk) -> None:
    await _limit(desk, address=7)

    async with Desk(desk.gate_url, desk.admin_url, connections=20) as crowd:
        arrived = await asyncio.gather(
            *(crowd.register(f"a{n}@example.test", client={"address": "192.0.2.1"}) for n in range(40))
        )

    assert sorted(each.status for each in arrived) == [200] * 7 + [429] * 33
    assert await desk.count("contacts") == 7
    counted = await desk.admin.fetchrow(
        "select taken, refused from public.rate_limits where name = 'arrivals_by_address'"
    )
    assert counted is not None
    assert tuple(counted) == (7, 33)


async def test_a_limit_opens_again_when_its_minute_is_over(desk: Desk) -> None:
    await _limit(desk, address=1)
    here = {"address": "192.0.2.1"}
    await desk.register("a@example.test", client=here)
    assert (await desk.register("b@example.test", client=here)).status == 429

    await desk.admin.execute("update public.rate_limits set window_started_at = now() - interval '61 seconds'")

    assert (await desk.register("c@example.test", client=here)).status == 200
    counted = await desk.admin.fetchrow(
        "select taken, refused, window_started_at > now() - interval '5 seconds' from public.rate_limits "
        "where name = 'arrivals_by_address'"
    )
    assert counted is not None
    assert tuple(counted) == (1, 0, True)


async def test_messages_with_a_token_are_no_arrivals(desk: Desk) -> None:
    await _limit(desk, space=1)
    ann = await desk.register("ann@example.test")

    for _ in range(3):
        turn = await desk.start(with_token(ann))
        assert turn.status == 200
        await desk.finish(turn)


MESSAGE_LIMITS = ("messages_by_contact", "messages_by_user", "messages_by_address", "messages_by_space")


@pytest.mark.parametrize("name", MESSAGE_LIMITS)
async def test_each_limit_on_messages_refuses_whom_it_is_for_and_nobody_else(desk: Desk, name: str) -> None:
    await desk.admin.execute(f"update public.workspaces set {name.replace('messages', 'messages_per_minute')} = 2")
    if name == "messages_by_user":
        first, second = [claims(user(await desk.sign_up(f"{each}@example.test"))) for each in "ab"]
    else:
        first, second = [with_token(await desk.register(f"{each}@example.test")) for each in "ab"]
    here, there = {"address": "192.0.2.1"}, {"address": "192.0.2.2"}
    for left in (1, 0):
        turn = await desk.start(first, client=here)
        (state,) = [limit for limit in turn["limits"] if limit["name"] == name]
        assert (state["quota"], state["remaining"]) == (2, left)
        assert 0 < state["reset"] <= 60
        await desk.finish(turn)
    before = await desk.everything()

    refused = await desk.start(first, client=here)

    assert (refused.status, refused["code"], refused["limit"]) == (429, "rate_limited", name)
    assert refused["limits"] == [{"name": name, "quota": 2, "remaining": 0, "reset": refused["retry_after"]}]
    assert "subject" not in refused.body
    before["audit_events"] += 1
    assert await desk.everything() == before
    counted = await desk.admin.fetchrow("select taken, refused from public.rate_limits where name = $1", name)
    assert counted is not None
    assert tuple(counted) == (2, 1)
    other = await desk.start(second, client=there)
    assert other.status == (429 if name == "messages_by_space" else 200)


async def test_a_repeat_of_a_message_is_answered_whatever_the_limit(desk: Desk) -> None:
    await desk.admin.execute("update public.workspaces set messages_per_minute_by_contact = 1")
    ann = with_token(await desk.register("ann@example.test"))
    turn = await desk.start(ann, client_message_id="m1")
    await desk.finish(turn)
    assert (await desk.start(ann, "another")).status == 429

    again = await desk.start(ann, client_message_id="m1")

    assert (again.status, again["turn_id"], again["repeat"]) == (200, turn["turn_id"], True)


async def test_whoever_is_told_to_wait_has_tried(desk: Desk) -> None:
    await desk.admin.execute("update public.workspaces set messages_per_minute_by_contact = 3")
    ann = with_token(await desk.register("ann@example.test"))
    await desk.start(ann)

    answers = [await desk.start(ann) for _ in range(3)]

    assert [each.status for each in answers] == [409, 409, 429]
    left = [{state["name"]: state["remaining"] for state in each["limits"]} for each in answers]
    assert [each["messages_by_contact"] for each in left] == [1, 0, 0], "a refusal tells how much is left, too"
    assert [each.get("messages_by_space") for each in left] == [999_998, 999_997, None]


async def test_a_crowd_of_messages_at_once_gets_exactly_what_the_space_allows(desk: Desk) -> None:
    everybody = [with_token(await desk.register(f"a{number}@example.test")) for number in range(24)]
    await desk.admin.execute("update public.workspaces set messages_per_minute_by_space = 9")

    async with Desk(desk.gate_url, desk.admin_url, connections=12) as crowd:
        came = await asyncio.gather(*(crowd.start(each, client={"address": "192.0.2.1"}) for each in everybody))

    assert sorted(each.status for each in came) == [200] * 9 + [429] * 15
    assert await desk.count("turns") == 9
