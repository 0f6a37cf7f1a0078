"""Omi: transcripts of a wearable, while it listens and when a conversation is over.

    POST /webhooks/omi/{channel_id}?secret=<the channel's verify secret>&uid=<the device's user at Omi>
    POST /omi-webhook?channel={channel_id}&secret=…&uid=…

Omi signs nothing, so a secret in the URL is all the proof there is. Its documentation has a list of segments with a
`session_id` in the query; its code sends an object, whose `session_id` is the uid: both are accepted. A response with a
`message` would be shown to the user, so it is `{}`. Omi does not repeat a delivery, and stops sending after three days
of failures. https://docs.omi.me/doc/developer/apps/Integrations
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from lib.fields.models import Record
from lib.personas.text import clean
from lib.providers import (
    Acknowledgement,
    Delivery,
    DeviceConversation,
    DeviceSegments,
    Ignored,
    Parsed,
    Provider,
    Segment,
    digest,
    key_of,
    read_json,
    read_model,
    require_same,
    unknown,
)


class _Segment(Record):
    id: str | None = None
    text: str
    speaker: str | None = None
    speaker_id: int | None = None
    is_user: bool = False
    start: float
    end: float


class _Segments(Record):
    session_id: str | None = None
    uid: str | None = None
    segments: tuple[_Segment, ...]


class _Structured(Record):
    title: str | None = None
    overview: str | None = None


class _Conversation(Record):
    id: str
    started_at: datetime | None = None
    finished_at: datetime | None = None
    structured: _Structured = _Structured()
    transcript_segments: tuple[_Segment, ...] = ()
    discarded: bool = False


class Omi(Provider):
    """The webhooks of an Omi app."""

    def reference(self, delivery: Delivery) -> str:
        """The channel in the query. Raises NotFound (channel_not_found)."""
        return delivery.query.get("channel") or super().reference(delivery)

    def verify(self, secret: str, delivery: Delivery) -> None:
        """Compare the secret in the URL with ours. Raises SecretInvalid."""
        require_same(secret, delivery.query.get("secret", ""))

    def parse(self, delivery: Delivery, external_id: str | None = None) -> tuple[Parsed, ...]:
        """The segments, or the finished conversation."""
        document = read_json(delivery.body)
        is_over = isinstance(document, dict) and "segments" not in document
        return (_conversation(document, delivery) if is_over else _segments(document, delivery),)

    def acknowledgement(self, delivery: Delivery, *, duplicate: bool) -> Acknowledgement:
        """An empty object: a message in it would be shown to the user."""
        return Acknowledgement({})


provider = Omi()


def _segments(document: Any, delivery: Delivery) -> Parsed:
    body = read_model(_Segments, {"segments": document} if isinstance(document, list) else document)
    if isinstance(body, str):
        return unknown(delivery, body)
    if not body.segments:
        return Ignored("no segment")
    uid = clean(delivery.query.get("uid") or body.uid or "") or None
    session_id = clean(delivery.query.get("session_id") or body.session_id or uid or "")
    if not session_id:
        return unknown(delivery, "no session_id and no uid")
    return DeviceSegments(
        delivery_key=key_of(uid or session_id, digest(delivery.body)),
        ordering_key=key_of(uid or session_id),
        uid=uid,
        session_id=session_id,
        segments=tuple(_segment(each) for each in body.segments),
    )


def _conversation(document: Any, delivery: Delivery) -> Parsed:
    body = read_model(_Conversation, document)
    if isinstance(body, str):
        return unknown(delivery, body)
    uid = clean(delivery.query.get("uid", ""))
    if not uid:
        return unknown(delivery, "no uid")
    return DeviceConversation(
        # It may come again, changed, under the same id.
        delivery_key=key_of(uid, digest(delivery.body)),
        ordering_key=key_of(uid),
        uid=uid,
        external_id=clean(body.id),
        started_at=body.started_at,
        finished_at=body.finished_at,
        title=clean(body.structured.title) if body.structured.title else None,
        overview=clean(body.structured.overview) if body.structured.overview else None,
        discarded=body.discarded,
        segments=tuple(_segment(each) for each in body.transcript_segments),
    )


def _segment(segment: _Segment) -> Segment:
    return Segment(
        id=clean(segment.id or "") or None,
        text=clean(segment.text),
        speaker=clean(segment.speaker) if segment.speaker else None,
        is_user=segment.is_user,
        start=segment.start,
        end=segment.end,
    )
