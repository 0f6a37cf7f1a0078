"""Callers: the senders of requests, their claims for the database, and the contact tokens that the functions sign.

Requests carry one of four credentials: a contact token, which registration signs; a user token of Supabase Auth; an API
key (lib/auth/api_keys.py); or the cron secret of the database's schedules. Some routes also accept a stream ticket,
which stands for one of the first three (lib/auth/stream_tickets.py), and a user token in the cookie `sid`.
"""

import contextlib
import functools
import hmac
import json
import math
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Literal
from uuid import UUID

from pydantic import ValidationError
from starlette.requests import Request

from lib import config, errors
from lib.auth import api_keys, signing
from lib.fields import emails
from lib.fields.models import Record
from lib.routes import CallerKind

CONTACT_TOKEN_LIFE = timedelta(days=30)

COOKIE = "sid"
"""The cookie that holds a user's token."""

ISSUER = "switchboard"
_OPERATOR = "operator"

Proof = Literal["asserted", "verified"]


@dataclass(frozen=True)
class Anonymous:
    """A caller without a token."""

    def claims(self) -> dict[str, str]:
        """JWT claims for the database."""
        return {"kind": "anonymous"}


@dataclass(frozen=True)
class Contact:
    """A contact with a contact token for one conversation in one workspace. ``token`` is the token as sent.

    The database refuses the token if its contact or its space revoked tokens after ``issued_at`` (seconds since 1970).
    """

    role: ClassVar[str] = "contact"
    """The database role that reads with the contact's own rights."""

    workspace_id: UUID
    contact_id: UUID
    conversation_id: UUID
    proof: Proof
    token: str = field(repr=False)
    space_id: UUID | None = None
    """The space that issued the token."""
    issued_at: float = 0
    token_claims: str = field(default="{}", repr=False, compare=False)
    """The verified claims of the token, as a JSON object."""
    expires_at: float = field(default=math.inf, repr=False, compare=False)
    """The time, in seconds since 1970, from which the token is refused."""

    def query_token(self) -> str:
        """The token with which PostgREST reads for the contact: the contact's own."""
        return self.token

    def claims(self) -> dict[str, Any]:
        """JWT claims for the database."""
        return {
            "kind": "contact",
            "contact_id": str(self.contact_id),
            "conversation_id": str(self.conversation_id),
            "proof": self.proof,
            "iat": self.issued_at,
        } | ({"space_id": str(self.space_id)} if self.space_id else {})


@dataclass(frozen=True)
class User:
    """A user signed in through Supabase Auth, possibly anonymously. ``token`` is the token as sent."""

    role: ClassVar[str] = "authenticated"
    """The database role that reads with the user's own rights."""

    user_id: UUID
    email: str | None
    token: str = field(repr=False)
    operator: bool = False
    """Whether the user operates this instance: `"switchboard_role": "operator"` in app_metadata, which only the
    project's owner can write. user_metadata, which users write themselves, is never read."""
    token_claims: str = field(default="{}", repr=False, compare=False)
    """The verified claims of the token, as a JSON object."""
    expires_at: float = field(default=math.inf, repr=False, compare=False)
    """The time, in seconds since 1970, from which the token is refused."""

    def query_token(self) -> str:
        """The token with which PostgREST reads for the user: the user's own."""
        return self.token

    def claims(self) -> dict[str, str]:
        """JWT claims for the database, with the email's key, under which the database looks for the confirmed email."""
        claims = {"kind": "user", "user_id": str(self.user_id)}
        if self.operator:
            claims["switchboard_role"] = _OPERATOR
        if self.email is not None:
            with contextlib.suppress(ValueError):
                claims |= {"email": self.email, "email_key": emails.parse(self.email).key}
        return claims


