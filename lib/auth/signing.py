"""Signing our own tokens: compact JWS (RFC 7515).

PyJWT is used to verify only (lib/auth/tokens.py): a registration and the first message of a chat need a signature, and
importing PyJWT takes longer than everything else that they import. Signatures come from the standard library's HMAC or
from cryptography's ECDSA, of which only the curves are imported, and only if there is a signing key.
"""

import base64
import functools
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from typing import Any

from lib import config, errors

Signature = Callable[[bytes], bytes]


def sign(claims: Mapping[str, Any]) -> str:
    """A signed token with these claims: ES256 with the first of the deployment's signing keys, without one HS256."""
    settings = config.settings()
    if settings.signing_keys:
        header, signature = _es256(next(iter(settings.signing_keys.values())))
    elif settings.supabase_jwt_secret is not None:
        header, signature = _hs256(settings.supabase_jwt_secret.get_secret_value())
    else:
        raise errors.ConfigError("SUPABASE_JWT_SECRET or SWITCHBOARD_SIGNING_KEY must be set")
    signed = b".".join((_base64(_json(header)), _base64(_json(claims))))
    return b".".join((signed, _base64(signature(signed)))).decode()


def _hs256(secret: str) -> tuple[Mapping[str, str], Signature]:
    def signature(signed: bytes) -> bytes:
        return hmac.digest(secret.encode(), signed, hashlib.sha256)

    return {"alg": "HS256", "typ": "JWT"}, signature


@functools.cache
def _es256(text: str) -> tuple[Mapping[str, str], Signature]:
    """The signer of a private P-256 key in JWK format. Raises ValueError if its halves do not match."""
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 (see above)
    from cryptography.hazmat.primitives.asymmetric import ec, utils  # noqa: PLC0415

    jwk = json.loads(text)
    d, x, y = (int.from_bytes(_unbase64(jwk[name])) for name in ("d", "x", "y"))
    key = ec.EllipticCurvePrivateNumbers(d, ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1())).private_key()

    def signature(signed: bytes) -> bytes:
        r, s = utils.decode_dss_signature(key.sign(signed, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32) + s.to_bytes(32)

    header = {"alg": "ES256", "typ": "JWT"} | ({"kid": jwk["kid"]} if jwk.get("kid") else {})
    return header, signature


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _base64(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


def _unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
