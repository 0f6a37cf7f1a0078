"""The inbox and its queue: once per delivery, in order per key, one worker per job, and an end for what never works."""

import asyncio
import uuid
from typing import Any

import asyncpg
import pytest

from tests.database.desk import PERSONA, SYSTEM, WORKSPACE, Answer, Desk, Raised, claims, on_a_turn, with_token

MAX_ATTEMPTS = 8


async def _deliver(desk: Desk, key: str, ordering_key: str | None = None, workspace: str = WORKSPACE) -> Answer:
    return await desk.call(
        "record_event",
        on_a_turn(workspace),
        source="n8n",
        delivery_key=key,
        headers={"content-type": "application/json"},
        raw_body='{"a": 1}',
        job_kind="persona_answer",
        ordering_key=ordering_key,
    )


async def _claim(desk: Desk, max_jobs: int = 10, **more: Any) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = (await desk.call("claim_jobs", SYSTEM, max_jobs=max_jobs, **more))["jobs"]
    return jobs


async def _complete(desk: Desk, job: str, attempt: int | None = None) -> Answer:
    attempt = (await _job(desk, job))["attempts"] if attempt is None else attempt
    return await desk.call("complete_job", on_a_turn(), job_id=job, attempt=attempt)


async def _fail(desk: Desk, job: str, *, retryable: bool = True, attempt: int | None = None) -> Answer:
    attempt = (await _job(desk, job))["attempts"] if attempt is None else attempt
    return await desk.call("fail_job", on_a_turn(), job_id=job, attempt=attempt, error="it broke", retryable=retryable)


async def _job(desk: Desk, key: str) -> asyncpg.Record:
    row = await desk.admin.fetchrow(
        "select *, extract(epoch from next_attempt_at - clock_timestamp()) as wait from public.jobs where id = $1", key
    )
    assert row is not None
    return row


async def _make_due(desk: Desk) -> None:
    """As if time had passed: waiting jobs are due, leases have run out."""
    await desk.admin.execute(
        "update public.jobs set next_attempt_at = now() - interval '1 second', "
        "lease_until = case when lease_until is not null then now() - interval '1 second' end "
        "where status in ('queued', 'running')"
    )


async def test_a_delivery_is_stored_raw_and_its_job_queued(desk: Desk) -> None:
    told = await _deliver(desk, "d1", "k")

    assert told["duplicate"] is False
    claimed = await _claim(desk)
    assert claimed == [
        {
            "id": told["job_id"],
            "workspace_id": WORKSPACE,
            "kind": "persona_answer",
            "attempts": 1,
            "payload": {},
            "event": {
                "id": told["event_id"],
                "source": "n8n",
                "headers": {"content-type": "application/json"},
                "raw_body": '{"a": 1}',
            },
        }
    ]


async def test_a_delivery_that_comes_again_is_only_found_again(desk: Desk) -> None:
    first = await _deliver(desk, "d1")
    await _complete(desk, (await _claim(desk))[0]["id"])

    again = await _deliver(desk, "d1")

    assert again.body == {**first.body, "job_id": None, "duplicate": True}
    assert await desk.count("inbound_events") == await desk.count("jobs") == 1
    assert await _claim(desk) == []


async def test_twenty_copies_of_a_delivery_at_once_are_one(desk: Desk) -> None:
    async with Desk(desk.gate_url, desk.admin_url, connections=20) as crowd:
        told = await asyncio.gather(*(_deliver(crowd, "d1") for _ in range(20)))

    assert len({(each["event_id"], each["job_id"]) for each in told}) == 1
    assert sorted(each["duplicate"] for each in told) == [False] + [True] * 19


async def test_the_same_key_in_another_workspace_is_another_delivery(desk: Desk) -> None:
    workspace, _ = await desk.open_workspace()

    here, there = await _deliver(desk, "d1"), await _deliver(desk, "d1", workspace=workspace)

    assert (here["duplicate"], there["duplicate"]) == (False, False)
    assert here["event_id"] != there["event_id"]


