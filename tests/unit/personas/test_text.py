from hypothesis import given
from hypothesis import strategies as st

from lib.personas.text import SurrogateJoiner, clean, excerpt, find_text, quote

TEXTS = st.text(alphabet=st.one_of(st.characters(), st.sampled_from("\ud83d\udc4b\x00👋")))


@given(st.lists(TEXTS))
def test_a_text_in_pieces_is_cleaned_like_the_whole(pieces: list[str]) -> None:
    joiner = SurrogateJoiner()
    joined = "".join(joiner.feed(piece) for piece in pieces) + joiner.finish()
    assert joined == clean("".join(pieces))


@given(TEXTS)
def test_a_clean_text_stays_as_it_is(text: str) -> None:
    assert clean(clean(text)) == clean(text)


def test_only_characters_that_cannot_be_stored_are_removed() -> None:
    assert clean("a\x00\x1b\tb\r\n\ud83d\udc4b\udc4b é") == "a\tb\r\n👋\N{REPLACEMENT CHARACTER} é"


def test_a_text_is_not_searched_for_in_endless_depth() -> None:
    deep: object = "Hello"
    for _ in range(50):
        deep = {"data": deep}
    assert find_text(deep) is None


@given(TEXTS, st.integers(min_value=1, max_value=50))
def test_an_excerpt_is_one_line_of_its_length(text: str, length: int) -> None:
    line = excerpt(text, length)
    assert len(line) <= length
    assert "\n" not in line


def test_a_quote_never_holds_the_secret() -> None:
    assert quote("key hush is wrong", "hush") == ": key [secret] is wrong"
    assert quote(" \n") == ""
