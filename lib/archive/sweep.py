"""The archive: old finished sessions leave the live lists."""

import time

from pydantic import BaseModel, ConfigDict

from lib import log
from lib.auth import callers
from lib.database import commands

BATCH = 500


class _Marked(BaseModel):
    model_config = ConfigDict(defer_build=True, frozen=True)

    archived: int
    remaining: bool


class Report(BaseModel):
    """How many sessions a run archived; ``remaining``: its time was over before all were."""

    model_config = ConfigDict(defer_build=True, frozen=True)

    archived: int
    remaining: bool


async def run(*, budget_seconds: float) -> Report:
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
    return Report(archived=archived, remaining=remaining)
