"""Lists of sessions: queries of the views session_details and contact_session_details.

Row-level security decides which sessions a caller may read; conditions only narrow a list down. A list takes at most
three requests: the member's role, a search in other tables, the page. (One more for an offset into a search for a
common word, and one for words beyond ASCII that are searched session by session.) A session that a user does not see as
a member is read once more, as the person whose session it is.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from lib import errors
from lib.auth import callers
from lib.database import merge_targets, paging, queries
from lib.database.paging import Page, Position
from lib.database.queries import Queries, Query
from lib.fields import emails, external_refs
from lib.fields.models import Record
from lib.sessions.models import (
    ConversationSessionFilter,
    Session,
    SessionFilter,
    SessionPageRequest,
)
from lib.sessions.session_readers import Caller, Reader, after, first_found, newest_first, reader_of

UNREAD_WINDOW = timedelta(days=30)
"""How long a message is unread at most, as private.unread_window() says."""

_LIVE = ("active", "paused")
_CONDITIONS = (
    "workspace_id,status,persona_id,contact_id,user_id,assigned_user_id,space_id,channel,workflow,workflow_step,"
    "last_activity_at,primary_quote_id,taken_over_at"
)
"""Columns with conditions: PostgREST checks only selected columns of a function's result."""
_NO_SESSIONS = Page[Session](items=())


@dataclass(frozen=True)
class _Match:
    """Conditions on other tables: words of a session's messages, its tag, one of several external ids."""

    text: str | None = None
    tag: str | None = None
    refs: Sequence[str] = ()
    ref_kind: str | None = None

    def __bool__(self) -> bool:
        return self != _Match()

    @property
    def for_members(self) -> bool:
        """Whether only members may read what the conditions are about."""
        return self.tag is not None or bool(self.refs)

    def arguments(self, workspace_id: UUID) -> Mapping[str, Any]:
        """Arguments of search_sessions."""
        given = {
            "query": self.text,
            "tag": self.tag,
            "external_ids": list(self.refs) or None,
            "ref_kind": self.ref_kind,
        }
        return {"workspace_id": workspace_id, **given}


async def find(caller: Caller, search: SessionFilter) -> Page[Session]:
    """Sessions, the latest first: those of a member's workspace (agents: own and assigned), else the caller's own.

    Raises Refused (workspace_required) if a member of several workspaces names none.
    """
    return await _find(caller, search, _matching(search))


def _matching(search: SessionFilter) -> _Match:
    refs = external_refs.spellings(search.external_id) if search.external_id is not None else ()
    return _Match(search.text, search.tag, refs)


async def find_by_trip(
    caller: callers.User, trip_ids: Sequence[str], workspace_id: UUID | None, page: SessionPageRequest
) -> Page[Session]:
    """The sessions with a reference to a trip, newest first; for members. Raises as find."""
    search = SessionFilter(workspace_id=workspace_id, limit=page.limit, cursor=page.cursor, offset=page.offset)
    return await _find(caller, search, _Match(refs=trip_ids, ref_kind="trip"))


async def find_in_conversation(
    caller: Caller, conversation_id: UUID, search: ConversationSessionFilter
) -> Page[Session]:
    """A conversation's sessions with these statuses, newest first. Raises Refused (conversation_not_found)."""

    def narrow(query: Query) -> Query:
        query = query.eq("conversation_id", conversation_id)
        return query if search.status is None else query.in_("status", search.status)

    async def read_as(reader: Reader) -> Page[Session]:
        return await _Source(reader, narrow).page(search)

    found = await first_found(caller, read_as, _NO_SESSIONS)
    if not found.items:
        await _require_conversation(caller, conversation_id)
    return found


async def find_live(caller: Caller, page: SessionPageRequest) -> Page[Session]:
    """The caller's own and assigned live sessions in all workspaces, newest first.

    A member's are those of the workspaces that they are a member of, if there are any.
    """

    async def read_as(reader: Reader) -> Page[Session]:
        return await _Source(reader, lambda query: _own(query.in_("status", _LIVE), reader)).page(page)

    return await first_found(caller, read_as, _NO_SESSIONS)


