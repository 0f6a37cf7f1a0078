"""A worker process: runs due jobs of the kind `measured` until it is killed. A job leaves one effect.

python -m bench.servers.jobs_worker DATABASE_URL LEASE_SECONDS
"""

import asyncio
import random
import sys

import asyncpg
import uvloop

from lib.jobs import queue

IDLE_SECONDS = 0.05
"""Instead of the call with which the database wakes a worker."""


async def work(url: str) -> None:
    """Run due jobs for ever."""
    pool = await asyncpg.create_pool(url, min_size=1, max_size=queue.CONCURRENCY)

    async def leave_effect(job: queue.Job) -> None:
        run = await pool.fetchval(
            "insert into bench.runs (job_id, ordering_key)"
            " select id, ordering_key from public.jobs where id = $1 returning id",
            job.id,
        )
        await asyncio.sleep(random.uniform(0, 0.01))  # noqa: S311 (a moment in which it may be killed)
        await pool.execute("insert into bench.effects (job_id) values ($1) on conflict do nothing", job.id)
        await pool.execute("update bench.runs set ended_at = clock_timestamp() where id = $1", run)

    while True:
        await queue.run_due({"measured": leave_effect}, budget_seconds=20)
        await asyncio.sleep(IDLE_SECONDS)


if __name__ == "__main__":
    queue.LEASE_SECONDS = int(sys.argv[2])
    uvloop.run(work(sys.argv[1]))
