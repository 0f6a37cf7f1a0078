"""Erasing contacts: a contact, and all that was merged with it, is removed everywhere, and a receipt is left.

The first step closes the contact in one transaction: its running turns stop, its tokens and waiting jobs are gone, its
identities are hashes, so that the person who returns is a new contact. What it held is then deleted in batches, by the
request as far as its time allows, and by a job.
"""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BeforeValidator

from lib.chat.stopping import until_stopped
from lib.database.management import Database
from lib.database.paging import NewestPageRequest, Page
from lib.database.queries import Queries
from lib.fields.models import Record
from lib.fields.types import in_any_case
from lib.workspaces import settings

ErasureStatus = Literal["running", "finished"]

REQUEST_SECONDS = 8.0
"""How long a request goes on with an erasure before it is left to its job."""

CHECK_SECONDS = 15.0
"""How long a request searches the stored deliveries."""

_BEGINNING = UUID(int=0)


class Erasure(Record):
    """The receipt of an erasure. ``contact_ids`` are the contact and all that were merged with it; ``counts`` are the
    erased rows by place, of ``group_messages`` those that lost their text and sender."""

    id: UUID
    workspace_id: UUID
    contact_id: UUID
    contact_ids: tuple[UUID, ...]
    requested_by: UUID | None
    requester_kind: str
    created_at: datetime
    status: ErasureStatus
    counts: Mapping[str, int]
    finished_at: datetime | None


class KeptErasure(Record):
    """An erasure as it is kept outside of the database. ``salt`` and ``hashes`` are in hex."""

    id: UUID
    workspace_id: UUID
    contact_id: UUID
    contact_ids: tuple[UUID, ...]
    requested_by: UUID | None
    requester_kind: str
    created_at: datetime
    salt: str
    hashes: tuple[str, ...]


class ErasureCheck(Record):
    """What is left of an erased contact. ``complete``: all stored deliveries were searched, also those that came before
    the erasure and name the contact by a word."""

    erasure_id: UUID
    checked_at: datetime
    left: Mapping[str, int]
    clean: bool
    complete: bool


class ErasureFilter(NewestPageRequest):
    """Filters of the list of erasures."""

    workspace_id: UUID | None = None
    status: Annotated[ErasureStatus | None, BeforeValidator(in_any_case)] = None


class _Begun(Record):
    stopping: bool
    erasure: Erasure | None


class Progress(Record):
    """An erasure under way. ``waiting``: jobs of their own erase what is left."""

    waiting: bool
    erasure: Erasure


class _Exported(Record):
    erasures: tuple[KeptErasure, ...]


class _Found(Record):
    left: Mapping[str, int]
    next: UUID | None


_COLUMNS = ",".join(Erasure.model_fields)


async def erase(database: Database, system: Database, contact_id: UUID) -> Erasure:
    """Close a contact for good and erase as much of it as fits into the request; a job erases the rest.

    ``database`` begins it on behalf of the caller, ``system`` does the work. Repeating it returns the receipt. Raises
    Refused (contact_not_found, forbidden) and BackendUnavailable, as all of these functions do.
    """

    async def attempt(last: bool) -> _Begun:
        return await database.call("erase_contact", {"contact_id": contact_id, "last_try": last}, _Begun)

    begun = await until_stopped(attempt, lambda result: result.stopping)
    if begun.erasure is None:
        raise TypeError("the last try ends all turns")
    if begun.erasure.status == "finished":
        return begun.erasure
    return (await proceed(system, begun.erasure.id, seconds=REQUEST_SECONDS)).erasure


async def proceed(system: Database, erasure_id: UUID, *, seconds: float) -> Progress:
    """Erase batch after batch until all is done, the rest is left to other jobs, or the time ends."""
    end = time.monotonic() + seconds
    while True:
        progress = await system.call("continue_erasure", {"erasure_id": erasure_id}, Progress, repeatable=True)
        if progress.erasure.status == "finished" or progress.waiting or time.monotonic() > end:
            return progress


async def find(queries: Queries, search: ErasureFilter) -> Page[Erasure]:
    """A page of a workspace's erasures, the newest first; none for agents.

    Raises NotFound (workspace_not_found) and Refused (workspace_required).
    """
    workspace_id = await settings.named_or_only_workspace(queries, search.workspace_id)
    query = queries.table("erasures").select(_COLUMNS).eq("workspace_id", workspace_id)
    if search.status is not None:
        query = query.eq("status", search.status)
    page = await queries.newest(query, Erasure, search)
    if not page.items:
        await settings.require_workspace(queries, workspace_id)
    return page


async def read(queries: Queries, erasure_id: UUID) -> Erasure:
    """The receipt of an erasure. Raises NotFound (erasure_not_found), also for agents."""
    return await queries.one(queries.table("erasures").select(_COLUMNS).eq("id", erasure_id), Erasure, "erasure")


async def check(database: Database, erasure_id: UUID) -> ErasureCheck:
    """Count again what is left of an erased contact. Raises Refused (erasure_not_found, forbidden)."""
    end = time.monotonic() + CHECK_SECONDS
    left: dict[str, int] = {}
    after: UUID | None = _BEGINNING
    while after is not None and time.monotonic() < end:
        found = await database.call(
            "check_erasure", {"erasure_id": erasure_id, "after": after}, _Found, repeatable=True
        )
        for table, count in found.left.items():
            left[table] = left.get(table, 0) + count
        after = found.next
    return ErasureCheck(
        erasure_id=erasure_id,
        checked_at=datetime.now(UTC),
        left=left,
        clean=not any(left.values()),
        complete=after is None,
    )


async def export(database: Database) -> list[KeptErasure]:
    """All erasures of all workspaces; for operators."""
    kept: list[KeptErasure] = []
    while True:
        arguments = {"after": kept[-1].id if kept else _BEGINNING}
        page = (await database.call("export_erasures", arguments, _Exported, repeatable=True)).erasures
        if not page:
            return kept
        kept += page


async def replay(database: Database, kept: KeptErasure) -> Erasure:
    """Erase again, after a backup was restored; for operators. Raises Refused (erasure_salt_differs)."""
    document = kept.model_dump(mode="json")
    await database.call("replay_erasure", {"erasure": document}, _Begun, repeatable=True)
    return (await proceed(database, kept.id, seconds=REQUEST_SECONDS)).erasure
