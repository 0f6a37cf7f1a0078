"""What of the statistics is kept, what becomes of it when something changes, and who is told what."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.database.desk import JSON, SPACE, WORKSPACE, Desk, Raised, member, with_token
from tests.database.test_sessions_states import change
from tests.database.test_statistics import OTHER_SPACE, add_places, ask, check, count_past, keep

AGES = {"hour": timedelta(hours=5), "day": timedelta(days=4), "month": timedelta(days=70)}
"""How long ago sessions were made of which the hour, the day and the month is kept, each besides the smaller ones."""

CHANGES = {
    "a session ends": "update public.sessions set status = 'completed', ended_at = now()",
    "a step": "update public.sessions set workflow = 'charter', workflow_step = 'searching_aircraft'",
    "a session goes": "delete from public.sessions",
    "a contact goes": "delete from public.contacts",
    "a contact is linked": "update public.contacts set session_id = (select min(id::text)::uuid from public.sessions)",
    "a contact was there": "insert into public.contacts (workspace_id, created_at)"
    f" values ('{WORKSPACE}', now() - $1::interval)",
    "another space": f"update public.conversations set space_id = '{OTHER_SPACE}'",
    "no space": "update public.conversations set space_id = null",
    "another channel": "update public.conversations set channel = 'telegram'",
    "a session was there": "insert into public.sessions (workspace_id, conversation_id, contact_id, persona_id, status,"
    " created_at, ended_at) select workspace_id, id, contact_id, persona_id, 'failed', now() - $1::interval, now()"
    " from public.conversations",
}


async def old_session(desk: Desk, age: timedelta = AGES["day"]) -> tuple[JSON, str]:
    """A session of a contact, both made so long ago, and the contact's token."""
    token = with_token(await desk.register(f"{uuid4()}@example.test"))
    turn = await desk.start(token)
    await desk.finish(turn)
    await desk.admin.execute(
        "update public.sessions set created_at = now() - $2::interval where id = $1", UUID(turn["session_id"]), age
    )
    await desk.admin.execute(
        "update public.contacts set created_at = now() - $2::interval where id = $1",
        UUID(token["caller"]["contact_id"]),
        age,
    )
    return token, turn["session_id"]


async def marks(desk: Desk) -> int:
    found: int = await desk.admin.fetchval("select count(*) from private.session_stats_marks")
    return found


async def units(desk: Desk) -> set[str]:
    """Of which units something with a session in it is kept."""
    rows = await desk.admin.fetch("select distinct unit from public.session_stats_periods where sessions > 0")
    return {row["unit"] for row in rows}


@pytest.mark.parametrize("age", AGES)
@pytest.mark.parametrize("what", CHANGES)
async def test_a_change_of_what_is_kept_is_told_at_once(desk: Desk, what: str, age: str) -> None:
    owner = await member(desk, "owner")
    await add_places(desk)
    await old_session(desk, AGES[age])
    if what == "a contact is linked":
        await desk.admin.execute("update public.contacts set session_id = null")
    await count_past(desk)
    assert age in await units(desk)
    assert await marks(desk) == 0
    narrow: tuple[JSON, ...] = ({}, {"space_id": SPACE}, {"space_id": OTHER_SPACE}, {"channel": "web"})
    before = [await check(desk, owner, filters) for filters in narrow]
    await desk.admin.execute(CHANGES[what], *([AGES[age]] if "$1" in CHANGES[what] else []))
    after = [await check(desk, owner, filters) for filters in narrow]
    assert after != before
    assert await marks(desk) > 0
    assert await count_past(desk) > 0
    assert await marks(desk) == 0
    assert [await check(desk, owner, filters) for filters in narrow] == after


