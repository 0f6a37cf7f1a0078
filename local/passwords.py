"""Password hashes of the demo users: scrypt from the standard library (hosted Supabase Auth uses bcrypt)."""

import base64
import hashlib
import hmac
import os

_COST, _BLOCK, _PARALLEL = 2**14, 8, 1
_NO_USERS_HASH = f"$scrypt${_COST}${_BLOCK}${_PARALLEL}${'A' * 24}${'A' * 88}"
"""What the password of an unknown user is compared with."""


def encrypt(password: str) -> str:
    """A salted hash with its parameters."""
    salt = os.urandom(16)
    return (
        f"$scrypt${_COST}${_BLOCK}${_PARALLEL}${_text(salt)}${_text(_hash(password, salt, _COST, _BLOCK, _PARALLEL))}"
    )


def matches(password: str, encrypted: str | None) -> bool:
    """Whether the password is correct; takes as long for a user without one."""
    try:
        _, scheme, cost, block, parallel, salt, digest = (encrypted or _NO_USERS_HASH).split("$")
    except ValueError:
        return False
    if scheme != "scrypt":
        return False
    found = _hash(password, base64.b64decode(salt), int(cost), int(block), int(parallel))
    return hmac.compare_digest(found, base64.b64decode(digest)) and encrypted is not None


def _hash(password: str, salt: bytes, cost: int, block: int, parallel: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=cost, r=block, p=parallel, maxmem=2**26)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
