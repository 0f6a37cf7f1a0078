"""The archive's run: old finished sessions are marked, and the queued ones are written to the store."""

import asyncio
import time
from uuid import UUID

from lib import errors, log
from lib.archive import archiver, handlers, object_cleanup, store
from lib.auth import callers
from lib.database import commands
from lib.database.management import managing_as
from lib.exports import jobs as export_jobs
from lib.fields.models import Body, Record
from lib.jobs import queue

BATCH = 500


class ArchiveRequest(Body):
    """Whose sessions are archived. Only for members; the schedule's call is for all workspaces."""

    workspace_id: UUID | None = None
    """By default the caller's only workspace."""


class _Marked(Record):
    archived: int
    remaining: bool
    workspace_id: UUID | None = None


class ArchiveReport(Record):
    """The result of a run: sessions that were marked as archived, and sessions that were stored with all of their rows
    in so many objects; ``deleted``: objects that nothing needs any more; ``remaining``: the time budget ended before
    all was done, and another run follows at once."""

    archived: int
    stored: int
    rows: int
    objects: int
    deleted: int
    remaining: bool


async def run(caller: callers.User | callers.System, asked: ArchiveRequest, *, budget_seconds: float) -> ArchiveReport:
    """Archive every session that is old enough, in batches, within the time budget.

    Each batch is a transaction, and each object a batch of its own; the next run resumes an interrupted one. Without a
    store, sessions are only marked. The schedule's run also deletes dead objects and runs the archive's jobs. Raises
    InvalidBody if the schedule names a workspace, Refused (workspace_required, workspace_not_found, forbidden) and
    BackendUnavailable.
    """
    end = time.monotonic() + budget_seconds
    if isinstance(caller, callers.System) and asked.workspace_id is not None:
        raise errors.InvalidBody([errors.FieldError("workspace_id", "is for members")])
    archived, workspace_id, remaining = await _mark(caller, asked, end)
    kept = store.configured()
    written, deleted = archiver.ArchiverReport(), 0
    if kept is not None and isinstance(caller, callers.System):
        written, jobs = await asyncio.gather(
            archiver.run(kept, end=end),
            queue.run_due(handlers.HANDLERS, budget_seconds=end - time.monotonic(), runs_in="archive"),
        )
        remaining = remaining or jobs.remaining
        # Last: what the store does not let go holds up nothing else.
        await export_jobs.delete_expired()
        deleted = await object_cleanup.delete_dead(kept)
    elif kept is not None:
        written = await archiver.run(kept, end=end, only_workspace=workspace_id)
    remaining = remaining or written.remaining
    report = ArchiveReport(
        archived=archived,
        stored=written.stored,
        rows=written.rows,
        objects=written.objects,
        deleted=deleted,
        remaining=remaining,
    )
    log.info("archive_run", **report.model_dump())
    if remaining:
        await queue.wake_archive()
    return report


async def _mark(
    caller: callers.User | callers.System, asked: ArchiveRequest, end: float
) -> tuple[int, UUID | None, bool]:
    """Mark the sessions that are old enough: how many, the member's workspace, and whether there are more."""
    archived, remaining, workspace_id = 0, True, asked.workspace_id
    while remaining and time.monotonic() < end:
        if isinstance(caller, callers.System):
            rpc = commands.acting_as(caller, callers.SYSTEM_SCOPE)
            marked = await rpc.call("archive_old_chat_sessions", {"max_sessions": BATCH}, _Marked, repeatable=True)
        else:
            arguments = {"workspace_id": workspace_id, "max_sessions": BATCH}
            marked = await managing_as(caller).call(
                "archive_sessions_of_workspace", arguments, _Marked, repeatable=True
            )
            workspace_id = marked.workspace_id
        archived, remaining = archived + marked.archived, marked.remaining
    return archived, workspace_id, remaining
