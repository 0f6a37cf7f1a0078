import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.fields import phones


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        ("+41 79 123 45 67", "+41791234567"),
        ("0041 79 123 45 67", "+41791234567"),
        ("(+1) 415-555.2671", "+14155552671"),
        ("\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH DIGIT FOUR}1 79 123 45 67", "+41791234567"),
        ("+44 (0)20 7946 0958", "+442079460958"),
        ("+44 20 7946 0958", "+442079460958"),
        ("+1 800 FLOWERS", "+18003569377"),
        ("079 123 45 67", None),
        ("4155552671", None),
        ("+1234", None),
        ("+0791234567", None),
    ],
)
def test_only_an_international_number_has_a_key(typed: str, key: str | None) -> None:
    assert phones.parse(f" {typed} ") == phones.Phone(typed=typed, key=key)


@pytest.mark.parametrize("text", ["", "+", "123", "call me", "+41 79 123 45 67 ext. 5", "1" * 18])
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a phone number"):
        phones.parse(text)


@given(st.text(max_size=30))
def test_a_key_is_plus_and_digits(text: str) -> None:
    try:
        key = phones.parse(text).key
    except ValueError:
        return
    assert key is None or (key.isascii() and key.startswith("+") and key[1:].isdigit() and len(key) <= 16)
