"""An archive run in a process of its own, which kills itself with SIGKILL at a step, or is killed by its parent.

    python -m tests.faults.archive_child STEP [workspace [sessions of a batch]]

It prints `ready` once everything is imported, and `step` when it reaches a step at which its parent acts.
"""

import asyncio
import math
import os
import signal
import sys
from uuid import UUID

from lib.archive import archiver, parquet, store

STEPS = ("before upload", "after upload", "before record", "in record", "after record")
"""`in record`: the parent holds a lock for which the transaction waits, and kills the child then."""

assert parquet.SCHEMA  # imported before the run begins


def die() -> None:
    """End at once, as a crash does."""
    os.kill(os.getpid(), signal.SIGKILL)


class Dying(store.Folder):
    """A store at whose calls the process ends."""

    step = ""

    async def put_if_absent(self, key: str, content: bytes) -> bool:
        """Store it, unless the process ends before."""
        if self.step == "before upload":
            die()
        stored = await super().put_if_absent(key, content)
        if self.step == "after upload":
            die()
        return stored


def main(step: str, workspace: str = "", batch_sessions: str = "1000") -> None:
    """Archive what is queued."""
    kept = store.configured()
    assert isinstance(kept, store.Folder)
    kept.__class__, Dying.step = Dying, step
    record = archiver._record

    async def record_and_die(*arguments: object) -> object:
        if step == "before record":
            die()
        print("step", flush=True)
        recorded = await record(*arguments)  # type: ignore[arg-type]
        if step == "after record":
            die()
        return recorded

    archiver._record = record_and_die  # type: ignore[assignment]
    print("ready", flush=True)
    only = UUID(workspace) if workspace else None
    asyncio.run(archiver.run(kept, end=math.inf, only_workspace=only, batch_sessions=int(batch_sessions)))


if __name__ == "__main__":
    main(*sys.argv[1:])
