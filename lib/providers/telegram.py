"""Telegram: updates of a bot.

    POST /webhooks/telegram/{channel_id}
    X-Telegram-Bot-Api-Secret-Token: <the channel's verify secret, as given to setWebhook>

Telegram sends an update again for up to 24 hours, and holds back the later updates of its queue meanwhile: so a
verified update is always accepted. https://core.telegram.org/bots/api#update

Answers are sent with sendMessage, as plain text: Telegram refuses a text whose markup is not well-formed. It has no key
that would tell a repeat. https://core.telegram.org/bots/api#sendmessage
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from pydantic import Field

from lib.errors import InvalidJson
from lib.fields.models import Record
from lib.personas.text import clean
from lib.providers import (
    Attachment,
    Call,
    ChannelMessage,
    ChatMigrated,
    Delivery,
    Ignored,
    Messenger,
    MessengerConfig,
    Parsed,
    Part,
    Rejected,
    Sender,
    Sent,
    key_of,
    read_json,
    read_model,
    rejected,
    require_same,
    unknown,
)


class _User(Record):
    id: int
    is_bot: bool
    first_name: str = ""
    last_name: str = ""
    username: str | None = None


class _Chat(Record):
    id: int
    type: str
    title: str | None = None
    username: str | None = None


class _File(Record):
    file_id: str
    file_size: int | None = None
    mime_type: str | None = None
    file_name: str | None = None


class _Location(Record):
    latitude: float
    longitude: float


class _Contact(Record):
    phone_number: str
    first_name: str = ""


class _Replied(Record):
    message_id: int
    sender: _User | None = Field(default=None, validation_alias="from")


class _Entity(Record):
    type: str
    offset: int
    length: int
    user: _User | None = None


class _Message(Record):
    message_id: int
    date: datetime
    edit_date: datetime | None = None
    chat: _Chat
    sender: _User | None = Field(default=None, validation_alias="from")
    sender_chat: _Chat | None = None
    message_thread_id: int | None = None
    is_topic_message: bool = False
    reply_to_message: _Replied | None = None
    text: str | None = None
    caption: str | None = None
    entities: tuple[_Entity, ...] = ()
    caption_entities: tuple[_Entity, ...] = ()
    photo: tuple[_File, ...] = ()
    document: _File | None = None
    animation: _File | None = None
    audio: _File | None = None
    voice: _File | None = None
    video: _File | None = None
    video_note: _File | None = None
    sticker: _File | None = None
    location: _Location | None = None
    contact: _Contact | None = None
    migrate_to_chat_id: int | None = None
    migrate_from_chat_id: int | None = None


class _Update(Record):
    update_id: int
    message: _Message | None = None
    edited_message: _Message | None = None


_FILES = (
    # An animation is sent as a document too, for old clients.
    ("animation", "video"),
    ("document", "document"),
    ("audio", "audio"),
    ("voice", "audio"),
    ("video", "video"),
    ("video_note", "video"),
    ("sticker", "sticker"),
)


class _Parameters(Record):
    retry_after: int | None = None
    migrate_to_chat_id: int | None = None


class _Result(Record):
    message_id: int


class _Answer(Record):
    ok: bool
    result: _Result | None = None
    description: str = ""
    parameters: _Parameters = _Parameters()


class Telegram(Messenger):
    """A bot: its webhook, and its API."""

    # An answer takes longer than Telegram waits.
    process_seconds = 0
    api_base = "https://api.telegram.org"
    max_length = 4_096

    def verify(self, secret: str, delivery: Delivery) -> None:
        """Compare the secret token with ours. Raises SecretInvalid."""
        require_same(secret, delivery.headers.get("x-telegram-bot-api-secret-token", ""))

    def parse(self, delivery: Delivery, external_id: str | None = None) -> tuple[Parsed, ...]:
        """The update's message or migration."""
        document = read_json(delivery.body)
        update = read_model(_Update, document)
        if isinstance(update, str):
            return (unknown(delivery, update),)
        message = update.message or update.edited_message
        if message is None:
            return (unknown(delivery, _kind(document), str(update.update_id)),)
        key = key_of(update.update_id)
        moved = _migrated(message, key)
        return (moved or _message(message, key, edited=update.message is None),)

    def call(self, part: Part, *, base: str, token: str, external_id: str | None) -> Call:
        """sendMessage; the token is in the URL."""
        document: dict[str, Any] = {"chat_id": int(part.chat_id), "text": part.text}
        if part.thread_id is not None:
            document["message_thread_id"] = int(part.thread_id)
        return Call(f"{base}/bot{token}/sendMessage", document, {})

    def outcome(self, status: int, retry_after: str | None, body: bytes) -> Sent | Rejected:
        """The id of the message, or why there is none."""
        answer = read_model(_Answer, _document(body))
        if isinstance(answer, str):
            return rejected(status, answer, retry_after) if status >= 300 else Sent(None)
        if answer.ok and status < 300:
            return Sent(None if answer.result is None else str(answer.result.message_id))
        seconds, moved = answer.parameters.retry_after, answer.parameters.migrate_to_chat_id
        refused = rejected(status, clean(answer.description), retry_after if seconds is None else str(seconds))
        return refused if moved is None else replace(refused, moved_to=str(moved))


