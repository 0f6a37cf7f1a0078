import sys
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lib.fields import identities, invisible

BLANKS = st.sampled_from(["", " ", "\t", "\n"])
USER = st.from_regex(r"[A-Za-z0-9]{1,128}", fullmatch=True)


@given(st.integers(min_value=-(2**63), max_value=2**63 - 1).filter(bool), st.integers(0, 1), BLANKS)
def test_a_telegram_id_has_one_key_however_many_zeros_or_blanks(number: int, zeros: int, blank: str) -> None:
    typed = f"{'-' if number < 0 else ''}{'0' * zeros}{abs(number)}"
    found = identities.parse(f"{blank}Telegram{blank}:{blank}{typed}{blank}")
    assert (found.kind, found.key) == ("telegram", str(number))
    assert found.contact_kind == ("group" if number < 0 else "person")


@given(st.sampled_from(["US", "us", "Us"]), st.sampled_from(["", "ENT.", "ent."]), USER)
def test_a_business_scoped_id_keeps_its_letters_and_its_parent_form_apart(country: str, parent: str, user: str) -> None:
    found = identities.of("whatsapp", f"{country}.{parent}{user}")
    assert found.key == f"US.{parent.upper()}{user}"
    assert (found.contact_kind, found.implied) == ("person", None)


@given(st.from_regex(r"(1[2-9][0-9]{9}|4[149][1-9][0-9]{8})", fullmatch=True))
def test_a_whatsapp_number_has_one_key_which_is_the_phones(digits: str) -> None:
    spellings = (digits, f"+{digits}", f"00{digits}", f"+{digits[:2]} {digits[2:]}", f"+{digits[:2]}-({digits[2:]})")
    found = [identities.of("whatsapp", spelling) for spelling in spellings]
    assert {one.key for one in found} == {f"+{digits}", identities.of("phone", f"+{digits}").key}
    assert {(one.implied.kind, one.implied.key) for one in found if one.implied} == {("phone", f"+{digits}")}


KINDS = ("email", "phone", "telegram", "whatsapp", "discord", "omi", "external")
TEXTS = st.one_of(
    st.text(max_size=60),
    st.from_regex(r"[+0-9 ().-]{1,20}", fullmatch=True),
    st.from_regex(r"[A-Za-z]{2}\.(ENT\.)?[A-Za-z0-9]{1,20}", fullmatch=True),
    st.from_regex(r"(group|channel|crm|auth|CRM) ?: ?[0-9A-Za-z@.-]{1,40}", fullmatch=True),
    st.from_regex(r"[0-9]{1,20}@g\.us", fullmatch=True),
)


@given(st.sampled_from(KINDS), TEXTS)
@example("whatsapp", "1000")
def test_any_text_is_refused_or_has_a_key_that_is_its_own(kind: str, text: str) -> None:
    try:
        found = identities.of(kind, text)
    except ValueError:
        return
    again = identities.of(kind, found.key)
    assert (again.kind, again.key, again.contact_kind) == (found.kind, found.key, found.contact_kind)
    assert 1 <= len(found.key) <= identities.LONGEST
    assert unicodedata.is_normalized("NFC", found.key)
    assert found.value == invisible.removed(text)
    # With a blank around it is the same one.
    assert identities.parse(f" {kind.upper()} : {text} ").key == found.key


