"""registration: people who arrive at a landing page or an embedded chat become contacts."""

from datetime import datetime
from typing import Literal
from uuid import UUID

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from lib.auth import client_info
from lib.auth.callers import Caller
from lib.contacts.registration import Registration, RegistrationRequest, register
from lib.database import rate_limits
from lib.fields.models import FieldWarning, Record
from lib.http import app
from lib.http.app import Created


class _Contact(Record):
    id: UUID


class _Session(Record):
    id: UUID
    status: str


class Registered(Record):
    """The response: the same for a known and an unknown person. An API key for ingest or of an agent gets no token."""

    success: Literal[True] = True
    contact: _Contact
    session: _Session
    token: str | None = None
    expires_at: datetime | None = None
    contact_id: UUID | None = None
    warnings: tuple[FieldWarning, ...] | None = None


async def register_in_space(
    request: Request, caller: Caller, space_id: UUID, arrival: RegistrationRequest
) -> Created[Registered]:
    """Register a person in an embedded chat."""
    registration = await register(caller, space_id, "embed", arrival, client_info.of(request))
    return Created(_answer(registration), rate_limits.headers(registration.limits))


async def register_on_landing(
    request: Request, caller: Caller, app_id: UUID, arrival: RegistrationRequest
) -> Created[Registered]:
    """Register a person on a landing page; the response has the contact's id at its top level too."""
    registration = await register(caller, app_id, "landing", arrival, client_info.of(request))
    answer = _answer(registration).model_copy(update={"contact_id": registration.contact_id})
    return Created(answer, rate_limits.headers(registration.limits))


def _answer(registration: Registration) -> Registered:
    return Registered(
        contact=_Contact(id=registration.contact_id),
        session=_Session(id=registration.session_id, status=registration.session_status),
        token=registration.token.token if registration.token else None,
        expires_at=registration.token.expires_at if registration.token else None,
        warnings=registration.warnings or None,
    )


_serve = app.function(
    "registration", {"register_in_space": register_in_space, "register_on_landing": register_on_landing}
)


@functions_framework.aio.http
async def registration(request: Request) -> Response:
    """The function's entry point."""
    return await _serve(request)
