"""Idle sessions time out by their workspace's hours, beside whatever else happens to them."""

import asyncio
import random
from typing import Any

import pytest
import pytest_asyncio

from tests.database.desk import SPACE, SYSTEM, WORKSPACE, Answer, Desk, Raised, member, user, with_token
from tests.database.test_sessions_states import audited, change
from tests.servers import Server

MANAGING = {"role": "switchboard", "scope": {"management": True}}


async def sweep(desk: Desk, default_hours: int = 24, interval_hours: int = 6, max_sessions: int = 500) -> Answer:
    return await desk.call(
        "expire_idle_sessions",
        SYSTEM,
        default_hours=default_hours,
        interval_hours=interval_hours,
        max_sessions=max_sessions,
    )


async def forget_sweep(desk: Desk) -> None:
    await desk.admin.execute("delete from private.sweeps")


async def idle(desk: Desk, hours: float, where: str = "true", *values: Any) -> None:
    """As if nothing had come in for so many hours."""
    await desk.admin.execute(
        f"update public.sessions set last_activity_at = clock_timestamp() - make_interval(mins => {int(hours * 60)}) "
        f"where {where}",
        *values,
    )


async def status(desk: Desk, arrived: Answer) -> str:
    found: str = await desk.admin.fetchval("select status from public.sessions where id = $1", arrived["session_id"])
    return found


@pytest.mark.parametrize("before", ["active", "paused"])
async def test_a_session_in_which_nobody_wrote_for_a_day_times_out(desk: Desk, before: str) -> None:
    ann, bob = await desk.register("ann@example.test"), await desk.register("bob@example.test")
    await desk.admin.execute("update public.sessions set status = $1, error_message = 'persona_failed'", before)
    await idle(desk, 24.1, "id = $1", ann["session_id"])
    await idle(desk, 23.9, "id = $1", bob["session_id"])

    assert (await sweep(desk)).body == {"timed_out": 1, "remaining": False}

    assert (await status(desk, ann), await status(desk, bob)) == ("timeout", before)
    row = await desk.admin.fetchrow(
        "select ended_at is not null, error_message from public.sessions where id = $1", ann["session_id"]
    )
    assert row is not None
    assert tuple(row) == (True, None)
    assert await audited(desk, ann["session_id"]) == [("session.timeout", None)]


@pytest.mark.parametrize(
    ("hours", "default", "times_out"),
    [(None, 24, True), (None, 48, False), (None, 0, False), (48, 24, False), (1, 0, True), (0, 24, False)],
)
async def test_a_workspace_has_its_own_hours_or_the_instances(
    desk: Desk, hours: int | None, default: int, times_out: bool
) -> None:
    ann = await desk.register("ann@example.test")
    await idle(desk, 30)
    await desk.admin.execute("update public.workspaces set session_timeout_hours = $1", hours)
    assert (await sweep(desk, default))["timed_out"] == int(times_out)
    assert await status(desk, ann) == ("timeout" if times_out else "active")


async def test_each_workspace_is_swept_and_a_batch_at_a_time(desk: Desk) -> None:
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
    # The schedule is not on time to the second, and six hours later is six hours later.
    await desk.admin.execute("update private.sweeps set swept_at = clock_timestamp() - interval '5 hours 59 minutes'")
    assert (await sweep(desk))["timed_out"] == 1


async def test_two_sweeps_at_once_are_one(desk: Desk) -> None:
    for number in range(30):
        await desk.register(f"a{number}@example.test")
    await idle(desk, 30)
    done = await asyncio.gather(*(sweep(desk, max_sessions=1000) for _ in range(5)))
    assert sum(each["timed_out"] for each in done) == 30
    assert await desk.count("audit_events", "verb = 'session.timeout'") == 30


async def test_an_answer_under_way_keeps_its_session_until_its_own_clock_ends_it(desk: Desk) -> None:
    turn = await desk.start(with_token(await desk.register("ann@example.test")))
    await idle(desk, 30)
    assert (await sweep(desk))["timed_out"] == 0
    await desk.let_lease_run_out(turn)
    await forget_sweep(desk)
    assert (await sweep(desk))["timed_out"] == 0
    assert await desk.expire() == 1
    await forget_sweep(desk)
    assert (await sweep(desk))["timed_out"] == 1
    assert (await status(desk, turn), await desk.count("turns", "status = 'active'")) == ("timeout", 0)


async def test_only_a_message_that_comes_in_resets_the_clock(desk: Desk) -> None:
    boss = await member(desk, "owner")
    ann = with_token(await desk.register("ann@example.test"))
    turn = await desk.start(ann)
    await idle(desk, 30)
    at = await desk.admin.fetchval("select last_activity_at from public.sessions")
    await desk.flush(turn, 0, "Hi")
    await desk.finish(turn)
    await change(desk, boss, turn["session_id"], "pause")
    await change(desk, boss, turn["session_id"], "resume")
    await desk.call("start_session", {**ann, "scope": {"workspace_id": WORKSPACE}})
    assert await desk.admin.fetchval("select last_activity_at from public.sessions") == at
    await desk.finish(await desk.start(ann))
    assert await desk.admin.fetchval("select last_activity_at from public.sessions") > at
    assert (await sweep(desk))["timed_out"] == 0


