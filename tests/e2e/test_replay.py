"""The replay command over the project's own dialogues, on the real stack."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import dialogues
from bench.replay import Report
from local.paths import REPOSITORY
from local.stack import Stack

OWN = REPOSITORY / "bench" / "data" / "dialogues.json"


async def run(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "bench.replay", *arguments],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, **stack.env},
        timeout=120,
    )


async def test_every_speaker_registers_and_every_line_is_answered(stack: Stack) -> None:
    samples = dialogues.read(OWN)
    lines = sum(1 for sample in samples for _ in sample.lines())
    speakers = sum(len(sample.speakers) for sample in samples)
    done = await run(stack, str(OWN))
    assert done.returncode == 0, done.stderr
    table = {row.split()[0]: row.split() for row in done.stdout.splitlines() if row.strip()}
    assert table["contacts"][1] == str(speakers)
    assert table["sessions"][1] == str(speakers)
    assert table["turns"][1] == str(lines)
    assert table["messages"][1] == str(2 * lines)
    assert table["failed"][2] == "0"
    assert table["answered"][1] == str(lines)
    assert f"{lines}/{lines}" in done.stderr, "there is no progress bar"


async def test_a_second_replay_finds_the_same_contacts(stack: Stack) -> None:
    first = await run(stack, str(OWN), "--limit", "1")
    again = await run(stack, str(OWN), "--limit", "1")
    assert first.returncode == again.returncode == 0
    table = {row.split()[0]: row.split() for row in again.stdout.splitlines() if row.strip()}
    assert table["contacts"][1] == "0"


async def test_a_file_of_something_else_is_refused_with_a_reason(stack: Stack, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps([{"sample_id": "x"}]))
    done = await run(stack, str(other))
    assert done.returncode == 1
    assert "is not a file of dialogues" in done.stderr


def test_percentiles_are_those_of_the_list() -> None:
    report = Report(first_tokens=[number / 1000 for number in range(1, 101)])
    assert report.percentile(50) == pytest.approx(0.0505)
    assert report.percentile(95) == pytest.approx(0.09505)
