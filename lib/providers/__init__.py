"""Providers: the senders of webhooks. One module per sender, found by its name in the path.

A module of this package is a provider if it defines `provider`, an object of a subclass of `Provider`. Providers are
pure: they take a delivery and return values or raise an error of lib/errors. `reference` reads the unverified delivery
only to find its secret; then `verify` authenticates the sender, and only then `parse` may be trusted.

A verified delivery of a sender whose format is its own (all but n8n) is never refused for its content: what `parse`
does not understand is `Unknown`, and is stored and parked.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError

from lib.errors import InvalidJson, NotFound, SecretInvalid
from lib.fields.models import StrictRecord

TOLERANCE_SECONDS = 300
"""How far a signed timestamp may be from our clock: the five minutes of Standard Webhooks."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_PLAIN_KEY = re.compile(r"[\x21-\x7e]{1,240}")


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery as it came: headers with names in lower case, the query's parameters, and the body."""

    headers: Mapping[str, str]
    body: bytes
    query: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing that a delivery reports.

    ``delivery_key`` is the same whenever a channel's sender reports it again; None if nothing tells a repeat from news.
    Items of a channel with the same ``ordering_key`` are processed one after another.
    """

    delivery_key: str | None
    ordering_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AsyncAnswer(Item):
    """A persona's answer by webhook: a text, an error, or a partial text with an error.

    `turn_id` is a UUID in canonical form.
    """

    turn_id: str
    text: str | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who wrote a message. ``id`` is the provider's lasting id; the others may change, and may be missing."""

    id: str
    name: str | None = None
    username: str | None = None
    phone: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A reference to a file at the provider: its id there, or its URL. A location's ``name`` is its coordinates."""

    kind: Literal["image", "audio", "video", "document", "sticker", "location", "contact"]
    external_id: str | None = None
    url: str | None = None
    media_type: str | None = None
    size: int | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelMessage(Item):
    """A message in a chat of a messenger.

    ``external_id`` is unique within the chat (``chat_id``). ``thread_id`` is the topic of a forum. ``edited``: it
    replaces the text of the message with this id. ``by_business``: it was written in the provider's own app by the
    business; ``sender`` is then the business. ``reply_token`` completes the answer to a command (Discord).

    ``mentions`` are those whom a message in a group addresses, by mentioning them, replying to them, or with a command:
    ids, and names in lower case as ``@name``; ``/`` is a command to whatever bot.
    """

    external_id: str
    chat_id: str
    thread_id: str | None = None
    sender: Sender
    is_group: bool = False
    group_title: str | None = None
    text: str = ""
    attachments: tuple[Attachment, ...] = ()
    sent_at: datetime
    edited: bool = False
    by_business: bool = False
    reply_to: str | None = None
    reply_token: str | None = None
    mentions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryStatus(Item):
    """What became of a message that we sent. Statuses arrive in any order. ``reference`` is ours, if it is echoed.
    ``recipient`` is the chat to which it went."""

    external_id: str
    reference: str | None = None
    recipient: str | None = None
    status: Literal["sent", "delivered", "read", "failed"]
    error: str | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatMigrated(Item):
    """A chat, or a person's number, has another id from now on."""

    old_chat_id: str
    new_chat_id: str
    sent_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BusinessEvent(Item):
    """An object of a business system has changed. ``href`` has its present state; it is untrusted until its host is
    checked. ``trip_id`` is the short code or the id of its trip."""

    type: str
    href: str
    external_id: str
    trip_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A piece of a transcript. It may come again with the same id and a longer text. Times are in seconds."""

    id: str | None
    text: str
    speaker: str | None
    is_user: bool
    start: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSegments(Item):
    """Pieces of a running transcript. ``session_id`` may be the device's ``uid`` itself."""

    uid: str | None
    session_id: str
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceConversation(Item):
    """A finished conversation; it may come again after it was processed anew: the later one replaces it."""

    uid: str
    external_id: str
    started_at: datetime | None
    finished_at: datetime | None
    title: str | None
    overview: str | None
    discarded: bool
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown(Item):
    """Something that we do not process: it is stored and parked. The reason has no text of the delivery."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ignored:
    """Nothing to store: a ping, or a report without a content."""

    reason: str


Parsed = Item | Ignored


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The response to a verified delivery: a JSON document, or none."""

    document: Mapping[str, Any] | None
    status: int = 200


