"""The handlers of the jobs of channels; their modules are imported by the first job that needs them."""

from lib.jobs import queue
from lib.jobs.queue import Job

ANSWER_SECONDS = 890.0
"""Above a persona's longest time limit and collect_seconds."""

SEND_SECONDS = 120.0
"""For all parts of a message; the job's next attempt sends what is left."""


async def receive(job: Job) -> None:
    """Store what arrived in a channel."""
    from lib.channels import messages  # noqa: PLC0415

    await messages.receive(job)


async def answer(job: Job) -> None:
    """Have the persona answer a turn."""
    from lib.channels import messages  # noqa: PLC0415

    await messages.answer(job)


async def send(job: Job) -> None:
    """Send a message to its chat."""
    from lib.channels import sending  # noqa: PLC0415

    await sending.send(job)


async def record_status(job: Job) -> None:
    """Record what a provider reports of a message."""
    from lib.channels import sending  # noqa: PLC0415

    await sending.record_status(job)


HANDLERS: queue.Handlers = {
    "channel_message": receive,
    "channel_answer": queue.Long(answer, ANSWER_SECONDS),
    "channel_status": record_status,
    "send_message": queue.Long(send, SEND_SECONDS),
}