async def test_a_session_that_timed_out_goes_on_when_it_is_recovered(desk: Desk) -> None:
    ann = with_token(await desk.register("ann@example.test"))
    turn = await desk.start(ann)
    await desk.finish(turn)
    await idle(desk, 30)
    await sweep(desk)
    await desk.call(
        "recover_session", {"role": "switchboard", "scope": {}, "caller": ann["caller"]}, session_id=turn["session_id"]
    )
    await forget_sweep(desk)
    assert (await sweep(desk))["timed_out"] == 0
    assert await status(desk, turn) == "active"


async def test_an_admin_cleans_up_their_workspace_at_once(desk: Desk) -> None:
    boss, agent = await member(desk, "admin"), await member(desk, "agent")
    other_workspace, space = await desk.open_workspace()
    other = await member(desk, "owner", other_workspace)
    ann = await desk.register("ann@example.test")
    bob = await desk.register("bob@example.test", space=space)
    await idle(desk, 3)
    await sweep(desk)

    async def clean_up(caller: dict[str, Any], workspace: str, hours: int) -> Answer:
        return await desk.call(
            "clean_up_sessions", MANAGING | {"caller": caller}, workspace_id=workspace, max_age_hours=hours
        )

    for caller, code in (
        (agent, "forbidden"),
        (other, "workspace_not_found"),
        (user(await desk.sign_up(None)), "workspace_not_found"),
    ):
        with pytest.raises(Raised) as refused:
            await clean_up(caller, WORKSPACE, 2)
        assert refused.value.code == code
    with pytest.raises(Raised) as refused:
        await clean_up(boss, WORKSPACE, 0)
    assert refused.value.code == "invalid_body"
    assert (await clean_up(boss, WORKSPACE, 4))["timed_out"] == 0
    assert (await clean_up(boss, WORKSPACE, 2)).body == {"timed_out": 1, "remaining": False}
    assert (await status(desk, ann), await status(desk, bob)) == ("timeout", "active")
    assert await audited(desk, ann["session_id"]) == [("session.timeout", boss["user_id"])]


async def test_only_the_system_sweeps_every_workspace(desk: Desk) -> None:
    boss = await member(desk, "owner")
    for token in (
        MANAGING | {"caller": boss},
        {"role": "switchboard", "scope": {"workspace_id": WORKSPACE}, "caller": boss},
    ):
        with pytest.raises(Raised) as refused:
            await desk.call("expire_idle_sessions", token)
        assert (refused.value.status, refused.value.code) == (403, "forbidden")


# The race ------------------------------------------------------------------------------------------------------------

CONVERSATIONS, ROUNDS, CONNECTIONS = 8, 25, 16

# What stood at the moment when a session timed out: a turn under way, or a message from less than a day before.
WRONG = """
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

COUNTED = """
select count(*)
  from public.sessions s
 where s.turn_count <> (select count(*) from public.turns t where t.session_id = s.id)
    or s.message_count <> (select count(*) from public.messages m where m.session_id = s.id)
"""


@pytest_asyncio.fixture
async def wide(server_18: Server, migrated: str) -> Any:
    async with Desk(server_18.gate_url(migrated), server_18.admin_url(migrated), CONNECTIONS) as opened:
        yield opened


async def test_the_sweep_is_safe_beside_live_turns(wide: Desk) -> None:
    chosen = random.Random(4)  # noqa: S311 (no secret)
    people = [with_token(await wide.register(f"p{number}@example.test")) for number in range(CONVERSATIONS)]
    await wide.admin.execute("update public.workspaces set messages_per_minute_by_contact = 1000000")
    await wide.admin.execute("update public.workspaces set session_timeout_hours = 24")
    talking = [True]
    swept: list[int] = []

    async def talk(token: dict[str, Any]) -> None:
        for _ in range(ROUNDS):
            turn = await wide.start(token)
            assert turn.status == 200
            for position in range(chosen.randrange(3)):
                assert await wide.flush(turn, position, "x") == "active", "the session was timed out under a live turn"
                await asyncio.sleep(0)
            done = await wide.finish(turn, answer="xxx")
            assert done["changed"], "the turn was ended by somebody else"

    async def grow_old() -> None:
        # A day passes for whoever is not being answered, the moment before the next message as likely as any.
        while talking[0]:
            await wide.admin.execute(
                "update public.sessions s set last_activity_at = clock_timestamp() - interval '25 hours' "
                "where s.status in ('active', 'paused') and s.id in (select s.id from public.sessions s "
                "where random() < 0.5 for update skip locked)"
            )
            await asyncio.sleep(0.002)

    async def keep_sweeping() -> None:
        while talking[0]:
            swept.append((await sweep(wide, interval_hours=0))["timed_out"])

    sweepers = [asyncio.create_task(work()) for work in (grow_old, keep_sweeping, keep_sweeping, keep_sweeping)]
    try:
        await asyncio.gather(*(talk(person) for person in people))
    finally:
        talking[0] = False
        await asyncio.gather(*sweepers)

    assert sum(swept) > 0, "nothing was raced"
    assert sum(swept) == await wide.count("sessions", "status = 'timeout'")
    assert await wide.admin.fetch(WRONG) == []
    assert await wide.admin.fetchval(COUNTED) == 0
    assert await wide.count("turns") == await wide.count("turns", "status = 'completed'") == CONVERSATIONS * ROUNDS
