"""Any sender that follows Standard Webhooks, such as Svix.

    POST /webhooks/standard/{channel_id}
    webhook-id, webhook-timestamp, webhook-signature        or the same with svix-

The channel's verify secret is the sender's (`whsec_…`), or a generated one that the sender is given. An event is stored
and parked: it has no effect. https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

from lib.errors import SecretInvalid, TimestampInvalid
from lib.fields.models import Record
from lib.providers import Delivery, Parsed, Provider, read_json, read_model, unknown

_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")


class _Event(Record):
    type: str


class Standard(Provider):
    """A sender of Standard Webhooks."""

    def verify(self, secret: str, delivery: Delivery) -> None:
        """Verify one of the signatures, and the timestamp. Raises SecretInvalid, TimestampInvalid."""
        from standardwebhooks.webhooks import (  # noqa: PLC0415 (other senders do without it)
            EmptyWebhookSecretError,
            Webhook,
            WebhookVerificationError,
        )

        headers = _headers(delivery)
        for signature in headers["webhook-signature"].split():
            try:
                # One by one: for the library a list with a malformed signature is wrong as a whole, a ValueError.
                Webhook(secret).verify(delivery.body, headers | {"webhook-signature": signature}, json_parse=False)
            except WebhookVerificationError as wrong:
                if "timestamp" in str(wrong):
                    raise TimestampInvalid from None
            except (ValueError, EmptyWebhookSecretError):
                pass
            else:
                return
        raise SecretInvalid

    def parse(self, delivery: Delivery, external_id: str | None = None) -> tuple[Parsed, ...]:
        """The event as something that we do not process; its type is kept as the reason."""
        event = read_model(_Event, read_json(delivery.body))
        kind = "" if isinstance(event, str) else event.type
        reason = f"type: {kind[:100]}" if kind.replace(".", "_").isidentifier() else "type"
        return (unknown(delivery, reason, _headers(delivery)["webhook-id"]),)


provider = Standard()


def _headers(delivery: Delivery) -> dict[str, str]:
    """The three headers, under either name."""
    found = {name: delivery.headers.get(name, "") for name in _HEADERS}
    if not found["webhook-id"]:
        found = {name: delivery.headers.get(name.replace("webhook", "svix"), "") for name in _HEADERS}
    return found
