"""Workflow of a session: its step, state, request, quotes, proposal and references.

Each change calls one SQL function of nearly the same name. Changes are for members who work on the session. All raise
BackendUnavailable and Refused: session_not_found if the caller may not see the session, forbidden if the caller sees it
but does not work on it.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from lib import errors
from lib.auth import callers
from lib.auth.callers import Proof
from lib.auth.client_info import ClientInfo
from lib.database import commands
from lib.database.paging import Page
from lib.fields import external_refs
from lib.fields.models import Body, Empty, Record
from lib.fields.types import Attributes
from lib.sessions import models, session_lists, sessions
from lib.sessions.models import NewSession, Session, Status
from lib.workflow.quoting import (
    ExternalRef,
    Identifier,
    PrimaryQuote,
    Proposal,
    ProposalUpdate,
    Quote,
    QuoteCounts,
    QuoteUpdate,
    TripInfo,
    TripRequest,
)


class SessionWorkflow(Record):
    """The workflow of a session; ``changed``: by this call."""

    session_id: UUID
    conversation_id: UUID
    contact_id: UUID | None
    proof: Proof | None = None
    status: Status
    last_activity_at: datetime
    workflow: str | None
    workflow_step: str | None
    workflow_state: Mapping[str, Any]
    request: TripRequest | None
    primary_quote: PrimaryQuote | None
    quote_counts: QuoteCounts
    proposal: Proposal | None
    refs: tuple[ExternalRef, ...]
    changed: bool
    quote: Quote | None = None


class UpsertedSession(SessionWorkflow):
    """The workflow of a session that may be new (``created``)."""

    created: bool


class WorkflowUpdate(Body):
    """Changes of a session's workflow, applied together or not at all.

    ``step`` alone belongs to the session's workflow or, without one, to the built-in workflow; ``workflow`` alone
    starts it. Members of ``workflow_state`` are replaced one by one; null removes one.
    """

    workflow: Identifier | None = None
    step: Identifier | None = None
    workflow_state: Attributes | None = None
    trip: TripInfo | None = None

    def document(self) -> dict[str, Any]:
        """Arguments for the database."""
        named = {"workflow": self.workflow, "step": self.step, "workflow_state": self.workflow_state}
        trip = {} if self.trip is None else {"trip": self.trip.document()}
        return {name: value for name, value in named.items() if value is not None} | trip


class SessionUpsert(WorkflowUpdate, NewSession):
    """A contact's session to start or continue, and changes of its workflow."""

    contact_id: UUID

    def opening(self) -> dict[str, Any]:
        """The fields that select or start the session."""
        return self.model_dump(include=set(NewSession.model_fields))


class TripFilter(models.SessionPageRequest):
    """Filters of the sessions of a trip."""

    workspace_id: UUID | None = None


async def create_or_update_chat_session(
    caller: callers.User, wanted: SessionUpsert, client: ClientInfo
) -> UpsertedSession:
    """Find or start a contact's live session and change its workflow. If a change is refused, no session is started.

    Raises as lib.sessions.sessions.start and update_chat_session_workflow.
    """
    arguments = wanted.opening() | {"client": client.facts(), "changes": wanted.document()}
    return await _working(caller).call("create_or_update_chat_session", arguments, UpsertedSession, repeatable=True)


async def get_active_chat_session(caller: callers.Contact | callers.User, conversation_id: UUID) -> Session:
    """A conversation's active or paused session. Raises Refused (conversation_not_found, session_not_found)."""
    return await session_lists.read_live(caller, conversation_id)


async def get_chat_session_by_request(caller: callers.Contact | callers.User, request_id: UUID) -> Session:
    """The session of a request: the live one, else the newest. Raises Refused: request_not_found, session_not_found."""
    return await session_lists.read_by_request(caller, request_id)


