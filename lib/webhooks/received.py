"""Received deliveries: what providers sent to a workspace, and what became of it, for owners and admins."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from pydantic import Field

from lib.database.paging import NewestPageRequest, Page
from lib.database.queries import Queries
from lib.fields.models import Record
from lib.fields.types import Label
from lib.workspaces import settings


class DeliveriesRequest(NewestPageRequest):
    """Which deliveries are requested: all, or those of a provider."""

    provider: Label | None = None
    """Its name in the URL of its deliveries."""


class DeliveryJob(Record):
    """A job of a delivery; `GET /jobs/{job_id}` shows it with the whole delivery."""

    id: UUID
    kind: str
    status: str


class ReceivedDelivery(Record):
    """A delivery as it came, and the worst of its jobs. ``body`` is the first 4,000 characters.

    ``status`` is dead, queued, succeeded or discarded, null if there was nothing to do. ``headers`` hold no secret.
    """

    id: UUID
    provider: str
    delivery_key: str
    headers: Mapping[str, str]
    body: str
    body_is_cut: bool
    received_at: datetime
    created_at: datetime = Field(exclude=True)
    status: str | None
    error: str | None
    jobs: tuple[DeliveryJob, ...]


async def list_newest(queries: Queries, workspace_id: UUID, request: DeliveriesRequest) -> Page[ReceivedDelivery]:
    """The newest first; none for agents. Raises NotFound (workspace_not_found)."""
    columns = ",".join(ReceivedDelivery.model_fields)
    query = queries.table("webhook_deliveries").select(columns).eq("workspace_id", workspace_id)
    if request.provider is not None:
        query = query.eq("provider", request.provider)
    page = await queries.newest(query, ReceivedDelivery, request)
    if not page.items:
        await settings.require_workspace(queries, workspace_id)
    return page
