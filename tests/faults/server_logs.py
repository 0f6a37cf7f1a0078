"""What the parts themselves wrote: only what a kill explains may stand there."""

import json
import re
from collections import Counter
from datetime import datetime
from pathlib import Path

_LINE = re.compile(r"^\S+ \S+ \w+ \[\d+\] (?P<level>[A-Z0-9]+): +(?P<text>.*)")

# A server that is killed says so, in these words; so do clients that lose it and whoever comes while it recovers.
_EXPECTED = re.compile(
    r"the database system is (starting up|in recovery mode|not yet accepting connections|shutting down)"
    r"|terminating connection because of crash of another server process"
    r"|terminating connection due to administrator command"
    r"|connection to client lost"
    r"|terminating connection due to unexpected postmaster exit"
    r"|terminating (background worker|walreceiver|logical replication worker|autovacuum)"
    r"|PT\d{3}"
    # A call that waits too long, such as behind a restart, is cancelled by its caller, who logs that.
    r"|canceling statement due to user request"
)

GIVEN_UP = "finish_failed"
"""The functions' own word for an outage that was longer than their patience: the sweep ends such a turn."""


def of_postgres(log: Path) -> tuple[Counter[str], list[str]]:
    """How often each level was said, and the lines that no kill explains."""
    levels: Counter[str] = Counter()
    strange: list[str] = []
    for line in log.read_text(errors="replace").splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        levels[found["level"]] += 1
        if found["level"] in ("WARNING", "ERROR", "FATAL", "PANIC") and not _EXPECTED.search(found["text"]):
            strange.append(f"{found['level']}: {found['text']}")
    return levels, strange


def of_functions(log: Path) -> tuple[Counter[str], list[str], list[float]]:
    """How often each event above INFO was logged, the lines that no kill explains, and when an answer was given up."""
    logged: Counter[str] = Counter()
    strange: list[str] = []
    given_up: list[float] = []
    for line in filter(str.strip, log.read_text(errors="replace").splitlines()):
        try:
            document = json.loads(line)
            severity, event = document["severity"], document.get("event")
        except (ValueError, TypeError, KeyError):
            strange.append(line[:300])
            continue
        if severity != "INFO":
            logged[event] += 1
        if event == GIVEN_UP:
            given_up.append(datetime.fromisoformat(document["time"]).timestamp())
        elif severity == "ERROR":
            strange.append(line[:2000])
    return logged, strange, given_up
