"""Which web pages may call: the origins that a space lists.

Nothing here uses cookies, so an origin is a courtesy to the browser's user and never the caller's proof.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from lib import errors
from lib.auth import callers
from lib.database import commands
from lib.fields.models import Record
from lib.routes import Route

CACHE_SECONDS = 60
_MOST_SPACES = 1_000

ALLOWED_HEADERS = "authorization, content-type, last-event-id, x-request-id"
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
    """The headers that let a page of this origin read an answer of this route; none if it may not.

    Never raises: where the space is unknown or the database away, no page is allowed and the answer says why.
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
    """The headers that answer a preflight. Raises OriginNotAllowed."""
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
    """A space's origins, kept for a minute; the old ones stand while the database is away."""
    known = _spaces.get(space_id)
    if known is not None and known.until > time.monotonic():
        return known.origins
    try:
        rpc = commands.acting_as(callers.Anonymous(), callers.Scope(space_id=space_id))
        answer = await rpc.call("space_origins", {"space_id": space_id}, _Origins, patience=commands.GLANCE)
        origins = frozenset(listed.lower().rstrip("/") for listed in answer.origins)
    except errors.Refused:
        origins = frozenset()
    except errors.Problem:
        return known.origins if known is not None else frozenset()
    if len(_spaces) >= _MOST_SPACES:
        _spaces.clear()
    _spaces[space_id] = _Known(origins, time.monotonic() + CACHE_SECONDS)
    return origins
