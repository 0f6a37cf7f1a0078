"""Requests, quotes and proposals: what a contact requests, what operators quote, and what is proposed."""

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    model_validator,
)

from lib.fields import external_refs
from lib.fields.models import Body, Record
from lib.fields.types import Attributes, Label, Moment

QuoteStatus = Literal["requested", "received", "declined", "expired", "withdrawn"]
ProposalStatus = Literal["draft", "sent", "accepted", "declined", "withdrawn"]

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}", re.ASCII)


def _name(text: str) -> str:
    name = text.strip().lower()
    if not _NAME.fullmatch(name):
        raise ValueError("must be a name such as searching_aircraft: letters, digits and _, 63 at most")
    return name


def _upper(value: object) -> object:
    return value.strip().upper() if isinstance(value, str) else value


def _external_id(text: str) -> str:
    external_refs.spellings(text)
    return text


Identifier = Annotated[str, Field(max_length=200), AfterValidator(_name)]
"""The name of a workflow, step, system or kind; stored in lower case."""

ExternalId = Annotated[str, Field(max_length=2 * external_refs.LONGEST), AfterValidator(_external_id)]
"""An id in another system, as written there."""

Currency = Annotated[str, BeforeValidator(_upper), StringConstraints(pattern=r"^[A-Z]{3}$")]


class TripRequest(Record):
    """A trip's route, date and passengers; ``details`` only in the view of one session, for members who work on it."""

    id: UUID
    origin: str | None
    destination: str | None
    departs_at: datetime | None
    passengers: int | None
    details: Mapping[str, Any] | None = None


class PrimaryQuote(Record):
    """The session's primary quote; the amount is in the currency's main unit."""

    id: UUID
    operator: str
    amount: float | None
    currency: str | None


class QuoteCounts(Record):
    """Number of operators asked (``expected``), their quotes by status, and late quotes."""

    expected: int
    received: int
    declined: int
    expired: int
    withdrawn: int
    late: int


class Quote(Record):
    """An operator's quote; ``late``: it arrived after the session's end."""

    id: UUID
    operator_key: str
    operator: str
    external_id: str | None
    status: QuoteStatus
    amount: float | None
    currency: str | None
    late: bool
    details: Mapping[str, Any]
    created_at: datetime
    received_at: datetime | None
    updated_at: datetime


class Proposal(Record):
    """A proposal; title and quote only for members who work on the session."""

    id: UUID
    status: ProposalStatus
    title: str | None = None
    quote_id: UUID | None = None


class ExternalRef(Record):
    """A reference to an object in another system."""

    id: UUID
    system: str
    kind: str
    external_id: str


class NewExternalRef(Body):
    """A reference to add."""

    system: Identifier
    kind: Identifier
    external_id: ExternalId


class TripInfo(Body):
    """Known facts of a trip. Omitted fields stay unchanged; null clears route, date and passengers.

    ``request_id`` continues a request of the same contact from another session.
    """

    request_id: UUID | None = None
    origin: Label | None = None
    destination: Label | None = None
    departs_at: Moment | None = None
    passengers: int | None = Field(default=None, ge=1, le=1_000)
    details: Attributes | None = None
    trip_id: ExternalId | None = None
    trip_code: ExternalId | None = None
    rfp_ids: tuple[ExternalId, ...] = Field(default=(), max_length=50)
    rfq_ids: tuple[ExternalId, ...] = Field(default=(), max_length=50)
    refs: tuple[NewExternalRef, ...] = Field(default=(), max_length=50)

    def document(self) -> dict[str, Any]:
        """Arguments for the database."""
        plain = {"request_id", "origin", "destination", "departs_at", "passengers", "details"}
        trips = [each for each in (self.trip_id, self.trip_code) if each is not None]
        found = [
            *(external_refs.of(each.system, each.kind, each.external_id) for each in self.refs),
            *(
                external_refs.of(external_refs.AVINODE, kind, each)
                for kind, several in (("trip", trips), ("rfp", self.rfp_ids), ("rfq", self.rfq_ids))
                for each in several
            ),
        ]
        known = [ref.document() for ref in dict.fromkeys(found)]
        return self.model_dump(mode="json", include=plain, exclude_unset=True) | {"refs": known}


class QuoteUpdate(Body):
    """Known facts of an operator's quote; omitted fields stay unchanged.

    ``primary`` makes it the session's primary quote; only a received quote can be primary.
    """

    status: QuoteStatus | None = None
    operator: Label | None = None
    external_id: Label | None = None
    amount: Decimal | None = Field(default=None, ge=0, max_digits=14, decimal_places=2)
    currency: Currency | None = None
    details: Attributes | None = None
    primary: bool = False

    @model_validator(mode="after")
    def _whole_price(self) -> "QuoteUpdate":
        if (self.amount is None) != (self.currency is None):
            raise ValueError("an amount and its currency come together")
        return self

    def document(self) -> dict[str, Any]:
        """Arguments for the database."""
        return self.model_dump(mode="json", exclude_none=True)


class ProposalUpdate(Body):
    """Known facts of a proposal; omitted fields stay unchanged, null clears title and quote."""

    status: ProposalStatus | None = None
    title: Label | None = None
    quote_id: UUID | None = None
    details: Attributes | None = None

    def document(self) -> dict[str, Any]:
        """Arguments for the database."""
        return self.model_dump(mode="json", exclude_unset=True)