async def test_jobs_of_one_key_run_in_order_and_one_at_a_time(desk: Desk) -> None:
    a1, b1, a2, free = [(await _deliver(desk, f"d{n}", key))["job_id"] for n, key in enumerate(["a", "b", "a", None])]

    first = [job["id"] for job in await _claim(desk)]
    assert sorted(first) == sorted([a1, b1, free])
    assert await _claim(desk) == []
    await _complete(desk, b1)
    assert await _claim(desk) == []

    await _complete(desk, a1)

    assert [job["id"] for job in await _claim(desk)] == [a2]


async def test_a_job_waits_for_the_retry_of_the_one_before_it(desk: Desk) -> None:
    first, second = [(await _deliver(desk, f"d{n}", "a"))["job_id"] for n in range(2)]
    await _claim(desk)
    await _fail(desk, first)

    assert await _claim(desk) == []
    await _make_due(desk)
    assert [job["id"] for job in await _claim(desk)] == [first]
    await _fail(desk, first, retryable=False)
    assert [job["id"] for job in await _claim(desk)] == [second]


async def test_a_key_holds_up_no_other_workspace(desk: Desk) -> None:
    workspace, _ = await desk.open_workspace()
    await _deliver(desk, "d1", "a")
    await _deliver(desk, "d2", "a", workspace)

    assert {job["workspace_id"] for job in await _claim(desk)} == {WORKSPACE, workspace}


async def test_workers_at_once_never_take_the_same_job(desk: Desk) -> None:
    jobs = {(await _deliver(desk, f"d{n}"))["job_id"] for n in range(30)}

    async with Desk(desk.gate_url, desk.admin_url, connections=10) as crowd:
        taken = await asyncio.gather(*(_claim(crowd, 3) for _ in range(10)))

    ids = [job["id"] for each in taken for job in each]
    assert len(ids) == len(set(ids))
    assert set(ids) <= jobs
    rest = [job["id"] for job in await _claim(desk, 100)]
    assert set(ids) | set(rest) == jobs


async def test_workers_at_once_keep_the_order_of_a_key(desk: Desk) -> None:
    jobs = [(await _deliver(desk, f"d{n}", "a"))["job_id"] for n in range(8)]
    done: list[str] = []

    async def work(crowd: Desk) -> None:
        while len(done) < len(jobs):
            for job in await _claim(crowd, 3):
                done.append(job["id"])
                await _complete(crowd, job["id"])

    async with Desk(desk.gate_url, desk.admin_url, connections=4) as crowd:
        await asyncio.wait_for(asyncio.gather(*(work(crowd) for _ in range(4))), 20)

    assert done == jobs


async def test_a_locked_job_is_passed_over_at_once(desk: Desk) -> None:
    held, free = [(await _deliver(desk, f"d{n}"))["job_id"] for n in range(2)]
    other = await asyncpg.connect(desk.admin_url)
    try:
        async with other.transaction():
            await other.execute("select 1 from public.jobs where id = $1 for update", held)
            assert [job["id"] for job in await asyncio.wait_for(_claim(desk), 5)] == [free]
    finally:
        await other.close()
    assert [job["id"] for job in await _claim(desk)] == [held]


@pytest.mark.parametrize(
    "off", ["hashjoin, hashagg, sort, mergejoin, material", "hashjoin, mergejoin, indexscan", "nestloop"]
)
async def test_a_worker_never_gets_more_than_it_asked_for_however_the_query_is_planned(desk: Desk, off: str) -> None:
    for n in range(6):
        await _deliver(desk, f"d{n}")
    for method in off.split(", "):
        await desk.admin.execute(f"alter role authenticator set enable_{method} = off")
    try:
        async with Desk(desk.gate_url, desk.admin_url) as planned:
            assert len(await _claim(planned, 1)) == 1
            assert len(await _claim(planned, 2)) == 2
            assert len(await _claim(planned, 10)) == 3
    finally:
        for method in off.split(", "):
            await desk.admin.execute(f"alter role authenticator reset enable_{method}")


