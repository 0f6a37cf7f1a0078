"""Registration: a person who arrives in a space becomes a contact with a session."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, ClassVar, Literal
from uuid import UUID

from pydantic import AfterValidator, Field

from lib import errors
from lib.auth import callers
from lib.auth.client_info import ClientInfo
from lib.auth.proofs import ProvableArrival
from lib.database import commands
from lib.database.rate_limits import RateLimit
from lib.fields import invisible, phones
from lib.fields.models import FieldWarning, Record
from lib.fields.types import Attributes, DisplayName, Label, storable

SpaceKind = Literal["embed", "landing"]


PhoneText = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(storable)]
"""A phone number as typed, or any other text in its place."""


class RegistrationRequest(ProvableArrival):
    """The form that a person submits to register; an identity token or a proven contact's token replaces the email."""

    droppable: ClassVar[frozenset[str]] = frozenset({"first_name", "last_name", "phone", "source", "attributes"})

    first_name: DisplayName | None = None
    last_name: DisplayName | None = None
    phone: PhoneText | None = None
    """An international phone number becomes an identity, in any of its spellings; any other text is kept with the
    session."""
    source: Label | None = None
    """Where the person comes from, such as a campaign."""
    attributes: Attributes = Field(default_factory=dict)
    """At most 16 KiB; stored with a new contact, or with proof."""


class _Registered(Record):
    workspace_id: UUID
    contact_id: UUID
    conversation_id: UUID
    session_id: UUID
    session_status: str
    proof: callers.Proof
    issued_at: datetime | None
    limits: tuple[RateLimit, ...] = ()

    def token(self, space_id: UUID) -> callers.SignedToken | None:
        """The contact's token; None for a caller who may not read what it reads."""
        if self.issued_at is None:
            return None
        ids = (self.workspace_id, self.contact_id, self.conversation_id, self.proof)
        return callers.contact_token(*ids, space_id, self.issued_at)


@dataclass(frozen=True)
class Registration:
    """A contact with its session and contact token, which an API key for ingest or of an agent does not get.

    ``warnings`` are the dropped fields, and a phone number that is kept as text.
    """

    contact_id: UUID
    session_id: UUID
    session_status: str
    token: callers.SignedToken | None
    limits: tuple[RateLimit, ...]
    warnings: tuple[FieldWarning, ...] = ()


async def register(
    caller: callers.Caller, space_id: UUID, kind: SpaceKind, arrival: RegistrationRequest, client: ClientInfo
) -> Registration:
    """Find or create the contact of the email, open or find its session, and sign its token.

    The result is the same for a known and an unknown person. Raises Refused (space_not_found, email_hmac_invalid,
    identity_token_invalid, identity_token_expired, identity_token_required, rate_limited), InvalidBody if the email is
    missing or not the identity token's, and BackendUnavailable.
    """
    if arrival.email is None and arrival.identity_token is None and not isinstance(caller, callers.Contact):
        raise errors.InvalidBody([errors.FieldError("", "email is required, or identity_token")])
    phone, warnings = _phone(arrival)
    registered = await commands.acting_as(caller, callers.Scope.at_space(caller, space_id)).call(
        "register_contact",
        arrival.sender(space_id)
        | {
            "space_id": space_id,
            "space_kind": kind,
            "first_name": arrival.first_name,
            "last_name": arrival.last_name,
            "phone": phone.typed if phone else None,
            "phone_key": phone.key if phone else None,
            "source": arrival.source,
            "attributes": arrival.attributes,
            "client": client.facts(),
        },
        _Registered,
    )
    return Registration(
        contact_id=registered.contact_id,
        session_id=registered.session_id,
        session_status=registered.session_status,
        token=registered.token(space_id),
        limits=registered.limits,
        warnings=warnings,
    )


def _phone(arrival: RegistrationRequest) -> tuple[phones.Phone | None, tuple[FieldWarning, ...]]:
    """The phone, and what is reported: a text that is no number is kept, and identifies no person."""
    if arrival.phone is None:
        return None, arrival.warnings
    try:
        return phones.parse(arrival.phone), arrival.warnings
    except ValueError as fault:
        kept = phones.Phone(typed=invisible.removed(arrival.phone), key=None)
        return kept, (*arrival.warnings, FieldWarning(field="phone", message=str(fault)))
