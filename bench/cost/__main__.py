"""`python -m bench.cost`: measures what a turn costs and prints the table."""

import asyncio
import json
from dataclasses import asdict
from pathlib import Path

import click

from bench.cost import figures, measure
from bench.cost.measure import FLOOR, OURS, SYSTEMS, MeasurementError, Plan
from bench.cost.peers import PeersError
from local.stack import StackError


def _numbers(_: click.Context, __: click.Parameter, text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or not all(1 <= number <= 256 for number in numbers):
        raise click.BadParameter("numbers from 1 to 256 with commas between them")
    return numbers


def _names(_: click.Context, __: click.Parameter, text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := set(names) - set(SYSTEMS):
        raise click.BadParameter(f"{', '.join(sorted(unknown))}: there are {', '.join(SYSTEMS)}")
    return names


@click.command(help="What a turn costs over the whole HTTP path: ours, beside what a user would pick instead.")
@click.option("--seconds", default=3.0, show_default=True, type=click.FloatRange(0.1, 60), help="Of each round.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1, 100))
@click.option("--concurrency", default="1,8,32", show_default=True, callback=_numbers, help="Chats at a time.")
@click.option("--only", default=",".join(SYSTEMS), callback=_names, help=f"Of {', '.join(SYSTEMS)}.")
@click.option("--first-ms", default=0.0, show_default=True, help="What the model takes for its first token.")
@click.option("--token-ms", default=0.0, show_default=True, help="Between two tokens; 0 sends all at once.")
@click.option("--sample/--no-sample", default=True, help="Where the functions spend their CPU (needs ptrace).")
@click.option("--in-process", is_flag=True, help="Call the other systems within the client, without a server.")
@click.option("--together", is_flag=True, help="The others' server writes tokens that came together at once.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write everything measured there too.")
def main(
    seconds: float,
    rounds: int,
    concurrency: tuple[int, ...],
    only: tuple[str, ...],
    first_ms: float,
    token_ms: float,
    sample: bool,
    in_process: bool,
    together: bool,
    json_file: Path | None,
) -> None:
    plan = Plan(only, concurrency, seconds, rounds, first_ms, token_ms, sample, in_process, together)

    def report(line: str) -> None:
        click.echo(line, err=True)

    try:
        result = asyncio.run(measure.measure(plan, report))
    except (MeasurementError, PeersError, StackError) as problem:
        raise click.ClickException(str(problem)) from problem
    rows = figures.rows(result.cells, result.statements, FLOOR)
    click.echo("\n".join(figures.table(rows)))
    if in_process:
        click.echo(f"\nAll but {OURS} were called within the client's process, without HTTP.")
    if result.functions_ms:
        click.echo("\nCPU ms a turn within the functions, at 8 chats:")
        click.echo("\n".join(figures.split(result.functions_ms)))
    click.echo("\n" + ", ".join(f"{name} {version}" for name, version in result.versions.items()))
    if json_file is not None:
        everything = {
            "plan": asdict(plan),
            "versions": result.versions,
            "functions_ms": result.functions_ms,
            "rows": [asdict(row) for row in rows],
            "cells": [asdict(cell) for cell in result.cells],
        }
        json_file.write_text(json.dumps(everything, indent=1) + "\n")


if __name__ == "__main__":
    main()
