"""The jobs that go on with erasures: what a request left, and deliveries whose own jobs had to end first.

The module of erasures is imported by the first job that needs it.
"""

from uuid import UUID

from lib.auth import callers
from lib.database import commands
from lib.fields.models import Record
from lib.jobs import queue
from lib.jobs.queue import Job

STEP_SECONDS = 10.0
WAIT_SECONDS = 2.0
"""Between two looks at what other jobs have to end first."""


class _Erased(Record):
    erased: bool


async def erase_contact(job: Job) -> None:
    """Go on with an erasure. Raises Postponed until it is finished."""
    from lib.contacts import erasures  # noqa: PLC0415

    system = commands.acting_as(callers.System(), callers.SYSTEM_SCOPE)
    progress = await erasures.proceed(system, UUID(job.payload["erasure_id"]), seconds=STEP_SECONDS)
    if progress.erasure.status != "finished":
        raise queue.Postponed(WAIT_SECONDS if progress.waiting else 0)


async def erase_delivery(job: Job) -> None:
    """Delete a delivery that names an erased contact. Raises Postponed while a job about it has not ended."""
    rpc = commands.acting_as(callers.System(), callers.Scope(workspace_id=job.workspace_id))
    done = await rpc.call("erase_delivery", {"event_id": job.payload["event_id"]}, _Erased, repeatable=True)
    if not done.erased:
        raise queue.Postponed(WAIT_SECONDS)


HANDLERS: queue.Handlers = {"erase_contact": erase_contact, "erase_delivery": erase_delivery}
