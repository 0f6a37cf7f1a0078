"""The public keys of Supabase Auth, fetched from its JWKS URL and cached for ten minutes.

Supabase's own edge caches them for ten minutes and advises not to exceed that
(supabase.com/docs/guides/auth/signing-keys). An unknown key id triggers another fetch, at most every 30 s. So does a
token while the project publishes no key, as one that signs with its legacy secret.
"""

import functools
import time

import jwt

from lib import errors, log

ALGORITHMS = ("ES256", "RS256")
LIFE_SECONDS = 600
EMPTY_SECONDS = 30.0
"""How long an empty set is not fetched again; PyJWT caches only sets that have a key."""

_empty_since: dict[str, float] = {}


def key(url: str, key_id: str) -> jwt.PyJWK:
    """The signing key with this id. May block on the network: call it in a thread.

    Raises TokenInvalid if Supabase Auth does not publish the id, BackendUnavailable if it cannot be reached.
    """
    if time.monotonic() - _empty_since.get(url, -EMPTY_SECONDS) < EMPTY_SECONDS:
        raise errors.TokenInvalid()
    try:
        return _client(url).get_signing_key(key_id)
    except jwt.PyJWKSetError:
        _empty_since[url] = time.monotonic()
        raise errors.TokenInvalid() from None
    except jwt.PyJWKClientConnectionError as unreachable:
        log.warning("jwks_unreachable", reason=type(unreachable.__cause__ or unreachable).__name__)
        raise errors.BackendUnavailable() from None
    except jwt.PyJWTError:
        raise errors.TokenInvalid() from None


@functools.cache
def _client(url: str) -> jwt.PyJWKClient:
    return jwt.PyJWKClient(url, cache_jwk_set=True, lifespan=LIFE_SECONDS, timeout=5)
