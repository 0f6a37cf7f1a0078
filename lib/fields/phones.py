"""Phone numbers: kept as typed, compared by key.

All spellings of one number have one key:

    +49 (0) 209 22334455        a national trunk prefix after the country code is dropped; not in Italy, where a number
                                begins with 0: the library's tables tell for each region
    tel:+49-209-22334455        also sms: and whatsapp:, with the parameters of RFC 3966 (;ext=, ;phone-context=)
    whatsapp:554188776655       WhatsApp's own forms: Brazilian mobile numbers without the 9 of 2016, Mexican ones with
                                the 1 that was dropped in 2019, Argentinian ones without the 9 for mobile phones
    +1 415 555 2671 ext. 5      the key of an extension is a subscriber's own: +14155552671;ext=5

Sources: github.com/google/libphonenumber; RFC 3966; developers.facebook.com, WhatsApp phone numbers (Brazil, Mexico,
Argentina).
"""

import contextlib
import re
import unicodedata
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from urllib.parse import unquote

from lib.fields import invisible

_SHORTEST, _LONGEST = 8, 16
"""Characters of a key without an extension: shorter numbers are services of one network; E.164 allows 15 digits."""

_FEWEST_DIGITS, _MOST_DIGITS = 4, 17
"""Digits of a text that is a number; the library limits those with a country."""

_SCHEME = re.compile(r"(tel|sms|smsto|callto|whatsapp):(?://)?", re.IGNORECASE)
_ABROAD = re.compile(r"\A[^\w+]*\+*\s*00")
_TRUNK = re.compile(r"\+\D*(\d{1,3})\D*?([(\[]\s*(\d{1,2})\s*[)\]])")
_WHATSAPP_ADDRESS = re.compile(r"(\d{5,15})(?::\d{1,3})?@(?:s\.whatsapp\.net|c\.us)")
_WHATSAPP_LINK = re.compile(r"(?:https?://)?(?:wa\.me/|api\.whatsapp\.com/send/?\?phone=)\+?(\d{5,15})\b.*", re.DOTALL)

_FORMER_FORMS = (
    (re.compile(r"\+52(?:1|01|04[45])(\d{10})"), r"+52\1"),
    (re.compile(r"\+55([1-9]{2})([6-9]\d{7})"), r"+55\g<1>9\2"),
)
"""Forms of mobile numbers before a country changed them, which WhatsApp keeps. Used for numbers that are not valid."""

_WHATSAPP_MOBILE = re.compile(r"\+54([1-8]\d{9})")
"""An Argentinian number without the 9 for mobile phones: a fixed line's, unless WhatsApp writes it."""


@dataclass(frozen=True)
class Phone:
    """A number as typed (without invisible characters), and its key in E.164 form, which all its spellings share.

    The key is None for a national number, which belongs to different subscribers in different countries and therefore
    identifies no person.
    """

    typed: str
    key: str | None


def parse(text: str) -> Phone:
    """The number in a text. Raises ValueError with a message for its sender."""
    typed = invisible.removed(text)
    plain = unicodedata.normalize("NFKC", typed)
    scheme = _SCHEME.match(plain)
    if scheme is None:
        return Phone(typed, _key(plain))
    rest = unquote(plain[scheme.end() :]).partition("?")[0]
    return Phone(typed, _whatsapp_key(rest) if scheme[1].lower() == "whatsapp" else _key(rest))


def parse_whatsapp(text: str) -> Phone:
    """The number as WhatsApp writes it: with or without +, as its address or as a link. Raises ValueError as parse."""
    typed = invisible.removed(text)
    plain = unicodedata.normalize("NFKC", typed)
    return parse(typed) if _SCHEME.match(plain) else Phone(typed, _whatsapp_key(plain))


def _whatsapp_key(plain: str) -> str | None:
    written = plain.strip()
    found = _WHATSAPP_ADDRESS.fullmatch(written) or _WHATSAPP_LINK.fullmatch(written)
    digits = found[1] if found else written
    key = _key(digits) or _key(f"+{digits}")
    return key and _WHATSAPP_MOBILE.sub(r"+549\1", key)


def _key(plain: str) -> str | None:
    """The key of a number in NFKC. Raises ValueError."""
    import phonenumbers  # noqa: PLC0415 (imported with the first phone number, as few requests have one)

    if _digits(plain) < _FEWEST_DIGITS:
        raise ValueError("must be a phone number")
    try:
        number = phonenumbers.parse(_without_trunk_prefix(_ABROAD.sub("+", plain), phonenumbers))
    except phonenumbers.NumberParseException as failure:
        unknown = failure.error_type == phonenumbers.NumberParseException.INVALID_COUNTRY_CODE
        if unknown and _digits(plain) <= _MOST_DIGITS:
            return None
        raise ValueError("must be a phone number") from None
    key = _present_form(number, phonenumbers)
    if not _SHORTEST <= len(key) <= _LONGEST:
        return None
    return f"{key};ext={number.extension}" if number.extension else key


def _digits(plain: str) -> int:
    return sum(character.isdecimal() for character in plain)


def _without_trunk_prefix(plain: str, library: ModuleType) -> str:
    """The number without the trunk prefix of its country, if it is in parentheses after the country code."""
    written = _TRUNK.search(plain)
    if written is None:
        return plain
    region = library.region_code_for_country_code(int(written[1]))
    metadata = library.PhoneMetadata.metadata_for_region(region, None)
    if metadata is None or written[3] != metadata.national_prefix:
        return plain
    return plain[: written.start(2)] + plain[written.end(2) :]


def _present_form(number: Any, library: ModuleType) -> str:
    """The number in E.164 form; one that is not valid in its present form, if that is valid."""
    key = str(library.format_number(number, library.PhoneNumberFormat.E164))
    if library.is_valid_number(number):
        return key
    forms = [form.sub(replacement, key) for form, replacement in _FORMER_FORMS if form.fullmatch(key)]
    if number.italian_leading_zero:
        # A zero in a country where no number begins with one.
        forms.append(f"+{number.country_code}{number.national_number}")
    for form in forms:
        with contextlib.suppress(library.NumberParseException):
            if library.is_valid_number(library.parse(form)):
                return form
    return key
