import time

import pytest

from lib import personas
from lib.personas import PersonaError, Usage
from tests.unit.persona_turns import hear, make_turn, said

AT_ONCE = {"delay_ms": 0}


async def test_it_repeats_the_message_word_by_word() -> None:
    heard = await hear("demo", make_turn("Hello   there", config=AT_ONCE))
    assert heard.texts[:4] == ["You ", "said: ", "“Hello   ", "there”. "]
    assert all(heard.texts)


async def test_it_says_that_a_first_message_is_the_first() -> None:
    heard = await hear("demo", make_turn("Hello", config=AT_ONCE))
    assert heard.text == "You said: “Hello”. This is the first message that I see of our conversation."


async def test_it_shows_the_history_that_it_was_given() -> None:
    heard = await hear("demo", make_turn("three", history=said("one", "two"), config=AT_ONCE))
    assert "I see 2 earlier messages" in heard.text
    assert "contact: “one”; persona: “two”" in heard.text


async def test_it_counts_a_long_history_and_quotes_the_end_of_it() -> None:
    history = said(*(f"message {number}" for number in range(1, 41)))
    heard = await hear("demo", make_turn(history=history, config=AT_ONCE))
    assert "40 earlier messages" in heard.text
    assert "message 37" not in heard.text
    assert "message 38" in heard.text
    assert "message 40" in heard.text


async def test_it_quotes_long_messages_in_short() -> None:
    heard = await hear("demo", make_turn(history=said("word " * 5_000), config=AT_ONCE))
    assert len(heard.text) < 300


async def test_the_same_message_and_history_give_the_same_answer() -> None:
    turn = make_turn("Hello", history=said("one"), config=AT_ONCE)
    assert await hear("demo", turn) == await hear("demo", turn)


async def test_it_tells_what_it_used_at_the_end() -> None:
    heard = await hear("demo", make_turn("Hello", history=said("one", "two"), config=AT_ONCE))
    assert heard.pieces[-1] == Usage({"messages_seen": 3, "words": len(heard.texts)})


async def test_it_speaks_as_slowly_as_it_is_set_to() -> None:
    started = time.monotonic()
    heard = await hear("demo", make_turn("Hello", config={"delay_ms": 5}))
    assert time.monotonic() - started >= 0.005 * len(heard.texts)


async def test_it_stops_when_the_turn_has_no_more_time() -> None:
    heard = await hear("demo", make_turn("Hello", config={"delay_ms": 400}, time_limit_seconds=1))
    assert heard.code == "persona_timeout"
    assert heard.texts == ["You ", "said: "]


@pytest.mark.parametrize("config", [{"delay_ms": -1}, {"delay_ms": 5_000}, {"delay_ms": "slow"}, {"speed": 1}])
async def test_a_setting_that_it_does_not_have_is_named_as_wrong(config: dict[str, object]) -> None:
    assert (await hear("demo", make_turn(config=config))).code == "persona_misconfigured"


@pytest.mark.parametrize(
    "kind", ["nobody", "n8n_stream", "", "__init__", "demo.Demo", "../demo", "Demo", "os", "a" * 40]
)
def test_a_kind_that_is_none_is_not_found(kind: str) -> None:
    with pytest.raises(PersonaError) as missing:
        personas.find(kind)
    assert missing.value.code == "persona_misconfigured"


def test_a_secret_is_not_shown_with_the_turn() -> None:
    assert "hush" not in repr(make_turn(secret="hush"))