@dataclass(frozen=True)
class ApiKey(User):
    """A machine with an API key, which has the rights of a member of the key's workspace: ``user_id`` is the key's id.

    Only the database knows whether the key is valid: it checks ``key_hash`` in the transaction of each command and
    query.
    """

    key_hash: str = field(default="", repr=False)

    def query_token(self) -> str:
        """A token of at most one minute that names the key."""
        return api_keys.query_token(self.token_claims, int(time.time() // api_keys.SIGNED_EVERY_SECONDS))

    def claims(self) -> dict[str, str]:
        """JWT claims for the database."""
        return {"kind": "key", "user_id": str(self.user_id), "key_hash": self.key_hash}


@dataclass(frozen=True)
class System:
    """The functions themselves: a schedule, a job, or a delivery with a valid secret."""

    def claims(self) -> dict[str, str]:
        """JWT claims for the database."""
        return {"kind": "system"}


Caller = Anonymous | Contact | User | System

_CLASSES: Mapping[CallerKind, tuple[type[Caller], ...]] = {
    "anyone": (Anonymous, Contact, User),
    "contact": (Contact,),
    "user": (User,),
    "provider": (),
    "cron": (System,),
}


@dataclass(frozen=True)
class Scope:
    """What a command may reach: a space, a workspace (optionally at a space), the system, or the workspaces that the
    caller manages."""

    workspace_id: UUID | None = None
    space_id: UUID | None = None
    system: bool = False
    management: bool = False

    @classmethod
    def at_space(cls, caller: Caller, space_id: UUID) -> "Scope":
        """The scope of a caller at a space: a contact's workspace is known, another caller's is the space's."""
        workspace_id = caller.workspace_id if isinstance(caller, Contact) else None
        return cls(workspace_id=workspace_id, space_id=space_id)

    @classmethod
    def of_caller(cls, caller: "Contact | User") -> "Scope":
        """The scope of a caller that names the object of its command: the database finds the workspace and checks the
        rights."""
        return cls(workspace_id=caller.workspace_id if isinstance(caller, Contact) else None)

    def claims(self) -> dict[str, Any]:
        """JWT claims for the database."""
        if self.system:
            return {"system": True}
        if self.management:
            return {"management": True}
        ids = {"workspace_id": self.workspace_id, "space_id": self.space_id}
        return {name: str(value) for name, value in ids.items() if value is not None}


SYSTEM_SCOPE = Scope(system=True)


class _ContactClaims(Record):
    role: Literal["contact"]
    workspace_id: UUID
    contact_id: UUID
    conversation_id: UUID
    proof: Proof
    space_id: UUID | None = None
    iat: float = 0


class _UserClaims(Record):
    role: Literal["authenticated"]
    sub: UUID
    email: str | None = None
    app_metadata: Any = None


@dataclass(frozen=True)
class SignedToken:
    """A signed token and its expiry."""

    token: str = field(repr=False)
    expires_at: datetime


async def caller_of(request: Request) -> Caller:
    """The request's caller: Anonymous without an Authorization header.

    Raises TokenInvalid or TokenExpired for an invalid bearer token, BackendUnavailable if the keys of Supabase Auth
    cannot be fetched.
    """
    known: Caller | None = getattr(request.state, "caller", None)
    if known is None:
        header = request.headers.get("authorization")
        known = Anonymous() if header is None else await identify(_bearer(header))
        request.state.caller = known
    return known


async def require(request: Request, kinds: Collection[CallerKind]) -> Caller:
    """The caller, who is of one of these kinds; anyone may have a token too.

    Raises SecretInvalid if only the cron secret is accepted, as caller_of otherwise, TokenMissing without a token, and
    Forbidden for a caller of another kind.
    """
    if "cron" in kinds and _shows_cron_secret(request):
        return System()
    if set(kinds) == {"cron"}:
        raise errors.SecretInvalid()
    caller = await caller_of(request)
    if isinstance(caller, tuple(classes_of(kinds))):
        return caller
    raise errors.TokenMissing() if isinstance(caller, Anonymous) else errors.Forbidden()


def classes_of(kinds: Collection[CallerKind]) -> set[type[Caller]]:
    """The callers of these kinds."""
    return {caller for kind in kinds for caller in _CLASSES[kind]}


def _shows_cron_secret(request: Request) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    expected = config.settings().cron_secret.get_secret_value()
    return scheme.lower() == "bearer" and same_secret(given.strip(), expected)


def same_secret(given: str, expected: str) -> bool:
    """Compare two secrets in constant time."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode("utf-8", "replace"))


async def identify(token: str) -> Contact | User:
    """The contact or user of a bearer token. Raises as caller_of."""
    if api_keys.is_key(token):
        return _api_key(token)
    from lib.auth import tokens  # noqa: PLC0415 (brings cryptography along; see lib/auth/tokens.py)

    unverified = tokens.decode_unverified(token)
    if unverified.issuer == ISSUER:
        claims = tokens.verify_ours(unverified, audience=Contact.role, issuer=ISSUER)
    else:
        claims = await tokens.verify_supabase(unverified, audience=User.role)
    return of_claims(claims, token)


def of_claims(claims: dict[str, Any], token: str) -> Contact | User:
    """The contact or user with these verified claims. Raises TokenInvalid if some are missing."""
    from lib.auth import tokens  # noqa: PLC0415 (as above)

    text, expires_at = json.dumps(claims), tokens.end_of(claims)
    try:
        if claims.get("aud") == Contact.role:
            contact = _ContactClaims.model_validate(claims)
            return Contact(
                workspace_id=contact.workspace_id,
                contact_id=contact.contact_id,
                conversation_id=contact.conversation_id,
                proof=contact.proof,
                token=token,
                space_id=contact.space_id,
                issued_at=contact.iat,
                token_claims=text,
                expires_at=expires_at,
            )
        user = _UserClaims.model_validate(claims)
    except ValidationError:
        raise errors.TokenInvalid() from None
    known = user.app_metadata if isinstance(user.app_metadata, dict) else {}
    return User(
        user_id=user.sub,
        email=user.email or None,
        token=token,
        operator=known.get("switchboard_role") == _OPERATOR,
        token_claims=text,
        expires_at=expires_at,
    )


def _api_key(token: str) -> ApiKey:
    key_id, key_hash = api_keys.read(token)
    return of_key_claims({"role": ApiKey.role, "sub": str(key_id), "key_hash": key_hash}, token)


def of_key_claims(claims: dict[str, Any], token: str) -> ApiKey:
    """The API key with these claims."""
    key_id, key_hash = UUID(claims["sub"]), str(claims["key_hash"])
    return ApiKey(user_id=key_id, email=None, token=token, token_claims=json.dumps(claims), key_hash=key_hash)


async def of_cookie(request: Request) -> User | None:
    """The user whose token is in the cookie `sid`; None without one.

    A browser sends the cookie with requests of other sites' pages too: except for GET, which changes nothing, the
    request must be JSON and come from a page of this origin, or from no browser. Raises Forbidden otherwise, and as
    caller_of.
    """
    if not (token := request.cookies.get(COOKIE)):
        return None
    if request.method != "GET" and not _is_of_own_page(request):
        raise errors.Forbidden()
    user = await identify(token)
    if not isinstance(user, User) or isinstance(user, ApiKey):
        raise errors.TokenInvalid()
    return user


def _is_of_own_page(request: Request) -> bool:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return False
    if (site := request.headers.get("sec-fetch-site")) is not None:
        return site == "same-origin"
    origin = request.headers.get("origin")
    return origin is None or origin.rpartition("://")[2] == request.headers.get("host")


def contact_token(
    workspace_id: UUID, contact_id: UUID, conversation_id: UUID, proof: Proof, space_id: UUID, issued_at: datetime
) -> SignedToken:
    """A token for one conversation of a contact, valid for 30 days unless it is revoked; PostgREST accepts it too.

    ``issued_at`` is the database's time at the begin of the transaction that let the contact in, to the microsecond: a
    revocation ends exactly the tokens of transactions that began before it, whatever this host's clock shows.
    """
    expires_at = issued_at.astimezone(UTC).replace(microsecond=0) + CONTACT_TOKEN_LIFE
    claims = {
        "iss": ISSUER,
        "aud": "contact",
        "role": "contact",
        "sub": str(contact_id),
        "workspace_id": str(workspace_id),
        "contact_id": str(contact_id),
        "conversation_id": str(conversation_id),
        "proof": proof,
        "space_id": str(space_id),
        "iat": issued_at.timestamp(),
        "exp": int(expires_at.timestamp()),
    }
    return SignedToken(token=signing.sign(claims), expires_at=expires_at)


@functools.lru_cache(maxsize=1_024)
def switchboard_claims(caller: Caller, scope: Scope) -> str:
    """The claims, as JSON, with which a command acts for this caller, within this scope."""
    return json.dumps({"role": "switchboard", "scope": scope.claims(), "caller": caller.claims()})


def own_claims(caller: Contact | User) -> str:
    """The claims, as JSON, of the token that the caller showed. Raises TokenExpired once it is no longer accepted."""
    if caller.expires_at <= time.time():
        raise errors.TokenExpired()
    return caller.token_claims


def _bearer(header: str) -> str:
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise errors.TokenInvalid()
    return token.strip()
