"""As whom a caller reads sessions, and in which order: the views session_details and contact_session_details."""

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from lib import errors
from lib.auth import callers
from lib.database import queries
from lib.database.paging import Position
from lib.database.queries import Queries, Query

Caller = callers.Contact | callers.User
Found = TypeVar("Found")


@dataclass(frozen=True)
class Reader:
    """The view that shows a caller sessions, with the queries that read it; ``user_id``: the caller is this user."""

    database: Queries
    as_member: bool
    user_id: UUID | None = None
    worker: str = "assigned_user_id"
    """The column that names an agent who works on a session."""

    @property
    def view(self) -> str:
        return "session_details" if self.as_member else "contact_session_details"


def reader_of(caller: Caller, *, as_member: bool) -> Reader:
    """A caller's reader, who sees what members see only with ``as_member``."""
    user_id = caller.user_id if isinstance(caller, callers.User) else None
    worker = "opened_by_key_id" if isinstance(caller, callers.ApiKey) else "assigned_user_id"
    return Reader(queries.reading_as(caller, as_member=as_member), as_member, user_id, worker)


async def first_found(caller: Caller, read_as: Callable[[Reader], Awaitable[Found]], nothing: object) -> Found:
    """What a caller reads: a user as a member if that finds anything, otherwise the session's own person."""
    if isinstance(caller, callers.User):
        # Forbidden: the user is a member of no workspace.
        with contextlib.suppress(errors.Forbidden):
            if (found := await read_as(reader_of(caller, as_member=True))) != nothing:
                return found
    return await read_as(reader_of(caller, as_member=False))


def after(query: Query, last: Position, moment: str = "created_at") -> Query:
    """The rows after a position in a list that starts with the latest."""
    at = last.created_at.isoformat()
    return query.lte(moment, at).or_(f"{moment}.lt.{at},id.lt.{last.id}")


def newest_first(query: Query, limit: int, table: str | None = None, *, moment: str = "created_at") -> Query:
    """The first rows of a list, or of an embedded table, that starts with the latest."""
    query = query.order(moment, desc=True, foreign_table=table).order("id", desc=True, foreign_table=table)
    return query.limit(limit, foreign_table=table)
