"""Models of sessions: requests, views and results."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BeforeValidator, Field, field_validator, model_validator

from lib import errors
from lib.auth.callers import Proof
from lib.chat.turns import Status as TurnStatus
from lib.database import paging
from lib.database.paging import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE
from lib.fields.emails import EmailText
from lib.fields.models import Body, Record
from lib.fields.tags import Tag
from lib.fields.types import Attributes, Label, Moment, Reason, in_any_case
from lib.personas import Role
from lib.workflow.quoting import (
    ExternalId,
    ExternalRef,
    Identifier,
    PrimaryQuote,
    Proposal,
    Quote,
    QuoteCounts,
    TripRequest,
)

MAX_OFFSET = 10_000
"""Largest offset: an offset reads all skipped rows, a cursor does not."""

Status = Literal["active", "paused", "completed", "failed", "timeout", "cancelled", "archived"]
TargetStatus = Literal["active", "paused", "completed", "failed", "cancelled"]
GivenStatus = Annotated[TargetStatus, BeforeValidator(in_any_case)]
"""A status to which a session is set, in any case."""


class SentPart(Record):
    """A part of a message that went out through a channel; ``unknown``: it may have been sent."""

    part: int
    status: Literal["sending", "unknown", "sent", "failed", "delivered", "read"]
    external_id: str | None
    error: str | None


class KeptAttachment(Record):
    """A reference to what came with a message: the provider's id of a file, or its URL."""

    kind: str
    external_id: str | None
    url: str | None
    media_type: str | None
    size: int | None
    name: str | None


FOR_MEMBERS = (
    "deliveries:message_deliveries(part,status,external_id,error)",
    "attachments(kind,external_id,url,media_type,size,name)",
)
"""What only members read of messages, as columns of a query."""


class MessageView(Record):
    """A message of the conversation; ``partial``: the answer was cut off.

    ``proof``, for members: whether the contact who sent it has proven who they are. ``user_id`` (the member, API key or
    user who wrote it), ``deliveries`` and ``attachments`` are for members too.
    """

    id: UUID
    turn_id: UUID | None
    role: Role
    text: str
    partial: bool
    created_at: datetime
    proof: Proof | None = None
    user_id: UUID | None = None
    deliveries: tuple[SentPart, ...] | None = None
    attachments: tuple[KeptAttachment, ...] | None = None


class LastTurn(Record):
    """The session's last turn."""

    turn_id: UUID
    status: TurnStatus
    error_code: str | None
    client_message_id: str | None


class RecoveredSession(Record):
    """A recovered session: the last 200 messages of its conversation, oldest first, and its last turn.

    ``changed``: the session had timed out, or its last answer was interrupted.
    """

    session_id: UUID
    conversation_id: UUID
    status: str
    changed: bool
    messages: tuple[MessageView, ...]
    last_turn: LastTurn | None


class StatusReason(Body):
    """Why a session is paused, completed, failed or cancelled; members read it."""

    reason: Reason | None = None


class StatusChange(Record):
    """The state of a session after a change; not ``changed`` if it had this status before."""

    session_id: UUID
    conversation_id: UUID
    status: Status
    changed: bool


class StartResult(Record):
    """A conversation's live session; ``created``: by this call."""

    session_id: UUID
    conversation_id: UUID
    contact_id: UUID | None
    user_id: UUID | None
    persona_id: UUID
    status: Status
    created_at: datetime
    created: bool


class PersonaRef(Record):
    """A persona; the name only if the reader may see it."""

    id: UUID
    name: str | None


class ContactRef(Record):
    """A contact; the name only if the reader may see it. ``email``, for members: its primary one."""

    id: UUID
    name: str | None
    email: str | None = None


class SessionArchive(Record):
    """Where an archived session is stored; ``messages_dropped``: its messages are there only (`GET /archive/{id}`).

    ``object``, the key in the store, and ``row_group`` are for members.
    """

    stored_at: datetime
    messages_dropped: bool
    object: str | None = None
    row_group: int | None = None


class LastMessage(Record):
    """The newest message of a session; ``text`` is its beginning."""

    id: UUID
    role: Role
    text: str
    created_at: datetime


