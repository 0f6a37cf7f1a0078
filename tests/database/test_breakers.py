"""The breaker of a persona that fails repeatedly: when it opens, and the probe turn that closes it."""

import asyncio

import pytest

from tests.database.desk import JSON, PERSONA, Answer, Desk

OPEN = {"state": "open", "failures": 5, "refused": 0}
CLOSED = {"state": "closed", "failures": 0, "refused": 0}


async def contacts(desk: Desk, count: int) -> list[JSON]:
    await desk.lift_limits()
    return [await desk.arrive(f"a{number}") for number in range(count)]


async def fail(desk: Desk, token: JSON, times: int, code: str = "persona_unreachable") -> None:
    for _ in range(times):
        turn = await desk.start(token)
        assert turn.status == 200, turn
        await desk.finish(turn, "failed", None, error_code=code)


async def breaker(desk: Desk) -> dict[str, object]:
    row = await desk.admin.fetchrow("select state::text, failures, refused from public.persona_breakers")
    return dict(row) if row is not None else {}


async def end_the_pause(desk: Desk) -> None:
    await desk.admin.execute("update public.persona_breakers set retry_at = clock_timestamp()")


async def opened(desk: Desk, count: int = 1) -> list[JSON]:
    """Contacts of a persona whose breaker is open and whose next turn is the probe."""
    everybody = await contacts(desk, count)
    await fail(desk, everybody[0], 5)
    await end_the_pause(desk)
    return everybody


async def age(desk: Desk, turn: Answer, seconds: float) -> None:
    """Move the last flush of a turn into the past."""
    await desk.admin.execute(
        "update public.turns set lease_until = lease_until - $1 * interval '1 second' where id = $2",
        seconds,
        turn["turn_id"],
    )


async def verbs(desk: Desk) -> list[str]:
    rows = await desk.all("select verb from public.audit_events where object_id = $1 order by id", PERSONA)
    return [verb for (verb,) in rows]


async def test_the_breaker_opens_after_the_configured_failures_in_a_row(desk: Desk) -> None:
    (ann,) = await contacts(desk, 1)
    await fail(desk, ann, 4)
    await desk.finish(await desk.start(ann))
    await fail(desk, ann, 4)
    assert await breaker(desk) == {**CLOSED, "failures": 4}
    await fail(desk, ann, 1, "persona_timeout")
    before = await desk.everything()

    for refused in [await desk.start(ann) for _ in range(2)]:
        assert (refused.status, refused["code"]) == (503, "persona_unavailable")
        assert refused.retry_after in (28, 29, 30)

    assert await desk.everything() == before
    assert await breaker(desk) == {**OPEN, "refused": 2}
    assert await verbs(desk) == ["breaker.opened"]
    # Refused messages count at the limits.
    assert await desk.one("select taken from public.rate_limits where name = 'messages_by_contact'") == (12,)


async def test_only_failures_of_the_persona_count(desk: Desk) -> None:
    ann, bob = await contacts(desk, 2)
    await desk.admin.execute("update public.personas set breaker_failures = 1")
    for status, code in (("failed", "turn_interrupted"), ("timeout", "lease_expired"), ("cancelled", None)):
        await desk.finish(await desk.start(ann), status, "so far", error_code=code)
    await desk.let_lease_run_out(await desk.start(ann))
    await desk.expire()
    assert await breaker(desk) == {}

    # A persona that declines or refuses one message works: failures in a row begin anew, and a probe succeeds.
    await desk.admin.execute("update public.personas set breaker_failures = 5")
    await fail(desk, ann, 4)
    await fail(desk, bob, 6, "persona_declined")
    await fail(desk, bob, 6, "persona_input_refused")
    assert await breaker(desk) == CLOSED
    await fail(desk, ann, 5)
    await end_the_pause(desk)
    await fail(desk, bob, 1, "persona_declined")
    assert (await breaker(desk))["state"] == "closed"
    # 0 disables the breaker.
    await desk.admin.execute("update public.personas set breaker_failures = 0")
    await fail(desk, ann, 12)


async def test_of_all_messages_after_the_pause_one_is_the_probe(desk: Desk) -> None:
    everybody = await opened(desk, 20)
    async with desk.crowd(20) as crowd:
        came = await asyncio.gather(*(crowd.start(each) for each in everybody))

    assert sorted(each.status for each in came) == [200] + [503] * 19
    assert await breaker(desk) == {"state": "half_open", "failures": 5, "refused": 19}
    (probe,) = (each for each in came if each.status == 200)
    await desk.finish(probe)
    assert await breaker(desk) == {"state": "closed", "failures": 0, "refused": 19}
    assert await verbs(desk) == ["breaker.opened", "breaker.half_opened", "breaker.closed"]
    assert {(await desk.start(each)).status for each in everybody[:3]} <= {200, 409}


