"""CORS: the web origins that a space allows.

No response allows credentials, so no page of another origin can use the cookie `sid`; an origin never identifies the
caller.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from lib import errors
from lib.auth import callers
from lib.database import commands, retries
from lib.fields.models import Record
from lib.routes import Route

CACHE_SECONDS = 60
_MOST_SPACES = 1_000

ALLOWED_HEADERS = (
    "authorization, content-type, last-event-id, x-request-id, idempotency-key, "
    "apikey, x-client-info, x-region, x-supabase-api-version, traceparent, tracestate, baggage, "
    "mcp-protocol-version, mcp-method, mcp-name"
)
"""Our own headers, those of supabase-js, of OpenTelemetry, and of the Model Context Protocol."""

EXPOSED_HEADERS = "ratelimit, ratelimit-policy, retry-after, x-request-id, x-vercel-ai-ui-message-stream"
PREFLIGHT_SECONDS = 600


class _Origins(Record):
    origins: tuple[str, ...]


@dataclass(frozen=True)
class _Known:
    origins: frozenset[str]
    until: float


_spaces: dict[UUID, _Known] = {}


async def headers(route: Route, space_id: UUID | None, origin: str) -> Mapping[str, str]:
    """The CORS headers of a response to this origin; empty if the origin is not allowed.

    Never raises: if the space is unknown or the database unavailable, no origin is allowed.
    """
    allowed = await _allowed(route, space_id, origin)
    if allowed is None:
        return {"Vary": "Origin"} if route.origins == "space" else {}
    return {
        "Access-Control-Allow-Origin": allowed,
        "Access-Control-Expose-Headers": EXPOSED_HEADERS,
        "Vary": "Origin",
    }


async def preflight(route: Route, space_id: UUID | None, origin: str) -> Mapping[str, str]:
    """The headers of a preflight response. Raises OriginNotAllowed."""
    allowed = await _allowed(route, space_id, origin)
    if allowed is None:
        raise errors.OriginNotAllowed()
    return {
        "Access-Control-Allow-Origin": allowed,
        "Access-Control-Allow-Methods": route.method,
        "Access-Control-Allow-Headers": ALLOWED_HEADERS,
        "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
        "Vary": "Origin",
    }


async def _allowed(route: Route, space_id: UUID | None, origin: str) -> str | None:
    if route.origins == "any":
        return "*"
    if route.origins == "none" or space_id is None:
        return None
    origins = await _origins(space_id)
    if "*" in origins:
        return "*"
    return origin if origin.lower() in origins else None


async def _origins(space_id: UUID) -> frozenset[str]:
    """A space's origins, cached for a minute; a stale entry is used while the database is unavailable."""
    known = _spaces.get(space_id)
    if known is not None and known.until > time.monotonic():
        return known.origins
    try:
        rpc = commands.acting_as(callers.Anonymous(), callers.Scope(space_id=space_id))
        answer = await rpc.call("space_origins", {"space_id": space_id}, _Origins, patience=retries.GLANCE)
        origins = frozenset(listed.lower().rstrip("/") for listed in answer.origins)
    except errors.Refused:
        origins = frozenset()
    except errors.Problem:
        return known.origins if known is not None else frozenset()
    if len(_spaces) >= _MOST_SPACES:
        _spaces.clear()
    _spaces[space_id] = _Known(origins, time.monotonic() + CACHE_SECONDS)
    return origins
