"""Takes an answer out of the JSON that a workflow wraps it in.

A Respond to Webhook node answers the incoming item or items, `{"output":"Hello!"}` or `[{"output":"Hello!"}]`, or puts
them in a field of any name. While it streams, or with a text as its response, that JSON is the text of the answer.
"""

from __future__ import annotations

import json
import re
from typing import Any

from lib.personas.failures import failure_in_words
from lib.personas.text import find_text

_MOST_WRAPPERS = 4
_ERRORS = {"error", "errors"}
# The beginning of a JSON object or array of objects or texts: `[1]` and `[link](…)` are the beginning of a text.
_WRAPPED = re.compile(r"\s*(\{\s*(\Z|[\"}])|\[\s*(\Z|[{\[\"\]])|\Z)")


class Unwrapper:
    """Unwraps an answer that arrives in pieces: a text that may be JSON waits for its end."""

    def __init__(self, secret: str | None = None) -> None:
        self._secret = secret
        self._waiting: str | None = ""
        """The text that may be JSON; None once it is not."""

    def feed(self, piece: str) -> str:
        """The text that is ready and not yet returned."""
        if self._waiting is None:
            return piece
        text = self._waiting + piece
        if _WRAPPED.match(text):
            self._waiting = text
            return ""
        self._waiting = None
        return text

    def finish(self) -> str:
        """The waiting rest. Raises PersonaError (persona_failed) for JSON that has an error instead of a text."""
        rest, self._waiting = self._waiting or "", None
        return unwrapped(rest, self._secret)


def unwrapped(text: str, secret: str | None = None) -> str:
    """The text inside a text; the text itself if there is none.

    Raises PersonaError (persona_failed) for JSON that has an error instead of a text.
    """
    for _ in range(_MOST_WRAPPERS):
        value = _parse(text)
        inner = text_in(value)
        if inner is None:
            require_no_error(value, secret)
            break
        text = inner
    return text


def require_no_error(value: Any, secret: str | None) -> None:
    """Raises PersonaError (persona_failed) for an object with an `error`."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict) and value.get("error"):
        raise failure_in_words("the workflow failed", find_text(value["error"]) or "", secret)


def _parse(text: str) -> Any:
    if not _WRAPPED.match(text):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def text_in(value: Any) -> str | None:
    """The text of an item; of several items, the texts as paragraphs, if each has one. Either may be in a field."""
    if isinstance(value, list):
        texts = [text for item in value if isinstance(item, dict | list) and (text := find_text(item)) is not None]
        return "\n\n".join(texts) if texts and len(texts) == len(value) else None
    if not isinstance(value, dict):
        return None
    text = find_text(value)
    if text is None and len(value) == 1 and not value.keys() & _ERRORS:
        return text_in(next(iter(value.values())))
    return text
