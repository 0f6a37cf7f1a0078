"""Sending messages through a channel: in parts, each at most once unless the provider recognises a repeat.

That a part is being sent is recorded before the provider is called, and the outcome after. If a worker dies in between,
or the call breaks off, it is unknown whether the part was sent. It is then sent again only if the provider recognises
the repeat (`Messenger.repeatable`); otherwise it is marked `unknown` for members (docs/channels.md).
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from lib import errors, log
from lib.auth import callers
from lib.channels import messenger_api
from lib.channels.messenger_api import Connection
from lib.database import commands
from lib.database.commands import Rpc
from lib.fields import identities
from lib.fields.models import Empty, Record
from lib.jobs import queue
from lib.jobs.queue import Job
from lib.providers import ChannelMessage, Delivery, DeliveryStatus, Messenger, Part, Rejected, Sent
from lib.webhooks import deliveries

PATIENCE_SECONDS = 10.0
"""A wait that a provider asks for is taken at once if it is no longer; a longer one is left to the queue."""

_BROKE_OFF = "The call broke off, so it may have been sent."

Status = Literal["sending", "unknown", "sent", "failed", "delivered", "read"]


class _KnownPart(Record):
    status: Status
    attempted_at: datetime


class _Sending(Record):
    channel_id: UUID
    thread_key: str
    is_group: bool
    text: str
    channel: Connection | None
    asked: str | None = Field(repr=False)
    parts: Mapping[int, _KnownPart]


@dataclass(frozen=True)
class _Route:
    """Where a message goes, and how."""

    rpc: Rpc
    message_id: UUID
    channel_id: UUID
    connection: Connection
    messenger: Messenger


class _Migrated(Record):
    contact_id: UUID | None


class _Changed(Record):
    changed: bool


async def send(job: Job) -> None:
    """Send a message's parts that are not sent yet, one after another.

    Raises RetryLater for what passes, and Refused (channel_not_connected, sending_refused): the job is dead then, the
    message marked as failed, and a replay of the job tries it again.
    """
    rpc = commands.acting_as(callers.System(), callers.Scope(workspace_id=job.workspace_id))
    message_id = UUID(job.payload["message_id"])
    sending = await rpc.call("open_sending", {"message_id": message_id}, _Sending, repeatable=True)
    connection = sending.channel
    if connection is None or not connection.enabled or connection.token is None:
        await _record(rpc, message_id, 0, "failed", error="The channel is not connected.")
        raise errors.Refused(422, "channel_not_connected")
    messenger = connection.messenger
    route = _Route(rpc, message_id, sending.channel_id, connection, messenger)
    asked = _asked(messenger, sending.asked)
    chat_id, _, thread_id = sending.thread_key.partition(":")
    for number, text in enumerate(split(sending.text, messenger.max_length)):
        part = Part(
            text=text,
            chat_id=chat_id,
            thread_id=thread_id or None,
            is_group=sending.is_group,
            number=number,
            reference=f"{message_id}:{number}",
            asked=asked,
        )
        await _send_part(route, part, sending.parts.get(number))


async def record_status(job: Job) -> None:
    """Record what a provider reports of a part."""
    work = deliveries.work_of(job, DeliveryStatus)
    if await _is_erased(job, work.item):
        log.info("erased_status", channel_id=work.channel_id)
        return
    message_id, part = _reference(work.item.reference)
    arguments = {
        "channel_id": work.channel_id,
        "external_id": work.item.external_id,
        "status": work.item.status,
        "error": work.item.error,
        "message_id": message_id,
        "part": part,
    }
    rpc = commands.acting_as(callers.System(), callers.Scope(workspace_id=job.workspace_id))
    await rpc.call("record_sending_status", arguments, _Changed, repeatable=True)


async def _is_erased(job: Job, status: DeliveryStatus) -> bool:
    """Whether the message went to a contact who was erased since."""
    if job.event is None or status.recipient is None:
        return False
    try:
        recipient = identities.of(job.event.source, status.recipient)
    except ValueError:
        return False  # of a form that no contact has
    return await deliveries.is_erased(job, [recipient.document()], status.at)


def split(text: str, most: int) -> list[str]:
    """The text in parts of at most so many UTF-16 units, divided between paragraphs, else lines, else words."""
    parts: list[str] = []
    rest = text.strip()
    while _units(rest) > most:
        head = _head(rest, most)
        ends = (head.rfind(mark) for mark in ("\n\n", "\n", " "))
        # Not so early that parts become tiny.
        end = next((end for end in ends if end > len(head) // 2), len(head))
        parts.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    return [*parts, rest] if rest else parts


async def _send_part(route: _Route, part: Part, known: _KnownPart | None) -> None:
    if known is not None and known.status in ("sent", "delivered", "read"):
        return
    if known is not None and known.status in ("sending", "unknown"):
        seconds = (datetime.now(UTC) - known.attempted_at).total_seconds()
        if not route.messenger.repeatable(part, seconds):
            await _record(route.rpc, route.message_id, part.number, "unknown", error=_BROKE_OFF)
            return
    await _record(route.rpc, route.message_id, part.number, "sending")
    outcome = await _deliver(route, part)
    if isinstance(outcome, Sent):
        await _record(route.rpc, route.message_id, part.number, "sent", external_id=outcome.external_id)
    elif outcome is None:
        if route.messenger.repeatable(part, 0):
            raise queue.RetryLater("call_broke_off")
        await _record(route.rpc, route.message_id, part.number, "unknown", error=_BROKE_OFF)
    else:
        await _record(route.rpc, route.message_id, part.number, "failed", error=outcome.error)
        log.warning("sending_failed", message_id=route.message_id, part=part.number, retryable=outcome.retryable)
        if outcome.retryable:
            raise queue.RetryLater("sending_failed", outcome.retry_after)
        raise errors.Refused(422, "sending_refused")


async def _deliver(route: _Route, part: Part) -> Sent | Rejected | None:
    """Call the provider, again after a short wait that it asks for; None if it is unknown whether the part arrived."""
    outcome = await messenger_api.send(route.connection, part)
    if not isinstance(outcome, Rejected):
        return outcome
    if outcome.moved_to is not None:
        await _migrate(route, part.chat_id, outcome.moved_to)
        return await messenger_api.send(route.connection, replace(part, chat_id=outcome.moved_to))
    if outcome.retryable and 0 < outcome.retry_after <= PATIENCE_SECONDS:
        await asyncio.sleep(outcome.retry_after)
        return await messenger_api.send(route.connection, part)
    return outcome


async def _migrate(route: _Route, old: str, new: str) -> None:
    both = [identities.of(route.connection.kind, chat).document() for chat in (old, new)]
    arguments = {"channel_id": route.channel_id, "old_key": old, "new_key": new, "identities": both}
    await route.rpc.call("migrate_chat", arguments, _Migrated, repeatable=True)


async def _record(rpc: Rpc, message_id: UUID, part: int, status: Status, **more: str | None) -> None:
    arguments = {"message_id": message_id, "part": part, "status": status, **more}
    await rpc.call("record_sending", arguments, Empty, repeatable=True)


def _asked(messenger: Messenger, raw_body: str | None) -> ChannelMessage | None:
    """The message that waits for an answer, from its stored delivery."""
    if raw_body is None:
        return None
    items = messenger.parse(Delivery({}, raw_body.encode(), {}))
    return next((item for item in items if isinstance(item, ChannelMessage)), None)


def _reference(reference: str | None) -> tuple[UUID | None, int | None]:
    message_id, _, part = (reference or "").partition(":")
    try:
        return UUID(message_id), int(part)
    except ValueError:
        return None, None


def _units(text: str) -> int:
    return len(text) + sum(character > "\uffff" for character in text)


def _head(text: str, most: int) -> str:
    """The longest beginning of a text with at most so many UTF-16 units."""
    units = 0
    for place, character in enumerate(text):
        units += 2 if character > "\uffff" else 1
        if units > most:
            return text[:place]
    return text
