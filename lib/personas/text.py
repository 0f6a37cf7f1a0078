"""Extracting and cleaning an answer's text.

All results can be stored: no control characters except tab, newline and carriage return (the rule for messages), and no
lone surrogates.
"""

from __future__ import annotations

import base64
import re

# The keys of texts in n8n's nodes: `output` (AI Agent; Chat Trigger prefers it), `text` (LLM Chain), `message` and
# `content` (OpenAI); the others are common in workflows.
TEXT_KEYS = ("output", "text", "message", "answer", "response", "reply", "content", "data")
_MAX_DEPTH = 6

MAX_CHARACTERS = 1_000_000
"""Longest answer."""

# A shorter password is not worth a detail whose every "a" is redacted.
_SHORTEST_PASSWORD = 4

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_LONE = re.compile("[\ud800-\udfff]")


def clean(text: str) -> str:
    """The text without characters that cannot be stored: control characters are removed, a lone surrogate becomes
    U+FFFD."""
    if text.isprintable():
        return text  # the common case, and much cheaper: control characters and surrogates are not printable
    joined = _PAIR.sub(lambda pair: pair.group().encode("utf-16", "surrogatepass").decode("utf-16"), text)
    return _LONE.sub("\N{REPLACEMENT CHARACTER}", _CONTROL.sub("", joined))


class SurrogateJoiner:
    """Cleans a text that arrives in pieces.

    JavaScript splits strings between UTF-16 units, so the two surrogates of an emoji may arrive in two pieces: the
    first waits for the second.
    """

    def __init__(self) -> None:
        self._half = ""

    def feed(self, piece: str) -> str:
        """The text that is ready and not yet returned."""
        if not self._half and piece.isprintable():
            return piece  # as in clean; and a surrogate is not printable
        text = self._half + piece
        self._half = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        return clean(text[: len(text) - len(self._half)])

    def finish(self) -> str:
        """The waiting rest."""
        rest, self._half = self._half, ""
        return clean(rest)


def new_paragraph(before: str, text: str) -> str:
    """The text with the line ends that make it a new paragraph after what stands before it."""
    missing = 2 - (len(before) - len(before.rstrip("\n")))
    return "\n" * max(missing, 0) + text.lstrip()


def find_text(value: object, keys: tuple[str, ...] = TEXT_KEYS) -> str | None:
    """The answer's text in a JSON value, cleaned; None if there is none or it is blank.

    A string is the text itself. In an object, the first of the keys with a text counts; in a list of one, its element;
    both to a limited depth: `[{"message": {"content": "Hello"}}]` is "Hello".
    """
    return _find(value, keys, _MAX_DEPTH)


def _find(value: object, keys: tuple[str, ...], depth: int) -> str | None:
    if isinstance(value, str):
        text = clean(value)
        return text if text.strip() else None
    if depth == 0:
        return None
    if isinstance(value, list) and len(value) == 1:
        return _find(value[0], keys, depth - 1)
    if isinstance(value, dict):
        found = (_find(value[key], keys, depth - 1) for key in keys if key in value)
        return next((text for text in found if text is not None), None)
    return None


def excerpt(text: str, length: int = 200) -> str:
    """One printable line of at most ``length`` characters without tags, for an error message."""
    line = " ".join(re.sub(r"<[^<>]*>", " ", clean(text)).split())
    return line if len(line) <= length else line[: length - 1] + "…"


def quote(text: str, secret: str | None = None) -> str:
    """An excerpt of a server's message, to append to a detail as `: …`; the secret is redacted, also in the forms of
    Basic authentication. Empty for a blank message."""
    if secret:
        password = secret.partition(":")[2]
        for form in (secret, base64.b64encode(secret.encode()).decode(), password):
            text = text.replace(form, "[secret]") if len(form) >= _SHORTEST_PASSWORD or form == secret else text
    line = excerpt(text)
    return f": {line}" if line else ""
