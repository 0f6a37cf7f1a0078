"""Turns: a message and its answer. Commands that start, read, follow, cancel and finish one."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, ClassVar, Literal
from uuid import UUID, uuid4, uuid5

from pydantic import Field, SecretStr

from lib import errors, log
from lib.auth import callers
from lib.auth.client_info import ClientInfo
from lib.auth.proofs import ProvableArrival
from lib.chat.events import Delta, Done, Event, Failed, Opened
from lib.chat.stopping import until_stopped
from lib.database import commands, retries
from lib.database.commands import Rpc
from lib.database.rate_limits import RateLimit
from lib.database.retries import BRIEF, Patience
from lib.fields import types
from lib.fields.models import Record
from lib.fields.types import Attributes, Flag, Label, Message
from lib.http.sse import StreamBroken
from lib.outbound import addresses
from lib.personas import ContactFacts, HistoryMessage, PersonaTurn, Role

FOLLOW_PAUSE_SECONDS = 0.5
FOLLOW_LIMIT_SECONDS = 300.0
"""How long one stream follows a turn; its reader then reconnects with the last id."""

_UNPROVEN_SENDER = "unproven sender"
"""The name of an unproven sender's stand-in id in the namespace of the conversation."""

Status = Literal["active", "completed", "failed", "timeout", "cancelled"]


class ChatMessage(ProvableArrival):
    """A chat message; ``email`` and ``identity_token`` identify a sender without a bearer token.

    ``regenerate`` answers the message that had this client message id anew, instead of returning its answer.
    """

    droppable: ClassVar[frozenset[str]] = frozenset({"email", "metadata"})

    message: Message
    """Not blank."""
    client_message_id: Label | None = None
    """Repeated in the same conversation, it returns the turn that the message started or joined, also a failed one
    (to ask again, send a new id); with another ``message`` or ``metadata`` it is 409 ``idempotency_key_reused``. A
    first message without a token can be repeated for ten minutes if this is a UUID."""
    thread_key: Label | None = None
    """For users and with proof: another conversation of theirs."""
    persona_id: UUID | None = None
    """Must be the persona of the space, or of the path."""
    contact_id: UUID | None = None
    """For owners, admins and their keys, in a message to a persona: the contact who speaks, in its own conversation.
    The caller's word is the proof; it is audited."""
    metadata: Attributes = Field(default_factory=dict)
    """At most 16 KiB; stored with the message."""
    regenerate: Flag = False
    """The message with this ``client_message_id`` is answered anew (docs/api.md, Chatting)."""

    @classmethod
    def droppable_of(cls, given: dict[str, Any]) -> frozenset[str]:
        """An email with a proof is not dropped."""
        proofs = ("email_hmac", "emailHmac", "identity_token", "identityToken")
        proven = any(given.get(name) is not None for name in proofs)
        return cls.droppable - {"email"} if proven else cls.droppable


class _Persona(Record):
    id: UUID
    kind: str
    config: Mapping[str, Any]
    secret: SecretStr | None
    time_limit_seconds: int


class _HistoryEntry(Record):
    role: Role
    text: str
    created_at: str


class _Contact(Record):
    name: str | None
    email: str | None
    attributes: Mapping[str, Any]


class _StartResult(Record):
    repeat: bool
    status: Status
    taken_over: bool = False
    workspace_id: UUID
    turn_id: UUID
    session_id: UUID
    conversation_id: UUID
    contact_id: UUID | None
    user_id: UUID | None
    proof: callers.Proof | None
    contact: _Contact | None = None
    history: tuple[_HistoryEntry, ...]
    persona: _Persona
    allowed_networks: tuple[str, ...]
    issued_at: datetime
    limits: tuple[RateLimit, ...] = ()
    has_fallback: bool = False
    collect_seconds: int = 0
    recall_limit: int = 0


class _Fallback(Record):
    persona: _Persona | None


class _Message(Record):
    text: str
    metadata: Mapping[str, Any]


class _Collected(Record):
    messages: tuple[_Message, ...]


class _RetryResult(_StartResult):
    messages: tuple[_Message, ...]
    space_id: UUID | None


