"""Running a turn: the persona's text is streamed to the reader at once and stored behind the stream."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lib import errors, log, personas
from lib.chat import turns
from lib.chat.events import Delta, Event
from lib.chat.turn_writer import TurnWriter
from lib.chat.turns import Status, Turn
from lib.database import retries
from lib.http.batch_queue import BatchQueue
from lib.http.sse import StreamBroken
from lib.memory import turn_recall
from lib.personas import Deferred, PersonaError, Text, Usage
from lib.personas.sanitizer import Sanitizer
from lib.personas.text import clean

GRACE_SECONDS = 1.0
"""Time beyond its limit in which a persona can report its own timeout."""

STOP_SECONDS = 5.0
"""Time for a stopped persona to end its work; after that the turn ends without waiting for it."""


@dataclass(frozen=True)
class _Outcome:
    """How the persona ended, before the database has its say."""

    status: Status
    error_code: str | None = None
    error_detail: str | None = None


_INTERRUPTED = _Outcome("failed", "turn_interrupted", "The process stopped.")
_BROKEN = _Outcome("failed", "internal_error", "The answering broke down.")
_BLANK = _Outcome("failed", "persona_bad_answer", "The persona said nothing.")

_FAULTS_OF_MESSAGES = ("persona_declined", "persona_input_refused")
"""A fallback would be a way around a persona's content filter."""


@dataclass
class _AnswerSoFar:
    """The answer as received so far."""

    pieces: list[str] = field(default_factory=list)
    length: int = 0
    usage: Mapping[str, Any] | None = None
    first_token_ms: int | None = None
    deferred: bool = False
    revoked: bool = False
    finished: bool = False

    @property
    def text(self) -> str:
        return "".join(self.pieces)


class _Revoked:
    """The reader's token is revoked."""


_Signal = Text | Usage | Deferred | _Revoked | _Outcome


async def stream_answer(turn: Turn) -> AsyncGenerator[Event, None]:
    """Answer a turn: yields its opening, the persona's text as it arrives, and the end.

    The turn is finished exactly once: by the persona, by its time limit, by another process (a cancel, an asynchronous
    answer), or because this process stops. The text received by then is stored. Failures of the persona or the database
    are events, not exceptions. After a revocation of the reader's token the reader gets an ``error`` and no further
    event; the answer is stored as without a reader.
    """
    answer = _AnswerSoFar()
    signals = BatchQueue[_Signal]()
    writer = TurnWriter(turn.rpc, turn.id)
    clock = _start_timer(turn, signals)
    persona_task = asyncio.create_task(_run_persona(turn, signals))
    # Called when the turn has ended elsewhere or is to be cancelled.
    writer.begin(lambda: signals.put(_Outcome("cancelled")), lambda: signals.put(_Revoked()))
    outcome: _Outcome | None = None
    try:
        yield turn.opened
        while outcome is None:
            for signal in await signals.take():
                if isinstance(signal, Text):
                    if answer.first_token_ms is None:
                        answer.first_token_ms = round((time.monotonic() - turn.started_at) * 1000)
                    answer.pieces.append(signal.text)
                    answer.length += len(signal.text)
                    writer.add(signal.text)
                    if not answer.revoked:
                        yield Delta(signal.text, answer.length)
                elif isinstance(signal, Usage):
                    answer.usage = signal.usage
                elif isinstance(signal, Deferred):
                    answer.deferred = True
                    writer.watch()
                elif isinstance(signal, _Revoked):
                    answer.revoked = True
                    yield StreamBroken(errors.TokenRevoked.code)
                elif not (answer.deferred and signal.status == "completed"):
                    outcome = _require_text(signal, answer)
                    break
        clock.cancel()
        await _stop([persona_task, *writer.end()])
        async for event in _end(turn, outcome, answer):
            yield event
    except BaseException as end:
        clock.cancel()
        await _stop([persona_task, *writer.end()])
        if not answer.finished:
            why = _INTERRUPTED if isinstance(end, GeneratorExit | asyncio.CancelledError) else _BROKEN
            await _finish_despite_cancellation(turn, outcome or why, answer)
        raise


async def _end(turn: Turn, outcome: _Outcome, answer: _AnswerSoFar) -> AsyncGenerator[Event, None]:
    """Finish the turn and yield its last event: our outcome, or that of another process that finished it first."""
    code, usage = outcome.error_code, answer.usage
    try:
        finished = await _finish(turn, outcome, answer)
        if answer.revoked:
            return
        if not finished.changed:
            state = await turns.read(turn.rpc, turn.id, patience=retries.PERSISTENT)
            if answer.length == 0:
                async for event in turns.follow(turn.rpc, state, None):
                    yield event
                return
            code, usage = state.error_code, state.usage
    except errors.Problem as problem:
        # The lease expires, and the sweep ends the turn with the flushed text.
        log.error("finish_failed", turn_id=turn.id, code=problem.code)
        yield StreamBroken(problem.code)
        return
    yield turns.ending(
        status=finished.status,
        code=code,
        position=max(answer.length, finished.text_length),
        text_length=finished.text_length,
        message_id=finished.message_id,
        usage=usage,
    )


