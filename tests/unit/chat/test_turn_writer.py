import asyncio
import json
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from lib.auth import callers
from lib.chat import turn_writer
from lib.chat.turn_writer import TurnWriter
from lib.database import commands
from lib.database.retries import Unreachable
from tests.unit.sql_functions import SqlFunctions, raised

TURN = uuid4()


class Chunks:
    """turn_chunks as the database keeps them: the first piece at a position stays."""

    def __init__(self) -> None:
        self.pieces: dict[int, str] = {}
        self.flushes: list[tuple[int, str]] = []
        self.status = "active"
        self.stop = False

    def flush(self, arguments: dict[str, Any]) -> dict[str, Any]:
        assert arguments["turn_id"] == str(TURN)
        self.flushes.append((arguments["position"], arguments["piece"]))
        if arguments["piece"]:
            self.pieces.setdefault(arguments["position"], arguments["piece"])
        return {"status": self.status, "stop": self.stop and self.status == "active"}

    def text(self) -> str:
        whole = ""
        for position, piece in sorted(self.pieces.items()):
            assert position == len(whole), "a gap or an overlap"
            whole += piece
        return whole


@pytest.fixture
def chunks(sql: SqlFunctions, monkeypatch: pytest.MonkeyPatch) -> Chunks:
    """The database's side, and a clock that runs fifty times as fast."""
    monkeypatch.setattr(turn_writer, "PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(turn_writer, "SILENCE_SECONDS", 0.1)
    stored = Chunks()
    sql.functions["flush_turn"] = stored.flush
    return stored


def new() -> TurnWriter:
    return TurnWriter(commands.acting_as(callers.Anonymous(), callers.Scope(workspace_id=uuid4())), TURN)


async def until(claim: Callable[[], bool]) -> None:
    """Wait for something; fails when it does not happen in time."""
    async with asyncio.timeout(5):
        while not claim():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_what_is_said_quickly_is_stored_in_few_batches(chunks: Chunks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn_writer, "PAUSE_SECONDS", 0.2)
    writer = new()
    running = asyncio.create_task(writer.run())
    for _ in range(20):
        writer.add("word ")
        await asyncio.sleep(0.002)
    await until(lambda: chunks.text() == "word " * 20)
    chunks.status = "completed"
    assert await asyncio.wait_for(running, 5) == "completed"
    assert chunks.text() == "word " * 20
    assert len(chunks.pieces) <= 5


async def test_a_full_batch_does_not_wait(chunks: Chunks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn_writer, "PAUSE_SECONDS", 30)
    writer = new()
    running = asyncio.create_task(writer.run())
    writer.add("x" * (turn_writer.BATCH_CHARACTERS - 1))
    await asyncio.sleep(0.05)
    assert chunks.flushes == []
    chunks.status = "cancelled"
    writer.add("y")
    assert await asyncio.wait_for(running, 5) == "cancelled"
    assert chunks.text() == "x" * (turn_writer.BATCH_CHARACTERS - 1) + "y"


async def test_silence_renews_the_lease_now_and_then(chunks: Chunks) -> None:
    begun = time.monotonic()
    running = asyncio.create_task(new().run())
    await until(lambda: len(chunks.flushes) == 3)
    running.cancel()
    assert time.monotonic() - begun >= 3 * turn_writer.SILENCE_SECONDS
    assert set(chunks.flushes) == {(0, "")}


async def test_who_watches_asks_every_pause(chunks: Chunks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn_writer, "SILENCE_SECONDS", 30)
    writer = new()
    writer.watch()
    running = asyncio.create_task(writer.run())
    await until(lambda: len(chunks.flushes) >= 5)
    chunks.status = "completed"
    assert await asyncio.wait_for(running, 5) == "completed"


async def test_a_batch_whose_answer_was_lost_is_repeated_as_it_was(chunks: Chunks, sql: SqlFunctions) -> None:
    def stored_and_lost(arguments: dict[str, Any]) -> Any:
        chunks.flush(arguments)
        return raised("XX000", "the answer was lost")

    writer = new()
    running = asyncio.create_task(writer.run())
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


async def test_a_flush_that_hangs_is_given_up_before_a_cancel_takes_us_for_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At the real pace: the second call hangs until it is given up, and the next is well."""
    came: list[float] = []

    async def run(_: commands._Call, seconds: float) -> tuple[int | None, str]:
        came.append(time.monotonic())
        if len(came) == 2:
            await asyncio.sleep(seconds)
            raise Unreachable(harmless=False)
        return None, json.dumps({"status": "active" if len(came) == 1 else "completed", "stop": False})

    monkeypatch.setattr(commands, "_run", run)
    writer = new()
    running = asyncio.create_task(writer.run())
    async with asyncio.timeout(20):
        while not running.done():
            writer.add("word ")
            await asyncio.sleep(0.1)
    assert await running == "completed"
    assert came[2] - came[0] < 6
    await commands.close()
