"""The job queue: jobs are claimed under a lease, run, and completed or put back.

A job runs at least once: if a worker dies, its lease expires and another worker claims the job, so handlers must be
idempotent. Each claim has an attempt number: a worker whose lease has expired can no longer complete or fail the job.

A handler ends a job by returning. It has it tried again by raising: `RetryLater` or a problem with status 5xx or
`retry_after` counts as a failed attempt, of which the last one leaves the job dead; `Postponed` does not count. Any
other problem is final: the job is dead at once. An exception that is no problem is a mistake of ours, and retried.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from lib import errors, log
from lib.auth import callers
from lib.database import commands
from lib.fields.models import Record

CONCURRENCY = 10
"""Jobs that one worker runs at a time."""

LEASE_SECONDS = 60
JOB_SECONDS = 20.0
"""Time limit of one job, well within its lease."""

LINGER_SECONDS = 1.2
"""How long a run looks for more after its last job, and a worker after its start. The worker is woken once a second:
what is queued in that second by others wakes none."""

LOOK_SECONDS = 0.2
"""Between two looks."""


class InboundEvent(Record):
    """A stored delivery."""

    id: UUID
    source: str
    headers: Mapping[str, str]
    raw_body: str


class Job(Record):
    """A claimed job. ``tries`` are the attempts that count, this one included."""

    id: UUID
    workspace_id: UUID
    kind: str
    attempts: int
    tries: int
    payload: Mapping[str, Any]
    event: InboundEvent | None


class RetryLater(Exception):  # noqa: N818 (a request, as StopIteration)
    """The attempt failed; the job is tried again after so many seconds at the earliest, unless it was the last."""

    def __init__(self, reason: str, seconds: float = 0) -> None:
        super().__init__(reason)
        self.reason, self.seconds = reason, seconds


class Postponed(Exception):  # noqa: N818 (a request, as StopIteration)
    """The handler is to go on after so many seconds. This is no failed attempt."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class _Claimed(Record):
    jobs: tuple[Job, ...]


class _State(Record):
    status: str


class _Woken(Record):
    woken: bool


class RunReport(Record):
    """The result of a run; ``remaining``: the time budget ended before the queue was empty."""

    processed: int
    failed: int
    remaining: bool


@dataclass(frozen=True)
class Long:
    """A handler that may take longer than JOB_SECONDS: the job's lease is renewed while it runs."""

    handle: Callable[[Job], Awaitable[None]]
    seconds: float

    async def __call__(self, job: Job) -> None:
        """Handle the job."""
        await self.handle(job)


RunsIn = Literal["worker", "archive"]
"""The functions that run jobs: the archive function those that touch the object store."""

Handler = Callable[[Job], Awaitable[None]]
Handlers = Mapping[str, Handler]
"""Handlers by kind of job."""


async def run_due(handlers: Handlers, *, budget_seconds: float, runs_in: RunsIn = "worker") -> RunReport:
    """Run a function's due jobs until none comes any more or the time budget ends; started jobs are completed.

    A slow job holds back neither those beside it nor those after it: more are claimed while it runs. Raises
    BackendUnavailable if the queue cannot be reached.
    """
    started = time.monotonic()
    end = started + budget_seconds
    # A worker that finds nothing looks on, too: another process may have run the job for which it was woken.
    # The archive function is mostly called for its sessions.
    last_ended = started if runs_in == "worker" else -LINGER_SECONDS
    processed = failed = 0
    running: set[asyncio.Task[bool]] = set()
    try:
        while True:
            # Claimed for half of the places at least: most claims are for several jobs.
            if len(running) <= CONCURRENCY // 2 and time.monotonic() < end:
                claimed = await _claim(CONCURRENCY - len(running), runs_in=runs_in)
                running |= {asyncio.create_task(_run(handlers, job)) for job in claimed}
            now = time.monotonic()
            if not running and (now >= end or now - last_ended > LINGER_SECONDS):
                return RunReport(processed=processed, failed=failed, remaining=now >= end)
            if not running:
                await asyncio.sleep(LOOK_SECONDS)
                continue
            # Beside slow jobs too: what is queued in the second after this run was woken wakes no other.
            is_looking = now < end and now - last_ended < LINGER_SECONDS
            done, running = await asyncio.wait(
                running, timeout=LOOK_SECONDS if is_looking else None, return_when=asyncio.FIRST_COMPLETED
            )
            last_ended = time.monotonic() if done else last_ended
            succeeded = sum(task.result() for task in done)
            processed += succeeded
            failed += len(done) - succeeded
    finally:
        if running:
            await asyncio.wait(running)


