"""Registering over HTTP: the answer, its token and proofs; what is stored is tests/database's, limits test_limits's."""

import hmac
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import aiohttp
import jwt

from local.stack import Stack
from tests.functions.conftest import Visitor, Workspace, problem


async def register(client: aiohttp.ClientSession, path: object, email: str, **fields: Any) -> dict[str, Any]:
    """Register in a space, or under another path."""
    url = f"/space/{path}/register" if isinstance(path, UUID) else str(path)
    async with client.post(url, json={"email": email, **fields}) as response:
        assert response.status == 201, await response.text()
        answer: dict[str, Any] = await response.json()
        return answer


def claims_of(answer: dict[str, Any], stack: Stack) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(answer["token"], stack.jwt_secret, algorithms=["HS256"], audience="contact")
    return claims


async def test_a_registration_answers_contact_session_and_token_in_the_same_way_for_a_known_email(
    visitor: Visitor, workspace: Workspace, stack: Stack
) -> None:
    client = visitor.client
    more = {"first_name": "Ana", "lastName": "Lima", "source": "fair", "attributes": {"plan": "pro"}}
    answer = await register(client, workspace.space_id, "ana@example.com", **more)
    assert (answer["success"], answer["session"]["status"]) == (True, "active")
    left = datetime.fromisoformat(answer["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=29, hours=23) < left <= timedelta(days=30)
    claims = claims_of(answer, stack)
    assert (claims["contact_id"], claims["workspace_id"]) == (answer["contact"]["id"], str(workspace.id))
    assert claims["exp"] == datetime.fromisoformat(answer["expires_at"]).timestamp()
    contact = await workspace.row("select * from public.contacts where id = $1", UUID(answer["contact"]["id"]))
    assert (contact["first_name"], contact["last_name"], contact["source"]) == ("Ana", "Lima", "fair")
    assert json.loads(contact["attributes"]) == {"plan": "pro"}

    again = await register(client, workspace.space_id, "Ana@EXAMPLE.com", first_name="Eve")
    assert set(answer) == set(again) == {"success", "contact", "session", "token", "expires_at"}
    assert again["contact"] == answer["contact"]
    assert again["session"]["id"] != answer["session"]["id"]
    landing = await register(client, f"/landing/{workspace.landing_id}/register", "a@example.com")
    assert landing["contact_id"] == landing["contact"]["id"]

    visitor.token = answer["token"]
    opened = (await visitor.say("hello"))[0].data
    assert (opened["session_id"], opened["contact_id"]) == (answer["session"]["id"], answer["contact"]["id"])
    assert "token" not in opened


async def test_an_optional_field_never_blocks_an_arrival_and_is_reported(
    visitor: Visitor, workspace: Workspace
) -> None:
    fields = {"phone": "call me", "first_name": "x" * 201, "last_name": " ", "attributes": {"a": "x" * 16_384}}
    answer = await register(visitor.client, workspace.space_id, "ana@example.com", **fields)
    assert {warning["field"] for warning in answer["warnings"]} == set(fields)
    session = await workspace.row("select metadata from public.sessions where id = $1", UUID(answer["session"]["id"]))
    assert json.loads(session["metadata"])["registration"] == {
        "email": "ana@example.com", "phone": "call me", "attributes": {},
    }  # fmt: skip
    opened = (await visitor.say("hello", email="nobody"))[0].data
    assert opened["warnings"] == [{"field": "email", "message": "must be an email address"}]


async def test_a_visitor_who_registers_stays_the_same_contact_and_an_international_phone_is_an_identity(
    visitor: Visitor, workspace: Workspace
) -> None:
    (turn, *_) = await visitor.say("hello")
    arrival = {"email": "ana@example.com", "phone": " 0041 79 123 45 67"}
    path = f"/space/{workspace.space_id}/register"
    async with visitor.client.post(path, json=arrival, headers=visitor.headers) as response:
        assert (await response.json())["contact"]["id"] == turn.data["contact_id"]
    await register(visitor.client, workspace.space_id, "bob@example.com", phone="079 123 45 67")
    phones = "select contact_id::text, key from public.contact_identities where workspace_id = $1 and kind = 'phone'"
    found = [tuple(row) for row in await workspace.database.fetch(phones, workspace.id)]
    assert found == [(turn.data["contact_id"], "+41791234567")]


async def test_a_signed_email_is_verified_and_a_wrong_signature_is_refused(
    client: aiohttp.ClientSession, workspace: Workspace, stack: Stack
) -> None:
    space_id = await workspace.add_space(hmac_secret_id=await workspace.add_secret("shop-secret"))
    signature = hmac.digest(b"shop-secret", b"ana@example.com", "sha256").hex()
    typed = await register(client, space_id, "ana@example.com")
    signed = await register(client, space_id, "ana@example.com", email_hmac=signature)
    assert [claims_of(answer, stack)["proof"] for answer in (typed, signed)] == ["asserted", "verified"]
    before = await workspace.counts()
    wrong = {"email": "eve@example.com", "email_hmac": signature}
    async with client.post(f"/space/{space_id}/register", json=wrong) as response:
        assert (response.status, (await problem(response))["code"]) == (401, "email_hmac_invalid")
    assert await workspace.counts() == before


async def test_the_token_of_a_proven_contact_updates_what_it_names_and_no_one_elses(
    client: aiohttp.ClientSession, workspace: Workspace, stack: Stack
) -> None:
    space_id = await workspace.add_space(hmac_secret_id=await workspace.add_secret("shop-secret"))
    signature = hmac.digest(b"shop-secret", b"ana@example.com", "sha256").hex()
    proven = await register(client, space_id, "ana@example.com", email_hmac=signature)
    typed = await register(client, space_id, "ana@example.com", first_name="Eve")
    for who, fields, expected in (
        (proven, {"first_name": "Ana"}, ("Ana", "same")),
        (proven, {"email": "Ana@example.com", "last_name": "Lima"}, ("Ana", "same")),
        (proven, {"email": "bob@example.com", "first_name": "Bob"}, ("Ana", "new")),
        (typed, {"email": "ana@example.com", "first_name": "Eve"}, ("Ana", "new")),
        (typed, {"first_name": "Eve"}, ("Ana", "refused")),
    ):
        headers = {"Authorization": f"Bearer {who['token']}"}
        async with client.post(f"/space/{space_id}/register", json=fields, headers=headers) as response:
            answer = await response.json(content_type=None)
        same = answer.get("session") == proven["session"]
        found = "refused" if response.status == 422 else "same" if same else "new"
        row = await workspace.row("select * from public.contacts where id = $1", UUID(proven["contact"]["id"]))
        assert (row["first_name"], found) == expected, fields
        assert found != "same" or claims_of(answer, stack)["proof"] == "verified"
    assert row["last_name"] == "Lima"


async def test_an_identity_token_registers_and_chats_as_one_contact_and_a_bad_one_is_refused(
    client: aiohttp.ClientSession, workspace: Workspace, stack: Stack
) -> None:
    secret = "the secret of a shop, of enough length"
    space_id = await workspace.add_space(hmac_secret_id=await workspace.add_secret(secret), identity="token")

    def token(secret: str = secret, **claims: Any) -> str:
        return jwt.encode({"sub": "4711", "exp": int(time.time()) + 300} | claims, secret, "HS256")

    async with client.post(f"/space/{space_id}/register", json={"identityToken": token()}) as response:
        registered = await response.json()
    assert claims_of(registered, stack)["proof"] == "verified"
    visitor = Visitor(client, space_id)
    email = "Ana@example.com"
    opened = (await visitor.say("hello", identity_token=token(email=email), email=email.lower()))[0].data
    assert [opened[f"{noun}_id"] for noun in ("contact", "session")] == [
        registered[noun]["id"] for noun in ("contact", "session")
    ]
    before = await workspace.counts()
    unproven, unsigned = token(exp=1), token("another secret, also of enough length")
    for body, refused in (
        ({"identity_token": unsigned}, (401, "identity_token_invalid")),
        ({"identity_token": unproven}, (401, "identity_token_expired")),
        ({"identity_token": ""}, (401, "identity_token_invalid")),
        ({"email": email, "email_hmac": "0" * 64}, (401, "identity_token_required")),
        ({"email": email, "identity_token": token()}, (422, "invalid_body")),
        ({"email": email, "identity_token": token(email="eve@example.com")}, (422, "invalid_body")),
        ({"email": "nobody", "identity_token": token(email=email)}, (422, "invalid_body")),
        ({"email": email, "email_hmac": "0" * 64, "identity_token": token(email=email)}, (422, "invalid_body")),
        ({"identity_token": "x" * 4_097}, (422, "invalid_body")),
    ):
        for path, more in (("register", {}), ("chat/stream", {"message": "hello"})):
            async with client.post(f"/space/{space_id}/{path}", json=body | more) as response:
                assert (response.status, (await problem(response))["code"]) == refused, body
    # A message does not name its sender twice.
    async with visitor.post("hello", identity_token=token()) as response:
        assert (await problem(response))["errors"][0]["field"] == "identity_token"
    assert await workspace.counts() == before


async def test_the_client_is_stored_with_the_session_by_its_real_address(
    client: aiohttp.ClientSession, workspace: Workspace
) -> None:
    agent = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Mobile/15E148"
    brands = '"Chromium";v="140", "Not=A?Brand";v="24"'
    headers = {"User-Agent": agent, "Sec-CH-UA": brands, "X-Forwarded-For": "203.0.113.9"}
    path = f"/space/{workspace.space_id}/register"
    async with client.post(path, json={"email": "a@example.com", "source": "ad"}, headers=headers) as response:
        session_id = (await response.json())["session"]["id"]
    row = await workspace.row("select metadata from public.sessions where id = $1", UUID(session_id))
    expected = {"user_agent": agent, "device": "mobile", "device_info": brands, "address": "127.0.0.1"}
    assert json.loads(row["metadata"]).items() >= expected.items()
