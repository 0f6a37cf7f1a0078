"""Exports in a process of its own, which prints by how many MB its peak memory grew during the last one.

    python -m tests.functions.export_child JOB …

The first exports have everything imported and every connection opened.
"""

import asyncio
import re
import sys
from pathlib import Path
from uuid import UUID

from lib.archive import handlers
from lib.jobs import queue


def peak() -> float:
    """Of this program, in MB; getrusage() counts what the process was before, too."""
    (found,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found) / 1024


async def main(*jobs: str) -> None:
    """Run the jobs, one after the other."""
    peaks = []
    for job_id in jobs:
        (job,) = await queue._claim(1, UUID(job_id), runs_in="archive")
        assert await queue._run(handlers.HANDLERS, job)
        peaks.append(peak())
    print(f"{peaks[-1] - peaks[-2]:.1f}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
