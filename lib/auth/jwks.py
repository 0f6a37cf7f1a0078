"""The public keys of Supabase Auth, fetched from its JWKS address and kept for ten minutes.

Ten minutes is what Supabase's own edge caches them for and what it advises not to exceed
(supabase.com/docs/guides/auth/signing-keys). An unknown key id makes the client fetch again, at
most every 30 s.
"""

import functools

import jwt

from lib import errors, log

ALGORITHMS = ("ES256", "RS256")
LIFE_SECONDS = 600


def key(url: str, key_id: str) -> jwt.PyJWK:
    """The signing key with this id. Blocks on the network at times: call it in a thread.

    Raises TokenInvalid when Supabase Auth does not publish the id, and BackendUnavailable when it
    cannot be asked.
    """
    try:
        return _client(url).get_signing_key(key_id)
    except jwt.PyJWKClientConnectionError as unreachable:
        log.warning("jwks_unreachable", reason=type(unreachable.__cause__ or unreachable).__name__)
        raise errors.BackendUnavailable() from None
    except jwt.PyJWTError:
        raise errors.TokenInvalid() from None


@functools.cache
def _client(url: str) -> jwt.PyJWKClient:
    return jwt.PyJWKClient(url, cache_jwk_set=True, lifespan=LIFE_SECONDS, timeout=5)
