import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.http import sse
from tests.events import Parser, Received

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


@given(st.lists(st.tuples(text, st.integers(0, 10**6)), max_size=5), st.integers(1, 7))
def test_events_are_read_however_the_bytes_are_cut(sent: list[tuple[str, int]], size: int) -> None:
    wire = b"".join(
        sse.encode(sse.Event("delta", {"text": said}, id=position)) + sse.HEARTBEAT for said, position in sent
    )
    parser = Parser()
    got = [event for start in range(0, len(wire), size) for event in parser.feed(wire[start : start + size])]
    assert got == [Received("delta", {"text": said}, str(position)) for said, position in sent]
    assert parser.comments == ["heartbeat"] * len(sent)


def test_an_event_without_an_id_leaves_the_last_one_standing() -> None:
    wire = sse.encode(sse.Event("delta", {}, id=4)) + sse.encode(sse.Event("error", {}))
    assert [event.id for event in Parser().feed(wire)] == ["4", "4"]


@pytest.mark.parametrize(
    ("header", "position"),
    [
        ("0", 0),
        ("17", 17),
        (None, None),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("x", None),
        ("٣", None),
        ("9" * 40, None),
    ],
)
def test_a_position_is_plain_digits_or_nothing(header: str | None, position: int | None) -> None:
    assert sse.position(header) == position
