"""WhatsApp: messages and delivery statuses of a phone number, from Meta's Cloud API.

    GET  /webhooks/whatsapp/{channel_id}?hub.mode=subscribe&hub.challenge=…&hub.verify_token=…
    POST /webhooks/whatsapp/{channel_id}        or /webhooks/whatsapp: the body names the phone number
    X-Hub-Signature-256: sha256=<HMAC-SHA256 of the raw body under the app's secret, in hex>

The channel's verify secret is the app's secret, and its external id the phone number's id. A delivery holds any number
of messages and statuses, and may be sent again for days. Since 2026 a sender may have no phone number: then only the
business-scoped user id tells who it is.

Answers are sent as text messages, within 24 hours after the person's last one (Meta refuses later ones, 131047).
`biz_opaque_callback_data` is our reference, and comes back with each status.
https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from lib.errors import FieldError, InvalidBody, InvalidJson
from lib.fields.models import Record
from lib.personas.text import clean
from lib.providers import (
    Attachment,
    Call,
    ChannelMessage,
    ChatMigrated,
    Delivery,
    DeliveryStatus,
    Ignored,
    Messenger,
    MessengerConfig,
    Parsed,
    Part,
    Rejected,
    Sender,
    Sent,
    digest,
    key_of,
    read_json,
    read_model,
    rejected,
    require_same,
    unknown,
)


class _Change(Record):
    field: str
    value: dict[str, Any]


class _Entry(Record):
    changes: tuple[Any, ...]


class _Document(Record):
    entry: tuple[_Entry, ...]


class _Number(Record):
    phone_number_id: str


class _Profile(Record):
    name: str | None = None
    username: str | None = None


class _ContactCard(Record):
    profile: _Profile = _Profile()
    wa_id: str | None = None
    user_id: str | None = None


class _Value(Record):
    metadata: _Number
    contacts: tuple[_ContactCard, ...] = ()
    messages: tuple[Any, ...] = ()
    message_echoes: tuple[Any, ...] = ()
    statuses: tuple[Any, ...] = ()


class _Media(Record):
    id: str | None = None
    mime_type: str | None = None
    filename: str | None = None
    caption: str | None = None


class _Text(Record):
    body: str


class _Location(Record):
    latitude: float
    longitude: float


class _Choice(Record):
    title: str


class _Interactive(Record):
    button_reply: _Choice | None = None
    list_reply: _Choice | None = None


class _Button(Record):
    text: str


class _System(Record):
    type: str
    wa_id: str | None = None
    user_id: str | None = None


class _Context(Record):
    id: str | None = None


class _Message(Record):
    id: str
    timestamp: datetime
    type: str
    sender: str | None = Field(default=None, validation_alias="from")
    from_user_id: str | None = None
    to: str | None = None
    to_user_id: str | None = None
    group_id: str | None = None
    context: _Context | None = None
    text: _Text | None = None
    image: _Media | None = None
    audio: _Media | None = None
    video: _Media | None = None
    document: _Media | None = None
    sticker: _Media | None = None
    location: _Location | None = None
    interactive: _Interactive | None = None
    button: _Button | None = None
    system: _System | None = None


class _Error(Record):
    code: int | None = None
    title: str = ""


class _Status(Record):
    id: str
    status: Literal["sent", "delivered", "read", "failed"]
    timestamp: datetime
    recipient_id: str | None = None
    recipient_user_id: str | None = None
    biz_opaque_callback_data: str | None = None
    errors: tuple[_Error, ...] = ()


class _Accepted(Record):
    id: str


class _Fault(Record):
    code: int | None = None
    message: str = ""


class _Answer(Record):
    messages: tuple[_Accepted, ...] = ()
    error: _Fault | None = None


_MENTION = re.compile(r"@[0-9]{5,20}\b", re.ASCII)
"""How a text names a number."""

_RETRYABLE_CODES = frozenset({1, 2, 4, 80007, 130429, 131000, 131016, 131048, 131056, 133004})
"""Meta's errors that pass: an internal fault, a service that is down, a rate limit of the app, account, number or pair.
https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes"""


class WhatsApp(Messenger):
    """The webhook of a Meta app, and the Cloud API of a phone number."""

    # Meta asks for a fast answer, and a delivery can be large.
    process_seconds = 0
    api_base = "https://graph.facebook.com/v23.0"
    max_length = 4_096

    def reference(self, delivery: Delivery) -> str:
        """The id of the phone number that the body names first. Raises InvalidJson, InvalidBody."""
        document = read_model(_Document, read_json(delivery.body))
        for change in _changes(document) if isinstance(document, _Document) else ():
            value = read_model(_Value, change.value)
            if isinstance(value, _Value):
                return value.metadata.phone_number_id
        raise InvalidBody([FieldError("entry", "must name a phone number")])

    def verify(self, secret: str, delivery: Delivery) -> None:
        """Verify the signature of the raw body. Raises SecretInvalid."""
        expected = hmac.digest(secret.encode(), delivery.body, hashlib.sha256).hex() if secret else ""
        method, _, offered = delivery.headers.get("x-hub-signature-256", "").partition("=")
        require_same(expected, offered.lower() if method == "sha256" else "")

    def parse(self, delivery: Delivery, external_id: str | None = None) -> tuple[Parsed, ...]:
        """The messages, statuses and other changes, in their order."""
        document = read_model(_Document, read_json(delivery.body))
        if isinstance(document, str):
            return (unknown(delivery, document),)
        found: list[Parsed] = []
        for entry in document.entry:
            for change in entry.changes:
                found += _items(change, delivery, external_id)
        return tuple(found) or (Ignored("no change"),)

    def verify_token(self, secret: str, channel_id: str) -> str:
        """The text with which Meta's GET proves that it was set up with our data: derived, so nothing more is kept.

        It names the channel, so the URL need not.
        """
        proof = hmac.digest(secret.encode(), f"verify_token:{channel_id}".encode(), hashlib.sha256).hex()
        return f"{channel_id}.{proof}"

    def call(self, part: Part, *, base: str, token: str, external_id: str | None) -> Call:
        """A text message to a number (`to`), a business-scoped user id (`recipient`) or a group."""
        by_number = part.is_group or part.chat_id.isdecimal()
        document = {
            "messaging_product": "whatsapp",
            "recipient_type": "group" if part.is_group else "individual",
            "to" if by_number else "recipient": part.chat_id,
            "type": "text",
            "text": {"body": part.text},
            "biz_opaque_callback_data": part.reference,
        }
        return Call(f"{base}/{external_id}/messages", document, {"Authorization": f"Bearer {token}"})

    def outcome(self, status: int, retry_after: str | None, body: bytes) -> Sent | Rejected:
        """The id of the message, or Meta's error."""
        try:
            answer = read_model(_Answer, read_json(body))
        except InvalidJson:
            answer = "no JSON"
        if isinstance(answer, str):
            return rejected(status, answer, retry_after) if status >= 300 else Sent(None)
        if answer.error is None and status < 300:
            return Sent(clean(answer.messages[0].id) if answer.messages else None)
        fault = answer.error or _Fault()
        refused = rejected(status, clean(f"{fault.code or ''} {fault.message}"), retry_after)
        return replace(refused, retryable=refused.retryable or fault.code in _RETRYABLE_CODES)


