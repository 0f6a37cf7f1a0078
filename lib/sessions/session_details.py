"""One session with its turns, messages, timeline, quotes and references.

Its messages come in pages: those before a message are read with one request more.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from lib import errors
from lib.database import queries
from lib.database.paging import Position
from lib.database.queries import Queries, Query
from lib.fields.models import Record
from lib.sessions.models import (
    FOR_MEMBERS,
    MessagePageRequest,
    MessageView,
    Session,
    SessionDetail,
    TimelineEntry,
    TurnView,
)
from lib.sessions.session_readers import Caller, Reader, after, first_found, newest_first
from lib.workflow.quoting import ExternalRef, Quote

MAX_TURNS, MAX_QUOTES, MAX_EVENTS = 200, 200, 1_000
"""Turns, quotes and events that the details of a session show."""

_MESSAGE = "id,turn_id,role,text,partial,created_at"


async def read(caller: Caller, session_id: UUID, page: MessagePageRequest) -> SessionDetail:
    """One session with turns, messages and timeline. Raises Refused (session_not_found, message_not_found)."""

    async def read_as(reader: Reader) -> Sequence[_SessionRow]:
        return await _details(reader, session_id, page)

    happened = _events(queries.reading_as(caller), session_id)
    return _detail(*await asyncio.gather(first_found(caller, read_as, ()), happened), page)


async def read_as_operator(database: Queries, session_id: UUID, page: MessagePageRequest) -> SessionDetail:
    """Any session, as its workspace's owners see it. Raises Refused (session_not_found, message_not_found)."""
    rows = _details(Reader(database, as_member=True), session_id, page)
    return _detail(*await asyncio.gather(rows, _events(database, session_id)), page)


def _with_details(reader: Reader, page: MessagePageRequest) -> Query:
    """Sessions with the rows of other tables that their details show."""
    messages = f"messages({_columns_of_messages(reader)})" if page.before is None else "before:messages(created_at)"
    columns = ["*", "turns(*)", messages]
    if reader.as_member:
        columns += ["refs:session_refs(*)", "request_quotes:requests!sessions_request_id_fkey(quotes(*))"]
    query: Query = reader.database.table(reader.view).select(*columns)
    query = newest_first(query, MAX_TURNS, "turns")
    if page.before is None:
        query = newest_first(query, page.limit + 1, "messages")
    else:
        query = query.eq("before.id", page.before)
    if reader.as_member:
        for table in ("refs", "request_quotes.quotes"):
            query = query.order("created_at", foreign_table=table).order("id", foreign_table=table)
        query = query.limit(MAX_QUOTES, foreign_table="request_quotes.quotes")
    return query


def _columns_of_messages(reader: Reader) -> str:
    return ",".join([_MESSAGE, *(("user_id", *FOR_MEMBERS) if reader.as_member else ())])


def _place(entry: TimelineEntry) -> tuple[datetime, int]:
    """The order of a timeline; of entries at one moment, those of the session come first and those of turns last."""
    return entry.at, {"session": 0, "turn": 2}.get(entry.event.partition(".")[0], 1)


class _CreatedAt(Record):
    created_at: datetime


class _Quotes(Record):
    quotes: tuple[Quote, ...]


class _SessionRow(Session):
    """A row of a session with its embedded rows, the newest first."""

    turns: tuple[TurnView, ...]
    messages: tuple[MessageView, ...] = ()
    before: tuple[_CreatedAt, ...] = ()
    metadata: Mapping[str, Any] | None = None
    workflow_state: Mapping[str, Any] | None = None
    refs: tuple[ExternalRef, ...] | None = None
    request_quotes: _Quotes | None = None

    def detail(self, happened: Sequence[TimelineEntry], limit: int) -> SessionDetail:
        """The session's details with up to ``limit`` of its messages, of which one more tells that there are more."""
        messages = self.messages
        turns = self.turns[::-1]
        started = [TimelineEntry(at=turn.created_at, event="turn.started", turn_id=turn.id) for turn in turns]
        finished = [
            TimelineEntry(at=turn.finished_at, event=f"turn.{turn.status}", turn_id=turn.id, code=turn.error_code)
            for turn in turns
            if turn.finished_at is not None
        ]
        created = TimelineEntry(at=self.created_at, event="session.created")
        is_member = self.refs is not None
        return SessionDetail(
            **{name: getattr(self, name) for name in Session.model_fields},
            turns=turns,
            messages=tuple(map(self._with_proof, messages[:limit][::-1])),
            messages_before=messages[limit - 1].id if len(messages) > limit else None,
            timeline=tuple(sorted([created, *happened, *started, *finished], key=_place)),
            metadata=self.metadata,
            workflow_state=self.workflow_state,
            quotes=(self.request_quotes.quotes if self.request_quotes else ()) if is_member else None,
            refs=self.refs,
        )

    def _with_proof(self, message: MessageView) -> MessageView:
        """The message; a contact's with the proof of the session."""
        return message.model_copy(update={"proof": self.proof}) if message.role == "contact" else message


async def _details(reader: Reader, session_id: UUID, page: MessagePageRequest) -> Sequence[_SessionRow]:
    """A session with a page of its messages; empty if the reader sees no such session."""
    rows = await reader.database.rows(_with_details(reader, page).eq("id", session_id), _SessionRow)
    if not rows or page.before is None:
        return rows
    if not rows[0].before:
        raise errors.Refused(404, "message_not_found")
    last = Position(created_at=rows[0].before[0].created_at, id=page.before)
    query = after(reader.database.table("messages").select(_columns_of_messages(reader)), last)
    query = query.eq("session_id", session_id)
    messages = await reader.database.rows(newest_first(query, page.limit + 1), MessageView)
    return [rows[0].model_copy(update={"messages": messages})]


async def _events(database: Queries, session_id: UUID) -> Sequence[TimelineEntry]:
    """The newest events of a session."""
    events = database.function("session_events", {"session_id": session_id})
    return await database.rows(events.order("at", desc=True).order("object_id").limit(MAX_EVENTS), TimelineEntry)


def _detail(rows: Sequence[_SessionRow], happened: Sequence[TimelineEntry], page: MessagePageRequest) -> SessionDetail:
    if not rows:
        raise errors.Refused(404, "session_not_found")
    return rows[0].detail(happened, page.limit)
