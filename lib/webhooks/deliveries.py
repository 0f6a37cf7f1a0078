"""Webhook deliveries: verified, stored raw, queued, and processed at once if that is quick.

A stored delivery is acknowledged whatever becomes of its processing: unfinished work stays in the queue.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID, uuid4

from pydantic import Field, SecretStr

from lib import errors, log, providers
from lib.auth import callers
from lib.chat import turns
from lib.database import commands
from lib.fields.models import Record
from lib.jobs import queue
from lib.jobs.queue import Job
from lib.personas import failures
from lib.personas.text import clean
from lib.providers import Acknowledgement, Delivery, Provider

_KEPT_HEADERS = (
    "content-type", "user-agent", "webhook-id", "webhook-timestamp", "svix-id", "svix-timestamp", "idempotency-key",
)  # fmt: skip
"""The stored headers; others may hold secrets."""

_KEPT_PARAMETERS = ("uid", "session_id", "event")
"""The stored parameters of the query, as headers of the name `query-…`; others may hold secrets."""

JOB_KINDS: Mapping[type[providers.Item], str] = {
    providers.AsyncAnswer: "persona_answer",
    providers.ChannelMessage: "channel_message",
    providers.ChatMigrated: "channel_message",
    providers.DeliveryStatus: "channel_status",
    providers.BusinessEvent: "avinode_event",
    providers.DeviceSegments: "conversation_save",
    providers.DeviceConversation: "conversation_save",
}
"""The kind of job that processes an item; without one, or without a handler, the item is parked."""


class _Place(Record):
    """Where a delivery arrives, and with what it is verified."""

    workspace_id: UUID
    secrets: tuple[SecretStr, ...]
    channel_id: UUID | None = None
    external_id: str | None = None


class _Recorded(Record):
    job_ids: tuple[UUID, ...]
    duplicate: bool


class _Payload(Record):
    """What a job knows of its item: its place in what the delivery reports."""

    item: int = Field(default=0, ge=0)
    channel_id: UUID | None = None
    external_id: str | None = None


async def receive(
    handlers: queue.Handlers, provider_name: str, channel_id: UUID | None, delivery: Delivery
) -> Acknowledgement:
    """Store a provider's delivery once, process it at once if that is quick, and return the response to its sender.

    Raises NotFound (provider_not_found, channel_not_found), InvalidJson, InvalidBody, SecretInvalid (also if there is
    no such channel or turn, or the channel is disabled), TimestampInvalid, and BackendUnavailable: the provider then
    sends it again.
    """
    provider = providers.find(provider_name)
    place = await _verified_place(provider, provider_name, channel_id, delivery)
    parsed = provider.parse(delivery, place.external_id)
    items = [
        _job(item, number, place, handlers) for number, item in enumerate(parsed) if isinstance(item, providers.Item)
    ]
    recorded = _Recorded(job_ids=(), duplicate=False)
    if items:
        recorded = await commands.acting_as(callers.System(), callers.Scope(workspace_id=place.workspace_id)).call(
            "record_event",
            {
                "source": provider_name,
                "delivery_key": items[0]["key"] if len(items) == 1 else _key(place, providers.digest(delivery.body)),
                "headers": _kept(delivery),
                "raw_body": delivery.body.decode(),
                "items": items,
            },
            _Recorded,
            repeatable=True,
        )
    log.info(
        "delivery",
        provider=provider_name,
        channel_id=place.channel_id,
        items=[type(item).__name__ for item in parsed],
        parked=[item.reason for item in parsed if isinstance(item, providers.Unknown)],
        duplicate=recorded.duplicate,
    )
    await _process(handlers, recorded.job_ids, provider.process_seconds)
    return provider.acknowledgement(delivery, duplicate=recorded.duplicate)


async def answer_challenge(channel_id: UUID | None, query: Mapping[str, str]) -> str:
    """The text with which WhatsApp's challenge is answered. Raises SecretInvalid."""
    from lib.providers import whatsapp  # noqa: PLC0415 (only for a challenge)

    token = query.get("hub.verify_token", "")
    place = await _place("whatsapp", str(channel_id) if channel_id else token.partition(".")[0])
    if place is None or query.get("hub.mode") != "subscribe":
        raise errors.SecretInvalid()
    for secret in place.secrets:
        with contextlib.suppress(errors.SecretInvalid):
            expected = whatsapp.provider.verify_token(secret.get_secret_value(), str(place.channel_id))
            providers.require_same(expected, token)
            return query.get("hub.challenge", "")
    raise errors.SecretInvalid()


Kind = TypeVar("Kind", bound=providers.Item)


class Work(NamedTuple, Generic[Kind]):
    """What a job of a delivery is about. ``channel_id`` is None for n8n."""

    item: Kind
    channel_id: UUID | None


