"""Event deliveries: what was sent to the URLs that subscribe to events, with the answers; tests and replays."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from lib.database.management import Database
from lib.database.paging import NewestPageRequest, Page
from lib.database.queries import Queries
from lib.fields.models import Record
from lib.jobs import queue
from lib.webhooks import event_sender, event_subscriptions
from lib.webhooks.event_sender import DeliveryStatus


class DeliveriesRequest(NewestPageRequest):
    """Which deliveries are requested."""

    status: DeliveryStatus | None = None


class EventDelivery(Record):
    """A delivery with what was sent (``type``, ``occurred_at`` and ``data`` of the event) and its last attempt."""

    id: UUID
    subscription_id: UUID
    event_id: UUID
    type: str
    status: DeliveryStatus
    attempts: int
    response_status: int | None
    response_excerpt: str | None
    error: str | None
    duration_ms: int | None
    created_at: datetime
    last_attempt_at: datetime | None
    occurred_at: datetime
    data: Mapping[str, Any]


class QueuedDelivery(Record):
    """A delivery that is to be sent now, and its job."""

    delivery_id: UUID
    job_id: UUID


async def list_newest(queries: Queries, subscription_id: UUID, request: DeliveriesRequest) -> Page[EventDelivery]:
    """The deliveries of a subscription, the newest first. Raises NotFound (event_subscription_not_found)."""
    columns = ",".join(EventDelivery.model_fields)
    query = queries.table("event_delivery_details").select(columns).eq("subscription_id", subscription_id)
    if request.status is not None:
        query = query.eq("status", request.status)
    page = await queries.newest(query, EventDelivery, request)
    if not page.items:
        await event_subscriptions.read(queries, subscription_id)
    return page


async def queue_test(database: Database, subscription_id: UUID) -> QueuedDelivery:
    """Queue an event of the type `subscription.test`. Raises Refused (event_subscription_not_found, forbidden)."""
    arguments = {"event_subscription_id": subscription_id}
    return await database.call("test_event_subscription", arguments, QueuedDelivery)


async def queue_replay(database: Database, delivery_id: UUID) -> QueuedDelivery:
    """Queue a delivery again, under the same `webhook-id`. Raises Refused (event_delivery_not_found, forbidden)."""
    return await database.call("replay_event_delivery", {"event_delivery_id": delivery_id}, QueuedDelivery)


async def deliver_now(queries: Queries, queued: QueuedDelivery) -> EventDelivery:
    """Send a queued delivery and return it with its answer; pending if an earlier event of its conversation waits."""
    await queue.run_one(event_sender.HANDLERS, queued.job_id)
    query = queries.table("event_delivery_details").select("*").eq("id", queued.delivery_id)
    return await queries.one(query, EventDelivery, "event_delivery")
