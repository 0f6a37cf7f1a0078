"""Archived sessions: their transcripts, and how they are restored."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from lib import errors
from lib.archive import store, transcripts
from lib.archive.transcripts import Place, Row
from lib.auth import callers
from lib.database import commands, queries
from lib.fields.models import Record
from lib.personas import Role
from lib.sessions.models import KeptAttachment, SentPart, Status

RESTORED_AT_ONCE = 2_000_000
"""Characters of the rows that one command restores."""

TRIES = 3
"""Of a restore, if the session's archive changes meanwhile."""


class ArchivedMessage(Record):
    """A message of a transcript. ``late``: it came after the session was archived, and is in the database only.

    ``user_id``, ``metadata``, ``deliveries`` and ``attachments`` are for members.
    """

    id: UUID
    turn_id: UUID | None
    role: Role
    contact_id: UUID | None
    persona_id: UUID | None
    text: str
    partial: bool
    speaker: str | None
    created_at: datetime
    changed_at: datetime | None
    late: bool = False
    user_id: UUID | None = None
    metadata: Any = None
    deliveries: tuple[SentPart, ...] | None = None
    attachments: tuple[KeptAttachment, ...] | None = None


class ArchivedTurn(Record):
    """A turn of a transcript."""

    id: UUID
    status: Status
    error_code: str | None
    first_token_ms: int | None
    created_at: datetime
    finished_at: datetime | None


class ArchiveLocation(Record):
    """Where a session's rows are: the object's key in the store, its row group, and the SHA-256 of that."""

    object: str
    row_group: int
    row_count: int
    sha256: str


class Transcript(Record):
    """An archived session as it was. ``messages_dropped``: its messages are in the archive only. ``location`` is for
    members."""

    session_id: UUID
    conversation_id: UUID
    status: Status
    archived_at: datetime | None
    stored_at: datetime
    messages_dropped: bool
    location: ArchiveLocation | None = None
    turns: tuple[ArchivedTurn, ...]
    messages: tuple[ArchivedMessage, ...]


class RestoredSession(Record):
    """The state of a session after it was restored; not ``changed`` if it was not archived."""

    session_id: UUID
    conversation_id: UUID
    status: Status
    changed: bool


class _Located(Record):
    session_id: UUID
    conversation_id: UUID
    status: Status
    archived_at: datetime | None
    by_member: bool
    archive: Place | None


async def read_transcript(caller: callers.Contact | callers.User, session_id: UUID) -> Transcript:
    """The transcript of an archived session, by one ranged read of the store, with messages that came later.

    Raises Refused (session_not_found if the caller may not read the session; archive_not_found if it is not stored),
    and as transcripts.read.
    """
    located = await _locate(caller, session_id)
    place, kept = located.archive, store.configured()
    if place is None or kept is None:
        raise errors.NotFound("archive")
    located, rows = await _read(caller, kept, located, place)
    place = located.archive or place
    messages = [_message(row, rows, by_member=located.by_member) for row in rows if row["relation"] == "messages"]
    known = {message.id for message in messages}
    messages += await _late_messages(caller, session_id, known, by_member=located.by_member)
    location = ArchiveLocation(
        object=place.key, row_group=place.row_group, row_count=place.row_count, sha256=place.sha256
    )
    return Transcript(
        session_id=session_id,
        conversation_id=located.conversation_id,
        status=located.status,
        archived_at=located.archived_at,
        stored_at=place.stored_at,
        messages_dropped=place.messages_dropped,
        location=location if located.by_member else None,
        turns=tuple(
            ArchivedTurn.model_validate({**row, "id": row["row_id"]}) for row in rows if row["relation"] == "turns"
        ),
        messages=tuple(sorted(messages, key=lambda message: (message.created_at, message.id))),
    )


