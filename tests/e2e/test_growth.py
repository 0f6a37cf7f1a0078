"""The growth benchmark on its own server, small: every operation is measured, and grows where it must."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from local.paths import REPOSITORY


async def test_a_small_run_measures_every_operation(tmp_path: Path) -> None:
    file = tmp_path / "growth.json"
    options = ["--messages", "400,4000", "--a-day", "400", "--samples", "2", "--sessions", "500"]
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "bench.growth", *options, "--json", str(file)],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    measured = json.loads(file.read_text())
    rows = {row["name"]: row for row in measured["rows"]}
    assert {"start_turn", "finish_turn", "resolve, known", "contact by identity", "session by id", "sessions, newest",
            "statistics, everything"} <= set(rows)  # fmt: skip
    for row in rows.values():
        assert min(row["buffers"]) > 0, row
        assert min(row["milliseconds"]) > 0, row
        assert min(row["cpu"]) > 0, row
    # A turn writes message, turn, session and limits, and reads what stands before: more than a look-up.
    assert rows["start_turn"]["buffers"][0] > rows["resolve, known"]["buffers"][0]
    # Ten times the days are in no look-up, and one more level of an index at most.
    for name in ("resolve, known", "contact by id", "session by id", "finish_turn"):
        assert rows[name]["of_buffers"] < 2, rows[name]
    assert measured["statistics"]["statistics, everything"]["buffers"]
    assert "| start_turn |" in done.stdout
