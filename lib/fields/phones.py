"""Phone numbers: kept as typed, compared by key."""

import unicodedata
from dataclasses import dataclass

_SHORTEST, _LONGEST = 8, 16
"""Characters of a key: shorter numbers are services of one network; E.164 allows 15 digits."""


@dataclass(frozen=True)
class Phone:
    """A number as typed (trimmed), and its key in E.164 form, which all its spellings share.

    The key is None for a national number, which belongs to different subscribers in different countries and therefore
    identifies nobody.
    """

    typed: str
    key: str | None


def parse(text: str) -> Phone:
    """The number in a text. Raises ValueError with a message for its sender."""
    import phonenumbers  # noqa: PLC0415 (imported with the first phone number, as few requests have one)

    typed = text.strip()
    plain = unicodedata.normalize("NFKC", typed)
    if not 4 <= sum(character.isdecimal() for character in plain) <= 17:
        raise ValueError("must be a phone number")
    try:
        number = phonenumbers.parse("+" + plain[2:] if plain.startswith("00") else plain)
    except phonenumbers.NumberParseException as failure:
        if failure.error_type != phonenumbers.NumberParseException.INVALID_COUNTRY_CODE:
            raise ValueError("must be a phone number") from None
        return Phone(typed=typed, key=None)
    if number.extension:
        raise ValueError("must be a phone number without an extension")
    key = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return Phone(typed=typed, key=key if _SHORTEST <= len(key) <= _LONGEST else None)
