"""Idle sessions time out after the hours of their workspace, also while contacts write.

The timeout beside every other change of a session is test_sessions_lifecycle's.
"""

import asyncio
import random
from typing import Any

import asyncpg
import pytest

from tests.database.desk import SPACE, SYSTEM, WORKSPACE, Answer, Desk, managing, refusal


async def sweep(desk: Desk, default_hours: int = 24, interval_hours: int = 6, max_sessions: int = 500) -> Answer:
    arguments = {"default_hours": default_hours, "interval_hours": interval_hours, "max_sessions": max_sessions}
    return await desk.call("expire_idle_sessions", SYSTEM, **arguments)


async def idle(desk: Desk, hours: float, where: str = "true", *values: Any) -> None:
    """Set the last activity of sessions this many hours back."""
    past = f"clock_timestamp() - make_interval(mins => {int(hours * 60)})"
    await desk.admin.execute(f"update public.sessions set last_activity_at = {past} where {where}", *values)


async def status(desk: Desk, arrived: Answer) -> Any:
    return (await desk.row("sessions", arrived["session_id"]))["status"]


@pytest.mark.parametrize("before", ["active", "paused"])
async def test_a_session_without_a_message_for_a_day_times_out(desk: Desk, before: str) -> None:
    ann, bob = await desk.register("ann@example.test"), await desk.register("bob@example.test")
    await desk.admin.execute("update public.sessions set status = $1, error_message = 'persona_failed'", before)
    await idle(desk, 24.1, "id = $1", ann["session_id"])
    await idle(desk, 23.9, "id = $1", bob["session_id"])

    assert (await sweep(desk)).body == {"timed_out": 1, "remaining": False}

    row = await desk.row("sessions", ann["session_id"])
    assert (row["status"], row["ended_at"] is not None, row["error_message"]) == ("timeout", True, None)
    assert await desk.audited(ann["session_id"]) == [("session.timeout", None)]
    assert await status(desk, bob) == before


@pytest.mark.parametrize(
    ("hours", "default", "times_out"),
    [(None, 24, True), (None, 48, False), (None, 0, False), (48, 24, False), (1, 0, True), (0, 24, False)],
)
async def test_the_hours_of_a_workspace_override_the_default_and_zero_disables_the_timeout(
    desk: Desk, hours: int | None, default: int, times_out: bool
) -> None:
    ann = await desk.register("ann@example.test")
    await idle(desk, 30)
    await desk.admin.execute("update public.workspaces set session_timeout_hours = $1", hours)
    assert (await sweep(desk, default))["timed_out"] == int(times_out)
    assert await status(desk, ann) == ("timeout" if times_out else "active")


async def test_a_call_sweeps_all_workspaces_up_to_its_limit(desk: Desk) -> None:
    _, space = await desk.open_workspace()
    for number in range(5):
        await desk.register(f"a{number}@example.test", space=space if number % 2 else SPACE)
    await idle(desk, 30)
    counts = [(await sweep(desk, max_sessions=2)).body for _ in range(4)]
    assert [each["timed_out"] for each in counts] == [2, 2, 1, 0]
    assert [each["remaining"] for each in counts] == [True, True, False, False]
    assert await desk.count("sessions", "status = 'timeout'") == 5


async def test_a_sweep_is_due_again_when_its_interval_has_passed(desk: Desk) -> None:
    await desk.register("ann@example.test")
    assert (await sweep(desk)).body == {"timed_out": 0, "remaining": False}
    await idle(desk, 30)
    assert (await sweep(desk))["timed_out"] == 0
    # The schedule may start a little early, so a sweep is due shortly before the six hours are over.
    await desk.admin.execute("update private.sweeps set swept_at = clock_timestamp() - interval '5 hours 59 minutes'")
    assert (await sweep(desk))["timed_out"] == 1


async def test_only_an_incoming_message_resets_the_clock(desk: Desk) -> None:
    boss, ann = await desk.member("owner"), await desk.arrive()
    turn = await desk.start(ann)
    await idle(desk, 30)
    last_activity = "select last_activity_at from public.sessions"
    before = await desk.one(last_activity)
    await desk.flush(turn, 0, "Hi")
    await desk.finish(turn)
    await desk.change(boss, turn["session_id"], "pause")
    await desk.change(boss, turn["session_id"], "resume")
    await desk.start_session({**ann, "scope": {"workspace_id": WORKSPACE}})
    assert await desk.one(last_activity) == before
    await desk.finish(await desk.start(ann))
    assert await desk.one(last_activity) > before
    assert (await sweep(desk))["timed_out"] == 0


