"""The claims of identity tokens. The signature, and the contact that a token leads to, are tests/database's."""

import base64
import json
import time
from typing import Any
from uuid import UUID

import jwt
import pytest

from lib import errors
from lib.auth import identity_tokens
from lib.fields import identities

SPACE, ANOTHER, SECRET = UUID(int=3), str(UUID(int=4)), "the secret of a space, of enough length"
NOW = 1_800_000_000


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A standing clock."""
    monkeypatch.setattr(time, "time", lambda: NOW)


def made(header: object | None = None, **claims: Any) -> str:
    """A token, valid unless its claims or its header are not; a claim of None is left out."""
    given = {name: value for name, value in ({"sub": "4711", "exp": NOW + 300} | claims).items() if value is not None}
    good = jwt.encode(given, SECRET, algorithm="HS256")
    return good if header is None else ".".join([spelled(header), *good.split(".")[1:]])


def spelled(value: object) -> str:
    """A part of a token: an object as JSON, or a text as it is."""
    content = value if isinstance(value, str) else json.dumps(value)
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


GOOD = made(exp=4_000_000_000)
HEAD, BODY, SIGNATURE = GOOD.split(".")
HEADERS: tuple[object, ...] = (
    {"alg": "none"}, {"alg": "None"}, {"alg": "hs256"}, {"alg": "HS384"}, {"alg": "HS512"}, {"alg": "RS256"},
    {"alg": ["HS256"]}, {"alg": None}, {}, [], "{", {"alg": "HS256", "crit": ["exp"]},
    {"alg": "HS256", "b64": False, "crit": ["b64"]},
)  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "token"),
    [
        ("malformed", token) for token in (
            "", "x", "a.b", f"{HEAD}.{BODY}", f"{HEAD}.{BODY}.", f"{GOOD}.{SIGNATURE}", f" {GOOD}", f"{GOOD}\n",
            f"{GOOD}=", f"{HEAD}.{BODY}.é", f"{HEAD}.{BODY}.A", f"{HEAD}.{spelled('[]')}.{SIGNATURE}",
            f"{HEAD}.{spelled('{')}.{SIGNATURE}", f"{HEAD}.{spelled('[' * 2_000)}.{SIGNATURE}",
            *(f"{HEAD}.{spelled(claims)}.{SIGNATURE}" for claims in ('{"exp": NaN}', '{"exp": 1e999}')),
            # The last character of a signature has two unused bits.
            f"{HEAD}.{BODY}.{'A' * 42}B",
        )
    ] + [
        ("algorithm", made(header)) for header in HEADERS
    ] + [
        ("expiry", made(exp=exp)) for exp in (None, NOW + 3_661, 4_000_000_000, 10**30)
    ] + [
        ("times", made(**{name: value})) for name in ("exp", "iat", "nbf") for value in ("soon", str(NOW), True, [NOW])
    ] + [
        ("early", made(**{name: NOW + 61})) for name in ("iat", "nbf")
    ] + [
        ("audience", made(aud=aud)) for aud in (ANOTHER, "", [], [ANOTHER], f"{SPACE} ", {str(SPACE): 1}, 7)
    ] + [
        ("subject", made(sub=sub)) for sub in (
            4711, True, ["4711"], "", " ", " 4711", "47\u200b11", "e\u0301", "a\nb", "\ud83d", "x" * 397,
        )
    ] + [
        ("email", made(email=email)) for email in (7, "", "nobody", "a@b@c.example", "x" * 400 + "@example.com", ["a"])
    ] + [
        *(("email_unverified", made(email="ana@example.com", email_verified=no)) for no in (False, "false", 0, "")),
        ("names_no_person", made(sub=None)),
    ],
)  # fmt: skip
def test_a_bad_token_is_refused_with_its_fault(fault: str, token: str) -> None:
    with pytest.raises(errors.Refused) as refused:
        identity_tokens.read(token, SPACE)
    expected = errors.IDENTITY_TOKEN_FAULTS[fault]
    assert (refused.value.status, refused.value.code, refused.value.detail) == (401, "identity_token_invalid", expected)


def test_a_token_is_accepted_for_an_hour_at_most_by_clocks_that_differ_by_a_minute() -> None:
    for claims in ({"exp": NOW + 3_660}, {"exp": NOW - 59}, {"exp": NOW + 0.5}, {"iat": NOW + 60, "nbf": NOW + 60}):
        assert identity_tokens.read(made(**claims), SPACE).subject == "sub:4711"
    with pytest.raises(errors.Refused) as refused:
        identity_tokens.read(made(exp=NOW - 60), SPACE)
    assert (refused.value.status, refused.value.code) == (401, "identity_token_expired")


@pytest.mark.parametrize(
    ("claims", "subject", "email_key"),
    [
        ({}, "sub:4711", None),
        ({"sub": None, "email": " Ana@Example.com"}, None, "ana@example.com"),
        ({"email": "Ana@Example.com", "email_verified": True, "name": "Ana"}, "sub:4711", "ana@example.com"),
        # A user of Supabase Auth, or a contact of the workspace's other systems, is no subject of a token.
        ({"sub": f"auth:{SPACE}"}, f"sub:auth:{SPACE}", None),
        ({"sub": "auth0|Ünal", "aud": ["shop", str(SPACE)], "iss": "https://shop.example"}, "sub:auth0|Ünal", None),
        ({"sub": "x" * 396, "aud": str(SPACE)}, "sub:" + "x" * 396, None),
    ],
)
def test_a_token_names_a_subject_an_email_or_both(
    claims: dict[str, Any], subject: str | None, email_key: str | None
) -> None:
    token = made(**claims)
    read = identity_tokens.read(token, SPACE)
    assert (read.subject, read.email.key if read.email else None) == (subject, email_key)
    assert token == f"{read.signed}.{base64.urlsafe_b64encode(bytes.fromhex(read.signature)).decode().rstrip('=')}"
    if subject is not None:
        assert identities.of("external", subject).key == subject
