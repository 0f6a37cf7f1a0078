from types import SimpleNamespace
from typing import Any

import pytest

from lib.personas import Usage, demo
from tests.unit.persona_turns import Heard, hear, make_turn, remembered, said


async def heard(message: str, *history: str, config: dict[str, Any] | None = None, **turn: Any) -> Heard:
    """What the demo persona answers without delay."""
    return await hear("demo", make_turn(message, history=said(*history), config=config or {"delay_ms": 0}, **turn))


async def test_it_repeats_the_message_word_by_word() -> None:
    assert (await heard("Hello   there")).texts[:4] == ["You ", "said: ", "“Hello   ", "there”. "]


@pytest.mark.parametrize(
    ("history", "shown", "hidden"),
    [
        ([], ["You said: “Hello”. This is the first message that I see of our conversation."], []),
        (["one", "two"], ["I see 2 earlier messages", "contact: “one”; persona: “two”"], []),
        ([f"message {number}" for number in range(1, 41)], ["40 earlier", "message 38", "message 40"], ["message 37"]),
        (["word " * 5_000], ["word word"], ["word " * 60]),
    ],
)
async def test_it_counts_the_history_and_quotes_its_end_in_short(
    history: list[str], shown: list[str], hidden: list[str]
) -> None:
    text = (await heard("Hello", *history)).text
    assert all(part in text for part in shown)
    assert not any(part in text for part in hidden)


async def test_it_says_what_it_remembers() -> None:
    text = (await heard("Hello", memories=remembered("likes tea", "word " * 5_000))).text
    assert text.startswith("You said: “Hello”. I remember: “likes tea”; “word word")
    assert "word " * 60 not in text


async def test_it_reports_its_usage_at_the_end() -> None:
    answer = await heard("Hello", "one", "two")
    assert answer.pieces[-1] == Usage({"messages_seen": 3, "words": len(answer.texts)})


class Clock:
    """A clock that only pauses move."""

    def __init__(self) -> None:
        self.now = 0.0

    def time(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(
    ("delay_ms", "limit", "code", "words"), [(400, 1, "persona_timeout", ["You ", "said: "]), (5, 60, None, None)]
)
async def test_it_pauses_before_each_word_until_the_turn_has_no_more_time(
    monkeypatch: pytest.MonkeyPatch, delay_ms: int, limit: int, code: str | None, words: list[str] | None
) -> None:
    clock = Clock()
    monkeypatch.setattr(demo, "asyncio", SimpleNamespace(sleep=clock.sleep, get_running_loop=lambda: clock))
    answer = await heard("Hello", config={"delay_ms": delay_ms}, time_limit_seconds=limit)
    assert answer.code == code
    assert words is None or answer.texts == words
    assert clock.now == pytest.approx(delay_ms / 1_000 * (len(answer.texts) + (code is not None)))
