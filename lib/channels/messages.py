"""What arrives in a channel: messages, edits, chats with a new id, and what a member writes in the provider's app.

A job stores a message and starts its turn, which another job answers: so further messages can join the turn, or
interrupt it, meanwhile. Jobs of one chat run in the order in which its messages came.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from lib import errors, log, providers
from lib.auth import callers
from lib.chat import turn_runner, turns
from lib.chat.stopping import until_stopped
from lib.database import commands
from lib.database.commands import Rpc
from lib.fields import identities
from lib.fields.identities import Identity
from lib.fields.models import Record
from lib.jobs import queue
from lib.jobs.queue import Job
from lib.providers import Attachment, ChannelMessage, ChatMigrated
from lib.webhooks import deliveries

MAX_CHARACTERS = 16_000
"""Longest stored message, as in lib/fields/types.py."""

_WAIT_SECONDS = 1.0
"""How long a message waits for the answer to an earlier one, before it is tried again."""

_GROUP_KEYS: Mapping[str, str] = {"telegram": "", "whatsapp": "group:", "discord": "channel:"}
"""What comes before a group's id in its identity (lib/fields/identities.py)."""


class _Accepted(Record):
    turn_id: UUID | None


class _Changed(Record):
    changed: bool


class _Migrated(Record):
    contact_id: UUID | None


class _Recorded(Record):
    taken_over: bool
    stopping: bool = False


async def receive(job: Job) -> None:
    """Store what arrived in a channel; a message of a contact starts a turn, or joins one.

    Raises Postponed while an earlier message is being answered, if the persona does not allow interruptions.
    """
    work = deliveries.work_of(job, providers.Item)
    channel_id, item = work.channel_id, work.item
    if job.event is None or channel_id is None or not isinstance(item, ChannelMessage | ChatMigrated):
        raise errors.InvalidBody([errors.FieldError("event", "is no message of a channel")])
    rpc = commands.acting_as(callers.System(), callers.Scope(workspace_id=job.workspace_id))
    kind = job.event.source
    try:
        if not _is_accepted(item) and await deliveries.is_erased(job, _people(kind, item), item.sent_at):
            log.info("erased_message", channel_id=channel_id)
        elif isinstance(item, ChatMigrated):
            await _migrate(rpc, kind, channel_id, item)
        elif item.edited:
            await _edit(rpc, kind, channel_id, item)
        elif item.by_business:
            await _record_business_message(rpc, kind, channel_id, item)
        else:
            await _accept(rpc, kind, channel_id, item, job.event.id)
    except ValueError as unusual:
        raise errors.InvalidBody([errors.FieldError("sender", str(unusual))]) from None


async def answer(job: Job) -> None:
    """Answer a turn, as the chat does, but without a reader. Raises Postponed while another worker does."""
    try:
        turn = await turns.take_up(job.workspace_id, UUID(job.payload["turn_id"]), job.id)
    except turns.BeingAnswered:
        raise queue.Postponed(_WAIT_SECONDS) from None
    except errors.Refused as refused:
        if refused.code not in ("transition_not_allowed", "taken_over"):
            raise
        return  # a later message was answered, or a member answers
    if turn is not None:
        async for _ in turn_runner.stream_answer(turn):
            pass


async def _accept(rpc: Rpc, kind: str, channel_id: UUID, item: ChannelMessage, event_id: UUID) -> None:
    sender = _sender(kind, item)
    arguments = {
        "channel_id": channel_id,
        "thread_key": thread_key(item),
        "sender": sender,
        "chat_group": _group(kind, item),
        "speaker": _name(item) if item.is_group else None,
        "message": text_of(item),
        "client_message_id": _message_id(kind, item),
        "metadata": _metadata(kind, item),
        "attachments": _documents(item.attachments),
        "former_thread_key": _former_chat(kind, item),
        "mentions": item.mentions,
        "reply_to": item.reply_to,
        "sent_at": item.sent_at,
        "event_id": event_id,
    }

    async def attempt(last: bool) -> _Accepted:
        return await rpc.call("accept_channel_message", arguments | {"last_try": last}, _Accepted, repeatable=True)

    try:
        accepted = await until_stopped(attempt)
    except errors.Refused as refused:
        if refused.code != "turn_in_progress":
            raise
        raise queue.Postponed(_WAIT_SECONDS) from None
    log.info("channel_message", channel_id=channel_id, turn_id=accepted.turn_id)


async def _edit(rpc: Rpc, kind: str, channel_id: UUID, item: ChannelMessage) -> None:
    arguments = {
        "channel_id": channel_id,
        "thread_key": thread_key(item),
        "client_message_id": _message_id(kind, item),
        "message": text_of(item),
        "edited_at": item.sent_at.isoformat(),
    }
    await rpc.call("edit_channel_message", arguments, _Changed, repeatable=True)