provider = WhatsApp()

Config = MessengerConfig


def _changes(document: _Document) -> Iterator[_Change]:
    for entry in document.entry:
        for given in entry.changes:
            if isinstance(change := read_model(_Change, given), _Change):
                yield change


def _items(given: object, delivery: Delivery, external_id: str | None) -> list[Parsed]:
    """What one change reports."""
    change = read_model(_Change, given)
    if isinstance(change, str):
        return [unknown(delivery, change)]
    if change.field not in ("messages", "smb_message_echoes"):
        return [unknown(delivery, f"field: {change.field[:64]}" if change.field.isidentifier() else "field")]
    value = read_model(_Value, change.value)
    if isinstance(value, str):
        return [unknown(delivery, value)]
    if external_id is not None and value.metadata.phone_number_id != external_id:
        return [unknown(delivery, "another phone number")]
    contacts = {key: card for card in value.contacts for key in (card.wa_id, card.user_id) if key}
    found: list[Parsed] = [_message(each, contacts, delivery, by_business=False) for each in value.messages]
    found += [_message(each, contacts, delivery, by_business=True) for each in value.message_echoes]
    found += [_status(each, delivery) for each in value.statuses]
    return found or [Ignored("no message and no status")]


def _message(given: object, contacts: dict[str, _ContactCard], delivery: Delivery, *, by_business: bool) -> Parsed:
    message = read_model(_Message, given)
    if isinstance(message, str):
        return unknown(delivery, message)
    person = message.from_user_id or message.sender
    other = message.to_user_id or message.to if by_business else person
    chat_id = message.group_id or other
    if not person or not chat_id:
        return unknown(delivery, "a message without a sender", message.id)
    if message.system is not None:
        return _system(message, message.system, chat_id, delivery)
    if message.type == "reaction":
        return Ignored("a reaction")
    text, attachments = clean(_text(message)), _attachments(message)
    if not text.strip() and not attachments:
        kind = message.type[:64] if message.type.isidentifier() else ""
        return unknown(delivery, f"message: {kind}", message.id)
    card = contacts.get(message.from_user_id or "") or contacts.get(message.sender or "") or _ContactCard()
    phone = message.sender if message.sender and message.sender.isdecimal() else None
    return ChannelMessage(
        delivery_key=key_of(message.id),
        ordering_key=key_of(chat_id),
        external_id=clean(message.id),
        chat_id=clean(chat_id),
        sender=Sender(
            id=clean(person),
            name=clean(card.profile.name) if card.profile.name else None,
            username=clean(card.profile.username) if card.profile.username else None,
            phone=f"+{phone}" if phone else None,
        ),
        is_group=message.group_id is not None,
        text=text,
        attachments=attachments,
        sent_at=message.timestamp,
        by_business=by_business,
        reply_to=clean(message.context.id) if message.context and message.context.id else None,
        mentions=tuple(_MENTION.findall(text)) if message.group_id else (),
    )


