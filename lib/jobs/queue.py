"""Jobs: claimed from the queue under a lease, worked on, and completed or put back.

A job is done at least once: a worker that dies leaves its lease to run out and the job to the next one.
So a handler must do the same thing twice without harm. Each claim is an attempt with a number: a worker that comes
back after its lease ran out no longer decides about a job that somebody else works on.
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
"""How long one job may take: well within its lease."""


class InboundEvent(Record):
    """A delivery as it came."""

    id: UUID
    source: str
    headers: Mapping[str, str]
    raw_body: str


class Job(Record):
    """A claimed piece of work."""

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
    """What a run of the worker did; ``remaining`` says that its time was over before the queue was empty."""

    processed: int
    failed: int
    remaining: bool


Handler = Callable[[Job], Awaitable[None]]
Handlers = Mapping[str, Handler]
"""What does the work, by kind of job. What it raises puts the job back or, if it is final, ends it."""


async def run_due(handlers: Handlers, *, budget_seconds: float) -> RunReport:
    """Work on due jobs until none is left or the time is over; a batch that was begun is ended.

    Raises BackendUnavailable when the queue cannot be reached.
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
    """Work on one job now, if nobody else does and none of its order waits before it; whether it is done."""
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
    """Do the work; what went wrong, if anything did, in words that hold no message and no secret."""
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
