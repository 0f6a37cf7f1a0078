import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.outbound.sse_reader import STRAY, Reader, Received
from tests.unit.persona_turns import PLACES, cut

FIELDS = [
    b"data: a",
    b"data:b",
    b"data:  c",
    b"data",
    b"data:",
    b"event: x",
    b": hush",
    b"data: \xc3\xa9",
    b"id: 1",
    b"error: x",
    b"{}",
]
LINE = st.one_of(st.binary(max_size=12), st.sampled_from([b"", *FIELDS]))
STREAM = st.lists(st.tuples(LINE, st.sampled_from([b"\n", b"\r", b"\r\n"])), max_size=12)


def read(chunks: list[bytes]) -> list[Received]:
    reader = Reader()
    return [event for chunk in chunks for event in reader.feed(chunk)]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", [("message", "a")]),
        (b"data:a\r\n\r\n", [("message", "a")]),
        (b"data: a\r\r", [("message", "a")]),
        (b"data: a\n\r\n", [("message", "a")]),
        (b"\xef\xbb\xbfdata: a\n\n", [("message", "a")]),
        (b"\n\xef\xbb\xbfdata: a\n\n", []),
        (b"data:  a \n\n", [("message", " a ")]),
        (b"data: a\ndata: b\ndata\ndata:\n\n", [("message", "a\nb\n\n")]),
        (b"event: error\ndata: a\n\ndata: b\n\n", [("error", "a"), ("message", "b")]),
        (b"event: error\n\ndata: b\n\n", [("message", "b")]),
        (b"event:\ndata: b\n\n", [("message", "b")]),
        (b": a comment\nid: 4\nretry: 5\nother: 6\ndata : 7\n\n", []),
        (b"data\n\n", [("message", "")]),
        (b"data: a: b\n\n", [("message", "a: b")]),
        (b"data: a\x0bb\xe2\x80\xa8c\x85d\n\n", [("message", "a\x0bb\u2028c\N{REPLACEMENT CHARACTER}d")]),
        (b"data: \xff\xc3\n\n", [("message", "\N{REPLACEMENT CHARACTER}" * 2)]),
        (b"data: a\n", []),
        (b"", []),
        # Beyond the standard: lines that may report a failure.
        (b'data: a\nerror: {"code":400}\n\n', [("error", '{"code":400}'), ("message", "a")]),
        (b'{"error": "b"}\ndata: a\n\n', [(STRAY, '{"error": "b"}'), ("message", "a")]),
        (b"error\nerror:\n\n", []),
    ],
)
def test_a_stream_is_read_as_the_standard_says(stream: bytes, events: list[tuple[str, str]]) -> None:
    assert [(event.name, event.data) for event in read([stream])] == events


def test_an_event_is_there_with_its_empty_line_and_not_later() -> None:
    reader = Reader()
    assert list(reader.feed(b"data: a\r\n\r")) == [Received("message", "a")]
    assert list(reader.feed(b"\ndata: b\r\n")) == []
    assert list(reader.feed(b"\r")) == [Received("message", "b")]


@pytest.mark.parametrize(
    ("end", "left"),
    [
        (b"", None),
        (b"data: b", Received("message", "b")),
        (b"data: b\n", Received("message", "b")),
        (b"data: b\n\n", None),
        (b"event: x\ndata: b\r", Received("x", "b")),
        (b"event: x", None),
        (b": x", None),
        (b"data: b\nerror: c", Received("error", "c")),
    ],
)
def test_what_the_end_leaves_open_is_given_apart(end: bytes, left: Received | None) -> None:
    reader = Reader()
    list(reader.feed(b"data: a\n\n" + end))
    assert reader.finish() == left


@settings(deadline=None)  # a machine that is busy is no failure
@given(STREAM, PLACES)
def test_any_chunking_gives_the_events_of_a_plain_reading(lines: list[tuple[bytes, bytes]], places: list[int]) -> None:
    """The standard's steps over the whole text at once, and the lines that may report a failure."""
    stream = b"".join(line + end for line, end in lines)
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
    events, name, data = list[Received](), "", ""
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")[:-1]:
        field, _, value = line.partition(":")
        if line == "":
            if data:
                events.append(Received(name or "message", data.removesuffix("\n")))
            name = data = ""
        elif field == "data":
            data += value.removeprefix(" ") + "\n"
        elif field == "event":
            name = value.removeprefix(" ")
        elif field == "error" and value:
            events.append(Received("error", value.removeprefix(" ")))
        elif line.startswith("{"):
            events.append(Received(STRAY, line))
    assert read([stream]) == read(cut(stream, places)) == read([bytes([byte]) for byte in stream]) == events
