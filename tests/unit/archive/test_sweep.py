import time
from typing import Any

import pytest

from lib import errors
from lib.archive import sweep
from lib.archive.sweep import SweepReport
from tests.unit.sql_functions import SqlFunctions, raised


async def test_batches_are_archived_until_none_is_left(sql: SqlFunctions) -> None:
    left = [sweep.BATCH, sweep.BATCH, 7]

    def mark(arguments: dict[str, Any]) -> dict[str, Any]:
        assert arguments == {"max_sessions": sweep.BATCH}
        archived = left.pop(0)
        return {"archived": archived, "workspaces": 1, "remaining": archived == sweep.BATCH}

    sql.functions["archive_old_chat_sessions"] = mark
    assert await sweep.run(budget_seconds=5) == SweepReport(archived=2 * sweep.BATCH + 7, remaining=False)


async def test_a_run_ends_with_its_time(sql: SqlFunctions) -> None:
    def mark(_: dict[str, Any]) -> dict[str, Any]:
        time.sleep(0.03)
        return {"archived": sweep.BATCH, "workspaces": 1, "remaining": True}

    sql.functions["archive_old_chat_sessions"] = mark
    report = await sweep.run(budget_seconds=0.05)
    assert report.remaining
    assert 0 < report.archived <= 3 * sweep.BATCH


async def test_a_database_that_is_away_is_said_so(sql: SqlFunctions) -> None:
    sql.functions["archive_old_chat_sessions"] = lambda _: raised("57P01", "no")
    with pytest.raises(errors.BackendUnavailable):
        await sweep.run(budget_seconds=1)
