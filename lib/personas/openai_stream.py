"""The body of a chat completion: a stream of chunks, or one document from a server that does not stream.

    data: {"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"Hel"},"finish_reason":null}]}
    data: {"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}
    data: {"model":"m","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}
    data: [DONE]

A failure on the way is a chunk `{"error":{"message":"…"}}`, under `event: error` with some gateways. Servers
differ in what they leave out ([DONE], the usage, the role, the choices of a chunk) and in what they add, so
only what is needed is looked at. The first choice is the answer; what the model thinks (`reasoning_content`)
is not for the reader.
https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

from pydantic_core import from_json

from lib.outbound.sse_reader import Reader, Received
from lib.personas import PersonaError
from lib.personas.text import SurrogateJoiner, excerpt, find_text, quote

_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
_MOST_TOKENS = 10**12
_BLANK = b" \t\r\n"
_BLANKS = (b" ", b"\t", b"\r", b"\n")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Completion:
    """Parses the body in chunks of any size and returns the text as it arrives.

    The first character decides, whatever the content type: an object is a document, a tag is a page, anything else is a
    stream.
    """

    def __init__(self, secret: str | None = None) -> None:
        self.usage: dict[str, Any] = {}
        """The usage that the server reports, with `finish_reason` and `model`."""
        self.done = False
        """[DONE] was received."""
        self.failure: PersonaError | None = None
        """Why a complete answer is no valid one; set by `finish`."""
        self._secret = secret
        self._form: Literal["unknown", "stream", "document"] = "unknown"
        self._start = bytearray()
        self._reader = Reader()
        self._joiner = SurrogateJoiner()
        self._model = ""
        self._waiting = ""
        self._length = 0
        self._chunks = 0
        self._refusal: list[str] = []
        self._calls_tools = False

    @property
    def whole(self) -> bool:
        """The answer is complete, although its usage may follow."""
        return self.done or "finish_reason" in self.usage

    def feed(self, chunk: bytes) -> Iterator[str]:
        """The texts that this chunk completes.

        Raises PersonaError: persona_failed if the server reports a failure, persona_bad_answer for anything but a chat
        completion.
        """
        if self._form == "unknown":
            self._start += chunk
            if not self._recognise():
                return
            chunk = bytes(self._start)
        elif self._form == "document":
            self._start += chunk
        if self._form == "stream":
            for event in self._reader.feed(chunk):
                if text := self._take(event):
                    yield text

    def finish(self) -> Iterator[str]:
        """The remaining texts at the end of the body; raises as feed.

        Raises persona_cut_off if the body ends before the answer.
        """
        if self._form == "document":
            last = self._read_document()
        else:
            event = self._reader.finish()
            last = self._take_last(event) if event is not None else ""
        if last:
            yield last
        if rest := self._say(self._joiner.finish()):
            yield rest
        self.failure = self._require_text()

    def _recognise(self) -> bool:
        while self._start.startswith((_BYTE_ORDER_MARK, *_BLANKS)):
            self._start = self._start.removeprefix(_BYTE_ORDER_MARK).lstrip(_BLANK)
        if _BYTE_ORDER_MARK.startswith(self._start):  # nothing, or a part of the mark
            return False
        if self._start.startswith(b"<"):
            raise PersonaError("persona_bad_answer", "the answer is an HTML page")
        self._form = "document" if self._start.startswith((b"{", b"[")) else "stream"
        return True

    def _read_document(self) -> str:
        try:
            value = json.loads(self._start.decode())
        except (ValueError, RecursionError):
            raise PersonaError("persona_bad_answer", "the answer is not JSON", retryable=True) from None
        if isinstance(value, list) and len(value) == 1:  # Google's endpoint wraps its errors
            value = value[0]
        text = self._follow(value, event="message")
        self.done = True
        return text

    def _take(self, event: Received) -> str:
        """The text that an event adds, possibly empty."""
        name, data = event
        data = data.strip()
        if not data or self.done:
            return ""
        if data == "[DONE]":
            self.done = True
            return ""
        try:
            value = from_json(data)
        except ValueError:
            value = _read_leniently(data)
        if value is None and name == "error":
            raise PersonaError("persona_failed", "the model failed" + quote(data, self._secret), retryable=True)
        return self._follow(value, name)

    def _take_last(self, event: Received) -> str:
        """An event without a blank line after it: an incomplete chunk, or a server that omits the line."""
        try:
            json.loads(event.data)
        except (ValueError, RecursionError):
            if event.data.strip() != "[DONE]":
                return ""
        return self._take(event)

    def _follow(self, value: Any, event: str) -> str:
        if not isinstance(value, dict):
            raise PersonaError("persona_bad_answer", "a part of the answer is no JSON object", retryable=True)
        if value.get("error") or event == "error":
            said = quote(error_text(value), self._secret)
            raise PersonaError("persona_failed", "the model failed" + said, retryable=True)
        if (model := value.get("model")) != self._model:
            self._name_model(model)
        if (counted := value.get("usage")) is not None:
            self._count(counted)
        choices = value.get("choices")
        if not isinstance(choices, list):
            return ""
        self._chunks += 1
        text = ""
        for choice in choices:
            if isinstance(choice, dict) and choice.get("index", 0) == 0:
                text += self._hear(choice)
        return text

    def _hear(self, choice: dict[str, Any]) -> str:
        if (reason := choice.get("finish_reason")) and isinstance(reason, str):
            self.usage["finish_reason"] = excerpt(reason, 40)
        delta = choice.get("delta") or choice.get("message")
        if not isinstance(delta, dict):
            return ""
        content = delta.get("content")
        if content is None or len(delta) > 1:  # there is something else
            self._look_aside(delta)
        if not isinstance(content, str):
            content = _content(content)
        return self._say(self._joiner.feed(content))

    def _look_aside(self, delta: dict[str, Any]) -> None:
        if isinstance(refusal := delta.get("refusal"), str):
            self._refusal.append(refusal)
        self._calls_tools = self._calls_tools or bool(delta.get("tool_calls") or delta.get("function_call"))

    def _say(self, text: str) -> str:
        """Leading white space waits for text; a blank answer is no answer."""
        if self._length == 0:
            text = self._waiting + text
            if text.isspace():
                self._waiting = text
                return ""
        self._length += len(text)
        return text

    def _name_model(self, model: object) -> None:
        if isinstance(model, str) and model.strip():
            self._model = model
            self.usage["model"] = excerpt(model, 200)

    def _count(self, counted: object) -> None:
        if not isinstance(counted, dict):
            return
        for name in _COUNTS:
            count = counted.get(name)
            if type(count) is int and 0 <= count <= _MOST_TOKENS:
                self.usage[name] = count

    def _require_text(self) -> PersonaError | None:
        if self._chunks == 0:
            return PersonaError("persona_bad_answer", "the answer is no chat completion", retryable=True)
        if (declined := self._judge_reason()) is not None:
            return declined
        if not self.whole:
            return PersonaError("persona_cut_off", "the stream ended before the answer did", retryable=True)
        if self._length == 0:
            spent = ": the token limit was reached before the first word"
            at_limit = self.usage.get("finish_reason") == "length"
            return PersonaError("persona_bad_answer", "the answer is empty" + (spent if at_limit else ""))
        return None

    def _judge_reason(self) -> PersonaError | None:
        reason = self.usage.get("finish_reason")
        if self._calls_tools or reason in {"tool_calls", "function_call"}:
            return PersonaError("persona_bad_answer", "the model wants to call a tool, and there is none to call")
        if reason == "content_filter":
            return PersonaError("persona_declined", "the provider's content filter stopped the answer")
        if any(said.strip() for said in self._refusal):
            return PersonaError("persona_declined", "the model refused" + quote("".join(self._refusal), self._secret))
        if reason == "error":
            return PersonaError("persona_failed", "the model failed without saying why", retryable=True)
        return None


def _read_leniently(data: str) -> Any:
    """The standard library's parser accepts lone surrogates in text; None for anything but JSON."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def error_text(value: Any) -> str:
    """The message of an error body: `{"error": {"message": …}}`, or a similar form."""
    return find_text(value, ("error", "message", "detail", "msg")) or ""


def _content(content: Any) -> str:
    """The text of a delta that is a list of parts (Mistral's reasoning models)."""
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text")
        return "".join(text for text in texts if isinstance(text, str))
    return ""