async def _migrate(rpc: Rpc, kind: str, channel_id: UUID, item: ChatMigrated) -> None:
    old, new = item.old_chat_id, item.new_chat_id
    both = (identities.of(kind, old), identities.of(kind, new))
    arguments = {
        "channel_id": channel_id,
        "old_key": old,
        "new_key": new,
        "identities": [identity.document() for identity in both],
    }
    await rpc.call("migrate_chat", arguments, _Migrated, repeatable=True)


async def _record_business_message(rpc: Rpc, kind: str, channel_id: UUID, item: ChannelMessage) -> None:
    arguments = {
        "channel_id": channel_id,
        "thread_key": thread_key(item),
        "message": text_of(item),
        "client_message_id": _message_id(kind, item),
        "attachments": _documents(item.attachments),
    }
    recorded = await rpc.call("record_business_message", arguments, _Recorded, repeatable=True)
    log.info("business_message", channel_id=channel_id, taken_over=recorded.taken_over)


def thread_key(item: ChannelMessage) -> str:
    """The key of a message's conversation: its chat, and the topic of a forum."""
    return item.chat_id if item.thread_id is None else f"{item.chat_id}:{item.thread_id}"


def _message_id(kind: str, item: ChannelMessage) -> str:
    """The provider's id of a message as a client message id, which members choose too."""
    return f"{kind}:{item.external_id}"[:200]


def text_of(item: ChannelMessage) -> str:
    """What is stored of a message: its text or caption, else what it shows, such as [image]."""
    shown = item.text if item.text.strip() else " ".join(_shown(one) for one in item.attachments)
    return shown[:MAX_CHARACTERS]


def _shown(attachment: Attachment) -> str:
    kind = "photo" if attachment.kind == "image" else attachment.kind
    return f"[{kind}: {attachment.name}]" if attachment.name else f"[{kind}]"


def _sender(kind: str, item: ChannelMessage) -> dict[str, Any] | None:
    """Who wrote a message, as the database takes it; None for the group itself."""
    sender = item.sender
    given = [identities.of(kind, sender.id)]
    if kind == "whatsapp" and sender.phone is not None:
        given.append(identities.of(kind, sender.phone))
    if item.is_group and given[0].contact_kind == "group":
        return None
    name = (sender.name or sender.username or "")[:200].strip()
    return _contact(tuple(given), {"first_name": name, "source": kind} if name else {"source": kind})


def _is_accepted(item: ChannelMessage | ChatMigrated) -> bool:
    """Whether it is a message of a contact, with which the database itself looks for an erasure."""
    return isinstance(item, ChannelMessage) and not item.edited and not item.by_business


def _people(kind: str, item: ChannelMessage | ChatMigrated) -> list[dict[str, Any]]:
    """Whose message it is: the sender, or the person to whom the business wrote; or whose chat has another id."""
    if isinstance(item, ChatMigrated):
        ids = [item.old_chat_id, item.new_chat_id]
    else:
        ids = [item.chat_id if item.by_business else item.sender.id]
    return [identities.of(kind, one).document() for one in ids]


def _group(kind: str, item: ChannelMessage) -> dict[str, Any] | None:
    if not item.is_group:
        return None
    title = (item.group_title or "")[:200].strip()
    group = identities.of(kind, f"{_GROUP_KEYS[kind]}{item.chat_id}")
    return _contact((group,), {"title": title, "source": kind} if title else {"source": kind})


def _contact(given: tuple[Identity, ...], profile: dict[str, Any]) -> dict[str, Any]:
    return {"identities": identities.documents(given), "profile": profile}


def _metadata(kind: str, item: ChannelMessage) -> dict[str, Any]:
    """What the persona is told besides the text."""
    return {"source": kind, **({"sender": {"id": item.sender.id, "name": _name(item)}} if item.is_group else {})}


def _name(item: ChannelMessage) -> str:
    """A sender's name in a group; the persona reads it before each text."""
    return (item.sender.name or item.sender.username or item.sender.id)[:200]


def _former_chat(kind: str, item: ChannelMessage) -> str | None:
    """The chat's id from before it had a business-scoped one: WhatsApp's number."""
    phone = item.sender.phone
    if kind != "whatsapp" or item.is_group or phone is None or phone.removeprefix("+") == item.chat_id:
        return None
    return phone.removeprefix("+")


def _documents(attachments: tuple[Attachment, ...]) -> list[dict[str, Any]]:
    names = Attachment.__dataclass_fields__
    return [{name: getattr(one, name) for name in names} for one in attachments]
