"""Inbound events and their jobs: one job per delivery, in order per key, one worker at a time, and a final status.

The access matrix has the callers.
"""

import asyncio
import uuid
from typing import Any

import asyncpg
import pytest

from tests.database.desk import OPERATOR, PERSONA, SYSTEM, WORKSPACE, Answer, Desk, on_a_turn

MAX_ATTEMPTS = 12


async def _deliver(
    desk: Desk,
    key: str,
    ordering_key: str | None = None,
    workspace: str = WORKSPACE,
    kind: str | None = "persona_answer",
) -> Answer:
    return await desk.call(
        "record_event",
        on_a_turn(workspace),
        source="n8n",
        delivery_key=key,
        headers={"content-type": "application/json"},
        raw_body='{"a": 1}',
        items=[{"key": key, "kind": kind, "ordering_key": ordering_key, "reason": "type: x"}],
    )


async def _queue(desk: Desk, count: int, ordering_key: str | None = None) -> list[str]:
    """Record new deliveries; the ids of their jobs."""
    return [(await _deliver(desk, str(uuid.uuid4()), ordering_key))["job_ids"][0] for _ in range(count)]


async def _claim(desk: Desk, max_jobs: int = 10, **more: Any) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = (await desk.call("claim_jobs", SYSTEM, max_jobs=max_jobs, **more))["jobs"]
    return jobs


async def _claimed(desk: Desk, max_jobs: int = 10, **more: Any) -> list[str]:
    return [job["id"] for job in await _claim(desk, max_jobs, **more)]


async def _end(desk: Desk, function: str, job: str, attempt: int | None = None, **more: Any) -> Answer:
    attempt = attempt or (await desk.row("jobs", job))["attempts"]
    return await desk.call(function, on_a_turn(), job_id=job, attempt=attempt, **more)


async def _complete(desk: Desk, job: str, attempt: int | None = None) -> str:
    status: str = (await _end(desk, "complete_job", job, attempt))["status"]
    return status


async def _fail(
    desk: Desk, job: str, *, retryable: bool = True, attempt: int | None = None, after: float = 0
) -> Answer:
    return await _end(desk, "fail_job", job, attempt, error="it broke", retryable=retryable, retry_after_seconds=after)


async def _make_due(desk: Desk) -> None:
    """Make waiting jobs due and let leases expire."""
    await desk.admin.execute(
        "update public.jobs set next_attempt_at = now() - interval '1 second', "
        "lease_until = case when lease_until is not null then now() - interval '1 second' end "
        "where status in ('queued', 'running')"
    )


async def _wait(desk: Desk) -> float:
    """Seconds until the next attempt of the only job."""
    (seconds,) = await desk.one("select extract(epoch from next_attempt_at - clock_timestamp()) from public.jobs")
    return float(seconds)


async def test_a_delivery_is_stored_raw_and_queued_once(desk: Desk) -> None:
    async with desk.crowd(20) as crowd:
        answers = await asyncio.gather(*(_deliver(crowd, "d1", "k") for _ in range(20)))
    (first,) = (each for each in answers if not each["duplicate"])
    assert {(each["event_id"], *each["job_ids"]) for each in answers} == {(first["event_id"], *first["job_ids"])}

    assert await _claim(desk) == [
        {
            "id": first["job_ids"][0],
            "workspace_id": WORKSPACE,
            "kind": "persona_answer",
            "attempts": 1,
            "tries": 1,
            "payload": {},
            "event": {
                "id": first["event_id"],
                "source": "n8n",
                "headers": {"content-type": "application/json"},
                "raw_body": '{"a": 1}',
            },
        }
    ]
    await _complete(desk, first["job_ids"][0])
    assert (await _deliver(desk, "d1", "k")).body == {**first.body, "job_ids": [], "duplicate": True}
    assert await desk.count("inbound_events") == await desk.count("jobs") == 1
    assert await _claim(desk) == []


