"""Settings: how workspaces, spaces, personas, templates and the like are created, changed and listed."""

from typing import Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel

from lib import errors
from lib.database.management import Database
from lib.database.paging import Page, PageRequest
from lib.database.queries import Queries
from lib.fields.models import PartialUpdate, Record

Kind = Literal["workspace", "space", "persona", "channel", "template", "event_subscription"]
Settings = TypeVar("Settings", bound=BaseModel)


class _Id(Record):
    id: UUID


async def create(
    database: Database, kind: Kind, workspace_id: UUID, new: PartialUpdate, returns: type[Settings]
) -> Settings:
    """Create something in a workspace; a repeated ``id`` returns the existing one."""
    settings = new.document()
    arguments = {"kind": kind, "workspace_id": workspace_id, "settings": settings}
    return await database.call("create_in_workspace", arguments, returns, repeatable="id" in settings)


async def change(
    database: Database, kind: Kind, object_id: UUID, changes: PartialUpdate, returns: type[Settings]
) -> Settings:
    """Change the given settings; the others stay."""
    arguments = {"kind": kind, "object_id": object_id, "changes": changes.document()}
    return await database.call("change_settings", arguments, returns, repeatable=True)


async def list_in(
    queries: Queries, workspace_id: UUID, view: str, of: type[Settings], paging: PageRequest, *, key: str = "id"
) -> Page[Settings]:
    """A page of a workspace's rows of a view, in the order of a key. Raises NotFound (workspace_not_found)."""
    page = await queries.page(queries.table(view).select("*").eq("workspace_id", workspace_id), of, paging, key=key)
    if not page.items:
        await require_workspace(queries, workspace_id)
    return page


async def require_workspace(queries: Queries, workspace_id: UUID) -> None:
    """Raises NotFound (workspace_not_found) unless the workspace is one of the caller's."""
    await queries.one(queries.table("workspaces").select("id").eq("id", workspace_id), _Id, "workspace")


async def named_or_only_workspace(queries: Queries, workspace_id: UUID | None) -> UUID:
    """The named workspace, or else the only one of the caller. Raises Refused (workspace_required)."""
    if workspace_id is not None:
        return workspace_id
    found = await queries.rows(queries.table("workspaces").select("id").limit(2), _Id)
    if len(found) != 1:
        code = "workspace_required"
        raise errors.Refused(422, code, detail=errors.detail(code, "workspace_not_named"))
    return found[0].id
