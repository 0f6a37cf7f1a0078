"""Where the functions' process spends its CPU, by sampling its stacks from outside (py-spy) while turns are played.

A sample belongs to the innermost frame that says whose work it is. What happens outside Python's frames (the event
loop, system calls on its account) is what is left of the process's CPU, as the system counts it.
"""

import asyncio
import contextlib
import re
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path

RATE = 250
"""Samples a second."""

HTTP, DATABASE, MODEL, OWN, CLIENTS, LOOP = PARTS = (
    "HTTP in, events out",
    "client of the database",
    "client of the model",
    "our own: identity, turns, log",
    "either client, reading and writing",
    "event loop and system calls",
)

_FRAME = re.compile(r"\(([^()]+?)(?::\d+)?\)$")
_OWNERS = (
    (re.compile(r"(^|/)lib/(database/\w+|outbound/pool)\.py$|(^|/)asyncpg/"), DATABASE),
    (re.compile(r"(^|/)lib/(outbound/(?!wire\.)\w+|personas/\w+)\.py$"), MODEL),
    (re.compile(r"(^|/)lib/(http/\w+|chat/(events|ai_sdk))\.py$"), HTTP),
    (re.compile(r"(^|/)(uvicorn|starlette|functions_framework|h11|local)/"), HTTP),
    (re.compile(r"(^|/)lib/(?!outbound/)(\w+/)*\w+\.py$"), OWN),
    (re.compile(r"(^|/)functions/\w+/main\.py$|^main\.py$"), OWN),
)
# The innermost frame of what runs the loop; those above it are in every stack.
_RUNNER = "asyncio/runners.py"


class SamplingError(Exception):
    """The process could not be sampled; the message is py-spy's."""


async def sample(python: Path, pid: int, seconds: float, meanwhile: Callable[[], Awaitable[None]]) -> dict[str, float]:
    """How many seconds of samples each part had while the work was done. Raises SamplingError.

    py-spy is that of the virtual environment of this Python. It needs the right to trace the process.
    """
    with tempfile.NamedTemporaryFile(suffix=".txt") as file:
        process = await asyncio.create_subprocess_exec(
            str(python.with_name("py-spy")),
            *("record", "--pid", str(pid), "--rate", str(RATE), "--format", "raw", "--output", file.name),
            *("--duration", str(max(round(seconds), 1))),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            await meanwhile()
            _, said = await asyncio.wait_for(process.communicate(), seconds + 30)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        if process.returncode:
            raise SamplingError(said.decode(errors="replace").strip()[-300:])
        return parts(Path(file.name).read_text().splitlines())


def parts(lines: Iterable[str]) -> dict[str, float]:
    """Seconds by part, from py-spy's raw format: frames from the outermost on with ; between them, and a count."""
    found: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        found[_owner(stack.split(";"))] += int(count)
    return {part: found[part] / RATE for part in PARTS}


def _owner(stack: list[str]) -> str:
    files = [match[1] for frame in stack if (match := _FRAME.search(frame))]
    started = max((place for place, file in enumerate(files) if file.endswith(_RUNNER)), default=len(files))
    ours = files[:started:-1]
    for file in ours:
        for pattern, part in _OWNERS:
            if pattern.search(file):
                return part
    return CLIENTS if any(file.endswith("lib/outbound/wire.py") for file in ours) else LOOP


def milliseconds(found: Mapping[str, float], turns: int, cpu_ms: float) -> dict[str, float]:
    """CPU ms a turn by part, which together are the process's; what no sample explains is the event loop's."""
    sampled = {part: found[part] * 1000 / turns for part in PARTS if part != LOOP}
    together = sum(sampled.values())
    # On a busy machine a process is sampled while it waits for a core, too.
    scale = min(1.0, cpu_ms / together) if together else 0.0
    split = {part: value * scale for part, value in sampled.items()}
    return split | {LOOP: max(cpu_ms - sum(split.values()), 0.0)}