async def test_each_item_of_a_delivery_is_queued_once_however_it_is_grouped(desk: Desk) -> None:
    async def deliver(key: str, *items: tuple[str, str | None]) -> Answer:
        return await desk.call(
            "record_event",
            on_a_turn(),
            source="whatsapp",
            delivery_key=key,
            headers={},
            raw_body="{}",
            items=[{"key": item, "kind": kind, "ordering_key": "k", "payload": {"item": n}}
                   for n, (item, kind) in enumerate(items)],
        )  # fmt: skip

    both = await deliver("d1", ("a", "channel_message"), ("b", "channel_message"))
    assert (len(both["job_ids"]), both["duplicate"]) == (2, False)
    assert (await deliver("d2", ("b", "channel_message")))["duplicate"] is True
    more = await deliver("d3", ("b", "channel_message"), ("c", "channel_message"), ("b", "channel_status"))
    assert (more["duplicate"], more["job_ids"][0]) == (False, both["job_ids"][1])
    queued = await desk.admin.fetch("select kind, item_key, payload ->> 'item' as item from public.jobs order by seq")
    assert [tuple(row) for row in queued] == [
        ("channel_message", "a", "0"), ("channel_message", "b", "1"),
        ("channel_message", "c", "1"), ("channel_status", "b", "2"),
    ]  # fmt: skip
    # What nothing processes is stored, and repeats are found.
    assert [(await deliver("d4", ("x", None)))[name] for name in ("duplicate", "job_ids")] == [False, []]
    assert (await deliver("d4", ("x", None)))["duplicate"] is True
    assert await desk.count("inbound_events") == 4


async def test_a_delivery_that_comes_while_a_claim_has_begun_is_claimed_whole(desk: Desk) -> None:
    async with desk.crowd(1) as crowd:
        async with desk.admin.transaction():
            await desk.admin.execute("lock table public.jobs in exclusive mode")
            claim = asyncio.create_task(_claim(crowd))
            await asyncio.sleep(0.5)
            await desk.admin.execute(
                "with event as ("
                "insert into public.inbound_events (workspace_id, source, delivery_key, headers, raw_body)"
                " values ($1, 'n8n', 'd1', '{}', '{}') returning id, workspace_id)"
                " insert into public.jobs (workspace_id, kind, event_id)"
                " select workspace_id, 'persona_answer', id from event",
                uuid.UUID(WORKSPACE),
            )
            assert not claim.done()
        (job,) = await claim
    assert job["event"] is not None


async def test_jobs_of_one_key_run_in_order_and_one_at_a_time(desk: Desk) -> None:
    (a1, a2), (b1,), (free,) = await _queue(desk, 2, "a"), await _queue(desk, 1, "b"), await _queue(desk, 1)
    workspace, _ = await desk.open_workspace()
    (elsewhere,) = (await _deliver(desk, "d1", "a", workspace))["job_ids"]

    assert set(await _claimed(desk)) == {a1, b1, free, elsewhere}
    await _complete(desk, b1)
    assert await _claim(desk) == []
    # A job waits until the one before it has ended, also during a retry. One that is dead does not hold its key.
    await _fail(desk, a1)
    assert await _claim(desk) == []
    await desk.admin.execute("update public.jobs set next_attempt_at = now() where status = 'queued'")
    assert await _claimed(desk) == [a1]
    await _fail(desk, a1, retryable=False)
    assert await _claimed(desk) == [a2]


async def test_neither_many_jobs_of_a_workspace_nor_those_of_a_slow_receiver_keep_others_waiting(desk: Desk) -> None:
    await _queue(desk, 25)
    to_send = (
        "insert into public.jobs (workspace_id, kind, payload)"
        " select $1, $2, jsonb_build_object('subscription_id', gen_random_uuid()) from generate_series(1, $3)"
    )
    workspace, _ = await desk.open_workspace()
    await desk.admin.execute(to_send.replace("gen_random_uuid()", "$1::uuid"), workspace, "slow", 25)
    await desk.admin.execute(to_send, WORKSPACE, "event", 1)
    await _deliver(desk, "d1", None, (await desk.open_workspace())[0], "other")
    kinds = [job["kind"] for job in await _claim(desk)]
    assert {kind: kinds.count(kind) for kind in kinds} == {"persona_answer": 4, "slow": 4, "event": 1, "other": 1}
    # No place is left empty.
    assert len(await _claim(desk, 50)) == 42


