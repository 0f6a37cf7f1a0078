"""The cost benchmark on its own stack, for a moment: ours and the floor, nothing that has to be installed."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from local.paths import REPOSITORY


async def test_a_short_run_measures_ours_beside_the_floor(tmp_path: Path) -> None:
    file = tmp_path / "cost.json"
    options = ["--seconds", "0.5", "--rounds", "1", "--concurrency", "2", "--only", "floor,switchboard", "--no-sample"]
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "bench.cost", *options, "--json", str(file)],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    measured = json.loads(file.read_text())
    floor, ours = measured["rows"]
    assert [floor["system"], ours["system"]] == ["floor", "switchboard"]
    assert floor["statements"] == {"statements": 4, "transactions": 4}
    # A short turn is two database calls; one that took more than a second on a busy machine has a flush in between.
    assert 2 <= ours["statements"]["transactions"] < 2.5
    assert floor["of_floor"] == 1
    assert ours["of_floor"] == ours["rate"] / floor["rate"]
    # Both were asked over HTTP: each has a server, whose CPU is not the client's.
    assert floor["cpu_ms"]["functions"] > 0
    assert ours["cpu_ms"]["functions"] > 0
    assert all(cell["turns"] == len(cell["first_tokens"]) for cell in measured["cells"])
    assert "| switchboard |" in done.stdout