async def test_one_job_can_be_claimed_by_name_and_only_once(desk: Desk) -> None:
    _, wanted = [(await _deliver(desk, f"d{n}"))["job_id"] for n in range(2)]

    assert [job["id"] for job in await _claim(desk, only_job=wanted)] == [wanted]
    assert await _claim(desk, only_job=wanted) == []


async def test_a_job_whose_worker_did_not_come_back_is_claimed_again(desk: Desk) -> None:
    job = (await _deliver(desk, "d1"))["job_id"]
    await _claim(desk, lease_seconds=30)
    assert await _claim(desk) == []

    await _make_due(desk)

    assert [(each["id"], each["attempts"]) for each in await _claim(desk)] == [(job, 2)]


async def test_a_job_that_its_worker_never_survives_fails_in_the_end(desk: Desk) -> None:
    job = (await _deliver(desk, "d1", "a"))["job_id"]
    following = (await _deliver(desk, "d2", "a"))["job_id"]
    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert [(each["id"], each["attempts"]) for each in await _claim(desk)] == [(job, attempt)]
        await _make_due(desk)

    await _claim(desk)

    row = await _job(desk, job)
    assert (row["status"], row["last_error"], row["attempts"]) == ("failed", "The worker did not come back.", 8)
    assert row["finished_at"] is not None
    assert (await _job(desk, following))["attempts"] == 1


async def test_a_failing_job_is_tried_later_each_time_and_fails_in_the_end(desk: Desk) -> None:
    job = (await _deliver(desk, "d1"))["job_id"]

    for attempt in range(1, MAX_ATTEMPTS):
        await _claim(desk)
        told = await _fail(desk, job)
        assert told["status"] == "queued"
        assert told["next_attempt_at"] is not None
        row = await _job(desk, job)
        assert 2**attempt - 2 < row["wait"] <= 2**attempt * 1.25
        assert (row["attempts"], row["last_error"]) == (attempt, "it broke")
        assert await _claim(desk) == []
        await _make_due(desk)
    await _claim(desk)
    told = await _fail(desk, job)

    assert told.body == {"status": "failed", "next_attempt_at": None}
    await _make_due(desk)
    assert await _claim(desk) == []


async def test_the_pause_between_tries_never_exceeds_an_hour_and_a_quarter(desk: Desk) -> None:
    job = (await _deliver(desk, "d1"))["job_id"]
    await desk.admin.execute("update public.jobs set attempts = 40, max_attempts = 100")
    await _claim(desk)

    await _fail(desk, job)

    assert 3590 < (await _job(desk, job))["wait"] <= 4500


async def test_what_is_not_worth_another_try_fails_at_once(desk: Desk) -> None:
    job = (await _deliver(desk, "d1"))["job_id"]
    await _claim(desk)

    assert (await _fail(desk, job, retryable=False))["status"] == "failed"


async def test_an_ended_job_stays_as_it_is(desk: Desk) -> None:
    job = (await _deliver(desk, "d1"))["job_id"]
    await _claim(desk)

    assert (await _complete(desk, job))["status"] == "succeeded"
    assert (await _complete(desk, job))["status"] == "succeeded"
    assert (await _fail(desk, job))["status"] == "succeeded"
    assert (await _job(desk, job))["last_error"] is None


async def test_a_job_that_nobody_claimed_is_neither_completed_nor_failed(desk: Desk) -> None:
    job = (await _deliver(desk, "d1"))["job_id"]

    assert (await _complete(desk, job))["status"] == "queued"
    assert (await _fail(desk, job, retryable=False))["status"] == "queued"


async def test_a_worker_whose_lease_ran_out_no_longer_decides_about_the_job(desk: Desk) -> None:
    job = (await _deliver(desk, "d1"))["job_id"]
    await _claim(desk)
    await desk.admin.execute("update public.jobs set lease_until = now() - interval '1 second'")
    await _claim(desk)

    assert (await _fail(desk, job, attempt=1))["status"] == "running"
    assert (await _complete(desk, job, attempt=1))["status"] == "running"
    assert (await _complete(desk, job, attempt=2))["status"] == "succeeded"