provider = Telegram()

Config = MessengerConfig


def _document(body: bytes) -> object:
    try:
        return read_json(body)
    except InvalidJson:
        return None


def _kind(document: dict[str, Any]) -> str:
    """What an update is about: its one member besides its id."""
    names = [name for name in document if name != "update_id" and name.isidentifier()]
    return f"update: {names[0][:64]}" if names else "update"


def _migrated(message: _Message, key: str) -> ChatMigrated | None:
    """A group that became a supergroup; both of the chats report it."""
    here = message.chat.id
    if message.migrate_to_chat_id is not None:
        old, new = here, message.migrate_to_chat_id
    elif message.migrate_from_chat_id is not None:
        old, new = message.migrate_from_chat_id, here
    else:
        return None
    return ChatMigrated(
        delivery_key=key,
        ordering_key=key_of(here),
        old_chat_id=str(old),
        new_chat_id=str(new),
        sent_at=message.date,
    )


def _message(message: _Message, key: str, *, edited: bool) -> Parsed:
    text, attachments = clean(message.text or message.caption or ""), _attachments(message)
    if not text.strip() and not attachments:
        return Ignored("a service message")
    sender = _sender(message)
    if sender is None:
        return Ignored("a message of a bot")
    thread = message.message_thread_id if message.is_topic_message else None
    replied = message.reply_to_message.message_id if message.reply_to_message else None
    return ChannelMessage(
        delivery_key=key,
        ordering_key=key_of(message.chat.id) if thread is None else key_of(message.chat.id, thread),
        external_id=str(message.message_id),
        chat_id=str(message.chat.id),
        thread_id=None if thread is None else str(thread),
        sender=sender,
        is_group=message.chat.type != "private",
        group_title=clean(message.chat.title) if message.chat.title else None,
        text=text,
        attachments=attachments,
        sent_at=message.edit_date or message.date if edited else message.date,
        edited=edited,
        # Each message of a topic replies to the message that opened the topic.
        reply_to=None if replied is None or replied == thread else str(replied),
        mentions=_mentions(message, None if replied == thread else message.reply_to_message),
    )


def _mentions(message: _Message, replied: _Replied | None) -> tuple[str, ...]:
    """Whom a message addresses. The places of entities count UTF-16 units."""
    text = (message.text or message.caption or "").encode("utf-16-le", "surrogatepass")
    found = [str(replied.sender.id)] if replied and replied.sender else []
    for entity in message.entities or message.caption_entities:
        start = 2 * entity.offset
        said = text[start : start + 2 * entity.length].decode("utf-16-le", "replace").lower()
        if entity.type == "mention":
            found.append(said)
        elif entity.type == "text_mention" and entity.user is not None:
            found.append(str(entity.user.id))
        elif entity.type == "bot_command":
            command, at, bot = said.partition("@")
            found.append(f"@{bot}" if at else command[:1])
    return tuple(dict.fromkeys(clean(name) for name in found if name))


def _sender(message: _Message) -> Sender | None:
    """Who wrote a message: an anonymous admin is the group itself; None for a bot."""
    if (chat := message.sender_chat) is not None:
        return Sender(id=str(chat.id), name=clean(chat.title) if chat.title else None, username=_text(chat.username))
    user = message.sender
    if user is None or user.is_bot:
        return None
    name = clean(f"{user.first_name} {user.last_name}").strip()
    return Sender(id=str(user.id), name=name or None, username=_text(user.username))


def _attachments(message: _Message) -> tuple[Attachment, ...]:
    found: list[Attachment] = []
    if message.photo:  # in several sizes, the largest last
        largest = message.photo[-1]
        found.append(Attachment(kind="image", external_id=clean(largest.file_id), size=largest.file_size))
    for name, kind in _FILES:
        file: _File | None = getattr(message, name)
        if file is not None and not (name == "document" and message.animation is not None):
            found.append(_file(kind, file))
    if (place := message.location) is not None:
        found.append(Attachment(kind="location", name=f"{place.latitude}, {place.longitude}"))
    if (card := message.contact) is not None:
        found.append(Attachment(kind="contact", name=clean(f"{card.first_name} {card.phone_number}").strip()))
    return tuple(found)


def _file(kind: Any, file: _File) -> Attachment:
    return Attachment(
        kind=kind,
        external_id=clean(file.file_id),
        media_type=_text(file.mime_type),
        size=file.file_size,
        name=_text(file.file_name),
    )


def _text(value: str | None) -> str | None:
    return clean(value) if value else None
