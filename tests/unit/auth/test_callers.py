import base64
import contextlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import jwt
import pytest
import pytest_asyncio
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.requests import Request

from lib import errors
from lib.auth import callers, jwks
from tests.unit.conftest import CRON_SECRET, JWT_SECRET, SUPABASE_URL, Configure

WORKSPACE, CONTACT, CONVERSATION, USER, SPACE = (uuid4() for _ in range(5))
ISSUER = f"{SUPABASE_URL}/auth/v1"


def request(authorization: str | None) -> Request:
    headers = [] if authorization is None else [(b"authorization", authorization.encode("latin-1"))]
    return Request({"type": "http", "headers": headers})


def contact_claims(**changes: Any) -> dict[str, Any]:
    claims = {
        "iss": "switchboard",
        "aud": "contact",
        "role": "contact",
        "sub": str(CONTACT),
        "workspace_id": str(WORKSPACE),
        "contact_id": str(CONTACT),
        "conversation_id": str(CONVERSATION),
        "proof": "asserted",
        "exp": int(time.time()) + 60,
    }
    return {name: value for name, value in (claims | changes).items() if value is not None}


def user_claims(**changes: Any) -> dict[str, Any]:
    claims = {
        "iss": ISSUER,
        "aud": "authenticated",
        "role": "authenticated",
        "sub": str(USER),
        "email": "Ana@Example.com",
        "exp": int(time.time()) + 60,
    }
    return {name: value for name, value in (claims | changes).items() if value is not None}


def hs256(claims: dict[str, Any], secret: str = JWT_SECRET) -> str:
    return jwt.encode(claims, secret, algorithm="HS256")


def private_key(key_id: str = "ours") -> tuple[ec.EllipticCurvePrivateKey, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    return key, json.dumps(jwt.algorithms.ECAlgorithm.to_jwk(key, as_dict=True) | {"kid": key_id})


def signed_with_what_everybody_knows(key: ec.EllipticCurvePrivateKey) -> str:
    """The old trick: HS256 with the public key's text as the secret, which PyJWT itself refuses to make."""
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head, body, _ = hs256(contact_claims()).split(".")
    signature = hmac.digest(public, f"{head}.{body}".encode(), "sha256")
    return f"{head}.{body}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


async def test_without_a_header_nobody_is_calling() -> None:
    assert await callers.caller_of(request(None)) == callers.Anonymous()
    with pytest.raises(errors.TokenMissing):
        await callers.require_reader(request(None))


async def test_our_contact_token_is_recognised() -> None:
    signed = callers.contact_token(WORKSPACE, CONTACT, CONVERSATION, "verified")
    caller = await callers.caller_of(request(f"bearer {signed.token}"))
    assert caller == callers.Contact(WORKSPACE, CONTACT, CONVERSATION, "verified", signed.token)
    assert signed.token not in repr(caller)
    assert signed.token not in repr(signed)


def test_a_contact_token_says_what_the_database_reads() -> None:
    signed = callers.contact_token(WORKSPACE, CONTACT, CONVERSATION, "asserted")
    claims = jwt.decode(signed.token, JWT_SECRET, algorithms=["HS256"], audience="contact")
    assert claims["role"] == "contact"
    assert claims["exp"] - claims["iat"] == 30 * 24 * 3600
    assert claims["exp"] == signed.expires_at.timestamp()
    assert (claims["workspace_id"], claims["conversation_id"]) == (str(WORKSPACE), str(CONVERSATION))


async def test_a_users_token_is_recognised() -> None:
    token = hs256(user_claims())
    assert await callers.require_reader(request(f"Bearer {token}")) == callers.User(USER, "Ana@Example.com", token)


def test_the_database_learns_the_key_of_a_users_email() -> None:
    claims = callers.User(USER, "Ana@Example.com", "t").claims()
    assert claims["email_key"] == "ana@example.com"
    assert callers.User(USER, None, "t").claims() == {"kind": "user", "user_id": str(USER)}
    assert callers.User(USER, "no address", "t").claims() == {"kind": "user", "user_id": str(USER)}


@pytest.mark.parametrize("claims", [contact_claims, user_claims])
@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "switchboard"},
        {"aud": None},
        {"role": "switchboard"},
        {"role": "service_role"},
        {"role": "anon"},
        {"sub": None},
        {"exp": None},
        {"exp": "soon"},
        {"nbf": int(time.time()) + 3600},
        {"iss": "https://elsewhere.example/auth/v1"},
    ],
)
async def test_a_token_for_something_else_is_refused(claims: Any, changes: dict[str, Any]) -> None:
    with pytest.raises(errors.TokenInvalid):
        await callers.identify(hs256(claims(**changes)))


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "authenticated"},
        {"iss": ISSUER},
        {"proof": "certain"},
        {"proof": None},
        {"contact_id": "1"},
        {"workspace_id": None},
        {"conversation_id": None},
    ],
)
async def test_a_contact_token_must_be_whole(changes: dict[str, Any]) -> None:
    with pytest.raises(errors.TokenInvalid):
        await callers.identify(hs256(contact_claims(**changes)))


