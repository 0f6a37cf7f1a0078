"""The sign-in and the API keys of the local backend, with the stock clients and by hand."""

import json
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from supabase_auth.types import AdminUserAttributes, Session

from local.stack import Stack
from supabase import AsyncClient, AuthApiError, create_async_client

DEMO_EMAIL = "owner@demo.test"


async def client_for(stack: Stack) -> AsyncClient:
    """The stock Python client with the publishable key."""
    return await create_async_client(stack.api_url, stack.publishable_key)


async def signed_in(stack: Stack, email: str = DEMO_EMAIL) -> tuple[AsyncClient, Session]:
    """The client after a demo user has signed in."""
    client = await client_for(stack)
    answer = await client.auth.sign_in_with_password({"email": email, "password": stack.demo_password})
    assert answer.session is not None
    return client, answer.session


@contextmanager
def refused(status: int, code: str) -> Iterator[None]:
    """Supabase Auth's refusal."""
    with pytest.raises(AuthApiError) as refusal:
        yield
    assert (refusal.value.status, refusal.value.code) == (status, code)


async def test_the_access_token_has_supabase_auths_claims(stack: Stack) -> None:
    before = int(time.time())
    _, session = await signed_in(stack)
    issuer = f"{stack.api_url}/auth/v1"
    claims = jwt.decode(session.access_token, stack.jwt_secret, ["HS256"], audience="authenticated", issuer=issuer)
    expected = {
        "sub": session.user.id, "role": "authenticated", "email": DEMO_EMAIL, "aal": "aal1", "is_anonymous": False,
    }  # fmt: skip
    assert claims | expected == claims
    assert uuid.UUID(claims["session_id"])
    assert claims["amr"][0]["method"] == "password"
    assert before + 3600 <= claims["exp"] <= time.time() + 3600


async def test_a_new_user_signs_up_confirmed_and_an_email_is_taken_once_in_any_case(stack: Stack) -> None:
    client = await client_for(stack)
    email = f"{uuid.uuid4().hex}@example.com"

    created = await client.auth.sign_up(
        {"email": email.upper(), "password": "long enough", "options": {"data": {"name": "N"}}}
    )

    assert created.user is not None
    assert created.session is not None
    assert (created.user.email, created.user.user_metadata) == (email, {"name": "N"})
    assert created.user.email_confirmed_at is not None
    with refused(422, "user_already_exists"):
        await client.auth.sign_up({"email": email, "password": "long enough"})


async def test_only_the_service_key_creates_users(stack: Stack) -> None:
    email = f"{uuid.uuid4().hex}@example.com"
    new: AdminUserAttributes = {"email": email, "password": stack.demo_password, "email_confirm": True}
    denied, session = await signed_in(stack)
    for token in (stack.publishable_key, stack.anon_key, session.access_token):
        denied.auth.admin._headers["Authorization"] = f"Bearer {token}"
        with refused(403, "not_admin"):
            await denied.auth.admin.create_user(new)
    for key in (stack.secret_key, stack.service_role_key):
        admin = (await create_async_client(stack.api_url, key)).auth.admin
        created = await admin.create_user({**new, "email": f"{len(key)}{email}", "user_metadata": {"name": "N"}})
        assert (created.user.email_confirmed_at is not None, created.user.user_metadata) == (True, {"name": "N"})
        with refused(422, "email_exists"):
            await admin.create_user({**new, "email": f"{len(key)}{email.upper()}"})
        _, session = await signed_in(stack, f"{len(key)}{email}")
        assert session.user.id == created.user.id