@pytest.mark.parametrize(
    ("text", "key", "contact_kind"),
    [
        ("email: Ana@Example.COM ", "ana@example.com", "person"),
        ("phone:+49 (30) 123-456", "+4930123456", "person"),
        ("telegram:9007199254740993", "9007199254740993", "person"),
        ("telegram:\N{FULLWIDTH DIGIT FOUR}2", "42", "person"),
        ("telegram:@Durov_1", "@durov_1", None),
        ("telegram:https://t.me/Durov_1?start=x", "@durov_1", None),
        ("telegram:tg://resolve?domain=durov_1", "@durov_1", None),
        ("mailto:Ana@example.com", "ana@example.com", "person"),
        ("tel:+49-(30)-123-456", "+4930123456", "person"),
        ("sms:+4930123456", "+4930123456", "person"),
        ("whatsapp:16505551234", "+16505551234", "person"),
        ("whatsapp:whatsapp:+554188776655", "+5541988776655", "person"),
        ("whatsapp:554188776655:3@s.whatsapp.net", "+5541988776655", "person"),
        ("whatsapp:https://wa.me/5541988776655?text=hi", "+5541988776655", "person"),
        ("whatsapp:https://api.whatsapp.com/send?phone=5541988776655&text=hi", "+5541988776655", "person"),
        ("whatsapp:US.13491208655302741918", "US.13491208655302741918", "person"),
        ("whatsapp:us.ent.11815799212886844830", "US.ENT.11815799212886844830", "person"),
        ("whatsapp:120363041234567890@g.us", "group:120363041234567890@g.us", "group"),
        ("whatsapp:group:Y2FwaV9n", "group:Y2FwaV9n", "group"),
        ("discord:18446744073709551615", "18446744073709551615", "person"),
        ("discord:channel:0042", "channel:42", "group"),
        ("discord:<@!80351110224678912>", "80351110224678912", "person"),
        ("discord:https://discord.com/users/80351110224678912", "80351110224678912", "person"),
        ("discord:<#42>", "channel:42", "group"),
        ("discord:https://discord.com/channels/1/42", "channel:42", "group"),
        ("omi:vFx9QmKb0gX", "vFx9QmKb0gX", "person"),
        ("external:CRM: A-4711 ", "crm:A-4711", None),
        ("external:auth:{00000000-0000-4000-8000-00000000000A}", "auth:00000000-0000-4000-8000-00000000000a", "person"),
    ],
)
def test_an_identity_has_one_key(text: str, key: str, contact_kind: str | None) -> None:
    found = identities.parse(text)
    assert (found.key, found.contact_kind) == (key, contact_kind)


@pytest.mark.parametrize(
    "text",
    [
        "42", "", ":", "telegram:", "telegram:4 2", "telegram:+42", "telegram:0", "telegram:-0", "telegram:٤٢",
        "telegram:1e3", "telegram:@ab", "telegram:https://t.me/joinchat/AbC", "telegram:t.me/+AbC",
        "whatsapp:+14155552671;ext=5", "telegram:9223372036854775808", "discord:18446744073709551616", "discord:-5",
        "discord:user:5", "icq:42", "phone:0151 1234567", "whatsapp:0151 1234567", "whatsapp:USA.123", "whatsapp:US.",
        "whatsapp:US.ENT.", "whatsapp:US.1-2", "whatsapp:US." + "1" * 129,
        "email:ana", "omi:", "omi:two words", "external:4711",
        "external::4711", "external:crm:", "external:auth:ana", "external:crm:" + "x" * 400, "omi:a\x00b",
    ],
)  # fmt: skip
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be|platform"):
        identities.parse(text)


def test_no_invisible_character_is_part_of_an_id() -> None:
    formats = [chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) == "Cf"]
    ids = ("email:ana@example.com", "phone:+4930123456", "whatsapp:4930123456", "telegram:42", "discord:42", "omi:ana",
           "external:crm:42")  # fmt: skip
    assert len(formats) > 100
    for text in ids:
        key, middle = identities.parse(text).key, len(text) - 2
        for character in (*formats, "\ufe0f", "\ufffc", "\u3164"):
            wrapped = f"{character}{text[:middle]}{character}{text[middle:]}{character}"
            assert identities.parse(wrapped).key == key, (text, hex(ord(character)))


def test_an_implied_identity_is_listed_once_and_marked() -> None:
    given = tuple(identities.parse(text) for text in ("whatsapp:+15551234567", "whatsapp:15551234567", "telegram:42"))
    told = [(one["kind"], one["key"], one["implied"]) for one in identities.documents(given)]
    assert told == [("whatsapp", "+15551234567", False), ("telegram", "42", False), ("phone", "+15551234567", True)]
    both = (identities.parse("whatsapp:+15551234567"), identities.parse("phone:+15551234567"))
    assert [one["implied"] for one in identities.documents(both)] == [False, False]
