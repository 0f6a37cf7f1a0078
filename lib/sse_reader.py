"""Reading server-sent events from bytes as they come in; `lib/sse` writes them.

Our own, after the HTML standard, because no library fits: httpx-sse brings httpx and keeps its decoder to
itself, sseclient-py reads from blocking files, launchdarkly-eventsource stops at a byte that is no UTF-8 and
has no public parser, aiosseclient opens its own connections, which would pass by the checks of
`lib/outbound`, and axio-sse needs a newer Python than we do.
https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Received(NamedTuple):
    """One event: its name, `message` unless it has one, and its data, whose lines are joined by newlines."""

    name: str
    data: str


class Reader:
    """Takes the stream in any pieces and gives each event as soon as the empty line behind it is there.

    Lines end in LF, CR or CRLF; what is no UTF-8 becomes U+FFFD. Ids and retry times are passed over: the
    answer to a POST cannot be taken up again. Holds one event at most, so whoever feeds it bounds its size.
    """

    def __init__(self) -> None:
        self._line = bytearray()
        self._at_start = True
        self._after_cr = False
        self._name = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[Received]:
        """The events that end in this chunk."""
        if not chunk:
            return
        if self._after_cr and chunk[0] == 0x0A:  # the second half of a line end that was cut in two
            chunk = chunk[1:]
        self._after_cr = chunk.endswith(b"\r")
        for piece in chunk.splitlines(keepends=True):
            line = piece.rstrip(b"\r\n")
            if len(line) == len(piece):  # the last one, whose end is still to come
                self._line += piece
                return
            if self._line:
                line = bytes(self._line) + line
                self._line.clear()
            event = self._take(line)
            if event is not None:
                yield event

    def finish(self) -> Received | None:
        """The event that the end of the stream left without its empty line, if there is one.

        The standard drops it. Servers that forget the last line end mean it, so the caller decides.
        """
        if self._line:
            self._take(bytes(self._line))
            self._line.clear()
        return self._dispatch()

    def _take(self, line: bytes) -> Received | None:
        """Read a line without its end; the event that it completes, which only an empty line does."""
        if self._at_start:
            line = line.removeprefix(_BYTE_ORDER_MARK)
            self._at_start = False
        if not line:
            return self._dispatch()
        field, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._name = value
        return None

    def _dispatch(self) -> Received | None:
        if not self._data:
            self._name = ""
            return None
        event = Received(self._name or "message", "\n".join(self._data))
        self._name, self._data = "", []
        return event