async def read_live(caller: Caller, conversation_id: UUID) -> Session:
    """A conversation's live session. Raises Refused (conversation_not_found, session_not_found)."""

    async def read_as(reader: Reader) -> Page[Session]:
        live = _Source(reader, lambda query: query.eq("conversation_id", conversation_id).in_("status", _LIVE))
        return await live.page(SessionPageRequest(limit=1))

    found = await first_found(caller, read_as, _NO_SESSIONS)
    if not found.items:
        await _require_conversation(caller, conversation_id)
        raise errors.Refused(404, "session_not_found", detail=errors.detail("session_not_found", "no_live_session"))
    return found.items[0]


async def read_by_request(caller: Caller, request_id: UUID) -> Session:
    """The session that works on a request: the live one, else the newest; else the session in which it was made.

    Raises Refused (request_not_found, session_not_found).
    """

    async def read_as(reader: Reader) -> Sequence[_RequestSessions]:
        query = reader.database.table("requests").select(
            f"working:{reader.view}!sessions_request_id_fkey(*)", f"first:{reader.view}!requests_session_id_fkey(*)"
        )
        query = query.eq("id", request_id).order("live", desc=True, foreign_table="working")
        return await reader.database.rows(newest_first(query, 1, "working"), _RequestSessions)

    found = await first_found(caller, read_as, ())
    if not found:
        raise errors.Refused(404, "request_not_found")
    session = next(iter(found[0].working), found[0].first)
    if session is None:
        raise errors.Refused(404, "session_not_found")
    return session


async def find_as_operator(database: Queries, workspace_id: UUID, search: SessionFilter) -> Page[Session]:
    """The sessions of any workspace, newest first."""
    contact_id = search.contact_id
    if search.email is not None:
        contact_id = await _owner_of(database, workspace_id, search.email)
        if contact_id is None or search.contact_id not in (None, contact_id):
            return Page(items=())
    search = search.model_copy(update={"workspace_id": workspace_id, "contact_id": contact_id})
    source = _Source(Reader(database, as_member=True), lambda query: _filtered(query, search), _matching(search))
    return await source.page(search)


@dataclass(frozen=True)
class _Source:
    """The sessions that a caller may read, narrowed down by conditions."""

    reader: Reader
    narrow: Callable[[Query], Query]
    match: _Match = _Match()

    async def select(self, columns: str) -> Query:
        """These columns of the sessions; PostgREST checks the matches session by session, in the list's order."""
        match, embedded = self.match, list[str]()
        if match.text is not None:
            embedded.append("matching_messages:message_words!inner()")
        if match.tag is not None:
            embedded.append("matching_tags:tags!inner()")
        if match.refs:
            embedded.append("matching_refs:session_refs!inner()")
        query = self.reader.database.table(self.reader.view).select(columns, *embedded)
        if match.text is not None:
            search = {"config": "simple"} | ({"type": "web_search"} if match.text.isascii() else {})
            query = query.text_search("matching_messages.words", await self._words(match.text), search)
            query = query.limit(1, foreign_table="matching_messages")
        if match.tag is not None:
            query = query.eq("matching_tags.name", match.tag)
        if match.refs:
            query = query.in_("matching_refs.external_id", match.refs)
        if match.ref_kind is not None:
            query = query.eq("matching_refs.kind", match.ref_kind)
        return self.narrow(query)

    async def page(self, page: SessionPageRequest) -> Page[Session]:
        """A page, newest first."""
        if page.offset:
            # Sessions before the offset are read by their positions alone, without their names and objects.
            return await self._described(await self.select(_position(page)), page)
        rows = await self.reader.database.rows(_of_page(await self.select("*"), page), Session)
        return _page(rows, len(rows), page)

    async def _words(self, text: str) -> str:
        """What a text search asks for; the database folds accents and cuts words beyond ASCII."""
        if text.isascii():
            return text
        database = self.reader.database
        asked = await database.rows(database.function("search_words", {"query": text}), _Words)
        return asked[0].words

    async def search(self, workspace_id: UUID, page: SessionPageRequest) -> Page[Session]:
        """A page, by way of the matches if they are few; for owners and admins of the workspace."""
        found = self.reader.database.function("search_sessions", self.match.arguments(workspace_id))
        try:
            return await self._described(self.narrow(found.select(_position(page), _CONDITIONS)), page)
        except errors.Refused as refused:
            if refused.code != "too_many_matches":
                raise
        return await self.page(page)

    async def unread(self, workspace_id: UUID, page: SessionPageRequest) -> Page[Session]:
        """A page of what the member has not read, found by the last month's activity."""
        found = self.reader.database.function("unread_sessions", {"workspace_id": workspace_id})
        return await self._described(self.narrow(found.select(_position(page), _CONDITIONS)), page)

    async def _described(self, query: Query, page: SessionPageRequest) -> Page[Session]:
        database = self.reader.database
        positions = await database.rows(_of_page(query, page), Position)
        ids = [str(position.id) for position in positions[: page.limit]]
        if not ids:
            return Page(items=())
        described = database.table(self.reader.view).select("*").in_("id", ids)
        query = newest_first(described, page.limit, moment=page.moment)
        return _page(await database.rows(query, Session), len(positions), page)


