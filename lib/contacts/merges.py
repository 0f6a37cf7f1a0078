"""Merging contacts and undoing it, and the pairs that somebody called the same and a member is to decide."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BeforeValidator, Field

from lib import errors
from lib.database.management import Database
from lib.database.paging import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, Page
from lib.fields.identities import ContactKind
from lib.fields.models import Body, Record
from lib.fields.types import in_any_case

ConflictStatus = Literal["open", "merged", "dismissed"]


class MergeRequest(Body):
    """The contact to merge into; ``preview``: only say what that would do."""

    into: UUID
    preview: bool = False


class Merge(Record):
    """That a contact was merged into another: by a member (none: an operator), or where it followed from proof."""

    id: UUID
    contact_id: UUID
    into_id: UUID
    automatic: bool
    verified_by: str | None
    merged_by: UUID | None
    created_at: datetime
    undone_at: datetime | None
    undone_by: UUID | None


class Moves(Record):
    """How many rows move; ``groups``: the person's memberships, or the group's participants."""

    identities: int
    conversations: int
    sessions: int
    messages: int
    tags: int
    groups: int


class MovedIdentity(Record):
    """An identity that moves."""

    kind: str
    key: str
    value: str
    evidence: Literal["asserted", "verified"]


class ProfileFill(Record):
    """What the standing contact has none of and is given: also the session first linked."""

    first_name: str | None = None
    last_name: str | None = None
    title: str | None = None
    source: str | None = None
    session_id: UUID | None = None
    attributes: dict[str, Any] = Field(default_factory=dict)


class KeptName(Record):
    """Two names of which the standing contact's is kept."""

    kept: str
    other: str


class KeptSession(Record):
    """Two linked sessions of which the standing contact's is kept."""

    kept: UUID
    other: UUID


class SharedThread(Record):
    """A thread that both have: the standing contact's goes on, the other's keeps its history under a key of its own."""

    conversation_id: UUID
    other_conversation_id: UUID
    persona_id: UUID
    channel: str
    thread_key: str


class Collisions(Record):
    """What both have: names and linked sessions that differ, threads, names of attributes; how many tags and groups."""

    name: KeptName | None = None
    session: KeptSession | None = None
    threads: tuple[SharedThread, ...]
    attributes: tuple[str, ...]
    tags: int
    groups: int


class MergePreview(Record):
    """What merging one contact into another moves, and what collides."""

    contact_id: UUID
    into_id: UUID
    moves: Moves
    identities: tuple[MovedIdentity, ...]
    tags: tuple[str, ...]
    takes_over: ProfileFill
    collides: Collisions


class MergeResult(Record):
    """A merge with what it did. ``changed`` is false for a preview, and where the two were merged before."""

    merge: Merge | None = None
    preview: MergePreview | None = None
    changed: bool


class ConflictContact(Record):
    """One of two contacts; ``standing_id`` is another where it was merged since."""

    id: UUID
    kind: ContactKind
    name: str | None
    standing_id: UUID


class Conflict(Record):
    """Two contacts that were called the same.

    ``found_by`` is ``resolve`` (identities that were brought together), ``asserted`` (somebody's word), or what stood
    behind a proof.
    """

    id: UUID
    workspace_id: UUID
    contact: ConflictContact
    other_contact: ConflictContact
    found_by: str
    status: ConflictStatus
    merge_id: UUID | None
    closed_by: UUID | None
    created_at: datetime
    closed_at: datetime | None


class ConflictFilter(Body):
    """Which conflicts are asked for."""

    workspace_id: UUID | None = None
    status: Annotated[ConflictStatus, BeforeValidator(in_any_case)] = "open"
    limit: int = Field(default=DEFAULT_PAGE_SIZE, ge=1, le=MAX_PAGE_SIZE)
    cursor: UUID | None = None

    def arguments(self) -> dict[str, Any]:
        """How the database is asked."""
        return {
            "workspace_id": self.workspace_id,
            "status": self.status,
            "after": self.cursor,
            "page_size": self.limit,
        }


async def merge(database: Database, contact_id: UUID, new: MergeRequest) -> MergeResult:
    """Merge a contact into another of its workspace, or into the one that stands for that; again is the same merge.

    Raises Refused: contact_not_found for whoever is no member and for a contact of another workspace, forbidden,
    same_contact, already_merged (into another), kinds_differ; and BackendUnavailable, as do all of these.
    """
    if new.into == contact_id:
        raise errors.Refused(409, "same_contact")
    arguments = {"contact_id": contact_id, "into_id": new.into, "preview": new.preview}
    return await database.call("merge_contacts", arguments, MergeResult, repeatable=True)


async def unmerge(database: Database, contact_id: UUID) -> MergeResult:
    """Undo the merge of a contact: what moved goes back as it was, with what was said in it since.

    Raises Refused: contact_not_found, forbidden, not_merged, merged_further (undo that merge first).
    """
    return await database.call("unmerge_contact", {"contact_id": contact_id}, MergeResult)


async def conflicts(database: Database, search: ConflictFilter) -> Page[Conflict]:
    """A page of a workspace's conflicts, newest first. Raises Refused (workspace_not_found, workspace_required)."""
    return await database.call("list_contact_conflicts", search.arguments(), Page[Conflict], repeatable=True)


async def dismiss(database: Database, conflict_id: UUID) -> Conflict:
    """Say that two contacts are not the same; again changes nothing.

    Raises Refused: conflict_not_found, forbidden, already_merged.
    """
    return await database.call("dismiss_contact_conflict", {"conflict_id": conflict_id}, Conflict, repeatable=True)
