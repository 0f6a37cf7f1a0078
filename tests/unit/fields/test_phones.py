import re
from collections.abc import Iterator

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import PhoneNumber, PhoneNumberFormat, PhoneNumberType

from lib.fields import identities, phones


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        ("+41 79 123 45 67", "+41791234567"),
        ("0041 79 123 45 67", "+41791234567"),
        ("(0041) 79 123 45 67", "+41791234567"),
        ("+0041 79 123 45 67", "+41791234567"),
        ("(+1) 415-555.2671", "+14155552671"),
        ("\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH DIGIT FOUR}1 79 123 45 67", "+41791234567"),
        ("+1 800 FLOWERS", "+18003569377"),
        # A trunk prefix, which a number dialled from abroad does not have.
        ("+49 (0) 209 22 33 44 55", "+4920922334455"),
        ("+49 209 22334455", "+4920922334455"),
        ("+44 (0)20 7946 0958", "+442079460958"),
        ("+7 (8) 495 123-45-67", "+74951234567"),
        ("+36 (06) 1 234 5678", "+3612345678"),
        ("+34 (0) 912 345 678", "+34912345678"),
        ("+7 (800) 123-45-67", "+78001234567"),
        # In these countries the zero belongs to the number, though not to every number.
        ("+39 (0)6 698 12345", "+390669812345"),
        ("+39 (0) 35 123456", "+39035123456"),
        ("+39 (0) 347 1234567", "+393471234567"),
        ("+225 (0)7 12 34 56 78", "+2250712345678"),
        # RFC 3966 and other links.
        ("tel:+49-(209)-2233.4455", "+4920922334455"),
        ("TEL:%2B49%20209%2022334455", "+4920922334455"),
        ("tel:0209-22334455;phone-context=+49", "+4920922334455"),
        ("tel:+1-415-555-2671;isub=1234;phone-context=example.com", "+14155552671"),
        ("sms:+14155552671?body=1%202", "+14155552671"),
        ("+41 79 123 45 67 ext. 5", "+41791234567;ext=5"),
        ("tel:+41-79-123-45-67;ext=5", "+41791234567;ext=5"),
        # WhatsApp's forms.
        ("whatsapp:+5541988776655", "+5541988776655"),
        ("whatsapp:554188776655", "+5541988776655"),
        ("+55 41 8877-6655", "+5541988776655"),
        ("+55 41 3877-6655", "+554138776655"),
        ("whatsapp:5215512345678", "+525512345678"),
        ("+52 1 55 1234 5678", "+525512345678"),
        ("whatsapp:541112345678", "+5491112345678"),
        ("+54 11 15-1234-5678", "+5491112345678"),
        ("+54 11 1234-5678", "+541112345678"),
        # National numbers, and what is no subscriber's.
        ("079 123 45 67", None),
        ("079 123 45 67 ext. 5", None),
        ("tel:7042;phone-context=example.com", None),
        ("4155552671", None),
        ("+1234", None),
        ("+0791234567", None),
    ],
)
def test_the_spellings_of_an_international_number_have_one_key(typed: str, key: str | None) -> None:
    assert phones.parse(f" {typed} ") == phones.Phone(typed=typed, key=key)


@pytest.mark.parametrize(
    "text", ["", "+", "123", "call me", "1" * 18, "+49 30 123456 / +49 170 1234567", "tel:", "+1" * 99]
)
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a phone number"):
        phones.parse(text)


def examples() -> Iterator[PhoneNumber | None]:
    """The library's example numbers: each region's of each type, and those of no region."""
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        for kind in PhoneNumberType.values():
            yield phonenumbers.example_number_for_type(region, kind)
    for code in sorted(phonenumbers.COUNTRY_CODES_FOR_NON_GEO_REGIONS):
        yield phonenumbers.example_number_for_non_geo_entity(code)


def spellings(number: PhoneNumber) -> Iterator[str]:
    code, rest = number.country_code or 0, phonenumbers.national_significant_number(number)
    for style in (PhoneNumberFormat.E164, PhoneNumberFormat.INTERNATIONAL, PhoneNumberFormat.RFC3966):
        yield phonenumbers.format_number(number, style)
    yield f"tel:{phonenumbers.format_number(number, PhoneNumberFormat.NATIONAL)};phone-context=+{code}"
    yield f"\u202a+{code}\u00a0{rest}\u202c"
    yield f"00{code} {rest}".translate({ord("0") + digit: 0xFF10 + digit for digit in range(10)})
    region = phonenumbers.region_code_for_country_code(code)
    metadata = phonenumbers.PhoneMetadata.metadata_for_region(region, None)
    if metadata is not None and metadata.national_prefix is not None:
        yield f"+{code} ({metadata.national_prefix}) {rest}"
        yield f"(00{code}) [{metadata.national_prefix}]{rest}"


def test_every_region_s_example_numbers_have_one_key_in_every_spelling() -> None:
    faults, count = [], 0
    for number in filter(None, examples()):
        count += 1
        plain = phonenumbers.format_number(number, PhoneNumberFormat.E164)
        key = plain if len(plain) >= 8 else None
        faults += [(text, key) for text in spellings(number) if phones.parse(text).key != key]
        if key is not None:
            whatsapp = identities.of("whatsapp", key).key
            written = (f"whatsapp:{key}", key[1:], f"{key[1:]}@c.us", f"{key[1:]}:7@s.whatsapp.net", f"wa.me/{key[1:]}")
            faults += [(text, key) for text in written if identities.of("whatsapp", text).key != whatsapp]
            # Argentina's fixed lines alone: on WhatsApp such a number is a mobile one.
            faults += [(whatsapp, key)] if whatsapp != key and number.country_code != 54 else []
    assert faults == []
    assert count > 1_300


@given(
    st.text(max_size=30)
    | st.text("+0123456789()[]/.,;x#*=@: \u202d\uff0b\uff10telwhatspp", max_size=40)
    | st.from_regex(r"(tel:|sms:|whatsapp:)?\+[0-9 ()%-]{1,20}(;(ext|phone-context|isub)=.{0,10})?")
)
def test_any_text_is_refused_or_has_a_key_that_is_its_own(text: str) -> None:
    try:
        key = phones.parse(text).key
    except ValueError:
        return
    if key is not None:
        number, _, extension = key.partition(";ext=")
        assert re.fullmatch(r"\+[0-9]{7,15}", number)
        assert extension.isdigit() or not extension
        assert phones.parse(key).key == key