@pytest.mark.parametrize("end", ["failed", "cancelled", "lease", "silence"])
async def test_a_probe_that_fails_reopens_the_breaker_and_one_without_a_result_is_replaced(
    desk: Desk, end: str
) -> None:
    ann, bob = await opened(desk, 2)
    probe = await desk.start(ann)
    assert (await desk.start(bob)).status == 503
    if end in ("failed", "cancelled"):
        await desk.finish(probe, end, None, error_code="persona_failed" if end == "failed" else None)
    elif end == "lease":
        await desk.let_lease_run_out(probe)
        assert await desk.expire() == 1
    else:
        await end_the_pause(desk)
    assert (await desk.start(bob)).status == (503 if end == "failed" else 200)
    assert (await breaker(desk))["state"] == ("open" if end == "failed" else "half_open")


async def test_a_probe_without_flushes_is_replaced_by_one_turn_and_its_end_is_ignored(desk: Desk) -> None:
    everybody = await opened(desk, 11)
    lost = await desk.start(everybody[0])
    for _ in range(2):
        # A flush renews the probe.
        await age(desk, lost, 5)
        assert (await desk.start(everybody[1])).status == 503
        await desk.flush(lost, 0, "")
    await age(desk, lost, 6.5)

    async with desk.crowd(10) as crowd:
        came = await asyncio.gather(*(crowd.start(each) for each in everybody[1:]))

    assert sorted(each.status for each in came) == [200] + [503] * 9
    await desk.let_lease_run_out(lost)
    assert await desk.expire() == 1
    assert (await breaker(desk))["state"] == "half_open"
    (probe,) = (each for each in came if each.status == 200)
    await desk.finish(probe)
    assert (await breaker(desk))["state"] == "closed"


async def test_the_retry_hint_during_a_probe_is_the_probes_age_within_bounds(desk: Desk) -> None:
    ann, bob = await opened(desk, 2)
    probe = await desk.start(ann)
    told = []
    for seconds in (0, 12, 300):
        created = "update public.turns set created_at = clock_timestamp() - $1 * interval '1 s' where id = $2"
        await desk.admin.execute(created, seconds, probe["turn_id"])
        told.append((await desk.start(bob)).retry_after)
    await desk.admin.execute("update public.personas set breaker_seconds = 3")
    told.append((await desk.start(bob)).retry_after)
    assert told.pop(1) in (12, 13, 14)
    assert told == [5, 30, 3]


async def test_turns_from_before_the_breaker_opened_change_nothing(desk: Desk) -> None:
    *everybody, last = await contacts(desk, 9)
    early = [await desk.start(each) for each in everybody]
    await fail(desk, last, 5)
    await desk.finish(early[0])
    await desk.finish(early[1], "failed", None, error_code="persona_failed")
    await desk.finish(early[2], "cancelled", None)
    assert await breaker(desk) == OPEN

    await end_the_pause(desk)
    await desk.finish(await desk.start(last))
    for turn in early[3:]:
        await desk.finish(turn, "timeout", None, error_code="persona_timeout")
    assert await breaker(desk) == CLOSED
    await fail(desk, last, 5)
    assert (await breaker(desk))["state"] == "open"


async def test_messages_and_ends_of_turns_do_not_deadlock(desk: Desk) -> None:
    """Refusals lock the breaker and the limits, and so does a message that ends an expired turn."""
    everybody = await contacts(desk, 16)
    await desk.admin.execute("update public.personas set breaker_failures = 1, turn_policy = 'interrupt'")
    (database,) = await desk.one("select current_database()")
    await desk.admin.execute(f"alter database {database} set deadlock_timeout = '20ms'")
    chatting = True

    async def chat(crowd: Desk, token: JSON) -> None:
        for _ in range(30):
            turn = await crowd.start(token)
            if turn.status == 200:
                await crowd.finish(turn, "failed", None, error_code="persona_failed")

    async def expire() -> None:
        while chatting:
            await desk.admin.execute("update public.turns set lease_until = now() where status = 'active'")
            await desk.admin.execute("update public.persona_breakers set retry_at = now() where state <> 'closed'")

    async with desk.crowd(16) as crowd:
        expiring = asyncio.create_task(expire())
        ended = await asyncio.gather(*(chat(crowd, each) for each in everybody), return_exceptions=True)
        chatting = False
        await expiring
    assert [each for each in ended if each is not None] == []
