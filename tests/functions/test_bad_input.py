"""Invalid requests: a problem document with a stable code, and nothing stored.

Wrong methods are tests/unit/test_routes.py's, further bodies tests/unit/http/test_request_body.py's, and contact tokens
tests/unit/auth/test_callers.py's.
"""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local.stack import Stack
from tests import events
from tests.functions.conftest import Visitor, Workspace, problem

EMAIL = {"email": "ana@example.com"}


@pytest_asyncio.fixture(autouse=True)
async def nothing_left_behind(workspace: Workspace) -> AsyncIterator[None]:
    """No test of this file stores anything in the workspace."""
    before = await workspace.counts()
    yield
    assert await workspace.counts() == before


async def refusal(response: aiohttp.ClientResponse) -> tuple[int, str]:
    return response.status, (await problem(response))["code"]


def paths(workspace: Workspace) -> dict[str, str]:
    return {
        "register": f"/space/{workspace.space_id}/register",
        "landing": f"/landing/{workspace.landing_id}/register",
        "chat": f"/space/{workspace.space_id}/chat/stream",
    }


@pytest.mark.parametrize(
    ("content", "media_type", "expected"),
    [
        (b"{", "application/json", (400, "invalid_json")),
        (b"{}", "application/json", (422, "invalid_body")),
        (b" " * (256 * 1024 + 1), "application/json", (413, "body_too_large")),
        (b'{"email": "a@example.com", "message": "x"}', "text/plain", (415, "unsupported_media_type")),
    ],
)
async def test_a_body_that_is_no_json_object_of_the_route(
    client: aiohttp.ClientSession, workspace: Workspace, content: bytes, media_type: str, expected: tuple[int, str]
) -> None:
    for path in paths(workspace).values():
        async with client.post(path, data=content, headers={"Content-Type": media_type}) as response:
            assert await refusal(response) == expected


OF_REGISTRATIONS: dict[str, tuple[Any, ...]] = {
    "email": ("nobody", "ana@example.com\r\nBcc: eve@example.com", "x" * 400 + "@example.com", 7),
    "email_hmac": ("abc",),
    "workspace_id": (str(uuid4()),),
}
OF_MESSAGES: dict[str, tuple[Any, ...]] = {
    "message": ("", "  ", "a\u0000b", "a\u001bb", "\ud83d", "x" * 16_001, {"text": "x"}),
    "persona_id": ("1",),
    "client_message_id": ("",),
    "thread_key": ("x" * 201,),
    "surprise": (1,),
}


@pytest.mark.parametrize(
    ("route", "good", "fields"),
    [
        ("register", EMAIL, OF_REGISTRATIONS),
        ("landing", EMAIL, OF_REGISTRATIONS),
        ("chat", {"message": "x"}, OF_MESSAGES),
    ],
)
async def test_an_invalid_field_is_named(
    client: aiohttp.ClientSession,
    workspace: Workspace,
    route: str,
    good: dict[str, Any],
    fields: dict[str, tuple[Any, ...]],
) -> None:
    for field, value in ((field, value) for field, values in fields.items() for value in values):
        async with client.post(paths(workspace)[route], json={**good, field: value}) as response:
            document = await problem(response)
        assert (response.status, document["code"]) == (422, "invalid_body"), (field, value)
        assert [error["field"] for error in document["errors"]] == [field]


async def test_an_unknown_space_is_not_found(client: aiohttp.ClientSession, workspace: Workspace) -> None:
    for space_id in ("x", "%00", "5f0c3f7e-93a1-4be5-8a55-0c1b7f0f3f5d", "' or 1=1 --"):
        for path, body in (("space/{}/register", EMAIL), ("landing/{}/register", EMAIL),
                           ("space/{}/chat/stream", {"message": "x"})):  # fmt: skip
            async with client.post(f"/{path.format(space_id)}", json=body) as response:
                assert await refusal(response) == (404, "space_not_found")


async def test_the_projects_keys_and_the_ids_and_tokens_of_other_workspaces(
    client: aiohttp.ClientSession, workspace: Workspace, stack: Stack
) -> None:
    async with client.post(f"/space/{stack.space_id}/register", json={"email": f"{uuid4()}@example.com"}) as response:
        foreign = (await response.json())["token"]
    keys = (stack.anon_key, stack.service_role_key, stack.publishable_key, stack.secret_key)
    for token, more, expected in (
        *((key, {}, (401, "token_invalid")) for key in keys),
        (foreign, {}, (404, "space_not_found")),
        (None, {"persona_id": str(stack.persona_id)}, (404, "persona_not_found")),
    ):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with client.post(paths(workspace)["chat"], json={"message": "x", **more}, headers=headers) as response:
            assert await refusal(response) == expected


async def test_an_invalid_position_is_refused_in_the_query_and_ignored_in_the_header(
    client: aiohttp.ClientSession, elsewhere: Workspace
) -> None:
    visitor = Visitor(client, elsewhere.space_id)
    turn_id = (await visitor.say("hello"))[0].data["turn_id"]
    for after in ("-1", ""):
        async with client.get(f"/turns/{turn_id}/stream?after={after}", headers=visitor.headers) as response:
            assert response.status == 422
            assert (await problem(response))["errors"][0]["field"] == "after"
    headers = visitor.headers | {"Last-Event-ID": "-1"}
    async with client.get(f"/turns/{turn_id}/stream", headers=headers) as response:
        assert [event.name for event in await events.read_all(response)] == ["turn", "delta", "done"]


BODIES = st.dictionaries(
    st.sampled_from(["email", "first_name", "phone", "attributes", "message", "client_message_id", "metadata"]),
    st.none() | st.booleans() | st.integers() | st.text(max_size=30) | st.dictionaries(st.text(max_size=5), st.text()),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODIES)
async def test_no_body_is_answered_with_an_internal_error(
    body: dict[str, Any], client: aiohttp.ClientSession, elsewhere: Workspace
) -> None:
    for path in paths(elsewhere).values():
        async with client.post(path, json=body) as response:
            assert response.status < 500, await response.text()
            await response.read()
