"""The history of a conversation: its messages, the newest first."""

import contextlib
from datetime import datetime
from typing import Literal
from uuid import UUID

from lib import errors
from lib.auth import callers
from lib.auth.callers import Proof
from lib.conversations import stream
from lib.database import queries
from lib.database.paging import NewestPageRequest, Page
from lib.database.queries import Queries
from lib.fields.models import Record
from lib.personas import Role
from lib.sessions.models import FOR_MEMBERS, KeptAttachment, SentPart

ARCHIVED = 100
"""Archived sessions that a page of messages names."""


class ConversationMessage(Record):
    """A message; ``partial``: the answer was cut off. ``turn_id`` is null for a member's message and a follow-up.

    ``proof``, of a contact's message: whether the contact has proven who they are. ``speaker``, of what a contact's
    device heard: who spoke, if it was not the contact; in a group, who wrote it. ``changed_at``: when its text last
    changed. ``user_id`` (of a member's message: the member or API key who wrote it), ``deliveries`` and ``attachments``
    are for members.
    """

    id: UUID
    session_id: UUID
    turn_id: UUID | None
    role: Role
    speaker: str | None = None
    text: str
    partial: bool
    created_at: datetime
    changed_at: datetime | None = None
    proof: Proof | None
    user_id: UUID | None = None
    deliveries: tuple[SentPart, ...] | None = None
    attachments: tuple[KeptAttachment, ...] | None = None


class ArchivedMessages(Record):
    """A session of the conversation whose messages are in the archive only (`GET /archive/{session_id}`)."""

    session_id: UUID
    message_count: int
    stored_at: datetime


class MessagePage(Page[ConversationMessage]):
    """A page of a conversation's messages. ``archived``, on the last page: the sessions whose messages are no longer
    in the database, the newest 100 first."""

    archived: tuple[ArchivedMessages, ...] | None = None


class _Conversation(Record):
    id: UUID


class OwnConversation(Record):
    """A conversation of the signed-in user."""

    id: UUID
    persona_id: UUID
    contact_id: UUID | None
    created_at: datetime


class CurrentConversation(Record):
    """The user's own conversation with the newest message, absent without one, and its newest messages in order."""

    ok: Literal[True] = True
    conversation: OwnConversation | None
    messages: tuple[ConversationMessage, ...]


async def read_current(user: callers.User) -> CurrentConversation:
    """The user's current conversation, read as the person whose it is."""
    conversation_id = await stream.current(user)
    if conversation_id is None:
        return CurrentConversation(conversation=None, messages=())
    database = queries.reading_as(user, as_member=False)
    known = database.table("conversations").select(",".join(OwnConversation.model_fields)).eq("id", conversation_id)
    newest = await list_newest(database, conversation_id, NewestPageRequest())
    return CurrentConversation(
        conversation=await database.one(known, OwnConversation, "conversation"), messages=newest.items[::-1]
    )


async def read(caller: callers.Contact | callers.User, conversation_id: UUID, page: NewestPageRequest) -> MessagePage:
    """A page of the messages that the caller may read, as a member or else as the conversation's own person.

    Raises as list_newest.
    """
    if isinstance(caller, callers.Contact):
        return await list_newest(queries.reading_as(caller), conversation_id, page)
    with contextlib.suppress(errors.NotFound):
        found = await list_newest(queries.reading_as(caller), conversation_id, page, as_member=True)
        # A member of another workspace sees there that the conversation is theirs, and no messages.
        if found.items:
            return found
    return await list_newest(queries.reading_as(caller, as_member=False), conversation_id, page)


async def list_newest(
    database: Queries, conversation_id: UUID, page: NewestPageRequest, *, as_member: bool = False
) -> MessagePage:
    """A page of the messages that these queries may read. Raises NotFound (conversation_not_found)."""
    columns = [name for name in ConversationMessage.model_fields if name not in ("deliveries", "attachments")]
    query = database.table("conversation_messages").select(*columns, *(FOR_MEMBERS if as_member else ()))
    found = await database.newest(query.eq("conversation_id", conversation_id), ConversationMessage, page)
    if not found.items:
        known = database.table("conversations").select("id").eq("id", conversation_id)
        await database.one(known, _Conversation, "conversation")
    archived = None
    if found.next_cursor is None:
        gone = database.table("session_archives").select(",".join(ArchivedMessages.model_fields))
        gone = gone.eq("conversation_id", conversation_id).eq("is_current", "true").eq("messages_dropped", "true")
        archived = await database.rows(gone.order("session_id", desc=True).limit(ARCHIVED), ArchivedMessages)
    return MessagePage(items=found.items, next_cursor=found.next_cursor, archived=archived or None)
