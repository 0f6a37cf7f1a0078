"""Rounds in which all cases take turns, and the table of their medians, ready for docs/measurements.md."""

import shlex
import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import click
from tqdm import tqdm

Case = TypeVar("Case")


def interleaved(cases: Sequence[Case], rounds: int) -> Iterator[tuple[bool, Case]]:
    """Every case once in each round, in an order that rotates; with False in the first round, which fills caches."""
    with tqdm(total=(rounds + 1) * len(cases), file=sys.stderr) as progress:
        for number in range(rounds + 1):
            place = number % len(cases)
            for case in (*cases[place:], *cases[:place]):
                yield number > 0, case
                progress.update()


def percentile(values: Sequence[float], percent: int) -> float:
    """A percentile, by linear interpolation; not a number without values."""
    if len(values) < 2:
        return values[0] if values else float("nan")
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def spread(values: Sequence[float], digits: int) -> str:
    """The median, with the least and the most; nothing without values."""
    if not values:
        return ""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def show_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print the command, the date and a Markdown table."""
    click.echo(f"`python -m bench {shlex.join(sys.argv[1:])}`, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC:\n")
    for cells in (heads, ["---"] * len(heads), *rows):
        click.echo(f"| {' | '.join(cells)} |")