def work_of(job: Job, kind: type[Kind]) -> Work[Kind]:
    """The item of a stored delivery that a job processes. Raises InvalidBody if it is not of this kind."""
    payload = _Payload.model_validate(job.payload)
    if job.event is not None:
        parsed = providers.find(job.event.source).parse(_stored(job.event), payload.external_id)
        item = parsed[payload.item] if payload.item < len(parsed) else None
        if isinstance(item, kind):
            return Work(item, payload.channel_id)
    raise errors.InvalidBody([errors.FieldError("event", "is missing")])


class _Refused(Record):
    refused: bool


async def is_erased(job: Job, sender: list[dict[str, Any]], sent_at: datetime) -> bool:
    """Whether a contact with one of the sender's identities (as the database takes them) was erased after this was
    sent. The delivery is then deleted."""
    rpc = commands.acting_as(callers.System(), callers.Scope(workspace_id=job.workspace_id))
    arguments = {"identities": sender, "sent_at": sent_at, "event_id": job.event and job.event.id}
    return (await rpc.call("refuse_erased_delivery", arguments, _Refused, repeatable=True)).refused


async def finish_deferred_turn(job: Job) -> None:
    """Finish the turn of an asynchronous answer; a turn that has ended does not change."""
    answer = work_of(job, providers.AsyncAnswer).item
    finished = await turns.finish(
        commands.acting_as(callers.System(), callers.Scope(workspace_id=job.workspace_id)),
        UUID(answer.turn_id),
        "completed" if answer.error is None else "failed",
        answer.text,
        error_code=None if answer.error is None else failures.code_of(None, answer.error),
        error_detail=answer.error,
    )
    log.info("answer_taken", turn_id=answer.turn_id, changed=finished.changed, status=finished.status)


HANDLERS: queue.Handlers = {"persona_answer": finish_deferred_turn}


async def _verified_place(
    provider: Provider, provider_name: str, channel_id: UUID | None, delivery: Delivery
) -> _Place:
    """Where a delivery arrives, if it carries one of the secrets. Raises as `receive`."""
    place = await _place(provider_name, str(channel_id) if channel_id else provider.reference(delivery))
    fault: errors.Unauthenticated = errors.SecretInvalid()
    # Verified without a place too, so that the time taken does not tell whether there is one.
    for secret in place.secrets if place else (SecretStr(""),):
        try:
            provider.verify(secret.get_secret_value(), delivery)
        except errors.TimestampInvalid as stale:
            fault = stale
        except errors.SecretInvalid:
            pass
        else:
            if place is not None:
                return place
    raise fault


async def _place(provider_name: str, reference: str) -> _Place | None:
    """Where a delivery with this reference arrives; None if there is no such place."""
    rpc = commands.acting_as(callers.System(), callers.SYSTEM_SCOPE)
    try:
        # No reference is longer, or has a character that Postgres does not take.
        arguments = {"provider": provider_name, "reference": clean(reference[:200])}
        return await rpc.call("webhook_secret", arguments, _Place, repeatable=True)
    except errors.Refused as refused:
        if refused.status != 404:
            raise
        return None


def _job(item: providers.Item, number: int, place: _Place, handlers: queue.Handlers) -> dict[str, Any]:
    """The job that processes an item, as the database takes it."""
    kind = JOB_KINDS.get(type(item))
    payload = _Payload(item=number, channel_id=place.channel_id, external_id=place.external_id)
    return {
        "key": _key(place, item.delivery_key or uuid4().hex),
        "kind": kind if kind in handlers else None,
        "ordering_key": _key(place, item.ordering_key),
        "payload": payload.model_dump(mode="json", exclude_none=True),
        "reason": item.reason if isinstance(item, providers.Unknown) else "not processed",
    }


def _key(place: _Place, key: str) -> str:
    """A key within a channel as one of the workspace, of limited length; an answer's key names its turn."""
    return f"{place.channel_id}:{providers.key_of(key)}" if place.channel_id else key


def _kept(delivery: Delivery) -> dict[str, str]:
    """The headers, and the parameters of the query, that are stored."""
    kept = {name: delivery.headers[name] for name in _KEPT_HEADERS if name in delivery.headers}
    kept |= {f"query-{name}": delivery.query[name] for name in _KEPT_PARAMETERS if name in delivery.query}
    return {name: clean(value)[:1_000] for name, value in kept.items()}


def _stored(event: queue.InboundEvent) -> Delivery:
    """A stored delivery, without its secrets."""
    query = {name.removeprefix("query-"): value for name, value in event.headers.items() if name.startswith("query-")}
    return Delivery(event.headers, event.raw_body.encode(), query)


async def _process(handlers: queue.Handlers, job_ids: tuple[UUID, ...], seconds: float) -> None:
    """Process the jobs now. Those that are not done stay in the queue, and the worker is woken."""
    if not job_ids:
        return
    try:
        async with asyncio.timeout(seconds):
            if seconds and all([await queue.run_one(handlers, job_id) for job_id in job_ids]):
                return
    except (errors.Problem, TimeoutError) as hindrance:
        log.warning("jobs_left_to_the_worker", job_ids=job_ids, reason=type(hindrance).__name__)
    await queue.wake_worker()
