"""sessions: sessions are listed, started, paused, resumed, ended, taken over and moved through their workflow."""

from collections.abc import Awaitable
from typing import Annotated
from uuid import UUID

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from lib import config, errors
from lib.auth import client_info
from lib.auth.callers import Caller, Contact, System, User
from lib.conversations.follow_ups import PostedMessage
from lib.database.paging import MAX_PAGE_SIZE, Page
from lib.http import app, csv_pages, request_body
from lib.http.app import Created
from lib.http.binding import OPTIONAL, ReadBy
from lib.routes import Route
from lib.sessions import bulk, models, session_details, session_lists, statistics, takeovers
from lib.sessions import sessions as domain
from lib.workflow import quoting, workflow

CLEANUP_BUDGET_SECONDS = 20.0

Reader = Contact | User
Csv = Annotated[Response, csv_pages.MEDIA_TYPE]

_COLUMNS = (
    "id", "conversation_id", "status", "subject", "persona.id", "persona.name", "contact.id", "contact.name",
    "contact.email", "channel", "space_id", "user_id", "assigned_user_id", "proof", "turn_count", "message_count",
    "created_at", "last_activity_at", "ended_at", "archived_at", "error_code", "error_message", "workflow",
    "workflow_step", "request", "primary_quote", "proposal", "quote_counts", "tags",
)  # fmt: skip
SESSION_COLUMNS = {name.replace(".", "_"): name for name in _COLUMNS}


class SessionList(models.SessionFilter):
    """The filters of a list of sessions, and its format."""

    format: csv_pages.Format | None = None

    def filters(self) -> models.SessionFilter:
        """The filters alone."""
        return models.SessionFilter.model_construct(
            **{name: getattr(self, name) for name in models.SessionFilter.model_fields}
        )


async def list_sessions(request: Request, caller: Reader, search: SessionList) -> Page[models.Session] | Csv:
    """The sessions of a member's workspace, or the caller's own; as CSV all of them.

    CSV with `?format=csv` or `Accept: text/csv`.
    """
    chosen = search.filters()
    if not csv_pages.is_asked(request, search.format):
        return await session_lists.find(caller, chosen)

    def page(cursor: str | None) -> Awaitable[Page[models.Session]]:
        update = {"cursor": cursor, "limit": MAX_PAGE_SIZE, **({} if cursor is None else {"offset": None})}
        return session_lists.find(caller, chosen.model_copy(update=update))

    return await csv_pages.answer("chat-sessions", SESSION_COLUMNS, page, chosen.cursor)


async def list_conversation_sessions(
    caller: Reader, conversation_id: UUID, search: models.ConversationSessionFilter
) -> Page[models.Session]:
    """The sessions of one conversation: the live ones, unless the query names statuses."""
    return await session_lists.find_in_conversation(caller, conversation_id, search)


async def read_statistics(user: User, query: statistics.StatisticsQuery) -> statistics.Statistics:
    """Statistics of a workspace, or of the sessions that the caller may read."""
    return await statistics.read(user, query)


async def read_session(caller: Reader, session_id: UUID, page: models.MessagePageRequest) -> models.SessionDetail:
    """One session with turns, messages and timeline."""
    return await session_details.read(caller, session_id, page)


async def start_session(
    request: Request, caller: Reader, new: models.NewSession = OPTIONAL
) -> Created[models.StartResult] | models.StartResult:
    """The conversation's live session, or a new one (201)."""
    started = await domain.start(caller, new, client_info.of(request))
    return Created(started) if started.created else started


async def pause_session(user: User, session_id: UUID, why: models.StatusReason = OPTIONAL) -> models.StatusChange:
    """Pause a session."""
    return await domain.change(user, session_id, "paused", why.reason)


async def resume_session(user: User, session_id: UUID) -> models.StatusChange:
    """Resume a paused session."""
    return await domain.change(user, session_id, "active")


async def complete_session(user: User, session_id: UUID, why: models.StatusReason = OPTIONAL) -> models.StatusChange:
    """Complete a session."""
    return await workflow.complete_chat_session(user, session_id, why.reason)


async def fail_session(user: User, session_id: UUID, why: models.StatusReason = OPTIONAL) -> models.StatusChange:
    """End a session as failed."""
    return await domain.change(user, session_id, "failed", why.reason)


async def cancel_session(caller: Reader, session_id: UUID, why: models.StatusReason = OPTIONAL) -> models.StatusChange:
    """Cancel a session."""
    return await domain.change(caller, session_id, "cancelled", why.reason)


async def change_sessions(caller: Reader, changes: bulk.BulkStatusChange) -> bulk.BulkResult:
    """Change the status of several sessions, each on its own."""
    return await bulk.change(caller, changes)


async def recover_session(caller: Reader, session_id: UUID) -> models.RecoveredSession:
    """Recover a timed-out, failed or interrupted session, with its history."""
    return await domain.recover(caller, session_id)


async def take_over_session(user: User, session_id: UUID) -> takeovers.Takeover:
    """Take a session over."""
    return await takeovers.take_over(user, session_id)


