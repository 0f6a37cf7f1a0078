"""Memories: remembered, listed and forgotten."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo, field_validator

from lib.auth import callers
from lib.database import commands, merge_targets, queries
from lib.database.paging import NewestPageRequest, Page
from lib.database.queries import Queries
from lib.fields.models import Body, Record
from lib.fields.types import Content, Label, Moment, Reason
from lib.workspaces import settings

Caller = callers.Contact | callers.User

MAX_MEMORIES = 100
"""Memories that one call may write."""

Kind = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


def _as_stored(number: float) -> float:
    """A number with the six digits that are stored: single precision refuses the very smallest."""
    return round(number, 6)


Importance = Annotated[float, Field(ge=0, le=1), AfterValidator(_as_stored)]
Score = Annotated[float, Field(ge=-100, le=100), AfterValidator(_as_stored)]


class NewMemory(Body):
    """Something to remember. ``kind`` is ``fact`` unless it is named; ``turn``, which members alone write, is a message
    of a dialogue, which is never folded."""

    content: Content
    kind: Kind | None = None
    importance: Importance = 0.5
    valid_from: Moment | None = None
    """Since when it holds; now unless it is named."""
    expires_at: Moment | None = None
    """From when it is not recalled any more: a time that is still to come, after ``valid_from``."""
    speaker: Label | None = None
    """The name of who said it."""
    message_id: UUID | None = None
    """The message that it comes from."""
    supersedes: UUID | None = None
    """The memory that this one corrects. The correction belongs to whom that memory belongs."""
    previous_id: UUID | None = None
    """Of a turn: the one before it, unless that is the one before it in this call."""

    @field_validator("expires_at")
    @classmethod
    def _ahead(cls, expires_at: datetime | None, given: ValidationInfo) -> datetime | None:
        # An import keeps what has expired meanwhile (lib/imports/items.py); here it would never be seen.
        if expires_at is not None and expires_at <= datetime.now(UTC):
            raise ValueError("must be in the future")
        valid_from = given.data.get("valid_from")
        if expires_at is not None and valid_from is not None and expires_at <= valid_from:
            raise ValueError("must be after valid_from")
        return expires_at


class RememberRequest(Body):
    """What to remember, all or none of it, and of whom.

    A contact or user writes what belongs to the own conversation, or to one of the own sessions (``session_id``). A
    member names a session, a contact, or neither: what the workspace knows. A session decides about contact, persona
    and proof.
    """

    memories: Annotated[tuple[NewMemory, ...], Field(min_length=1, max_length=MAX_MEMORIES)]
    workspace_id: UUID | None = None
    """May be omitted by a member of a single workspace."""
    contact_id: UUID | None = None
    session_id: UUID | None = None
    persona_id: UUID | None = None
    """The only persona that recalls it: the session's unless it is named; null: every persona."""

    def arguments(self) -> dict[str, Any]:
        """Arguments of the SQL function."""
        document = self.model_dump(mode="json")
        # What a memory does not name changes nothing of the one that it is folded into.
        named = [memory.model_dump(mode="json", exclude_none=True, exclude_unset=True) for memory in self.memories]
        return {
            **document,
            "memories": named,
            "every_persona": self.persona_id is None and "persona_id" in self.model_fields_set,
        }


class Memory(Record):
    """Something remembered about a contact, or without one, known by the workspace.

    ``persona_id``: only that persona recalls it. ``conversation_id``: only this conversation, which is without proof,
    recalls it. ``previous_id``: the turn before it. ``internal`` (a member or a machine wrote it), ``created_by`` and
    ``superseded_by`` are for members.
    """

    id: UUID
    workspace_id: UUID
    persona_id: UUID | None
    contact_id: UUID | None
    conversation_id: UUID | None
    session_id: UUID | None
    message_id: UUID | None
    speaker: str | None
    kind: str
    content: str
    importance: float
    previous_id: UUID | None
    valid_from: datetime
    expires_at: datetime | None
    created_at: datetime
    updated_at: datetime
    internal: bool | None = None
    created_by: UUID | None = None
    superseded_by: UUID | None = None


