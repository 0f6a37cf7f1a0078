"""Polls an n8n workflow that has acknowledged a message, until it answers.

Each poll sends `{"turnId", "sessionId", "conversationId", "acknowledgement"}`. The response is "not yet" (202, 204 or
`{"status": "running"}`), or an answer in the form of a synchronous workflow. A failed poll (no connection, timeout, cut
off, 408, 425, 429, 5xx) is repeated until the turn's limit.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from lib.outbound import client
from lib.personas import PersonaError, PersonaTurn, calls, n8n_answer

MAX_ACKNOWLEDGEMENT_BYTES = 16 * 1024
_DEEPEST = 32
_LONGEST_POLL_SECONDS = 30.0
"""A poll that hangs is abandoned for the next one, so that a lost connection does not cost the turn."""


@dataclass(frozen=True, slots=True)
class Polling:
    """The poll URL, the interval (seconds) and the deadline (the event loop's time)."""

    url: str
    seconds: float
    patience: calls.Timeouts
    headers: Mapping[str, str]
    deadline: float


class _NotNow(Exception):  # noqa: N818 (the next poll may do better)
    """A poll without an answer; `reason` goes into the error's detail if no poll succeeds."""

    def __init__(self, reason: str, retry_after: float = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


async def acknowledgement(answer: client.Answer) -> Any:
    """The workflow's acknowledgement: its JSON, else its text; None if empty.

    Raises PersonaError if it is too large to send with every poll, and OutboundError.
    """
    body = bytearray()
    async for chunk in answer.chunks():
        body += chunk
        if len(body) > MAX_ACKNOWLEDGEMENT_BYTES:
            raise PersonaError(
                "persona_bad_answer", f"the acknowledgement is larger than {MAX_ACKNOWLEDGEMENT_BYTES} bytes"
            )
    text = body.decode("utf-8-sig", "replace")
    if not text.strip():
        return None
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return text
    return value if _is_shallow(value) else text


async def wait(turn: PersonaTurn, polling: Polling, acknowledged: Any) -> str:
    """Poll until there is an answer. Raises PersonaError; persona_timeout at the deadline."""
    loop = asyncio.get_running_loop()
    pause, reason = polling.seconds, "the workflow is not done"
    while loop.time() + pause < polling.deadline:
        await asyncio.sleep(pause)
        try:
            return await _ask(turn, polling, acknowledged, polling.deadline - loop.time())
        except n8n_answer.NotYet:
            pause, reason = polling.seconds, "the workflow is not done"
        except _NotNow as hindrance:
            pause, reason = max(polling.seconds, hindrance.retry_after), hindrance.reason
    await asyncio.sleep(max(polling.deadline - loop.time(), 0))
    raise PersonaError("persona_timeout", f"no answer by polling in time; at the last poll {reason}", retryable=True)


async def _ask(turn: PersonaTurn, polling: Polling, acknowledged: Any, seconds: float) -> str:
    """The answer of one poll. Raises NotYet, _NotNow, and PersonaError for an error that a retry cannot fix."""
    try:
        async with client.post(
            polling.url,
            json={
                "turnId": turn.turn_id,
                "sessionId": turn.session_id,
                "conversationId": turn.conversation_id,
                "acknowledgement": acknowledged,
            },
            headers=polling.headers,
            limits=polling.patience.within(min(seconds, _LONGEST_POLL_SECONDS)),
            allowed=turn.allowed_networks,
        ) as answer:
            if answer.status in {202, 204}:
                raise n8n_answer.NotYet
            if not 200 <= answer.status <= 299:
                refusal = await n8n_answer.refusal(answer, turn.secret)
                if refusal.retryable:
                    raise _NotNow(refusal.detail, _retry_after(answer))
                raise refusal
            async with aclosing(n8n_answer.texts(answer, turn.secret, polled=True)) as texts:
                return "".join([text async for text in texts])
    except client.OutboundError as error:
        if error.retryable:
            raise _NotNow(error.detail) from error
        raise calls.failed(error) from error


def _retry_after(answer: client.Answer) -> float:
    """The seconds of a Retry-After header; 0 if it has none."""
    value = answer.headers.get("Retry-After", "")
    return float(value[:6]) if value.isascii() and value.isdigit() else 0


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _is_shallow(value: Any, depth: int = 0) -> bool:
    """Whether a JSON value can be serialised again."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return depth <= _DEEPEST and all(_is_shallow(member, depth + 1) for member in inner)
