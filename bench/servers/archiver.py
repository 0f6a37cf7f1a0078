"""Archive everything that is queued, as the archive function does, in a process of its own; print what it took.

    python -m bench.servers.archiver [sessions of a batch]

The environment and the event loop are the functions'. The line is JSON: sessions, rows, objects, seconds, cpu and
peak_mb (resident memory of the whole process, interpreter and libraries included). Then it waits for a line, with its
connections open.
"""

import json
import math
import resource
import sys
import time

import uvloop

from lib.archive import archiver, parquet, store

_IMPORTED = parquet
"""Before the run begins, as in a function that is warm."""


async def main(batch_sessions: int) -> None:
    """Run until nothing is queued."""
    kept = store.configured()
    if kept is None:
        raise SystemExit("SWITCHBOARD_ARCHIVE_STORE is not set")
    started, cpu = time.perf_counter(), time.process_time()
    report = await archiver.run(kept, end=math.inf, batch_sessions=batch_sessions)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_000
    figures = {"sessions": report.stored, "rows": report.rows, "objects": report.objects}
    print(json.dumps(figures | {"seconds": seconds, "cpu": cpu, "peak_mb": peak}), flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else archiver.BATCH_SESSIONS))