class Session(Record):
    """A session in a list: a row of session_details, or of contact_session_details without the fields for members.

    ``proof``: whether its contact has proven who they are, or only typed it. ``error_message`` is the reason that a
    member gave (for members), or the meaning of ``error_code``. ``subject``, for members: what it is about.
    ``last_message``, for members: the newest one. ``unread``, for members: a message of the last 30 days that came in
    after the calling member last read the conversation.
    """

    id: UUID
    workspace_id: UUID
    conversation_id: UUID
    status: Status
    persona: PersonaRef
    contact: ContactRef | None
    user_id: UUID | None
    assigned_user_id: UUID | None = None
    opened_by_key_id: UUID | None = None
    channel: str
    space_id: UUID | None
    thread_key: str | None
    proof: Proof | None = None
    subject: str | None = None
    turn_count: int
    message_count: int
    created_at: datetime
    updated_at: datetime
    last_activity_at: datetime
    ended_at: datetime | None
    archived_at: datetime | None
    error_code: str | None
    error_message: str | None
    workflow: str | None
    workflow_step: str | None
    request: TripRequest | None
    proposal: Proposal | None
    taken_over: bool
    primary_quote: PrimaryQuote | None = None
    quote_counts: QuoteCounts | None = None
    tags: tuple[str, ...] | None = None
    taken_over_by: UUID | None = None
    taken_over_at: datetime | None = None
    archive: SessionArchive | None = None
    last_message: LastMessage | None = None
    unread: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _in_words(cls, row: Any) -> Any:
        if isinstance(row, dict) and (code := row.get("error_code")) is not None and row.get("error_message") == code:
            return {**row, "error_message": errors.failure(code).title}
        return row


class TurnView(Record):
    """A turn of a session; ``retry_of`` is the turn whose message it answers anew."""

    id: UUID
    retry_of: UUID | None = None
    status: TurnStatus
    error_code: str | None
    client_message_id: str | None
    first_token_ms: int | None
    usage: Mapping[str, Any] | None
    created_at: datetime
    finished_at: datetime | None


class TimelineEntry(Record):
    """An entry of a session's timeline. ``actor_id``, ``reason``, steps and quotes are for members.

    ``object_id`` is the quote or proposal; the code ``late`` marks a quote that arrived after the session's end.
    """

    at: datetime
    event: str
    turn_id: UUID | None = None
    actor_id: UUID | None = None
    code: str | None = None
    step: str | None = None
    object_id: UUID | None = None
    reason: str | None = None


class SessionDetail(Session):
    """A session with its last 200 turns, a page of its messages and its timeline, each oldest first.

    ``messages_before`` is the cursor for earlier messages. State, metadata (user agent, address, device, context),
    quotes (the first 200 of its request) and references are for members.
    """

    turns: tuple[TurnView, ...]
    messages: tuple[MessageView, ...]
    messages_before: UUID | None
    timeline: tuple[TimelineEntry, ...]
    metadata: Mapping[str, Any] | None = None
    workflow_state: Mapping[str, Any] | None = None
    quotes: tuple[Quote, ...] | None = None
    refs: tuple[ExternalRef, ...] | None = None


class CleanupResult(Record):
    """Number of timed-out sessions; ``remaining``: the time budget ended before the work was done."""

    timed_out: int
    remaining: bool


class SessionPageRequest(Body):
    """A page of a list of sessions: after a cursor, or from an offset on."""

    limit: int = Field(default=DEFAULT_PAGE_SIZE, ge=1, le=MAX_PAGE_SIZE)
    cursor: str | None = None
    """The ``next_cursor`` of the previous page; new sessions do not shift the pages."""
    offset: int | None = Field(default=None, ge=0, le=MAX_OFFSET)
    """Instead of a cursor. With ``created_before`` set to the time of the first page, new sessions do not shift
    these pages either."""

    @property
    def moment(self) -> str:
        """The column by which the list is sorted, the latest first."""
        return "created_at"

    @field_validator("cursor")
    @classmethod
    def _one_of_ours(cls, cursor: str | None) -> str | None:
        if cursor is not None:
            paging.read_cursor(cursor)
        return cursor

    @model_validator(mode="after")
    def _one_way(self) -> "SessionPageRequest":
        if self.cursor is not None and self.offset is not None:
            raise ValueError("a list goes on after a cursor or from an offset on, not both")
        return self


def _statuses(given: Any) -> Any:
    """One or several statuses, repeated or separated by commas, in any case."""
    texts = given if isinstance(given, list) else [given]
    return [word.strip().lower() for text in texts for word in str(text).split(",")] if given is not None else None


Statuses = Annotated[tuple[Status, ...] | None, BeforeValidator(_statuses)]


class ConversationSessionFilter(SessionPageRequest):
    """Filters of a conversation's sessions: the live ones, unless ``status`` says otherwise."""

    status: Statuses = ("active", "paused")
    """One or several, separated by commas or repeated, in any case."""


