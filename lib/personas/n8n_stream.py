"""The body of n8n's streaming webhooks: one JSON object a line, several nodes interleaved.

    {"type":"begin","metadata":{"nodeId":"a","nodeName":"AI Agent","itemIndex":0,"runIndex":0,"timestamp":1}}
    {"type":"item","content":"Hel","metadata":{…}}
    {"type":"end","metadata":{…}}

The status is 200 whatever happens later: a failure is a line `{"type":"error","content":"…"}` and no `end`.
Other types (`tool-call-start`, `tool-call-end`) are not for the reader. Seen with n8n 2.41; the types are
those of n8n's own chat, packages/frontend/@n8n/chat/src/types/streaming.ts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

from lib.personas import PersonaError
from lib.personas.text import SurrogateJoiner, quote

_TYPES = {"begin", "item", "end", "error"}

# A node's run for an item, identified by its metadata.
_Run = tuple[Any, ...]


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
        self._joiners: dict[_Run, SurrogateJoiner] = {}
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
        failure = self.failure()
        if failure is not None:
            raise failure
        if self._open or not self._ended or not whole:
            raise PersonaError("persona_cut_off", "the stream ended before the workflow did", retryable=True)

    def failure(self) -> PersonaError | None:
        """The failure that the stream reported, if any: the cause, however the connection ends."""
        for said in self._failures.values():
            detail = "the workflow failed" + quote(said, self._secret)
            return PersonaError("persona_failed", detail, retryable=True)
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
        if self._kind == "stream" and value is None:
            raise PersonaError("persona_bad_answer", "a line of the stream is not JSON", retryable=True)
        return self._follow(value) if self._kind == "stream" and _is_chunk(value) else []

    def _follow(self, chunk: dict[str, Any]) -> list[str]:
        run = _run(chunk.get("metadata"))
        content = chunk.get("content")
        text = content if isinstance(content, str) else ""
        match chunk["type"]:
            case "begin":
                self._open.add(run)
            case "item":
                self._open.add(run)
                return _filled(self._joiners.setdefault(run, SurrogateJoiner()).feed(text))
            case "error":
                self._failures[run] = text
            case _:
                self._ended = True
                self._open.discard(run)
                self._failures.pop(run, None)
                return _filled(self._joiners.pop(run, SurrogateJoiner()).finish())
        return []


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
    return isinstance(kind, str) and kind in _TYPES and ("content" in value or "metadata" in value)


def _run(metadata: Any) -> _Run:
    if not isinstance(metadata, dict):
        return ()
    return tuple(str(metadata.get(name)) for name in ("nodeId", "runIndex", "itemIndex"))


def _filled(text: str) -> list[str]:
    return [text] if text else []