class TurnState(Record):
    """The state of a turn: ``text`` follows the requested position, ``position`` is its end."""

    turn_id: UUID
    session_id: UUID
    conversation_id: UUID
    contact_id: UUID | None
    status: Status
    position: int
    text: str
    message_id: UUID | None
    error_code: str | None
    usage: Mapping[str, Any] | None = None
    taken_over: bool = False

    def is_read_to_its_end(self, after: int | None) -> bool:
        """Whether this position is the id of the turn's last event (lib/chat/events.py)."""
        return self.status != "active" and after == self.position + 1

    def opened(self) -> Opened:
        """The opening event, for a reader from the beginning."""
        return Opened(self.turn_id, self.session_id, self.conversation_id, self.contact_id)


class CancelResult(Record):
    """The state of a turn after a cancel."""

    turn_id: UUID
    status: Status
    message_id: UUID | None
    text_length: int


class FinishResult(Record):
    """The state of a turn after finish; not ``changed`` if another process had finished it."""

    changed: bool
    status: Status
    message_id: UUID | None
    text_length: int


class _ActiveTurn(Record):
    turn: TurnState | None


@dataclass(frozen=True)
class Turn:
    """A stored message, with everything that is needed to answer it.

    ``repeated``: the client message was stored before, or joined a turn that collects messages, so the existing turn is
    followed instead of answered. ``taken_over``: a member answers instead of the persona, so the turn is over.
    ``started_at`` is the monotonic time of the message's arrival. ``collect_seconds``: how long further messages may
    join the turn before the persona is called. ``has_fallback``: the persona has one, and does not stand in for another
    persona itself. ``recall_limit``: how many memories are recalled before the persona is called;
    ``vector`` is that of the message, if it was begun early (lib/memory/turn_recall.py).
    """

    id: UUID
    repeated: bool
    taken_over: bool
    opened: Opened
    persona_kind: str
    for_persona: PersonaTurn = field(repr=False)
    rpc: Rpc = field(repr=False)
    started_at: float
    limits: tuple[RateLimit, ...] = ()
    has_fallback: bool = False
    collect_seconds: int = 0
    recall_limit: int = 0
    vector: Awaitable[Any] | None = field(default=None, repr=False)


async def start(caller: callers.Caller, space_id: UUID | None, message: ChatMessage, client: ClientInfo) -> Turn:
    """Store a message and start its turn: find or open the conversation and the session.

    Without a space it is a member's own conversation with the persona that the message names, or, where the message
    names a contact, the contact's.

    A repeated client message returns the same turn, and a message returns the turn that it joins. If the persona allows
    a message to interrupt an answer, the running turn is stopped first. Raises Refused (turn_in_progress, rate_limited,
    persona_unavailable, space_not_found, persona_not_found, conversation_not_found, contact_not_found, forbidden: only
    owners and admins speak for contacts, email_hmac_invalid,
    identity_token_invalid, identity_token_expired, identity_token_required, thread_key_not_allowed,
    idempotency_key_reused: the id was used for another message), InvalidBody (an identity token of a caller with a
    bearer token, an email that is not the identity token's, or a contact_id in a space) and BackendUnavailable.
    """
    if message.contact_id is not None and space_id is not None:
        raise errors.InvalidBody([errors.FieldError("contact_id", "is for a message to a persona")])
    if message.identity_token is not None and not isinstance(caller, callers.Anonymous):
        # The two may name two persons, and the message would reach the conversation of the first.
        raise errors.InvalidBody([errors.FieldError("identity_token", "is for callers without a bearer token")])
    if isinstance(caller, callers.ApiKey) and any(warning.field == "email" for warning in message.warnings):
        # The email says who the sender is; without it the message would be the key's own.
        raise errors.InvalidBody([errors.FieldError(w.field, w.message) for w in message.warnings])
    scope = callers.Scope() if space_id is None else callers.Scope.at_space(caller, space_id)
    rpc = commands.acting_as(caller, scope)
    arguments = message.sender(space_id) | {
        "space_id": space_id,
        "persona_id": message.persona_id,
        "contact_id": message.contact_id,
        "message": message.message,
        "client_message_id": message.client_message_id,
        "thread_key": message.thread_key,
        "attempt_id": uuid4(),
        "metadata": message.metadata,
        "client": client.facts(),
    }
    started_at = 0.0

    async def attempt(last: bool) -> _StartResult:
        nonlocal started_at
        started_at = time.monotonic()
        repeatable = _is_repeatable(caller, message)
        return await rpc.call("start_turn", arguments | {"last_try": last}, _StartResult, repeatable=repeatable)

    started = await until_stopped(attempt)
    return _turn(caller, started, message, space_id, started_at)