async def hand_back_session(user: User, session_id: UUID) -> takeovers.Takeover:
    """Hand a session back to its persona."""
    return await takeovers.hand_back(user, session_id)


async def say_in_session(
    user: User, session_id: UUID, message: takeovers.MemberMessage
) -> Created[PostedMessage] | PostedMessage:
    """Send a message in a taken-over session; 201 unless it was stored before."""
    sent = await takeovers.say(user, session_id, message)
    return Created(sent) if sent.created else sent


async def assign_session(user: User, session_id: UUID, assignment: takeovers.Assignment) -> takeovers.Takeover:
    """Assign a session to a member, or unassign it."""
    return await takeovers.assign(user, session_id, assignment)


async def create_or_update_session(
    request: Request, user: User, wanted: workflow.SessionUpsert
) -> Created[workflow.UpsertedSession] | workflow.UpsertedSession:
    """Find or start (201) a contact's live session, and change its workflow."""
    started = await workflow.create_or_update_chat_session(user, wanted, client_info.of(request))
    return Created(started) if started.created else started


async def list_active_sessions(caller: Reader, page: models.SessionPageRequest) -> Page[models.Session]:
    """The caller's own live sessions."""
    return await workflow.get_user_active_chat_sessions(caller, page)


async def read_active_session(caller: Reader, conversation_id: UUID) -> models.Session:
    """A conversation's live session."""
    return await workflow.get_active_chat_session(caller, conversation_id)


async def read_session_of_request(caller: Reader, request_id: UUID) -> models.Session:
    """The session of a request."""
    return await workflow.get_chat_session_by_request(caller, request_id)


async def list_sessions_of_trip(user: User, trip_id: str, search: workflow.TripFilter) -> Page[models.Session]:
    """The sessions of a trip, by any of its ids."""
    return await workflow.get_chat_sessions_by_trip_id(user, trip_id, search)


async def change_workflow(user: User, session_id: UUID, changes: workflow.WorkflowUpdate) -> workflow.SessionWorkflow:
    """Change a session's workflow."""
    return await workflow.update_chat_session_workflow(user, session_id, changes)


async def set_request(user: User, session_id: UUID, trip: workflow.TripUpdate) -> workflow.SessionWorkflow:
    """Update the request of a session, and its step and state with it."""
    return await workflow.update_chat_session_with_trip_info(user, session_id, trip)


async def remove_ref(user: User, session_id: UUID, ref_id: UUID) -> None:
    """Remove a reference."""
    await workflow.remove_chat_session_ref(user, session_id, ref_id)


async def set_quote(user: User, session_id: UUID, operator: str, news: quoting.QuoteUpdate) -> workflow.SessionWorkflow:
    """Insert or update an operator's quote."""
    return await workflow.update_chat_session_with_quote(user, session_id, operator, news)


async def set_proposal(user: User, session_id: UUID, news: quoting.ProposalUpdate) -> workflow.SessionWorkflow:
    """Update the proposal."""
    return await workflow.update_chat_session_with_proposal(user, session_id, news)


async def note_activity(user: User, session_id: UUID) -> workflow.SessionWorkflow:
    """Record activity from another channel."""
    return await workflow.update_chat_session_activity(user, session_id)


async def _cleanup(request: Request, _: Caller) -> models.CleanupRequest:
    """The body in any media type: curl -d '{"maxAgeHours": 24}' names a form's."""
    body = await request_body.read_raw(request, limit=request_body.JSON_LIMIT)
    return request_body.validate(models.CleanupRequest, request_body.parse(body) if body else {})


async def clean_up_sessions(
    caller: User | System, cleanup: Annotated[models.CleanupRequest, ReadBy(_cleanup)] = OPTIONAL
) -> models.CleanupResult:
    """Time out idle sessions: of one workspace for its admins, of all for the schedule."""
    if isinstance(caller, User):
        _require_enabled()
    return await domain.clean_up(caller, cleanup, budget_seconds=CLEANUP_BUDGET_SECONDS)


def _require_enabled() -> None:
    if not config.settings().enable_chat_sessions:
        raise errors.NotFound()


def _check(route: Route) -> None:
    """Answer 404 on an instance without sessions, for every caller but the schedule."""
    if route.name != "clean_up_sessions":
        _require_enabled()


_HANDLERS = (
    list_sessions, list_conversation_sessions, list_active_sessions, list_sessions_of_trip, read_statistics,
    read_session, read_active_session, read_session_of_request,
    start_session, create_or_update_session,
    pause_session, resume_session, complete_session, fail_session, cancel_session, change_sessions, recover_session,
    take_over_session, hand_back_session, say_in_session, assign_session,
    change_workflow, set_request, remove_ref, set_quote, set_proposal, note_activity, clean_up_sessions,
)  # fmt: skip

# A handler has the name of its route.
_serve = app.function("sessions", {handler.__name__: handler for handler in _HANDLERS}, check=_check)


@functions_framework.aio.http
async def sessions(request: Request) -> Response:
    """The function's entry point."""
    return await _serve(request)
