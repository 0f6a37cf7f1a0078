"""The lines of a streaming workflow: their texts do not depend on how the bytes arrive."""

import json

from hypothesis import given
from hypothesis import strategies as st

from lib.personas import PersonaError
from lib.personas.n8n_stream import Lines
from tests.standins.n8n import line
from tests.unit.persona_turns import CONTENT, PLACES, cut, json_values

SPOKEN = st.lists(st.tuples(st.sampled_from(["a", "b"]), CONTENT), max_size=8)
LINES = st.dictionaries(st.sampled_from(["type", "content", "metadata"]), json_values("type content metadata"))


def read(chunks: list[bytes]) -> tuple[list[str], str | None, bytes | None]:
    """The texts, the error's code and the document."""
    lines, texts = Lines(), list[str]()
    try:
        for chunk in chunks:
            texts.extend(lines.feed(chunk))
        texts.extend(lines.finish())
    except PersonaError as error:
        return texts, error.code, None
    return texts, None, lines.document


@given(st.lists(LINES, max_size=4))
def test_a_line_of_any_shape_is_read_or_refused_by_name(values: list[dict[str, object]]) -> None:
    _, code, _ = read([b"".join(json.dumps(value).encode() + b"\n" for value in values)])
    assert code is None or code.startswith("persona_")


@given(SPOKEN, PLACES)
def test_any_chunking_of_a_stream_gives_the_same_storable_texts(
    spoken: list[tuple[str, str]], places: list[int]
) -> None:
    body = line("begin", node="a") + line("begin", node="b")
    body += b"".join(line("item", content, node=node) for node, content in spoken)
    body += line("end", node="a") + line("end", node="b")
    whole = read([body])
    assert whole[1:] == (None, None)
    assert read(cut(body, places)) == read([bytes([byte]) for byte in body]) == whole
    text = "".join(whole[0])
    assert text == text.encode().decode()
    assert not any(character < " " and character not in "\t\n\r" for character in text)


@given(st.binary(max_size=200), PLACES, st.booleans())
def test_any_chunking_of_any_bytes_gives_the_same_outcome(rubbish: bytes, places: list[int], begun: bool) -> None:
    body = (line("begin") + line("item", "Hi") if begun else b"") + rubbish
    assert read(cut(body, places)) == read([body])
