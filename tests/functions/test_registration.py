import asyncio
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import aiohttp
import jwt
import pytest

from local.stack import Stack
from tests.functions.conftest import Visitor, Workspace, problem


async def register(client: aiohttp.ClientSession, space_id: UUID, email: str, **fields: Any) -> dict[str, Any]:
    async with client.post(f"/space/{space_id}/register", json={"email": email, **fields}) as response:
        assert response.status == 201, await response.text()
        answer: dict[str, Any] = await response.json()
        return answer


async def test_a_registration_answers_contact_session_and_token(
    client: aiohttp.ClientSession, workspace: Workspace, stack: Stack
) -> None:
    answer = await register(client, workspace.space_id, "ana@example.com", first_name="Ana", lastName="Lima")
    assert set(answer) == {"success", "contact", "session", "token", "expires_at"}
    assert answer["success"] is True
    assert answer["session"]["status"] == "active"
    left = datetime.fromisoformat(answer["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=29, hours=23) < left <= timedelta(days=30)
    claims = jwt.decode(answer["token"], stack.jwt_secret, algorithms=["HS256"], audience="contact")
    assert claims["contact_id"] == answer["contact"]["id"]
    assert claims["workspace_id"] == str(workspace.id)
    contact = await workspace.row("select * from public.contacts where id = $1", UUID(answer["contact"]["id"]))
    assert (contact["first_name"], contact["last_name"]) == ("Ana", "Lima")
    assert contact["session_id"] == UUID(answer["session"]["id"])


@pytest.mark.parametrize("upgrade", ["h2c", "websocket"])
async def test_an_offered_upgrade_is_passed_over_and_the_body_is_read(
    workspace: Workspace, stack: Stack, upgrade: str
) -> None:
    body = json.dumps({"email": "java@example.com"})
    host = stack.api_url.removeprefix("http://")
    reader, writer = await asyncio.open_connection(*host.split(":"))
    writer.write(
        f"POST /space/{workspace.space_id}/register HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Connection: Upgrade\r\nUpgrade: {upgrade}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    status = await asyncio.wait_for(reader.readline(), 5)
    writer.close()
    assert b" 201 " in status


async def test_a_landing_page_also_gets_the_contacts_id_on_top(
    client: aiohttp.ClientSession, workspace: Workspace
) -> None:
    async with client.post(f"/landing/{workspace.landing_id}/register", json={"email": "a@example.com"}) as response:
        answer = await response.json()
    assert response.status == 201
    assert answer["contact_id"] == answer["contact"]["id"]


async def test_somebody_known_gets_the_same_answer_as_somebody_new(
    client: aiohttp.ClientSession, workspace: Workspace
) -> None:
    first = await register(client, workspace.space_id, "ana@example.com")
    again = await register(client, workspace.space_id, "Ana@EXAMPLE.com", first_name="Eve")
    assert again.keys() == first.keys()
    assert again["contact"] == first["contact"]
    assert again["session"]["id"] != first["session"]["id"], "nobody walks into a session by knowing an email"
    contact = await workspace.row("select * from public.contacts where id = $1", UUID(first["contact"]["id"]))
    assert contact["session_id"] == UUID(first["session"]["id"]), "the link is never repointed"
    assert contact["first_name"] is None, "nobody's word changes a contact"


async def test_a_hundred_at_once_with_one_email_are_one_contact(
    client: aiohttp.ClientSession, workspace: Workspace
) -> None:
    def mixed(number: int) -> str:
        bits = f"{number:012b}"
        return (
            "".join(c.upper() if bit == "1" else c for c, bit in zip("mixedcase@ex", bits, strict=True)) + "AMPLE.com"
        )

    emails = [mixed(number * 37 % 4096) for number in range(100)]
    assert len(set(emails)) > 50
    answers = await asyncio.gather(*(register(client, workspace.space_id, email) for email in emails))
    assert len({answer["contact"]["id"] for answer in answers}) == 1
    assert len({answer["session"]["id"] for answer in answers}) == 100
    counts = await workspace.counts()
    assert (counts["contacts"], counts["contact_identities"]) == (1, 1)
    assert (counts["conversations"], counts["sessions"]) == (100, 100)


async def test_the_same_email_in_two_workspaces_is_two_contacts(
    client: aiohttp.ClientSession, workspace: Workspace, stack: Stack
) -> None:
    here = await register(client, workspace.space_id, "both@example.com")
    there = await register(client, UUID(str(stack.space_id)), "both@example.com")
    assert here["contact"]["id"] != there["contact"]["id"]


async def test_a_phone_becomes_an_identity_where_it_is_international(
    client: aiohttp.ClientSession, workspace: Workspace
) -> None:
    await register(client, workspace.space_id, "a@example.com", phone="0041 79 123 45 67")
    await register(client, workspace.space_id, "b@example.com", phone="079 123 45 67")
    keys = await workspace.database.fetch(
        "select key from public.contact_identities where workspace_id = $1 and kind = 'phone'", workspace.id
    )
    assert [row["key"] for row in keys] == ["+41791234567"]


async def test_a_signed_email_is_verified_and_a_typed_one_is_not(
    client: aiohttp.ClientSession, workspace: Workspace, stack: Stack
) -> None:
    space_id = await workspace.add_space(hmac_secret_id=await workspace.add_secret("shop-secret"))
    typed = await register(client, space_id, "ana@example.com")
    signature = hmac.digest(b"shop-secret", b"ana@example.com", "sha256").hex()
    signed = await register(client, space_id, "ana@example.com", email_hmac=signature)
    assert typed["contact"] == signed["contact"]
    proofs = [
        jwt.decode(answer["token"], stack.jwt_secret, algorithms=["HS256"], audience="contact")["proof"]
        for answer in (typed, signed)
    ]
    assert proofs == ["asserted", "verified"]
    before = await workspace.counts()
    wrong = {"email": "eve@example.com", "email_hmac": signature}
    async with client.post(f"/space/{space_id}/register", json=wrong) as response:
        assert response.status == 401
        assert (await problem(response))["code"] == "email_hmac_invalid"
    assert await workspace.counts() == before


async def test_where_somebody_comes_from_is_kept_with_the_session(
    client: aiohttp.ClientSession, workspace: Workspace
) -> None:
    agent = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Mobile/15E148"
    headers = {"User-Agent": agent, "X-Forwarded-For": "203.0.113.9"}
    path = f"/space/{workspace.space_id}/register"
    async with client.post(path, json={"email": "a@example.com", "source": "ad"}, headers=headers) as response:
        session_id = (await response.json())["session"]["id"]
    row = await workspace.row("select metadata from public.sessions where id = $1", UUID(session_id))
    metadata = json.loads(row["metadata"])
    assert metadata["user_agent"] == agent
    assert metadata["device"] == "mobile"
    assert metadata["address"] == "127.0.0.1", "nobody trusted wrote the header"


@pytest.mark.parametrize("limit", ["arrivals_per_minute", "arrivals_per_minute_by_address"])
async def test_arrivals_are_limited_and_a_refused_one_leaves_nothing(
    client: aiohttp.ClientSession, workspace: Workspace, limit: str
) -> None:
    limits: dict[str, Any] = {limit: 3}
    space_id = await workspace.add_space(**limits)
    for number in range(3):
        await register(client, space_id, f"visitor{number}@example.com")
    before = await workspace.counts()
    async with client.post(f"/space/{space_id}/register", json={"email": "late@example.com"}) as response:
        assert response.status == 429
        document = await problem(response)
        assert document["code"] == "rate_limited"
        assert 1 <= document["retry_after"] <= 60
        assert response.headers["retry-after"] == str(document["retry_after"])
    assert await workspace.counts() == before
    async with client.post(f"/space/{space_id}/chat/stream", json={"message": "hi"}) as response:
        assert response.status == 429, "a first message without a token is an arrival too"
    assert await workspace.counts() == before


async def test_a_landing_page_is_no_space_and_a_space_no_landing_page(
    client: aiohttp.ClientSession, workspace: Workspace
) -> None:
    disabled = await workspace.add_space(enabled=False)
    paths = (f"/space/{workspace.landing_id}", f"/landing/{workspace.space_id}", f"/space/{disabled}")
    for path in paths:
        async with client.post(f"{path}/register", json={"email": "a@example.com"}) as response:
            assert response.status == 404
            assert (await problem(response))["code"] == "space_not_found"
    assert (await workspace.counts())["contacts"] == 0


async def test_only_listed_origins_may_call_from_a_browser(client: aiohttp.ClientSession, workspace: Workspace) -> None:
    space_id = await workspace.add_space(allowed_origins=["https://shop.example"])
    path = f"/space/{space_id}/register"
    for origin, status in (("https://shop.example", 204), ("https://evil.example", 403)):
        asking = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        async with client.options(path, headers=asking) as response:
            assert response.status == status
            assert response.headers.get("access-control-allow-origin") == (origin if status == 204 else None)
    async with client.post(
        path, json={"email": "a@example.com"}, headers={"Origin": "https://shop.example"}
    ) as response:
        assert response.status == 201
        assert response.headers["access-control-allow-origin"] == "https://shop.example"
    async with client.post(path, json={"email": "no"}, headers={"Origin": "https://shop.example"}) as response:
        assert response.status == 422
        assert response.headers["access-control-allow-origin"] == "https://shop.example"


async def test_the_token_opens_the_session_that_was_registered(visitor: Visitor, workspace: Workspace) -> None:
    answer = await register(visitor.client, workspace.space_id, "ana@example.com")
    visitor.token = answer["token"]
    heard = await visitor.say("hello")
    assert heard[0].data["session_id"] == answer["session"]["id"]
    assert heard[0].data["contact_id"] == answer["contact"]["id"]
    assert "token" not in heard[0].data
