"""sessions: sessions are listed, started, paused, resumed, ended, taken over and moved through their workflow."""

import functools

import functions_framework.aio
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from lib import config, errors
from lib.auth import callers, client_info
from lib.conversations.follow_ups import PostedMessage
from lib.database.paging import Page
from lib.http import app, request_body
from lib.sessions import bulk, models, session_lists, statistics, takeovers
from lib.sessions import sessions as domain
from lib.workflow import quoting, workflow

CLEANUP_BUDGET_SECONDS = 20.0


async def list_sessions(request: Request) -> Page[models.Session]:
    """The sessions of a member's workspace, or the caller's own."""
    caller = await callers.require_reader(request)
    return await session_lists.find(
        caller, request_body.validate(models.SessionFilter, _with_statuses(request), "query")
    )


async def list_conversation_sessions(request: Request) -> Page[models.Session]:
    """The sessions of one conversation: the live ones, unless the query names statuses."""
    conversation_id = app.path_id(request, "conversation_id")
    caller = await callers.require_reader(request)
    search = request_body.validate(models.ConversationSessionFilter, _with_statuses(request), "query")
    return await session_lists.find_in_conversation(caller, conversation_id, search)


def _with_statuses(request: Request) -> dict[str, object]:
    """The query's parameters, of which ``status`` may be repeated."""
    query: dict[str, object] = {**request.query_params}
    return query | ({"status": request.query_params.getlist("status")} if "status" in query else {})


async def read_statistics(request: Request) -> statistics.Statistics:
    """Statistics of a workspace, or of the sessions that the caller may read."""
    caller = await callers.require_user(request)
    return await statistics.read(caller, request_body.read_query(request, statistics.StatisticsQuery))


async def read_session(request: Request) -> models.SessionDetail:
    """One session with turns, messages and timeline."""
    session_id = app.path_id(request, "session_id")
    caller = await callers.require_reader(request)
    return await session_lists.read(caller, session_id, request_body.read_query(request, models.MessagePageRequest))


async def start_session(request: Request) -> models.StartResult | Response:
    """The conversation's live session, or a new one."""
    caller = await callers.require_reader(request)
    new = await request_body.read_optional(request, models.NewSession)
    started = await domain.start(caller, new, client_info.of(request))
    return app.created(started) if started.created else started


async def change(status: models.TargetStatus, request: Request) -> models.StatusChange:
    """Pause, fail or cancel a session."""
    session_id = app.path_id(request, "session_id")
    caller = await callers.require_reader(request)
    given = await request_body.read_optional(request, models.StatusReason)
    return await domain.change(caller, session_id, status, given.reason)


async def resume(request: Request) -> models.StatusChange:
    """Resume a paused session."""
    session_id = app.path_id(request, "session_id")
    caller = await callers.require_reader(request)
    await request_body.refuse_members(request)
    return await domain.change(caller, session_id, "active")


async def change_several(request: Request) -> bulk.BulkResult:
    """Change the status of several sessions, each on its own."""
    caller = await callers.require_reader(request)
    return await bulk.change(caller, await request_body.read(request, bulk.BulkStatusChange))


async def complete(request: Request) -> models.StatusChange:
    """Complete a session."""
    session_id = app.path_id(request, "session_id")
    caller = await callers.require_reader(request)
    given = await request_body.read_optional(request, models.StatusReason)
    return await workflow.complete_chat_session(caller, session_id, given.reason)


async def recover(request: Request) -> models.RecoveredSession:
    """Recover a timed-out, failed or interrupted session, with its history."""
    session_id = app.path_id(request, "session_id")
    caller = await callers.require_reader(request)
    await request_body.refuse_members(request)
    return await domain.recover(caller, session_id)


async def take_over(request: Request) -> takeovers.Takeover:
    """Take a session over."""
    session_id, user = app.path_id(request, "session_id"), await callers.require_user(request)
    await request_body.refuse_members(request)
    return await takeovers.take_over(user, session_id)


async def hand_back(request: Request) -> takeovers.Takeover:
    """Hand a session back to its persona."""
    session_id, user = app.path_id(request, "session_id"), await callers.require_user(request)
    await request_body.refuse_members(request)
    return await takeovers.hand_back(user, session_id)


async def say(request: Request) -> Response | PostedMessage:
    """Send a message in a taken-over session; 201 unless it was stored before."""
    session_id, user = app.path_id(request, "session_id"), await callers.require_user(request)
    sent = await takeovers.say(user, session_id, await request_body.read(request, takeovers.MemberMessage))
    return app.created(sent) if sent.created else sent


async def assign(request: Request) -> takeovers.Takeover:
    """Assign a session to a member, or unassign it."""
    session_id, user = app.path_id(request, "session_id"), await callers.require_user(request)
    return await takeovers.assign(user, session_id, await request_body.read(request, takeovers.Assignment))


async def create_or_update(request: Request) -> workflow.UpsertedSession | Response:
    """Find or start a contact's live session, and change its workflow."""
    caller = await callers.require_user(request)
    wanted = await request_body.read(request, workflow.SessionUpsert)
    started = await workflow.create_or_update_chat_session(caller, wanted, client_info.of(request))
    return app.created(started) if started.created else started


