"""The sign-in and the API keys of the local backend, with the stock clients and by hand."""

import json
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest

from local.stack import Stack
from supabase import AsyncClient, AuthApiError, create_async_client

DEMO_EMAIL = "owner@demo.test"


async def client_for(stack: Stack) -> AsyncClient:
    """The stock Python client with the publishable key."""
    return await create_async_client(stack.api_url, stack.publishable_key)


async def workspaces(client: AsyncClient) -> list[Any]:
    """The ids of the workspaces that the client may see."""
    answer = await client.table("workspaces").select("id").execute()
    return [row["id"] for row in answer.data if isinstance(row, dict)]


async def test_a_demo_user_signs_in_with_the_python_client_and_sees_the_own_workspace(stack: Stack) -> None:
    client = await client_for(stack)

    signed_in = await client.auth.sign_in_with_password({"email": DEMO_EMAIL, "password": stack.demo_password})

    assert signed_in.user is not None
    assert signed_in.user.email == DEMO_EMAIL
    assert await workspaces(client) == [stack.workspace_id]


async def test_a_demo_user_who_is_no_member_sees_no_workspace(stack: Stack) -> None:
    client = await client_for(stack)
    await client.auth.sign_in_with_password({"email": "visitor@demo.test", "password": stack.demo_password})

    assert await workspaces(client) == []


async def test_the_access_token_carries_supabase_auths_claims(stack: Stack) -> None:
    client = await client_for(stack)
    before = int(time.time())
    signed_in = await client.auth.sign_in_with_password({"email": DEMO_EMAIL, "password": stack.demo_password})
    assert signed_in.session is not None
    assert signed_in.user is not None

    claims = jwt.decode(
        signed_in.session.access_token,
        stack.jwt_secret,
        ["HS256"],
        audience="authenticated",
        issuer=f"{stack.api_url}/auth/v1",
    )

    assert claims["sub"] == signed_in.user.id
    assert (claims["role"], claims["email"], claims["aal"], claims["is_anonymous"]) == (
        "authenticated",
        DEMO_EMAIL,
        "aal1",
        False,
    )
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
    with pytest.raises(AuthApiError) as taken:
        await client.auth.sign_up({"email": email, "password": "long enough"})
    assert (taken.value.status, taken.value.code) == (422, "user_already_exists")


async def test_a_refresh_token_works_once_and_gives_a_new_one(stack: Stack, database: Any) -> None:
    client = await client_for(stack)
    signed_in = await client.auth.sign_in_with_password({"email": DEMO_EMAIL, "password": stack.demo_password})
    assert signed_in.session is not None
    used = signed_in.session.refresh_token

    refreshed = await client.auth.refresh_session(used)

    assert refreshed.session is not None
    assert refreshed.session.refresh_token != used
    # Two tabs may refresh at once, so a used token is good for ten seconds more.
    await database.execute(
        "update auth.refresh_tokens set updated_at = now() - interval '11 seconds' where token = $1", used
    )
    with pytest.raises(AuthApiError) as again:
        await client.auth.refresh_session(used)
    assert (again.value.status, again.value.code) == (400, "refresh_token_already_used")


async def test_signing_out_ends_the_session(stack: Stack) -> None:
    client = await client_for(stack)
    signed_in = await client.auth.sign_in_with_password({"email": DEMO_EMAIL, "password": stack.demo_password})
    assert signed_in.session is not None
    await client.auth.sign_out({"scope": "local"})

    with pytest.raises(AuthApiError) as gone:
        await client.auth.get_user(signed_in.session.access_token)
    assert (gone.value.status, gone.value.code) == (403, "session_not_found")
    with pytest.raises(AuthApiError):
        await client.auth.refresh_session(signed_in.session.refresh_token)


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("token?grant_type=password", {"email": DEMO_EMAIL, "password": "wrong"}, 400, "invalid_credentials"),
        ("token?grant_type=password", {"email": "no@body.example", "password": "wrong"}, 400, "invalid_credentials"),
        ("token?grant_type=password", {"email": DEMO_EMAIL}, 400, "validation_failed"),
        ("token?grant_type=refresh_token", {"refresh_token": "unknown"}, 400, "refresh_token_not_found"),
        ("token?grant_type=magic", {}, 400, "invalid_credentials"),
        ("signup", {"email": "no email", "password": "long enough"}, 400, "validation_failed"),
        ("signup", {"email": "a\0@b.example", "password": "long enough"}, 400, "validation_failed"),
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
    url = f"{stack.api_url}/rest/v1/workspaces?select=id"
    seen: dict[str, tuple[int, object]] = {}
    cases: dict[str, dict[str, str]] = {
        "none": {},
        "unknown": {"apikey": "sb_secret_unknown"},
        "anon": {"apikey": stack.anon_key},
        "publishable": {"apikey": stack.publishable_key},
        "service_role": {"apikey": stack.service_role_key},
        "secret": {"apikey": stack.secret_key},
        "secret twice": {"apikey": stack.secret_key, "Authorization": f"Bearer {stack.secret_key}"},
        "token only": {"Authorization": f"Bearer {stack.service_role_key}"},
        "publishable with a token": {
            "apikey": stack.publishable_key,
            "Authorization": f"Bearer {stack.service_role_key}",
        },
    }
    async with aiohttp.ClientSession() as http:
        for name, headers in cases.items():
            async with http.get(url, headers=headers) as answer:
                document = await answer.json()
                ids = [row["id"] for row in document] if isinstance(document, list) else document.get("message")
                seen[name] = (answer.status, ids)
        async with http.get(f"{url}&apikey={stack.secret_key}") as answer:
            seen["secret in the query"] = (answer.status, [row["id"] for row in await answer.json()])

    denied = (401, "permission denied for table workspaces")
    everything = seen["service_role"]
    assert everything[0] == 200
    assert isinstance(everything[1], list)
    assert stack.workspace_id in everything[1]
    assert seen == {
        "none": (401, "No API key found in request"),
        "unknown": (401, "Invalid API key"),
        "anon": denied,
        "publishable": denied,
        "service_role": everything,
        "secret": everything,
        "secret twice": everything,
        "token only": everything,
        "publishable with a token": everything,
        "secret in the query": everything,
    }


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