@pytest.mark.parametrize("age", ["hour", "day"])
@pytest.mark.parametrize("end", ["completed", "failed", "silent", "cancelled", "lost"])
async def test_a_late_turn_counts_for_the_day_of_its_session(desk: Desk, end: str, age: str) -> None:
    owner = await member(desk, "owner")
    token, session = await old_session(desk, AGES[age])
    await count_past(desk)
    turn = await desk.start(token)
    assert turn["session_id"] == session
    assert (await check(desk, owner))["turns"]["by_status"] == {"completed": 1, "active": 1}
    await count_past(desk)
    if end == "lost":
        await desk.let_lease_run_out(turn)
        await desk.expire()
    elif end == "silent":
        await desk.finish(turn, "failed", None, error_code="persona_failed")
    else:
        await desk.finish(turn, end, "Hi", error_code="persona_failed" if end == "failed" else None)
    told = await check(desk, owner)
    assert told["turns"]["by_status"].get("active", 0) == 0
    assert [day["turns"] for day in told["by_day"]] == [2]
    await count_past(desk)
    assert await check(desk, owner) == told


@pytest.mark.parametrize("age", [timedelta(0), timedelta(minutes=28)])
async def test_an_ordinary_turn_leaves_no_mark(desk: Desk, age: timedelta) -> None:
    """Nor does one in a session that was made in the hour before."""
    token, session = await old_session(desk, age)
    await desk.admin.execute("delete from private.session_stats_marks")
    turn = await desk.start(token)
    assert turn["session_id"] == session
    await desk.flush(turn, 0, "Hi")
    await desk.finish(turn)
    await change(desk, await member(desk, "owner"), turn["session_id"], "complete")
    assert await marks(desk) == 0


async def test_what_a_session_comes_to_is_felt_in_the_contacts_later_ones(desk: Desk) -> None:
    owner = await member(desk, "owner")
    token, first = await old_session(desk, AGES["month"])
    await change(desk, owner, first, "complete")
    second = await desk.start(token)
    await desk.finish(second)
    assert second["session_id"] != first
    await desk.admin.execute(
        "update public.sessions set created_at = now() - $2::interval where id = $1",
        UUID(second["session_id"]),
        AGES["hour"],
    )
    await count_past(desk)
    before = await check(desk, owner)
    today = datetime.now(UTC) - AGES["hour"]
    assert [(day["day"], day["chatted"]) for day in before["by_day"]][1] == (today.date().isoformat(), 0)
    # The one in which they chatted first is gone, so they first did in the other.
    await desk.admin.execute("delete from public.sessions where id = $1", UUID(first))
    assert (await check(desk, owner))["by_day"][-1]["chatted"] == 1
    await count_past(desk)
    assert (await check(desk, owner))["by_day"][-1]["chatted"] == 1


@pytest.mark.parametrize("age", AGES)
async def test_what_is_kept_is_told_as_it_was_counted(desk: Desk, age: str) -> None:
    owner = await member(desk, "owner")
    await old_session(desk, AGES[age])
    await count_past(desk)
    before = await check(desk, owner)
    # Without triggers, so that nobody knows.
    await desk.admin.execute("set session_replication_role = replica; delete from public.turns; reset all")
    assert await ask(desk, owner) == before
    with pytest.raises(AssertionError):
        await check(desk, owner)


@pytest.mark.parametrize("age", AGES)
async def test_the_largest_kept_periods_answer(desk: Desk, age: str) -> None:
    owner = await member(desk, "owner")
    await old_session(desk, AGES[age])
    await count_past(desk)
    await desk.admin.execute("update public.session_stats_periods set turns = 1000 where unit = $1 and part = 0", age)
    day = (datetime.now(UTC) - AGES[age]).date().isoformat()
    if age == "month":
        assert (await ask(desk, owner))["turns"]["total"] == 1000
        # It is no answer for a day of it.
        assert (await ask(desk, owner, {"from": day, "to": day}))["turns"]["total"] == 1
    else:
        assert (await ask(desk, owner, {"from": day}))["turns"]["total"] == 1000
        assert (await ask(desk, owner, {"from": day, "to": day}))["turns"]["total"] == 1000