async def retry(caller: callers.Contact | callers.User, turn_id: UUID, client: ClientInfo) -> Turn:
    """Answer the message of a failed, timed-out or cancelled turn anew, in a new turn; a repeat returns that turn.

    A session that ended with the turn resumes. Raises Refused (turn_not_found, persona_not_found, rate_limited,
    persona_unavailable, taken_over; transition_not_allowed with ``turn_status`` and ``session_status``: the turn has an
    answer, a later message follows it, or its session has ended otherwise) and BackendUnavailable.
    """
    rpc, started_at = commands.acting_as(caller, callers.Scope.of_caller(caller)), time.monotonic()
    arguments = {"turn_id": turn_id, "attempt_id": uuid4(), "client": client.facts()}
    started = await rpc.call("retry_turn", arguments, _RetryResult, repeatable=True)
    message, metadata = _as_one(started.messages)
    asked = ChatMessage(message=message, metadata=metadata)
    return _turn(caller, started, asked, started.space_id, started_at)


class _TakenUp(Record):
    state: Literal["taken", "answering", "ended"]
    turn: _RetryResult | None = None


class BeingAnswered(Exception):  # noqa: N818 (a state)
    """Another process answers the turn, or has died less than a lease ago."""


async def take_up(workspace_id: UUID, turn_id: UUID, attempt_id: UUID) -> Turn | None:
    """A queued turn, for this process to answer; if its former process was lost, a new turn for its messages.

    None if there is nothing to answer. Raises BeingAnswered, Refused as retry, and BackendUnavailable.
    """
    caller, started_at = callers.System(), time.monotonic()
    rpc = commands.acting_as(caller, callers.Scope(workspace_id=workspace_id))
    arguments = {"turn_id": turn_id, "attempt_id": attempt_id}
    taken = await rpc.call("take_up_turn", arguments, _TakenUp)
    if taken.state == "answering":
        raise BeingAnswered
    if taken.turn is None:
        return None
    message, metadata = _as_one(taken.turn.messages)
    # Its messages were checked as they came.
    asked = ChatMessage.model_construct(message=message, metadata=metadata)
    return _turn(caller, taken.turn, asked, None, started_at)


async def regenerate(caller: callers.Caller, space_id: UUID | None, message: ChatMessage, client: ClientInfo) -> Turn:
    """Answer a message anew: retry its turn if that can be retried, else store the message again. Raises as start."""
    if message.client_message_id is not None and isinstance(caller, callers.Contact | callers.User):
        turn = await start(caller, space_id, message, client)
        try:
            # A retry that has failed is retried itself.
            while turn.repeated:
                turn = await retry(caller, turn.id, client)
        except errors.Refused as refused:
            if refused.code != "transition_not_allowed":
                raise
        else:
            return turn
    return await start(caller, space_id, message.model_copy(update={"client_message_id": None}), client)


def _turn(
    caller: callers.Caller, started: _StartResult, message: ChatMessage, space_id: UUID | None, started_at: float
) -> Turn:
    newcomer = _newcomer(caller, started, space_id) if space_id is not None else None
    return Turn(
        id=started.turn_id,
        repeated=started.repeat,
        taken_over=started.taken_over,
        opened=Opened(
            turn_id=started.turn_id,
            session_id=started.session_id,
            conversation_id=started.conversation_id,
            contact_id=started.contact_id,
            token=newcomer.token if newcomer else None,
            warnings=message.warnings,
        ),
        persona_kind=started.persona.kind,
        for_persona=_for_persona(started, space_id, message),
        rpc=commands.acting_as(newcomer or caller, callers.Scope(workspace_id=started.workspace_id)),
        started_at=started_at,
        limits=started.limits,
        has_fallback=started.has_fallback,
        collect_seconds=started.collect_seconds,
        recall_limit=started.recall_limit,
    )