@pytest.mark.parametrize(
    ("said", "operator"),
    [
        ({"app_metadata": {"switchboard_role": "operator"}}, True),
        ({"app_metadata": {"switchboard_role": "Operator"}}, False),
        ({"app_metadata": {"switchboard_role": ["operator"]}}, False),
        ({"app_metadata": ["switchboard_role", "operator"]}, False),
        ({"app_metadata": "operator"}, False),
        ({"user_metadata": {"switchboard_role": "operator"}}, False),
        ({"switchboard_role": "operator"}, False),
        ({}, False),
    ],
)
async def test_only_the_app_metadata_makes_an_operator(said: dict[str, Any], operator: bool) -> None:
    user = await callers.require_user(request(f"Bearer {hs256(user_claims(**said))}"))
    assert user.operator is operator
    assert user.claims().get("switchboard_role") == ("operator" if operator else None)


async def test_what_users_do_is_nothing_for_contacts_and_strangers() -> None:
    with pytest.raises(errors.Forbidden):
        await callers.require_user(request(f"Bearer {hs256(contact_claims())}"))
    with pytest.raises(errors.TokenMissing):
        await callers.require_user(request(None))


def test_a_scope_for_managing_opens_no_space_and_no_workspace() -> None:
    assert callers.Scope(management=True).claims() == {"management": True}


async def test_a_user_cannot_pass_for_a_contact_nor_a_contact_for_a_user() -> None:
    with pytest.raises(errors.TokenInvalid):
        await callers.identify(hs256(user_claims() | {"iss": "switchboard"}))
    with pytest.raises(errors.TokenInvalid):
        await callers.identify(hs256(contact_claims() | {"iss": ISSUER, "aud": "authenticated"}))


@pytest.mark.parametrize("claims", [contact_claims, user_claims])
async def test_an_expired_token_is_told_apart_from_a_forged_one(claims: Any) -> None:
    with pytest.raises(errors.TokenExpired):
        await callers.identify(hs256(claims(exp=int(time.time()) - 60)))
    with pytest.raises(errors.TokenInvalid):
        await callers.identify(hs256(claims(exp=int(time.time()) - 60), secret="another-secret-of-enough-length!"))
    assert await callers.identify(hs256(claims(exp=int(time.time()) - 2))), "clocks may differ by a few seconds"