async def test_the_jobs_behind_a_waiting_one_cost_a_claim_nothing_until_it_is_due(desk: Desk) -> None:
    first, *behind = await _queue(desk, 4, "a")
    await _claim(desk)
    await _fail(desk, first, after=5_000)
    due = "status = 'queued' and next_attempt_at < now() + interval '1 hour'"
    assert await desk.count("jobs", due) == 0
    # Whatever ends the waiting makes them due.
    await desk.call("discard_job", OPERATOR, job_id=first)
    assert (await desk.count("jobs", due), await _claimed(desk)) == (3, behind[:1])
    await desk.call("postpone_job", on_a_turn(), job_id=behind[0], attempt=1, seconds=5_000)
    await desk.call("replay_job", OPERATOR, job_id=first)
    assert await _claimed(desk) == [first]


async def test_two_jobs_of_one_key_never_run_at_once_however_they_are_queued_and_claimed(desk: Desk) -> None:
    # Each transaction sees only its own job: the first is committed after the second was claimed.
    first, second = await _queue(desk, 2, "a")
    await desk.admin.execute("update public.jobs set status = 'dead', finished_at = now() where id = $1", first)
    async with desk.as_owner() as one, desk.as_owner() as other:
        held = one.transaction()
        await held.start()
        claim = "select array_agg(id::text) from private.claim_due_jobs(10, 60, null, 'worker')"
        assert await one.fetchval(claim) == [second]
        await desk.call("replay_job", OPERATOR, job_id=first)
        waiting = asyncio.create_task(other.fetchval(claim))
        await desk.until_waiting()
        await held.commit()
        assert await waiting is None
    with pytest.raises(asyncpg.UniqueViolationError):
        await desk.admin.execute("update public.jobs set status = 'running', lease_until = now() where id = $1", first)
    await _complete(desk, second)
    assert await _claimed(desk) == [first]


async def test_a_dead_or_waiting_job_is_replayed_with_all_of_its_attempts_or_discarded(desk: Desk) -> None:
    job, behind = await _queue(desk, 2, "a")
    await desk.admin.execute("update public.jobs set max_attempts = 2")
    for status in ("queued", "dead"):
        await _claim(desk)
        assert (await _fail(desk, job))["status"] == status
        if status == "queued":
            # It may be tried at once, and this counts from the first attempt.
            assert (await desk.call("replay_job", OPERATOR, job_id=job))["status"] == "queued"
            assert [each["tries"] for each in await _claim(desk)] == [1]
            assert (await _fail(desk, job))["status"] == "queued"
            await _make_due(desk)
    assert await _claimed(desk) == [behind]
    for change, status in (
        ("replay", "queued"),
        ("discard", "discarded"),
        ("discard", "discarded"),
        ("replay", "queued"),
    ):
        assert (await desk.call(f"{change}_job", OPERATOR, job_id=job))["status"] == status
        row = await desk.row("jobs", job)
        assert (row["finished_at"] is None) == (status == "queued")
    assert await _claim(desk) == []
    await _complete(desk, behind)
    assert await _claimed(desk) == [job]
    for change in ("replay_job", "discard_job"):
        for target in (job, behind):
            assert await desk.refused(change, OPERATOR, job_id=target) == (409, "transition_not_allowed")
    assert [verb for (verb,) in await desk.audited(job, "verb")] == [
        f"job.{verb}" for verb in ("replayed", "replayed", "discarded", "discarded", "replayed")
    ]


async def test_an_event_of_an_unknown_type_is_stored_and_has_a_dead_job(desk: Desk) -> None:
    parked = [await _deliver(desk, "d1", "a", kind=None) for _ in range(2)]
    assert [(each["job_ids"], each["duplicate"]) for each in parked] == [([], False), ([], True)]
    ((job, *stored),) = await desk.all("select id, kind, status::text, last_error from public.jobs")
    assert stored == ["unknown_event", "dead", "type: x"]
    await _queue(desk, 1, "a")
    assert len(await _claim(desk)) == 1
    # A later version of the sender's module may know the type.
    assert (await desk.call("replay_job", OPERATOR, job_id=job))["status"] == "queued"


async def test_a_job_not_done_after_15_minutes_is_shown_as_stuck_with_the_job_that_it_waits_for(desk: Desk) -> None:
    first, second, third = await _queue(desk, 3, "a")
    await desk.admin.execute("update public.jobs set created_at = now() - interval '16 minutes' where id <> $1", third)
    await _claim(desk)
    shown = {row["id"]: (row["stuck"], row["waits_for"]) for row in await desk.select(OPERATOR, "job_details")}
    assert shown == {first: (True, None), second: (True, first), third: (False, first)}
    await _complete(desk, first)
    (row,) = await desk.select(OPERATOR, "job_details", "id = $1", first)
    assert (row["stuck"], row["next_attempt_at"]) == (False, None)


