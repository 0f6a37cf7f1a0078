"""What an import takes: contacts, and conversations with their sessions and messages, each under the id of its source.

Each item is validated by itself: an invalid one is refused with the reason, and the others are stored.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from lib.fields import identities
from lib.fields.identities import ContactKind, Identity
from lib.fields.models import Arrival, Body, Record
from lib.fields.tags import Tag
from lib.fields.types import Attributes, DisplayName, Flag, JsonObject, Label, Moment, storable, storable_json

Item = TypeVar("Item", bound=BaseModel)

MAX_ITEMS = 1000
MAX_MESSAGES = 5000
MAX_BYTES = 4 * 1024 * 1024
"""Limits of one request: as much as is stored within the database's time limit, below what a function may receive."""

Ended = Literal["completed", "failed", "timeout", "cancelled"]
"""Imported sessions have ended."""

Workflow = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


def _not_ahead(moment: datetime) -> datetime:
    # Two clocks may differ.
    if moment > datetime.now(UTC) + timedelta(days=1):
        raise ValueError("must not be in the future")
    return moment


Past = Annotated[Moment, AfterValidator(_not_ahead)]
"""When something happened. A row of the future would be left out of exports, and never be old enough for retention."""

Text = Annotated[str, Field(min_length=1, max_length=200_000), AfterValidator(storable)]
"""An imported message may be longer than one that is sent here."""

Storable = Annotated[str, AfterValidator(storable)]
"""A text whose length the database bounds."""


class Refusal(Record):
    """An item that does not fit, and why. ``external_id``: None if it has none."""

    external_id: str | None
    reason: str


