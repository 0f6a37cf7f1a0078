"""API keys of a workspace: created, listed and revoked. lib/auth/api_keys.py has their form."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from lib.auth import api_keys
from lib.database.management import Database
from lib.database.paging import Page, PageRequest
from lib.database.queries import Queries
from lib.fields.models import Body, Empty, Record
from lib.fields.types import DisplayName, Moment
from lib.workspaces import settings

Role = Literal["admin", "agent", "ingest"]


class NewApiKey(Body):
    """An API key to create. ``ingest`` registers and resolves contacts, and captures and sends messages, only."""

    name: DisplayName
    role: Role
    expires_at: Moment | None = None


class ApiKey(Record):
    """An API key without its secret; ``prefix`` is how it begins. ``last_used_at`` is exact to the minute."""

    id: UUID
    name: str
    role: Role
    prefix: str
    created_by: UUID | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class CreatedApiKey(ApiKey):
    """A new API key; ``secret`` is the key itself, shown only in this response."""

    secret: str = Field(repr=False)


async def create(database: Database, workspace_id: UUID, new: NewApiKey) -> CreatedApiKey:
    """Create an API key; the database stores its hash. Not retried: each call creates another one.

    Raises Refused (workspace_not_found, forbidden, user_required) and InvalidBody for an expiry in the past.
    """
    secret = api_keys.generate()
    key_id, key_hash = api_keys.read(secret)
    arguments = {"workspace_id": workspace_id, "key_id": key_id, "hash": key_hash, **new.model_dump(mode="json")}
    made = await database.call("create_api_key", arguments, ApiKey)
    return CreatedApiKey(**made.model_dump(), secret=secret)


async def list_all(queries: Queries, workspace_id: UUID, paging: PageRequest) -> Page[ApiKey]:
    """A workspace's API keys, also revoked and expired ones. Raises NotFound (workspace_not_found)."""
    query = queries.table("api_keys").select(",".join(ApiKey.model_fields)).eq("workspace_id", workspace_id)
    page = await queries.page(query, ApiKey, paging)
    if not page.items:
        await settings.require_workspace(queries, workspace_id)
    return page


async def revoke(database: Database, workspace_id: UUID, key_id: UUID) -> None:
    """Revoke an API key at once; a revoked one stays so.

    Raises Refused (workspace_not_found, api_key_not_found, forbidden, user_required).
    """
    await database.call("revoke_api_key", {"workspace_id": workspace_id, "key_id": key_id}, Empty, repeatable=True)