async def test_a_job_of_another_workspace_is_not_there(desk: Desk) -> None:
    workspace, _ = await desk.open_workspace()
    job = (await _deliver(desk, "d1", workspace=workspace))["job_id"]
    await _claim(desk)

    for function, arguments in (
        ("complete_job", {"attempt": 1}),
        ("fail_job", {"attempt": 1, "error": "x", "retryable": False}),
    ):
        with pytest.raises(Raised) as refused:
            await desk.call(function, on_a_turn(), job_id=job, **arguments)
        assert (refused.value.status, refused.value.code) == (404, "job_not_found")
    assert (await _job(desk, job))["status"] == "running"


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("claim_jobs", {}),
        ("wake_worker", {}),
        ("webhook_secret", {"provider": "n8n", "reference": str(uuid.uuid4())}),
        ("archive_old_chat_sessions", {}),
    ],
)
async def test_the_systems_work_needs_the_systems_scope(desk: Desk, function: str, arguments: dict[str, Any]) -> None:
    ann = await desk.register("ann@example.test")

    for token in (claims(), with_token(ann), on_a_turn(), {**SYSTEM, "scope": {"system": False}}):
        with pytest.raises(Raised) as refused:
            await desk.call(function, token, **arguments)
        assert (refused.value.status, refused.value.code) == (403, "forbidden")


async def test_the_worker_is_woken_at_most_once_a_second(desk: Desk) -> None:
    await desk.keep_secret("http://127.0.0.1:9/worker", "worker_url")
    await desk.keep_secret("s3cret", "cron_secret")

    async with Desk(desk.gate_url, desk.admin_url, connections=5) as crowd:
        # To connect first: on a busy machine that takes its time, and all are to come within the second.
        await asyncio.gather(*(_claim(crowd) for _ in range(10)))
        told = await asyncio.gather(*(crowd.call("wake_worker", SYSTEM) for _ in range(10)))

    assert sorted(each["woken"] for each in told) == [False] * 9 + [True]
    sent = await desk.admin.fetch("select url, headers, convert_from(body, 'utf8') from net.http_request_queue")
    assert [(row[0], row[1]["Authorization"], row[2]) for row in sent] == [
        ("http://127.0.0.1:9/worker", "Bearer s3cret", "{}")
    ]
    await desk.admin.execute("update private.wakes set woken_at = now() - interval '1 second'")
    assert (await desk.call("wake_worker", SYSTEM))["woken"] is True


@pytest.mark.parametrize("missing", ["worker_url", "cron_secret"])
async def test_without_an_address_or_a_secret_nobody_is_woken(desk: Desk, missing: str) -> None:
    for name in {"worker_url", "cron_secret"} - {missing}:
        await desk.keep_secret("x", name)

    assert (await desk.call("wake_worker", SYSTEM))["woken"] is False

    assert await desk.admin.fetchval("select count(*) from net.http_request_queue") == 0


async def test_an_asynchronous_answer_is_authenticated_by_its_turns_persona(desk: Desk) -> None:
    turn = await desk.start()
    unset = {"provider": "n8n", "reference": turn["turn_id"]}
    with pytest.raises(Raised, match="not_found"):
        await desk.call("webhook_secret", SYSTEM, **unset)
    secret = await desk.keep_secret("call me back")
    await desk.admin.execute("update public.personas set callback_secret_id = $1 where id = $2", secret, PERSONA)
    with pytest.raises(Raised, match="not_found"):
        await desk.call("webhook_secret", SYSTEM, **unset)
    await desk.admin.execute("""update public.personas set config = '{"mode": "async"}' where id = $1""", PERSONA)

    told = await desk.call("webhook_secret", SYSTEM, **unset)

    assert told.body == {"workspace_id": WORKSPACE, "secrets": ["call me back"]}
    for provider, reference in (("n8n", str(uuid.uuid4())), ("n8n", "no id"), ("other", turn["turn_id"])):
        with pytest.raises(Raised) as refused:
            await desk.call("webhook_secret", SYSTEM, provider=provider, reference=reference)
        assert (refused.value.status, refused.value.code) == (404, "not_found")
