"""Thoughts are removed from a text, however it is split."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.personas.thoughts import ThoughtFilter, without_thoughts

PARTS = st.lists(
    st.sampled_from(["<think>", "</think>", "<th", "[THINK]", "[/think]", "a", "İ", " \n", "`", "``", "“", "<"])
)


def parts(text: str, length: int) -> list[str]:
    return [text[start : start + length] for start in range(0, len(text), length)]


@pytest.mark.parametrize(
    ("text", "visible"),
    [
        ("<think>hm\n</think>\n\nHi <b>", "Hi <b>"),
        ("<THINK>a<think>b</think> c", "c"),
        ("<thinking>a</think></thinking>b", "b"),
        ("[THINK]a[/THINK]b [link](x)", "b [link](x)"),
        ("◁think▷a◁/think▷b", "b"),
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b", "b"),
        ("Let me see.\n<think>a</think>\n\nOk", "Let me see.\nOk"),
        ("Hi <think>a</think>you", "Hi you"),
        ("Hi <think>never ends", "Hi "),
        ("a</think>b", "ab"),
        ("1 < 2 <thi", "1 < 2 <thi"),
        ("Use `<think>` or “<think>”", "Use `<think>` or “<think>”"),
        ("```\n<think>\n``` <think>a</think>b", "```\n<think>\n``` b"),
        ("İİİİ <think>a</think>b", "İİİİ b"),
    ],
)
def test_thoughts_are_not_in_the_text_but_words_about_marks_are(text: str, visible: str) -> None:
    assert without_thoughts(text) == visible


@given(PARTS, st.integers(min_value=1, max_value=9), st.booleans())
def test_the_visible_text_does_not_depend_on_how_the_text_is_split(pieces: list[str], length: int, begun: bool) -> None:
    text = "".join(pieces)
    whole, split = ThoughtFilter(begun=begun), ThoughtFilter(begun=begun)
    visible = whole.feed(text) + whole.finish()
    assert "".join([*map(split.feed, parts(text, length)), split.finish()]) == visible