class Provider:
    """A sender of webhooks."""

    process_seconds: float = 5.0
    """How long a delivery is processed before it is acknowledged; 0: it is left to the worker."""

    def reference(self, delivery: Delivery) -> str:
        """What the unverified delivery says it belongs to, to find the secret: a channel's external id.

        Called if the URL has no channel. Raises NotFound (channel_not_found) if deliveries of this sender do not tell,
        and InvalidJson, InvalidBody.
        """
        raise NotFound("channel")

    def verify(self, secret: str, delivery: Delivery) -> None:
        """Verify, in constant time, that the sender knows the secret. Raises SecretInvalid, TimestampInvalid."""
        raise SecretInvalid

    def parse(self, delivery: Delivery, external_id: str | None = None) -> tuple[Parsed, ...]:
        """What the delivery reports, in its order. ``external_id`` is its channel's. Raises InvalidJson, and n8n's
        InvalidBody."""
        raise NotImplementedError

    def acknowledgement(self, delivery: Delivery, *, duplicate: bool) -> Acknowledgement:
        """The response that the sender expects to a verified delivery."""
        return Acknowledgement({"received": True, "duplicate": duplicate})


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a message that goes to a chat, as one message there.

    ``reference`` is our name of the part, always the same. ``asked`` is the message that it answers, if the provider
    has an answer wait for it; only ``is_first`` completes that.
    """

    text: str
    chat_id: str
    thread_id: str | None = None
    is_group: bool = False
    number: int = 0
    reference: str
    asked: ChannelMessage | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a provider's API."""

    url: str
    document: Mapping[str, Any]
    headers: Mapping[str, str]
    method: Literal["POST", "PATCH"] = "POST"


@dataclass(frozen=True, slots=True)
class Sent:
    """The provider has taken a part, under this id."""

    external_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """The provider has not taken a part. ``error`` has no secret. ``moved_to``: the chat has this id from now on.
    ``cause``: the provider refused it, the address may not be called, or no connection was made."""

    error: str
    cause: Literal["provider", "address", "network"] = "provider"
    retryable: bool = False
    retry_after: float = 0
    moved_to: str | None = None


class MessengerConfig(StrictRecord):
    """What a persona answers in a messenger's groups, the name by which it is mentioned there (a bot's username, a
    number), and the address of the provider's API, by default the provider's own."""

    group_replies: Literal["mentions", "all"] = "mentions"
    username: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.]{1,64}$")
    api_base: str | None = Field(default=None, pattern=r"^https?://[^\s?#]+[^\s?#/]$", max_length=200)


class Messenger(Provider):
    """A sender of webhooks whose chats can be answered."""

    api_base: str
    """The address of its API."""

    max_length: int
    """Longest text of a message, in UTF-16 units."""

    def call(self, part: Part, *, base: str, token: str, external_id: str | None) -> Call:
        """The call that sends a part; ``external_id`` is the channel's."""
        raise NotImplementedError

    def outcome(self, status: int, retry_after: str | None, body: bytes) -> Sent | Rejected:
        """What an answer says of the part. ``retry_after`` is the header."""
        raise NotImplementedError

    def repeatable(self, part: Part, seconds: float) -> bool:
        """Whether a call can be repeated so many seconds after one that may have arrived: the
        provider then sends the part once all the same."""
        return False


def rejected(status: int, error: str, retry_after: str | None) -> Rejected:
    """The usual meaning of a status: 429 and 5xx are worth another call."""
    seconds = float(retry_after) if retry_after and re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", retry_after) else 0.0
    words = f"{status} {error}".strip()
    return Rejected(error=words[:500], retryable=status == 429 or status >= 500, retry_after=seconds)


def find(name: str) -> Provider:
    """The provider with this name. Raises NotFound (provider_not_found)."""
    path = f"{__name__}.{name}"
    if not _NAME.fullmatch(name) or find_spec(path) is None:
        raise NotFound("provider")
    provider = importlib.import_module(path).provider
    if not isinstance(provider, Provider):
        raise TypeError(f"{path} defines no provider")
    return provider


Model = TypeVar("Model", bound=BaseModel)


def read_json(body: bytes) -> Any:
    """The JSON value of a body. Raises InvalidJson."""
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise InvalidJson from None


def read_model(model: type[Model], value: object) -> Model | str:
    """A JSON value as a model, or the reason why it is none: the first field that does not fit, without its value."""
    try:
        return model.model_validate(value)
    except ValidationError as invalid:
        fault = invalid.errors(include_input=False, include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in fault["loc"] if isinstance(part, int) or part.isidentifier())
    return f"malformed: {place or 'body'}"[:200]


def unknown(delivery: Delivery, reason: str, key: str | None = None) -> Unknown:
    """The whole delivery as something that we do not process; without a key of its own, its body's hash is its key."""
    found = key_of(key) if key else digest(delivery.body)
    return Unknown(delivery_key=found, ordering_key=found, reason=reason)


def key_of(*parts: object) -> str:
    """A key of these parts that can be stored: they are joined; a long or unprintable key becomes its hash."""
    joined = ":".join(str(part) for part in parts)
    return joined if _PLAIN_KEY.fullmatch(joined) else digest(joined.encode("utf-8", "surrogatepass"))


def digest(content: bytes) -> str:
    """A hash as a key."""
    return hashlib.sha256(content).hexdigest()


def require_same(secret: str, offered: str) -> None:
    """Compare in constant time. Raises SecretInvalid, also if there is no secret."""
    if not hmac.compare_digest(secret.encode(), offered.encode("utf-8", "surrogateescape")) or not secret:
        raise SecretInvalid


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
