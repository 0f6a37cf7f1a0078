from typing import Any
from uuid import uuid4

import jwt
import pytest

from lib import errors
from lib.auth import callers
from lib.auth.client_info import ClientInfo
from lib.contacts import registration
from lib.contacts.registration import RegistrationRequest
from tests.unit.conftest import JWT_SECRET
from tests.unit.sql_functions import SqlFunctions, refused

SPACE, WORKSPACE, CONTACT, CONVERSATION, SESSION = (uuid4() for _ in range(5))
CLIENT = ClientInfo(user_agent="test/1", address="192.0.2.7", device="bot")


def registered(**changes: Any) -> dict[str, Any]:
    return {
        "workspace_id": str(WORKSPACE),
        "contact_id": str(CONTACT),
        "conversation_id": str(CONVERSATION),
        "session_id": str(SESSION),
        "session_status": "active",
        "proof": "asserted",
    } | changes


async def test_a_registration_is_one_call_and_a_token(sql: SqlFunctions) -> None:
    sql.functions["register_contact"] = lambda _: registered()
    arrival = RegistrationRequest(
        email=" Ana@Example.COM", phone="0041 79 123 45 67", first_name="Ana", attributes={"a": 1}
    )
    done = await registration.register(callers.Anonymous(), SPACE, "landing", arrival, CLIENT)
    (call,) = sql.calls
    assert call.arguments == {
        "space_id": str(SPACE),
        "space_kind": "landing",
        "email": "Ana@Example.COM",
        "email_key": "ana@example.com",
        "email_hmac": None,
        "first_name": "Ana",
        "last_name": None,
        "phone": "0041 79 123 45 67",
        "phone_key": "+41791234567",
        "source": None,
        "attributes": {"a": 1},
        "client": {"user_agent": "test/1", "address": "192.0.2.7", "device": "bot"},
    }
    assert (done.contact_id, done.session_id, done.session_status) == (CONTACT, SESSION, "active")
    claims = jwt.decode(done.token, JWT_SECRET, algorithms=["HS256"], audience="contact")
    assert (claims["contact_id"], claims["proof"]) == (str(CONTACT), "asserted")


async def test_a_refusal_is_passed_on(sql: SqlFunctions) -> None:
    sql.functions["register_contact"] = lambda _: refused(429, "rate_limited", retry_after=9)
    with pytest.raises(errors.Refused) as refusal:
        await registration.register(
            callers.Anonymous(), SPACE, "embed", RegistrationRequest(email="a@example.com"), CLIENT
        )
    assert (refusal.value.status, refusal.value.retry_after) == (429, 9)


async def test_a_registration_whose_answer_was_lost_is_not_sent_twice(sql: SqlFunctions) -> None:
    sql.lost = 1
    with pytest.raises(errors.BackendUnavailable):
        await registration.register(
            callers.Anonymous(), SPACE, "embed", RegistrationRequest(email="a@example.com"), CLIENT
        )
    assert sql.names() == ["register_contact"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"email": "nobody"},
        {"email": "a@example.com", "email_hmac": "abc"},
        {"email": "nobody", "first_name": "x" * 201},
        {"email": "a@example.com", "contact_id": "00000000-0000-0000-0000-000000000000"},
    ],
)
def test_an_invalid_body_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        RegistrationRequest.model_validate(body)
