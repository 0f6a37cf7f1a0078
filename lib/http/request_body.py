"""Request bodies and queries: read with a size limit, parsed strictly, validated as a model."""

import asyncio
import contextlib
import functools
import json
import math
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from lib import errors
from lib.fields.models import Body

JSON_LIMIT = 256 * 1024
"""Bytes of a JSON body: enough for the longest message with every character written as a \\u escape."""

BODY_SECONDS = 20.0
"""Longest time until a body has arrived: enough for 256 KiB over a bad mobile connection."""

DISCARD_LIMIT = 16 * 1024 * 1024
"""Bytes of an oversized body that are read and discarded, so that its sender can read the response."""

DISCARD_SECONDS = 2.0
"""Longest time spent on discarding."""

Model = TypeVar("Model", bound=BaseModel)


async def read(request: Request, model: type[Model]) -> Model:
    """The request's JSON body as a model.

    Raises UnsupportedMediaType, BodyTooLarge, InvalidJson, or InvalidBody with the fields that do not fit.
    """
    return validate(model, await read_json(request, limit=JSON_LIMIT))


async def read_json(request: Request, *, limit: int) -> Any:
    """The JSON value of a body of at most ``limit`` bytes. Raises as read, except InvalidBody."""
    _require_json(request)
    return parse(await read_raw(request, limit=limit))


async def read_optional(request: Request, model: type[Model]) -> Model:
    """The request's JSON body as a model; the model's defaults without a body. Raises as read."""
    return validate(model, {}) if is_missing(request) else await read(request, model)


class NoMembers(Body):
    """The body of a route that takes no members."""


async def refuse_members(request: Request) -> None:
    """Check that a request has no body, or an empty object. Raises as read."""
    await read_optional(request, NoMembers)


def validate(model: type[Model], document: object, part: Literal["body", "query", "path"] = "body") -> Model:
    """A JSON value as a model. Raises InvalidBody with the fields that do not fit."""
    try:
        return model.model_validate(document)
    except ValidationError as invalid:
        faults = field_errors(invalid)
    raise errors.InvalidBody(faults, part)


def is_missing(request: Request) -> bool:
    """Whether the request has no body, for routes with an optional one."""
    return request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers


def read_query(request: Request, model: type[Model]) -> Model:
    """The query's parameters as a model. All values of a repeated parameter count where the model takes several, else
    the last one. Raises InvalidBody."""
    query = request.query_params
    several = {name: query.getlist(name) for name in _lists(model) if name in query}
    return validate(model, {**query, **several}, "query")


@functools.cache
def _lists(model: type[BaseModel]) -> tuple[str, ...]:
    """The fields of a model that take several values."""
    kinds = {name: (field.annotation, *get_args(field.annotation)) for name, field in model.model_fields.items()}
    return tuple(name for name, parts in kinds.items() if any(get_origin(part) is tuple for part in parts))


_IN_JSON = {
    "dict_type": "Input should be an object",
    "model_type": "Input should be an object",
    "tuple_type": "Input should be a list",
}
"""Messages of pydantic that would name types of Python."""


def field_errors(invalid: ValidationError) -> list[errors.FieldError]:
    """The invalid fields and their errors, without the values that were sent."""
    faults = invalid.errors(include_input=False, include_url=False)
    within = {fault["loc"][:depth] for fault in faults for depth in range(len(fault["loc"]))}
    return [
        errors.FieldError.of(fault, message=_IN_JSON.get(fault["type"]))
        for fault in faults
        # A list with an invalid item is counted without it.
        if fault["type"] != "too_short" or fault["loc"] not in within
    ]


async def read_raw(request: Request, *, limit: int) -> bytes:
    """The body's bytes; at most the limit plus one chunk is kept in memory.

    Raises UnsupportedMediaType for a compressed body, AmbiguousLength, BodyTooLarge if the declared or the actual
    length exceeds the limit (bytes), BodyTimeout, and InvalidJson if the sender disconnects. The rest of an oversized
    body is discarded first: a server that closes a connection with unread bytes resets it, and a client that reads only
    after writing would see the reset instead of the response.
    """
    coding = request.headers.get("content-encoding", "").strip().lower()
    if coding not in ("", "identity"):
        raise errors.UnsupportedMediaType("The body must not be compressed: it has a Content-Encoding.")
    if "content-length" in request.headers and "transfer-encoding" in request.headers:
        raise errors.AmbiguousLength()
    rest, body = request.stream(), bytearray()
    if (declared := _declared(request)) > limit:
        # A client that sends Expect, as curl does, sends no body after a refusal; a body above the discard limit is not
        # read at all.
        if declared <= DISCARD_LIMIT and "expect" not in request.headers:
            await _discard(rest)
        raise errors.BodyTooLarge(f"At most {limit} bytes are accepted.")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in rest:
                body += chunk
                if len(body) > limit:
                    body.clear()
                    await _discard(rest)
                    raise errors.BodyTooLarge(f"At most {limit} bytes are accepted.")
    except TimeoutError:
        raise errors.BodyTimeout() from None
    except ClientDisconnect:
        raise errors.InvalidJson("The body ended early.") from None
    return bytes(body)


def _declared(request: Request) -> int:
    """The declared length; 0 if none or an invalid one is declared."""
    text = request.headers.get("content-length", "")
    return int(text[:20]) if text.isascii() and text.isdigit() else 0


async def _discard(rest: AsyncIterator[bytes]) -> None:
    """Read and discard, within DISCARD_LIMIT and DISCARD_SECONDS."""
    size = 0
    with contextlib.suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(DISCARD_SECONDS):
            async for chunk in rest:
                size += len(chunk)
                if size >= DISCARD_LIMIT:
                    return


def parse(content: bytes) -> Any:
    """The JSON value in UTF-8 text; NaN, Infinity and numbers beyond a double are refused. Raises InvalidJson."""
    try:
        return json.loads(content.decode("utf-8"), parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        raise errors.InvalidJson() from None


def parse_object(content: bytes) -> Mapping[str, Any] | None:
    """The JSON object in UTF-8 text, or None for anything else: for callers that report their own error."""
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
        raise errors.UnsupportedMediaType("The body must be application/json in UTF-8.")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("the number is too large")
    return number
