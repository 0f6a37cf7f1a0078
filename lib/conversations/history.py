"""The history of a conversation: its messages, the newest first."""

from datetime import datetime
from uuid import UUID

from lib.auth.callers import Proof
from lib.database.paging import NewestPageRequest, Page
from lib.database.queries import Queries
from lib.fields.models import Record
from lib.personas import Role


class ConversationMessage(Record):
    """A message; ``partial``: the answer was cut off. ``turn_id`` is null for a member's message and a follow-up.

    ``proof``, of a contact's message: whether the contact has proven who they are.
    """

    id: UUID
    session_id: UUID
    turn_id: UUID | None
    role: Role
    text: str
    partial: bool
    created_at: datetime
    proof: Proof | None


class _Conversation(Record):
    id: UUID


async def list_newest(queries: Queries, conversation_id: UUID, page: NewestPageRequest) -> Page[ConversationMessage]:
    """A page of the messages that the caller may read. Raises NotFound (conversation_not_found)."""
    query = queries.table("conversation_messages").select(",".join(ConversationMessage.model_fields))
    found = await queries.newest(query.eq("conversation_id", conversation_id), ConversationMessage, page)
    if not found.items:
        known = queries.table("conversations").select("id").eq("id", conversation_id)
        await queries.one(known, _Conversation, "conversation")
    return found
