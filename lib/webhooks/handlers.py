"""The handlers of all jobs, by kind: each domain has its own, and the functions take all of them from here."""

from lib import errors, providers
from lib.channels import handlers as channels
from lib.contacts import erasure_jobs
from lib.devices import transcripts
from lib.jobs import queue
from lib.memory import embedding_jobs
from lib.webhooks import deliveries, event_sender
from lib.workflow import avinode
from lib.workspaces import retention_jobs


async def process_parked(job: queue.Job) -> None:
    """Process an item that was parked, if there is a handler for it by now. Raises Refused (unknown_event)."""
    kind = deliveries.JOB_KINDS.get(type(deliveries.work_of(job, providers.Item).item), "")
    if kind not in HANDLERS:
        raise errors.Refused(422, "unknown_event")
    await HANDLERS[kind](job)


HANDLERS: queue.Handlers = {
    **deliveries.HANDLERS,
    **channels.HANDLERS,
    **transcripts.HANDLERS,
    **event_sender.HANDLERS,
    **avinode.HANDLERS,
    **erasure_jobs.HANDLERS,
    **embedding_jobs.HANDLERS,
    **retention_jobs.HANDLERS,
    "unknown_event": process_parked,
}