def _or_refusal(given: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    try:
        return validate(given)
    except ValidationError as invalid:
        faults = invalid.errors(include_input=False, include_url=False, include_context=False)
    named = given.get("external_id", given.get("externalId")) if isinstance(given, Mapping) else None
    reasons = (f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults[:5])
    return Refusal(external_id=None if named is None else _shown(str(named)[:200]), reason="; ".join(reasons))


def _shown(text: str) -> str:
    """The text, to send back: half a pair of surrogates, which is why it does not fit, cannot be."""
    return text.encode(errors="replace").decode()


class Participant(Body):
    """A person of an imported group, by the id in the source."""

    contact: Label
    role: Annotated[str, Field(min_length=1, max_length=64), AfterValidator(storable)] | None = None
    joined_at: Past | None = None
    left_at: Past | None = None


class ImportedContact(Arrival):
    """A contact of the source. What it does not say is left as it is; an invalid optional field is dropped."""

    droppable: ClassVar[frozenset[str]] = frozenset(
        {"first_name", "last_name", "title", "source", "attributes", "created_at", "tags"}
    )

    external_id: Label
    kind: ContactKind | None = None
    first_name: DisplayName | None = None
    last_name: DisplayName | None = None
    title: DisplayName | None = None
    source: Label | None = None
    attributes: Attributes = Field(default_factory=dict)
    identities: tuple[str, ...] = Field(default=(), max_length=50)
    """``platform:id``; those that cannot be read are dropped and reported. They are stored as asserted."""
    tags: tuple[Tag, ...] = Field(default=(), max_length=100)
    created_at: Past | None = None
    participants: tuple[Participant, ...] = Field(default=(), max_length=5000)
    """Of a group: persons that were imported before or in the same batch."""

    @cached_property
    def named(self) -> tuple[Identity, ...]:
        """The identities that can be read."""
        return tuple(one for one in self._read if one is not None)

    @cached_property
    def _read(self) -> tuple[Identity | None, ...]:
        return tuple(map(_readable, self.identities))

    @property
    def dropped(self) -> tuple[str, ...]:
        """The fields, and the platforms of the identities, that were dropped."""
        given = zip(self.identities, self._read, strict=True)
        unread = (_shown(text.partition(":")[0]) for text, one in given if one is None)
        return (*(warning.field for warning in self.warnings), *unread)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        kind = identities.contact_kind(self.named) or self.kind or "person"
        if self.kind not in (None, kind):
            raise ValueError(f"these are the identities of a {kind}")
        if kind == "person" and (self.title is not None or self.participants):
            raise ValueError("only a group has a title and participants")
        if kind == "group" and (self.first_name or self.last_name):
            raise ValueError("a group has a title instead of a name")
        return self


def _readable(text: str) -> Identity | None:
    """The identity, unless it cannot be read or is a Supabase user's, which only the user's own token links."""
    try:
        one = identities.parse(text)
    except ValueError:
        return None
    return None if one.is_user else one


class Author(Body):
    """The member or user who wrote a message. A member of the workspace with this ``id`` stays its author."""

    id: Label | None = None
    name: DisplayName | None = None


class ImportedAttachment(Body):
    """A file, place or card of a message: a reference."""

    kind: Annotated[str, Field(min_length=1, max_length=32), AfterValidator(storable)]
    external_id: Storable | None = None
    url: Storable | None = None
    media_type: Storable | None = None
    size: int | None = None
    name: Storable | None = None


class ImportedMessage(Body):
    """A message with its original time and author."""

    external_id: Label | None = None
    """Without one a message is known by its place among those of its session."""
    role: Literal["contact", "user", "persona", "member"]
    text: Text
    created_at: Past
    author: Author | None = None
    contact: Label | None = None
    """In a group, the sender."""
    persona: DisplayName | None = None
    speaker: DisplayName | None = None
    turn: Label | None = None
    partial: Flag = False
    metadata: JsonObject = Field(default_factory=dict)
    client_message_id: Label | None = None
    changed_at: Past | None = None
    attachments: tuple[ImportedAttachment, ...] = Field(default=(), max_length=100)


class ImportedTurn(Body):
    """A message and its answer, for the statistics."""

    external_id: Label
    status: Ended
    created_at: Past
    finished_at: Past
    client_message_id: Label | None = None
    first_token_ms: int | None = None
    usage: JsonObject | None = None
    error_code: Label | None = None
    taken_over: Flag = False
    retry_of: Label | None = None
    fallback_persona: DisplayName | None = None


class WorkflowRow(Record):
    """A request, quote, proposal, reference, step or reason, with the columns of our export."""

    model_config = ConfigDict(extra="allow")

    id: Label
    created_at: Past

    @model_validator(mode="after")
    def _storable(self) -> Self:
        storable_json(self.model_extra)
        return self


class ImportedSession(Body):
    """An episode of a conversation. Times that are not given follow from its messages."""

    external_id: Label | None = None
    """Without one it has the id of its conversation."""
    status: Ended = "completed"
    subject: DisplayName | None = None
    created_at: Past | None = None
    last_activity_at: Past | None = None
    ended_at: Past | None = None
    first_message_at: Past | None = None
    error_message: Label | None = None
    metadata: JsonObject = Field(default_factory=dict)
    workflow: Workflow | None = None
    workflow_step: Workflow | None = None
    workflow_state: JsonObject = Field(default_factory=dict)
    tags: tuple[Tag, ...] = Field(default=(), max_length=100)
    messages: tuple[ImportedMessage, ...] = Field(default=(), max_length=MAX_MESSAGES)
    turns: tuple[ImportedTurn, ...] = Field(default=(), max_length=MAX_MESSAGES)
    requests: tuple[WorkflowRow, ...] = Field(default=(), max_length=1000)
    quotes: tuple[WorkflowRow, ...] = Field(default=(), max_length=1000)
    proposals: tuple[WorkflowRow, ...] = Field(default=(), max_length=1000)
    refs: tuple[WorkflowRow, ...] = Field(default=(), max_length=1000)
    steps: tuple[WorkflowRow, ...] = Field(default=(), max_length=1000)
    reasons: tuple[WorkflowRow, ...] = Field(default=(), max_length=1000)
    request_id: Label | None = None
    primary_quote_id: Label | None = None
    proposal_id: Label | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.workflow is None) != (self.workflow_step is None):
            raise ValueError("workflow and workflow_step come together")
        if self.created_at is None and not self.messages:
            raise ValueError("created_at is needed without messages")
        return self

    @property
    def began_at(self) -> datetime:
        """When it was created."""
        return self.created_at or min(message.created_at for message in self.messages)

    @property
    def active_at(self) -> datetime:
        """Its last activity."""
        latest = max((message.created_at for message in self.messages), default=self.began_at)
        return self.last_activity_at or max(latest, self.began_at)


