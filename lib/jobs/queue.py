"""The job queue: jobs are claimed under a lease, run, and completed or put back.

A job runs at least once: if a worker dies, its lease expires and another worker claims the job, so handlers must be
idempotent. Each claim has an attempt number: a worker whose lease has expired can no longer complete or fail the job.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID

from lib import errors, log
from lib.auth import callers
from lib.database import commands
from lib.fields.models import Record

BATCH = 10
LEASE_SECONDS = 60
JOB_SECONDS = 20.0
"""Time limit of one job, well within its lease."""


class InboundEvent(Record):
    """A stored delivery."""

    id: UUID
    source: str
    headers: Mapping[str, str]
    raw_body: str


class Job(Record):
    """A claimed job."""

    id: UUID
    workspace_id: UUID
    kind: str
    attempts: int
    payload: Mapping[str, Any]
    event: InboundEvent | None


class _Claimed(Record):
    jobs: tuple[Job, ...]


class _State(Record):
    status: str


class RunReport(Record):
    """The result of a run; ``remaining``: the time budget ended before the queue was empty."""

    processed: int
    failed: int
    remaining: bool


Handler = Callable[[Job], Awaitable[None]]
Handlers = Mapping[str, Handler]
"""Handlers by kind of job. An exception puts the job back or, if it is final, ends the job."""


async def run_due(handlers: Handlers, *, budget_seconds: float) -> RunReport:
    """Run due jobs until none is left or the time budget ends; a started batch is completed.

    Raises BackendUnavailable if the queue cannot be reached.
    """
    end = time.monotonic() + budget_seconds
    processed = failed = 0
    while time.monotonic() < end:
        batch = await _claim(BATCH)
        if not batch:
            return RunReport(processed=processed, failed=failed, remaining=False)
        done = await asyncio.gather(*(_run(handlers, job) for job in batch))
        processed += done.count(True)
        failed += done.count(False)
    return RunReport(processed=processed, failed=failed, remaining=True)


async def run_one(handlers: Handlers, job_id: UUID) -> bool:
    """Run one job now, if it is not claimed and no earlier job with its ordering key waits; whether it is done."""
    batch = await _claim(1, job_id)
    return bool(batch) and await _run(handlers, batch[0])


async def _claim(most: int, only: UUID | None = None) -> tuple[Job, ...]:
    arguments = {"max_jobs": most, "lease_seconds": LEASE_SECONDS, "only_job": only}
    claimed = await commands.acting_as(callers.System(), callers.SYSTEM_SCOPE).call("claim_jobs", arguments, _Claimed)
    return claimed.jobs


async def _run(handlers: Handlers, job: Job) -> bool:
    rpc = commands.acting_as(callers.System(), callers.Scope(workspace_id=job.workspace_id))
    try:
        fault = await _work(handlers, job)
        if fault is None:
            await rpc.call("complete_job", {"job_id": job.id, "attempt": job.attempts}, _State, repeatable=True)
        else:
            arguments = {
                "job_id": job.id,
                "attempt": job.attempts,
                "error": fault.reason,
                "retryable": fault.retryable,
            }
            await rpc.call("fail_job", arguments, _State, repeatable=True)
    except errors.Problem as problem:
        log.warning("job_left_to_its_lease", job_id=job.id, code=problem.code)
        return False
    return fault is None


class _Fault(Record):
    reason: str
    retryable: bool


async def _work(handlers: Handlers, job: Job) -> _Fault | None:
    """Run the handler; returns what went wrong, without any message text or secret."""
    handler = handlers.get(job.kind)
    if handler is None:
        log.error("job_of_unknown_kind", job_id=job.id, kind=job.kind)
        return _Fault(reason="unknown kind", retryable=False)
    try:
        async with asyncio.timeout(JOB_SECONDS):
            await handler(job)
    except errors.Problem as problem:
        log.warning("job_failed", job_id=job.id, kind=job.kind, attempts=job.attempts, code=problem.code)
        return _Fault(reason=problem.code, retryable=problem.status >= 500)
    except Exception as unexpected:
        log.error("job_broke", job_id=job.id, kind=job.kind, attempts=job.attempts)
        return _Fault(reason=type(unexpected).__name__, retryable=True)
    return None
