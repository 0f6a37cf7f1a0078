import asyncio
from typing import Any
from uuid import uuid4

import pytest

from lib import errors
from lib.jobs import queue as jobs
from lib.jobs.queue import Job, RunReport
from tests.unit.sql_functions import SqlFunctions, raised

WORKSPACE = uuid4()


def job(kind: str = "test", **payload: Any) -> dict[str, Any]:
    return {
        "id": str(uuid4()),
        "workspace_id": str(WORKSPACE),
        "kind": kind,
        "attempts": 1,
        "payload": payload,
        "event": None,
    }


class Queue:
    """A queue that hands out what is due, batch by batch, and notes how each ended."""

    def __init__(self, sql: SqlFunctions, *due: dict[str, Any]) -> None:
        self.due = list(due)
        self.claims: list[dict[str, Any]] = []
        self.completed: list[str] = []
        self.failed: list[dict[str, Any]] = []
        sql.functions |= {"claim_jobs": self.claim, "complete_job": self.complete, "fail_job": self.fail}

    def claim(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self.claims.append(arguments)
        only = arguments["only_job"]
        batch = [job for job in self.due if only in (None, job["id"])][: arguments["max_jobs"]]
        self.due = [job for job in self.due if job not in batch]
        return {"jobs": batch}

    def complete(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self.completed.append(arguments["job_id"])
        return {"status": "succeeded"}

    def fail(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self.failed.append(arguments)
        return {"status": "queued", "next_attempt_at": None}


async def succeed(_: Job) -> None:
    return


async def run(handler: jobs.Handler = succeed, budget: float = 5) -> RunReport:
    return await jobs.run_due({"test": handler}, budget_seconds=budget)


async def test_the_worker_goes_on_until_the_queue_is_empty(sql: SqlFunctions) -> None:
    queue = Queue(sql, *(job() for _ in range(jobs.BATCH * 2 + 1)))
    assert await run() == RunReport(processed=jobs.BATCH * 2 + 1, failed=0, remaining=False)
    assert len(queue.completed) == jobs.BATCH * 2 + 1


async def test_the_worker_stops_when_its_time_is_over(sql: SqlFunctions) -> None:
    queue = Queue(sql, *(job() for _ in range(jobs.BATCH * 5)))

    async def slow(_: Job) -> None:
        await asyncio.sleep(0.1)

    report = await run(slow, budget=0.15)
    assert report.remaining
    assert report.processed == len(queue.completed)
    assert queue.due


@pytest.mark.parametrize(
    ("failure", "retryable", "reason"),
    [
        (errors.BackendUnavailable(), True, "backend_unavailable"),
        (errors.InternalError(), True, "internal_error"),
        (errors.Refused(404, "turn_not_found"), False, "turn_not_found"),
        (errors.InvalidJson(), False, "invalid_json"),
        (ZeroDivisionError("somebody's words"), True, "ZeroDivisionError"),
    ],
)
async def test_what_may_pass_is_tried_again_and_what_is_final_is_not(
    sql: SqlFunctions, failure: Exception, retryable: bool, reason: str
) -> None:
    async def fail(_: Job) -> None:
        raise failure

    queue = Queue(sql, job())
    assert await run(fail) == RunReport(processed=0, failed=1, remaining=False)
    (ended,) = queue.failed
    assert (ended["error"], ended["retryable"]) == (reason, retryable)


async def test_one_failure_leaves_the_others_alone(sql: SqlFunctions) -> None:
    async def fail_some(work: Job) -> None:
        if work.payload["bad"]:
            raise errors.InternalError

    queue = Queue(sql, job(bad=True), job(bad=False), job(bad=True), job(bad=False))
    assert await run(fail_some) == RunReport(processed=2, failed=2, remaining=False)
    assert len(queue.completed) == 2


async def test_a_kind_that_nobody_knows_is_given_up(sql: SqlFunctions) -> None:
    queue = Queue(sql, job(kind="of another version"))
    assert (await run()).failed == 1
    assert queue.failed[0]["retryable"] is False


async def test_a_job_that_takes_too_long_is_put_back(sql: SqlFunctions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "JOB_SECONDS", 0.02)

    async def hang(_: Job) -> None:
        await asyncio.sleep(60)

    queue = Queue(sql, job())
    assert (await run(hang)).failed == 1
    assert queue.failed[0]["retryable"] is True


async def test_a_job_that_cannot_be_reported_is_left_to_its_lease(sql: SqlFunctions) -> None:
    Queue(sql, job())
    sql.functions["complete_job"] = lambda _: raised("57P01", "no")
    assert await run() == RunReport(processed=0, failed=1, remaining=False)


async def test_one_job_can_be_done_at_once(sql: SqlFunctions) -> None:
    other, mine = job(), job()
    queue = Queue(sql, other, mine)
    assert await jobs.run_one({"test": succeed}, mine["id"]) is True
    assert queue.completed == [mine["id"]]
    assert await jobs.run_one({"test": succeed}, mine["id"]) is False, "somebody else has it"


async def test_a_queue_that_cannot_be_reached_is_said_so(sql: SqlFunctions) -> None:
    sql.functions["claim_jobs"] = lambda _: raised("57P03", "no")
    with pytest.raises(errors.BackendUnavailable):
        await run()
