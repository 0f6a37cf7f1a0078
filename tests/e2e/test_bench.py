"""Each command of the bench, for a moment: it runs, and its one table shows what it measured."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from bench.cost import Round, rows
from bench.dashboard import VIEWS
from bench.growth import READS, WRITES
from bench.live import MODES
from bench.partitions import OPERATIONS
from bench.replay import DIALOGUES, OWN, lines
from bench.rounds import interleaved, percentile
from local.paths import REPOSITORY
from local.stack import Stack


async def bench(*arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A command of the bench that has ended."""
    command = [sys.executable, "-m", "bench", *arguments]
    return await asyncio.to_thread(
        subprocess.run,
        command,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, **(env or {})},
        timeout=170,
    )


def table_of(done: subprocess.CompletedProcess[str]) -> list[list[str]]:
    """The rows of the one table that a command prints, without its head."""
    assert done.returncode == 0, done.stderr
    caption, blank, *table = done.stdout.splitlines()
    assert caption.startswith("`python -m bench ")
    assert blank == ""
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table]
    assert {len(row) for row in cells} == {len(cells[0])}
    return cells[2:]


async def test_cost_shows_ours_beside_the_floor() -> None:
    names = ["--only", "floor", "--only", "switchboard"]
    floor, ours = table_of(await bench("cost", "--seconds", "0.3", "--rounds", "1", "--concurrency", "2", *names))
    assert [floor[:2], ours[:2]] == [["2", "floor"], ["2", "switchboard"]]
    rates = [int(row[2].split()[0]) for row in (floor, ours)]
    assert floor[3] == "1.00 (1.00 to 1.00)"
    assert float(ours[3].split()[0]) == pytest.approx(rates[1] / rates[0], abs=0.1)
    for row in (floor, ours):
        assert min(float(cost) for cost in row[-2:]) > 0, "a server and Postgres use CPU for every turn"


async def test_memory_shows_what_it_adds_to_a_turn() -> None:
    short = ["--seconds", "0.3", "--rounds", "1", "--concurrency", "1", "--memories", "5", "--embeddings", "none"]
    off, on = table_of(await bench("memory", *short))
    assert [off[:2], on[:2]] == [["1", "off"], ["1", "on"]]
    assert (float(off[-1]), off[5], on[5] != "") == (0, "", True)
    assert float(on[-1]) > 1, "turns recall"


def test_a_ratio_is_to_the_floor_of_the_same_round() -> None:
    def played(*rates: float) -> list[Round]:
        return [Round(rate, [0.0105] * 4, [0.004] * 4, 0.002, 0.001) for rate in rates]

    floor, ours = rows({(8, "floor"): played(100, 400), (8, "switchboard"): played(50, 100)})
    assert ours == ["8", "switchboard", "75 (50 to 100)", "0.38 (0.25 to 0.50)", "", "6.50", "6.50", "2.00", "1.00"]
    assert floor[3] == "1.00 (1.00 to 1.00)"


def test_cases_take_turns_and_the_first_round_does_not_count() -> None:
    assert [case for counts, case in interleaved("abc", 3) if counts] == [*"bca", *"cab", *"abc"]
    assert percentile([number / 1000 for number in range(1, 101)], 95) == pytest.approx(0.09505)


async def test_cold_start_starts_functions_beside_the_baseline() -> None:
    names = ["--only", "chat", "--only", "conversations", "--only", "webhooks"]
    baseline, *started = table_of(await bench("cold-start", "--rounds", "1", *names))
    assert baseline[0] == "baseline"
    assert baseline[3:] == ["+0", "+0"]
    assert [row[0] for row in started] == [
        "chat",
        "conversations",
        "webhooks",
        "chat",
        "chat",
        "conversations",
        "webhooks",
    ]
    assert all(int(row[2].split()[0]) > 50 for row in started), "no Python process starts in less than that"


async def test_growth_measures_every_operation_at_every_size() -> None:
    sizes = ["--messages", "400", "--messages", "4000", "--a-day", "400"]
    found = {row[0]: row[1:] for row in table_of(await bench("growth", *sizes, "--samples", "1", "--warm-up", "1"))}
    assert list(found) == [*READS, *WRITES]
    buffers = {name: [int(cell.replace(",", "")) for cell in row[5:7]] for name, row in found.items()}
    assert min(map(min, buffers.values())) > 0
    assert min(float(cell) for row in found.values() for cell in row[:4]) > 0
    # A turn writes a message, a turn, a session and limits; resolving reads one contact.
    assert buffers["turn of a known contact"][0] > buffers["contact resolved"][0]
    # Ten times the days are in no look-up: at most one more level of an index. Its connection has its plan by then.
    assert buffers["contact resolved"][1] < 2 * buffers["contact resolved"][0]


