"""A persona that fails again and again is left alone, and one turn of all finds out whether it is back."""

import asyncio

from tests.database.desk import JSON, PERSONA, WORKSPACE, Answer, Desk, Raised, with_token


async def _contacts(desk: Desk, count: int) -> list[JSON]:
    await desk.admin.execute("update public.spaces set arrivals_per_minute = 1000000")
    return [with_token(await desk.register(f"a{number}@example.test")) for number in range(count)]


async def _fail(desk: Desk, token: JSON, times: int, code: str = "persona_unreachable") -> None:
    for _ in range(times):
        turn = await desk.start(token)
        assert turn.status == 200, turn
        await desk.finish(turn, "failed", None, error_code=code)


async def _breaker(desk: Desk) -> dict[str, object]:
    row = await desk.admin.fetchrow("select state::text, failures, refused from public.persona_breakers")
    return dict(row) if row is not None else {}


async def _let_it_rest(desk: Desk) -> None:
    """As if the time it is left alone for was over."""
    await desk.admin.execute("update public.persona_breakers set retry_at = clock_timestamp()")


async def _age(desk: Desk, turn: Answer, *, seconds: float) -> None:
    """As if nobody had flushed for so much longer."""
    await desk.admin.execute(
        "update public.turns set lease_until = lease_until - $1 * interval '1 second' where id = $2",
        seconds,
        turn["turn_id"],
    )


async def _verbs(desk: Desk) -> list[str]:
    rows = await desk.admin.fetch("select verb from public.audit_events where object_id = $1 order by id", PERSONA)
    return [row["verb"] for row in rows]


async def test_it_opens_after_the_configured_failures_in_a_row(desk: Desk) -> None:
    (ann,) = await _contacts(desk, 1)
    await _fail(desk, ann, 4)
    await desk.finish(await desk.start(ann))
    await _fail(desk, ann, 4)
    assert await _breaker(desk) == {"state": "closed", "failures": 4, "refused": 0}
    await _fail(desk, ann, 1, "persona_timeout")
    before = await desk.everything()

    refused = [await desk.start(ann) for _ in range(2)]

    for answer in refused:
        assert (answer.status, answer["code"]) == (503, "persona_unavailable")
        assert answer.retry_after is not None
        assert 28 <= answer.retry_after <= 30
    assert await desk.everything() == before
    assert await _breaker(desk) == {"state": "open", "failures": 5, "refused": 2}
    assert await _verbs(desk) == ["breaker.opened"]
    # Whoever is refused has tried all the same.
    taken = await desk.admin.fetchval("select taken from public.rate_limits where name = 'messages_by_contact'")
    assert taken == 12


async def test_what_is_not_the_personas_fault_is_not_counted(desk: Desk) -> None:
    (ann,) = await _contacts(desk, 1)
    await desk.admin.execute("update public.personas set breaker_failures = 1")
    for status, code in (("failed", "turn_interrupted"), ("timeout", "lease_expired"), ("cancelled", None)):
        await desk.finish(await desk.start(ann), status, "so far", error_code=code)
    turn = await desk.start(ann)
    await desk.let_lease_run_out(turn)
    await desk.expire()

    assert await _breaker(desk) == {}
    assert (await desk.start(ann)).status == 200


async def test_of_all_who_come_when_the_time_is_over_one_finds_out(desk: Desk) -> None:
    everybody = await _contacts(desk, 20)
    await _fail(desk, everybody[0], 5)
    await _let_it_rest(desk)

    async with Desk(desk.gate_url, desk.admin_url, connections=20) as crowd:
        came = await asyncio.gather(*(crowd.start(each) for each in everybody))

    assert sorted(each.status for each in came) == [200] + [503] * 19
    assert await _breaker(desk) == {"state": "half_open", "failures": 5, "refused": 19}
    (probe,) = (each for each in came if each.status == 200)
    await desk.finish(probe)
    assert await _breaker(desk) == {"state": "closed", "failures": 0, "refused": 19}
    assert await _verbs(desk) == ["breaker.opened", "breaker.half_opened", "breaker.closed"]
    assert [(await desk.start(each)).status for each in everybody[:3] if each is not None].count(503) == 0


async def test_one_that_declines_is_well(desk: Desk) -> None:
    ann, bob = await _contacts(desk, 2)
    await _fail(desk, ann, 4)
    await _fail(desk, bob, 6, "persona_declined")
    assert await _breaker(desk) == {"state": "closed", "failures": 0, "refused": 0}
    await _fail(desk, ann, 5)
    await _let_it_rest(desk)

    await _fail(desk, bob, 1, "persona_declined")

    assert (await _breaker(desk))["state"] == "closed"
    assert (await desk.start(ann)).status == 200


async def test_one_that_fails_again_is_left_alone_again(desk: Desk) -> None:
    (ann,) = await _contacts(desk, 1)
    await _fail(desk, ann, 5)
    await _let_it_rest(desk)

    await _fail(desk, ann, 1)

    assert (await desk.start(ann)).status == 503
    assert (await _breaker(desk))["state"] == "open"


async def test_a_turn_that_found_out_nothing_leaves_it_to_the_next(desk: Desk) -> None:
    (ann,) = await _contacts(desk, 1)
    await _fail(desk, ann, 5)
    await _let_it_rest(desk)
    await desk.finish(await desk.start(ann), "cancelled", "so")
    lost = await desk.start(ann)
    assert lost.status == 200
    await desk.let_lease_run_out(lost)
    assert await desk.expire() == 1

    assert (await desk.start(ann)).status == 200


