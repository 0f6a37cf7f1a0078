"""`switchboard event-subscription …` and `event-delivery …`: the URLs to which a workspace's events are sent."""

from typing import Any
from uuid import UUID

import click

from cli import options, output, running
from lib.webhooks import event_deliveries, event_subscriptions
from lib.workspaces.secrets import Rotation

event_types = click.option("--type", "event_types", multiple=True, help="An event type, such as message.created.")


@click.group()
def event_subscription() -> None:
    """Send events to URLs."""


@click.group()
def event_delivery() -> None:
    """See what was sent, and send it again."""


@event_subscription.command("create")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.argument("url")
@event_types
@options.new_id
@options.enabled
@options.as_json
def create_event_subscription(workspace_id: UUID, as_json: bool, **values: Any) -> None:
    """Subscribe a URL to event types (repeat --type), and print its secret once.

    \b
    switchboard event-subscription create WORKSPACE https://example.com/events --type session.completed
    """
    new = running.model(event_subscriptions.NewEventSubscription, values)
    made = running.run(lambda database: event_subscriptions.create(database, workspace_id, new))
    output.made(made, new, as_json=as_json)


@event_subscription.command("list")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@options.as_json
def list_event_subscriptions(workspace_id: UUID, as_json: bool) -> None:
    """List a workspace's event subscriptions.

    \b
    switchboard event-subscription list WORKSPACE
    """
    found = running.every(lambda queries, paging: event_subscriptions.list_all(queries, workspace_id, paging))
    columns = ("id", "url", "enabled", "disabled_reason", "failing_since", "event_types")
    output.several(found, columns, as_json=as_json)


@event_subscription.command("update")
@click.argument("subscription_id", metavar="SUBSCRIPTION", type=click.UUID)
@click.option("--url")
@event_types
@options.enabled
@options.as_json
def update_event_subscription(subscription_id: UUID, as_json: bool, **values: Any) -> None:
    """Change the given settings. The types are replaced as a whole.

    \b
    switchboard event-subscription update SUBSCRIPTION --enable
    """
    changes = running.model(event_subscriptions.EventSubscriptionChanges, values)
    changed = running.run(lambda database: event_subscriptions.change(database, subscription_id, changes))
    output.one(changed, as_json=as_json)


@event_subscription.command("delete")
@click.argument("subscription_id", metavar="SUBSCRIPTION", type=click.UUID)
@options.as_json
def delete_event_subscription(subscription_id: UUID, as_json: bool) -> None:
    """Remove a subscription with its deliveries.

    \b
    switchboard event-subscription delete SUBSCRIPTION
    """
    running.run(lambda database: event_subscriptions.remove(database, subscription_id))
    output.done("Deleted.", as_json=as_json)


@event_subscription.command("rotate-secret")
@click.argument("subscription_id", metavar="SUBSCRIPTION", type=click.UUID)
@options.overlap
@options.as_json
def rotate_secret(subscription_id: UUID, overlap_seconds: int | None, as_json: bool) -> None:
    """Create a new secret, and print it once. During the overlap both sign.

    \b
    switchboard event-subscription rotate-secret SUBSCRIPTION --overlap-seconds 86400
    """
    rotation = running.model(Rotation, {"overlap_seconds": overlap_seconds})
    made = running.run(lambda database: event_subscriptions.rotate_secret(database, subscription_id, rotation))
    output.one(made, as_json=as_json)


@event_subscription.command("test")
@click.argument("subscription_id", metavar="SUBSCRIPTION", type=click.UUID)
@options.as_json
def test_event_subscription(subscription_id: UUID, as_json: bool) -> None:
    """Have a test event sent within a minute; `event-delivery list` shows the answer.

    \b
    switchboard event-subscription test SUBSCRIPTION
    """
    queued = running.run(lambda database: event_deliveries.queue_test(database, subscription_id))
    output.one(queued, as_json=as_json)


@event_delivery.command("list")
@click.argument("subscription_id", metavar="SUBSCRIPTION", type=click.UUID)
@click.option("--status", help="pending, succeeded or failed.")
@click.option("--limit", type=int, help="Most deliveries, 50 by default; the newest first.")
@click.option("--cursor", help="The next_cursor of the JSON output before.")
@options.as_json
def list_event_deliveries(subscription_id: UUID, as_json: bool, **values: Any) -> None:
    """List what was sent to a subscription's URL, with the answers.

    \b
    switchboard event-delivery list SUBSCRIPTION --status failed
    """
    request = running.model(event_deliveries.DeliveriesRequest, values)
    page = running.run(lambda database: event_deliveries.list_newest(database.queries, subscription_id, request))
    if as_json:
        output.one(page, as_json=True)
        return
    columns = ("created_at", "id", "type", "status", "attempts", "response_status", "error")
    output.several(page.items, columns, as_json=False)


@event_delivery.command("replay")
@click.argument("delivery_id", metavar="DELIVERY", type=click.UUID)
@options.as_json
def replay_event_delivery(delivery_id: UUID, as_json: bool) -> None:
    """Have a delivery sent again within a minute, under the same webhook-id.

    \b
    switchboard event-delivery replay DELIVERY
    """
    queued = running.run(lambda database: event_deliveries.queue_replay(database, delivery_id))
    output.one(queued, as_json=as_json)