async def list_active_sessions(request: Request) -> Page[models.Session]:
    """The caller's own live sessions."""
    caller = await callers.require_reader(request)
    return await workflow.get_user_active_chat_sessions(
        caller, request_body.read_query(request, models.SessionPageRequest)
    )


async def read_active_session(request: Request) -> models.Session:
    """A conversation's live session."""
    conversation_id = app.path_id(request, "conversation_id")
    caller = await callers.require_reader(request)
    return await workflow.get_active_chat_session(caller, conversation_id)


async def read_session_of_request(request: Request) -> models.Session:
    """The session of a request."""
    request_id = app.path_id(request, "request_id")
    caller = await callers.require_reader(request)
    return await workflow.get_chat_session_by_request(caller, request_id)


async def list_sessions_of_trip(request: Request) -> Page[models.Session]:
    """The sessions of a trip, by any of its ids."""
    caller = await callers.require_user(request)
    search = request_body.read_query(request, workflow.TripFilter)
    return await workflow.get_chat_sessions_by_trip_id(caller, request.path_params["trip_id"], search)


async def change_workflow(request: Request) -> workflow.SessionWorkflow:
    """Change a session's workflow."""
    session_id, caller = app.path_id(request, "session_id"), await callers.require_user(request)
    changes = await request_body.read(request, workflow.WorkflowUpdate)
    return await workflow.update_chat_session_workflow(caller, session_id, changes)


async def set_request(request: Request) -> workflow.SessionWorkflow:
    """Update the request of a session, and its step and state with it."""
    session_id, caller = app.path_id(request, "session_id"), await callers.require_user(request)
    trip = await request_body.read(request, workflow.TripUpdate)
    return await workflow.update_chat_session_with_trip_info(caller, session_id, trip)


async def remove_ref(request: Request) -> Response:
    """Remove a reference."""
    session_id, ref_id = app.path_id(request, "session_id"), app.path_id(request, "ref_id")
    caller = await callers.require_user(request)
    await workflow.remove_chat_session_ref(caller, session_id, ref_id)
    return app.nothing()


async def set_quote(request: Request) -> workflow.SessionWorkflow:
    """Insert or update an operator's quote."""
    session_id, caller = app.path_id(request, "session_id"), await callers.require_user(request)
    news = await request_body.read(request, quoting.QuoteUpdate)
    return await workflow.update_chat_session_with_quote(caller, session_id, request.path_params["operator"], news)


async def set_proposal(request: Request) -> workflow.SessionWorkflow:
    """Update the proposal."""
    session_id, caller = app.path_id(request, "session_id"), await callers.require_user(request)
    news = await request_body.read(request, quoting.ProposalUpdate)
    return await workflow.update_chat_session_with_proposal(caller, session_id, news)


async def note_activity(request: Request) -> workflow.SessionWorkflow:
    """Record activity from another channel."""
    session_id, caller = app.path_id(request, "session_id"), await callers.require_user(request)
    await request_body.refuse_members(request)
    return await workflow.update_chat_session_activity(caller, session_id)


async def clean_up(request: Request) -> models.CleanupResult:
    """Time out idle sessions: of one workspace for its admins, of all for the schedule."""
    caller = await callers.require_user_or_cron(request)
    # Any media type: curl -d '{"maxAgeHours": 24}' names a form's.
    body = await request_body.read_raw(request, limit=request_body.JSON_LIMIT)
    cleanup = request_body.validate(models.CleanupRequest, request_body.parse(body) if body else {})
    if not isinstance(caller, callers.System):
        _require_enabled()
    return await domain.clean_up(caller, cleanup, budget_seconds=CLEANUP_BUDGET_SECONDS)


def _require_enabled() -> None:
    if not config.settings().enable_chat_sessions:
        raise errors.NotFound()


def _where_enabled(handler: app.Handler) -> app.Handler:
    """Answer 404 on an instance without sessions, for every caller."""

    async def handle(request: Request) -> Response | BaseModel:
        _require_enabled()
        return await handler(request)

    return handle


_HANDLERS: dict[str, app.Handler] = {
    "list_sessions": list_sessions,
    "list_conversation_sessions": list_conversation_sessions,
    "read_statistics": read_statistics,
    "read_session": read_session,
    "start_session": start_session,
    "pause": functools.partial(change, "paused"),
    "resume": resume,
    "complete": complete,
    "fail": functools.partial(change, "failed"),
    "cancel": functools.partial(change, "cancelled"),
    "change_several": change_several,
    "recover": recover,
    "take_over": take_over,
    "hand_back": hand_back,
    "say": say,
    "assign": assign,
    "create_or_update": create_or_update,
    "list_active_sessions": list_active_sessions,
    "read_active_session": read_active_session,
    "read_session_of_request": read_session_of_request,
    "list_sessions_of_trip": list_sessions_of_trip,
    "change_workflow": change_workflow,
    "set_request": set_request,
    "remove_ref": remove_ref,
    "set_quote": set_quote,
    "set_proposal": set_proposal,
    "note_activity": note_activity,
}

_serve = app.function(
    "sessions", {name: _where_enabled(handler) for name, handler in _HANDLERS.items()} | {"clean_up": clean_up}
)


@functions_framework.aio.http
async def sessions(request: Request) -> Response:
    """The function's entry point."""
    return await _serve(request)
