"""n8n's asynchronous answers: an HTTP Request node at the end of the workflow posts the answer for a turn.

    POST /webhooks/n8n
    Authorization: Bearer <the persona's callback secret>

    {"turnId": "0197…", "output": "Hello"}     or     {"turnId": "0197…", "error": "the model is down"}

n8n signs nothing, so a secret in a header is all the proof there is; nodes that cannot set Authorization
may send it as X-Switchboard-Secret. n8n sends no delivery id either: the same answer to the same turn is
the same delivery. https://docs.n8n.io/integrations/builtin/core-nodes/n8n-nodes-base.httprequest
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from lib.errors import FieldError, InvalidBody
from lib.personas.text import MAX_CHARACTERS, excerpt, find_text
from lib.personas.thoughts import without_thoughts
from lib.personas.wrappers import unwrapped
from lib.providers import AsyncAnswer, Delivery, Provider, digest, read_json, require_same

MAX_ERROR_LENGTH = 500

_TEXT_KEYS = ("output", "text", "message", "answer")


class N8n(Provider):
    """n8n's HTTP Request node."""

    def reference(self, delivery: Delivery) -> str:
        """The id of the turn that the body claims to answer. Raises InvalidJson, InvalidBody."""
        return _turn_id(_read(delivery.body))

    def verify(self, secret: str, delivery: Delivery) -> None:
        """Compare the secret in the headers with ours. Raises SecretInvalid."""
        scheme, _, token = delivery.headers.get("authorization", "").partition(" ")
        is_bearer = scheme.lower() == "bearer"
        require_same(secret, token.strip() if is_bearer else delivery.headers.get("x-switchboard-secret", ""))

    def parse(self, delivery: Delivery, external_id: str | None = None) -> tuple[AsyncAnswer]:
        """The answer in the body. Other fields are ignored, so a workflow may send its whole last item.

        Raises InvalidJson, and InvalidBody without a turn id or with neither text nor error.
        """
        fields = _read(delivery.body)
        turn_id = _turn_id(fields)
        text = find_text({key: fields[key] for key in _TEXT_KEYS if key in fields}, _TEXT_KEYS)
        if text is not None:
            text = without_thoughts(unwrapped(text)) or None
        error = _error(fields.get("error"))
        if text is None and error is None:
            raise InvalidBody([FieldError("output", "there must be a text, or an error")])
        if text is not None and len(text) > MAX_CHARACTERS:
            raise InvalidBody([FieldError("output", f"must have at most {MAX_CHARACTERS} characters")])
        # The sender's own id for the delivery, if it sends one; else the content.
        given = delivery.headers.get("webhook-id") or delivery.headers.get("idempotency-key")
        key = digest((given or json.dumps([text, error])).encode())
        return (
            AsyncAnswer(turn_id=turn_id, text=text, error=error, delivery_key=f"{turn_id}:{key}", ordering_key=turn_id),
        )


provider = N8n()


def _read(body: bytes) -> dict[str, Any]:
    value = read_json(body)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, dict):
        raise InvalidBody([FieldError("", "must be an object")])
    return value


def _turn_id(fields: Mapping[str, Any]) -> str:
    value = fields.get("turnId", fields.get("turn_id"))
    try:
        return str(UUID(value))
    except (ValueError, TypeError, AttributeError):
        raise InvalidBody([FieldError("turnId", "must be a turn's id")]) from None


def _error(value: object) -> str | None:
    """The error as one line, or None: an n8n item without an error has `"error": ""` or `null`."""
    if not value:
        return None
    return excerpt(find_text(value) or "the workflow reported an error", MAX_ERROR_LENGTH)
