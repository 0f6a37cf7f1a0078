"""An answer's text is stored in few batches, once, and in time to notice a cancel."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from lib.auth import callers
from lib.chat import turn_writer
from lib.chat.turn_writer import TurnWriter
from lib.database import commands
from tests.unit.sql_functions import SqlFunctions, raised

TURN = uuid4()


class Chunks:
    """turn_chunks as the database keeps them: the first piece at a position stays."""

    def __init__(self) -> None:
        self.pieces: dict[int, str] = {}
        self.flushes: list[tuple[int, str]] = []
        self.status = "active"

    def flush(self, arguments: dict[str, Any]) -> dict[str, Any]:
        assert arguments["turn_id"] == str(TURN)
        self.flushes.append((arguments["position"], arguments["piece"]))
        if arguments["piece"]:
            self.pieces.setdefault(arguments["position"], arguments["piece"])
        return {"status": self.status, "stop": False}

    def text(self) -> str:
        whole = ""
        for position, piece in sorted(self.pieces.items()):
            assert position == len(whole), "a gap or an overlap"
            whole += piece
        return whole


@pytest.fixture
def chunks(sql: SqlFunctions, monkeypatch: pytest.MonkeyPatch) -> Chunks:
    """The database's side; pauses are short."""
    pauses(monkeypatch, pause=0.02, silence=0.1)
    stored = Chunks()
    sql.functions["flush_turn"] = stored.flush
    return stored


def pauses(monkeypatch: pytest.MonkeyPatch, *, pause: float, silence: float) -> None:
    monkeypatch.setattr(turn_writer, "PAUSE_SECONDS", pause)
    monkeypatch.setattr(turn_writer, "SILENCE_SECONDS", silence)


def started() -> tuple[TurnWriter, asyncio.Task[str]]:
    """A writer that runs."""
    writer = TurnWriter(commands.acting_as(callers.Anonymous(), callers.Scope(workspace_id=uuid4())), TURN)
    return writer, asyncio.create_task(writer.run())


async def until(claim: Callable[[], bool]) -> None:
    """Wait for a claim to become true."""
    async with asyncio.timeout(20):
        while not claim():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_text_that_comes_within_a_pause_is_one_batch(chunks: Chunks, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses(monkeypatch, pause=0.2, silence=60)
    writer, running = started()
    for _ in range(20):
        writer.add("word ")
        await asyncio.sleep(0)
    await until(lambda: chunks.text() == "word " * 20)
    assert len(chunks.pieces) == 1
    chunks.status = "completed"
    writer.add("late")
    assert await asyncio.wait_for(running, 20) == "completed"


async def test_a_full_batch_does_not_wait(chunks: Chunks, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses(monkeypatch, pause=3_600, silence=3_600)
    chunks.status = "cancelled"
    writer, running = started()
    writer.add("x" * (turn_writer.BATCH_CHARACTERS - 1))
    await asyncio.sleep(0.05)
    assert chunks.flushes == []
    writer.add("y")
    assert await asyncio.wait_for(running, 20) == "cancelled"
    assert chunks.text() == "x" * (turn_writer.BATCH_CHARACTERS - 1) + "y"


@pytest.mark.parametrize("watches", [False, True])
async def test_silence_is_flushed_at_its_interval_or_at_every_pause_of_a_writer_that_watches(
    chunks: Chunks, monkeypatch: pytest.MonkeyPatch, watches: bool
) -> None:
    pauses(monkeypatch, pause=0.02, silence=60 if watches else 0.1)
    writer, running = started()
    if watches:
        writer.watch()
    await until(lambda: len(chunks.flushes) == 3)
    assert set(chunks.flushes) == {(0, "")}
    chunks.status = "completed"
    assert await asyncio.wait_for(running, 20) == "completed"


async def test_a_batch_whose_answer_was_lost_is_repeated_unchanged(chunks: Chunks, sql: SqlFunctions) -> None:
    def stored_and_lost(arguments: dict[str, Any]) -> Any:
        chunks.flush(arguments)
        return raised("57P01", "the answer was lost")

    writer, running = started()
    sql.functions["flush_turn"] = stored_and_lost
    writer.add("one ")
    await until(lambda: chunks.flushes != [])
    writer.add("two ")
    # A call tries three times by itself.
    await until(lambda: len(chunks.flushes) > 3)
    assert set(chunks.flushes) == {(0, "one ")}
    sql.functions["flush_turn"] = chunks.flush
    writer.add("three")
    await until(lambda: chunks.text() == "one two three")
    running.cancel()


async def test_a_flush_tells_that_the_turn_is_to_be_cancelled(chunks: Chunks, sql: SqlFunctions) -> None:
    sql.functions["flush_turn"] = lambda _: {"status": "active", "stop": True}
    _, running = started()
    assert await asyncio.wait_for(running, 20) == "cancelled"


def test_a_flush_that_hangs_is_repeated_before_a_cancel_takes_the_process_for_gone() -> None:
    """A cancel waits for a flush for six seconds (private.stop_turn)."""
    assert turn_writer._PATIENCE.tries > 1
    assert turn_writer.SILENCE_SECONDS + turn_writer._PATIENCE.try_seconds < 6