async def collect(turn: Turn) -> Turn:
    """End the time in which messages join a turn; the turn with all of them as one message. Retries for 24 s."""
    arguments = {"turn_id": turn.id}
    collected = await turn.rpc.call(
        "collect_messages", arguments, _Collected, repeatable=True, patience=retries.PERSISTENT
    )
    message, metadata = _as_one(collected.messages)
    for_persona = replace(turn.for_persona, message=message, metadata=metadata)
    # A vector of the first message alone is none of all messages.
    return replace(turn, for_persona=for_persona, vector=turn.vector if len(collected.messages) == 1 else None)


def _as_one(messages: tuple[_Message, ...]) -> tuple[str, dict[str, Any]]:
    """The text and metadata of a turn's messages: each text starts a line, later metadata replaces earlier."""
    text = "\n".join(message.text for message in messages)
    return text, {name: value for message in messages for name, value in message.metadata.items()}


async def fall_back(turn: Turn, error_code: str, error_detail: str | None) -> Turn | None:
    """Record the failure of a turn's persona before its first text; the turn for its fallback.

    None if no fallback may answer: it is disabled, its breaker is open, no time is left, or the turn has ended.
    """
    arguments = {"turn_id": turn.id, "error_code": error_code, "error_detail": error_detail or ""}
    persona = (await turn.rpc.call("start_fallback", arguments, _Fallback, repeatable=True)).persona
    if persona is None:
        return None
    for_persona = replace(
        turn.for_persona,
        persona_id=str(persona.id),
        time_limit_seconds=persona.time_limit_seconds,
        config=persona.config,
        secret=persona.secret.get_secret_value() if persona.secret else None,
    )
    return replace(turn, persona_kind=persona.kind, for_persona=for_persona, has_fallback=False)


async def read(rpc: Rpc, turn_id: UUID, after: int = 0, *, patience: Patience = BRIEF) -> TurnState:
    """The state of a turn. Raises Refused (turn_not_found) if the caller may not see it."""
    arguments = {"turn_id": turn_id, "after": after}
    return await rpc.call("read_turn", arguments, TurnState, repeatable=True, patience=patience)


async def snapshot(turn: Turn) -> TurnState:
    """The state, from the beginning, of a turn that this process does not answer. Raises as read."""
    if not turn.taken_over:
        return await read(turn.rpc, turn.id)
    return TurnState(
        turn_id=turn.id,
        session_id=turn.opened.session_id,
        conversation_id=turn.opened.conversation_id,
        contact_id=turn.opened.contact_id,
        status="completed",
        position=0,
        text="",
        message_id=None,
        error_code=None,
        taken_over=True,
    )


async def read_active(rpc: Rpc, space_id: UUID, thread_key: str) -> TurnState | None:
    """The active turn of the caller's conversation, from its beginning; None if there is none.

    A contact's conversation is in its token; a user's is the one with this thread key and the space's persona.
    """
    if not types.is_label(thread_key):
        return None
    arguments = {"space_id": space_id, "thread_key": thread_key}
    return (await rpc.call("read_active_turn", arguments, _ActiveTurn, repeatable=True)).turn


async def resume(rpc: Rpc, turn_id: UUID, after: int | None) -> TurnState:
    """The state of a turn after a reader's position; None means from the beginning.

    A position beyond the id of the last event counts as the end of the text. Raises as read.
    """
    return await read(rpc, turn_id, after or 0)


async def cancel(caller: callers.Contact | callers.User, turn_id: UUID) -> CancelResult:
    """Cancel a turn and wait until it has stopped. Delivered text is kept; a turn that has ended does not change.

    Raises Refused (turn_not_found) if the caller may not see it.
    """
    rpc = commands.acting_as(caller, callers.Scope.of_caller(caller))

    async def attempt(_: bool) -> CancelResult:
        return await rpc.call("cancel_turn", {"turn_id": turn_id}, CancelResult, repeatable=True)

    return await until_stopped(attempt, lambda result: result.status == "active")


