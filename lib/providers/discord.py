"""Discord: commands (interactions) and webhook events of an application.

    POST /webhooks/discord/{channel_id}         or /webhooks/discord: the body names the application
    X-Signature-Timestamp: <unix time>
    X-Signature-Ed25519: <signature of timestamp and raw body, in hex>

The channel's verify secret is the application's public key, and its external id the application's id. Discord probes
with wrong signatures, and takes an endpoint that accepts one out of use. A command is answered within 3 s by a deferred
response; the answer itself follows with the interaction's token within 15 min. Discord sends no ordinary message over
HTTP.

The first part of an answer replaces the deferred response, which may be repeated; further parts are follow-up messages.
Other messages are sent as the bot, with a nonce by which Discord recognises a repeat within a few minutes.
https://discord.com/developers/docs/interactions/overview · …/docs/events/webhook-events
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from lib.errors import FieldError, InvalidBody, InvalidJson, SecretInvalid, TimestampInvalid
from lib.fields.models import Record
from lib.personas.text import clean
from lib.providers import (
    TOLERANCE_SECONDS,
    Acknowledgement,
    Call,
    ChannelMessage,
    Delivery,
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
    unknown,
)

_PING, _COMMAND, _COMPONENT, _AUTOCOMPLETE, _MODAL = 1, 2, 3, 4, 5
_EVENT_PING = 0
_DEFERRED: Mapping[str, Any] = {"type": 5}
_DEFERRED_UPDATE: Mapping[str, Any] = {"type": 6}
_RESPONSES: Mapping[Any, Mapping[str, Any]] = {
    _PING: {"type": 1},
    _COMPONENT: _DEFERRED_UPDATE,
    _AUTOCOMPLETE: {"type": 8, "data": {"choices": []}},
    _MODAL: _DEFERRED_UPDATE,
}

_STRING_OPTION = 3
_EPOCH_MILLISECONDS = 1_420_070_400_000
"""The first moment of Discord's ids: their upper bits are the time."""


class _Application(Record):
    application_id: str


class _Event(Record):
    type: str


class _WebhookEvent(Record):
    type: int
    event: _Event | None = None


class _User(Record):
    id: str
    username: str | None = None
    global_name: str | None = None
    bot: bool = False


class _Member(Record):
    user: _User
    nick: str | None = None


class _Option(Record):
    type: int
    value: Any = None
    options: tuple[_Option, ...] = ()


class _Command(Record):
    name: str
    options: tuple[_Option, ...] = ()


class _Interaction(Record):
    id: str
    type: int
    token: str
    data: _Command
    guild_id: str | None = None
    channel_id: str | None = None
    member: _Member | None = None
    user: _User | None = None


class _Created(Record):
    id: str


class _Fault(Record):
    message: str = ""
    retry_after: float | None = None


TOKEN_SECONDS = 14 * 60
"""How long an interaction's token is used; Discord accepts it for 15 minutes."""

_NONCE_SECONDS = 120
"""How long a nonce is relied on: Discord compares those of the past few minutes."""


