"""Identity tokens: JWTs in which the customer's own server says who a visitor is.

    header  {"alg": "HS256"}
    claims  {"sub": "4711", "email": "ana@example.com", "exp": 1790000000}

The claims are checked here, the signature in SQL (private.is_signed), in the round trip that uses the claims: the
space's secret does not leave the database.
"""

import base64
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from lib import errors
from lib.fields import emails, identities
from lib.fields.emails import Email
from lib.http import request_body

LONGEST_LIFE = timedelta(hours=1)
"""How far ahead ``exp`` may be."""

CLOCK_SKEW = timedelta(seconds=60)
"""How far the clock of the customer's server may be from ours."""

_COMPACT = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){2}")


@dataclass(frozen=True)
class IdentityToken:
    """A token whose claims are valid if the ``signature``, in hex, is one of ``signed``.

    ``subject`` is the key of the external identity for ``sub``. At least one of ``subject`` and ``email`` is there.
    """

    signed: str
    signature: str
    subject: str | None
    email: Email | None


def read(token: str, space_id: UUID | None) -> IdentityToken:
    """The unverified token. Raises Refused (identity_token_invalid, identity_token_expired)."""
    try:
        if not _COMPACT.fullmatch(token):
            raise ValueError
        header, claims, signature = (_decoded(part) for part in token.split("."))
    except ValueError:
        raise _invalid("malformed") from None
    _check_header(request_body.parse_object(header))
    known = request_body.parse_object(claims)
    if known is None:
        raise _invalid("malformed")
    _check_times(known)
    _check_audience(known.get("aud"), space_id)
    found = IdentityToken(
        signed=token.rpartition(".")[0],
        signature=signature.hex(),
        subject=_subject(known.get("sub")),
        email=_email(known),
    )
    if found.subject is None and found.email is None:
        raise _invalid("names_no_person")
    return found


def _check_header(header: Mapping[str, Any] | None) -> None:
    # An extension named in crit must be understood, and none is (RFC 7515, 4.1.11).
    if header is None or header.get("alg") != "HS256" or "crit" in header:
        raise _invalid("algorithm")


def _check_times(claims: Mapping[str, Any]) -> None:
    now, skew = time.time(), CLOCK_SKEW.total_seconds()
    expires, begins, issued = (_moment(claims.get(name)) for name in ("exp", "nbf", "iat"))
    if expires is None or expires > now + LONGEST_LIFE.total_seconds() + skew:
        raise _invalid("expiry")
    if any(moment is not None and moment > now + skew for moment in (begins, issued)):
        raise _invalid("early")
    if expires <= now - skew:
        raise errors.Refused(401, "identity_token_expired")


def _moment(claim: object) -> float | None:
    if claim is None:
        return None
    if isinstance(claim, bool) or not isinstance(claim, int | float):
        raise _invalid("times")
    return claim


def _check_audience(claim: object, space_id: UUID | None) -> None:
    named = claim if isinstance(claim, list) else [claim]
    if claim is not None and str(space_id) not in named:
        raise _invalid("audience")


def _subject(claim: object) -> str | None:
    """The key of the identity. A subject is compared as it is, so one that normalisation would change is refused."""
    if claim is None:
        return None
    key = f"{identities.SUBJECT_SYSTEM}:{claim}"
    try:
        if isinstance(claim, str) and identities.of("external", key).key == key:
            return key
    except ValueError:
        pass
    raise _invalid("subject")


def _email(claims: Mapping[str, Any]) -> Email | None:
    claim = claims.get("email")
    if claim is None:
        return None
    if claims.get("email_verified") not in (None, True, "true"):
        raise _invalid("email_unverified")
    try:
        if isinstance(claim, str) and len(claim) <= emails.LONGEST:
            return emails.parse(claim)
    except ValueError:
        pass
    raise _invalid("email")


def _decoded(part: str) -> bytes:
    """The bytes of base64url. Raises ValueError for another spelling of them: the last character has unused bits."""
    content = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    if base64.urlsafe_b64encode(content).decode().rstrip("=") != part:
        raise ValueError("not canonical")
    return content


def _invalid(fault: str) -> errors.Refused:
    return errors.Refused(401, "identity_token_invalid", detail=errors.IDENTITY_TOKEN_FAULTS[fault])
