"""The harness itself: it leaves nothing behind, and its deck has every kind of victim."""

import ast
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from local import processes
from local.paths import REPOSITORY
from tests.faults import checker, evidence, figures, harness, records, server_logs
from tests.faults.killer import WEIGHTS, deck


@pytest.mark.parametrize("kills", [4, 12, 200])
def test_a_deck_has_every_kind_of_victim_and_depends_on_its_seed_alone(kills: int) -> None:
    dealt, again = (deck(kills, random.Random(7)) for _ in range(2))  # noqa: S311 - to be repeatable
    assert len(dealt) == kills
    assert set(dealt) == set(WEIGHTS)
    assert dealt == again


@pytest.mark.parametrize("module", [checker, evidence, figures, server_logs, records], ids=lambda one: one.__name__)
def test_the_checker_takes_nothing_from_what_it_checks(module: ModuleType) -> None:
    tree = ast.parse(Path(str(module.__file__)).read_text())
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert imported
    assert not {name for name in imported if name.split(".")[0] in ("lib", "local", "functions")}
    assert {name for name in imported if name.startswith("tests.") and not name.startswith("tests.faults")} == set()


def _descendants(pid: int) -> set[int]:
    """The processes below one, as far down as they go."""
    below = {int(child) for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()}
    return below.union(*(_descendants(child) for child in below))


def test_nothing_outlives_a_run_that_is_killed() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults", "--kills", "99", "--seed", "1", "--chats", "4", "--pause", "30"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    folder = Path(process.stdout.readline().split()[-1])
    try:
        deadline = time.monotonic() + 60
        while not (folder / "clients.jsonl").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline, "the chats never began"
            time.sleep(0.1)
        started = _descendants(process.pid)
        commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in started}
        assert {b"tests.faults.clients", b"local.gateway", b"local.supervisor"} <= {
            argument for command in commands.values() for argument in command.split(b"\0")
        }
        os.kill(process.pid, signal.SIGKILL)
        while any(processes.is_alive(pid) for pid in started):
            assert time.monotonic() < deadline, [commands[pid] for pid in started if processes.is_alive(pid)]
            time.sleep(0.1)
    finally:
        process.kill()
        process.wait()
        harness.remove(folder)
