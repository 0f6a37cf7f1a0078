"""Whatever is sent: a problem with a stable code, and nothing left behind."""

import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import aiohttp
import asyncpg
import jwt
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local.stack import Stack
from tests import events
from tests.functions.conftest import Visitor, Workspace, add_workspace, problem

JSON = {"Content-Type": "application/json"}
EMAIL = {"email": "ana@example.com"}


@pytest_asyncio.fixture(autouse=True)
async def nothing_left_behind(workspace: Workspace) -> AsyncIterator[None]:
    """The workspace is as empty after each of these tests as before."""
    before = await workspace.counts()
    yield
    assert await workspace.counts() == before


@pytest_asyncio.fixture
async def elsewhere(database: asyncpg.Connection) -> Workspace:
    """Another workspace, where things may be left behind."""
    return await add_workspace(database)


def paths(workspace: Workspace) -> dict[str, str]:
    return {
        "register": f"/space/{workspace.space_id}/register",
        "landing": f"/landing/{workspace.landing_id}/register",
        "chat": f"/space/{workspace.space_id}/chat/stream",
    }


@pytest.mark.parametrize("route", ["register", "landing", "chat"])
@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 400, "invalid_json"),
        (b"{", 400, "invalid_json"),
        (b'{"email": NaN}', 400, "invalid_json"),
        (b"[" * 60_000, 400, "invalid_json"),
        (b'{"a":' * 12_000, 400, "invalid_json"),
        (b"\xff\xfe{\x00", 400, "invalid_json"),
        (b'{"a": ' + b"9" * 6_000 + b"}", 400, "invalid_json"),
        (b"null", 422, "invalid_body"),
        (b"[]", 422, "invalid_body"),
        (b"{}", 422, "invalid_body"),
        (b'{"email": "a@example.com", "message": "x", "surprise": 1}', 422, "invalid_body"),
        (b" " * (256 * 1024 + 1), 413, "body_too_large"),
    ],
)
async def test_a_body_that_is_not_what_the_route_takes(
    client: aiohttp.ClientSession, workspace: Workspace, route: str, content: bytes, status: int, code: str
) -> None:
    async with client.post(paths(workspace)[route], data=content, headers=JSON) as response:
        assert response.status == status
        assert (await problem(response))["code"] == code


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml"])
async def test_a_body_that_is_no_json_by_its_type(
    client: aiohttp.ClientSession, workspace: Workspace, media_type: str
) -> None:
    for path in paths(workspace).values():
        async with client.post(
            path, data=b'{"email": "a@example.com"}', headers={"Content-Type": media_type}
        ) as response:
            assert response.status == 415
            assert (await problem(response))["code"] == "unsupported_media_type"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"email": "nobody"}, "email"),
        ({"email": "a@b@example.com"}, "email"),
        ({"email": "ana@example.com\r\nBcc: eve@example.com"}, "email"),
        ({"email": "ana\u0000@example.com"}, "email"),
        ({"email": "x" * 400 + "@example.com"}, "email"),
        ({"email": 7}, "email"),
        ({**EMAIL, "first_name": "A\u0000"}, "first_name"),
        ({**EMAIL, "firstName": "\u001b[2J"}, "first_name"),
        ({**EMAIL, "first_name": "x" * 201}, "first_name"),
        ({**EMAIL, "phone": "call me"}, "phone"),
        ({**EMAIL, "email_hmac": "abc"}, "email_hmac"),
        ({**EMAIL, "attributes": {"a": "\u0000"}}, "attributes"),
        ({**EMAIL, "attributes": "x"}, "attributes"),
        ({**EMAIL, "workspace_id": str(uuid4())}, "workspace_id"),
    ],
)
async def test_a_field_of_a_registration_that_does_not_fit(
    client: aiohttp.ClientSession, workspace: Workspace, fields: dict[str, Any], field: str
) -> None:
    for route in ("register", "landing"):
        async with client.post(paths(workspace)[route], json=fields) as response:
            assert response.status == 422
            document = await problem(response)
            assert document["code"] == "invalid_body"
            assert [error["field"] for error in document["errors"]] == [field]


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b'{"message": ""}', "message"),
        (b'{"message": "  "}', "message"),
        (b'{"message": "a\\u0000b"}', "message"),
        (b'{"message": "a\\u001bb"}', "message"),
        (b'{"message": "\\ud83d"}', "message"),
        (b'{"message": "' + b"x" * 16_001 + b'"}', "message"),
        (b'{"message": {"text": "x"}}', "message"),
        (b'{"message": "x", "persona_id": "1"}', "persona_id"),
        (b'{"message": "x", "email": "nobody"}', "email"),
        (b'{"message": "x", "client_message_id": ""}', "client_message_id"),
        (b'{"message": "x", "thread_key": "' + b"x" * 201 + b'"}', "thread_key"),
        (b'{"message": "x", "metadata": []}', "metadata"),
        (b'{"message": "x", "metadata": {"a": ' + b"[" * 40 + b"]" * 40 + b"}}", "metadata"),
    ],
)
async def test_a_field_of_a_message_that_does_not_fit(
    client: aiohttp.ClientSession, workspace: Workspace, content: bytes, field: str
) -> None:
    async with client.post(paths(workspace)["chat"], data=content, headers=JSON) as response:
        assert response.status == 422
        document = await problem(response)
        assert document["code"] == "invalid_body"
        assert [error["field"] for error in document["errors"]] == [field]


