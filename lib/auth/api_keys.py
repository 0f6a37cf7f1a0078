"""API keys, `swb_…`: made here, known to the database by their hash, and exchanged for tokens that PostgREST accepts.

A key is its id, under which the database finds it, and 256 random bits, both in hexadecimal digits. The whole key is
hashed with SHA-256: no search finds so many bits, so a slow hash would not protect it better.
"""

import functools
import hashlib
import json
import re
import secrets
from uuid import UUID, uuid4

from lib import errors
from lib.auth import signing

SIGNED_EVERY_SECONDS = 30

_KEY = re.compile(r"swb_([0-9a-f]{32})[0-9a-f]{64}")


def is_key(token: str) -> bool:
    """Whether a bearer token is an API key, valid or not."""
    return token.startswith("swb_")


def generate() -> str:
    """A new key."""
    return f"swb_{uuid4().hex}{secrets.token_hex(32)}"


def read(key: str) -> tuple[UUID, str]:
    """The id and the hash of a key. Raises ApiKeyInvalid for a malformed one."""
    if (found := _KEY.fullmatch(key)) is None:
        raise errors.ApiKeyInvalid()
    return UUID(found[1]), hashlib.sha256(key.encode()).hexdigest()


@functools.lru_cache(maxsize=1_024)
def query_token(claims: str, period: int) -> str:
    """A token with the claims of a key (JSON) for the queries of this half minute since 1970, valid for the next too.

    The database checks the key's hash at each query, so a revoked key is refused before the token expires.
    """
    expires_at = (period + 2) * SIGNED_EVERY_SECONDS
    return signing.sign({**json.loads(claims), "iss": "switchboard", "aud": "authenticated", "exp": expires_at})
