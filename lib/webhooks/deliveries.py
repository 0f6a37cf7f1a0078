"""Webhook deliveries: verified, stored raw, queued, and processed at once if that is quick.

A stored delivery is acknowledged whatever becomes of its processing: unfinished work stays in the queue.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from pydantic import SecretStr

from lib import errors, log, providers
from lib.auth import callers
from lib.chat import turns
from lib.database import commands
from lib.fields.models import Record
from lib.jobs import queue
from lib.jobs.queue import Job
from lib.personas import failures

PROCESS_SECONDS = 5.0
"""How long a delivery is processed before it is acknowledged."""

_KEPT_HEADERS = ("content-type", "user-agent", "webhook-id", "webhook-timestamp", "idempotency-key")
"""The stored headers; others may hold secrets."""


class _Secret(Record):
    workspace_id: UUID
    secrets: tuple[SecretStr, ...]


class _Recorded(Record):
    job_id: UUID | None
    duplicate: bool


class _Woken(Record):
    woken: bool


@dataclass(frozen=True)
class Receipt:
    """A stored delivery; ``duplicate``: it was stored before."""

    duplicate: bool


async def receive(provider_name: str, headers: Mapping[str, str], body: bytes) -> Receipt:
    """Store a provider's delivery once, and process it at once if that is quick.

    ``headers`` are in lower case. Raises NotFound (provider_not_found), InvalidJson, InvalidBody, SecretInvalid (also
    if the turn does not exist), and BackendUnavailable: the provider then sends it again.
    """
    provider = providers.find(provider_name)
    found = await _secret(provider_name, provider.reference(body))
    secrets = [secret.get_secret_value() for secret in found.secrets] if found else [""]
    if not any(_verifies(provider, secret, headers, body) for secret in secrets) or found is None:
        raise errors.SecretInvalid()
    answer = provider.parse(body)
    recorded = await commands.acting_as(callers.System(), callers.Scope(workspace_id=found.workspace_id)).call(
        "record_event",
        {
            "source": provider_name,
            "delivery_key": _delivery_key(answer, headers),
            "headers": {name: headers[name] for name in _KEPT_HEADERS if name in headers},
            "raw_body": body.decode(),
            "job_kind": "persona_answer",
            "ordering_key": answer.turn_id,
        },
        _Recorded,
        repeatable=True,
    )
    log.info("delivery", provider=provider_name, turn_id=answer.turn_id, duplicate=recorded.duplicate)
    if recorded.job_id is not None:
        await _process_now(recorded.job_id)
    return Receipt(duplicate=recorded.duplicate)


async def finish_deferred_turn(job: Job) -> None:
    """Finish the turn of an asynchronous answer; a turn that has ended does not change."""
    if job.event is None:
        raise errors.InvalidBody([errors.FieldError("event", "is missing")])
    answer = providers.find(job.event.source).parse(job.event.raw_body.encode())
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


async def _secret(provider_name: str, reference: str) -> _Secret | None:
    rpc = commands.acting_as(callers.System(), callers.SYSTEM_SCOPE)
    try:
        return await rpc.call(
            "webhook_secret", {"provider": provider_name, "reference": reference}, _Secret, repeatable=True
        )
    except errors.Refused as refused:
        if refused.status != 404:
            raise
        return None


def _verifies(provider: providers.Provider, secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether the delivery carries this secret."""
    try:
        provider.verify(secret, headers, body)
    except errors.SecretInvalid:
        return False
    return True


def _delivery_key(answer: providers.AsyncAnswer, headers: Mapping[str, str]) -> str:
    """The provider's delivery id for this turn, if it sends one; else a hash of the content."""
    given = headers.get("webhook-id") or headers.get("idempotency-key")
    if not given:
        return answer.delivery_key
    return f"{answer.turn_id}:{hashlib.sha256(given.encode()).hexdigest()}"


async def _process_now(job_id: UUID) -> None:
    """Process the job now. If that fails, the job stays in the queue and the worker is woken."""
    try:
        async with asyncio.timeout(PROCESS_SECONDS):
            if await queue.run_one(HANDLERS, job_id):
                return
    except (errors.Problem, TimeoutError) as hindrance:
        log.warning("job_left_to_the_worker", job_id=job_id, reason=type(hindrance).__name__)
    try:
        await commands.acting_as(callers.System(), callers.SYSTEM_SCOPE).call("wake_worker", {}, _Woken)
    except errors.Problem as problem:
        # The schedule runs the job within a minute.
        log.warning("worker_not_woken", code=problem.code)
