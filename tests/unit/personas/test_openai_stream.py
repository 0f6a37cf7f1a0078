"""The body of a chat completion: its text and outcome do not depend on how the bytes arrive."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.personas import PersonaError
from lib.personas.openai_stream import Completion
from tests.standins.openai import DONE, chunk, document, event, usage_chunk
from tests.unit.persona_turns import CONTENT, PLACES, cut, json_values

ENDS = st.sampled_from(["\n", "\r\n", "\r"])
HELLO, STOP = event(chunk("Hi")), event(chunk(finish="stop"))
FRAGMENT = st.sampled_from(
    [
        HELLO, STOP, event(usage_chunk()), event({"error": "no"}), json.dumps(document("Hi")).encode(), DONE,
        b"\xef\xbb\xbf", b"data: ", b"\n", b"\r", b" ", b"{", b"<", b": x\n", b"event: error\n",
    ]
)  # fmt: skip
JSON_VALUES = json_values(
    "choices delta message content text type index refusal tool_calls error usage model finish_reason total_tokens"
)


def read(chunks: list[bytes]) -> tuple[list[str], str | None, dict[str, Any]]:
    """The texts, the error's code and the usage."""
    completion, texts = Completion(), list[str]()
    try:
        for piece in chunks:
            texts.extend(completion.feed(piece))
        texts.extend(completion.finish())
    except PersonaError as error:
        return texts, error.code, {}
    return texts, completion.failure.code if completion.failure else None, completion.usage


def storable(text: str) -> str:
    """What is stored of a text: halves joined, control characters gone, a lone half replaced."""
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", "", joined)


@given(st.lists(CONTENT, max_size=8), ENDS, PLACES)
def test_the_text_does_not_depend_on_how_the_bytes_are_cut(said: list[str], end: str, places: list[int]) -> None:
    body = b"".join(event(chunk(content), end) for content in [*said, "."]) + event(chunk(finish="stop"), end) + DONE
    whole = read([body])
    assert whole[1] is None
    assert "".join(whole[0]) == storable("".join([*said, "."]))
    assert read(cut(body, places)) == read([bytes([byte]) for byte in body]) == whole


@given(st.lists(FRAGMENT | st.binary(max_size=20), max_size=8), PLACES)
def test_the_outcome_of_any_bytes_does_not_depend_on_how_they_are_cut(
    fragments: list[bytes], places: list[int]
) -> None:
    body = b"".join(fragments)
    whole = read([body])
    assert whole[1] is None or whole[1].startswith("persona_")
    assert read(cut(body, places)) == read([bytes([byte]) for byte in body]) == whole


@given(st.lists(JSON_VALUES, max_size=4), st.booleans())
def test_a_chunk_of_any_shape_is_read_or_refused_by_name(values: list[Any], streamed: bool) -> None:
    bodies = [b"".join(event(value) for value in values)] if streamed else [json.dumps(v).encode() for v in values]
    for body in bodies:
        texts, code, usage = read([body])
        assert code is None or code.startswith("persona_")
        assert all(texts)
        assert "".join(texts).encode().decode() == "".join(texts)
        assert json.loads(json.dumps(usage, allow_nan=False)) == usage


@pytest.mark.parametrize(
    ("contents", "texts"),
    [
        (["Hi \ud83d", "\udc4b\x00!"], ["Hi ", "👋!"]),
        (["Hi \ud83d"], ["Hi ", "\N{REPLACEMENT CHARACTER}"]),
        (["\n\n", "Hi", " "], ["\n\nHi", " "]),
    ],
)
def test_half_an_emoji_waits_for_its_other_half_and_white_space_for_a_word(
    contents: list[str], texts: list[str]
) -> None:
    assert read([*(event(chunk(content)) for content in contents), STOP])[:2] == (texts, None)
