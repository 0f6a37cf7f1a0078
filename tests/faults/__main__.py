"""Kill the parts of a stack under load, and judge what is left.

Starts a stack of its own in a temporary folder, with a Postgres that writes durably, lets people chat with slow and
fast personas, SIGKILLs the functions, PostgREST, Postgres and single backends of it at random moments, and hands logs
and database to the checker. The exit status is 0 when every promise was kept, 1 when one was broken, 2 when the run
itself did not work. The folder of a run that was not clean is kept.
"""

import asyncio
import sys
import time
from pathlib import Path

import click
from tqdm import tqdm

from local.stack import StackError
from tests.faults import harness
from tests.faults.harness import Plan, RunError
from tests.faults.killer import NeverBackError


@click.command(help=__doc__)
@click.option("--kills", default=200, show_default=True, type=click.IntRange(1), help="How many kills in all.")
@click.option("--seed", type=int, help="Of the random choices; another one each time, if not given.")
@click.option("--chats", default=32, show_default=True, type=click.IntRange(1, 256), help="Chats at a time.")
@click.option("--pause", default=4.0, show_default=True, type=float, help="Seconds between two kills, on average.")
@click.option(
    "--sweep-seconds", default=60, show_default=True, type=click.IntRange(1, 60), help="How often turns are swept."
)
@click.option("--keep", is_flag=True, help="Keep the folder of a clean run, too.")
def main(kills: int, seed: int | None, chats: int, pause: float, sweep_seconds: int, keep: bool) -> None:
    plan = Plan(kills, int(time.time()) % 1_000_000 if seed is None else seed, chats, pause, sweep_seconds)
    folder = harness.new_folder()
    click.echo(f"{kills} kills under {chats} chats, seed {plan.seed}, in {folder}")
    clean = False
    try:
        with harness.own_stack(folder / "state") as stack:
            with tqdm(total=kills, unit="kill", disable=None) as bar:

                def say(line: str) -> None:
                    bar.update(" waiting " not in line)
                    bar.write(line, file=sys.stdout)

                asyncio.run(harness.run(stack, folder, plan, say))
            report = asyncio.run(harness.check(stack, folder))
        click.echo("\n".join(report.lines()))
        clean = not report.broken
    except (RunError, NeverBackError, StackError) as failure:
        click.echo(f"The run did not work: {failure}", err=True)
        sys.exit(2)
    finally:
        _leave(folder, remove=clean and not keep)
    click.echo("Every promise was kept." if clean else "Promises were broken.")
    sys.exit(0 if clean else 1)


def _leave(folder: Path, *, remove: bool) -> None:
    if remove:
        harness.remove(folder)
    else:
        click.echo(f"Logs and database are in {folder}")


if __name__ == "__main__":
    main()
