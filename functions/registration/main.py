"""registration: landing pages and embedded chats make contacts out of the people who arrive."""

from datetime import datetime
from typing import Literal
from uuid import UUID

import functions_framework.aio
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from lib import auth, bodies, clients, http, limits
from lib.registration import Arrival, Registration, SpaceKind, register


class _Model(BaseModel):
    model_config = ConfigDict(defer_build=True, frozen=True)


class _Contact(_Model):
    id: UUID


class _Session(_Model):
    id: UUID
    status: str


class Registered(_Model):
    """The answer: the same for somebody known and somebody new."""

    success: Literal[True] = True
    contact: _Contact
    session: _Session
    token: str
    expires_at: datetime
    contact_id: UUID | None = None


async def register_in_space(request: Request) -> Response:
    """Register a person in an embedded chat."""
    registration = await _register(request, "space_id", "embed")
    return http.created(_answer(registration), limits.headers(registration.limits))


async def register_on_landing(request: Request) -> Response:
    """Register a person on a landing page; the answer repeats the contact's id on its first level."""
    registration = await _register(request, "app_id", "landing")
    answer = _answer(registration).model_copy(update={"contact_id": registration.contact_id})
    return http.created(answer, limits.headers(registration.limits))


async def _register(request: Request, id_name: str, kind: SpaceKind) -> Registration:
    space_id = http.path_id(request, id_name)
    caller = await auth.caller_of(request)
    arrival = await bodies.read(request, Arrival)
    return await register(caller, space_id, kind, arrival, clients.of(request))


def _answer(registration: Registration) -> Registered:
    return Registered(
        contact=_Contact(id=registration.contact_id),
        session=_Session(id=registration.session_id, status=registration.session_status),
        token=registration.token,
        expires_at=registration.expires_at,
    )


_serve = http.function(
    "registration", {"register_in_space": register_in_space, "register_on_landing": register_on_landing}
)


@functions_framework.aio.http
async def registration(request: Request) -> Response:
    """The function's entry point."""
    return await _serve(request)