async def test_dashboard_opens_views_and_scrolls_a_list() -> None:
    # The names of several views, and of one that is scrolled, contain this.
    asked = ["--sessions", "2000", "--samples", "1", "--scrolled", "400", "--only", "contacts"]
    found = {row[0]: row[1:] for row in table_of(await bench("dashboard", *asked))}
    *views, scrolled = found
    assert views == [name for name in VIEWS if "contacts" in name]
    assert scrolled == "contacts, scrolled to row 400"
    for cold, warm, cpu, requests, slowest in (found[name] for name in views):
        assert min(float(cell.split()[0]) for cell in (cold, warm, cpu)) > 0
        # The member's workspaces and their members, two pages of spaces to choose from, and the contacts.
        assert (requests, slowest[0]) == ("5", "/")


async def test_partitions_measures_the_same_calls_in_both_databases() -> None:
    found = {row[0]: row[1:] for row in table_of(await bench("partitions", "--messages", "400", "--samples", "1"))}
    buffers = {name: [int(cell) for cell in found[f"{name}, buffers"][:2]] for name in OPERATIONS if name != "nothing"}
    assert min(map(min, buffers.values())) > 0
    # An id says nothing of the month, so each of 25 is asked.
    by_id = buffers["a message by its id"]
    assert by_id[1] > by_id[0] + 20


async def test_live_measures_both_modes_and_loses_nothing() -> None:
    measured = table_of(await bench("live", "--streams", "2", "--messages", "5", "--idle", "1"))
    for row, mode in zip(measured, MODES, strict=True):
        assert (row[:2], row[5:7]) == ([mode, "2"], ["5", "0"])
        assert float(row[2]) <= float(row[3]) <= float(row[4])


async def test_replay_registers_every_speaker_and_answers_every_line(stack: Stack) -> None:
    dialogues = DIALOGUES.validate_json(OWN.read_bytes())
    said, speakers = sum(len(lines(one)) for one in dialogues), sum(len(one.speakers) for one in dialogues)
    done = await bench("replay", env=stack.env)
    assert table_of(done)[0][:6] == ["4", str(speakers), str(speakers), str(said), str(2 * said), "0"]
    assert f"{said}/{said}" in done.stderr, "there is no progress bar"
    again = await bench("replay", "--limit", "1", env=stack.env)
    assert table_of(again)[0][1] == "0", "the same speakers are the same contacts"


async def test_jobs_loses_repeats_and_reorders_nothing_while_workers_are_killed() -> None:
    plan = ["--events", "400", "--conversations", "20", "--workers", "3", "--kill-seconds", "0.5"]
    (row,) = table_of(await bench("jobs", *plan, "--lease-seconds", "2"))
    assert row[:2] == ["400", "520"]
    assert row[4:9] == ["400", "0", "0", "0", "0"]
    assert int(row[2]) > 0, "no worker was killed"


async def test_replay_refuses_a_file_of_something_else(stack: Stack, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps([{"sample_id": "x"}]))
    done = await bench("replay", str(other), env=stack.env)
    assert done.returncode == 1
    assert "is not a file of dialogues" in done.stderr


async def test_recall_finds_the_evidence_of_questions_beside_other_methods(tmp_path: Path) -> None:
    said = ["Which animal is it?", "A capybara, from the zoo in Basel.", "And what does it eat?", "Pumpkins, mostly."]
    turns = [
        {"speaker": ("Ana", "Bo")[number % 2], "dia_id": f"D1:{number}", "text": text}
        for number, text in enumerate(said)
    ]
    questions = [
        {"question": "Which animal did Bo see in the zoo?", "evidence": ["D1:1"], "category": 4},
        {"question": "Which vegetable does it like?", "evidence": ["D1:3; D1:2", "D9:9"], "category": 1},
    ]
    sessions = [{"date_time": "1:56 pm on 8 May, 2023", "turns": turns}]
    dialogue = {"sample_id": "one", "speakers": ["Ana", "Bo"], "sessions": sessions, "questions": questions}
    file = tmp_path / "dialogues.json"
    file.write_text(json.dumps([dialogue]))
    found = {row[0]: row[1:] for row in table_of(await bench("recall", "--data", str(file)))}
    assert found["recall"] == ["100.0 / 100.0 / 100.0"] * 3
    assert found["Postgres, all words"][0] == "0.0 / 0.0 / 0.0"
    assert found["BM25"][1] == found["MiniLM"][1] == "100.0 / 100.0 / 100.0"