async def get_chat_sessions_by_trip_id(caller: callers.User, trip_id: str, search: TripFilter) -> Page[Session]:
    """The sessions of a trip, by its id or short code, newest first; for members.

    Raises InvalidBody for a text that is neither, and Refused (workspace_required).
    """
    try:
        trip_ids = external_refs.spellings(trip_id)
    except ValueError as unfit:
        raise errors.InvalidBody([errors.FieldError("trip_id", str(unfit))]) from None
    return await session_lists.find_by_trip(caller, trip_ids, search.workspace_id, search)


async def get_user_active_chat_sessions(
    caller: callers.Contact | callers.User, paging: models.SessionPageRequest
) -> Page[Session]:
    """The caller's own and assigned live sessions in all workspaces, newest first."""
    return await session_lists.find_live(caller, paging)


async def update_chat_session_workflow(
    caller: callers.User, session_id: UUID, changes: WorkflowUpdate
) -> SessionWorkflow:
    """Move a session to another step, merge its state, update its request. Repeating the current step changes nothing.

    Raises Refused: step_not_allowed with ``workflow``, ``workflow_step`` and ``allowed_steps``, workflow_not_found,
    transition_not_allowed with ``session_status`` for an ended session, request_not_found, proof_required (a request of
    another conversation for a session without proof).
    """
    return await _change(caller, "update_chat_session_workflow", session_id, changes=changes.document())


async def update_chat_session_with_trip_info(caller: callers.User, session_id: UUID, trip: TripInfo) -> SessionWorkflow:
    """Update the request of a session. Raises Refused (request_not_found, transition_not_allowed, proof_required)."""
    return await _change(caller, "update_chat_session_with_trip_info", session_id, trip=trip.document())


async def update_chat_session_with_quote(
    caller: callers.User, session_id: UUID, operator: str, news: QuoteUpdate
) -> SessionWorkflow:
    """Insert or update an operator's quote: one quote per operator, however often and in whatever order updates arrive.

    Status ``requested`` after a later status changes nothing. For an ended session the quote is stored as late. Raises
    InvalidBody for an operator without a name, and Refused (transition_not_allowed with ``quote_status`` and
    ``allowed``).
    """
    try:
        key, name = external_refs.operator_key(operator), external_refs.operator_name(operator)
    except ValueError as unfit:
        raise errors.InvalidBody([errors.FieldError("operator", str(unfit))]) from None
    # The operator's name in the path is used until an update gives its display name.
    quote = {"asked_as": name} | news.document()
    return await _change(caller, "update_chat_session_with_quote", session_id, operator_key=key, quote=quote)


async def update_chat_session_with_proposal(
    caller: callers.User, session_id: UUID, news: ProposalUpdate
) -> SessionWorkflow:
    """Update the proposal of a session; after a declined or withdrawn one, a new proposal starts.

    Raises Refused (transition_not_allowed with ``proposal_status`` and ``allowed``, quote_not_found, proof_required).
    """
    return await _change(caller, "update_chat_session_with_proposal", session_id, proposal=news.document())


async def update_chat_session_activity(caller: callers.User, session_id: UUID) -> SessionWorkflow:
    """Record activity from another channel: the idle timeout restarts.

    Raises Refused (transition_not_allowed with ``session_status``) for an ended session.
    """
    return await _change(caller, "update_chat_session_activity", session_id)


async def complete_chat_session(caller: callers.Contact | callers.User, session_id: UUID) -> models.StatusChange:
    """Complete a session, as lib.sessions.sessions.change does."""
    return await sessions.change(caller, session_id, "completed")


async def remove_chat_session_ref(caller: callers.User, session_id: UUID, ref_id: UUID) -> None:
    """Remove a reference that was added by mistake. Raises Refused (ref_not_found)."""
    arguments = {"session_id": session_id, "ref_id": ref_id}
    await _working(caller).call("remove_chat_session_ref", arguments, Empty)


def _working(caller: callers.User) -> commands.Rpc:
    return commands.acting_as(caller, callers.Scope.of_caller(caller))


async def _change(caller: callers.User, name: str, session_id: UUID, **arguments: Any) -> SessionWorkflow:
    return await _working(caller).call(name, {"session_id": session_id, **arguments}, SessionWorkflow, repeatable=True)
