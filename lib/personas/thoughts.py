"""Removes the thoughts of a model from its text.

Reasoning models think before they answer. Some servers send the thoughts as part of the text, between marks such as
`<think>` and `</think>`, and the marks may be split over several pieces. Thoughts are never shown, stored or sent back.
"""

from __future__ import annotations

import re

# The marks before and after thoughts: DeepSeek, Qwen and others; Anthropic's prompts; Gemini; prompts of gateways;
# Seed; Magistral; Kimi; gpt-oss without a parser.
_MARKS = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "<seed:think>": "</seed:think>",
    "[think]": "[/think]",
    "◁think▷": "◁/think▷",
    "<|channel|>analysis<|message|>": "<|channel|>final<|message|>",
}
_ANY_MARK = re.compile("|".join(map(re.escape, [*_MARKS, *_MARKS.values()])), re.IGNORECASE)
_LONGEST_MARK = max(map(len, [*_MARKS, *_MARKS.values()]))
_CLOSING = {opening: re.compile(re.escape(closing), re.IGNORECASE) for opening, closing in _MARKS.items()}
_BEGINNINGS = {mark[:length] for pair in _MARKS.items() for mark in pair for length in range(1, len(mark))}
# The characters with which marks begin, and that of code.
_SPECIAL = re.compile(r"[<\[◁`]")
_CODE = re.compile("`+")
_QUOTES = ("'", '"', "“", "\N{LEFT SINGLE QUOTATION MARK}", "«", "„")


class ThoughtFilter:
    """Removes thoughts from a text that arrives in pieces; the result does not depend on how the text is split.

    A mark inside code or after an opening quote is text, because an answer may be about marks. Thoughts that never end
    are thoughts. A closing mark without an opening one is removed. ``begun``: the text begins with thoughts that only
    `</think>` ends, because the server's template has the opening mark.
    """

    def __init__(self, *, begun: bool = False) -> None:
        self._waiting = ""
        """Text that may be the beginning of a mark."""
        self._closing: re.Pattern[str] | None = _CLOSING["<think>"] if begun else None
        """The mark that ends the current thoughts; None outside thoughts."""
        self._after_thoughts = begun
        self._last = ""
        """The last visible character."""
        self._in_code = False

    def feed(self, piece: str) -> str:
        """The visible text that is ready and not yet returned."""
        if not (self._waiting or self._closing or self._after_thoughts or _SPECIAL.search(piece)):
            self._last = piece[-1:] or self._last
            return piece  # the common case
        text, self._waiting = self._waiting + piece, ""
        shown: list[str] = []
        while text:
            if self._closing is not None:
                closing = self._closing.search(text)
                if closing is None:
                    self._waiting = text[-(_LONGEST_MARK - 1) :]
                    break
                self._closing = None
                text = text[closing.end() :]
                continue
            mark = _ANY_MARK.search(text)
            end = mark.start() if mark else len(text) - _length_of_beginning(text)
            shown.append(self._show(text[:end]))
            if mark is None:
                self._waiting = text[end:]
                break
            if self._in_code or self._last in _QUOTES:
                shown.append(self._show(mark.group()))
            else:
                self._closing = _CLOSING.get(mark.group().lower())
                self._after_thoughts = True
            text = text[mark.end() :]
        return "".join(shown)

    def finish(self) -> str:
        """The waiting rest."""
        rest, self._waiting = self._waiting, ""
        return self._show(rest) if self._closing is None else ""

    def _show(self, text: str) -> str:
        if self._after_thoughts:
            # The empty lines between thoughts and answer belong to neither.
            text = text.lstrip() if not self._last or self._last.isspace() else text
            self._after_thoughts = not text
        if not text:
            return ""
        if "`" in text:
            # Each run of backticks opens or closes code; one that continues the run of the piece before does not count.
            runs = len(_CODE.findall(text)) - (text[0] == "`" == self._last)
            self._in_code ^= runs % 2 == 1
        self._last = text[-1]
        return text


def without_thoughts(text: str) -> str:
    """A whole text without the thoughts in it."""
    thoughts = ThoughtFilter()
    return thoughts.feed(text) + thoughts.finish()


def _length_of_beginning(text: str) -> int:
    """The length of the longest end of the text that may be the beginning of a mark."""
    longest = min(len(text), _LONGEST_MARK - 1)
    return next((length for length in range(longest, 0, -1) if text[-length:].lower() in _BEGINNINGS), 0)