class SessionFilter(SessionPageRequest):
    """Filters of a list of sessions. ``text`` searches messages; time ranges include ``after`` and exclude ``before``.

    ``tag``, ``external_id``, ``has_quote``, ``email``, ``assigned_user_id``, ``unassigned`` and ``unread`` match only
    data that the caller may see, so only members get results.
    """

    order: Literal["created", "activity"] = "created"
    """``activity``: the session with the latest inbound message first. One that comes in while pages are read moves its
    session to the first page. A cursor belongs to the order of its list."""
    workspace_id: UUID | None = None
    """Required for members of several workspaces (422 ``workspace_required``)."""
    status: Statuses = None
    """One or several, separated by commas or repeated, in any case."""
    persona_id: UUID | None = None
    contact_id: UUID | None = None
    email: EmailText | None = None
    """The contact has this email, in any of its spellings."""
    user_id: UUID | None = None
    assigned_user_id: UUID | None = None
    """The member to whom the session is assigned."""
    unassigned: bool | None = None
    """``true``: assigned to none, ``false``: to any."""
    unread: bool | None = None
    """``true``: with a message of the last 30 days that the member has not read. A user's; API keys read none."""
    space_id: UUID | None = None
    channel: Label | None = None
    workflow: Identifier | None = None
    """The current workflow, in any case."""
    step: Identifier | None = None
    """The current step, in any case."""
    tag: Tag | None = None
    """One of the session's tags."""
    external_id: ExternalId | None = None
    """Any reference of the session: a trip's id (``atrip-…``) or short code, an RFP's, an RFQ's."""
    has_quote: bool | None = None
    """It has a primary quote."""
    taken_over: bool | None = None
    """A member answers instead of the persona."""
    text: Label | None = None
    """Whole words of the session's messages, in any case, with or without accents and vowel signs: all of them,
    ``"a phrase"``, ``or``, ``-not``. In scripts without spaces between words (Chinese, Japanese, Thai, Lao, Khmer,
    Burmese) and in Korean, any part of a text: 订单 finds 我的订单号. The first 50,000 characters of a message are
    searched; messages that are in the archive only are not."""
    created_after: Moment | None = None
    """From this time on. A plain date, such as ``2026-11-30``, is the start of that day in UTC, here and wherever a
    time is given."""
    created_before: Moment | None = None
    """Up to this time."""
    active_after: Moment | None = None
    """The last inbound message, from this time on."""
    active_before: Moment | None = None
    """The last inbound message, up to this time."""

    @property
    def moment(self) -> str:
        """The column by which the list is sorted, the latest first."""
        return "last_activity_at" if self.order == "activity" else "created_at"

    @property
    def is_for_members(self) -> bool:
        """Whether no session matches for a caller who is not a member."""
        return bool(self.has_quote or self.email or self.assigned_user_id or self.unassigned is False or self.unread)


class MessagePageRequest(Body):
    """A page of a session's messages: the last ones, or the last ones before a message."""

    limit: int = Field(default=MAX_PAGE_SIZE, ge=1, le=MAX_PAGE_SIZE)
    before: UUID | None = None


class NewSession(Body):
    """A session to start: a member's for a contact or in a conversation, or the caller's own (for a user, at a space).

    ``context`` is stored with a new session. Members may name a ``template`` by id or name.
    """

    contact_id: UUID | None = None
    """For members: the contact."""
    conversation_id: UUID | None = None
    """Stands for the contact and the thread."""
    space_id: UUID | None = None
    """For a user's own session, where it is; for members, whose persona is taken."""
    persona_id: UUID | None = None
    """By default that of the space or the template, or the workspace's only one (else 422 ``persona_required``)."""
    thread_key: Label | None = None
    context: Attributes = Field(default_factory=dict)
    """Stored with a new session, for members to read."""
    template: Label | None = None
    """For members: a session template, by id or name."""

    @model_validator(mode="after")
    def _one_place(self) -> "NewSession":
        if self.conversation_id is not None and (self.contact_id is not None or self.thread_key is not None):
            raise ValueError("a conversation_id stands for the contact and the thread")
        return self


class CleanupRequest(Body):
    """Idle hours until a session times out: by default the workspace's; the workspace is by default the only one.

    The schedule sends an empty body.
    """

    workspace_id: UUID | None = None
    max_age_hours: int | None = Field(default=None, ge=1, le=8_760)