@pytest.mark.parametrize("claims", [contact_claims, user_claims])
async def test_a_token_that_was_good_expires_all_the_same(claims: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    token = hs256(claims())
    assert await callers.identify(token) == await callers.identify(token)
    later = time.time() + 71
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(errors.TokenExpired):
        await callers.identify(token)


@pytest.mark.parametrize("claims", [contact_claims, user_claims])
async def test_a_token_that_was_good_is_refused_once_its_key_is_changed(claims: Any, configure: Configure) -> None:
    token = hs256(claims())
    assert await callers.identify(token)
    configure(SUPABASE_JWT_SECRET="another-secret-of-enough-length!")
    with pytest.raises(errors.TokenInvalid):
        await callers.identify(token)


@pytest.mark.parametrize("claims", [contact_claims, user_claims])
async def test_a_token_must_be_signed_with_the_right_key(claims: Any) -> None:
    with pytest.raises(errors.TokenInvalid):
        await callers.identify(hs256(claims(), secret="another-secret-of-enough-length!"))
    with pytest.raises(errors.TokenInvalid):
        await callers.identify(jwt.encode(claims(), "", algorithm="none"))
    token = hs256(claims())
    head, body, signature = token.split(".")
    for forged in (f"{head}.{body}.", f"{head}.{body}", f"{head}.{body}x.{signature}", token[:-4] + "AAAA"):
        with pytest.raises(errors.TokenInvalid):
            await callers.identify(forged)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic dXNlcjpwYXNz",
        "Bearer x",
        "Bearer a.b.c",
        "Bearer " + "x" * 9000,
        "Bearer sb_publishable_1",
        "Bearer ä.ä.ä",
        "Token abc",
        "Bearer eyJhbGciOiJIUzI1NiJ9.bnVsbA.x",
    ],
)
async def test_whatever_else_stands_in_the_header_is_no_token(header: str) -> None:
    with pytest.raises(errors.TokenInvalid):
        await callers.caller_of(request(header))


@pytest.mark.parametrize("extra", ["é", "!", " ", "=", "\x00"])
@pytest.mark.parametrize("claims", [contact_claims, user_claims])
async def test_a_good_token_with_something_in_it_is_no_token(claims: Any, extra: str) -> None:
    good = hs256(claims())
    assert await callers.identify(good)
    with pytest.raises(errors.TokenInvalid):
        await callers.identify(f"{good[:-4]}{extra}{good[-4:]}")


async def test_with_a_signing_key_our_tokens_are_es256_and_the_old_ones_stay_good(configure: Configure) -> None:
    old = callers.contact_token(WORKSPACE, CONTACT, CONVERSATION, "asserted").token
    key, jwk = private_key("ours")
    configure(SWITCHBOARD_SIGNING_KEY=jwk)
    new = callers.contact_token(WORKSPACE, CONTACT, CONVERSATION, "asserted").token
    assert jwt.get_unverified_header(new) == {"alg": "ES256", "typ": "JWT", "kid": "ours"}
    assert jwt.decode(new, key.public_key(), algorithms=["ES256"], audience="contact")["sub"] == str(CONTACT)
    for token in (old, new):
        assert isinstance(await callers.identify(token), callers.Contact)
    foreign, _ = private_key()
    with pytest.raises(errors.TokenInvalid):
        await callers.identify(jwt.encode(contact_claims(), foreign, algorithm="ES256"))
    with pytest.raises(errors.TokenInvalid):
        await callers.identify(signed_with_what_everybody_knows(key))


CONTACT_CALLER = callers.Contact(WORKSPACE, CONTACT, CONVERSATION, "verified", "t")
USER_CALLER = callers.User(USER, None, "t")


@pytest.mark.parametrize(
    ("caller", "scope", "claims"),
    [
        (
            CONTACT_CALLER,
            callers.Scope.at_space(CONTACT_CALLER, SPACE),
            {"workspace_id": str(WORKSPACE), "space_id": str(SPACE)},
        ),
        (callers.Anonymous(), callers.Scope.at_space(callers.Anonymous(), SPACE), {"space_id": str(SPACE)}),
        (USER_CALLER, callers.Scope.at_space(USER_CALLER, SPACE), {"space_id": str(SPACE)}),
        (callers.System(), callers.SYSTEM_SCOPE, {"system": True}),
        (callers.System(), callers.Scope(workspace_id=WORKSPACE), {"workspace_id": str(WORKSPACE)}),
    ],
)
def test_a_function_acts_for_a_caller_within_its_scope(
    caller: callers.Caller, scope: callers.Scope, claims: dict[str, Any]
) -> None:
    told = json.loads(callers.switchboard_claims(caller, scope))
    assert told == {"role": "switchboard", "scope": claims, "caller": caller.claims()}


