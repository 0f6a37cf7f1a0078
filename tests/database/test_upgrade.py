"""A database that has been talked in takes the newest migrations, and what was said in it goes on."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from local import migrations
from tests.database.desk import WORKSPACE, Desk, with_token
from tests.servers import LEFT_OUT, Server

EARLIER = "20261121160900"
"""A state of the schema that has been in use: before workflows, takeovers, merges and statistics."""


@pytest.mark.parametrize("version", [15, 17, 18])
async def test_what_was_said_before_is_there_after_and_goes_on(
    server: Callable[[int], Server], version: int, tmp_path: Path
) -> None:
    for file in migrations.MIGRATIONS.glob("*.sql"):
        if file.name[:14] <= EARLIER:
            shutil.copy(file, tmp_path)
    one, left_out = server(version), LEFT_OUT[version]
    name = await one.bare()
    try:
        await migrations.apply(one.owner_url(name), folder=tmp_path, leave_out=left_out)
        await migrations.seed(one.owner_url(name))
        async with Desk(one.gate_url(name), one.admin_url(name)) as desk:
            ann = with_token(await desk.register("ann@example.test"))
            await desk.finish(await desk.start(ann, "First"), answer="An answer")
            failed = await desk.start(ann, "Second")
            await desk.finish(failed, status="failed", answer="Hal", error_code="persona_failed")
            # Before the day began, so that the statistics count its day.
            await desk.admin.execute("update public.sessions set created_at = created_at - interval '3 days'")
            under_way = await desk.start(ann, "Third")
            before = await desk.everything()

        later = await migrations.apply(one.owner_url(name), leave_out=left_out)
        assert min(later) > EARLIER
        assert await migrations.apply(one.owner_url(name), leave_out=left_out) == []

        async with Desk(one.gate_url(name), one.admin_url(name)) as desk:
            after = await desk.everything()
            assert {table: after[table] for table in before} == before, "what was there is there"
            assert (await desk.finish(under_way, answer="It went on"))["status"] == "completed"
            again = await desk.start(ann, "Fourth")
            assert again["session_id"] == under_way["session_id"]
            assert [said["text"] for said in again["history"]][-2:] == ["Third", "It went on"]
            session = await desk.admin.fetchrow(
                "select s.*, (select min(m.created_at) from public.messages m where m.session_id = s.id) as said"
                "  from public.sessions s where s.id = $1",
                again["session_id"],
            )
            assert session is not None
            assert session["first_message_at"] == session["said"]
            assert (session["turn_count"], session["message_count"]) == (4, 7)
            await desk.admin.execute("select private.count_past_sessions()")
            counted = await desk.admin.fetch(
                "select sessions, turns, failures from public.session_stats_periods"
                " where workspace_id = $1 and unit = 'day' and part = 0",
                WORKSPACE,
            )
            assert [(row["sessions"], row["turns"]) for row in counted] == [(1, 4)]
    finally:
        await one.drop(name)
