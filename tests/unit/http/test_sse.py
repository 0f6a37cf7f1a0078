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


def test_a_position_is_plain_digits_or_nothing() -> None:
    assert [sse.position(header) for header in ("0", "17")] == [0, 17]
    assert {sse.position(header) for header in (None, "", "-1", "1.5", "x", "٣", "9" * 40)} == {None}
