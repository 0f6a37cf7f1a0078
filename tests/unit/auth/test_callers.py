import base64
import contextlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from uuid import uuid4

import jwt
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.requests import Request

from lib import errors
from lib.auth import callers, jwks
from tests.unit.auth.test_signing import private_key
from tests.unit.conftest import JWT_SECRET, SUPABASE_URL, Configure

WORKSPACE, CONTACT, CONVERSATION, USER, SPACE = (uuid4() for _ in range(5))
IDS, ISSUED = (WORKSPACE, CONTACT, CONVERSATION), datetime.now().astimezone()
ISSUER = f"{SUPABASE_URL}/auth/v1"
OTHER_SECRET = "another-secret-of-enough-length!"


def request(authorization: str | None) -> Request:
    headers = [] if authorization is None else [(b"authorization", authorization.encode("latin-1"))]
    return Request({"type": "http", "headers": headers})


def claims_of(given: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    changed = {"exp": int(time.time()) + 60} | given | changes
    return {name: value for name, value in changed.items() if value is not None}


def contact_claims(**changes: Any) -> dict[str, Any]:
    ids = {"workspace_id": str(WORKSPACE), "contact_id": str(CONTACT), "conversation_id": str(CONVERSATION)}
    ours = {"iss": "switchboard", "aud": "contact", "role": "contact", "sub": str(CONTACT), "proof": "asserted"}
    return claims_of(ours | ids, changes)


def user_claims(**changes: Any) -> dict[str, Any]:
    names = {"iss": ISSUER, "aud": "authenticated", "role": "authenticated"}
    return claims_of(names | {"sub": str(USER), "email": "Ana@Example.com"}, changes)


def contact_token() -> callers.SignedToken:
    return callers.contact_token(*IDS, "verified", SPACE, ISSUED)


both = pytest.mark.parametrize("claims", [contact_claims, user_claims])


async def assert_refused(*tokens: str, error: type[errors.Problem] = errors.TokenInvalid) -> None:
    """None of these tokens is accepted."""
    for token in tokens:
        with pytest.raises(error):
            await callers.identify(token)


def hs256(claims: dict[str, Any], secret: str = JWT_SECRET) -> str:
    return jwt.encode(claims, secret, algorithm="HS256")


def signed_with_the_public_key(key: ec.EllipticCurvePrivateKey) -> str:
    """The old trick: HS256 with the public key's text as the secret, which PyJWT itself refuses to make."""
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head, body, _ = hs256(contact_claims()).split(".")
    signature = hmac.digest(public, f"{head}.{body}".encode(), "sha256")
    return f"{head}.{body}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


async def test_our_contact_token_is_recognised_and_not_shown() -> None:
    signed = contact_token()
    caller = await callers.caller_of(request(f"bearer {signed.token}"))
    assert isinstance(caller, callers.Contact)
    assert caller == callers.Contact(*IDS, "verified", signed.token, SPACE, ISSUED.timestamp())
    assert signed.token not in f"{caller!r} {signed!r}"
    # The database compares to the microsecond.
    assert (caller.claims()["iat"], caller.claims()["space_id"]) == (float(f"{ISSUED:%s.%f}"), str(SPACE))


def test_the_database_learns_the_key_of_a_users_email() -> None:
    claims = callers.User(USER, "Ana@Example.com", "t").claims()
    assert claims["email_key"] == "ana@example.com"
    assert callers.User(USER, None, "t").claims() == {"kind": "user", "user_id": str(USER)}
    assert callers.User(USER, "no address", "t").claims() == {"kind": "user", "user_id": str(USER)}


@pytest.mark.parametrize(
    ("claims", "changes"),
    [
        *((claims, changes) for claims in (contact_claims, user_claims) for changes in (
            {"aud": "switchboard"}, {"aud": None}, {"role": "switchboard"}, {"role": "service_role"}, {"role": "anon"},
            {"sub": None}, {"exp": None}, {"exp": "soon"}, {"nbf": 4_000_000_000},
            {"iss": "https://elsewhere.example/auth/v1"},
        )),
        *((contact_claims, {name: None}) for name in ("proof", "workspace_id", "conversation_id")),
        (contact_claims, {"proof": "certain"}), (contact_claims, {"contact_id": "1"}),
        # A contact cannot pass for a user, nor a user for a contact.
        (contact_claims, {"aud": "authenticated"}), (contact_claims, {"iss": ISSUER}),
        (contact_claims, {"iss": ISSUER, "aud": "authenticated"}), (user_claims, {"iss": "switchboard"}),
    ],
)  # fmt: skip
async def test_a_token_for_another_use_or_without_its_claims_is_refused(claims: Any, changes: dict[str, Any]) -> None:
    await assert_refused(hs256(claims(**changes)))


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
    user = await callers.require(request(f"Bearer {hs256(user_claims(**said))}"), {"user"})
    assert isinstance(user, callers.User)
    assert user.operator is operator
    assert user.claims().get("switchboard_role") == ("operator" if operator else None)


@both
async def test_an_expired_token_is_told_apart_from_a_forged_one(claims: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = int(time.time())
    await assert_refused(hs256(claims(exp=now - 60)), error=errors.TokenExpired)
    await assert_refused(hs256(claims(exp=now - 60), secret=OTHER_SECRET))
    assert await callers.identify(hs256(claims(exp=now - 2))), "clocks may differ by a few seconds"
    accepted = hs256(claims(exp=now + 60))
    assert await callers.identify(accepted) == await callers.identify(accepted)
    monkeypatch.setattr(time, "time", lambda: now + 71)
    await assert_refused(accepted, error=errors.TokenExpired)


@both
async def test_a_token_must_be_signed_with_the_key_and_nothing_may_be_added(claims: Any, configure: Configure) -> None:
    good = hs256(claims())
    assert await callers.identify(good)
    head, body, signature = good.split(".")
    await assert_refused(hs256(claims(), secret=OTHER_SECRET), jwt.encode(claims(), "", algorithm="none"))
    await assert_refused(f"{head}.{body}.", f"{head}.{body}", f"{head}.{body}x.{signature}", good[:-4] + "AAAA")
    await assert_refused(*(f"{good[:-4]}{extra}{good[-4:]}" for extra in "é! =\x00"))
    configure(SUPABASE_JWT_SECRET=OTHER_SECRET)
    await assert_refused(good)


@pytest.mark.parametrize(
    "header",
    [
        "", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "Bearer x", "Bearer a.b.c", "Bearer " + "x" * 9000,
        "Bearer sb_publishable_1", "Bearer ä.ä.ä", "Token abc", "Bearer eyJhbGciOiJIUzI1NiJ9.bnVsbA.x",
    ],
)  # fmt: skip
async def test_any_other_header_is_no_token(header: str) -> None:
    with pytest.raises(errors.TokenInvalid):
        await callers.caller_of(request(header))


async def test_the_newest_key_signs_and_each_key_of_the_ring_verifies_until_it_is_removed(configure: Configure) -> None:
    made = [contact_token().token]  # with the project's secret
    keys = [private_key(**members) for members in ({}, {"kid": "second"}, {"kid": "third"})]
    for count in range(1, 4):
        ring = [json.loads(jwk) for _, jwk in reversed(keys[:count])]
        older = [{name: value for name, value in jwk.items() if name != "d"} for jwk in ring[1:]]
        configure(SWITCHBOARD_SIGNING_KEY=json.dumps({"keys": [ring[0], *older]} if older else ring[0]))
        made.append(contact_token().token)
        public = keys[count - 1][0].public_key()
        assert jwt.decode(made[-1], public, algorithms=["ES256"], audience="contact")["sub"] == str(CONTACT)
        for token in made:
            assert isinstance(await callers.identify(token), callers.Contact)
    foreign, (key, jwk) = private_key()[0], keys[-1]
    forged = [jwt.encode(contact_claims(), foreign, "ES256", {"kid": name}) for name in ("third", "x", "")]
    await assert_refused(*forged, signed_with_the_public_key(key))
    configure(SWITCHBOARD_SIGNING_KEY=jwk)
    await assert_refused(made[1], made[2])
    assert await callers.identify(made[3])


CONTACT_CALLER = callers.Contact(WORKSPACE, CONTACT, CONVERSATION, "verified", "t")
USER_CALLER = callers.User(USER, None, "t")
at_space = callers.Scope.at_space


@pytest.mark.parametrize(
    ("caller", "scope", "claims"),
    [
        (CONTACT_CALLER, at_space(CONTACT_CALLER, SPACE), {"workspace_id": str(WORKSPACE), "space_id": str(SPACE)}),
        (callers.Anonymous(), at_space(callers.Anonymous(), SPACE), {"space_id": str(SPACE)}),
        (USER_CALLER, at_space(USER_CALLER, SPACE), {"space_id": str(SPACE)}),
        (USER_CALLER, callers.Scope(management=True), {"management": True}),
        (callers.System(), callers.SYSTEM_SCOPE, {"system": True}),
        (callers.System(), callers.Scope(workspace_id=WORKSPACE), {"workspace_id": str(WORKSPACE)}),
    ],
)
def test_a_function_acts_for_a_caller_within_its_scope(
    caller: callers.Caller, scope: callers.Scope, claims: dict[str, Any]
) -> None:
    told = json.loads(callers.switchboard_claims(caller, scope))
    assert told == {"role": "switchboard", "scope": claims, "caller": caller.claims()}


@both
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


class Keys:
    """A project that publishes an ES256 and an RS256 key, and how often it was asked for them."""

    def __init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.rsa = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.asked, self.status, self.empty = 0, 200, False

    async def answer(self, _: web.Request) -> web.Response:
        self.asked += 1
        first = jwt.algorithms.ECAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        second = jwt.algorithms.RSAAlgorithm.to_jwk(self.rsa.public_key(), as_dict=True)
        keys = [{**first, "kid": "es", "use": "sig", "alg": "ES256"}, {**second, "kid": "rs", "alg": "RS256"}]
        return web.json_response({"keys": [] if self.empty else keys}, status=self.status)


@pytest_asyncio.fixture
async def keys(configure: Configure) -> AsyncIterator[Keys]:
    """The project's keys, served."""
    published, application = Keys(), web.Application()
    application.router.add_get("/auth/v1/.well-known/jwks.json", published.answer)
    async with TestServer(application) as server:
        configure(SUPABASE_URL=f"http://127.0.0.1:{server.port}")
        jwks._client.cache_clear()
        jwks._empty_since.clear()
        yield published


def asymmetric(key: Any, algorithm: str, key_id: str | None) -> str:
    return jwt.encode(user_claims(iss=None), key, algorithm=algorithm, headers={"kid": key_id} if key_id else None)


async def test_a_published_key_verifies_and_is_fetched_once(keys: Keys) -> None:
    for token in [asymmetric(keys.private, "ES256", "es")] * 3 + [asymmetric(keys.rsa, "RS256", "rs")]:
        assert isinstance(await callers.identify(token), callers.User)
    assert keys.asked == 1


async def test_a_foreign_signature_is_refused_under_any_id_and_without_further_fetches(keys: Keys) -> None:
    foreign = ec.generate_private_key(ec.SECP256R1())
    await assert_refused(asymmetric(keys.rsa, "RS256", "es"))
    await assert_refused(*(asymmetric(foreign, "ES256", key_id) for key_id in ("es", None, "u1", "u2", "u3", "u4")))
    assert keys.asked <= 2


async def test_a_project_without_keys_is_asked_again_after_thirty_seconds(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys.empty, token = True, asymmetric(keys.private, "ES256", "es")
    await assert_refused(token, token)
    assert keys.asked == 1
    keys.empty = False
    monkeypatch.setattr(jwks, "EMPTY_SECONDS", 0.0)
    assert isinstance(await callers.identify(token), callers.User)


async def test_keys_that_cannot_be_fetched_are_not_the_callers_fault(keys: Keys) -> None:
    token = asymmetric(keys.private, "ES256", "es")
    keys.status = 503
    await assert_refused(token, error=errors.BackendUnavailable)
    keys.status = 200
    assert isinstance(await callers.identify(token), callers.User)


@pytest.mark.parametrize(
    ("method", "headers", "accepted"),
    [
        ("GET", {}, True),
        ("GET", {"sec-fetch-site": "cross-site"}, True),
        ("POST", {}, False),
        ("POST", {"content-type": "text/plain"}, False),
        *(("POST", {"content-type": "application/json"} | headers, accepted) for headers, accepted in (
            ({}, True),
            ({"sec-fetch-site": "same-origin"}, True),
            ({"sec-fetch-site": "same-site"}, False),
            ({"sec-fetch-site": "cross-site"}, False),
            ({"host": "chat.example", "origin": "https://chat.example"}, True),
            ({"host": "chat.example", "origin": "https://evil.example"}, False),
            ({"host": "chat.example", "origin": "null"}, False),
        )),
    ],
)  # fmt: skip
async def test_a_cookie_counts_for_a_change_only_from_a_page_of_this_origin(
    method: str, headers: dict[str, str], accepted: bool
) -> None:
    headers |= {"cookie": f"sid={hs256(user_claims())}"}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    sent = Request({"type": "http", "method": method, "headers": raw})
    if accepted:
        user = await callers.of_cookie(sent)
        assert user is not None
        assert user.user_id == USER
    else:
        with pytest.raises(errors.Forbidden):
            await callers.of_cookie(sent)
