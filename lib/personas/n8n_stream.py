"""The body of n8n's streaming webhooks: one JSON object a line, several nodes interleaved.

    {"type":"begin","metadata":{"nodeId":"a","nodeName":"AI Agent","itemIndex":0,"runIndex":0,"timestamp":1}}
    {"type":"item","content":"Hel","metadata":{…}}
    {"type":"end","metadata":{…}}

The status is 200 whatever happens later: a failure is a line `{"type":"error","content":"…"}` and no `end`.
Other types (`tool-call-start`, `tool-call-end`) are not for the reader. Seen with n8n 2.41; the types are
those of n8n's own chat, packages/frontend/@n8n/chat/src/types/streaming.ts.

A Respond to Webhook node streams its whole response as one item: JSON as a text, except with `Respond With: Text`.
Often that is the answer which an AI Agent has streamed before, so a run that only repeats is not shown again. The words
of two runs, and those before and after a tool call, are separate paragraphs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

from lib.personas import PersonaError
from lib.personas.failures import failure_in_words
from lib.personas.text import SurrogateJoiner, new_paragraph
from lib.personas.thoughts import ThoughtFilter
from lib.personas.wrappers import Unwrapper

_TYPES = {"begin", "item", "end", "error"}
_TOOL_CALL = "tool-call"
_MOST_COMPARED = 50
"""Most paragraphs with which a run is compared."""

# A node's run for an item, identified by its metadata.
_Run = tuple[Any, ...]


class _RunText:
    """The text of one run: unwrapped, and without thoughts."""

    def __init__(self, secret: str | None) -> None:
        self._joiner, self._unwrapper, self._thoughts = SurrogateJoiner(), Unwrapper(secret), ThoughtFilter()
        self.echo = ""
        """The first text, if it repeats what was said before and may be all that the run says."""
        self.has_spoken = False

    def feed(self, text: str) -> str:
        return self._thoughts.feed(self._unwrapper.feed(self._joiner.feed(text)))

    def finish(self) -> str:
        """The rest of the text. Raises PersonaError as `Unwrapper.finish`."""
        rest = self._unwrapper.feed(self._joiner.finish()) + self._unwrapper.finish()
        return self._thoughts.feed(rest) + self._thoughts.finish()


class _Paragraphs:
    """The texts of all runs in the order of arrival, with breaks between paragraphs."""

    def __init__(self) -> None:
        self._ended: list[str] = []
        self._current: list[str] = []
        self._last_run: _Run | None = None

    def add(self, run: _Run, text: str) -> str:
        """The text as shown; empty for white space between paragraphs."""
        if self._ended and not self._current:
            if text.isspace():
                return ""
            text = new_paragraph(self._ended[-1], text)
        self._current.append(text)
        self._last_run = run
        return text

    def end(self, run: _Run | None = None) -> None:
        """End the paragraph, unless it is that of another run."""
        if self._current and run in (None, self._last_run):
            self._ended.append("".join(self._current))
            self._current.clear()

    def has(self, text: str) -> bool:
        """Whether the text is one of the ended paragraphs, or all that was said."""
        if len(self._ended) > _MOST_COMPARED:
            return False
        known = (*self._ended, "".join((*self._ended, *self._current)))
        return _squeezed(text) in map(_squeezed, filter(None, known))


class Lines:
    """Parses the body in chunks of any size; returns the texts in the order of arrival.

    A body that does not start with such a line is not a stream: it is kept whole in `document` (None until that is
    known, and for a blank body).
    """

    def __init__(self, secret: str | None = None) -> None:
        self.document: bytes | None = None
        self._secret = secret
        self._kind: Literal["unknown", "stream", "document"] = "unknown"
        self._buffer = bytearray()
        self._line_start = 0
        self._searched = 0
        self._open: set[_Run] = set()
        self._runs: dict[_Run, _RunText] = {}
        self._said = _Paragraphs()
        self._failures: dict[_Run, str] = {}
        self._ended = False

    def feed(self, chunk: bytes) -> Iterator[str]:
        """The texts that this chunk completes. Raises PersonaError for a line that is not JSON."""
        self._buffer += chunk
        while self._kind != "document":
            end = self._buffer.find(b"\n", self._searched)
            if end < 0:
                self._searched = len(self._buffer)
                break
            line = bytes(self._buffer[self._line_start : end])
            self._line_start = self._searched = end + 1
            yield from self._read(line)
        if self._kind == "stream":
            del self._buffer[: self._line_start]
            self._searched -= self._line_start
            self._line_start = 0

    def finish(self) -> Iterator[str]:
        """The remaining texts at the end of the body.

        Raises PersonaError: persona_failed after an error line, persona_cut_off if a node that began did not end.
        """
        whole = True
        if self._kind != "document":
            try:
                yield from self._read(bytes(self._buffer[self._line_start :]))
            except PersonaError:
                whole = False  # an incomplete line
        if self._kind != "stream":
            self.document = bytes(self._buffer) if self._buffer.strip() else None
            return
        yield from self.rest()
        failure = self.failure()
        if failure is not None:
            raise failure
        if self._open or not self._ended or not whole:
            raise PersonaError("persona_cut_off", "the stream ended before the workflow did", retryable=True)

    def rest(self) -> Iterator[str]:
        """The texts of runs that have not ended."""
        for run in list(self._runs):
            yield from self._finish(run)

    def failure(self) -> PersonaError | None:
        """The failure that the stream reported, if any: the cause, however the connection ends."""
        for said in self._failures.values():
            return failure_in_words("the workflow failed", said, self._secret)
        return None

    def _read(self, line: bytes) -> list[str]:
        if not line.strip():
            return []
        value = _parse(line)
        if self._kind == "unknown":
            if _is_chunk(value):
                self._kind = "stream"
            elif not (isinstance(value, dict) and isinstance(value.get("type"), str)):
                self._kind = "document"
                return []
        if self._kind == "stream" and value is None and line.lstrip().startswith((b"{", b"<")):
            # A damaged line, or a page of a proxy; any other line is a keep-alive.
            raise PersonaError("persona_bad_answer", "a line of the stream is not JSON", retryable=True)
        return self._follow(value) if self._kind == "stream" and _is_chunk(value) else []

    def _follow(self, chunk: dict[str, Any]) -> list[str]:
        run = _run(chunk.get("metadata"))
        content = chunk.get("content")
        match chunk["type"]:
            case "begin":
                self._open.add(run)
            case "item":
                self._open.add(run)
                if isinstance(content, dict | list):
                    content = json.dumps(content)
                text = self._runs.setdefault(run, _RunText(self._secret))
                return self._say(run, text.feed(content if isinstance(content, str) else ""))
            case "error":
                self._failures[run] = content if isinstance(content, str) else json.dumps(content)
            case "end":
                self._ended = True
                self._open.discard(run)
                self._failures.pop(run, None)
                return self._finish(run)
            case _:
                self._said.end()
        return []

    def _say(self, run: _Run, text: str) -> list[str]:
        if not text:
            return []
        speaking = self._runs[run]
        text, speaking.echo = speaking.echo + text, ""
        if not speaking.has_spoken and self._said.has(text):
            speaking.echo = text
            return []
        speaking.has_spoken = True
        return _filled(self._said.add(run, text))

    def _finish(self, run: _Run) -> list[str]:
        if run not in self._runs:
            return []
        try:
            return self._say(run, self._runs[run].finish())
        finally:
            del self._runs[run]
            self._said.end(run)


def _parse(line: bytes) -> Any:
    """The line's value, or None if it is not JSON (a `null` line is useless too)."""
    try:
        return json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None


def _is_chunk(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    kind = value.get("type")
    if not isinstance(kind, str) or not ("content" in value or "metadata" in value):
        return False
    return kind in _TYPES or kind.startswith(_TOOL_CALL)


def _run(metadata: Any) -> _Run:
    if not isinstance(metadata, dict):
        return ()
    return tuple(str(metadata.get(name)) for name in ("nodeId", "runIndex", "itemIndex"))


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _filled(text: str) -> list[str]:
    return [text] if text else []
