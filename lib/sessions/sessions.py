"""Sessions: the episodes of a conversation. How they are found, started, paused and ended, and how they go on."""

import asyncio
import base64
import binascii
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from lib import config, errors, log
from lib.auth import callers
from lib.auth.client_info import Client
from lib.chat.turns import INTERRUPT_PAUSE_SECONDS, INTERRUPT_SECONDS
from lib.chat.turns import Status as TurnStatus
from lib.database import commands
from lib.database.management import DEFAULT_PAGE, LONGEST_PAGE, managing_as
from lib.fields import external_refs
from lib.fields.models import Body
from lib.fields.tags import Tag
from lib.fields.types import Attributes, Label, Moment
from lib.personas import Role
from lib.workflow.quoting import ExternalId, Name, PrimaryQuote, Proposal, Quote, QuoteCounts, Request, ShownRef

FURTHEST_OFFSET = 10_000
"""Beyond it a cursor is the way: an offset reads all that it passes over."""

CLEANUP_BATCH = 500

Status = Literal["active", "paused", "completed", "failed", "timeout", "cancelled", "archived"]
Wanted = Literal["active", "paused", "completed", "cancelled"]


class _Model(BaseModel):
    model_config = ConfigDict(defer_build=True, frozen=True, hide_input_in_errors=True)


class Said(_Model):
    """A message of the conversation; ``partial``: an answer that stopped before its end."""

    id: UUID
    turn_id: UUID | None
    role: Role
    text: str
    partial: bool
    created_at: datetime


class LastTurn(_Model):
    """The session's last message and how its answer stands."""

    turn_id: UUID
    status: TurnStatus
    error_code: str | None
    client_message_id: str | None


class Recovered(_Model):
    """A session that goes on: the conversation's last 200 messages, oldest first, and where it broke off.

    ``changed``: it had timed out, or its answer was interrupted, until now.
    """

    session_id: UUID
    conversation_id: UUID
    status: str
    changed: bool
    messages: tuple[Said, ...]
    last_turn: LastTurn | None


class Changed(_Model):
    """How a session stands after a change; not ``changed`` where it stood so before."""

    session_id: UUID
    conversation_id: UUID
    status: Status
    changed: bool


class Started(_Model):
    """A conversation's live session; ``created``: there was none until now."""

    session_id: UUID
    conversation_id: UUID
    contact_id: UUID | None
    user_id: UUID | None
    persona_id: UUID
    status: Status
    created_at: datetime
    created: bool


class Named(_Model):
    """A persona or contact; the name where there is one that the reader may see."""

    id: UUID
    name: str | None


class Session(_Model):
    """A session as lists show it. From ``primary_quote`` on it is for members; others see that somebody took over."""

    id: UUID
    workspace_id: UUID
    conversation_id: UUID
    status: Status
    persona: Named
    contact: Named | None
    user_id: UUID | None
    assigned_user_id: UUID | None
    channel: str | None
    space_id: UUID | None
    thread_key: str | None
    turn_count: int
    message_count: int
    created_at: datetime
    last_activity_at: datetime
    ended_at: datetime | None
    archived_at: datetime | None
    error_message: str | None
    workflow: str | None
    workflow_step: str | None
    request: Request | None
    proposal: Proposal | None
    taken_over: bool
    primary_quote: PrimaryQuote | None = None
    quote_counts: QuoteCounts | None = None
    tags: tuple[str, ...] | None = None
    taken_over_by: UUID | None = None
    taken_over_at: datetime | None = None


class Turn(_Model):
    """A turn of a session."""

    id: UUID
    status: TurnStatus
    error_code: str | None
    client_message_id: str | None
    first_token_ms: int | None
    usage: Mapping[str, Any] | None
    created_at: datetime
    finished_at: datetime | None


class Happened(_Model):
    """Something on a session's timeline. ``actor_id``, who did it, is for members, as are steps and quotes.

    ``object_id`` is the quote or the proposal; the code ``late`` says that a quote came when the session was over.
    """

    at: datetime
    event: str
    turn_id: UUID | None
    actor_id: UUID | None
    code: str | None
    step: str | None
    object_id: UUID | None


class SessionInFull(Session):
    """A session with its last 200 turns, a page of its messages and its timeline, each oldest first.

    ``messages_before`` is the message before which there are more. State, quotes (of its request, the first 200) and
    references are for members.
    """

    turns: tuple[Turn, ...]
    messages: tuple[Said, ...]
    messages_before: UUID | None
    timeline: tuple[Happened, ...]
    workflow_state: Mapping[str, Any] | None = None
    quotes: tuple[Quote, ...] | None = None
    refs: tuple[ShownRef, ...] | None = None


class _Last(_Model):
    created_at: datetime
    id: UUID


class _Found(_Model):
    items: tuple[Session, ...]
    last: _Last | None


class Page(_Model):
    """Sessions, newest first; ``next_cursor`` goes on after them and is absent at the end."""

    items: tuple[Session, ...]
    next_cursor: str | None


class Cleaned(_Model):
    """How many sessions timed out; ``remaining``: the time was over before all were."""

    timed_out: int
    remaining: bool


