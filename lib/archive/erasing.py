"""Erasing from archives: an object is written anew without the contact's sessions and without its words in groups.

    open_archive_erasure -> read, write, upload, read back, compare -> record_archive_erasure -> delete the old object

Whatever ends a job before the record leaves the old object as it is, and a new one that a later run deletes. The job is
done when the store has no version of the old object.
"""

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import Mapping
from datetime import date
from typing import Literal
from uuid import UUID

from lib import log
from lib.archive import store as stores
from lib.archive.store import Store, object_key
from lib.auth import callers
from lib.database import commands
from lib.fields.models import Empty, Record
from lib.jobs import queue
from lib.jobs.queue import Job

WAIT_SECONDS = 10.0
"""Between two looks at an object that a run is writing."""

JOB_SECONDS = 120.0


class _Opened(Record):
    state: Literal["gone", "writing", "dead", "rewrite"]
    workspace_id: UUID | None = None
    month: date | None = None
    target_id: UUID | None = None
    contact_ids: tuple[UUID, ...] = ()
    sha256: str | None = None
    sessions: Mapping[UUID, UUID | None] = {}


class _Recorded(Record):
    recorded: bool


async def erase_archive(job: Job) -> None:
    """Erase a contact from an object. Raises Postponed while a run writes it, RetryLater if it is broken or missing,
    cannot be verified or deleted, and BackendUnavailable."""
    store = stores.configured()
    if store is None:
        raise queue.RetryLater("store_missing")
    object_id, erasure_id = UUID(job.payload["object_id"]), UUID(job.payload["erasure_id"])
    rpc = commands.acting_as(callers.System(), callers.Scope(workspace_id=job.workspace_id))
    opened = await rpc.call("open_archive_erasure", {"object_id": object_id, "erasure_id": erasure_id}, _Opened)
    if opened.state == "writing":
        raise queue.Postponed(WAIT_SECONDS)
    if opened.month is None:
        return  # gone
    key = object_key(job.workspace_id, opened.month, object_id)
    if opened.state == "rewrite":
        await _rewrite(store, rpc, key, object_id, erasure_id, opened)
    await store.delete(key)
    if await store.versions(key):
        raise queue.RetryLater("object_kept")
    system = commands.acting_as(callers.System(), callers.SYSTEM_SCOPE)
    await system.call("record_object_deleted", {"object_id": object_id}, Empty, repeatable=True)
    log.info("archive_erased", object_id=object_id, state=opened.state)


async def _rewrite(
    store: Store, rpc: commands.Rpc, key: str, object_id: UUID, erasure_id: UUID, opened: _Opened
) -> None:
    """Write the sessions that stay to the target, and record it."""
    from lib.archive import parquet, parquet_erasure  # noqa: PLC0415 (pyarrow takes longer to import than a function)

    workspace_id, month, target_id = opened.workspace_id, opened.month, opened.target_id
    if workspace_id is None or month is None or target_id is None:
        raise TypeError("an object to rewrite has a target")
    stand_ins = {str(one): str(contact) if contact else None for one, contact in opened.sessions.items()}
    erased = frozenset(map(str, opened.contact_ids))
    try:
        content = await store.get(key)
    except stores.ObjectMissing:
        content = b""
    if hashlib.sha256(content).hexdigest() != opened.sha256:
        # What others have in it would be lost, or would count as verified.
        log.error("archive_broken", object_id=object_id, erasure_id=erasure_id)
        raise queue.RetryLater("archive_broken")
    new = await asyncio.to_thread(parquet_erasure.rewrite, content, stand_ins, erased)
    target = object_key(workspace_id, month, target_id)
    await store.put_if_absent(target, new.made.content)
    kept = await store.get(target)
    if kept != new.made.content or not await asyncio.to_thread(parquet.equal, kept, new.tables):
        log.error("archive_unverified", object_id=target_id)
        raise queue.RetryLater("archive_unverified")
    arguments = {
        "object_id": object_id,
        "target_id": target_id,
        "erasure_id": erasure_id,
        "content": {
            "sha256": new.made.sha256,
            "size_bytes": len(new.made.content),
            "row_count": new.made.row_count,
            "footer": b64encode(new.made.footer).decode(),
        },
        "row_groups": [vars(group) | held for group, held in zip(new.made.row_groups, new.sessions, strict=True)],
        "erased": {"messages": new.erased_messages, "turns": new.erased_turns},
    }
    recorded = await rpc.call("record_archive_erasure", arguments, _Recorded)
    if not recorded.recorded:
        raise queue.RetryLater("archive_unrecorded")