async def restore(user: callers.User, session_id: UUID) -> RestoredSession:
    """Put an archived session's messages back into the database, and return it to its former state.

    Idempotent: a call that broke off is repeated. The object stays, until the session is archived anew. Raises Refused
    (session_not_found, forbidden; archive_changed while an erasure writes the object anew), and as transcripts.read.
    """
    rpc = commands.acting_as(user, callers.Scope.of_caller(user))
    for tries_left in reversed(range(TRIES)):
        located, rows = await _restorable(user, session_id)
        arguments = {
            "session_id": session_id,
            "object_id": located.archive.object_id if rows and located.archive else None,
        }
        *parts, last = _parts(rows)
        try:
            for part in parts:
                part_of = {**arguments, "rows": part, "is_last": False}
                await rpc.call("restore_session", part_of, RestoredSession, repeatable=True)
            whole = {**arguments, "rows": last, "is_last": True}
            return await rpc.call("restore_session", whole, RestoredSession, repeatable=True)
        except errors.Refused as refused:
            if refused.code != "archive_changed" or not tries_left:
                raise
    raise AssertionError("the last try returns or raises")


async def _restorable(user: callers.User, session_id: UUID) -> tuple[_Located, Sequence[Row]]:
    """Where a session is archived, and the rows that are in the archive only; of one who may not restore it, none."""
    located = await _locate(user, session_id)
    place, kept = located.archive, store.configured()
    if located.status != "archived" or not located.by_member or place is None or not place.messages_dropped:
        return located, ()
    if kept is None:
        raise errors.NotFound("archive")
    return await _read(user, kept, located, place)


async def _read(
    caller: callers.Contact | callers.User, kept: store.Store, located: _Located, place: Place
) -> tuple[_Located, Sequence[Row]]:
    """The rows at a place; if an erasure has written them anew meanwhile, at the new one."""
    try:
        return located, await transcripts.read(kept, place, located.session_id)
    except errors.ArchiveBroken:
        located = await _locate(caller, located.session_id)
        if located.archive is None or located.archive.object_id == place.object_id:
            raise
        return located, await transcripts.read(kept, located.archive, located.session_id)


def _parts(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """The rows that are restored, in parts; messages come before what belongs to them. At least one part, the last."""
    order = ("messages", "attachments", "message_deliveries")
    part: list[Row] = []
    size = 0
    for relation in order:
        for row in rows:
            if row["relation"] == relation:
                given = {name: value for name, value in row.items() if value is not None}
                size += len(json.dumps(given, default=str))
                part.append(given)
                if size > RESTORED_AT_ONCE:
                    yield part
                    part, size = [], 0
    yield part


async def _locate(caller: callers.Contact | callers.User, session_id: UUID) -> _Located:
    rpc = commands.acting_as(caller, callers.Scope.of_caller(caller))
    return await rpc.call("locate_archive", {"session_id": session_id}, _Located, repeatable=True)


def _message(row: Row, rows: Sequence[Row], *, by_member: bool) -> ArchivedMessage:
    shown = {**row, "id": row["row_id"], "metadata": None, "user_id": None}
    if by_member:
        shown |= {"metadata": json.loads(row["metadata"]), "user_id": row["user_id"]}
        for name, relation in (("deliveries", "message_deliveries"), ("attachments", "attachments")):
            shown[name] = [
                json.loads(other["row"])
                for other in rows
                if other["relation"] == relation and other["row_id"] == row["row_id"]
            ]
    return ArchivedMessage.model_validate(shown)


async def _late_messages(
    caller: callers.Contact | callers.User, session_id: UUID, known: set[UUID], *, by_member: bool
) -> list[ArchivedMessage]:
    """Messages in the database that the archive lacks, as the caller's own token shows them."""
    database = queries.reading_as(caller)
    columns = "id,turn_id,role,contact_id,persona_id,text,partial,speaker,created_at,changed_at"
    columns += ",user_id" if by_member else ""
    query = database.table("messages").select(columns).eq("session_id", session_id)
    found = await database.rows(
        query.order("created_at", desc=True).order("id", desc=True).limit(1_000), ArchivedMessage
    )
    return [message.model_copy(update={"late": True}) for message in found if message.id not in known]