async def test_an_admin_times_out_the_idle_sessions_of_their_workspace_at_any_age(desk: Desk) -> None:
    admin, (_, space) = await desk.member("admin"), await desk.open_workspace()
    ann, bob = await desk.register("ann@example.test"), await desk.register("bob@example.test", space=space)
    await idle(desk, 3)
    await sweep(desk)

    async def clean_up(hours: int | None) -> Answer:
        return await desk.call("clean_up_sessions", managing(admin), max_age_hours=hours)

    assert (await refusal(clean_up(0)))[1] == "invalid_body"
    assert (await clean_up(4))["timed_out"] == 0
    # Without hours, those of the workspace: the instance's, its own, or never.
    for own in (None, 4, 0):
        await desk.admin.execute("update public.workspaces set session_timeout_hours = $1", own)
        assert (await clean_up(None))["timed_out"] == 0
    assert (await clean_up(2)).body == {"timed_out": 1, "remaining": False}
    assert (await status(desk, ann), await status(desk, bob)) == ("timeout", "active")
    assert await desk.audited(ann["session_id"]) == [("session.timeout", admin["user_id"])]


async def test_the_databases_owner_archives_and_cleans_up_with_plain_sql(desk: Desk) -> None:
    ann, bob = await desk.register("ann@example.test"), await desk.register("bob@example.test")
    await desk.end_session(ann["session_id"], "completed")
    await idle(desk, 48)
    await desk.admin.execute(
        "update public.sessions set ended_at = now() - interval '91 days' where ended_at is not null"
    )
    cleaned = await desk.one("select public.clean_up_sessions($1, 24)", WORKSPACE)
    archived = await desk.one("select public.archive_old_chat_sessions()")
    assert (cleaned[0]["timed_out"], archived[0]["archived"]) == (1, 1)
    assert (await status(desk, ann), await status(desk, bob)) == ("archived", "timeout")
    with pytest.raises(asyncpg.PostgresError, match="workspace_required"):
        await desk.admin.execute("select public.clean_up_sessions()")


# Sweeps and turns at the same time -----------------------------------------------------------------------------------

CONVERSATIONS, ROUNDS = 8, 25

# Sessions that timed out during a turn, or less than a day after a message.
WRONGLY_TIMED_OUT = """
select s.id
  from public.sessions s
 where s.status = 'timeout'
   and (exists (select
                  from public.turns t
                 where t.session_id = s.id
                   and t.created_at < s.ended_at
                   and (t.finished_at is null or t.finished_at > s.ended_at))
        or s.last_activity_at > s.ended_at - interval '24 hours')
"""

WRONGLY_COUNTED = """
select s.id
  from public.sessions s
 where s.turn_count <> (select count(*) from public.turns t where t.session_id = s.id)
    or s.message_count <> (select count(*) from public.messages m where m.session_id = s.id)
"""


async def test_a_session_never_times_out_during_a_turn(desk: Desk) -> None:
    await desk.lift_limits()
    people = [await desk.arrive(f"p{number}") for number in range(CONVERSATIONS)]
    chance = random.Random(4)  # noqa: S311 (no secret)
    talking = True
    swept: list[int] = []

    async with desk.crowd(16) as crowd:

        async def talk(token: dict[str, Any]) -> None:
            for _ in range(ROUNDS):
                turn = await crowd.start(token)
                assert turn.status == 200
                for position in range(chance.randrange(3)):
                    assert await crowd.flush(turn, position, "x") == "active", "the session timed out during a turn"
                    await asyncio.sleep(0)
                assert (await crowd.finish(turn, answer="xxx"))["changed"], "another caller ended the turn"

        async def age_sessions() -> None:
            # An unlocked session may be a day old at any moment, also right before its next message.
            unlocked = "select id from public.sessions where random() < 0.5 for update skip locked"
            while talking:
                await idle(crowd, 25, f"status in ('active', 'paused') and id in ({unlocked})")
                await asyncio.sleep(0.002)

        async def keep_sweeping() -> None:
            while talking:
                swept.append((await sweep(crowd, interval_hours=0))["timed_out"])

        sweepers = [asyncio.create_task(work()) for work in (age_sessions, keep_sweeping, keep_sweeping, keep_sweeping)]
        try:
            await asyncio.gather(*(talk(person) for person in people))
        finally:
            talking = False
            await asyncio.gather(*sweepers)

    assert sum(swept) > 0, "no session timed out meanwhile"
    timed_out = await desk.count("sessions", "status = 'timeout'")
    assert sum(swept) == timed_out == await desk.count("audit_events", "verb = 'session.timeout'")
    assert await desk.all(WRONGLY_TIMED_OUT) == []
    assert await desk.all(WRONGLY_COUNTED) == []
    assert await desk.count("turns") == await desk.count("turns", "status = 'completed'") == CONVERSATIONS * ROUNDS
