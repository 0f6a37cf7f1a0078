import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.fields import emails

local_parts = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._+-]{0,20}[A-Za-z0-9])?", fullmatch=True).filter(
    lambda text: ".." not in text
)
domains = st.sampled_from(["example.com", "Example.TEST", "printer.local", "münchen.de", "XN--MNCHEN-3YA.DE"])


@given(local_parts, domains, st.sampled_from(["", " ", "\t", "\u00a0", "\n"]))
def test_case_and_space_around_make_no_difference(local: str, domain: str, space: str) -> None:
    plain = emails.parse(f"{local}@{domain}")
    assert emails.parse(f"{space}{local.upper()}@{domain.swapcase()}{space}").key == plain.key
    assert emails.parse(plain.key).key == plain.key == plain.key.lower()


@given(st.text(max_size=60))
def test_any_text_has_a_key_or_is_refused(text: str) -> None:
    try:
        email = emails.parse(text)
    except ValueError:
        return
    assert emails.parse(email.key).key == email.key
    assert unicodedata.is_normalized("NFC", email.key)


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        (" Ana@Example.COM ", "ana@example.com"),
        ("ana@münchen.de", "ana@xn--mnchen-3ya.de"),
        ("ANA@MÜNCHEN.DE", "ana@xn--mnchen-3ya.de"),
        ("Jo\u0308rg@example.com", "jörg@example.com"),
        ("JÖRG@example.com", "jörg@example.com"),
        ("ana@example.test", "ana@example.test"),
        ("ana@server.local", "ana@server.local"),
        ("ana@localhost.localdomain", "ana@localhost.localdomain"),
        ("o'brien@example.com", "o'brien@example.com"),
        # Dots and tags tell mailboxes apart.
        ("a.b+c@gmail.com", "a.b+c@gmail.com"),
    ],
)
def test_an_address_has_one_key(typed: str, key: str) -> None:
    assert emails.parse(typed) == emails.Email(typed=typed.strip(), key=key)


@pytest.mark.parametrize(
    "text",
    [
        "", "ana", "ana@", "@example.com", "ana@example", "ana@@example.com", "ana@exa mple.com", "a na@example.com",
        "ana@example..com", "ana@-example.com", "ana@[127.0.0.1]", '"ana b"@example.com', "Ana <ana@example.com>",
        "ana@example.com\nbcc: eve@example.com", "ana@example.com, eve@example.com", "a" * 65 + "@example.com",
        "ana@" + "a" * 64 + ".com", "ana\x00@example.com", "ana\ud800@example.com",
    ],
)  # fmt: skip
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be an email address"):
        emails.parse(text)