async def _find(caller: Caller, search: SessionFilter, match: _Match) -> Page[Session]:
    if isinstance(caller, callers.Contact):
        return await _find_as_contact(caller, search, match)
    roles, contact_id = await asyncio.gather(
        _roles(caller), merge_targets.find(queries.reading_as(caller), search.contact_id)
    )
    if search.workspace_id is None and len(roles) > 1:
        detail = errors.detail("workspace_required", "several_workspaces")
        raise errors.Refused(422, "workspace_required", detail=detail)
    workspace_id = search.workspace_id or next(iter(roles), None)
    role = roles.get(workspace_id) if workspace_id is not None else None
    if role is None and (search.is_for_members or match.for_members):
        return Page(items=())
    owner_id = None
    reader = reader_of(caller, as_member=role is not None)
    if search.email is not None and (owner_id := await _owner_of(reader.database, workspace_id, search.email)) is None:
        return Page(items=())
    given = search.model_copy(update={"workspace_id": workspace_id, "contact_id": contact_id})
    # In the order of activity, a page of unread ones is read from the index of that order.
    from_unread = role is not None and given.unread is True and not match and given.order == "created"

    def narrow(query: Query) -> Query:
        if role is None:
            query = query.eq("user_id", caller.user_id)
        elif role == "agent":
            query = _own(query, reader)
        if role is not None and given.has_quote is not None:
            query = _with(query, "primary_quote_id", given.has_quote)
        if owner_id is not None:
            query = query.eq("contact_id", owner_id)
        if given.assigned_user_id is not None:
            query = query.eq("assigned_user_id", given.assigned_user_id)
        if role is not None and given.unassigned is not None:
            query = _with(query, "assigned_user_id", not given.unassigned)
        if role is not None and given.taken_over is not None:
            query = _with(query, "taken_over_at", given.taken_over)
        if role is not None and given.unread is not None and not from_unread:
            query = query.is_("unread", "true") if given.unread else query.not_.is_("unread", "true")
            if given.unread:
                # Older messages are not unread: the index leaves their sessions out.
                query = query.gt("last_activity_at", (datetime.now(UTC) - UNREAD_WINDOW).isoformat())
        return _filtered(query, given) if role is not None else _filtered_as_contact(query, given)

    source = _Source(reader, narrow, match)
    if from_unread and workspace_id is not None:
        return await source.unread(workspace_id, search)
    if match and given.unread is None and workspace_id is not None and role in ("owner", "admin"):
        return await source.search(workspace_id, search)
    return await source.page(search)


async def _find_as_contact(contact: callers.Contact, search: SessionFilter, match: _Match) -> Page[Session]:
    if search.is_for_members or match.for_members:
        return Page(items=())
    if search.contact_id == contact.contact_id:
        # The sessions of a merged contact have another contact_id, which it may not know.
        search = search.model_copy(update={"contact_id": None})
    reader = reader_of(contact, as_member=False)
    return await _Source(reader, lambda query: _filtered_as_contact(query, search), match).page(search)


