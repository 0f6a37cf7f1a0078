"""The jobs of exports, which the archive function runs: files are made, and deleted a day later."""

import tempfile
from collections.abc import Sequence
from uuid import UUID

from lib import errors, log
from lib.archive import store as stores
from lib.archive import transcripts
from lib.auth import callers
from lib.database import commands
from lib.exports import builder, exports, files, package
from lib.exports.exports import Export
from lib.exports.rows import Row, Rows
from lib.fields.models import Record
from lib.jobs import queue

SECONDS = 840.0
"""Longest time of one export."""


class _Work(Record):
    export_id: UUID


class _Expired(Record):
    id: UUID
    workspace_id: UUID


class _ExpiredList(Record):
    exports: tuple[_Expired, ...]


class _Removed(Record):
    removed: bool


async def make(job: queue.Job) -> None:
    """Write and store the file of an export, unless that is done. Files that are not wanted (any more) are deleted.

    Raises BackendUnavailable, and RetryLater if the store has other bytes.
    """
    rpc = commands.acting_as(callers.System(), callers.Scope(workspace_id=job.workspace_id))
    work = _Work.model_validate(job.payload)
    target = exports.store()
    export = await _wanted(rpc, work.export_id)
    if export is None or export.status == "stored":
        await files.delete(target, job.workspace_id, work.export_id, but=export.sha256 if export else None)
        return
    try:
        await _write(rpc, target, export)
    except errors.Refused:
        # Erased, expired or made by another attempt meanwhile.
        stored = await _wanted(rpc, export.id)
        await files.delete(target, export.workspace_id, export.id, but=stored.sha256 if stored else None)


async def _write(rpc: commands.Rpc, target: stores.Store, export: Export) -> None:
    """Write, store and record the file. Raises Refused (export_not_found) once it is not wanted any more."""

    reader = transcripts.Reader(target)

    async def read_archived(place: Row) -> Sequence[Row]:
        return await reader.read(transcripts.Place.model_validate(place["place"]), place["session_id"])

    async def progress(counts: dict[str, int]) -> None:
        await rpc.call("record_export", {"export_id": export.id, "counts": counts}, Export, repeatable=True)

    # It has no name, so that nothing is left of it when the function is killed.
    with tempfile.TemporaryFile() as file:
        head = {
            name: str(value)
            for name in ("workspace_id", "contact_id", "session_id")
            if (value := getattr(export, name)) is not None
        }
        written = package.create(file, head)
        await builder.write(written, Rows(rpc, export.id, read_archived), progress)
        written.close()
        try:
            sha256 = await files.store(target, export, file)
        except ValueError as differs:
            raise queue.RetryLater("export_unverified", 60) from differs
        size = file.tell()
    arguments = {"export_id": export.id, "counts": written.counts, "size_bytes": size, "sha256": sha256}
    await rpc.call("record_export", arguments, Export, repeatable=True)
    log.info("export_stored", export_id=export.id, size_bytes=size, rows=sum(written.counts.values()))


async def _wanted(rpc: commands.Rpc, export_id: UUID) -> Export | None:
    """The export; None if it is expired or gone."""
    try:
        return await rpc.call("begin_export", {"export_id": export_id}, Export, repeatable=True)
    except errors.Refused:
        return None


async def delete_expired() -> int:
    """Delete the files of exports whose time is over; how many. A repeat continues. Raises BackendUnavailable."""
    target = stores.configured()
    system = commands.acting_as(callers.System(), callers.SYSTEM_SCOPE)
    deleted = 0
    while True:
        expired = await system.call("list_expired_exports", {"max_exports": 100}, _ExpiredList, repeatable=True)
        for one in expired.exports:
            if target is not None:
                await files.delete(target, one.workspace_id, one.id)
            rpc = commands.acting_as(callers.System(), callers.Scope(workspace_id=one.workspace_id))
            await rpc.call("remove_export", {"export_id": one.id}, _Removed, repeatable=True)
            deleted += 1
        if not expired.exports:
            return deleted


HANDLERS: queue.Handlers = {"make_export": queue.Long(make, SECONDS)}
