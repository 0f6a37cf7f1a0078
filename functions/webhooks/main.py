"""webhooks: deliveries of providers, each under its own name."""

from typing import Literal

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from lib.fields.models import Record
from lib.http import app, request_body
from lib.webhooks import deliveries

BODY_LIMIT = 1024 * 1024


class Received(Record):
    """The acknowledgement; ``duplicate``: the delivery was stored before."""

    received: Literal[True] = True
    duplicate: bool


async def receive(request: Request) -> Received:
    """Store a provider's delivery, then acknowledge it."""
    body = await request_body.read_raw(request, limit=BODY_LIMIT)
    receipt = await deliveries.receive(request.path_params["provider"], request.headers, body)
    return Received(duplicate=receipt.duplicate)


_serve = app.function("webhooks", {"receive": receive})


@functions_framework.aio.http
async def webhooks(request: Request) -> Response:
    """The function's entry point."""
    return await _serve(request)
