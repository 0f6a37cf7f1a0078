"""Merging contacts, undoing merges, and conflicts: possible duplicates that a member decides about."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BeforeValidator, Field

from lib import errors
from lib.database.management import Database
from lib.database.paging import NewestPageRequest, Page
from lib.database.queries import Queries
from lib.fields.identities import ContactKind
from lib.fields.models import Body, Record
from lib.fields.types import Flag, in_any_case
from lib.workspaces import settings

ConflictStatus = Literal["open", "merged", "dismissed"]


class MergeRequest(Body):
    """The contact to merge into; ``preview`` only reports what the merge would do."""

    into: UUID
    preview: Flag = False


class Merge(Record):
    """A merge of one contact into another, by a member, an operator (no ``merged_by``) or automatically by proof."""

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
    """Numbers of moved rows; ``groups``: a person's memberships, or a group's participants."""

    identities: int
    conversations: int
    sessions: int
    messages: int
    tags: int
    groups: int
    memories: int


class MovedIdentity(Record):
    """A moved identity."""

    kind: str
    key: str
    value: str
    evidence: Literal["asserted", "verified"]


class ProfileFill(Record):
    """Profile fields that the target contact lacks and receives, and the linked session."""

    first_name: str | None = None
    last_name: str | None = None
    title: str | None = None
    source: str | None = None
    session_id: UUID | None = None
    attributes: dict[str, Any] = Field(default_factory=dict)


class KeptName(Record):
    """Two different names; the target's is kept."""

    kept: str
    other: str


class KeptSession(Record):
    """Two different linked sessions; the target's is kept."""

    kept: UUID
    other: UUID


class SharedThread(Record):
    """A thread of both contacts: the target's continues, the other keeps its history under a new key."""

    conversation_id: UUID
    other_conversation_id: UUID
    persona_id: UUID
    channel: str
    thread_key: str


class Collisions(Record):
    """What both contacts have: different names and linked sessions, threads, attributes; numbers of tags and groups."""

    name: KeptName | None = None
    session: KeptSession | None = None
    threads: tuple[SharedThread, ...]
    attributes: tuple[str, ...]
    tags: int
    groups: int


class MergePreview(Record):
    """The moves and collisions of a merge."""

    contact_id: UUID
    into_id: UUID
    moves: Moves
    identities: tuple[MovedIdentity, ...]
    tags: tuple[str, ...]
    takes_over: ProfileFill
    collides: Collisions


class MergeResult(Record):
    """The result of a merge. ``changed`` is false for a preview and for a repeated merge."""

    merge: Merge | None = None
    preview: MergePreview | None = None
    changed: bool


class ConflictContact(Record):
    """One of the two contacts; ``standing_id`` is another id if the contact was merged since."""

    id: UUID
    kind: ContactKind
    name: str | None
    standing_id: UUID


class Conflict(Record):
    """Two contacts that may be one person.

    ``found_by`` is ``resolve`` (their identities were given together), ``asserted`` (a claim without proof), or the
    evidence of a proof.
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


class ConflictFilter(NewestPageRequest):
    """Filters of the list of conflicts."""

    workspace_id: UUID | None = None
    status: Annotated[ConflictStatus, BeforeValidator(in_any_case)] = "open"


async def merge(database: Database, contact_id: UUID, new: MergeRequest) -> MergeResult:
    """Merge a contact into another of its workspace (or into that one's own target); repeatable.

    Raises Refused: contact_not_found for non-members and contacts of another workspace, forbidden, same_contact,
    already_merged (into another contact), kinds_differ; and BackendUnavailable, as all of these functions do.
    """
    if new.into == contact_id:
        raise errors.Refused(409, "same_contact")
    arguments = {"contact_id": contact_id, "into_id": new.into, "preview": new.preview}
    return await database.call("merge_contacts", arguments, MergeResult, repeatable=True)


async def unmerge(database: Database, contact_id: UUID) -> MergeResult:
    """Undo the merge of a contact: the moved rows return, with the messages added since.

    Raises Refused: contact_not_found, forbidden, not_merged, merged_further (undo that merge first).
    """
    return await database.call("unmerge_contact", {"contact_id": contact_id}, MergeResult)


async def conflicts(queries: Queries, search: ConflictFilter) -> Page[Conflict]:
    """A page of a workspace's conflicts, newest first.

    Raises NotFound (workspace_not_found) and Refused (workspace_required).
    """
    workspace_id = await settings.named_or_only_workspace(queries, search.workspace_id)
    query = queries.table("contact_conflict_details").select("*").eq("workspace_id", workspace_id)
    page = await queries.newest(query.eq("status", search.status), Conflict, search)
    if not page.items:
        await settings.require_workspace(queries, workspace_id)
    return page


async def dismiss(database: Database, conflict_id: UUID) -> Conflict:
    """Dismiss a conflict: the contacts are different people. Repeatable.

    Raises Refused: conflict_not_found, forbidden, already_merged.
    """
    return await database.call("dismiss_contact_conflict", {"conflict_id": conflict_id}, Conflict, repeatable=True)
