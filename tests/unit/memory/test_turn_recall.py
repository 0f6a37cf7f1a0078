"""The recall of a turn: its vector, begun early or not, and what is left out when something is slow or fails."""

import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from lib.auth import callers
from lib.database import commands
from lib.memory import embedders, turn_recall
from lib.personas import ContactFacts
from tests.unit.persona_turns import make_turn
from tests.unit.sql_functions import SqlFunctions, raised

MEMORY = {"id": "m", "kind": "fact", "content": "tea", "valid_from": "2026-01-01T00:00:00Z", "score": 1}
RPC = commands.acting_as(callers.System(), callers.Scope(workspace_id=uuid4()))
USER = callers.User(uuid4(), None, "token")


@pytest.fixture(autouse=True)
def embedded(sql: SqlFunctions, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The texts that the local model embeds; a text with `hang` waits for the end of the test."""
    sql.functions["recall_for_turn"] = lambda _: {"memories": [MEMORY]}
    texts: list[str] = []
    over = threading.Event()

    def encode(given: list[str]) -> list[tuple[float, ...]]:
        texts.extend(given)
        if "hang" in given[0]:
            over.wait(10)
        return [(1.0, 0.0)]

    monkeypatch.setattr(embedders, "_encode", encode)
    monkeypatch.setattr(embedders, "is_local", lambda: True)
    monkeypatch.setattr(embedders, "chosen", embedders.Local)
    monkeypatch.setattr(turn_recall, "_places", set())
    monkeypatch.setattr(turn_recall, "_early", set())
    yield texts
    over.set()


async def test_the_vector_of_a_message_is_begun_early_where_a_turn_has_recalled(
    sql: SqlFunctions, embedded: list[str]
) -> None:
    assert turn_recall.embed_early(USER, "space-1", "tea?") is None
    await turn_recall.recall(RPC, make_turn("tea?"))
    assert turn_recall.embed_early(callers.Anonymous(), "space-1", "tea?") is None
    assert turn_recall.embed_early(USER, "space-2", "tea?") is None
    vector = turn_recall.embed_early(USER, "space-1", "more tea?")
    assert turn_recall.embed_early(USER, "space-1", "another") is None, "one at a time"
    (memory,) = await turn_recall.recall(RPC, make_turn("more tea?"), vector)
    assert (memory.content, embedded) == ("tea", ["tea?", "more tea?"])
    vector = turn_recall.embed_early(USER, "space-1", "Tea for Ana?")
    ana = ContactFacts("Ana", None, {})
    await turn_recall.recall(RPC, make_turn("Tea for Ana?", contact=ana), vector)
    assert "Tea for ?" in embedded, "a name says nothing about what was said"
    assert {call.arguments["embedding"]["model"] for call in sql.calls} == {embedders.Local.model}


@pytest.mark.parametrize(
    ("message", "answer", "found", "event"),
    [
        ("hang", {"memories": [MEMORY]}, 1, "embedding_failed"),
        ("tea?", raised("57P01", "no"), 0, "recall_failed"),
        ("tea?", raised("XX000", "no"), 0, "recall_failed"),
    ],
)
async def test_what_is_slow_or_fails_is_left_out_and_logged(
    sql: SqlFunctions, log_lines: list[dict[str, Any]], message: str, answer: Any, found: int, event: str
) -> None:
    sql.functions["recall_for_turn"] = lambda _: answer
    assert len(await turn_recall.recall(RPC, make_turn(message))) == found
    assert event in [line["event"] for line in log_lines]
    if found:
        assert sql.calls[-1].arguments["embedding"] is None, "words alone decide"
