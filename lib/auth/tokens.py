"""JSON web tokens that we are shown: verifying ours and Supabase Auth's. lib/auth/signing.py makes ours.

The key decides the algorithm, never the token. After a move to ES256 tokens signed with the project's secret
stay good until they expire.

This module brings PyJWT and the cryptography library along, so lib/auth/callers.py imports it at the first token.
"""

import asyncio
import functools
import re
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import jwt

from lib import config, errors
from lib.auth import jwks

CLOCK_SKEW = timedelta(seconds=10)
LONGEST = 8_192

REMEMBERED = 1_024
"""How many tokens are remembered: a chat shows the same one with each message."""

# Decoders of base64 skip what they do not know: a good signature with anything in between would be as good, and not be
# the token that PostgREST, or a header, takes.
_COMPACT = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){2}")

Claims = dict[str, Any]


@dataclass(frozen=True)
class Unverified:
    """A token taken apart and not yet believed."""

    token: str
    algorithm: str
    key_id: str
    issuer: str | None


@functools.lru_cache(maxsize=REMEMBERED)
def take_apart(token: str) -> Unverified:
    """What a token says of itself, to find out how to verify it. Raises TokenInvalid if it is no token."""
    if len(token) > LONGEST or not _COMPACT.fullmatch(token):
        raise errors.TokenInvalid()
    try:
        header = jwt.get_unverified_header(token)
        issuer = jwt.decode(token, options={"verify_signature": False}).get("iss")
    except (jwt.InvalidTokenError, RecursionError):
        raise errors.TokenInvalid() from None
    return Unverified(
        token=token,
        algorithm=str(header.get("alg")),
        key_id=str(header.get("kid", "")),
        issuer=issuer if isinstance(issuer, str) else None,
    )


def verify_ours(unverified: Unverified, *, audience: str, issuer: str) -> Claims:
    """The claims of a token that we signed ourselves. Raises TokenInvalid or TokenExpired."""
    settings = config.settings()
    key: Any
    if unverified.algorithm == "ES256" and settings.switchboard_signing_key is not None:
        key = _signing_key(settings.switchboard_signing_key.get_secret_value())
    elif unverified.algorithm == "HS256" and settings.supabase_jwt_secret is not None:
        key = settings.supabase_jwt_secret.get_secret_value()
    else:
        raise errors.TokenInvalid()
    return _verified(unverified, key, audience=audience, issuer=issuer)


async def verify_supabase(unverified: Unverified, *, audience: str) -> Claims:
    """The claims of a token that Supabase Auth signed, by the project's secret or its published keys.

    Raises TokenInvalid, TokenExpired, or BackendUnavailable when the published keys cannot be fetched.
    """
    settings = config.settings()
    key: Any
    if unverified.algorithm == "HS256" and settings.supabase_jwt_secret is not None:
        key = settings.supabase_jwt_secret.get_secret_value()
    elif unverified.algorithm in jwks.ALGORITHMS:
        published = await asyncio.to_thread(jwks.key, settings.jwks_url, unverified.key_id)
        if published.algorithm_name != unverified.algorithm:
            raise errors.TokenInvalid()
        key = published
    else:
        raise errors.TokenInvalid()
    if unverified.issuer is not None and unverified.issuer != settings.auth_issuer:
        raise errors.TokenInvalid()
    return _verified(unverified, key, audience=audience, issuer=None)


def _verified(unverified: Unverified, key: Any, *, audience: str, issuer: str | None) -> Claims:
    try:
        claims = _believed(unverified.token, key, unverified.algorithm, audience, issuer)
    except jwt.ExpiredSignatureError:
        raise errors.TokenExpired() from None
    except jwt.InvalidTokenError:
        raise errors.TokenInvalid() from None
    # What was believed once is good until it expires.
    if int(claims["exp"]) <= time.time() - CLOCK_SKEW.total_seconds():
        raise errors.TokenExpired()
    return dict(claims)


@functools.lru_cache(maxsize=REMEMBERED)
def _believed(token: str, key: Any, algorithm: str, audience: str, issuer: str | None) -> Claims:
    """The claims of a token that this key signed; remembered, because a signature stays as good as it is."""
    return jwt.decode(
        token,
        key,
        algorithms=[algorithm],
        audience=audience,
        issuer=issuer,
        leeway=CLOCK_SKEW,
        options={"require": ["exp", "aud", "sub"]},
    )


@functools.cache
def _signing_key(jwk: str) -> jwt.PyJWK:
    return jwt.PyJWK.from_json(jwk)