class ImportedConversation(Body):
    """A conversation of the source. A repeat adds the sessions and messages that it had not."""

    external_id: Label
    contact: Label | None = None
    """The contact's id in the source; None: the owner's side, where ``author`` talks with the persona."""
    author: Author | None = None
    persona: DisplayName | None = None
    """A persona's name; one that the workspace has not is created, disabled."""
    space: DisplayName | None = None
    channel: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")] = "web"
    created_at: Past | None = None
    sessions: tuple[ImportedSession, ...] = Field(default=(), max_length=1000)
    messages: tuple[ImportedMessage, ...] = Field(default=(), max_length=MAX_MESSAGES)
    """The messages of its one session, instead of ``sessions``."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.sessions and self.messages:
            raise ValueError("either sessions or messages")
        if not self.sessions and not self.messages:
            raise ValueError("a conversation has a session or messages")
        if self.contact is None and self.author is None:
            raise ValueError("a conversation has a contact or an author")
        wrong = "user" if self.contact is not None and self.author is None else None
        wrong = "contact" if self.contact is None else wrong
        if any(message.role == wrong for session in self.episodes for message in session.messages):
            raise ValueError(f"no message of a {wrong} belongs to this conversation")
        return self

    @property
    def episodes(self) -> tuple[ImportedSession, ...]:
        """Its sessions."""
        if self.sessions:
            return self.sessions
        return (ImportedSession(messages=self.messages, created_at=self.created_at),)


class ImportedMemory(Body):
    """Something remembered of a contact, or known by a persona (without ``contact``: the owner's side)."""

    external_id: Label
    contact: Label | None = None
    conversation: Label | None = None
    """The only conversation that recalls it: one without proof, whose contact it is about."""
    persona: DisplayName | None = None
    kind: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")] = "fact"
    content: Annotated[str, Field(min_length=1, max_length=8000), AfterValidator(storable)]
    importance: float = Field(default=0.5, ge=0, le=1)
    internal: Flag = True
    """Never readable with a contact token."""
    speaker: DisplayName | None = None
    previous: Label | None = None
    superseded_by: Label | None = None
    valid_from: Moment | None = None
    expires_at: Moment | None = None
    created_at: Past

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.conversation is not None and self.contact is None and self.kind != "turn":
            raise ValueError("a conversation's memory names its contact")
        return self


class ImportRequest(Body):
    """A batch of an import. Contacts are stored before conversations, and these before memories."""

    source: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.:-]{0,63}$")]
    """The name of the source, in which external ids are unique: chatwoot, crm, …"""
    contacts: tuple[Annotated[ImportedContact, WrapValidator(_or_refusal)], ...] = ()
    conversations: tuple[Annotated[ImportedConversation, WrapValidator(_or_refusal)], ...] = ()
    memories: tuple[Annotated[ImportedMemory, WrapValidator(_or_refusal)], ...] = ()
    persona_id: UUID | None = None
    dry_run: Flag = False
    """Say what would become of each item, and store nothing."""

    @model_validator(mode="after")
    def _within_limits(self) -> Self:
        if len(self.contacts) + len(self.conversations) + len(self.memories) > MAX_ITEMS:
            raise ValueError(f"at most {MAX_ITEMS} items")
        accepted = (one for one in self.conversations if isinstance(one, ImportedConversation))
        if sum(len(session.messages) for one in accepted for session in one.episodes) > MAX_MESSAGES:
            raise ValueError(f"at most {MAX_MESSAGES} messages")
        return self
