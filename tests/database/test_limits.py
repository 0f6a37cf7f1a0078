"""How many may arrive in a minute: by address and by space, counted when refused, and nothing else left behind."""

import asyncio

from tests.database.desk import LANDING, SPACE, Desk, with_token


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
    assert await desk.everything() == before
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
