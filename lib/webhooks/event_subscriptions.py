"""Event subscriptions: the URLs to which a workspace's events are sent. docs/webhooks.md has the events."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, Field

from lib.database.management import Database
from lib.database.paging import Page, PageRequest
from lib.database.queries import Queries
from lib.fields.models import Empty, PartialUpdate, Record
from lib.workspaces import secrets, settings
from lib.workspaces.secrets import NewSecret, Rotation

EventType = Literal[
    "contact.registered",
    "contact.merged",
    "session.started",
    "session.completed",
    "session.timeout",
    "session.taken_over",
    "message.created",
    "workflow.step",
    "quote.received",
    "proposal.sent",
    "archive.completed",
]


def _callable(url: str) -> str:
    from lib.outbound import client  # noqa: PLC0415 (brings aiohttp along)

    try:
        client.checked_url(url)
    except client.AddressError:
        pass  # whether the workspace allows the address is checked at each delivery
    except client.UrlError as error:
        raise ValueError(error.detail) from None
    return url


Url = Annotated[str, AfterValidator(_callable)]
"""An absolute http or https URL without credentials."""

EventTypes = Annotated[tuple[EventType, ...], Field(min_length=1)]


class EventSubscriptionChanges(PartialUpdate):
    """The settings of an event subscription. Enabling it again forgets its failures."""

    url: Url | None = None
    event_types: EventTypes | None = None
    enabled: bool | None = Field(default=None, strict=True)


class NewEventSubscription(EventSubscriptionChanges):
    """An event subscription to create."""

    id: UUID | None = None
    url: Url
    event_types: EventTypes


class EventSubscription(Record):
    """An event subscription. ``disabled_reason``: `member`, `gone` (its server answered 410) or `failing` (no delivery
    succeeded for three days); ``failing_since``: the first failure since the last success."""

    id: UUID
    workspace_id: UUID
    url: str
    event_types: tuple[EventType, ...]
    enabled: bool
    disabled_at: datetime | None = None
    disabled_reason: Literal["member", "gone", "failing"] | None = None
    failing_since: datetime | None = None
    created_at: datetime


class CreatedEventSubscription(EventSubscription):
    """A created event subscription; ``secret`` is shown only in this response, and absent if it existed before."""

    secret: str | None = Field(default=None, repr=False)


async def create(database: Database, workspace_id: UUID, new: NewEventSubscription) -> CreatedEventSubscription:
    """Create a subscription with a generated secret; a repeated id returns the existing one.

    Raises Refused (workspace_not_found, id_taken, too_many_event_subscriptions, forbidden) and BackendUnavailable, as
    all of these functions do.
    """
    arguments = {"workspace_id": workspace_id, "settings": new.document()}
    return await database.call("create_event_subscription", arguments, CreatedEventSubscription)


async def list_all(queries: Queries, workspace_id: UUID, paging: PageRequest) -> Page[EventSubscription]:
    """A workspace's subscriptions; none for agents. Raises NotFound (workspace_not_found)."""
    return await settings.list_in(queries, workspace_id, "event_subscription_settings", EventSubscription, paging)


async def read(queries: Queries, subscription_id: UUID) -> EventSubscription:
    """A subscription. Raises NotFound (event_subscription_not_found), also for agents."""
    query = queries.table("event_subscription_settings").select("*").eq("id", subscription_id)
    return await queries.one(query, EventSubscription, "event_subscription")


async def change(database: Database, subscription_id: UUID, changes: EventSubscriptionChanges) -> EventSubscription:
    """Change the given settings. Raises Refused (event_subscription_not_found, forbidden)."""
    return await settings.change(database, "event_subscription", subscription_id, changes, EventSubscription)


async def remove(database: Database, subscription_id: UUID) -> None:
    """Remove a subscription with its deliveries. Raises Refused (event_subscription_not_found, forbidden)."""
    await database.call("remove_event_subscription", {"event_subscription_id": subscription_id}, Empty)


async def rotate_secret(database: Database, subscription_id: UUID, rotation: Rotation) -> NewSecret:
    """Generate a new secret. During the overlap deliveries are signed under the former one too.

    Raises Refused (event_subscription_not_found, forbidden).
    """
    return await secrets.rotate(database, "signing", subscription_id, rotation)
