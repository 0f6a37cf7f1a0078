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
from lib.fields.types import Attributes, Flag, Label, Message, Moment, in_any_case

QuoteStatus = Literal["requested", "received", "declined", "expired", "withdrawn"]
ProposalStatus = Literal["draft", "sent", "accepted", "declined", "withdrawn"]

Amount = Annotated[Decimal, Field(ge=0, max_digits=14, decimal_places=2)]
"""A price in the currency's main unit."""

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
    aircraft_type: str | None = None


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
    aircraft_type: str | None = None
    late: bool
    details: Mapping[str, Any]
    created_at: datetime
    received_at: datetime | None
    updated_at: datetime


class Proposal(Record):
    """A proposal, as its contact reads it; the quote only for members who work on the session."""

    id: UUID
    status: ProposalStatus
    title: str | None = None
    amount: float | None = None
    currency: str | None = None
    text: str | None = None
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

    ``request_id`` continues a request of the same contact from another session. ``avinode_…_id`` are other names of
    ``trip_id`` and of an id in ``rfp_ids`` and ``rfq_ids``.
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
    avinode_trip_id: ExternalId | None = None
    avinode_rfp_id: ExternalId | None = None
    avinode_rfq_id: ExternalId | None = None
    refs: tuple[NewExternalRef, ...] = Field(default=(), max_length=50)

    def document(self) -> dict[str, Any]:
        """Arguments for the database."""
        plain = {"request_id", "origin", "destination", "departs_at", "passengers", "details"}
        ids = (
            ("trip", (self.trip_id, self.trip_code, self.avinode_trip_id)),
            ("rfp", (*self.rfp_ids, self.avinode_rfp_id)),
            ("rfq", (*self.rfq_ids, self.avinode_rfq_id)),
        )
        found = [
            *(external_refs.of(each.system, each.kind, each.external_id) for each in self.refs),
            *(
                external_refs.of(external_refs.AVINODE, kind, each)
                for kind, several in ids
                for each in several
                if each is not None
            ),
        ]
        known = [ref.document() for ref in dict.fromkeys(found)]
        return self.model_dump(mode="json", include=plain, exclude_unset=True) | {"refs": known}


class QuoteUpdate(Body):
    """Known facts of an operator's quote; omitted fields stay unchanged.

    ``primary`` makes it the session's primary quote; only a received quote can be primary.
    """

    status: Annotated[QuoteStatus | None, BeforeValidator(in_any_case)] = None
    operator: Label | None = None
    external_id: Label | None = None
    amount: Amount | None = None
    currency: Currency | None = None
    aircraft_type: Label | None = None
    details: Attributes | None = None
    primary: Flag = False

    @model_validator(mode="after")
    def _whole_price(self) -> "QuoteUpdate":
        _require_whole_price(self.amount, self.currency)
        return self

    def document(self) -> dict[str, Any]:
        """Arguments for the database."""
        return self.model_dump(mode="json", exclude_none=True)


class ProposalUpdate(Body):
    """Known facts of a proposal; omitted fields stay unchanged, null clears title, price, text and quote.

    The contact reads status, title, price and text once it is sent. ``complete`` completes the session with it.
    """

    status: Annotated[ProposalStatus | None, BeforeValidator(in_any_case)] = None
    title: Label | None = None
    amount: Amount | None = None
    currency: Currency | None = None
    text: Message | None = None
    quote_id: UUID | None = None
    details: Attributes | None = None
    complete: Flag = False

    @model_validator(mode="after")
    def _whole_price(self) -> "ProposalUpdate":
        _require_whole_price(self.amount, self.currency)
        if self.complete and self.status not in ("sent", "accepted"):
            raise ValueError("a session is completed with a proposal that is sent or accepted")
        return self

    def document(self) -> dict[str, Any]:
        """Arguments for the database."""
        return self.model_dump(mode="json", exclude_unset=True)


def _require_whole_price(amount: Decimal | None, currency: str | None) -> None:
    if (amount is None) != (currency is None):
        raise ValueError("an amount and its currency come together")