class RememberedMemory(Memory):
    """A stored memory; ``folded``: it was remembered before, in the same words."""

    folded: bool


class RememberResult(Record):
    """The memories in the order of the request."""

    memories: tuple[RememberedMemory, ...]

    @property
    def created(self) -> bool:
        """Whether one of them is new."""
        return not all(memory.folded for memory in self.memories)


class MemoryFilter(NewestPageRequest):
    """Filters of a list of memories; all given ones must match. Expired memories are left out."""

    workspace_id: UUID | None = None
    """May be omitted by a member of a single workspace (otherwise 422 ``workspace_required``)."""
    contact_id: UUID | None = None
    without_contact: bool = False
    """Only what the workspace knows."""
    persona_id: UUID | None = None
    session_id: UUID | None = None
    kind: Kind | None = None
    superseded: bool = False
    """Also memories that were corrected; for members."""
    text: Reason | None = None
    """A part of the content, in any case."""


class _Removed(Record):
    removed: bool


class _Workspace(Record):
    id: UUID


FOR_MEMBERS = ("internal", "created_by", "superseded_by")


async def remember(caller: Caller, wanted: RememberRequest) -> RememberResult:
    """Remember for the caller's session, or for whom a member names.

    Raises Refused: session_not_found, contact_not_found, conversation_not_found (a user without one),
    persona_not_found, message_not_found, memory_not_found, workspace_not_found, workspace_required, forbidden (a
    contact of other agents), memory_superseded (it was corrected before), rate_limited (contacts and users); and
    InvalidBody for a turn that a contact or user writes.
    """
    return await _acting(caller).call("remember_memories", wanted.arguments(), RememberResult)


async def forget(caller: Caller, memory_id: UUID) -> None:
    """Delete a memory, with those that it has corrected. Raises Refused (memory_not_found)."""
    await _acting(caller).call("forget_memory", {"memory_id": memory_id}, _Removed)


async def find(caller: Caller, search: MemoryFilter) -> Page[Memory]:
    """A page of the memories that the caller may read, newest first: those of a member's workspace, else the own ones.

    Raises Refused (workspace_required) if a member of several workspaces names none.
    """
    database = queries.reading_as(caller)
    if isinstance(caller, callers.Contact):
        return await _find(database, search)
    workspaces = database.table("workspaces").select("id").limit(1)
    if search.workspace_id is not None:
        workspaces = workspaces.eq("id", search.workspace_id)
    if not await database.rows(workspaces, _Workspace):
        return await _find(queries.reading_as(caller, as_member=False), search)
    changed = {
        "workspace_id": await settings.named_or_only_workspace(database, search.workspace_id),
        "contact_id": await merge_targets.find(database, search.contact_id),
    }
    return await _find(database, search.model_copy(update=changed), as_member=True)


async def _find(database: Queries, search: MemoryFilter, *, as_member: bool = False) -> Page[Memory]:
    columns = [name for name in Memory.model_fields if as_member or name not in FOR_MEMBERS]
    query = database.table("memories").select(*columns).or_("expires_at.is.null,expires_at.gt.now()")
    for name in ("workspace_id", "contact_id", "persona_id", "session_id", "kind"):
        if (value := getattr(search, name)) is not None:
            query = query.eq(name, value)
    if search.without_contact:
        # The turns of a member's own conversation have no contact either.
        query = query.is_("contact_id", None).is_("conversation_id", None)
    if as_member and not search.superseded:
        query = query.is_("superseded_by", None)
    if search.text is not None:
        # A pattern of like would have * as a wildcard.
        query = query.filter("content", "imatch", re.escape(search.text))
    return await database.newest(query, Memory, search)


def _acting(caller: Caller) -> commands.Rpc:
    return commands.acting_as(caller, callers.Scope.of_caller(caller))
