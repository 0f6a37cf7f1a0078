"""Verifying tokens: our own and Supabase Auth's. lib/auth/signing.py signs them.

The key determines the algorithm, never the token. A token names its key of the ring, which verifies until it is
removed. After a move to ES256, tokens signed with the project's secret stay valid until they expire.

This module imports PyJWT and cryptography, so lib/auth/callers.py imports it at the first token.
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
"""Size of the caches: a chat sends the same token with each message."""

# Base64 decoders skip unknown characters, so a token with characters inserted would verify but not be the token that
# PostgREST or a header accepts.
_COMPACT = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){2}")

Claims = dict[str, Any]


@dataclass(frozen=True)
class Unverified:
    """A decoded token that is not verified yet."""

    token: str
    algorithm: str
    key_id: str
    issuer: str | None


@functools.lru_cache(maxsize=REMEMBERED)
def decode_unverified(token: str) -> Unverified:
    """The unverified header and issuer of a token, to select its key. Raises TokenInvalid for a malformed token."""
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
    """The claims of a token that we signed. Raises TokenInvalid or TokenExpired."""
    settings = config.settings()
    key: Any
    if unverified.algorithm == "ES256" and unverified.key_id in settings.signing_keys:
        key = _signing_key(settings.signing_keys[unverified.key_id])
    elif unverified.algorithm == "HS256" and settings.supabase_jwt_secret is not None:
        key = settings.supabase_jwt_secret.get_secret_value()
    else:
        raise errors.TokenInvalid()
    return _verified(unverified, key, audience=audience, issuer=issuer)


async def verify_supabase(unverified: Unverified, *, audience: str) -> Claims:
    """The claims of a token that Supabase Auth signed, with the project's secret or a published key.

    Raises TokenInvalid, TokenExpired, or BackendUnavailable if the published keys cannot be fetched.
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
        claims = _verified_claims(unverified.token, key, unverified.algorithm, audience, issuer)
    except jwt.ExpiredSignatureError:
        raise errors.TokenExpired() from None
    except jwt.InvalidTokenError:
        raise errors.TokenInvalid() from None
    # A cached token is valid until it expires.
    if end_of(claims) <= time.time():
        raise errors.TokenExpired()
    return dict(claims)


def end_of(claims: Claims) -> float:
    """The time, in seconds since 1970, from which a token with these claims is refused."""
    return int(claims["exp"]) + CLOCK_SKEW.total_seconds()


@functools.lru_cache(maxsize=REMEMBERED)
def _verified_claims(token: str, key: Any, algorithm: str, audience: str, issuer: str | None) -> Claims:
    """The claims of a token signed with this key; cached, because a signature does not change."""
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
