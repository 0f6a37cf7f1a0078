"""The whole answer of a turn as one JSON document, for callers that do not read streams."""

import contextlib
from collections.abc import AsyncGenerator, Mapping
from http import HTTPStatus
from typing import Any
from uuid import UUID

from lib import errors
from lib.chat.events import Delta, Done, Event, Opened
from lib.fields.models import FieldWarning, Record

_STATUSES: Mapping[str, HTTPStatus] = {
    "internal_error": HTTPStatus.INTERNAL_SERVER_ERROR,
    "token_expired": HTTPStatus.UNAUTHORIZED,
    "token_revoked": HTTPStatus.UNAUTHORIZED,
    "api_key_invalid": HTTPStatus.UNAUTHORIZED,
    "api_key_expired": HTTPStatus.UNAUTHORIZED,
    "conversation_not_found": HTTPStatus.NOT_FOUND,
    "persona_timeout": HTTPStatus.GATEWAY_TIMEOUT,
    "lease_expired": HTTPStatus.SERVICE_UNAVAILABLE,
    "turn_interrupted": HTTPStatus.SERVICE_UNAVAILABLE,
    "stream_limit": HTTPStatus.SERVICE_UNAVAILABLE,
    "backend_unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
}
"""The HTTP status of a failed turn, by its code; a bad gateway (502) for every other failure of a persona."""


class Answer(Record):
    """The events of a turn in one document. ``taken_over``: a member answers instead of the persona."""

    turn_id: UUID
    session_id: UUID
    conversation_id: UUID
    contact_id: UUID | None
    token: str | None
    warnings: tuple[FieldWarning, ...] | None
    status: str
    text: str
    text_length: int
    message_id: UUID | None
    usage: Mapping[str, Any] | None
    taken_over: bool | None


async def collect(opened: Opened, events: AsyncGenerator[Event, None]) -> Answer:
    """Read a turn's events to their end.

    Raises Refused with the code of a failed turn, its ids, the text that was stored, and the caller's new token.
    """
    pieces: list[str] = []
    async with contextlib.aclosing(events):
        async for event in events:
            if isinstance(event, Delta):
                pieces.append(event.text)
            elif isinstance(event, Done):
                return Answer(
                    turn_id=opened.turn_id,
                    session_id=opened.session_id,
                    conversation_id=opened.conversation_id,
                    contact_id=opened.contact_id,
                    token=opened.token,
                    warnings=opened.warnings or None,
                    status=event.status,
                    text="".join(pieces)[: event.text_length],
                    text_length=event.text_length,
                    message_id=event.message_id,
                    usage=event.usage or None,
                    taken_over=event.taken_over or None,
                )
            elif not isinstance(event, Opened):
                raise _failure(event.code, opened, "".join(pieces))
    raise errors.InternalError()


def status_of(code: str) -> int:
    """The HTTP status of a failed turn."""
    return int(_STATUSES.get(code, HTTPStatus.BAD_GATEWAY))


def _failure(code: str, opened: Opened, text: str) -> errors.Refused:
    shown = errors.failure(code)
    told = {**opened.document(), "retryable": shown.retryable, "text": text or None, "token": opened.token}
    return errors.Refused(
        status_of(code),
        code,
        title=shown.title,
        extra={name: value for name, value in told.items() if value is not None},
    )
