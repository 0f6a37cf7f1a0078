"""The archive sweep: marks old finished sessions as archived."""

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
    """Number of archived sessions; ``remaining``: the time budget ended before all were archived."""

    archived: int
    remaining: bool


async def run(*, budget_seconds: float) -> SweepReport:
    """Archive every session that is old enough, in batches, within the time budget.

    Each batch is a transaction; the next run resumes an interrupted one. Raises BackendUnavailable.
    """
    end = time.monotonic() + budget_seconds
    archived, remaining = 0, True
    rpc = commands.acting_as(callers.System(), callers.SYSTEM_SCOPE)
    while remaining and time.monotonic() < end:
        marked = await rpc.call("archive_old_chat_sessions", {"max_sessions": BATCH}, _Marked, repeatable=True)
        archived, remaining = archived + marked.archived, marked.remaining
    log.info("archive_run", archived=archived, remaining=remaining)
    return SweepReport(archived=archived, remaining=remaining)
