"""Bulk status changes: each session separately, so a refusal for one does not affect the others."""

from typing import Any
from uuid import UUID

from pydantic import Field

from lib import errors
from lib.auth import callers
from lib.chat.stopping import until_stopped
from lib.database import commands
from lib.fields.models import Body, Record
from lib.fields.types import Reason
from lib.sessions.models import GivenStatus, Status

MAX_SESSIONS = 100


class BulkStatusChange(Body):
    """The target status of several sessions, and why."""

    session_ids: tuple[UUID, ...] = Field(min_length=1, max_length=MAX_SESSIONS)
    status: GivenStatus
    reason: Reason | None = None


class BulkItem(Record):
    """The result for one session: its state, or the ``code`` and details of its refusal."""

    id: UUID
    status: Status | None = None
    changed: bool | None = None
    code: str | None = None
    title: str | None = None
    session_status: Status | None = None
    turn_id: UUID | None = None
    stopping: bool | None = None
    retry_after: int | None = None


class _Attempted(BulkItem):
    first: bool | None = None


class _Attempt(Record):
    items: tuple[_Attempted, ...]


class BulkResult(Record):
    """One item for each session, in the order of the request, without duplicates."""

    items: tuple[BulkItem, ...]


async def change(caller: callers.Contact | callers.User, new: BulkStatusChange) -> BulkResult:
    """Pause, resume, complete, fail or cancel sessions, as `lib.sessions.sessions.change` does for one.

    If turns must stop first, waits for all of them together, at most 10 s; those that do not stop are turn_in_progress
    with ``stopping``. A session that the caller may not see is session_not_found.
    """
    rpc = commands.acting_as(caller, callers.Scope.of_caller(caller))
    order = tuple(dict.fromkeys(new.session_ids))
    pending, stopped = list(order), list[UUID]()
    items = dict[UUID, BulkItem]()

    async def attempt(_: bool) -> bool:
        nonlocal pending
        arguments: dict[str, Any] = {
            "session_ids": pending, "status": new.status, "reason": new.reason, "stopped_turns": stopped,
        }  # fmt: skip
        result = await rpc.call("change_sessions_status", arguments, _Attempt, repeatable=True)
        for item in result.items:
            title = {"title": errors.TITLES.get(item.code)} if item.code is not None and item.title is None else {}
            items[item.id] = BulkItem(**item.model_dump(exclude={"first"}) | title)
        pending = [item.id for item in result.items if item.stopping]
        stopped.extend(item.turn_id for item in result.items if item.first and item.turn_id is not None)
        return bool(pending)

    await until_stopped(attempt, bool)
    return BulkResult(items=tuple(items[session_id] for session_id in order))
