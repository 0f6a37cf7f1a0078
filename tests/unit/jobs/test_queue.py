import asyncio
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from lib import errors
from lib.jobs import queue as jobs
from lib.jobs.queue import Job, RunReport
from tests.unit.sql_functions import SqlFunctions, raised, refused

WORKSPACE = uuid4()


def job(kind: str = "test", **payload: Any) -> dict[str, Any]:
    ids = {"id": str(uuid4()), "workspace_id": str(WORKSPACE)}
    return {**ids, "kind": kind, "attempts": 1, "tries": 1, "payload": payload, "event": None}


class Queue:
    """A queue that hands out what is due, batch by batch, and notes how each ended."""

    def __init__(self, sql: SqlFunctions, *due: dict[str, Any]) -> None:
        self.due = list(due)
        self.completed: list[str] = []
        self.failed: list[dict[str, Any]] = []
        self.postponed: list[dict[str, Any]] = []
        sql.functions |= {
            "claim_jobs": self.claim,
            "complete_job": self.complete,
            "fail_job": self.fail,
            "postpone_job": self.postpone,
        }

    def claim(self, arguments: dict[str, Any]) -> dict[str, Any]:
        most = arguments["max_jobs"]
        batch, self.due = self.due[:most], self.due[most:]
        return {"jobs": batch}

    def complete(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self.completed.append(arguments["job_id"])
        return {"status": "succeeded"}

    def fail(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self.failed.append(arguments)
        return {"status": "queued", "next_attempt_at": None}

    def postpone(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self.postponed.append(arguments)
        return {"status": "queued", "next_attempt_at": None}


@pytest.fixture(autouse=True)
def no_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run ends with its last job."""
    monkeypatch.setattr(jobs, "LINGER_SECONDS", 0)


async def succeed(_: Job) -> None:
    return


async def run(handler: jobs.Handler = succeed, budget: float = 5) -> RunReport:
    return await jobs.run_due({"test": handler}, budget_seconds=budget)


async def test_the_worker_goes_on_until_the_queue_is_empty(sql: SqlFunctions) -> None:
    queue = Queue(sql, *(job() for _ in range(jobs.CONCURRENCY * 2 + 1)))
    assert await run() == RunReport(processed=jobs.CONCURRENCY * 2 + 1, failed=0, remaining=False)
    assert len(queue.completed) == jobs.CONCURRENCY * 2 + 1


async def test_the_worker_claims_no_more_when_its_time_is_over(
    sql: SqlFunctions, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, now = Queue(sql, *(job() for _ in range(jobs.CONCURRENCY * 5))), 0.0

    async def take_a_second(_: Job) -> None:
        nonlocal now
        now += 1 / jobs.CONCURRENCY

    monkeypatch.setattr(jobs, "time", SimpleNamespace(monotonic=lambda: now))
    report = await run(take_a_second, budget=1.5)
    assert report == RunReport(processed=len(queue.completed), failed=0, remaining=True)
    assert 0 < len(queue.completed) <= jobs.CONCURRENCY * 2


async def test_the_worker_looks_for_jobs_that_are_queued_while_it_is_awake(
    sql: SqlFunctions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "LINGER_SECONDS", 0.1)
    monkeypatch.setattr(jobs, "LOOK_SECONDS", 0.01)
    queue = Queue(sql)

    def queue_soon() -> None:
        asyncio.get_running_loop().call_later(0.05, lambda: queue.due.append(job()))

    async def queue_another(_: Job) -> None:
        if not queue.completed:
            queue_soon()

    # Another process may have run the job for which it was woken.
    queue_soon()
    assert await run(queue_another) == RunReport(processed=2, failed=0, remaining=False)


async def test_the_worker_looks_for_jobs_that_are_queued_beside_a_slow_one(
    sql: SqlFunctions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "LINGER_SECONDS", 1)
    monkeypatch.setattr(jobs, "LOOK_SECONDS", 0.01)
    queue, second = Queue(sql, job(slow=True)), asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, lambda: queue.due.append(job(slow=False)))

    async def work(claimed: Job) -> None:
        if claimed.payload["slow"]:
            await asyncio.wait_for(second.wait(), 5)
        second.set()

    assert (await run(work)).processed == 2


async def test_a_slow_job_holds_up_no_other(sql: SqlFunctions) -> None:
    others = jobs.CONCURRENCY * 2
    queue, last_one = Queue(sql, job(slow=True), *(job(slow=False) for _ in range(others))), asyncio.Event()

    async def work(claimed: Job) -> None:
        if claimed.payload["slow"]:
            await asyncio.wait_for(last_one.wait(), 5)
        elif len(queue.completed) == others - 1:
            last_one.set()

    assert await run(work) == RunReport(processed=others + 1, failed=0, remaining=False)


async def hang(_: Job) -> None:
    await asyncio.sleep(3_600)


@pytest.mark.parametrize(
    ("failure", "retryable", "seconds", "reason"),
    [
        (errors.BackendUnavailable(), True, 1, "backend_unavailable"),
        (errors.InternalError(), True, 0, "internal_error"),
        (errors.Refused(429, "rate_limited", retry_after=7), True, 7, "rate_limited"),
        (jobs.RetryLater("http_503", 90), True, 90, "http_503"),
        (errors.Refused(404, "turn_not_found"), False, 0, "turn_not_found"),
        (errors.InvalidJson(), False, 0, "invalid_json"),
        (ZeroDivisionError("the sender's text"), True, 0, "ZeroDivisionError"),
        ("too long", True, 0, "TimeoutError"),
        ("unknown kind", False, 0, "unknown_kind"),
    ],
)
async def test_a_failed_job_is_retried_unless_its_failure_is_final_and_stops_no_other(
    sql: SqlFunctions,
    monkeypatch: pytest.MonkeyPatch,
    failure: Exception | str,
    retryable: bool,
    seconds: float,
    reason: str,
) -> None:
    monkeypatch.setattr(jobs, "JOB_SECONDS", 0.02)

    async def fail(work: Job) -> None:
        if work.payload["fails"] and isinstance(failure, Exception):
            raise failure
        if work.payload["fails"]:
            await hang(work)

    kind = "of another version" if failure == "unknown kind" else "test"
    queue = Queue(sql, job(fails=False), job(kind, fails=True), job(fails=False))
    assert await run(fail) == RunReport(processed=2, failed=1, remaining=False)
    (ended,) = queue.failed
    assert (ended["retryable"], ended["retry_after_seconds"], ended["error"]) == (retryable, seconds, reason)


async def test_a_handler_may_go_on_later(sql: SqlFunctions) -> None:
    async def postpone(_: Job) -> None:
        raise jobs.Postponed(30)

    queue = Queue(sql, job())
    assert await run(postpone) == RunReport(processed=1, failed=0, remaining=False)
    assert [each["seconds"] for each in queue.postponed] == [30]


async def test_a_job_whose_callers_time_ends_is_put_back_at_once(sql: SqlFunctions) -> None:
    queue = Queue(sql, slow := job())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await jobs.run_one({"test": lambda _: asyncio.sleep(5)}, slow["id"])
    assert queue.postponed == [{"job_id": slow["id"], "attempt": 1, "seconds": 0}]


async def test_a_job_whose_end_cannot_be_stored_is_left_to_its_lease(sql: SqlFunctions) -> None:
    Queue(sql, job())
    sql.functions["complete_job"] = lambda _: raised("57P01", "no")
    assert await run() == RunReport(processed=0, failed=1, remaining=False)


async def test_the_lease_of_a_long_job_is_renewed_while_it_runs(
    sql: SqlFunctions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "LEASE_SECONDS", 0.04)
    monkeypatch.setattr(jobs, "JOB_SECONDS", 0.01)
    queue, renewed, enough = Queue(sql, job()), list[dict[str, Any]](), asyncio.Event()

    def renew(arguments: dict[str, Any]) -> Any:
        renewed.append(arguments)
        if len(renewed) == 2:
            return refused(404, "job_not_found")
        if len(renewed) == 3:
            enough.set()
        return {"status": "running"}

    async def wait(_: Job) -> None:
        await enough.wait()

    sql.functions["renew_job"] = renew
    assert (await run(jobs.Long(wait, seconds=5))).processed == 1
    assert len(queue.completed) == 1
    assert [each["attempt"] for each in renewed] == [1] * len(renewed)
    # Beyond its own time it fails as any job.
    queue.due.append(job())
    assert (await run(jobs.Long(lambda _: asyncio.sleep(5), seconds=0.05))).failed == 1