class Paging(Body):
    """Which part of a list is asked for: after a cursor, or from an offset on."""

    limit: int = Field(default=DEFAULT_PAGE, ge=1, le=LONGEST_PAGE)
    cursor: str | None = None
    offset: int | None = Field(default=None, ge=0, le=FURTHEST_OFFSET)

    @field_validator("cursor")
    @classmethod
    def _one_of_ours(cls, cursor: str | None) -> str | None:
        if cursor is not None:
            _read_cursor(cursor)
        return cursor

    @model_validator(mode="after")
    def _one_way(self) -> "Paging":
        if self.cursor is not None and self.offset is not None:
            raise ValueError("a list goes on after a cursor or from an offset on, not both")
        return self

    def arguments(self) -> dict[str, Any]:
        """How the database is asked."""
        last = _read_cursor(self.cursor) if self.cursor is not None else None
        return {
            "page_size": self.limit,
            "before_created_at": last.created_at.isoformat() if last else None,
            "before_id": last.id if last else None,
            "skip": self.offset or 0,
        }


class Search(Paging):
    """Which sessions are looked for. ``text``: words of their messages; times are from (after) and up to (before).

    ``tag``, ``external_id`` and ``has_quote`` find what their caller sees: nothing, for whoever is no member.
    """

    workspace_id: UUID | None = None
    status: tuple[Status, ...] | None = None
    persona_id: UUID | None = None
    contact_id: UUID | None = None
    user_id: UUID | None = None
    space_id: UUID | None = None
    channel: Label | None = None
    workflow: Name | None = None
    step: Name | None = None
    tag: Tag | None = None
    external_id: ExternalId | None = None
    has_quote: bool | None = None
    taken_over: bool | None = None
    text: Label | None = None
    created_after: Moment | None = None
    created_before: Moment | None = None
    active_after: Moment | None = None
    active_before: Moment | None = None

    @field_validator("status", mode="before")
    @classmethod
    def _several_in_any_case(cls, given: Any) -> Any:
        if isinstance(given, list):
            return [word.strip().lower() for text in given for word in str(text).split(",")]
        return given

    def filters(self) -> dict[str, Any]:
        """What was asked for, by name."""
        plain = self.model_dump(mode="json", exclude_none=True, exclude={*Paging.model_fields, "external_id"})
        return (
            plain if self.external_id is None else plain | {"external_ids": external_refs.spellings(self.external_id)}
        )


class MessagePaging(Body):
    """Which of a session's messages are asked for: the last ones, or the last ones before one of them."""

    limit: int = Field(default=LONGEST_PAGE, ge=1, le=LONGEST_PAGE)
    before: UUID | None = None


class NewSession(Body):
    """A session to start: a member's for a contact, or one's own (a user's at a space).

    ``context`` is kept with a new session, and a member names the ``template`` (its id or name) that it begins by.
    """

    contact_id: UUID | None = None
    space_id: UUID | None = None
    persona_id: UUID | None = None
    thread_key: Label | None = None
    context: Attributes = Field(default_factory=dict)
    template: Label | None = None


class Cleanup(Body):
    """For how many hours nothing may have come in. Members name their workspace; the schedule names nothing."""

    workspace_id: UUID | None = None
    max_age_hours: int | None = Field(default=None, ge=1, le=8_760)


async def recover(caller: callers.Contact | callers.User, session_id: UUID) -> Recovered:
    """Make a timed-out session active again, and end an answer that nobody gives any more; one that lives is only read.

    Raises Refused: session_not_found for one that the caller may not see, transition_not_allowed with its state
    (``session_status``) for one that has ended otherwise or whose conversation lives on in another.
    """
    rpc = commands.acting_as(caller, callers.Scope.at_home(caller))
    return await rpc.call("recover_session", {"session_id": session_id}, Recovered, repeatable=True)


async def change(caller: callers.Contact | callers.User, session_id: UUID, status: Wanted) -> Changed:
    """Pause, resume, complete or cancel a session. Ending it stops its answer first, and keeps what was seen of it.

    Waits for that up to 10 s. Raises Refused: session_not_found, forbidden (only members do more than cancel),
    transition_not_allowed with ``session_status``, and turn_in_progress where the answer does not stop in time.
    """
    rpc = commands.acting_as(caller, callers.Scope.at_home(caller))
    patience_ends = time.monotonic() + INTERRUPT_SECONDS
    stopping = False
    while True:
        try:
            stands = await rpc.call(
                "change_session_status", {"session_id": session_id, "status": status}, Changed, repeatable=True
            )
            # A session of one message may have ended with the answer that was stopped for it.
            return stands.model_copy(update={"changed": stands.changed or stopping})
        except errors.Refused as refused:
            if not refused.extra.get("stopping") or time.monotonic() > patience_ends:
                raise
        stopping = True
        await asyncio.sleep(INTERRUPT_PAUSE_SECONDS)


