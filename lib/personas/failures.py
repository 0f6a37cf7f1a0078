"""Which fault a server's error is: the persona's, or that of one message.

The circuit breaker counts only the persona's own faults, because otherwise one sender's texts could close the persona
for all. So a message that the server cannot process, or whose content a filter stops, has a code of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from lib.personas import ErrorCode, PersonaError
from lib.personas.text import find_text, quote

# What servers call a content filter: OpenAI, Azure, Alibaba, OpenRouter and others.
_FILTER = re.compile(
    r"content[ _-]?(management[ _-]?)?(filter|policy)|responsible ?ai|data[ _]?inspection|moderation|"
    r"prohibited[ _]content|sensitive[ _]content|\bflagged\b|\bcensor",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(
    r"context[ _-]?(length|window|size)|maximum context|string_above_max_length|"
    r"(prompt|input|message|request)s? (is|are)? ?too (long|large)",
    re.IGNORECASE,
)
_MESSAGE_STATUSES = {400, 413, 422}
_TRANSIENT_STATUSES = {408, 425, 429}
# They say nothing about the message, whatever their words; 403 may be a filter's.
_PERSONA_STATUSES = {401, 404, 429}
# finish_reason of a stream that did not end well; the names differ by server.
_FILTERED = re.compile(
    r"filter|safety|sensitive|prohibit|block|recitation|refus|spii|moderat|inspection", re.IGNORECASE
)
_BROKEN = re.compile(
    r"error|fail|abort|cancel|time_?out|network|resource|malformed|overload|interrupt|unavailable|exception",
    re.IGNORECASE,
)
_STATUS_KEYS = ("code", "status", "status_code", "http_code", "http_status")
_DEEPEST = 5


def code_of(status: int | None, words: str) -> ErrorCode:
    """The code of an error with this status (None: unknown) and the server's words, its own codes among them.

    The same call may succeed later only after persona_failed.
    """
    if status not in _PERSONA_STATUSES:
        if _FILTER.search(words):
            return "persona_declined"
        if status in _MESSAGE_STATUSES or (status != 403 and _TOO_LONG.search(words)):
            return "persona_input_refused"
    is_transient = status is None or status >= 500 or status in _TRANSIENT_STATUSES
    return "persona_failed" if is_transient else "persona_refused"


def failure_in_words(what: str, said: str, secret: str | None, status: int | None = None) -> PersonaError:
    """The error of an answer that fails on the way, from the server's words; ``what`` begins its detail."""
    code = code_of(status, said)
    return PersonaError(code, what + quote(said, secret), retryable=code == "persona_failed")


def failure_in_json(what: str, value: Any, secret: str | None) -> PersonaError:
    """The error of an answer that fails on the way, from an object of any form."""
    code = code_of(_status_in(value), " ".join(_words_in(value, _DEEPEST)))
    return PersonaError(code, what + quote(error_text(value), secret), retryable=code == "persona_failed")


def error_code_in(status: int, value: Any, raw: str) -> ErrorCode:
    """The code of a response with this status: its body as JSON, or as it is."""
    return code_of(status, " ".join(_words_in(value, _DEEPEST)) or raw)


def error_text(value: Any) -> str:
    """The message of an error body: `{"error": {"message": …}}`, or a similar form."""
    return find_text(value, ("error", "message", "detail", "msg", "error_msg", "error_message", "errors")) or ""


def failure_of_reason(reason: str) -> ErrorCode | None:
    """The code for a `finish_reason` that is no good end; None for a good one."""
    if _FILTERED.search(reason):
        return "persona_declined"
    return "persona_failed" if _BROKEN.search(reason) else None


def _status_in(value: Any) -> int | None:
    """The HTTP status that an error names."""
    if not isinstance(value, dict):
        return None
    inner = _status_in(value.get("error"))
    named = (str(value.get(key)) for key in _STATUS_KEYS)
    return inner or next((int(name) for name in named if re.fullmatch("[45][0-9][0-9]", name)), None)


def _words_in(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list) and depth:
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _words_in(inner, depth - 1)