async def test_a_refresh_token_works_once_and_signing_out_ends_the_session(stack: Stack, database: Any) -> None:
    client, session = await signed_in(stack)
    used = session.refresh_token
    refreshed = (await client.auth.refresh_session(used)).session
    assert refreshed is not None
    assert refreshed.refresh_token != used
    # Two tabs may refresh at once, so a used token is good for ten seconds more.
    await database.execute(
        "update auth.refresh_tokens set updated_at = now() - interval '11 seconds' where token = $1", used
    )
    with refused(400, "refresh_token_already_used"):
        await client.auth.refresh_session(used)

    client, session = await signed_in(stack)
    await client.auth.sign_out({"scope": "local"})
    with refused(403, "session_not_found"):
        await client.auth.get_user(session.access_token)
    with pytest.raises(AuthApiError):
        await client.auth.refresh_session(session.refresh_token)


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("token?grant_type=password", {"email": DEMO_EMAIL, "password": "wrong"}, 400, "invalid_credentials"),
        ("token?grant_type=password", {"email": "no@body.example", "password": "wrong"}, 400, "invalid_credentials"),
        ("token?grant_type=password", {"email": DEMO_EMAIL}, 400, "validation_failed"),
        ("token?grant_type=refresh_token", {"refresh_token": "unknown"}, 400, "refresh_token_not_found"),
        ("token?grant_type=magic", {}, 400, "invalid_credentials"),
        ("signup", {"email": "no email", "password": "long enough"}, 400, "validation_failed"),
        ("signup", {"email": "a\0@b.example", "password": "long enough"}, 400, "bad_json"),
        ("token?grant_type=password", {"email": DEMO_EMAIL, "password": "\ud800"}, 400, "bad_json"),
        ("signup", {"email": "short@example.com", "password": "short"}, 422, "weak_password"),
        ("signup", ["not", "an", "object"], 400, "bad_json"),
        ("nowhere", {}, 404, "not_found"),
    ],
)
async def test_a_refusal_has_supabase_auths_shape(
    stack: Stack, path: str, body: object, status: int, code: str
) -> None:
    url, headers = f"{stack.api_url}/auth/v1/{path}", {"apikey": stack.publishable_key}
    async with aiohttp.ClientSession() as http:
        async with http.post(url, json=body, headers=headers) as answer:
            assert answer.status == status
            old = await answer.json()
        async with http.post(url, json=body, headers={**headers, "X-Supabase-Api-Version": "2024-01-01"}) as answer:
            new = await answer.json()
    assert (old["code"], old["error_code"]) == (status, code)
    assert new == {"code": code, "message": old["msg"]}


async def test_the_public_part_of_the_sign_in_needs_no_key(stack: Stack) -> None:
    async with aiohttp.ClientSession(f"{stack.api_url}/auth/v1/") as http:
        async with http.get(".well-known/jwks.json") as answer:
            assert await answer.json() == {"keys": []}
        async with http.get("health") as answer:
            assert (answer.status, (await answer.json())["name"]) == (200, "GoTrue")
        async with http.get("settings") as answer:
            assert (await answer.json())["external"]["anonymous_users"] is True


async def test_a_browser_may_call_the_sign_in_and_the_api_from_anywhere(stack: Stack) -> None:
    asked = {
        "Origin": "https://shop.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "apikey,authorization,content-type",
    }
    async with aiohttp.ClientSession() as http:
        for path in ("/auth/v1/token?grant_type=password", "/rest/v1/workspaces"):
            async with http.options(f"{stack.api_url}{path}", headers=asked) as answer:
                assert answer.status in (200, 204)
                allowed = answer.headers["Access-Control-Allow-Headers"].lower()
                assert answer.headers["Access-Control-Allow-Origin"] in ("*", "https://shop.example")
                assert {"apikey", "authorization"} <= {name.strip() for name in allowed.split(",")}


async def test_each_api_key_stands_for_its_role(stack: Stack) -> None:
    denied = (401, "permission denied for table workspaces")
    service, secret = f"Bearer {stack.service_role_key}", f"Bearer {stack.secret_key}"
    cases: tuple[tuple[dict[str, str], str, object], ...] = (
        ({}, "", (401, "No API key found in request")),
        ({"apikey": "sb_secret_unknown"}, "", (401, "Invalid API key")),
        ({"apikey": stack.anon_key}, "", denied),
        ({"apikey": stack.publishable_key}, "", denied),
        ({"apikey": stack.service_role_key}, "", (200, "everything")),
        ({"apikey": stack.secret_key}, "", (200, "everything")),
        ({"apikey": stack.secret_key, "Authorization": secret}, "", (200, "everything")),
        ({"Authorization": service}, "", (200, "everything")),
        ({"apikey": stack.publishable_key, "Authorization": service}, "", (200, "everything")),
        ({}, f"&apikey={stack.secret_key}", (200, "everything")),
    )
    async with aiohttp.ClientSession() as http:
        for headers, query, expected in cases:
            async with http.get(f"{stack.api_url}/rest/v1/workspaces?select=id{query}", headers=headers) as answer:
                document = await answer.json()
            if isinstance(document, list):
                assert stack.workspace_id in [row["id"] for row in document], headers
            seen = "everything" if isinstance(document, list) else document.get("message")
            assert (answer.status, seen) == expected, headers


def test_the_javascript_client_works_against_the_printed_url_and_keys(stack: Stack) -> None:
    script = Path(__file__).with_name("supabase_client.mjs")
    arguments = [stack.api_url, stack.publishable_key, stack.secret_key, DEMO_EMAIL, stack.demo_password]

    done = subprocess.run(
        ["node", script, *arguments, stack.workspace_id], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "before": "42501",
        "wrong": [400, "invalid_credentials"],
        "email": DEMO_EMAIL,
        "signedIn": [stack.workspace_id],
        "rotated": True,
        "user": DEMO_EMAIL,
        "signOut": "ok",
        "gone": "AuthSessionMissingError",
        "anonymous": [True, "test"],
        "asAnonymous": [],
        "service": [stack.workspace_id],
    }
