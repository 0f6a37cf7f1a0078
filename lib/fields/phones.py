"""Phone numbers: kept as typed, compared by key."""

import re
import unicodedata
from dataclasses import dataclass

_SEPARATORS = re.compile(r"[\s().\-/\u2010-\u2015]")
_NUMBER = re.compile(r"(\+|00)?([0-9]{4,15})", re.ASCII)


@dataclass(frozen=True)
class Phone:
    """A number as typed (trimmed), and its key: + and digits (E.164), or None for a national number.

    A national number belongs to different people in different countries, so it is no identity.
    """

    typed: str
    key: str | None


def parse(text: str) -> Phone:
    """The number in a text. Raises ValueError with a message for its sender."""
    typed = text.strip()
    compact = _SEPARATORS.sub("", unicodedata.normalize("NFKC", typed))
    number = _NUMBER.fullmatch(compact)
    if number is None:
        raise ValueError("must be a phone number")
    prefix, digits = number.groups()
    international = prefix is not None and not digits.startswith("0") and len(digits) >= 7
    return Phone(typed=typed, key=f"+{digits}" if international else None)
