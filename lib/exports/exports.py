"""Exports as callers see them: requested, watched, and fetched while their file is kept."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal
from uuid import UUID

from lib import errors
from lib.archive import store as stores
from lib.auth import callers
from lib.database import commands
from lib.database.management import Database
from lib.database.paging import NewestPageRequest, Page
from lib.database.queries import Queries
from lib.fields.models import Record
from lib.jobs import queue
from lib.workspaces import settings

Status = Literal["queued", "stored", "failed"]

RETRY_SECONDS = 2
"""When to ask again for an export that is under way."""


class Export(Record):
    """An export. ``counts`` are the rows of each kind, as far as they are written."""

    id: UUID
    workspace_id: UUID
    contact_id: UUID | None
    session_id: UUID | None
    status: Status
    counts: Mapping[str, int]
    size_bytes: int | None
    sha256: str | None
    error: str | None
    created_at: datetime
    finished_at: datetime | None
    expires_at: datetime

    @property
    def file_name(self) -> str:
        """A name for the file."""
        of = "contact" if self.contact_id else "session" if self.session_id else "workspace"
        return f"{of}-{self.contact_id or self.session_id or self.workspace_id}.zip"


async def request(database: Database, *, workspace_id: UUID | None = None, contact_id: UUID | None = None) -> Export:
    """An export of a contact, which may be up to a day old, or a new one of a workspace.

    Raises Refused (workspace_not_found, contact_not_found, forbidden, archive_not_configured), and Moved for a merged
    contact.
    """
    store()
    arguments = {"workspace_id": workspace_id, "contact_id": contact_id}
    return await _begun(await database.call("request_export", arguments, Export, repeatable=True))


async def request_session(user: callers.User, session_id: UUID) -> Export:
    """An export of a session, which may be up to a day old. Raises Refused (session_not_found, forbidden,
    archive_not_configured)."""
    store()
    rpc = commands.acting_as(user, callers.Scope.of_caller(user))
    return await _begun(await rpc.call("request_session_export", {"session_id": session_id}, Export, repeatable=True))


def store() -> stores.Store:
    """The object store of exports. Raises Refused (archive_not_configured)."""
    if (configured := stores.configured()) is None:
        raise errors.Refused(409, "archive_not_configured")
    return configured


def require_made(export: Export) -> None:
    """Refuse an export that could not be made. Raises Refused (export_failed)."""
    if export.status == "failed":
        raise errors.Refused(409, "export_failed")


async def _begun(export: Export) -> Export:
    if export.status == "queued":
        await queue.wake_archive()
    return export


async def read(queries: Queries, export_id: UUID) -> Export:
    """An export. Raises NotFound (export_not_found), also for agents, and once its time is over: its file may still be
    there for a moment."""
    query = queries.table("exports").select(",".join(Export.model_fields)).eq("id", export_id)
    return await queries.one(query.gt("expires_at", "now"), Export, "export")


async def list_newest(queries: Queries, workspace_id: UUID, paging: NewestPageRequest) -> Page[Export]:
    """A page of a workspace's exports, the newest first; none for agents. Raises NotFound (workspace_not_found)."""
    query = queries.table("exports").select(",".join(Export.model_fields)).eq("workspace_id", workspace_id)
    page = await queries.newest(query, Export, paging)
    if not page.items:
        await settings.require_workspace(queries, workspace_id)
    return page
