"""The archiver: writes queued sessions to the object store.

    take_archive_batch -> read (COPY) -> write (Parquet) -> upload -> read back, compare -> record_archive

A batch is some sessions of one workspace and month, under a lease, and becomes one object with a name of its own. Only
record_archive, one transaction, makes it count: it compares the versions of all rows with those that were read, and
drops messages only then. Whatever ends a run before it leaves an object that no session names: when its lease is over,
a later run queues the sessions again, and deletes it (object_cleanup.py).
"""

import asyncio
import contextlib
import itertools
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from lib import errors, log
from lib.archive.store import Store, object_key
from lib.auth import callers
from lib.database import commands, copying
from lib.fields.models import Empty, Record

if TYPE_CHECKING:
    from lib.archive import parquet

Result = TypeVar("Result")

BATCH_SESSIONS = 1_000
LEASE_SECONDS = 300
"""Longer than any call of the function takes."""

ROW_GROUP_ROWS = 20_000
"""About as many rows does a row group have at most, which is what one COPY reads; a session is never divided. Each COPY
has to be planned, and each column of a row group compressed, encoded and decoded on its own: a few large ones cost half
of many small ones."""

PART_BYTES = 8_000_000
"""What one COPY of several sessions may return. If they have more, it is stopped, and from then on half as many of the
workspace are read at once."""

AT_ONCE = 3
"""Batches that a run works on: while one is read, another is written or verified, and a third recorded."""

_threads = ThreadPoolExecutor(2, "archiver")
"""Few threads, because each needs memory for a part, and keeps some that was freed in it."""

OBJECT_BYTES = 24_000_000
"""Memory of an object's rows, from which it takes no more: as a file it has about a sixth."""

PAUSE_SECONDS = 60
"""After a failure of the store."""

Sessions = Sequence[tuple[str, int]]
"""Ids of sessions, and about how many rows each has."""


class _Object(Record):
    id: UUID
    workspace_id: UUID
    month: date


class _Batch(Record):
    object: _Object | None
    sessions: dict[str, int]


class _Recorded(Record):
    recorded: int
    changed: int
    dropped: int


class ArchiverReport(Record):
    """Number of stored sessions, of their rows and of the objects; ``remaining``: the time ended before the queue."""

    stored: int = 0
    rows: int = 0
    objects: int = 0
    remaining: bool = False


async def run(
    store: Store, *, end: float, only_workspace: UUID | None = None, batch_sessions: int = BATCH_SESSIONS
) -> ArchiverReport:
    """Archive queued sessions until none is due or the clock (`time.monotonic`) has reached ``end``.

    Raises BackendUnavailable if the database or the store cannot be reached; the batch under way is then due again.
    """
    taking, part_rows = asyncio.Lock(), dict[UUID, int]()
    reports = await asyncio.gather(
        *(_work(store, end, only_workspace, batch_sessions, taking, part_rows) for _ in range(AT_ONCE))
    )
    return ArchiverReport(
        stored=sum(report.stored for report in reports),
        rows=sum(report.rows for report in reports),
        objects=sum(report.objects for report in reports),
        remaining=any(report.remaining for report in reports),
    )


async def _work(
    store: Store,
    end: float,
    only_workspace: UUID | None,
    batch_sessions: int,
    taking: asyncio.Lock,
    part_rows: dict[UUID, int],
) -> ArchiverReport:
    """Batch after batch. ``part_rows``: how many rows of a workspace one COPY may return, where they are long."""
    stored = rows = objects = 0
    while time.monotonic() < end:
        # Two at once would want the same sessions: the second would find all of them locked, and take that for the end.
        async with taking:
            batch = await _take(batch_sessions, only_workspace)
        if batch.object is None:
            return ArchiverReport(stored=stored, rows=rows, objects=objects)
        recorded = await _archive(store, batch.object, list(batch.sessions.items()), part_rows)
        stored, rows, objects = stored + recorded.stored, rows + recorded.rows, objects + recorded.objects
    return ArchiverReport(stored=stored, rows=rows, objects=objects, remaining=True)


