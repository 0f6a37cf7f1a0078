"""bench/growth: its table says what was measured, and what grows."""

import pytest

from bench.growth import figures
from bench.growth.fill import Size
from bench.growth.measure import Cost


def costs(buffers: list[int], cpu: list[float]) -> dict[str, Cost]:
    return {"a call": Cost(buffers, [7.0], cpu), "only at one size": Cost([1], [1.0], [1.0])}


def test_a_ratio_is_of_medians_and_of_the_largest_to_the_smallest() -> None:
    small, large = costs([10, 20, 900], [2.0]), {"a call": Cost([25, 26, 27], [7.0], [3.0, 1.0, 5.0])}
    (row,) = figures.rows([small, large])
    assert (row.buffers, row.cpu, row.milliseconds) == ((20, 26), (2.0, 3.0), (7.0, 7.0))
    assert (row.of_buffers, row.of_cpu) == (1.3, 1.5)
    assert row.is_flat


@pytest.mark.parametrize(("buffers", "said"), [(13, ""), (14, "grows")])
def test_the_table_says_what_grows_by_buffers_and_not_by_time(buffers: int, said: str) -> None:
    found = figures.rows([costs([10], [1.0]), costs([buffers], [99.0])])
    head, line, first, _ = figures.table(found, (10_000, 1_000_000))
    assert head.count("|") == line.count("|") == first.count("|")
    assert "buffers at 1,000,000" in head
    assert [cell.strip() for cell in first.split("|")][1:5] == ["a call", "10", str(buffers), f"{buffers / 10:.2f}"]
    assert [cell.strip() for cell in first.split("|")][-2] == said


def test_one_size_alone_is_told_with_its_best_call() -> None:
    lines = figures.spread({"statistics": Cost([100, 300], [10.0, 30.0], [4.0])})
    assert lines[-1] == "| statistics | 4.0 | 20.0 | 10.0 | 200 |"


def test_a_size_has_what_its_sessions_come_to() -> None:
    size = Size(sessions=250_000, days=500)
    assert (size.messages, size.contacts) == (1_000_000, 100_000)
