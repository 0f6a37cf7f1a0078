"""What one call of a SQL function costs its HTTP client: CPU, rate, and time to import, candidate by candidate.

    python -m bench.clients [--rounds 5] [NAME …]

A stack of its own runs for it: real PostgREST, real Postgres, and two SQL functions, one that answers 60 bytes and one
that answers 4 kB, as start_turn does. Each round runs every candidate in a fresh process, beginning with another one.
CPU is the client's own process, all threads. The clients live in .venv-clients, made from requirements/clients.txt.
"""

import asyncio
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import click

from bench.candidates import CANDIDATES
from local.paths import REPOSITORY
from local.stack import Stack, start_stack

VENV = REPOSITORY / ".venv-clients"
LOCK = REPOSITORY / "requirements" / "clients.txt"
SIZES = (60, 4_000)
LEVELS = ((1, 400), (8, 800), (32, 800))
YARDSTICK = "aiohttp"

_FUNCTION = """
create function public.bench_call(pad text, size int) returns jsonb language sql stable set search_path = '' as $$
    select jsonb_build_object('text', repeat('x', size))
$$;
grant execute on function public.bench_call to anon;
notify pgrst, 'reload schema';
"""

# Without the collector, whose full runs hit whoever happens to allocate.
_IMPORT = (
    "import gc, time; gc.disable()\n{before}\nt = time.perf_counter()\nimport {what}\nprint(time.perf_counter() - t)"
)
_FRAMEWORK = "import functions_framework.aio, uvicorn_worker, uvicorn.protocols.http.h11_impl, uvloop, pydantic"


@dataclass
class Figures:
    """One candidate's: by size and calls in flight, a value for each round. Seconds, and calls per second."""

    cpu: dict[tuple[int, int], list[float]] = field(default_factory=dict)
    rate: dict[tuple[int, int], list[float]] = field(default_factory=dict)
    alone: list[float] = field(default_factory=list)
    added: list[float] = field(default_factory=list)


def environment() -> Path:
    """The Python of the candidates' environment, made anew when its lock has changed."""
    python, stamp = VENV / "bin" / "python", VENV / ".installed"
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != digest:
        click.echo(f"Installing the candidates into {VENV.name}", err=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
        command = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-input"]
        subprocess.run([*command, "--require-hashes", "--requirement", str(LOCK)], check=True)
        stamp.write_text(digest)
    return python


def measure(python: Path, names: Sequence[str], rounds: int, stack: Stack) -> dict[str, Figures]:
    """The figures of these candidates, whose packages this Python has."""
    found = {name: Figures() for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        for name in (*names[first:], *names[:first]):
            figures = found[name]
            for size in SIZES:
                for (in_flight, _), one in zip(LEVELS, _run(python, name, size, stack), strict=True):
                    figures.cpu.setdefault((size, in_flight), []).append(one["cpu"])
                    figures.rate.setdefault((size, in_flight), []).append(one["rate"])
            figures.alone.append(_import_seconds(python, name, ""))
            figures.added.append(_import_seconds(python, name, _FRAMEWORK))
        click.echo(f"round {turn + 1} of {rounds}", err=True)
    return found


def table(found: dict[str, Figures]) -> list[str]:
    """Medians as Markdown; what is compared is the median of each round's ratio to the yardstick."""
    levels = [in_flight for in_flight, _ in LEVELS]
    lines = []
    for size in SIZES:
        lines += [f"Answers of {size} bytes:", ""]
        heads = [f"CPU µs at {n}" for n in levels] + [f"of {YARDSTICK}'s" for n in levels[:1]]
        lines += _row("client", *heads, *(f"calls/s at {n}" for n in levels))
        lines.append("|---|" + "---|" * (2 * len(levels) + 1))
        for name, figures in found.items():
            cpu = [f"{statistics.median(figures.cpu[size, n]) * 1e6:.0f}" for n in levels]
            rate = [f"{statistics.median(figures.rate[size, n]):,.0f}" for n in levels]
            lines += _row(name, *cpu, _ratio(found, figures, (size, levels[0])), *rate)
        lines.append("")
    lines += ["Time to import, ms:", ""]
    lines += [*_row("client", "fresh interpreter", "after functions-framework and pydantic"), "|---|---|---|"]
    for name, figures in found.items():
        lines += _row(name, *(f"{statistics.median(each) * 1e3:.1f}" for each in (figures.alone, figures.added)))
    return lines


def _ratio(found: dict[str, Figures], figures: Figures, key: tuple[int, int]) -> str:
    if YARDSTICK not in found:
        return ""
    pairs = zip(figures.cpu[key], found[YARDSTICK].cpu[key], strict=True)
    return f"{statistics.median(own / other for own, other in pairs):.2f}"


def _row(*cells: str) -> list[str]:
    return ["| " + " | ".join(cells) + " |"]


def _run(python: Path, name: str, size: int, stack: Stack) -> list[dict[str, float]]:
    asked = {
        "candidate": name,
        "url": f"{stack.rest_url}/rpc/bench_call",
        "headers": {
            "Content-Type": "application/json",
            "apikey": stack.anon_key,
            "Authorization": f"Bearer {stack.anon_key}",
        },
        "body": json.dumps({"pad": "y" * 500, "size": size}),
        "size": size,
        "levels": LEVELS,
    }
    answer: list[dict[str, float]] = json.loads(_output([python, "-m", "bench.candidates"], json.dumps(asked)))
    return answer


def _import_seconds(python: Path, name: str, before: str) -> float:
    _, what = CANDIDATES[name]
    return float(_output([python, "-c", _IMPORT.format(before=before, what=what)], ""))


def _output(command: Sequence[Any], text: str) -> str:
    done = subprocess.run(command, input=text, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(done.stderr.strip()[-2_000:])
    return done.stdout


async def _add_function(stack: Stack) -> None:
    connection = await asyncpg.connect(stack.admin_url)
    try:
        await connection.execute(_FUNCTION)
    finally:
        await connection.close()
    await asyncio.sleep(1)  # PostgREST reads the schema anew


@click.command(help=__doc__)
@click.argument("names", nargs=-1, type=click.Choice(sorted(CANDIDATES)))
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@click.option("--python", type=click.Path(exists=True, path_type=Path), help="Another environment's Python.")
def main(names: tuple[str, ...], rounds: int, python: Path | None) -> None:
    chosen = names or tuple(name for name in CANDIDATES if name != "niquests")
    interpreter = python or environment()
    with tempfile.TemporaryDirectory(prefix="switchboard-clients-") as folder, start_stack(Path(folder)) as stack:
        asyncio.run(_add_function(stack))
        found = measure(interpreter, chosen, rounds, stack)
    click.echo("\n".join(table(found)))


if __name__ == "__main__":
    main()
