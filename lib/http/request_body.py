"""Request bodies: read with a limit, parsed strictly, and the field types they are made of."""

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from lib import errors

JSON_LIMIT = 256 * 1024
"""Bytes of a JSON body: enough for the longest message with every character written as a \\u escape."""

DISCARD_LIMIT = 16 * 1024 * 1024
"""Bytes of a body that is too large which are read and thrown away, so that its sender gets to read the refusal."""

DISCARD_SECONDS = 2.0
"""How long a refusal waits for them at most."""

Model = TypeVar("Model", bound=BaseModel)


async def read(request: Request, model: type[Model]) -> Model:
    """The request's JSON body as a model.

    Raises UnsupportedMediaType, BodyTooLarge, InvalidJson, or InvalidBody with the fields that do not fit.
    """
    return validate(model, await read_json(request, limit=JSON_LIMIT))


async def read_json(request: Request, *, limit: int) -> Any:
    """The JSON value in a request's body of at most so many bytes. Raises as read, but for InvalidBody."""
    _require_json(request)
    return parse(await read_raw(request, limit=limit))


def validate(model: type[Model], document: object) -> Model:
    """A JSON value as a model. Raises InvalidBody with the fields that do not fit."""
    try:
        return model.model_validate(document)
    except ValidationError as invalid:
        faults = field_errors(invalid)
    raise errors.InvalidBody(faults)


def is_missing(request: Request) -> bool:
    """Whether the request has no body at all, for routes that can do without."""
    return request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers


def read_query(request: Request, model: type[Model]) -> Model:
    """The query's parameters as a model; of one that is repeated the last. Raises InvalidBody."""
    try:
        return model.model_validate(dict(request.query_params))
    except ValidationError as invalid:
        faults = field_errors(invalid)
    raise errors.InvalidBody(faults)


def field_errors(invalid: ValidationError) -> list[errors.FieldError]:
    """What does not fit, field by field, without the values that were sent."""
    return [
        errors.FieldError(
            field=".".join(str(part) for part in fault["loc"]),
            message=fault["msg"].removeprefix("Value error, "),
        )
        for fault in invalid.errors(include_input=False, include_url=False, include_context=False)
    ]


async def read_raw(request: Request, *, limit: int) -> bytes:
    """The body's bytes, of which no more than the limit and a chunk are ever kept. InvalidJson means that the sender
    broke off.

    Raises BodyTooLarge when the limit (in bytes) is known to be passed: by the declared length before anything is
    kept, or on the way. What the sender is still writing is thrown away first: a server that closes with bytes unread
    resets the connection, and whoever reads only after writing would find that in place of the answer.
    """
    rest, body = request.stream(), bytearray()
    if (declared := _declared(request)) > limit:
        # Who asks first, as curl does, sends nothing once refused; what would not come to its end is not begun.
        if declared <= DISCARD_LIMIT and "expect" not in request.headers:
            await _discard(rest)
        raise errors.BodyTooLarge(f"At most {limit} bytes are accepted.")
    try:
        async for chunk in rest:
            body += chunk
            if len(body) > limit:
                body.clear()
                await _discard(rest)
                raise errors.BodyTooLarge(f"At most {limit} bytes are accepted.")
    except ClientDisconnect:
        raise errors.InvalidJson("The body ended early.") from None
    return bytes(body)


def _declared(request: Request) -> int:
    """The length that is declared; 0 where none is, or no possible one."""
    text = request.headers.get("content-length", "")
    return int(text[:20]) if text.isascii() and text.isdigit() else 0


async def _discard(rest: AsyncIterator[bytes]) -> None:
    """Read on without keeping anything, within both bounds."""
    size = 0
    with contextlib.suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(DISCARD_SECONDS):
            async for chunk in rest:
                size += len(chunk)
                if size >= DISCARD_LIMIT:
                    return


def parse(content: bytes) -> Any:
    """The JSON value in UTF-8 text; no NaN, no Infinity, no number beyond a double. Raises InvalidJson."""
    try:
        return json.loads(content.decode("utf-8"), parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        raise errors.InvalidJson() from None


def parse_object(content: bytes) -> Mapping[str, Any] | None:
    """The JSON object in UTF-8 text, or None if it is something else. For senders who are not told."""
    try:
        document = parse(content)
    except errors.InvalidJson:
        return None
    return document if isinstance(document, dict) else None


def _require_json(request: Request) -> None:
    media_type, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = parameters.strip().lower().replace('"', "")
    if media_type.strip().lower() != "application/json" or charset not in (
        "",
        "charset=utf-8",
        "charset=utf8",
    ):
        raise errors.UnsupportedMediaType()


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("the number is too large")
    return number
