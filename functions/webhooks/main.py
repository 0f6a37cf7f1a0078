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


async def _body(request: Request, _: Caller) -> bytes:
    return await request_body.read_raw(request, limit=BODY_LIMIT)


async def receive_delivery(request: Request, provider: str, body: Annotated[bytes, ReadBy(_body)]) -> Response:
    """Store a provider's delivery, then acknowledge it as the provider expects."""
    return await _receive(request, provider, None, body)


async def receive_delivery_at_channel(
    request: Request, provider: str, channel_id: UUID, body: Annotated[bytes, ReadBy(_body)]
) -> Response:
    """Store a delivery to a channel, then acknowledge it as the provider expects."""
    return await _receive(request, provider, channel_id, body)


async def receive_omi(request: Request, body: Annotated[bytes, ReadBy(_body)]) -> Response:
    """Store a delivery of Omi; the query names the channel."""
    return await _receive(request, "omi", None, body)


async def answer_challenge(request: Request, provider: str) -> Response:
    """Answer WhatsApp's challenge; no other provider has one."""
    return await _answer_challenge(request, provider, None)


async def answer_challenge_at_channel(request: Request, provider: str, channel_id: UUID) -> Response:
    """Answer WhatsApp's challenge at a channel."""
    return await _answer_challenge(request, provider, channel_id)


async def _answer_challenge(request: Request, provider: str, channel_id: UUID | None) -> Response:
    if provider != "whatsapp":
        raise errors.MethodNotAllowed(["POST"])
    text = await deliveries.answer_challenge(channel_id, request.query_params)
    # As plain text, which no browser takes for a page.
    return PlainTextResponse(text, headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"})


async def _receive(request: Request, provider: str, channel_id: UUID | None, body: bytes) -> Response:
    delivery = Delivery(request.headers, body, request.query_params)
    answer = await deliveries.receive(HANDLERS, provider, channel_id, delivery)
    headers = {"Cache-Control": "no-store"}
    if answer.document is None:
        # Discord wants a valid type even where there is no body.
        return Response(status_code=answer.status, headers=headers, media_type="application/json")
    return JSONResponse(answer.document, status_code=answer.status, headers=headers)


_HANDLERS = (receive_delivery, receive_delivery_at_channel, receive_omi, answer_challenge, answer_challenge_at_channel)

# A handler has the name of its route.
_serve = app.function("webhooks", {handler.__name__: handler for handler in _HANDLERS})


@functions_framework.aio.http
async def webhooks(request: Request) -> Response:
    """The function's entry point."""
    return await _serve(request)