def _filtered_as_contact(query: Query, search: SessionFilter) -> Query:
    if search.taken_over is not None:
        query = query.eq("taken_over", search.taken_over)
    return _filtered(query, search)


def _filtered(query: Query, search: SessionFilter) -> Query:
    """The conditions on columns that the views and search_sessions have in common."""
    equal = {
        "workspace_id": search.workspace_id,
        "persona_id": search.persona_id,
        "contact_id": search.contact_id,
        "user_id": search.user_id,
        "space_id": search.space_id,
        "channel": search.channel,
        "workflow": search.workflow,
        "workflow_step": search.step,
    }
    for column, value in equal.items():
        if value is not None:
            query = query.eq(column, value)
    if search.status is not None:
        query = query.in_("status", search.status)
    if search.created_after is not None:
        query = query.gte("created_at", search.created_after.isoformat())
    if search.created_before is not None:
        query = query.lt("created_at", search.created_before.isoformat())
    if search.active_after is not None:
        query = query.gte("last_activity_at", search.active_after.isoformat())
    if search.active_before is not None:
        # A session is not active before it is created, and only that time is in the index of the list.
        for column in ("last_activity_at", "created_at"):
            query = query.lt(column, search.active_before.isoformat())
    return query


def _own(query: Query, reader: Reader) -> Query:
    """The sessions that a user holds or is assigned; a contact reads no others."""
    user_id = reader.user_id
    if user_id is None:
        return query
    if not reader.as_member:
        return query.eq("user_id", user_id)
    return query.or_(f"user_id.eq.{user_id},{reader.worker}.eq.{user_id}")


def _with(query: Query, column: str, wanted: bool) -> Query:
    """The sessions that have a value in a column, or those that have none."""
    return query.not_.is_(column, None) if wanted else query.is_(column, None)


def _of_page(query: Query, page: SessionPageRequest) -> Query:
    if page.cursor is not None:
        query = after(query, paging.read_cursor(page.cursor), page.moment)
    # One row more than the page holds tells whether there is a next page.
    query = newest_first(query, page.limit + 1, moment=page.moment)
    return query.offset(page.offset) if page.offset else query


def _position(page: SessionPageRequest) -> str:
    """The columns of a Position in the order of a page."""
    return f"created_at:{page.moment},id" if page.moment != "created_at" else "created_at,id"


def _page(rows: Sequence[Session], found: int, page: SessionPageRequest) -> Page[Session]:
    items = tuple(rows[: page.limit])
    if found <= page.limit:
        return Page(items=items)
    last = Position(created_at=getattr(items[-1], page.moment), id=items[-1].id)
    return Page(items=items, next_cursor=last.cursor())


async def _require_conversation(caller: Caller, conversation_id: UUID) -> None:
    database = queries.reading_as(caller)
    if not await database.rows(database.table("conversations").select("id").eq("id", conversation_id), _Id):
        raise errors.Refused(404, "conversation_not_found")


async def _roles(user: callers.User) -> Mapping[UUID, str]:
    """The role of a user, or of an API key, in each workspace of which they are a member."""
    database = queries.reading_as(user)
    table, column = ("api_keys", "id") if isinstance(user, callers.ApiKey) else ("workspace_members", "user_id")
    query = database.table(table).select("workspace_id,role").eq(column, user.user_id)
    return {member.workspace_id: member.role for member in await database.rows(query, _Membership)}


async def _owner_of(database: Queries, workspace_id: UUID | None, email: str) -> UUID | None:
    """The contact of a workspace that has this email."""
    query = database.table("contact_identities").select("id:contact_id").eq("workspace_id", workspace_id)
    query = query.eq("key", emails.parse(email).key).eq("kind", "email")
    return next((owner.id for owner in await database.rows(query, _Id)), None)


class _Id(Record):
    id: UUID


class _Words(Record):
    words: str


class _Membership(Record):
    workspace_id: UUID
    role: Literal["owner", "admin", "agent"]


class _RequestSessions(Record):
    working: tuple[Session, ...]
    first: Session | None