async def _run_persona(turn: Turn, signals: BatchQueue[_Signal]) -> None:
    """Call the persona with all messages of the turn and the memories that fit them, and its fallback if it fails
    before its first piece. Pass the pieces on, and the outcome."""
    try:
        if turn.collect_seconds:
            await asyncio.sleep(turn.collect_seconds)
            turn = await turns.collect(turn)
    except errors.Problem as problem:
        log.error("collect_failed", turn_id=turn.id, code=problem.code)
        signals.put(_Outcome("failed", "backend_unavailable", "The messages could not be read."))
        return
    if turn.recall_limit:
        memories = await turn_recall.recall(turn.rpc, turn.for_persona, turn.vector)
        turn = replace(turn, for_persona=replace(turn.for_persona, memories=memories))
    outcome, answered = await _call_persona(turn, signals)
    if turn.has_fallback and not answered and outcome.error_code and outcome.error_code not in _FAULTS_OF_MESSAGES:
        fallback = None
        with contextlib.suppress(errors.Problem):
            fallback = await turns.fall_back(turn, outcome.error_code, outcome.error_detail)
        if fallback is not None:
            log.warning("persona_fell_back", turn_id=turn.id, code=outcome.error_code)
            outcome, _ = await _call_persona(fallback, signals)
    signals.put(outcome)


async def _call_persona(turn: Turn, signals: BatchQueue[_Signal]) -> tuple[_Outcome, bool]:
    """Pass the persona's pieces on; its outcome, and whether it has begun to answer or answers later."""
    outcome, spoken, answered = _Outcome("completed"), Sanitizer(), False
    try:
        pieces = personas.find(turn.persona_kind).answer(turn.for_persona)
        async with contextlib.aclosing(pieces):
            async for piece in pieces:
                if (fit := spoken.take(piece)) is not None:
                    answered = answered or not isinstance(fit, Usage)
                    signals.put(fit)
        if (rest := spoken.finish()) is not None:
            answered = True
            signals.put(rest)
        if not answered:
            outcome = _BLANK
    except PersonaError as failure:
        status: Status = "timeout" if failure.code == "persona_timeout" else "failed"
        outcome = _Outcome(status, failure.code, clean(str(failure.detail)))
    except Exception as unexpected:
        log.error("persona_broke", turn_id=turn.id, kind=turn.persona_kind)
        outcome = _Outcome("failed", "internal_error", type(unexpected).__name__)
    return outcome, answered


def _start_timer(turn: Turn, signals: BatchQueue[_Signal]) -> asyncio.TimerHandle:
    """Signal the turn's time limit. One timer for the turn, because one for each token costs more than the token."""
    deadline = turn.started_at + turn.collect_seconds + turn.for_persona.time_limit_seconds + GRACE_SECONDS
    passed = _Outcome("timeout", "persona_timeout", "The persona passed its time limit.")
    return asyncio.get_running_loop().call_later(max(deadline - time.monotonic(), 0), signals.put, passed)


def _require_text(outcome: _Outcome, answer: _AnswerSoFar) -> _Outcome:
    """A blank answer is a failure."""
    if outcome.status == "completed" and not answer.text.strip():
        return _BLANK
    return outcome


async def _finish(turn: Turn, outcome: _Outcome, answer: _AnswerSoFar) -> turns.FinishResult:
    finished = await turns.finish(
        turn.rpc,
        turn.id,
        outcome.status,
        answer.text,
        usage=answer.usage,
        error_code=outcome.error_code,
        error_detail=outcome.error_detail,
        first_token_ms=answer.first_token_ms,
    )
    answer.finished = True
    log.info(
        "turn",
        turn_id=turn.id,
        status=finished.status,
        code=outcome.error_code,
        characters=answer.length,
        first_token_ms=answer.first_token_ms,
        milliseconds=round((time.monotonic() - turn.started_at) * 1000),
    )
    return finished


async def _finish_despite_cancellation(turn: Turn, outcome: _Outcome, answer: _AnswerSoFar) -> None:
    """Finish the turn while this task is being cancelled: a server that shuts down may cancel its tasks repeatedly."""
    for _ in range(3):
        with contextlib.suppress(asyncio.CancelledError):
            try:
                await _finish(turn, outcome, answer)
            except errors.Problem as problem:
                log.error("finish_failed", turn_id=turn.id, code=problem.code)
            return


async def _stop(tasks: list["asyncio.Task[None]"]) -> None:
    """Cancel the tasks and wait for them, even if this task is cancelled meanwhile. A persona that ignores the
    cancellation keeps its task, but does not hold the turn."""
    for task in tasks:
        task.cancel()
    until = time.monotonic() + STOP_SECONDS
    while not all(task.done() for task in tasks):
        if (seconds := until - time.monotonic()) <= 0:
            log.error("persona_does_not_stop")
            return
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait(tasks, timeout=seconds)
