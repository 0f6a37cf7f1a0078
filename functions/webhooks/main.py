"""webhooks: deliveries of providers, each under its own name."""

from typing import Annotated
from uuid import UUID

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from lib import errors
from lib.auth.callers import Caller
from lib.http import app, request_body
from lib.http.binding import ReadBy
from lib.providers import Delivery
from lib.webhooks import deliveries
from lib.webhooks.handlers import HANDLERS

BODY_LIMIT = 1024 * 1024


async def _read(request: Request, _: Caller) -> Delivery:
    body = await request_body.read_raw(request, limit=BODY_LIMIT)
    return Delivery(request.headers, body, request.query_params)


Delivered = Annotated[Delivery, ReadBy(_read)]


async def receive_delivery(provider: str, delivery: Delivered) -> Response:
    """Store a provider's delivery, then acknowledge it as the provider expects."""
    return await _receive(provider, None, delivery)


async def receive_channel_delivery(provider: str, channel_id: UUID, delivery: Delivered) -> Response:
    """Store a provider's delivery to a channel, then acknowledge it as the provider expects."""
    return await _receive(provider, channel_id, delivery)


async def receive_omi_delivery(delivery: Delivered) -> Response:
    """Store a delivery of Omi; the query names the channel."""
    return await _receive("omi", None, delivery)


async def answer_challenge(request: Request, provider: str) -> Response:
    """Answer WhatsApp's challenge; its token names the channel."""
    return await _answer(request, provider, None)


async def answer_channel_challenge(request: Request, provider: str, channel_id: UUID) -> Response:
    """Answer WhatsApp's challenge to a channel."""
    return await _answer(request, provider, channel_id)


async def _receive(provider: str, channel_id: UUID | None, delivery: Delivery) -> Response:
    answer = await deliveries.receive(HANDLERS, provider, channel_id, delivery)
    headers = {"Cache-Control": "no-store"}
    if answer.document is None:
        # Discord wants a valid type even where there is no body.
        return Response(status_code=answer.status, headers=headers, media_type="application/json")
    return JSONResponse(answer.document, status_code=answer.status, headers=headers)


async def _answer(request: Request, provider: str, channel_id: UUID | None) -> Response:
    if provider != "whatsapp":
        raise errors.MethodNotAllowed(["POST"])
    text = await deliveries.answer_challenge(channel_id, request.query_params)
    # As plain text, which no browser takes for a page.
    return PlainTextResponse(text, headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"})


_HANDLERS = (
    receive_delivery, receive_channel_delivery, receive_omi_delivery, answer_challenge, answer_channel_challenge,
)  # fmt: skip

_serve = app.function("webhooks", {handler.__name__: handler for handler in _HANDLERS})


@functions_framework.aio.http
async def webhooks(request: Request) -> Response:
    """The function's entry point."""
    return await _serve(request)
