"""A database that has been talked in takes the newest migrations, and what was said in it goes on."""

import shutil
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from local import migrations
from tests.database.desk import WORKSPACE, Desk, with_token
from tests.database.test_sessions_states import member
from tests.database.test_statistics import check, count_past
from tests.servers import LEFT_OUT, Server

EARLIER = "20261121160900"
"""A state of the schema that has been in use: before workflows, takeovers, merges and statistics."""


KEPT_BY_THE_DAY = "20261121235500"
"""A later one, in which statistics were kept by the day alone."""


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


@pytest.mark.parametrize("version", [15, 17, 18])
async def test_days_that_were_kept_and_marked_before_are_told_as_they_stand(
    server: Callable[[int], Server], version: int, tmp_path: Path
) -> None:
    for file in migrations.MIGRATIONS.glob("*.sql"):
        if file.name[:14] <= KEPT_BY_THE_DAY:
            shutil.copy(file, tmp_path)
    one, left_out = server(version), LEFT_OUT[version]
    name = await one.bare()
    try:
        await migrations.apply(one.owner_url(name), folder=tmp_path, leave_out=left_out)
        await migrations.seed(one.owner_url(name))
        async with Desk(one.gate_url(name), one.admin_url(name)) as desk:
            owner = await member(desk, "owner")
            sessions = []
            # The last one's day was not over.
            for number, age in enumerate(("70 days", "65 days", "4 days", "28 hours", "5 hours", "0 hours")):
                ann = with_token(await desk.register(f"{number}@example.test"))
                turn = await desk.start(ann)
                await desk.finish(turn, first_token_ms=7 + number)
                sessions.append(turn["session_id"])
                for table, one_id in (("sessions", sessions[-1]), ("contacts", ann["caller"]["contact_id"])):
                    await desk.admin.execute(
                        f"update public.{table} set created_at = created_at - $2::text::interval where id = $1",
                        one_id,
                        age,
                    )
            assert await desk.admin.fetchval("select private.count_past_sessions()") > 60
            before = await check(desk, owner)
            # Changed and marked, and not counted again.
            for session in (sessions[0], sessions[2]):
                await desk.admin.execute(
                    "update public.sessions set metadata = '{}', turn_count = 9 where id = $1", session
                )
            await desk.admin.execute("delete from public.turns where session_id = $1", sessions[2])

        await migrations.apply(one.owner_url(name), leave_out=left_out)
        async with Desk(one.gate_url(name), one.admin_url(name)) as desk:
            after = await check(desk, owner)
            assert (before["turns"]["total"], after["turns"]["total"]) == (6, 5)
            await desk.admin.execute("update public.sessions set turn_count = 0 where id = $1", sessions[1])
            after = await check(desk, owner)
            await count_past(desk)
            assert await check(desk, owner) == after
            units = await desk.admin.fetch("select distinct unit from public.session_stats_periods")
            # Hours are kept of the day that is not over; early in it, none of its own is.
            assert {row["unit"] for row in units} | {"hour"} == {"hour", "day", "month"}
            # As if all of it were counted for the first time.
            kept = await figures(desk)
            await desk.admin.execute("truncate public.session_stats_periods, private.session_stats_progress")
            await count_past(desk)
            assert await figures(desk) == kept
    finally:
        await one.drop(name)


async def figures(desk: Desk) -> list[asyncpg.Record]:
    """What is kept of days that are long over and of months, in an order."""
    return await desk.admin.fetch("""
        select (to_jsonb(k) - array['response_buckets', 'response_counts', 'first_token_buckets',
                                   'first_token_counts'])::text,
               array(select b from unnest(response_buckets, response_counts) b order by b)::text,
               array(select b from unnest(first_token_buckets, first_token_counts) b order by b)::text
          from public.session_stats_periods k
         where unit = 'month' and starts_at < now() - interval '40 days'
            or unit = 'day' and starts_at < now() - interval '3 days'
         order by workspace_id, unit, starts_at, part
    """)