class Discord(Messenger):
    """An application: its endpoint for interactions and events, and its API."""

    # The response is due in 3 s, and it is a deferred one.
    process_seconds = 0
    api_base = "https://discord.com/api/v10"
    max_length = 2_000

    def reference(self, delivery: Delivery) -> str:
        """The application's id. Raises InvalidJson, InvalidBody."""
        named = read_model(_Application, read_json(delivery.body))
        if isinstance(named, str):
            raise InvalidBody([FieldError("application_id", "must be an application's id")])
        return named.application_id

    def verify(self, secret: str, delivery: Delivery) -> None:
        """Verify the signature, then the timestamp. Raises SecretInvalid, TimestampInvalid."""
        # Imported here: it takes 30 ms, and other senders do without it.
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

        timestamp = delivery.headers.get("x-signature-timestamp", "")
        try:
            signature = bytes.fromhex(delivery.headers.get("x-signature-ed25519", ""))
            key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(secret))
            key.verify(signature, timestamp.encode() + delivery.body)
        except (InvalidSignature, ValueError):
            raise SecretInvalid from None
        # Fifteen digits hold any time, and more would be no float.
        if not (
            timestamp.isdecimal() and len(timestamp) <= 15 and abs(int(timestamp) - time.time()) <= TOLERANCE_SECONDS
        ):
            raise TimestampInvalid

    def parse(self, delivery: Delivery, external_id: str | None = None) -> tuple[Parsed, ...]:
        """The command, or the event."""
        document = read_json(delivery.body)
        if _is_event(document):
            return (_event(document, delivery),)
        kind = document.get("type") if isinstance(document, dict) else None
        if kind == _PING:
            return (Ignored("a ping"),)
        if kind == _AUTOCOMPLETE:
            return (Ignored("an autocompletion"),)
        if kind != _COMMAND:
            return (unknown(delivery, "interaction"),)
        command = read_model(_Interaction, document)
        return (unknown(delivery, command) if isinstance(command, str) else _message(command, delivery),)

    def acknowledgement(self, delivery: Delivery, *, duplicate: bool) -> Acknowledgement:
        """A pong, a deferred response, or 204 for events."""
        document = read_json(delivery.body)
        if _is_event(document):
            return Acknowledgement(None, 204)
        kind = document.get("type") if isinstance(document, dict) else None
        return Acknowledgement(_RESPONSES.get(kind, _DEFERRED) if isinstance(kind, int) else _DEFERRED)

    def call(self, part: Part, *, base: str, token: str, external_id: str | None) -> Call:
        """The completion of a command, a follow-up to it, or a message of the bot. No text mentions anyone."""
        document: dict[str, Any] = {"content": part.text, "allowed_mentions": {"parse": []}}
        if (reply_token := _usable_token(part)) is not None:
            webhook = f"{base}/webhooks/{external_id}/{reply_token}"
            if part.number == 0:
                return Call(f"{webhook}/messages/@original", document, {}, "PATCH")
            return Call(f"{webhook}?wait=true", document, {})
        document |= {"nonce": digest(part.reference.encode())[:25], "enforce_nonce": True}
        return Call(f"{base}/channels/{part.chat_id}/messages", document, {"Authorization": f"Bot {token}"})

    def outcome(self, status: int, retry_after: str | None, body: bytes) -> Sent | Rejected:
        """The id of the message, or Discord's error."""
        try:
            document = read_json(body)
        except InvalidJson:
            document = None
        if status < 300:
            created = read_model(_Created, document)
            return Sent(None if isinstance(created, str) else clean(created.id))
        fault = read_model(_Fault, document)
        if isinstance(fault, str):
            return rejected(status, fault, retry_after)
        # The document is more exact than the header.
        seconds = retry_after if fault.retry_after is None else f"{fault.retry_after:.3f}"
        return rejected(status, clean(fault.message), seconds)

    def repeatable(self, part: Part, seconds: float) -> bool:
        """The completion of a command always; a message of the bot while its nonce is remembered."""
        if _usable_token(part) is not None:
            return part.number == 0
        return seconds < _NONCE_SECONDS


provider = Discord()

Config = MessengerConfig


def _usable_token(part: Part) -> str | None:
    asked = part.asked
    if asked is None or (datetime.now(UTC) - asked.sent_at).total_seconds() > TOKEN_SECONDS:
        return None
    return asked.reply_token


def _is_event(document: Any) -> bool:
    """Whether a body is a webhook event, or their ping, and no interaction."""
    return isinstance(document, dict) and ("event" in document or document.get("type") == _EVENT_PING)


def _event(document: dict[str, Any], delivery: Delivery) -> Parsed:
    """A webhook event: none of them has an effect here."""
    event = read_model(_WebhookEvent, document)
    if isinstance(event, str):
        return unknown(delivery, event)
    if event.type == _EVENT_PING:
        return Ignored("a ping")
    kind = event.event.type if event.event else ""
    return unknown(delivery, f"event: {kind[:64]}" if kind.isidentifier() else "event")


def _message(command: _Interaction, delivery: Delivery) -> Parsed:
    user = command.member.user if command.member else command.user
    if user is None or not command.channel_id:
        return unknown(delivery, "a command without a user or a channel", command.id)
    text = clean(" ".join(_words(command.data.options))) or f"/{clean(command.data.name)}"
    name = (command.member.nick if command.member else None) or user.global_name
    return ChannelMessage(
        delivery_key=key_of(command.id),
        ordering_key=key_of(command.channel_id),
        external_id=clean(command.id),
        chat_id=clean(command.channel_id),
        sender=Sender(
            id=clean(user.id),
            name=clean(name) if name else None,
            username=clean(user.username) if user.username else None,
        ),
        is_group=command.guild_id is not None,
        text=text,
        sent_at=_time(command.id),
        reply_token=clean(command.token) or None,
        mentions=("/",),
    )


def _words(options: tuple[_Option, ...]) -> list[str]:
    """The texts that were typed, also those of a subcommand."""
    found: list[str] = []
    for option in options:
        if option.type == _STRING_OPTION and isinstance(option.value, str):
            found.append(option.value)
        found += _words(option.options)
    return found


def _time(snowflake: str) -> datetime:
    """When an id was made; now for an unusual id."""
    if not (snowflake.isdecimal() and len(snowflake) <= 19):
        return datetime.now(UTC)
    return datetime.fromtimestamp(((int(snowflake) >> 22) + _EPOCH_MILLISECONDS) / 1_000, UTC)
