"""The daily job that deletes what a workspace does not keep any longer.

The module of the retention is imported by the first job.
"""

from lib import log
from lib.auth import callers
from lib.database import commands
from lib.jobs import queue
from lib.jobs.queue import Job

STEP_SECONDS = 10.0


async def apply_retention(job: Job) -> None:
    """Go on with a workspace's run. Raises Postponed until it is finished."""
    from lib.workspaces import retention  # noqa: PLC0415

    system = commands.acting_as(callers.System(), callers.SYSTEM_SCOPE)
    progress = await retention.apply(system, job.workspace_id, seconds=STEP_SECONDS)
    if not progress.finished:
        raise queue.Postponed(0)
    log.info("retention_applied", workspace_id=job.workspace_id, deleted=progress.deleted)


HANDLERS: queue.Handlers = {"apply_retention": apply_retention}