@pytest.mark.parametrize("key", [None, "a"])
async def test_concurrent_workers_share_the_jobs_and_keep_the_order_of_a_key(desk: Desk, key: str | None) -> None:
    jobs = await _queue(desk, 20, key)
    done: list[str] = []

    async def work(crowd: Desk) -> None:
        while len(done) < len(jobs):
            for job in await _claimed(crowd, 3):
                done.append(job)
                await _complete(crowd, job, 1)

    async with desk.crowd(6) as crowd:
        await asyncio.wait_for(asyncio.gather(*(work(crowd) for _ in range(6))), 60)
    assert (done if key else sorted(done)) == (jobs if key else sorted(jobs))


async def test_a_locked_job_is_skipped(desk: Desk) -> None:
    held, free = await _queue(desk, 2)
    async with desk.as_owner() as other, other.transaction():
        await other.execute("select 1 from public.jobs where id = $1 for update", held)
        assert await asyncio.wait_for(_claimed(desk), 5) == [free]
    assert await _claimed(desk) == [held]


@pytest.mark.parametrize(
    "off", ["hashjoin, hashagg, sort, mergejoin, material", "hashjoin, mergejoin, indexscan", "nestloop"]
)
async def test_a_claim_returns_no_more_jobs_than_requested_with_any_query_plan(desk: Desk, off: str) -> None:
    await _queue(desk, 6)
    for method in off.split(", "):
        await desk.admin.execute(f"alter role authenticator set enable_{method} = off")
    try:
        async with Desk(desk.gate_url, desk.admin_url) as planned:
            assert [len(await _claim(planned, max_jobs)) for max_jobs in (1, 2, 10)] == [1, 2, 3]
    finally:
        await desk.admin.execute("alter role authenticator reset all")


async def test_one_job_can_be_claimed_by_id_and_only_once(desk: Desk) -> None:
    _, wanted = await _queue(desk, 2)
    assert await _claimed(desk, only_job=wanted) == [wanted]
    assert await _claimed(desk, only_job=wanted) == []


async def test_a_job_of_a_lost_worker_is_claimed_again_and_dead_after_its_last_attempt(desk: Desk) -> None:
    job, following = await _queue(desk, 2, "a")
    for attempt in range(1, MAX_ATTEMPTS + 1):
        claimed = await _claim(desk, lease_seconds=30)
        assert [(each["id"], each["attempts"]) for each in claimed] == [(job, attempt)]
        assert await _claim(desk) == []
        await _make_due(desk)
    await _claim(desk)

    row = await desk.row("jobs", job)
    assert (row["status"], row["last_error"], row["attempts"]) == ("dead", "worker_lost", MAX_ATTEMPTS)
    assert row["finished_at"] is not None
    assert (await desk.row("jobs", following))["attempts"] == 1


async def test_a_failing_job_is_retried_after_growing_pauses_and_dead_after_its_last_attempt(desk: Desk) -> None:
    (job,) = await _queue(desk, 1)
    for attempt in range(1, MAX_ATTEMPTS):
        await _claim(desk)
        failed = await _fail(desk, job)
        assert (failed["status"], failed["next_attempt_at"] is not None) == ("queued", True)
        assert 2**attempt - 2 < await _wait(desk) <= 2**attempt * 1.25
        row = await desk.row("jobs", job)
        assert (row["attempts"], row["last_error"]) == (attempt, "it broke")
        assert await _claim(desk) == []
        await _make_due(desk)
    await _claim(desk)

    assert (await _fail(desk, job)).body == {"status": "dead", "next_attempt_at": None}
    await _make_due(desk)
    assert await _claim(desk) == []


@pytest.mark.parametrize(("after", "least"), [(0, 3_600), (7_200, 7_200)])
async def test_the_pause_before_a_retry_is_at_most_an_hour_and_a_quarter_or_what_was_asked_for(
    desk: Desk, after: float, least: float
) -> None:
    (job,) = await _queue(desk, 1)
    await desk.admin.execute("update public.jobs set attempts = 40, max_attempts = 100")
    await _claim(desk)
    await _fail(desk, job, after=after)
    assert least - 10 < await _wait(desk) <= least * 1.25