async def test_figures_stand_while_time_goes_on(desk: Desk) -> None:
    owner = await member(desk, "owner")
    ages = [timedelta(hours=hours) for hours in range(2, 122, 12)] + [AGES["month"]]
    sessions = [(await old_session(desk, age))[1] for age in ages]
    for hours in range(110, -1, -1):
        await keep(desk, hours)
        if hours % 4:
            continue
        said = await check(desk, owner)
        assert said["sessions"]["total"] == len(sessions)
        await desk.admin.execute(
            "update public.sessions set workflow = 'charter', workflow_step = $2 where id = $1",
            UUID(sessions[hours // 4 % len(sessions)]),
            f"step {hours % 3}",
        )
        await check(desk, owner)
        await check(desk, owner, {"from": (datetime.now(UTC).date() - timedelta(days=2)).isoformat()})
    # An hour is kept until its day is.
    assert await units(desk) == {"hour", "day", "month"}
    assert await desk.admin.fetchval(
        "select count(*) from public.session_stats_periods k join private.session_stats_progress p using (workspace_id)"
        " where k.unit = 'hour' and k.starts_at < p.days_until"
    ) == 0  # fmt: skip


async def test_hours_days_and_months_are_kept_once_they_are_over_and_marked_by_what_goes_on(desk: Desk) -> None:
    owner = await member(desk, "owner")
    await old_session(desk, AGES["month"])
    token, _ = await old_session(desk, AGES["hour"])
    await count_past(desk)
    kept = await desk.admin.fetchrow("select * from private.session_stats_progress where workspace_id = $1", WORKSPACE)
    assert kept is not None
    hour = (datetime.now(UTC) - timedelta(hours=1)).replace(minute=0, second=0, microsecond=0)
    day = (datetime.now(UTC) - timedelta(hours=25)).replace(hour=0, minute=0, second=0, microsecond=0)
    assert (kept["hours_until"], kept["days_until"], kept["months_until"]) == (hour, day, day.replace(day=1))
    for unit, column in (("hour", "hours_until"), ("day", "days_until"), ("month", "months_until")):
        newest = await desk.admin.fetchval(
            "select max(starts_at) from public.session_stats_periods where unit = $1", unit
        )
        assert newest < kept[column]
    before = await check(desk, owner)
    assert await marks(desk) == 0
    await desk.finish(await desk.start(token))
    assert await marks(desk) > 0
    after = await check(desk, owner)
    assert after["turns"]["total"] == before["turns"]["total"] + 1


async def test_whoever_began_half_an_hour_before_an_hour_was_kept_has_left_a_mark(desk: Desk) -> None:
    owner = await member(desk, "owner")
    sessions = [(await old_session(desk, timedelta(minutes=minutes)))[1] for minutes in range(1, 160, 6)]
    await count_past(desk)
    for number, session in enumerate(sessions):
        other = await asyncpg.connect(desk.admin_url)
        try:
            async with other.transaction():
                await other.execute("update public.sessions set error_message = 'late' where id = $1", UUID(session))
                await other.execute(
                    "insert into public.turns (workspace_id, conversation_id, session_id, status, deadline,"
                    " lease_until, finished_at) select workspace_id, conversation_id, id, 'failed', now(), now(), now()"
                    " from public.sessions where id = $1",
                    UUID(session),
                )
                if number % 5 == 0:
                    # In half an hour, and whoever is here is not at their end by then.
                    await keep(desk, -0.49)
        finally:
            await other.close()
        await check(desk, owner)
    assert await marks(desk) > 0


@pytest.mark.parametrize("age", AGES)
async def test_what_changes_while_it_is_counted_is_counted_again(desk: Desk, age: str) -> None:
    owner = await member(desk, "owner")
    await old_session(desk, AGES[age])
    await count_past(desk)
    other = await asyncpg.connect(desk.admin_url)
    try:
        async with other.transaction():
            await other.execute("update public.sessions set status = 'completed', ended_at = now()")
            # A first mark brings the count about, and the change is not in it.
            await desk.admin.execute("update public.contacts set session_id = null")
            assert await count_past(desk) > 0
            assert await marks(desk) == 0
        assert await marks(desk) == 1
        assert (await check(desk, owner))["sessions"]["by_status"] == {"completed": 1}
        assert await count_past(desk) > 0
        assert await marks(desk) == 0
        assert (await check(desk, owner))["sessions"]["by_status"] == {"completed": 1}
    finally:
        await other.close()


@pytest.mark.parametrize("age", AGES)
async def test_nobody_waits_for_a_mark_and_only_one_counts(desk: Desk, age: str) -> None:
    sessions = [UUID((await old_session(desk, AGES[age]))[1]) for _ in range(2)]
    await count_past(desk)
    others = [await asyncpg.connect(desk.admin_url) for _ in range(2)]
    try:
        for other, session in zip(others, sessions, strict=True):
            await other.execute("begin; set local lock_timeout = '1s'")
            await other.execute("update public.sessions set error_message = 'late' where id = $1", session)
        # Counting waits for nobody either, and keeps nobody waiting.
        await others[0].execute("commit; begin")
        assert await others[0].fetchval("select private.count_past_sessions()") > 0
        assert await count_past(desk) == 0
    finally:
        for other in others:
            await other.close()


async def test_whoever_asks_is_told_of_their_own_and_nothing_else(desk: Desk) -> None:
    boss, agent = await member(desk, "admin"), await member(desk, "agent")
    stranger = {"kind": "user", "user_id": await desk.sign_up(None)}
    workspace, _ = await desk.open_workspace()
    elsewhere = await member(desk, "owner", workspace)
    sessions = [(await old_session(desk))[1] for _ in range(3)]
    await count_past(desk)
    await desk.admin.execute(
        "update public.sessions set assigned_user_id = $1 where id = $2", UUID(agent["user_id"]), UUID(sessions[0])
    )
    for caller, named, scope, total in (
        (boss, WORKSPACE, "workspace", 3),
        (boss, None, "workspace", 3),
        (agent, WORKSPACE, "own", 1),
        (agent, None, "own", 1),
        (stranger, None, "own", 0),
        (stranger, WORKSPACE, "own", 0),
        (elsewhere, WORKSPACE, "own", 0),
        (elsewhere, None, "workspace", 0),
        (boss, workspace, "own", 0),
    ):
        told = await ask(desk, caller, workspace=named)
        assert (told["scope"], told["sessions"]["total"], told["active_now"]) == (scope, total, total)
        assert told["funnel"]["registered"] == total
        assert told["turns"]["total"] == total
        assert sum(item["sessions"] for item in told["by_persona"]) == total
    names = [item["name"] for item in (await ask(desk, boss))["by_persona"] + (await ask(desk, boss))["by_space"]]
    assert all(names)
    await desk.admin.execute(
        "insert into public.workspace_members (workspace_id, user_id, role) values ($1, $2, 'agent')",
        UUID(workspace),
        UUID(boss["user_id"]),
    )
    with pytest.raises(Raised) as refused:
        await ask(desk, boss, workspace=None)
    assert (refused.value.status, refused.value.code) == (422, "workspace_required")
    assert (await ask(desk, boss))["sessions"]["total"] == 3


async def test_an_agent_learns_nothing_of_a_contacts_other_sessions(desk: Desk) -> None:
    agent = await member(desk, "agent")
    first = await desk.start(with_token(await desk.register("ann@example.test")))
    await desk.finish(first)
    second = await desk.start(with_token(await desk.register("ann@example.test")))
    await desk.finish(second)
    assert first["contact_id"] == second["contact_id"]
    await desk.admin.execute(
        "update public.sessions set assigned_user_id = $1 where id = $2",
        UUID(agent["user_id"]),
        UUID(second["session_id"]),
    )
    # As if there were no earlier one.
    told = await check(desk, agent, whole=False)
    assert told["funnel"] == {"registered": 1, "chatted": 1, "answered": 1, "proposal": 0}


async def test_a_workspace_that_goes_takes_its_figures_along(desk: Desk) -> None:
    await old_session(desk)
    await count_past(desk)
    await desk.admin.execute("delete from public.workspaces where id = $1", UUID(WORKSPACE))
    await count_past(desk)
    assert await desk.count("session_stats_periods") == 0
    assert await marks(desk) == 0
