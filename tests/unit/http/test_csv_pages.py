"""Cells of CSV: read back as they were written, and never run by a spreadsheet."""

import csv
import io
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from lib.http import csv_pages

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)


@given(
    st.lists(st.lists(TEXTS | st.sampled_from(["=1+1", "@x", "-2", '+"a",\nb']), min_size=1, max_size=4), max_size=4)
)
def test_texts_are_read_back_and_begin_no_formula(rows: list[list[str]]) -> None:
    written = csv_pages.text([csv_pages.cell(value) for value in row] for row in rows)
    read = list(csv.reader(io.StringIO(written, newline="")))
    assert [[cell.removeprefix("'") for cell in row] for row in read] == [
        [value.removeprefix("'") for value in row] for row in rows
    ]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for row in read for cell in row)


def test_values_of_each_kind() -> None:
    values = (None, (), -5, True, ("a", "b"), {"x": "é"}, datetime(2026, 12, 1, tzinfo=UTC))
    expected = ["", "", "-5", "true", "a, b", '{"x": "é"}', "2026-12-01T00:00:00+00:00"]
    assert [csv_pages.cell(value) for value in values] == expected