async def run_one(handlers: Handlers, job_id: UUID) -> bool:
    """Run one job now, if it is not claimed and no earlier job with its ordering key waits; whether it did, without
    a failure. A job whose caller's time ends is put back at once."""
    batch = await _claim(1, job_id)
    return bool(batch) and await _run(handlers, batch[0])


async def wake_worker() -> None:
    """Have the worker run what is due. If that fails, its schedule does so within a minute."""
    await _wake("worker")


async def wake_archive() -> None:
    """Have the archive function run what is due, as wake_worker."""
    await _wake("archive")


async def _wake(function: RunsIn) -> None:
    try:
        await commands.acting_as(callers.System(), callers.SYSTEM_SCOPE).call(f"wake_{function}", {}, _Woken)
    except errors.Problem as problem:
        log.warning(f"{function}_not_woken", code=problem.code)


async def _claim(most: int, only: UUID | None = None, *, runs_in: RunsIn = "worker") -> tuple[Job, ...]:
    arguments = {"max_jobs": most, "lease_seconds": LEASE_SECONDS, "only_job": only, "runs_in": runs_in}
    claimed = await commands.acting_as(callers.System(), callers.SYSTEM_SCOPE).call("claim_jobs", arguments, _Claimed)
    return claimed.jobs


class _Outcome(Record):
    """How an attempt ended: the SQL function that stores it, and its arguments."""

    function: str
    arguments: Mapping[str, Any] = {}


_DONE = _Outcome(function="complete_job")
_LATER = _Outcome(function="postpone_job", arguments={"seconds": 0})

GIVE_BACK_SECONDS = 1.0
"""How long a cancelled run tries to put its job back; otherwise the job waits for its lease to expire."""


async def _run(handlers: Handlers, job: Job) -> bool:
    try:
        outcome = await _work(handlers, job)
    except asyncio.CancelledError:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GIVE_BACK_SECONDS):
                await _end(job, _LATER)
        raise
    return await _end(job, outcome)


async def _end(job: Job, outcome: _Outcome) -> bool:
    """Store how an attempt ended; whether it did not fail."""
    rpc = commands.acting_as(callers.System(), callers.Scope(workspace_id=job.workspace_id))
    try:
        arguments = {"job_id": job.id, "attempt": job.attempts, **outcome.arguments}
        state = await rpc.call(outcome.function, arguments, _State, repeatable=True)
    except errors.Problem as problem:
        log.warning("job_left_to_its_lease", job_id=job.id, code=problem.code)
        return False
    if state.status == "dead":
        log.error("job_dead", job_id=job.id, kind=job.kind, reason=outcome.arguments.get("error"))
    return outcome.function != "fail_job"


async def _work(handlers: Handlers, job: Job) -> _Outcome:
    """Run the handler; returns how it ended, without any message text or secret."""
    handler = handlers.get(job.kind)
    if handler is None:
        return _failure(job, "unknown_kind", retryable=False)
    try:
        seconds = handler.seconds if isinstance(handler, Long) else JOB_SECONDS
        async with asyncio.timeout(seconds), _lease(job, seconds):
            await handler(job)
    except Postponed as postponed:
        return _Outcome(function="postpone_job", arguments={"seconds": postponed.seconds})
    except RetryLater as later:
        return _failure(job, later.reason, seconds=later.seconds)
    except errors.Problem as problem:
        retryable = problem.status >= 500 or problem.retry_after is not None
        return _failure(job, problem.code, retryable=retryable, seconds=problem.retry_after or 0)
    except Exception as unexpected:
        log.error("job_broke", job_id=job.id, kind=job.kind, attempts=job.attempts)
        return _failure(job, type(unexpected).__name__)
    return _DONE


@contextlib.asynccontextmanager
async def _lease(job: Job, seconds: float) -> AsyncGenerator[None]:
    """Renews the lease of a job that may outlive it."""
    if seconds < LEASE_SECONDS:
        yield
        return
    rpc = commands.acting_as(callers.System(), callers.Scope(workspace_id=job.workspace_id))
    arguments = {"job_id": job.id, "attempt": job.attempts, "lease_seconds": LEASE_SECONDS}

    async def renew() -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 4)
            with contextlib.suppress(errors.Problem):
                await rpc.call("renew_job", arguments, _State, repeatable=True)

    renewing = asyncio.create_task(renew())
    try:
        yield
    finally:
        renewing.cancel()


def _failure(job: Job, reason: str, *, retryable: bool = True, seconds: float = 0) -> _Outcome:
    log.warning("job_failed", job_id=job.id, kind=job.kind, attempts=job.attempts, code=reason)
    arguments = {"error": reason, "retryable": retryable, "retry_after_seconds": seconds}
    return _Outcome(function="fail_job", arguments=arguments)