async def _archive(store: Store, target: _Object, sessions: Sessions, part_rows: dict[UUID, int]) -> ArchiverReport:
    from lib.archive import parquet  # noqa: PLC0415 (pyarrow takes longer to import than a function)

    writer = parquet.Writer()
    written: list[dict[str, list[Any]]] = []
    versions = 0
    try:
        while sessions and writer.source_bytes < OBJECT_BYTES:
            part = _part(sessions, part_rows.get(target.workspace_id, ROW_GROUP_ROWS))
            content = await _read(target.workspace_id, part)
            if content is None:
                part_rows[target.workspace_id] = sum(rows for _, rows in part) // 2
                continue
            described = await _in_thread(_write, writer, part, content)
            del content  # before the next ones, and before the object is stored
            if described is None:
                log.info("archive_sessions_changed", object_id=target.id)
                await _abandon(target)
                return ArchiverReport()
            written.append(described[0])
            versions += described[1]
            sessions = sessions[len(part) :]
        made = await _in_thread(writer.finish)
        key = object_key(target.workspace_id, target.month, target.id)
        await store.put_if_absent(key, made.content)
        kept = await store.get(key)
        if kept != made.content or not await _in_thread(parquet.equal, kept, writer.tables):
            log.error("archive_unverified", object_id=target.id)
            raise errors.BackendUnavailable()
    except errors.BackendUnavailable:
        await _abandon(target, PAUSE_SECONDS)
        raise
    recorded = await _record(target, made, written, versions)
    if recorded.changed:
        log.info("archive_sessions_changed", object_id=target.id, sessions=recorded.changed)
        return ArchiverReport()
    return ArchiverReport(stored=recorded.recorded, rows=made.row_count, objects=1)


def _write(writer: "parquet.Writer", sessions: Sessions, content: bytearray) -> tuple[dict[str, list[Any]], int] | None:
    """Write sessions as a row group; its description, and the sum of the rows' versions. None if one has no rows."""
    from lib.archive import parquet  # noqa: PLC0415 (as above)

    if not content:
        return None
    table, versions = parquet.of_csv(content)
    writer.add(table)
    described = parquet.describe(table)
    return (described, versions) if len(described["session_ids"]) == len(sessions) else None


async def _read(workspace_id: UUID, sessions: Sessions) -> bytearray | None:
    """The rows of some sessions, as CSV. None if several have too many bytes for one part."""
    from lib.archive import parquet  # noqa: PLC0415 (as above)

    query = parquet.copy_query([session for session, _ in sessions])
    return await copying.copy_csv(workspace_id, query, PART_BYTES if len(sessions) > 1 else None)


def _part(sessions: Sessions, most_rows: int) -> Sessions:
    """As many of the sessions as have few enough rows, at least one."""
    totals = itertools.accumulate(rows for _, rows in sessions)
    return sessions[: max(1, sum(total <= most_rows for total in totals))]


async def _in_thread(call: Callable[..., Result], *given: object) -> Result:
    return await asyncio.get_running_loop().run_in_executor(_threads, call, *given)


async def _take(sessions: int, only_workspace: UUID | None) -> _Batch:
    arguments = {"max_sessions": sessions, "lease_seconds": LEASE_SECONDS, "only_workspace": only_workspace}
    return await commands.acting_as(callers.System(), callers.SYSTEM_SCOPE).call(
        "take_archive_batch", arguments, _Batch
    )


async def _record(
    target: _Object, made: "parquet.ArchiveObject", written: Sequence[dict[str, list[Any]]], versions: int
) -> _Recorded:
    arguments = {
        "object_id": target.id,
        "content": {
            "sha256": made.sha256,
            "size_bytes": len(made.content),
            "row_count": made.row_count,
            "footer": b64encode(made.footer).decode(),
        },
        "row_groups": [vars(group) | sessions for group, sessions in zip(made.row_groups, written, strict=True)],
        "versions": versions,
    }
    rpc = commands.acting_as(callers.System(), callers.Scope(workspace_id=target.workspace_id))
    return await rpc.call("record_archive", arguments, _Recorded, repeatable=True)


async def _abandon(target: _Object, seconds: float = 0) -> None:
    rpc = commands.acting_as(callers.System(), callers.Scope(workspace_id=target.workspace_id))
    with contextlib.suppress(errors.BackendUnavailable):
        await rpc.call("abandon_archive_batch", {"object_id": target.id, "seconds": seconds}, Empty, repeatable=True)
