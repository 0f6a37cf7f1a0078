"""Answering a turn: the persona speaks, the reader hears it at once, and the text is stored behind."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lib import errors, log, personas
from lib.chat import turns
from lib.chat.batch_queue import BatchQueue
from lib.chat.events import Delta, Event, StreamBroken
from lib.chat.turn_writer import TurnWriter
from lib.chat.turns import Status, Turn
from lib.database import commands
from lib.personas import Deferred, PersonaError, Text, Usage
from lib.personas.sanitizer import Sanitizer
from lib.personas.text import clean

GRACE_SECONDS = 1.0
"""What a persona gets beyond its time limit to say itself that it ran out of time."""

STOP_SECONDS = 5.0
"""What a persona that is stopped gets to leave in order; after that nobody waits for it any more."""


@dataclass(frozen=True)
class _Outcome:
    """How the answering ended, as far as we are concerned."""

    status: Status
    error_code: str | None = None
    error_detail: str | None = None


_INTERRUPTED = _Outcome("failed", "turn_interrupted", "The process stopped.")
_BROKEN = _Outcome("failed", "internal_error", "The answering broke down.")


@dataclass
class _AnswerSoFar:
    """What has been said so far."""

    pieces: list[str] = field(default_factory=list)
    length: int = 0
    usage: Mapping[str, Any] | None = None
    first_token_ms: int | None = None
    deferred: bool = False
    finished: bool = False

    @property
    def text(self) -> str:
        return "".join(self.pieces)


_Signal = Text | Usage | Deferred | _Outcome


async def stream_answer(turn: Turn) -> AsyncGenerator[Event, None]:
    """Answer a turn: its opening, the persona's text the moment it comes, and how it ended.

    The turn is finished once, however this ends: by the persona, by its time limit, by somebody who
    ended the turn elsewhere (a cancel, an asynchronous answer), or because the process stops. What was said
    by then is stored. Raises nothing that is the persona's or the database's fault: those are events.
    """
    answer = _AnswerSoFar()
    signals = BatchQueue[_Signal]()
    flusher = TurnWriter(turn.rpc, turn.id)
    clock = _wind_the_clock(turn, signals)
    speaking = asyncio.create_task(_speak(turn, signals))
    # It ends when the turn is to be stopped, or has ended elsewhere.
    flusher.begin(lambda: signals.put(_Outcome("cancelled")))
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
                    flusher.add(signal.text)
                    yield Delta(signal.text, answer.length)
                elif isinstance(signal, Usage):
                    answer.usage = signal.usage
                elif isinstance(signal, Deferred):
                    answer.deferred = True
                    flusher.watch()
                elif not (answer.deferred and signal.status == "completed"):
                    outcome = _judge(signal, answer)
                    break
        clock.cancel()
        await _stop([speaking, *flusher.end()])
        async for event in _end(turn, outcome, answer):
            yield event
    except BaseException as end:
        clock.cancel()
        await _stop([speaking, *flusher.end()])
        if not answer.finished:
            why = _INTERRUPTED if isinstance(end, GeneratorExit | asyncio.CancelledError) else _BROKEN
            await _finish_anyhow(turn, outcome or why, answer)
        raise


async def _end(turn: Turn, outcome: _Outcome, answer: _AnswerSoFar) -> AsyncGenerator[Event, None]:
    """Finish the turn and tell how it stands: as we say, or as somebody did before us."""
    code, usage = outcome.error_code, answer.usage
    try:
        finished = await _finish(turn, outcome, answer)
        if not finished.changed:
            state = await turns.read(turn.rpc, turn.id, patience=commands.PERSISTENT)
            if answer.length == 0:
                async for event in turns.follow(turn.rpc, state, None):
                    yield event
                return
            code, usage = state.error_code, state.usage
    except errors.Problem as problem:
        # The lease runs out and the sweep ends the turn with what was flushed.
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


async def _speak(turn: Turn, signals: BatchQueue[_Signal]) -> None:
    """Pass on what the persona says, and how it ended."""
    outcome, spoken = _Outcome("completed"), Sanitizer()
    try:
        pieces = personas.find(turn.persona_kind).answer(turn.for_persona)
        async with contextlib.aclosing(pieces):
            async for piece in pieces:
                if (fit := spoken.take(piece)) is not None:
                    signals.put(fit)
        if (rest := spoken.finish()) is not None:
            signals.put(rest)
    except PersonaError as failure:
        status: Status = "timeout" if failure.code == "persona_timeout" else "failed"
        outcome = _Outcome(status, failure.code, clean(str(failure.detail)))
    except Exception as unexpected:
        log.error("persona_broke", turn_id=turn.id, kind=turn.persona_kind)
        outcome = _Outcome("failed", "internal_error", type(unexpected).__name__)
    signals.put(outcome)


def _wind_the_clock(turn: Turn, signals: BatchQueue[_Signal]) -> asyncio.TimerHandle:
    """Tell when the turn has passed its limit; one clock, because one for each token costs more than the token."""
    deadline = turn.started_at + turn.for_persona.time_limit_seconds + GRACE_SECONDS
    passed = _Outcome("timeout", "persona_timeout", "The persona passed its time limit.")
    return asyncio.get_running_loop().call_later(max(deadline - time.monotonic(), 0), signals.put, passed)


def _judge(outcome: _Outcome, answer: _AnswerSoFar) -> _Outcome:
    """An answer without a word is no answer."""
    if outcome.status == "completed" and not answer.text.strip():
        return _Outcome("failed", "persona_bad_answer", "The persona said nothing.")
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


async def _finish_anyhow(turn: Turn, outcome: _Outcome, answer: _AnswerSoFar) -> None:
    """Finish although we are being stopped: a server that shuts down may cancel its tasks more than once."""
    for _ in range(3):
        with contextlib.suppress(asyncio.CancelledError):
            try:
                await _finish(turn, outcome, answer)
            except errors.Problem as problem:
                log.error("finish_failed", turn_id=turn.id, code=problem.code)
            return


async def _stop(tasks: list["asyncio.Task[None]"]) -> None:
    """Cancel and wait, whoever cancels us meanwhile; a persona may keep its task for itself, but not the turn."""
    for task in tasks:
        task.cancel()
    until = time.monotonic() + STOP_SECONDS
    while not all(task.done() for task in tasks):
        if (seconds := until - time.monotonic()) <= 0:
            log.error("persona_does_not_stop")
            return
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait(tasks, timeout=seconds)
