"""Invisible characters, which phones insert when a contact is pasted and which tell no two people apart.

Removed are the format characters of Unicode (category Cf: U+202D and U+202C around a phone number, zero-width spaces
and joiners, soft hyphens, byte order marks, direction marks) and the other characters that are displayed as nothing:
variation selectors, fillers, the grapheme joiner and the placeholder of an attachment.
"""

import re
import unicodedata

_OTHERS = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\uffa0\ufe00-\ufe0f\ufffc\U000e0100-\U000e01ef]"
)


def removed(text: str) -> str:
    """The text without invisible characters and without space around it."""
    if not text.isascii():
        seen = "".join(character for character in text if unicodedata.category(character) != "Cf")
        text = _OTHERS.sub("", seen)
    return text.strip()
