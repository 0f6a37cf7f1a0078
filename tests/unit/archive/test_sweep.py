from types import SimpleNamespace
from typing import Any

import pytest

from lib.archive import sweep
from lib.archive.sweep import ArchiveReport, ArchiveRequest
from lib.auth import callers
from tests.unit.sql_functions import SqlFunctions


@pytest.mark.parametrize(
    ("budget", "archived", "remaining"), [(100, 2 * sweep.BATCH + 7, False), (1.5, 2 * sweep.BATCH, True)]
)
async def test_batches_are_archived_until_none_is_left_or_the_time_is_over(
    sql: SqlFunctions, monkeypatch: pytest.MonkeyPatch, budget: float, archived: int, remaining: bool
) -> None:
    left, now = [sweep.BATCH, sweep.BATCH, 7], 0

    def mark(arguments: dict[str, Any]) -> dict[str, Any]:
        nonlocal now
        now += 1
        assert arguments == {"max_sessions": sweep.BATCH}
        count = left.pop(0)
        return {"archived": count, "workspaces": 1, "remaining": bool(left)}

    monkeypatch.setattr(sweep, "time", SimpleNamespace(monotonic=lambda: now))
    sql.functions |= {"archive_old_chat_sessions": mark, "wake_archive": lambda _: {"woken": True}}
    report = await sweep.run(callers.System(), ArchiveRequest(), budget_seconds=budget)
    # Without a store they are only marked.
    marked = ArchiveReport(archived=archived, stored=0, rows=0, objects=0, deleted=0, remaining=remaining)
    assert (report, sql.names().count("wake_archive")) == (marked, remaining)
