"""The archive: old finished sessions leave the live lists."""

import time

from lib import log
from lib.auth import callers
from lib.database import commands
from lib.fields.models import Record

BATCH = 500


class _Marked(Record):
    archived: int
    remaining: bool


class SweepReport(Record):
    """How many sessions a run archived; ``remaining``: its time was over before all were."""

    archived: int
    remaining: bool


async def run(*, budget_seconds: float) -> SweepReport:
    """Archive every session that is old enough, in batches, until done or the time is over.

    Each batch is a transaction of its own, so a run that breaks off is gone on with by the next. Raises
    BackendUnavailable.
    """
    end = time.monotonic() + budget_seconds
    archived, remaining = 0, True
    rpc = commands.acting_as(callers.System(), callers.SYSTEM_SCOPE)
    while remaining and time.monotonic() < end:
        marked = await rpc.call("archive_old_chat_sessions", {"max_sessions": BATCH}, _Marked, repeatable=True)
        archived, remaining = archived + marked.archived, marked.remaining
    log.info("archive_run", archived=archived, remaining=remaining)
    return SweepReport(archived=archived, remaining=remaining)