async def finish(
    rpc: Rpc,
    turn_id: UUID,
    status: Status,
    answer: str | None,
    *,
    usage: Mapping[str, Any] | None = None,
    error_code: str | None = None,
    error_detail: str | None = None,
    first_token_ms: int | None = None,
) -> FinishResult:
    """Finish a turn and store its answer (None: the flushed text). Retries for 24 s.

    A turn that has ended does not change; the result reports its state.
    """
    return await rpc.call(
        "finish_turn",
        {
            "turn_id": turn_id,
            "status": status,
            "answer": answer,
            "usage": usage,
            "error_code": error_code,
            "error_detail": error_detail,
            "first_token_ms": first_token_ms,
        },
        FinishResult,
        repeatable=True,
        patience=retries.PERSISTENT,
    )


async def follow(rpc: Rpc, state: TurnState, opened: Opened | None) -> AsyncGenerator[Event, None]:
    """The events of a turn from a state on: the stored text, then what is added.

    Starts with ``opened`` if given, and always ends with Done, Failed or StreamBroken.
    """
    if opened is not None:
        yield opened
    limit = time.monotonic() + FOLLOW_LIMIT_SECONDS
    while True:
        if state.text:
            yield Delta(text=state.text, position=state.position)
        if state.status != "active":
            break
        if time.monotonic() > limit:
            yield StreamBroken("stream_limit")
            return
        await asyncio.sleep(FOLLOW_PAUSE_SECONDS)
        try:
            state = await read(rpc, state.turn_id, state.position)
        except errors.Problem as problem:
            log.warning("follow_broke", turn_id=state.turn_id, code=problem.code)
            yield StreamBroken(problem.code)
            return
    yield ending(
        status=state.status,
        code=state.error_code,
        position=state.position,
        text_length=state.position,
        message_id=state.message_id,
        usage=state.usage,
        taken_over=state.taken_over,
    )


def ending(
    *,
    status: str,
    code: str | None,
    position: int,
    text_length: int,
    message_id: UUID | None,
    usage: Mapping[str, Any] | None = None,
    taken_over: bool = False,
) -> Done | Failed:
    """The last event of an ended turn, for a reader at this position."""
    if status in ("completed", "cancelled"):
        return Done(status, message_id, text_length, position, usage, taken_over)
    return Failed(code or ("persona_timeout" if status == "timeout" else "internal_error"), position)


def _is_repeatable(caller: callers.Caller, message: ChatMessage) -> bool:
    """Whether sending the message twice stores it once: its sender or its id is known."""
    if message.client_message_id is None:
        return False
    if not isinstance(caller, callers.Anonymous):
        return True
    try:
        return str(UUID(message.client_message_id)) == message.client_message_id.lower()
    except ValueError:
        return False


def _newcomer(caller: callers.Caller, started: _StartResult, space_id: UUID) -> callers.Contact | None:
    """An anonymous caller as the holder of a new contact token."""
    if not isinstance(caller, callers.Anonymous) or started.contact_id is None or started.proof is None:
        return None
    ids = (started.workspace_id, started.contact_id, started.conversation_id, started.proof)
    token = callers.contact_token(*ids, space_id, started.issued_at).token
    return callers.Contact(*ids, token, space_id, started.issued_at.timestamp())


def _for_persona(started: _StartResult, space_id: UUID | None, message: ChatMessage) -> PersonaTurn:
    persona, contact = started.persona, started.contact
    # A conversation without a contact is that of a member, who is signed in.
    verified = started.proof != "asserted"
    proven_id = started.user_id or started.contact_id
    return PersonaTurn(
        turn_id=str(started.turn_id),
        session_id=str(started.session_id),
        conversation_id=str(started.conversation_id),
        persona_id=str(persona.id),
        space_id=str(space_id) if space_id else None,
        sender_id=str(proven_id if verified and proven_id else uuid5(started.conversation_id, _UNPROVEN_SENDER)),
        verified=verified,
        contact=ContactFacts(contact.name, contact.email, contact.attributes) if verified and contact else None,
        message=message.message,
        metadata=message.metadata,
        history=tuple(HistoryMessage(said.role, said.text, said.created_at) for said in started.history),
        time_limit_seconds=persona.time_limit_seconds,
        config=persona.config,
        secret=persona.secret.get_secret_value() if persona.secret else None,
        allowed_networks=addresses.networks(started.allowed_networks),
    )
