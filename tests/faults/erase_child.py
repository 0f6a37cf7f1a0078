"""Jobs of the archive, each in a process of its own that kills itself with SIGKILL after so many calls.

    python -m tests.faults.erase_child JOB:CALLS …

A call is one of the store or of the database; the process of a job that makes fewer ends by itself. It prints how many
calls each job made, or `killed`.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from lib import config
from lib.archive import handlers, parquet_erasure, s3_store, store
from lib.database import commands
from lib.jobs import queue

assert parquet_erasure.ERASED  # imported once, before the processes part


async def run_job(job_id: UUID) -> None:
    """Run this job of the archive, if it is due."""
    for job in await queue._claim(1, job_id, runs_in="archive"):
        await queue._run(handlers.HANDLERS, job)


def run(job_id: UUID, most: int) -> int:
    """Run a job; how many calls it made."""
    calls = 0

    def counted(call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def made(*given: Any, **options: Any) -> Any:
            nonlocal calls
            result = await call(*given, **options)
            calls += 1
            if calls == most:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return made

    store._run = counted(store._run)  # type: ignore[assignment]
    s3_store._in_thread = counted(s3_store._in_thread)  # type: ignore[assignment]
    commands.Rpc.call = counted(commands.Rpc.call)  # type: ignore[assignment,method-assign]
    asyncio.run(run_job(job_id))
    return calls


def main(*jobs: str) -> None:
    """Run each job in a copy of this process."""
    config.settings()
    for job_id, _, most in (job.partition(":") for job in jobs):
        if not (child := os.fork()):
            print(run(UUID(job_id), int(most)), flush=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            print("killed", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