async def test_a_turn_that_never_came_back_is_given_up(desk: Desk) -> None:
    ann, bob = await _contacts(desk, 2)
    await _fail(desk, ann, 5)
    await _let_it_rest(desk)
    await desk.start(ann)
    assert (await desk.start(bob)).status == 503

    await _let_it_rest(desk)

    assert (await desk.start(bob)).status == 200


async def test_a_turn_that_finds_out_and_that_nobody_answers_any_more_is_replaced_by_one(desk: Desk) -> None:
    everybody = await _contacts(desk, 11)
    await _fail(desk, everybody[0], 5)
    await _let_it_rest(desk)
    lost = await desk.start(everybody[0])
    await _age(desk, lost, seconds=5)
    assert (await desk.start(everybody[1])).status == 503, "it may still flush"
    await desk.flush(lost, 0, "")
    await _age(desk, lost, seconds=5)
    assert (await desk.start(everybody[1])).status == 503, "it did"
    await _age(desk, lost, seconds=1.5)

    async with Desk(desk.gate_url, desk.admin_url, connections=10) as crowd:
        came = await asyncio.gather(*(crowd.start(each) for each in everybody[1:]))

    assert sorted(each.status for each in came) == [200] + [503] * 9
    # Whoever was replaced is not heard, nor is the sweep that ends it.
    await desk.let_lease_run_out(lost)
    assert await desk.expire() == 1
    assert (await _breaker(desk))["state"] == "half_open"
    (probe,) = (each for each in came if each.status == 200)
    await desk.finish(probe)
    assert (await _breaker(desk))["state"] == "closed"


async def test_whoever_waits_for_a_turn_that_finds_out_waits_as_long_as_it_has_taken(desk: Desk) -> None:
    ann, bob = await _contacts(desk, 2)
    await _fail(desk, ann, 5)
    await _let_it_rest(desk)
    probe = await desk.start(ann)
    told = []
    for age in (0, 12, 300):
        await desk.admin.execute("update public.turns set created_at = clock_timestamp() - $1 * interval '1 s' "
                                 "where id = $2", age, probe["turn_id"])  # fmt: skip
        told.append((await desk.start(bob)).retry_after)
    await desk.admin.execute("update public.personas set breaker_seconds = 3")
    told.append((await desk.start(bob)).retry_after)

    assert told[0] == 5
    assert told[1] in (12, 13, 14)
    assert told[2:] == [30, 3], "no longer than if it failed now"


async def test_a_persona_without_a_breaker_is_always_asked(desk: Desk) -> None:
    (ann,) = await _contacts(desk, 1)
    await desk.admin.execute("update public.personas set breaker_failures = 0")
    await _fail(desk, ann, 12)
    assert (await desk.start(ann)).status == 200


async def test_late_ends_of_turns_from_before_say_nothing_new(desk: Desk) -> None:
    everybody = await _contacts(desk, 3)
    early: list[Answer] = [await desk.start(each) for each in everybody]
    other = (await _contacts(desk, 4))[3]
    await _fail(desk, other, 5)

    await desk.finish(early[0])
    await desk.finish(early[1], "failed", None, error_code="persona_failed")
    await desk.finish(early[2], "cancelled", None)

    assert await _breaker(desk) == {"state": "open", "failures": 5, "refused": 0}
    assert await desk.count("persona_breakers", "workspace_id = $1", WORKSPACE) == 1


async def test_turns_from_before_it_opened_say_nothing_once_it_is_closed_either(desk: Desk) -> None:
    everybody = await _contacts(desk, 6)
    hanging = [await desk.start(each) for each in everybody[:5]]
    await _fail(desk, everybody[5], 5)
    await _let_it_rest(desk)
    await desk.finish(await desk.start(everybody[5]))

    for turn in hanging:
        await desk.finish(turn, "timeout", None, error_code="persona_timeout")

    assert await _breaker(desk) == {"state": "closed", "failures": 0, "refused": 0}
    await _fail(desk, everybody[5], 5)
    assert (await _breaker(desk))["state"] == "open"


async def test_messages_and_ends_of_turns_never_wait_for_each_other_in_a_circle(desk: Desk) -> None:
    """Refusals count at the breaker and at the limits, and so does a message that ends a turn which nobody answers."""
    everybody = await _contacts(desk, 16)
    await desk.admin.execute("update public.personas set breaker_failures = 1, turn_policy = 'interrupt'")
    await desk.admin.execute("update public.workspaces set messages_per_minute_by_contact = 100000")
    database = await desk.admin.fetchval("select current_database()")
    # Sooner than the test's end.
    await desk.admin.execute(f"alter database {database} set deadlock_timeout = '20ms'")
    stopped = asyncio.Event()

    async def chat(crowd: Desk, token: JSON) -> None:
        while not stopped.is_set():
            turn = await crowd.start(token)
            if turn.status == 200:
                await crowd.finish(turn, "failed", None, error_code="persona_failed")

    async def age() -> None:
        for _ in range(40):
            await desk.admin.execute("update public.turns set lease_until = clock_timestamp() where status = 'active'")
            await desk.admin.execute(
                "update public.persona_breakers set retry_at = clock_timestamp() where state <> 'closed'"
            )
            await asyncio.sleep(0.05)
        stopped.set()

    async with Desk(desk.gate_url, desk.admin_url, connections=16) as crowd:
        ended = await asyncio.gather(*(chat(crowd, each) for each in everybody), age(), return_exceptions=True)

    assert [str(each) for each in ended if isinstance(each, Raised)] == []
    assert [each for each in ended if each is not None] == []
