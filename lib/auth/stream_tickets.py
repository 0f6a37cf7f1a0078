"""Stream tickets: how a native EventSource, which sends no headers, opens one stream.

A ticket is a token of ours in the query (`?sid=`). It stands for the caller's token on one path, and it can be used
for a minute, because URLs appear in the logs of proxies. It is no bearer token: its audience is another one, and it has
no role, without which PostgREST gives no rights either. It contains ids and no email.
"""

import json
import time
from datetime import UTC, datetime

from lib import errors
from lib.auth import callers, signing
from lib.auth.callers import SignedToken

TICKET_SECONDS = 60
"""How long a ticket opens its stream. A stream that is open lasts until its own limit."""

_AUDIENCE = "stream"
_KEPT = {"iss", "aud", "role", "sub", "exp", "iat"}
_KEPT |= {"workspace_id", "contact_id", "conversation_id", "proof", "space_id", "key_hash"}
"""The claims of the caller's token, or key, that the database needs to read as this caller."""


def issue(caller: callers.Contact | callers.User, path: str) -> SignedToken:
    """A ticket for the stream at this path; it ends with the caller's token at the latest."""
    claims = json.loads(callers.own_claims(caller))
    now = int(time.time())
    ends = min(now + TICKET_SECONDS, int(claims.get("exp", now + TICKET_SECONDS)))
    holder = {name: value for name, value in claims.items() if name in _KEPT}
    ticket = {"iss": callers.ISSUER, "aud": _AUDIENCE, "sub": path, "iat": now, "exp": ends, "holder": holder}
    return SignedToken(signing.sign(ticket), datetime.fromtimestamp(ends, UTC))


def holder(ticket: str, path: str) -> callers.Contact | callers.User:
    """The caller to whom a ticket was issued for this path. Raises TokenInvalid or TokenExpired."""
    from lib.auth import tokens  # noqa: PLC0415 (see lib/auth/tokens.py)

    claims = tokens.verify_ours(tokens.decode_unverified(ticket), audience=_AUDIENCE, issuer=callers.ISSUER)
    if claims["sub"] != path:
        raise errors.TokenInvalid()
    kept = claims["holder"]
    return callers.of_key_claims(kept, token="") if "key_hash" in kept else callers.of_claims(kept, token="")
