"""Old sessions leave the live lists: which, when, as what, and however many ask at once."""

import asyncio

import pytest

from tests.database.desk import SPACE, SYSTEM, WORKSPACE, Answer, Desk, with_token

TERMINAL = ("completed", "failed", "timeout", "cancelled")


async def _archive(desk: Desk, max_sessions: int = 1000) -> dict[str, object]:
    return (await desk.call("archive_old_chat_sessions", SYSTEM, max_sessions=max_sessions)).body


async def _session(desk: Desk, status: str, days: float, space: str = SPACE) -> Answer:
    """Somebody's session that came to this status so many days ago."""
    arrived = await desk.register(f"{status}-{days}@example.test", space=space)
    await desk.admin.execute(
        "update public.sessions set status = $2::text::public.session_status, "
        "ended_at = case when $2::text in ('active', 'paused') then null else now() end, "
        "last_activity_at = now() - make_interval(secs => $3 * 86400) where id = $1",
        arrived["session_id"],
        status,
        days,
    )
    return arrived


async def _statuses(desk: Desk) -> dict[str, str]:
    return {row["id"]: row["status"] for row in await desk.admin.fetch("select id::text, status from public.sessions")}


async def test_what_is_old_and_finished_is_archived_and_keeps_its_former_state(desk: Desk) -> None:
    old = {(await _session(desk, status, 91))["session_id"]: status for status in TERMINAL}
    young = {(await _session(desk, status, 89))["session_id"]: status for status in TERMINAL}

    assert await _archive(desk) == {"archived": 4, "workspaces": 1, "remaining": False}

    assert await _statuses(desk) == {**young, **dict.fromkeys(old, "archived")}
    rows = await desk.admin.fetch("select * from public.sessions where status = 'archived'")
    assert {str(row["id"]): row["status_before_archive"] for row in rows} == old
    assert all(row["archived_at"] is not None and row["ended_at"] is not None for row in rows)
    audited = await desk.admin.fetch("select object_id::text from public.audit_events where verb = 'session.archived'")
    assert {row[0] for row in audited} == set(old)


@pytest.mark.parametrize("status", ["active", "paused"])
async def test_a_live_session_is_never_archived_however_old(desk: Desk, status: str) -> None:
    live = await _session(desk, status, 3650)

    assert await _archive(desk) == {"archived": 0, "workspaces": 0, "remaining": False}
    assert await _statuses(desk) == {live["session_id"]: status}


async def test_archiving_again_changes_nothing(desk: Desk) -> None:
    await _session(desk, "failed", 100)
    await _archive(desk)
    before = await desk.admin.fetch("select * from public.sessions")

    assert (await _archive(desk))["archived"] == 0

    assert await desk.admin.fetch("select * from public.sessions") == before


async def test_each_workspace_sets_its_own_age_and_states(desk: Desk) -> None:
    other, space = await desk.open_workspace()
    await desk.admin.execute("update public.workspaces set archive_after_days = 10 where id = $1", other)
    await desk.admin.execute(
        "update public.workspaces set archive_statuses = '{completed,cancelled}' where id = $1", WORKSPACE
    )
    here = [await _session(desk, status, 91) for status in ("completed", "failed")]
    there = [await _session(desk, status, 11, space) for status in ("failed", "timeout")]
    young = await _session(desk, "completed", 9, space)

    assert await _archive(desk) == {"archived": 3, "workspaces": 2, "remaining": False}

    statuses = await _statuses(desk)
    assert [statuses[each["session_id"]] for each in (*here, *there, young)] == [
        "archived",
        "failed",
        "archived",
        "archived",
        "completed",
    ]


async def test_the_oldest_of_a_workspace_go_first(desk: Desk) -> None:
    young, oldest, old = [(await _session(desk, "completed", days))["session_id"] for days in (100, 300, 200)]

    assert await _archive(desk, 2) == {"archived": 2, "workspaces": 1, "remaining": True}

    assert await _statuses(desk) == {young: "completed", oldest: "archived", old: "archived"}


async def test_a_call_archives_so_many_over_all_workspaces_and_tells_to_call_again(desk: Desk) -> None:
    _, space = await desk.open_workspace()
    for days in (100, 200, 300):
        await _session(desk, "completed", days)
        await _session(desk, "completed", days, space)

    told = [await _archive(desk, 4) for _ in range(3)]

    assert [(each["archived"], each["remaining"]) for each in told] == [(4, True), (2, False), (0, False)]
    assert set((await _statuses(desk)).values()) == {"archived"}


async def test_many_who_archive_at_once_do_it_once(desk: Desk) -> None:
    for days in range(100, 140):
        await _session(desk, "completed", days)

    async with Desk(desk.gate_url, desk.admin_url, connections=6) as crowd:
        told = await asyncio.gather(*(_archive(crowd, 15) for _ in range(6)))

    rest = int(str((await _archive(desk))["archived"]))
    assert sum(int(str(each["archived"])) for each in told) + rest == 40
    assert await desk.count("audit_events", "verb = 'session.archived'") == 40


async def test_a_message_after_its_session_was_archived_opens_another(desk: Desk) -> None:
    ann = await _session(desk, "completed", 91)
    await _archive(desk)

    turn = await desk.start(with_token(ann))

    assert turn["session_id"] != ann["session_id"]
    assert turn["conversation_id"] == ann["conversation_id"]
    assert (await _statuses(desk))[ann["session_id"]] == "archived"
    assert str(await desk.admin.fetchval("select session_id from public.contacts")) == ann["session_id"]


async def test_a_late_answer_changes_nothing_of_an_archived_session(desk: Desk) -> None:
    ann = await desk.register("ann@example.test")
    turn = await desk.start(with_token(ann))
    await desk.admin.execute("update public.personas set session_policy = 'per_message'")
    await desk.admin.execute(
        "update public.sessions set status = 'cancelled', ended_at = now(), "
        "last_activity_at = now() - interval '1 year'"
    )
    await _archive(desk)
    before = await desk.admin.fetchrow("select status, status_before_archive, ended_at from public.sessions")

    done = await desk.finish(turn, answer="late")

    assert done["changed"] is True
    assert await desk.admin.fetchrow("select status, status_before_archive, ended_at from public.sessions") == before
