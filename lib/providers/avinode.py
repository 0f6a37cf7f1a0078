"""Avinode: events about requests for quotes and their messages.

    POST /webhooks/avinode                      or /webhooks/avinode/{channel_id}
    Authorization: Basic <base64 of channel_id:the channel's verify secret>

    {"id": "arfq-1", "href": "https://sandbox.avinode.com/api/rfqs/arfq-1", "type": "rfqs", "tripId": "A1B2C3"}

An event only names an object that has changed, and the same id comes with each of its changes. So nothing in it tells a
repeat from news: each delivery is processed, and the object is fetched and compared with what is known of it. Avinode
sends an event again for up to 48 hours. https://developer.avinodegroup.com/docs/avinode-webhooks
"""

from __future__ import annotations

import base64
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from lib.errors import SecretInvalid
from lib.fields.models import Record, StrictRecord
from lib.personas.text import clean
from lib.providers import (
    BusinessEvent,
    Delivery,
    Parsed,
    Provider,
    key_of,
    read_json,
    read_model,
    require_same,
    unknown,
)

TYPES = frozenset({"trips", "rfqs", "quotes", "tripmsgs"})
"""The objects whose changes are processed."""


Host = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?$", max_length=255)]


class Config(StrictRecord):
    """The hosts from which objects are fetched, and what a call says of itself.

    A host without a port is called by https only.
    """

    allowed_hosts: tuple[Host, ...] = Field(
        default=("services.avinode.com", "sandbox.avinode.com"), min_length=1, max_length=10
    )
    api_version: str = Field(default="v1.0", pattern=r"^[A-Za-z0-9.]{1,20}$")
    product: str = Field(default="Switchboard", pattern=r"^[\x20-\x7e]{1,100}$")


class _Event(Record):
    model_config = ConfigDict(alias_generator=to_camel)

    id: str
    href: str
    type: str
    trip_id: str | None = None


class Avinode(Provider):
    """Avinode's webhooks."""

    def reference(self, delivery: Delivery) -> str:
        """The channel, which is the user of Basic authentication. Raises SecretInvalid without one."""
        user, _ = _credentials(delivery)
        if not user:
            raise SecretInvalid
        return user

    def verify(self, secret: str, delivery: Delivery) -> None:
        """Compare the password with ours. Raises SecretInvalid."""
        require_same(secret, _credentials(delivery)[1])

    def parse(self, delivery: Delivery, external_id: str | None = None) -> tuple[Parsed, ...]:
        """The event."""
        event = read_model(_Event, read_json(delivery.body))
        if isinstance(event, str):
            return (unknown(delivery, event),)
        if event.type not in TYPES:
            return (unknown(delivery, f"type: {event.type[:64]}" if event.type.isidentifier() else "type"),)
        trip = clean(event.trip_id) if event.trip_id else None
        return (
            BusinessEvent(
                delivery_key=None,
                ordering_key=key_of(trip or event.id),
                type=event.type,
                href=clean(event.href),
                external_id=clean(event.id),
                trip_id=trip,
            ),
        )


provider = Avinode()


def _credentials(delivery: Delivery) -> tuple[str, str]:
    """User and password of Basic authentication (RFC 7617); empty if there are none."""
    scheme, _, encoded = delivery.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        user, _, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return user, password
