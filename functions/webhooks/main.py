"""webhooks: deliveries of providers, each under its own name."""

from typing import Annotated, Literal

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from lib.auth.callers import Caller
from lib.fields.models import Record
from lib.http import app, request_body
from lib.http.binding import ReadBy
from lib.webhooks import deliveries

BODY_LIMIT = 1024 * 1024


class Received(Record):
    """The acknowledgement; ``duplicate``: the delivery was stored before."""

    received: Literal[True] = True
    duplicate: bool


async def _delivery(request: Request, _: Caller) -> bytes:
    return await request_body.read_raw(request, limit=BODY_LIMIT)


async def receive_delivery(request: Request, provider: str, body: Annotated[bytes, ReadBy(_delivery)]) -> Received:
    """Store a provider's delivery, then acknowledge it."""
    receipt = await deliveries.receive(provider, request.headers, body)
    return Received(duplicate=receipt.duplicate)


_serve = app.function("webhooks", {"receive_delivery": receive_delivery})


@functions_framework.aio.http
async def webhooks(request: Request) -> Response:
    """The function's entry point."""
    return await _serve(request)
