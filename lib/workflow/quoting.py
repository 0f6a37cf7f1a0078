"""Trips: what somebody asks for, what operators give for it, and what is proposed; as sessions show them."""

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
"""The name of a workflow, a step, a system or a kind: lower case, upper case is accepted."""

ExternalId = Annotated[str, Field(max_length=2 * external_refs.LONGEST), AfterValidator(_external_id)]
"""Another system's id, as it is written there."""

Currency = Annotated[str, BeforeValidator(_upper), StringConstraints(pattern=r"^[A-Z]{3}$")]


class TripRequest(Record):
    """A request's route and date; ``details`` only where one session is shown to those who work on it."""

    id: UUID
    origin: str | None
    destination: str | None
    departs_at: datetime | None
    passengers: int | None
    details: Mapping[str, Any] | None = None


class PrimaryQuote(Record):
    """The quote that stands for a session: in the currency's main unit."""

    id: UUID
    operator: str
    amount: float | None
    currency: str | None


class QuoteCounts(Record):
    """How many operators were asked (``expected``), how their quotes stand, and how many came late."""

    expected: int
    received: int
    declined: int
    expired: int
    withdrawn: int
    late: int


class Quote(Record):
    """What one operator was asked and gave; ``late``: when the session was over already."""

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
    """What is proposed; title and quote only to those who work on the session."""

    id: UUID
    status: ProposalStatus
    title: str | None = None
    quote_id: UUID | None = None


class ExternalRef(Record):
    """By what another system knows what a session works on."""

    id: UUID
    system: str
    kind: str
    external_id: str


class NewExternalRef(Body):
    """A reference as it is brought."""

    system: Identifier
    kind: Identifier
    external_id: ExternalId


class TripInfo(Body):
    """What is known of a trip. What is not named stays as it is; of route, date and passengers null takes away.

    ``request_id`` goes on with a request that the same person had in another session.
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
        """What the database is handed."""
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
    """What is known of an operator's quote now; what is not named stays as it is.

    ``primary``: it stands for the session from now on, which only a received one can.
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
        """What the database is handed."""
        return self.model_dump(mode="json", exclude_none=True)


class ProposalUpdate(Body):
    """What is proposed now; what is not named stays as it is, and of title and quote null takes away."""

    status: ProposalStatus | None = None
    title: Label | None = None
    quote_id: UUID | None = None
    details: Attributes | None = None

    def document(self) -> dict[str, Any]:
        """What the database is handed."""
        return self.model_dump(mode="json", exclude_unset=True)