async def start(caller: callers.Contact | callers.User, new: NewSession, client: Client) -> Started:
    """The conversation's live session, or a new one, to which a contact without a session is linked.

    Raises InvalidBody for a user who names neither contact nor space, and Refused (contact_not_found,
    space_not_found, persona_not_found, template_not_found, persona_required, conversation_not_found,
    thread_key_not_allowed, forbidden for an agent to whom the live one is not assigned and for whoever is no member and
    names a template, rate_limited).
    """
    scope = callers.Scope.at_home(caller)
    if isinstance(caller, callers.User):
        if new.contact_id is None and new.space_id is None:
            raise errors.InvalidBody([errors.FieldError("space_id", "must be given where there is no contact_id")])
        scope = scope if new.contact_id is not None else callers.Scope(space_id=new.space_id)
    rpc = commands.acting_as(caller, scope)
    arguments = new.model_dump() | {"client": client.facts()}
    return await rpc.call("start_session", arguments, Started, repeatable=True)


async def find(caller: callers.Contact | callers.User, search: Search) -> Page:
    """Sessions, newest first: of a member's workspace (agents: their own and assigned), else the caller's own.

    Raises Refused (workspace_required) for a member of several workspaces who names none.
    """
    return await _find(caller, search.filters(), search)


async def find_in_conversation(caller: callers.Contact | callers.User, conversation_id: UUID, paging: Paging) -> Page:
    """A conversation's sessions, newest first. Raises Refused (conversation_not_found)."""
    return await _find(caller, {"conversation_id": str(conversation_id)}, paging)


async def read(caller: callers.Contact | callers.User, session_id: UUID, paging: MessagePaging) -> SessionInFull:
    """One session with turns, messages and timeline. Raises Refused (session_not_found, message_not_found)."""
    arguments = {"session_id": session_id, "before": paging.before, "message_limit": paging.limit}
    return await commands.reading_as(caller).call("read_session", arguments, SessionInFull, repeatable=True)


async def clean_up(caller: callers.User | callers.System, cleanup: Cleanup, *, budget_seconds: float) -> Cleaned:
    """Time out idle sessions in batches, until done or the time is over.

    The schedule's call does all workspaces, each by its own hours or else the instance's, and only when the interval
    has passed since the last time. A member's does theirs at once, with the hours they name. Raises InvalidBody where
    one names what only the other may, and Refused (workspace_not_found, forbidden).
    """
    settings = config.settings()
    arguments: dict[str, Any]
    if isinstance(caller, callers.System):
        if cleanup.model_fields_set:
            raise errors.InvalidBody(
                [errors.FieldError(name, "is for members") for name in sorted(cleanup.model_fields_set)]
            )
        if not settings.enable_chat_sessions:
            return Cleaned(timed_out=0, remaining=False)
        rpc, name = commands.acting_as(caller, callers.SYSTEM_SCOPE), "expire_idle_sessions"
        arguments = {
            "default_hours": settings.chat_session_timeout_hours,
            "interval_hours": settings.chat_session_cleanup_interval,
        }
    else:
        missing = [name for name in ("workspace_id", "max_age_hours") if getattr(cleanup, name) is None]
        if missing:
            raise errors.InvalidBody([errors.FieldError(name, "must be given") for name in missing])
        rpc, name = managing_as(caller), "clean_up_sessions"
        arguments = cleanup.model_dump()
    end = time.monotonic() + budget_seconds
    timed_out, remaining = 0, True
    while remaining and time.monotonic() < end:
        swept = await rpc.call(name, arguments | {"max_sessions": CLEANUP_BATCH}, Cleaned, repeatable=True)
        timed_out, remaining = timed_out + swept.timed_out, swept.remaining
    log.info("session_cleanup", timed_out=timed_out, remaining=remaining)
    return Cleaned(timed_out=timed_out, remaining=remaining)


async def _find(caller: callers.Contact | callers.User, filters: Mapping[str, Any], paging: Paging) -> Page:
    return await read_page(caller, "list_sessions", {"filters": filters}, paging)


async def read_page(
    caller: callers.Contact | callers.User, name: str, arguments: Mapping[str, Any], paging: Paging
) -> Page:
    """A page of a list of sessions, from the SQL function of this name."""
    found = await commands.reading_as(caller).call(name, {**arguments, **paging.arguments()}, _Found, repeatable=True)
    return Page(items=found.items, next_cursor=_cursor(found.last) if found.last else None)


def _cursor(last: _Last) -> str:
    """Where a list goes on, for its reader to give back: a place in the order, so that what is new moves nothing."""
    return base64.urlsafe_b64encode(f"{last.created_at.isoformat()} {last.id}".encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> _Last:
    """The place that a cursor stands for. ValueError for what is none of ours. Whoever makes one up sees nothing more:
    the database asks who reads."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        created_at, _, session_id = (
            base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii").partition(" ")
        )
        return _Last(created_at=_WHEN.validate_python(created_at, strict=False), id=UUID(session_id))
    except (binascii.Error, UnicodeError, ValueError, ValidationError):
        raise ValueError("is not a cursor of ours") from None


_WHEN: TypeAdapter[datetime] = TypeAdapter(AwareDatetime)
