"""`python -m bench.growth`: fills databases of several sizes, measures the same calls on each and prints the table."""

import asyncio
import json
from dataclasses import asdict
from pathlib import Path

import click

from bench.growth import databases, figures, measure
from bench.growth.fill import MESSAGES_PER_TURN, Size, fill
from bench.growth.measure import Cost, Database
from local.paths import SetupError
from local.postgres import Cluster, PostgresError

TURNS = 2
STATISTICS_DAYS = 730


def _numbers(_: click.Context, __: click.Parameter, text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part.replace("_", "")) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or not all(400 <= number <= 20_000_000 for number in numbers):
        raise click.BadParameter("numbers from 400 to 20,000,000 with commas between them")
    return numbers


def _say(line: str) -> None:
    click.echo(line, err=True)


async def _filled(cluster: Cluster, name: str, size: Size) -> Database:
    url = await databases.make(cluster, name)
    await databases.filled(url, lambda connection: fill(connection, size, _say))
    return Database(url, size.days)


async def _all(
    messages: tuple[int, ...], a_day: int, samples: int, sessions: int, only: str
) -> tuple[list[dict[str, Cost]], dict[str, Cost]]:
    with databases.serve() as cluster:
        await databases.prepare(cluster)
        filled = []
        for number in messages:
            size = Size(sessions=number // (TURNS * MESSAGES_PER_TURN), days=max(number // a_day, 1), turns=TURNS)
            filled.append(await _filled(cluster, f"growth_{number}", size))
        costs = await measure.measure(filled, samples, only, _say)
        for number in messages:
            await databases.drop(cluster, f"growth_{number}")
        if not sessions:
            return costs, {}
        size = Size(sessions=sessions, days=STATISTICS_DAYS, turns=1, words=False)
        large = await _filled(cluster, f"statistics_{sessions}", size)
        (stats,) = await measure.measure([large], samples, "statistics", _say)
        return costs, stats


@click.command(help="What the same calls cost in a workspace that is small and in one that has grown.")
@click.option("--messages", default="10000,1000000", show_default=True, callback=_numbers, help="Sizes to compare.")
@click.option(
    "--a-day",
    default=2000,
    show_default=True,
    type=click.IntRange(100),
    help="Messages a day: more messages are more days.",
)
@click.option(
    "--sessions",
    default=0,
    show_default=True,
    type=click.IntRange(0, 5_000_000),
    help=f"Measure the statistics over so many sessions of {STATISTICS_DAYS} days, too.",
)
@click.option(
    "--samples", default=30, show_default=True, type=click.IntRange(1, 1000), help="Calls of each kind that count."
)
@click.option("--only", default="", help="Operations whose name has this in it.  [default: all]")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write everything measured there too.")
def main(messages: tuple[int, ...], a_day: int, sessions: int, samples: int, only: str, json_file: Path | None) -> None:
    try:
        costs, stats = asyncio.run(_all(tuple(sorted(messages)), a_day, samples, sessions, only))
    except (SetupError, PostgresError) as problem:
        raise click.ClickException(str(problem)) from problem
    rows = figures.rows(costs)
    click.echo("\n".join(figures.table(rows, sorted(messages))))
    if stats:
        click.echo(f"\nStatistics over {sessions:,} sessions of {STATISTICS_DAYS} days:\n")
        click.echo("\n".join(figures.spread(stats)))
    if json_file is not None:
        everything = {
            "messages": sorted(messages),
            "rows": [{**asdict(row), "of_buffers": row.of_buffers, "is_flat": row.is_flat} for row in rows],
            "statistics": {name: asdict(cost) for name, cost in stats.items()},
        }
        json_file.write_text(json.dumps(everything, indent=1) + "\n")


if __name__ == "__main__":
    main()
