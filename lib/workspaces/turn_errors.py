"""Turn errors: what went wrong with turns, in the words of the personas' servers, for owners and admins."""

from datetime import datetime
from uuid import UUID

from lib.database.paging import NewestPageRequest, Page
from lib.database.queries import Queries
from lib.fields.models import Record
from lib.workspaces import settings


class TurnErrorsRequest(NewestPageRequest):
    """Which errors are requested: all of the workspace's, or those of a session or a persona."""

    session_id: UUID | None = None
    persona_id: UUID | None = None


class TurnError(Record):
    """What went wrong with a persona in a turn. ``id`` and ``status`` are the turn's: completed if a fallback answered.
    ``code`` is the failure's, ``detail`` for people."""

    id: UUID
    conversation_id: UUID
    session_id: UUID
    persona_id: UUID
    status: str
    code: str | None
    detail: str
    created_at: datetime


async def list_newest(queries: Queries, workspace_id: UUID, request: TurnErrorsRequest) -> Page[TurnError]:
    """The newest first; none for agents. Raises NotFound (workspace_not_found)."""
    query = queries.table("turn_error_details").select("*").eq("workspace_id", workspace_id)
    for name in ("session_id", "persona_id"):
        if (value := getattr(request, name)) is not None:
            query = query.eq(name, value)
    page = await queries.newest(query, TurnError, request)
    if not page.items:
        await settings.require_workspace(queries, workspace_id)
    return page
