"""An invalid optional field of an arrival is dropped and reported; an invalid required one refuses the arrival."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from lib.chat.turns import ChatMessage
from lib.contacts.contacts import ResolveRequest
from lib.contacts.registration import RegistrationRequest
from lib.conversations.follow_ups import FollowUp
from lib.fields.models import Arrival

BODIES: dict[type[Arrival], dict[str, Any]] = {
    RegistrationRequest: {"email": "ana@example.com"},
    ChatMessage: {"message": "Hello"},
    FollowUp: {"text": "Hello", "role": "contact", "source": "email"},
    ResolveRequest: {"identities": ["telegram:42"]},
}
DEEP = json.loads("[" * 40 + "]" * 40)
INVALID: dict[str, tuple[Any, ...]] = {
    "first_name": ("", " ", "A\u0000", "\u001b[2J", "x" * 201, 7),
    "lastName": ("x" * 201,),
    "title": ("",),
    "phone": ("", "+1\u0000", "1" * 65, 7),
    "source": ("",),
    "attributes": (None, [], {"a": "\u0000"}, {"a": DEEP}),
    "metadata": (None, "x", {"a": DEEP}),
    "email": ("nobody", "x" * 400, 7),
    "group_role": ("x" * 65,),
}
DROPPED = {
    RegistrationRequest: {"first_name", "lastName", "phone", "source", "attributes"},
    ChatMessage: {"email", "metadata"},
    FollowUp: {"metadata"},
    ResolveRequest: {"first_name", "lastName", "title", "source", "attributes", "group_role"},
}


@pytest.mark.parametrize("model", BODIES)
def test_an_invalid_optional_field_is_dropped_and_reported(model: type[Arrival]) -> None:
    plain = model.model_validate(BODIES[model])
    for name, value in ((field, value) for field in DROPPED[model] for value in INVALID[field]):
        accepted = model.model_validate(BODIES[model] | {name: value})
        assert [warning.field for warning in accepted.warnings] == [{"lastName": "last_name"}.get(name, name)]
        assert accepted.model_dump() == plain.model_dump(), (name, value)
    assert plain.warnings == ()


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        (RegistrationRequest, {"email": "nobody", "phone": ""}),
        (RegistrationRequest, {"email_hmac": "abc"}),
        (ChatMessage, {"message": " "}),
        (ChatMessage, {"email": "nobody", "emailHmac": "0" * 64}),
        (ChatMessage, {"email": "nobody", "identityToken": "a.b.c"}),
        (ChatMessage, {"client_message_id": ""}),
        (ChatMessage, {"thread_key": "x" * 201}),
        (ChatMessage, {"metadata": [], "surprise": 1}),
        (FollowUp, {"source": ""}),
        (ResolveRequest, {"identities": ["phone:1"], "first_name": ""}),
    ],
)
def test_an_invalid_field_that_is_needed_selects_proves_or_repeats_is_refused(
    model: type[Arrival], changes: dict[str, Any]
) -> None:
    with pytest.raises(ValidationError):
        model.model_validate(BODIES[model] | changes)
