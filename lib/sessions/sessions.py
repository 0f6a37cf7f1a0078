"""Sessions: how they are started, paused, ended, recovered and timed out."""

import time
from typing import Any
from uuid import UUID

from lib import config, errors, log
from lib.auth import callers
from lib.auth.client_info import ClientInfo
from lib.chat.stopping import until_stopped
from lib.database import commands
from lib.database.management import Database, managing_as
from lib.sessions.models import (
    CleanupRequest,
    CleanupResult,
    NewSession,
    RecoveredSession,
    StartResult,
    StatusChange,
    StatusReason,
    TargetStatus,
)

CLEANUP_BATCH = 500


async def recover(caller: callers.Contact | callers.User, session_id: UUID) -> RecoveredSession:
    """Reactivate a timed-out or failed session and end a turn that its process abandoned; a live session is only read.

    Raises Refused: session_not_found if the caller may not see it, transition_not_allowed with ``session_status`` if it
    ended otherwise or its conversation has another live session.
    """
    rpc = commands.acting_as(caller, callers.Scope.of_caller(caller))
    return await rpc.call("recover_session", {"session_id": session_id}, RecoveredSession, repeatable=True)


async def change(
    caller: callers.Contact | callers.User, session_id: UUID, status: TargetStatus, reason: str | None = None
) -> StatusChange:
    """Pause, resume, complete, fail or cancel a session. Ending it first stops its turn, whose delivered text is kept.

    Waits for that for at most 10 s. Of several calls for one status, one reports ``changed``. Raises Refused:
    session_not_found, forbidden (only members do more than cancel), transition_not_allowed with ``session_status``,
    turn_in_progress if the turn does not stop in time.
    """
    rpc = commands.acting_as(caller, callers.Scope.of_caller(caller))
    return await _change(rpc, "change_session_status", {"session_id": session_id, "status": status, "reason": reason})


async def cancel_as_operator(database: Database, session_id: UUID, given: StatusReason) -> StatusChange:
    """Cancel any session, as change does. Raises Refused likewise."""
    return await _change(database, "cancel_session", {"session_id": session_id, "reason": given.reason})


async def _change(database: Database, name: str, arguments: dict[str, Any]) -> StatusChange:
    async def attempt(_: bool) -> StatusChange:
        try:
            return await database.call(name, arguments, StatusChange, repeatable=True)
        except errors.Refused as refused:
            # A per_message session ends with the turn that is stopped for it: for the first call that stops it.
            if refused.extra.pop("first", False):
                arguments["stopped_turn"] = refused.extra["turn_id"]
            raise

    return await until_stopped(attempt)


async def start(caller: callers.Contact | callers.User, new: NewSession, client: ClientInfo) -> StartResult:
    """The conversation's live session, or a new one; a contact without a linked session is linked to it.

    Raises InvalidBody for a user who names no contact, conversation or space, and Refused (contact_not_found,
    space_not_found, persona_not_found, template_not_found, persona_required, conversation_not_found,
    thread_key_not_allowed,
    rate_limited, forbidden for an agent without access to the live session and for a non-member who names a template).
    """
    scope = callers.Scope.of_caller(caller)
    if isinstance(caller, callers.User):
        for_contact = new.contact_id is not None or new.conversation_id is not None
        if not for_contact and new.space_id is None:
            raise errors.InvalidBody([errors.FieldError("space_id", "must be given where there is no contact_id")])
        scope = scope if for_contact else callers.Scope(space_id=new.space_id)
    rpc = commands.acting_as(caller, scope)
    arguments = new.model_dump() | {"client": client.facts()}
    return await rpc.call("start_session", arguments, StartResult, repeatable=True)


async def clean_up(
    caller: callers.User | callers.System, cleanup: CleanupRequest, *, budget_seconds: float
) -> CleanupResult:
    """Time out idle sessions in batches, within the time budget.

    The schedule's call covers all workspaces, each with its own hours or the instance's, and only if the interval has
    passed since the last sweep. A member's call covers one workspace at once, with the given hours or the workspace's.
    Raises InvalidBody if the schedule names either, and Refused (workspace_required, workspace_not_found, forbidden).
    """
    settings = config.settings()
    rpc: Database
    arguments: dict[str, Any]
    if isinstance(caller, callers.System):
        if cleanup.model_fields_set:
            raise errors.InvalidBody(
                [errors.FieldError(name, "is for members") for name in sorted(cleanup.model_fields_set)]
            )
        if not settings.enable_chat_sessions:
            return CleanupResult(timed_out=0, remaining=False)
        rpc, name = commands.acting_as(caller, callers.SYSTEM_SCOPE), "expire_idle_sessions"
        arguments = {
            "default_hours": settings.chat_session_timeout_hours,
            "interval_hours": settings.chat_session_cleanup_interval,
        }
    else:
        rpc, name = managing_as(caller), "clean_up_sessions"
        arguments = cleanup.model_dump() | {"default_hours": settings.chat_session_timeout_hours}
    return await _sweep(rpc, name, arguments, budget_seconds)


async def clean_up_as_operator(
    database: Database, cleanup: CleanupRequest, *, default_hours: int, budget_seconds: float
) -> CleanupResult:
    """Time out a workspace's idle sessions; ``default_hours`` counts where neither the request nor the workspace says.

    Raises Refused (workspace_required, workspace_not_found).
    """
    arguments = cleanup.model_dump() | {"default_hours": default_hours}
    return await _sweep(database, "clean_up_sessions", arguments, budget_seconds)


async def _sweep(database: Database, name: str, arguments: dict[str, Any], budget_seconds: float) -> CleanupResult:
    """Call a sweep until it has nothing left to do, or the time is over."""
    end = time.monotonic() + budget_seconds
    timed_out, remaining = 0, True
    while remaining and time.monotonic() < end:
        swept = await database.call(name, arguments | {"max_sessions": CLEANUP_BATCH}, CleanupResult, repeatable=True)
        timed_out, remaining = timed_out + swept.timed_out, swept.remaining
    log.info("session_cleanup", timed_out=timed_out, remaining=remaining)
    return CleanupResult(timed_out=timed_out, remaining=remaining)
