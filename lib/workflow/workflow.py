"""Workflow of a session: its step, state, request, quotes, proposal and references.

Each change calls one SQL function of nearly the same name. Changes are for members who work on the session. All raise
BackendUnavailable and Refused: session_not_found if the caller may not see the session, forbidden if the caller sees it
but does not work on it.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self, TypeVar
from uuid import UUID

from pydantic import AliasChoices, Field, model_validator

from lib import errors
from lib.auth import callers
from lib.auth.callers import Proof
from lib.auth.client_info import ClientInfo
from lib.chat.stopping import until_stopped
from lib.database import commands
from lib.database.paging import Page
from lib.fields import external_refs
from lib.fields.models import Body, Empty, Record
from lib.fields.types import Attributes, Label, Reason
from lib.sessions import models, session_lists, sessions
from lib.sessions.models import GivenStatus, NewSession, Session, Status
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
    subject: str | None = None
    status: Status
    updated_at: datetime
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


Changed = TypeVar("Changed", bound=SessionWorkflow)


class _Step(Body):
    """A step, also named ``current_step``, and the state that goes with it.

    Members of ``workflow_state`` are replaced one by one; null removes one.
    """

    step: Identifier | None = None
    current_step: Identifier | None = None
    workflow_state: Attributes | None = None

    @model_validator(mode="after")
    def _one_step(self) -> Self:
        if self.step is not None and self.current_step not in (None, self.step):
            raise ValueError("step and current_step are one step")
        return self

    def position(self) -> dict[str, Any]:
        """The step and the state, as far as they are given."""
        named = {"step": self.step or self.current_step, "workflow_state": self.workflow_state}
        return {name: value for name, value in named.items() if value is not None}


class TripUpdate(_Step, TripInfo):
    """Known facts of a trip, and the step and state that follow from them; together or not at all."""

    def document(self) -> dict[str, Any]:
        """Arguments for the database."""
        return super().document() | self.position()


class WorkflowUpdate(_Step):
    """Changes of a session's workflow, applied together or not at all.

    ``step`` alone belongs to the session's workflow or, without one, to the built-in workflow; ``workflow`` alone
    starts it. ``subject`` is what the session is about. ``request_id`` is short for that of ``trip``.
    """

    workflow: Identifier | None = None
    subject: Label | None = None
    request_id: UUID | None = None
    trip: TripInfo | None = None

    def document(self) -> dict[str, Any]:
        """Arguments for the database."""
        named = {"workflow": self.workflow, "subject": self.subject}
        trip = {} if self.trip is None else self.trip.document()
        if self.request_id is not None:
            trip = {"refs": [], **trip, "request_id": str(self.request_id)}
        given = {name: value for name, value in named.items() if value is not None} | self.position()
        return given | ({"trip": trip} if trip else {})


class SessionUpsert(WorkflowUpdate, NewSession):
    """A contact's session to start or continue, by contact or conversation, and changes of its workflow, status and
    assigned member (also as ``iso_agent_id``)."""

    status: GivenStatus | None = None
    reason: Reason | None = None
    assigned_user_id: UUID | None = Field(
        default=None, validation_alias=AliasChoices("assigned_user_id", "assignedUserId", "iso_agent_id", "isoAgentId")
    )

    @model_validator(mode="after")
    def _some_place(self) -> Self:
        if self.contact_id is None and self.conversation_id is None:
            raise ValueError("contact_id or conversation_id must be given")
        return self

    def document(self) -> dict[str, Any]:
        """Arguments for the database."""
        named: dict[str, Any] = {"status": self.status, "assigned_user_id": self.assigned_user_id}
        named["reason"] = self.reason if self.status is not None else None
        return super().document() | {name: value for name, value in named.items() if value is not None}

    def opening(self) -> dict[str, Any]:
        """The fields that select or start the session."""
        return self.model_dump(include=set(NewSession.model_fields))


class TripFilter(models.SessionPageRequest):
    """Filters of the sessions of a trip."""

    workspace_id: UUID | None = None


async def create_or_update_chat_session(
    caller: callers.User, wanted: SessionUpsert, client: ClientInfo
) -> UpsertedSession:
    """Find or start a contact's live session and change its workflow and status.

    If a change is refused, no session is started; none is started to be ended, and a repeat of the end changes nothing.
    Raises as lib.sessions.sessions.start and change, and update_chat_session_workflow.
    """
    arguments = wanted.opening() | {"client": client.facts(), "changes": wanted.document()}
    return await _until_stopped(caller, "create_or_update_chat_session", arguments, UpsertedSession, "changes")


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


async def update_chat_session_with_trip_info(
    caller: callers.User, session_id: UUID, trip: TripUpdate
) -> SessionWorkflow:
    """Update the request of a session, and its step and state. Raises as update_chat_session_workflow."""
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

    A sent proposal moves the session to the step ``proposal_ready``; with ``complete`` it also completes the session,
    as lib.sessions.sessions.change does.
    Raises Refused (transition_not_allowed with ``proposal_status`` and ``allowed``, quote_not_found, proof_required).
    """
    arguments: dict[str, Any] = {"session_id": session_id, "proposal": news.document()}
    return await _until_stopped(caller, "update_chat_session_with_proposal", arguments, SessionWorkflow, "proposal")


async def update_chat_session_activity(caller: callers.User, session_id: UUID) -> SessionWorkflow:
    """Record activity from another channel: the idle timeout restarts.

    Raises Refused (transition_not_allowed with ``session_status``) for an ended session.
    """
    return await _change(caller, "update_chat_session_activity", session_id)


async def complete_chat_session(
    caller: callers.Contact | callers.User, session_id: UUID, reason: str | None = None
) -> models.StatusChange:
    """Complete a session, as lib.sessions.sessions.change does."""
    return await sessions.change(caller, session_id, "completed", reason)


async def remove_chat_session_ref(caller: callers.User, session_id: UUID, ref_id: UUID) -> None:
    """Remove a reference that was added by mistake, also from the sessions with the same request.

    Raises Refused (ref_not_found).
    """
    arguments = {"session_id": session_id, "ref_id": ref_id}
    await _working(caller).call("remove_chat_session_ref", arguments, Empty)


async def _until_stopped(
    caller: callers.User, name: str, arguments: dict[str, Any], returns: type[Changed], document: str
) -> Changed:
    """Repeat a command that may end a session until its turn has stopped; the argument ``document`` has the status."""

    async def attempt(_: bool) -> Changed:
        try:
            return await _working(caller).call(name, arguments, returns, repeatable=True)
        except errors.Refused as refused:
            if refused.extra.pop("first", False):
                arguments[document] = arguments[document] | {"stopped_turn": refused.extra["turn_id"]}
            raise

    return await until_stopped(attempt)


def _working(caller: callers.User) -> commands.Rpc:
    return commands.acting_as(caller, callers.Scope.of_caller(caller))


async def _change(caller: callers.User, name: str, session_id: UUID, **arguments: Any) -> SessionWorkflow:
    return await _working(caller).call(name, {"session_id": session_id, **arguments}, SessionWorkflow, repeatable=True)
