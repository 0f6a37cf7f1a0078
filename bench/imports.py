"""Imported contacts and messages per second, by `switchboard import` over HTTP, and an export of them.

Writes a CSV file of contacts and a JSON Lines file of conversations with ten messages each, imports both into the demo
workspace, the conversations a second time, and exports the workspace.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from bench import rounds, stacks
from bench.filling import WORKSPACE
from local.paths import REPOSITORY
from local.stack import Stack

PER_CONVERSATION = 10

_TEXT = "the flight from zurich to london on friday morning with four passengers costs about nine thousand"


@click.command(help=__doc__)
@click.option("--contacts", default=100_000, show_default=True, type=click.IntRange(10, 1_000_000))
@click.option("--messages", default=1_000_000, show_default=True, type=click.IntRange(10, 10_000_000))
def command(contacts: int, messages: int) -> None:
    with stacks.own_stack({"max_wal_size": "4GB", "shared_buffers": "512MB"}) as stack:
        folder = Path(stack.state_dir)
        people, talks = folder / "people.csv", folder / "talks.jsonl"
        with people.open("w") as file:
            file.writelines(_people(contacts))
        with talks.open("w") as file:
            file.writelines(_talks(contacts, messages))
        into = ("import", "--workspace", WORKSPACE, "--json", "--source", "bench")
        rows = [
            ("contacts (CSV)", contacts, _run(stack, *into, str(people))),
            ("messages (JSON Lines)", messages, _run(stack, *into, str(talks))),
            ("the same again", messages, _run(stack, *into, str(talks))),
            (
                "export",
                messages,
                _run(stack, "export", "--workspace", WORKSPACE, "-o", str(folder / "all.zip"), "--json"),
            ),
        ]
    rounds.show_table(
        ["", "rows", "seconds", "rows/s", "peak MB of the command"],
        [
            [name, f"{count:,}", f"{seconds:.1f}", f"{count / seconds:,.0f}", f"{peak:.0f}"]
            for name, count, (seconds, peak) in rows
        ],
    )


def _run(stack: Stack, *arguments: str) -> tuple[float, float]:
    """The seconds of a command, and the peak memory of the commands so far."""
    settings = Path(stack.state_dir) / "settings.env"
    settings.write_text("".join(f'{name}="{value}"\n' for name, value in stack.env.items()))
    ours = [name for name in os.environ if name.startswith(("SUPABASE_", "SWITCHBOARD_"))]
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    environment["SWITCHBOARD_ENV_FILE"] = str(settings)
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "cli.__main__", *arguments],
        env=environment,
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    seconds = time.perf_counter() - started
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def _people(count: int) -> Iterator[str]:
    yield "ID,First name,Last name,E-mail,Phone,City,Tags\n"
    for n in range(count):
        yield f"{n},Given{n},Family{n % 5000},c{n}@import.test,+4179{n:07},Bern,imported\n"


def _talks(contacts: int, messages: int) -> Iterator[str]:
    began = datetime(2024, 1, 1, tzinfo=UTC)
    for n in range(messages // PER_CONVERSATION):
        at = began + timedelta(minutes=7 * n)
        said = [
            {
                "external_id": str(n * PER_CONVERSATION + place),
                "role": "persona" if place % 2 else "contact",
                "text": f"Message {place} of {n}: {_TEXT[place:]}",
                "created_at": (at + timedelta(seconds=20 * place)).isoformat(),
            }
            for place in range(PER_CONVERSATION)
        ]
        talk = {"external_id": str(n), "contact": str(n % contacts), "persona": "Old helpdesk", "messages": said}
        yield json.dumps(talk) + "\n"