@pytest.mark.parametrize("claims", [contact_claims, user_claims])
async def test_a_caller_reads_with_the_verified_claims_until_the_token_ends(
    claims: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = claims(iat=1, app_metadata={"custom": [1]})
    caller = await callers.identify(hs256(given))
    assert json.loads(callers.own_claims(caller)) == given
    assert caller.role == given["role"]
    for seconds, expired in ((9, False), (11, True)):
        monkeypatch.setattr("lib.auth.callers.time.time", lambda now=given["exp"] + seconds: now)
        with pytest.raises(errors.TokenExpired) if expired else contextlib.nullcontext():
            callers.own_claims(caller)


def test_the_schedules_come_in_with_their_secret() -> None:
    assert callers.require_cron(request(f"Bearer {CRON_SECRET}")) == callers.System()


@pytest.mark.parametrize(
    "header", [None, "", CRON_SECRET, f"Basic {CRON_SECRET}", "Bearer ", f"Bearer {CRON_SECRET}x", "Bearer \xe4"]
)
def test_nobody_else_comes_in_by_that_door(header: str | None) -> None:
    with pytest.raises(errors.SecretInvalid):
        callers.require_cron(request(header))


class Keys:
    """A project's published keys, and how often they were asked for."""

    def __init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.rsa = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.asked = 0
        self.status = 200

    def document(self) -> dict[str, Any]:
        first = jwt.algorithms.ECAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        second = jwt.algorithms.RSAAlgorithm.to_jwk(self.rsa.public_key(), as_dict=True)
        return {
            "keys": [
                {**first, "kid": "es", "use": "sig", "alg": "ES256"},
                {**second, "kid": "rs", "use": "sig", "alg": "RS256"},
            ]
        }

    async def answer(self, _: web.Request) -> web.Response:
        self.asked += 1
        return web.json_response(self.document(), status=self.status)


@pytest_asyncio.fixture
async def keys(configure: Configure) -> AsyncIterator[Keys]:
    """A project that publishes an ES256 and an RS256 key."""
    published = Keys()
    application = web.Application()
    application.router.add_get("/auth/v1/.well-known/jwks.json", published.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    configure(SUPABASE_URL=f"http://127.0.0.1:{runner.addresses[0][1]}")
    jwks._client.cache_clear()
    yield published
    await runner.cleanup()


def asymmetric(key: Any, algorithm: str, key_id: str | None, **changes: Any) -> str:
    claims = user_claims(iss=None, **changes)
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": key_id} if key_id else None)


async def test_a_published_key_verifies_and_is_fetched_once(keys: Keys) -> None:
    for _ in range(3):
        assert isinstance(await callers.identify(asymmetric(keys.private, "ES256", "es")), callers.User)
    assert isinstance(await callers.identify(asymmetric(keys.rsa, "RS256", "rs")), callers.User)
    assert keys.asked == 1


async def test_an_unknown_key_id_is_refused_without_asking_again_and_again(keys: Keys) -> None:
    foreign = ec.generate_private_key(ec.SECP256R1())
    for attempt in range(5):
        with pytest.raises(errors.TokenInvalid):
            await callers.identify(asymmetric(foreign, "ES256", f"unknown-{attempt}"))
    assert keys.asked <= 2


async def test_a_foreign_signature_under_a_published_id_is_refused(keys: Keys) -> None:
    foreign = ec.generate_private_key(ec.SECP256R1())
    for token in (
        asymmetric(foreign, "ES256", "es"),
        asymmetric(keys.rsa, "RS256", "es"),
        asymmetric(foreign, "ES256", None),
    ):
        with pytest.raises(errors.TokenInvalid):
            await callers.identify(token)


async def test_when_the_keys_cannot_be_fetched_it_is_not_the_callers_fault(keys: Keys) -> None:
    keys.status = 503
    with pytest.raises(errors.BackendUnavailable):
        await callers.identify(asymmetric(keys.private, "ES256", "es"))
    keys.status = 200
    assert isinstance(await callers.identify(asymmetric(keys.private, "ES256", "es")), callers.User)
