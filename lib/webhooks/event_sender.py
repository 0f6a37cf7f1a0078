"""The event sender: sends events to the URLs that subscribe to them, as Standard Webhooks defines it.

A delivery is sent by a job, at least once: if a worker dies between the answer and its record, it is sent again under
the same `webhook-id`. https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Literal
from uuid import UUID

from pydantic import SecretStr

from lib import errors, log
from lib.auth import callers
from lib.database import commands
from lib.fields.models import Empty, Record
from lib.jobs import queue
from lib.outbound import addresses

DeliveryStatus = Literal["pending", "succeeded", "failed"]

PAUSES = (5, 60, 300, 1_800, 7_200, 18_000, 28_800, 28_800)
"""Seconds before each retry: nine attempts in a day, and a quarter more at random."""

LONGEST_PAUSE = 86_400
"""Seconds for which a server may ask by Retry-After."""

ANSWER_SECONDS = 15
EXCERPT_CHARACTERS = 1_000


class _Due(Record):
    status: DeliveryStatus
    enabled: bool
    url: str
    secrets: tuple[SecretStr, ...]
    allowed_networks: tuple[str, ...]
    event_id: UUID
    type: str
    occurred_at: datetime
    data: Mapping[str, Any]


class _Attempt(Record):
    response_status: int | None = None
    response_excerpt: str | None = None
    error: str | None = None
    duration_ms: int | None = None
    retry_after: float = 0

    @property
    def succeeded(self) -> bool:
        return self.response_status is not None and self.response_status < HTTPStatus.MULTIPLE_CHOICES


async def deliver(job: queue.Job) -> None:
    """Send a delivery once more. Its last failure, a 410 and a disabled subscription end it as failed."""
    try:
        await _attempt(job)
    except errors.Refused as refused:
        # Otherwise it was removed together with its subscription.
        if refused.status != HTTPStatus.NOT_FOUND:
            raise


HANDLERS: queue.Handlers = {"deliver_event": deliver}


def message_id(event_id: UUID) -> str:
    """The `webhook-id` of an event: the same for every attempt, replay and subscription."""
    return f"msg_{event_id.hex}"


async def _attempt(job: queue.Job) -> None:
    rpc = commands.acting_as(callers.System(), callers.Scope(workspace_id=job.workspace_id))
    delivery = {"delivery_id": job.payload["delivery_id"]}
    due = await rpc.call("read_delivery", delivery, _Due, repeatable=True)
    if due.status != "pending":
        return  # an earlier attempt has ended it, and was lost before it ended its job
    attempt = await _send(due) if due.enabled else _Attempt(error="subscription_disabled")
    ends = not due.enabled or attempt.response_status == HTTPStatus.GONE or job.tries > len(PAUSES)
    status = "succeeded" if attempt.succeeded else "failed" if ends else "pending"
    outcome = attempt.model_dump(exclude={"retry_after"}) | {"status": status}
    await rpc.call("record_delivery", {**delivery, "outcome": outcome}, Empty)
    log.info("event_delivery", job_id=job.id, status=status, response_status=attempt.response_status)
    if status == "pending":
        pause = max(PAUSES[job.tries - 1], min(attempt.retry_after, LONGEST_PAUSE))
        reason = (attempt.error or f"http_{attempt.response_status}").partition(":")[0]
        raise queue.RetryLater(reason, pause)


async def _send(due: _Due) -> _Attempt:
    """POST the event; what came of it, without any exception."""
    from lib.outbound import client  # noqa: PLC0415 (brings aiohttp along)

    body = json.dumps(
        {"type": due.type, "timestamp": due.occurred_at.isoformat().replace("+00:00", "Z"), "data": due.data},
        separators=(",", ":"),
    )
    headers, allowed = _headers(due, body), addresses.networks(due.allowed_networks)
    limits = client.Limits(first_byte_seconds=ANSWER_SECONDS, total_seconds=ANSWER_SECONDS)
    started = time.monotonic()
    try:
        async with client.post(due.url, json=body.encode(), headers=headers, limits=limits, allowed=allowed) as answer:
            text = (await answer.excerpt(4 * EXCERPT_CHARACTERS)).decode("utf-8", "replace").replace("\x00", "")
            return _Attempt(
                response_status=answer.status,
                response_excerpt=text[:EXCERPT_CHARACTERS],
                duration_ms=round((time.monotonic() - started) * 1_000),
                retry_after=_seconds(answer.headers.get("Retry-After", "")),
            )
    except client.OutboundError as failure:
        error = f"{failure.code}: {failure.detail}"[:500]
        return _Attempt(error=error, duration_ms=round((time.monotonic() - started) * 1_000))


def _headers(due: _Due, body: str) -> dict[str, str]:
    """The headers of Standard Webhooks, with a signature for each valid secret."""
    from standardwebhooks import Webhook  # noqa: PLC0415 (only the sender of an event needs it)

    message, now = message_id(due.event_id), datetime.now(UTC)
    signatures = [Webhook(secret.get_secret_value()).sign(message, now, body) for secret in due.secrets]
    return {
        "webhook-id": message,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def _seconds(retry_after: str) -> float:
    """The pause that a Retry-After header asks for, in seconds or as a date; 0 for any other text."""
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0