@pytest.mark.parametrize("space_id", ["x", "0", "%00", "null", "5f0c3f7e-93a1-4be5-8a55-0c1b7f0f3f5d", "' or 1=1 --"])
async def test_a_space_that_does_not_exist(client: aiohttp.ClientSession, space_id: str) -> None:
    for path, body in (
        (f"/space/{space_id}/register", EMAIL),
        (f"/landing/{space_id}/register", EMAIL),
        (f"/space/{space_id}/chat/stream", {"message": "x"}),
    ):
        async with client.post(path, json=body) as response:
            assert response.status == 404
            assert (await problem(response))["code"] == "space_not_found"


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
async def test_a_wrong_method(client: aiohttp.ClientSession, workspace: Workspace, method: str) -> None:
    for path in [*paths(workspace).values(), "/webhooks/n8n", "/worker", "/archive"]:
        async with client.request(method, path) as response:
            assert response.status == 405
            assert response.headers["allow"] == "POST"
            assert (await problem(response))["code"] == "method_not_allowed"


def contact_token(stack: Stack, workspace_id: object, **changes: Any) -> str:
    claims = {
        "iss": "switchboard",
        "aud": "contact",
        "role": "contact",
        "workspace_id": str(workspace_id),
        "contact_id": str(uuid4()),
        "conversation_id": str(uuid4()),
        "proof": "verified",
        "exp": int(time.time()) + 600,
    }
    claims["sub"] = claims["contact_id"]
    secret = changes.pop("secret", stack.jwt_secret)
    return jwt.encode(claims | changes, secret, algorithm=changes.pop("algorithm", "HS256"))


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"exp": 1}, 401, "token_expired"),
        ({"secret": "somebody-else's-secret-of-enough-length"}, 401, "token_invalid"),
        ({"aud": "authenticated"}, 401, "token_invalid"),
        ({"role": "service_role"}, 401, "token_invalid"),
        ({"role": "switchboard", "aud": "switchboard"}, 401, "token_invalid"),
        ({"conversation_id": "x"}, 401, "token_invalid"),
        ({}, 404, "conversation_not_found"),
    ],
)
async def test_a_token_that_is_not_good_here(
    client: aiohttp.ClientSession, workspace: Workspace, stack: Stack, changes: dict[str, Any], status: int, code: str
) -> None:
    headers = {"Authorization": f"Bearer {contact_token(stack, workspace.id, **changes)}"}
    async with client.post(paths(workspace)["chat"], json={"message": "x"}, headers=headers) as response:
        assert response.status == status
        assert (await problem(response))["code"] == code


async def test_the_projects_own_keys_are_nobodys_token(
    client: aiohttp.ClientSession, workspace: Workspace, stack: Stack
) -> None:
    for key in (stack.anon_key, stack.service_role_key, stack.publishable_key, stack.secret_key):
        headers = {"Authorization": f"Bearer {key}"}
        async with client.post(paths(workspace)["chat"], json={"message": "x"}, headers=headers) as response:
            assert response.status == 401
            assert (await problem(response))["code"] == "token_invalid"


async def test_a_token_of_another_workspace(client: aiohttp.ClientSession, workspace: Workspace, stack: Stack) -> None:
    elsewhere = {"email": f"{uuid4()}@example.com"}
    async with client.post(f"/space/{stack.space_id}/register", json=elsewhere) as response:
        token = (await response.json())["token"]
    headers = {"Authorization": f"Bearer {token}"}
    async with client.post(paths(workspace)["chat"], json={"message": "x"}, headers=headers) as response:
        assert response.status == 404
        assert (await problem(response))["code"] == "space_not_found"


async def test_a_persona_of_another_workspace(
    client: aiohttp.ClientSession, workspace: Workspace, stack: Stack
) -> None:
    body = {"message": "x", "persona_id": str(stack.persona_id)}
    async with client.post(paths(workspace)["chat"], json=body) as response:
        assert response.status == 404
        assert (await problem(response))["code"] == "persona_not_found"


@pytest.mark.parametrize("after", ["-1", "x", "1.5", "9999999999", ""])
async def test_a_position_that_is_none(client: aiohttp.ClientSession, elsewhere: Workspace, after: str) -> None:
    visitor = Visitor(client, elsewhere.space_id)
    turn_id = (await visitor.say("hello"))[0].data["turn_id"]
    async with client.get(f"/turns/{turn_id}/stream?after={after}", headers=visitor.headers) as response:
        assert response.status == 422
        assert (await problem(response))["errors"][0]["field"] == "after"
    headers = visitor.headers | {"Last-Event-ID": after or "x"}
    async with client.get(f"/turns/{turn_id}/stream", headers=headers) as response:
        assert [event.name for event in await events.read_all(response)] == ["turn", "delta", "done"]


BODIES = st.dictionaries(
    st.sampled_from(["email", "first_name", "phone", "attributes", "message", "client_message_id", "metadata"]),
    st.none() | st.booleans() | st.integers() | st.text(max_size=30) | st.dictionaries(st.text(max_size=5), st.text()),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODIES)
async def test_no_body_makes_us_fail(body: dict[str, Any], client: aiohttp.ClientSession, elsewhere: Workspace) -> None:
    for path in paths(elsewhere).values():
        async with client.post(path, json=body) as response:
            assert response.status < 500, await response.text()
            await response.read()
