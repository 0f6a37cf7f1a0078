"""The body of a chat completion: a stream of chunks, or one document from a server that does not stream.

    data: {"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"Hel"},"finish_reason":null}]}
    data: {"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}
    data: {"model":"m","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}
    data: [DONE]

The answer ends with [DONE] or with the body, not with the first `finish_reason`: some servers send one with each chunk.
A failure on the way is an object with an `error` anywhere, under `event: error` with some gateways, in a field `error`
with llama.cpp. Servers differ in what they leave out ([DONE], the usage, the role, the choices of a chunk) and in what
they add (pings, the whole answer at the end, the tool calls of an agent), so only what is needed is looked at, and an
event that is not a chunk is skipped. The first choice is the answer; what the model thinks is not for the reader.
https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Literal

from pydantic_core import from_json

from lib.outbound.sse_reader import STRAY, Reader, Received
from lib.personas import PersonaError
from lib.personas.failures import failure_in_json, failure_in_words, failure_of_reason
from lib.personas.text import SurrogateJoiner, clean, excerpt, new_paragraph, quote
from lib.personas.thoughts import ThoughtFilter, without_thoughts

_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
_MOST_TOKENS = 10**12
_BLANK = b" \t\r\n"
_BLANKS = (b" ", b"\t", b"\r", b"\n")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_FAILED = "the model failed"
# Members of an object without choices that reports a failure, and the values of `code` that report none.
_ERROR_MEMBERS = ("errors", "error_code", "error_msg", "error_message", "detail")
_GOOD_CODES = {"", "0", "200", "ok", "success"}
_ERROR_IN_WORDS = re.compile(r"\W*(internal |server )*error\b", re.IGNORECASE)
_TEXT_PARTS = {"text", "output_text"}
_TOOL_ROLES = {"tool", "function"}
_TOOL_REASONS = {"tool_calls", "function_call"}


class Completion:
    """Parses the body in chunks of any size and returns the text as it arrives.

    The first character decides, whatever the content type: an object is a document, a tag is a page, anything else is a
    stream. ``begins_thinking``: the text begins with thoughts that only `</think>` ends.
    """

    def __init__(self, secret: str | None = None, *, begins_thinking: bool = False) -> None:
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
        self._thoughts = ThoughtFilter(begun=begins_thinking)
        self._model = ""
        self._waiting = ""
        self._said: list[str] = []
        self._messages: Literal["unknown", "whole", "pieces"] = "unknown"
        """What `message` is in a stream without deltas."""
        self._has_deltas = False
        self._continued = False
        """Text came after a `finish_reason`, so that none of them marks the end."""
        self._chunks = 0
        self._refusal: list[str] = []
        self._calls_tools = False
        """A tool was called since the last text."""

    @property
    def whole(self) -> bool:
        """The answer is complete, even if the body does not end."""
        return self.done or ("finish_reason" in self.usage and not self._continued)

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
        yield from self.rest()
        self.failure = self._require_text()

    def rest(self) -> Iterator[str]:
        """The text that waited for what follows it, when nothing does."""
        if rest := self._say(self._thoughts.feed(self._joiner.finish()) + self._thoughts.finish()):
            yield rest

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
        if isinstance(value, dict):
            return self._follow(value, name)
        if name == "error" or _ERROR_IN_WORDS.match(value if isinstance(value, str) else data):
            raise failure_in_words(_FAILED, data, self._secret)
        if data.startswith("{"):
            raise PersonaError("persona_bad_answer", "a part of the answer is not JSON", retryable=True)
        return ""  # a ping

    def _take_last(self, event: Received) -> str:
        """An event without a blank line after it: an incomplete chunk, or a server that omits the line."""
        try:
            json.loads(event.data)
        except (ValueError, RecursionError):
            if event.data.strip() != "[DONE]" and event.name != "error":
                return ""
        return self._take(event)

    def _follow(self, value: Any, event: str) -> str:
        if not isinstance(value, dict):
            raise PersonaError("persona_bad_answer", "the answer is no JSON object", retryable=True)
        choices = value.get("choices")
        if event == "error" or value.get("error") or (not choices and _reports_error(value)):
            raise failure_in_json(_FAILED, value, self._secret)
        if event == STRAY:
            return ""
        if (model := value.get("model")) != self._model:
            self._name_model(model)
        if (counted := value.get("usage")) is not None:
            self._count(counted)
        if not isinstance(choices, list):
            return ""
        self._chunks += 1
        text = ""
        for choice in choices:
            if isinstance(choice, dict) and choice.get("index", 0) == 0:
                text += self._hear(choice)
        return text

    def _hear(self, choice: dict[str, Any]) -> str:
        if choice.get("error"):
            raise failure_in_json(_FAILED, choice, self._secret)
        text = ""
        if isinstance(delta := choice.get("delta"), dict):
            content = delta.get("content")
            if len(delta) == 1 and isinstance(content, str):
                text = self._add(content)  # the common case
            else:
                text = self._add(_content(delta))
                self._look_aside(delta)
        if isinstance(message := choice.get("message"), dict):
            text += self._add_message(clean(_content(message)))
            self._look_aside(message)
        if (reason := choice.get("finish_reason")) and isinstance(reason, str):
            self._end_for(reason)
        return text

    def _look_aside(self, delta: dict[str, Any]) -> None:
        if delta.get("error"):
            raise failure_in_json(_FAILED, delta, self._secret)
        if isinstance(refusal := delta.get("refusal"), str):
            self._refusal.append(refusal)
        if delta.get("tool_calls") or delta.get("function_call") or delta.get("role") in _TOOL_ROLES:
            self._calls_tools = True

    def _add(self, content: str) -> str:
        if not content:
            return ""
        self._has_deltas = True
        if self.usage.get("finish_reason") in _TOOL_REASONS:
            del self.usage["finish_reason"]  # the server called the tool itself, and the model goes on
        elif "finish_reason" in self.usage:
            self._continued = True
        return self._say(self._thoughts.feed(self._joiner.feed(content)))

    def _add_message(self, content: str) -> str:
        """A message is the whole answer; what of it was said before is not said again.

        Some servers without deltas send each piece as a message: the second one shows which they do.
        """
        if not content:
            return ""
        if not self._has_deltas and (not self._said or self._messages == "pieces"):
            return self._say(self._thoughts.feed(content))
        rest = self._say(self._thoughts.finish())
        said, content = "".join(self._said).lstrip(), without_thoughts(content)
        if content.lstrip().startswith(said):
            self._messages = "whole"
            added = content.lstrip()[len(said) :]
            return rest + self._say(added if added.strip() else "")
        if not self._has_deltas and self._messages == "unknown":
            self._messages = "pieces"
            return rest + self._say(content)
        if "".join(content.split()) in "".join(said.split()):
            return rest
        return rest + self._say(new_paragraph(said, content))

    def _end_for(self, reason: str) -> None:
        """A later reason counts, but not after one that is no good end."""
        if failure_of_reason(str(self.usage.get("finish_reason", ""))) is None:
            self.usage["finish_reason"] = excerpt(reason, 40)

    def _say(self, text: str) -> str:
        """Leading white space waits for text, because a blank answer is no answer. After a tool call, text is a new
        paragraph."""
        if not text:
            return ""
        if not self._said:
            text = self._waiting + text
            if text.isspace():
                self._waiting = text
                return ""
        elif self._calls_tools:
            if text.isspace():
                return ""
            text = new_paragraph("".join(self._said[-2:]), text)
        self._calls_tools = False
        self._said.append(text)
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
        if not self._said:
            spent = ": the token limit was reached before the first word"
            at_limit = self.usage.get("finish_reason") == "length"
            return PersonaError("persona_bad_answer", "the answer is empty" + (spent if at_limit else ""))
        return None

    def _judge_reason(self) -> PersonaError | None:
        reason = str(self.usage.get("finish_reason", ""))
        code = failure_of_reason(reason)
        if code is None and (self._calls_tools or reason in _TOOL_REASONS):
            return PersonaError("persona_bad_answer", "the model wants to call a tool, and there is none to call")
        if code == "persona_declined":
            return PersonaError(code, f"the provider's content filter stopped the answer ({reason})")
        if any(said.strip() for said in self._refusal):
            return PersonaError("persona_declined", "the model refused" + quote("".join(self._refusal), self._secret))
        if code is not None:
            return PersonaError(code, f"{_FAILED} without saying why ({reason})", retryable=True)
        return None


def _reports_error(value: dict[str, Any]) -> bool:
    """Whether an object without choices is an error: it is called one, or it has a code."""
    if "error" in (value.get("type"), value.get("object")):
        return True
    code = value.get("code", "")
    is_coded = isinstance(code, int | str) and str(code).lower() not in _GOOD_CODES and "message" in value
    return is_coded or any(value.get(member) for member in _ERROR_MEMBERS)


def _read_leniently(data: str) -> Any:
    """The standard library's parser accepts lone surrogates in text; None for anything but JSON."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _content(delta: dict[str, Any]) -> str:
    """The text of a delta or a message, possibly in parts (Mistral's reasoning models); a tool's result is none."""
    content = delta.get("content")
    if delta.get("role") in _TOOL_ROLES:
        return ""
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, dict) and part.get("type") in _TEXT_PARTS)
        content = "".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""
