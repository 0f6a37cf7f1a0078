"""Registration: a person who arrives in a space becomes a contact with a session."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, Field

from lib.auth import callers
from lib.auth.client_info import ClientInfo
from lib.database import commands
from lib.database.rate_limits import RateLimit
from lib.fields import emails, phones
from lib.fields.emails import EmailHmac, EmailText
from lib.fields.models import Body, Record
from lib.fields.types import Attributes, DisplayName, Label, storable

SpaceKind = Literal["embed", "landing"]


def _phone(text: str) -> str:
    phones.parse(text)
    return text


PhoneText = Annotated[str, Field(max_length=64), AfterValidator(storable), AfterValidator(_phone)]
"""A phone number as typed."""


class RegistrationRequest(Body):
    """The form that a person submits to register."""

    email: EmailText
    first_name: DisplayName | None = None
    last_name: DisplayName | None = None
    phone: PhoneText | None = None
    source: Label | None = None
    attributes: Attributes = Field(default_factory=dict)
    email_hmac: EmailHmac | None = None


class _Registered(Record):
    workspace_id: UUID
    contact_id: UUID
    conversation_id: UUID
    session_id: UUID
    session_status: str
    proof: callers.Proof
    limits: tuple[RateLimit, ...] = ()


@dataclass(frozen=True)
class Registration:
    """A contact with its session and contact token. ``expires_at`` is in UTC."""

    contact_id: UUID
    session_id: UUID
    session_status: str
    token: str
    expires_at: datetime
    limits: tuple[RateLimit, ...]


async def register(
    caller: callers.Caller, space_id: UUID, kind: SpaceKind, arrival: RegistrationRequest, client: ClientInfo
) -> Registration:
    """Find or create the contact of the email, open or find its session, and sign its token.

    The result is the same for a known and an unknown person. Raises Refused (space_not_found, email_hmac_invalid,
    rate_limited) and BackendUnavailable.
    """
    email = emails.parse(arrival.email)
    phone = phones.parse(arrival.phone) if arrival.phone is not None else None
    registered = await commands.acting_as(caller, callers.Scope.at_space(caller, space_id)).call(
        "register_contact",
        {
            "space_id": space_id,
            "space_kind": kind,
            "email": email.typed,
            "email_key": email.key,
            "email_hmac": arrival.email_hmac,
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
    signed = callers.contact_token(
        registered.workspace_id, registered.contact_id, registered.conversation_id, registered.proof
    )
    return Registration(
        contact_id=registered.contact_id,
        session_id=registered.session_id,
        session_status=registered.session_status,
        token=signed.token,
        expires_at=signed.expires_at,
        limits=registered.limits,
    )
