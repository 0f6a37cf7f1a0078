"""Reads server-sent events from bytes as they arrive; `lib/http/sse` writes them.

It follows the HTML standard, except that lines which the standard ignores are events if they may report a failure: a
field `error` (llama.cpp), and JSON without a field name (Ollama). docs/libraries.md says why no library is used.
https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import NamedTuple

_BYTE_ORDER_MARK = "\ufeff"
STRAY = "stray"
"""The name of an event that is JSON without a field name."""
_decoder = codecs.getincrementaldecoder("utf-8")


class Received(NamedTuple):
    """One event: its name (default `message`) and its data, with lines joined by newlines."""

    name: str
    data: str


class Reader:
    """Accepts the stream in any pieces and returns each event when its final empty line arrives.

    Lines end in LF, CR or CRLF; invalid UTF-8 becomes U+FFFD. Ids and retry times are ignored, because the answer to a
    POST cannot be resumed. The reader holds at most one event; the caller limits its size.
    """

    def __init__(self) -> None:
        self._decoder = _decoder("replace")
        self._line: list[str] = []
        self._at_start = True
        self._after_cr = False
        self._name = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[Received]:
        """The events that end in this chunk."""
        text = self._decoder.decode(chunk)
        if not text:
            return
        if self._at_start:
            self._at_start = False
            text = text.removeprefix(_BYTE_ORDER_MARK)
        elif self._after_cr and text[0] == "\n":  # the second half of a CRLF
            text = text[1:]
        self._after_cr = chunk.endswith(b"\r")
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        lines = text.split("\n")
        last = lines.pop()  # incomplete
        for line in lines:
            if self._line:
                self._line.append(line)
                line = "".join(self._line)  # noqa: PLW2901
                self._line.clear()
            if line:
                if (stray := self._take(line)) is not None:
                    yield stray
            elif self._data:
                yield Received(
                    self._name or "message", self._data[0] if len(self._data) == 1 else "\n".join(self._data)
                )
                self._name, self._data = "", []
            else:
                self._name = ""
        if last:
            self._line.append(last)

    def finish(self) -> Received | None:
        """The event that is incomplete at the end of the stream, because its final empty line is missing.

        The standard drops it. Some servers omit the last line end, so the caller decides.
        """
        self._line.append(self._decoder.decode(b"", final=True))
        stray = self._take(line) if (line := "".join(self._line)) else None
        self._line.clear()
        if stray is not None:
            return stray
        name, data = self._name or "message", self._data
        self._name, self._data = "", []
        return Received(name, "\n".join(data)) if data else None

    def _take(self, line: str) -> Received | None:
        """Read a line that is not empty, without its line end; the event of a line that is one by itself."""
        if line.startswith("data:"):
            self._data.append(line[6:] if line[5:6] == " " else line[5:])
            return None
        field, _, value = line.partition(":")
        if field == "event":
            self._name = value.removeprefix(" ")
        elif field == "data":
            self._data.append("")
        elif field == "error" and value:
            return Received("error", value.removeprefix(" "))
        elif line.startswith("{"):
            return Received(STRAY, line)
        return None