def _text(message: _Message) -> str:
    if message.text is not None:
        return message.text.body
    if message.button is not None:
        return message.button.text
    if message.interactive is not None:
        choice = message.interactive.button_reply or message.interactive.list_reply
        return choice.title if choice else ""
    media = message.image or message.video or message.document
    return media.caption or "" if media else ""


def _attachments(message: _Message) -> tuple[Attachment, ...]:
    found: list[Attachment] = []
    kinds: tuple[Literal["image", "audio", "video", "document", "sticker"], ...]
    kinds = ("image", "audio", "video", "document", "sticker")
    for kind in kinds:
        media: _Media | None = getattr(message, kind)
        if media is not None and media.id:
            found.append(
                Attachment(
                    kind=kind,
                    external_id=clean(media.id),
                    media_type=clean(media.mime_type) if media.mime_type else None,
                    name=clean(media.filename) if media.filename else None,
                )
            )
    if (place := message.location) is not None:
        found.append(Attachment(kind="location", name=f"{place.latitude}, {place.longitude}"))
    return tuple(found)


def _system(message: _Message, system: _System, chat_id: str, delivery: Delivery) -> Parsed:
    """A person's change of number or of business-scoped id."""
    new = system.user_id or system.wa_id
    if not system.type.startswith(("user_changed", "customer_changed")) or not new or new == chat_id:
        return unknown(delivery, "message: system", message.id)
    return ChatMigrated(
        delivery_key=key_of(message.id),
        ordering_key=key_of(chat_id),
        old_chat_id=clean(chat_id),
        new_chat_id=clean(new),
        sent_at=message.timestamp,
    )


def _status(given: object, delivery: Delivery) -> Parsed:
    status = read_model(_Status, given)
    if isinstance(status, str):
        # A status that is not among ours, such as "deleted".
        return unknown(delivery, status, f"status:{digest(repr(given).encode('utf-8', 'surrogatepass'))}")
    fault = status.errors[0] if status.errors else None
    recipient = status.recipient_user_id or status.recipient_id
    return DeliveryStatus(
        delivery_key=key_of(status.id, status.status),
        ordering_key=key_of(recipient or status.id),
        recipient=clean(recipient) if recipient else None,
        external_id=clean(status.id),
        reference=clean(status.biz_opaque_callback_data) if status.biz_opaque_callback_data else None,
        status=status.status,
        error=None if fault is None else clean(f"{fault.code or ''} {fault.title}").strip()[:500] or None,
        at=status.timestamp,
    )