async def test_a_postponed_attempt_does_not_count(desk: Desk) -> None:
    (job,) = await _queue(desk, 1)
    for attempt in range(1, MAX_ATTEMPTS + 3):
        ((claimed),) = await _claim(desk)
        assert (claimed["attempts"], claimed["tries"]) == (attempt, 1)
        arguments = {"job_id": job, "attempt": attempt, "seconds": 30}
        assert (await desk.call("postpone_job", on_a_turn(), **arguments))["status"] == "queued"
        assert 25 < await _wait(desk) <= 30
        await _make_due(desk)


async def test_only_the_worker_with_the_lease_ends_a_job_and_only_once(desk: Desk) -> None:
    (job,) = await _queue(desk, 1)
    # A job that no worker has claimed stays queued.
    assert await _complete(desk, job, 1) == "queued"
    assert (await _fail(desk, job, retryable=False, attempt=1))["status"] == "queued"
    await _claim(desk)
    await _make_due(desk)
    await _claim(desk)

    assert (await _fail(desk, job, attempt=1))["status"] == "running"
    assert await _complete(desk, job, 1) == "running"
    assert await _complete(desk, job, 2) == "succeeded"
    assert await _complete(desk, job) == "succeeded"
    assert (await _fail(desk, job))["status"] == "succeeded"
    assert (await desk.row("jobs", job))["last_error"] is None


async def test_the_worker_is_woken_at_most_once_a_second(desk: Desk) -> None:
    await desk.keep_secret("http://127.0.0.1:9/worker", "worker_url")
    await desk.keep_secret("s3cret", "cron_secret")
    async with desk.crowd(5) as crowd:
        # All connections are open before the first call, so that the calls take less than a second.
        await asyncio.gather(*(_claim(crowd) for _ in range(10)))
        answers = await asyncio.gather(*(crowd.call("wake_worker", SYSTEM) for _ in range(10)))

    assert sorted(each["woken"] for each in answers) == [False] * 9 + [True]
    sent = "select url, headers ->> 'Authorization', convert_from(body, 'utf8') from net.http_request_queue"
    assert await desk.one(sent) == ("http://127.0.0.1:9/worker", "Bearer s3cret", "{}")
    await desk.admin.execute("update private.wakes set woken_at = now() - interval '1 second'")
    assert (await desk.call("wake_worker", SYSTEM))["woken"] is True


@pytest.mark.parametrize("known", ["worker_url", "cron_secret"])
async def test_without_an_address_or_a_secret_no_worker_is_woken(desk: Desk, known: str) -> None:
    await desk.keep_secret("x", known)
    assert (await desk.call("wake_worker", SYSTEM))["woken"] is False
    assert await desk.admin.fetchval("select count(*) from net.http_request_queue") == 0


async def test_an_asynchronous_answer_is_authenticated_by_its_turns_persona(desk: Desk) -> None:
    turn = await desk.start()
    known = {"provider": "n8n", "reference": turn["turn_id"]}
    secret = await desk.keep_secret("call me back")
    for statement, values in (
        ("update public.personas set callback_secret_id = $1 where id = $2", (secret, PERSONA)),
        ("""update public.personas set config = '{"mode": "async"}' where id = $1""", (PERSONA,)),
    ):
        assert await desk.refused("webhook_secret", SYSTEM, **known) == (404, "not_found")
        await desk.admin.execute(statement, *values)

    found = await desk.call("webhook_secret", SYSTEM, **known)
    assert found.body == {"workspace_id": WORKSPACE, "secrets": ["call me back"]}
    for unknown in ({"reference": str(uuid.uuid4())}, {"reference": "no id"}, {"provider": "other"}):
        assert await desk.refused("webhook_secret", SYSTEM, **known | unknown) == (404, "not_found")


async def test_each_function_claims_its_own_jobs(desk: Desk) -> None:
    insert = "insert into public.jobs (workspace_id, kind, runs_in) values ($1, 'x', $2) returning id::text"
    jobs = {each: await desk.admin.fetchval(insert, WORKSPACE, each) for each in ("archive", "worker")}
    assert await _claimed(desk) == [jobs["worker"]]
    assert await _claimed(desk, runs_in="archive") == [jobs["archive"]]
