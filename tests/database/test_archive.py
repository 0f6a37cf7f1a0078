"""Old sessions are archived: which, when, in which order, and how many in a call.

Archiving beside every other change of a session, and again, is test_sessions_lifecycle's.
"""

from typing import Any

from tests.database.desk import SPACE, SYSTEM, WORKSPACE, Desk

TERMINAL = ("completed", "failed", "timeout", "cancelled")


async def _archive(desk: Desk, max_sessions: int = 1000) -> dict[str, Any]:
    return (await desk.call("archive_old_chat_sessions", SYSTEM, max_sessions=max_sessions)).body


async def _session(desk: Desk, status: str, days: float, space: str = SPACE) -> str:
    """A session with this status, which ended so many days ago, and is without activity for longer; its id."""
    session_id: str = (await desk.register(f"{status}-{days}@example.test", space=space))["session_id"]
    await desk.admin.execute(
        "update public.sessions set status = $2::text::public.session_status, "
        "ended_at = case when $2::text not in ('active', 'paused') then now() - make_interval(secs => $3 * 86400) end, "
        "last_activity_at = now() - make_interval(secs => ($3 + 30) * 86400) where id = $1",
        session_id,
        status,
        days,
    )
    return session_id


async def _statuses(desk: Desk) -> dict[str, str]:
    return {row["id"]: row["status"] for row in await desk.admin.fetch("select id::text, status from public.sessions")}


async def test_old_finished_sessions_are_archived_and_keep_their_former_state(desk: Desk) -> None:
    old = {await _session(desk, status, 91): status for status in TERMINAL}
    others = {await _session(desk, status, 89): status for status in TERMINAL}
    others |= {await _session(desk, status, 3650): status for status in ("active", "paused")}

    assert await _archive(desk) == {"archived": 4, "workspaces": 1, "remaining": False}

    assert await _statuses(desk) == {**others, **dict.fromkeys(old, "archived")}
    rows = [await desk.row("sessions", session_id) for session_id in old]
    assert {row["id"]: row["status_before_archive"] for row in rows} == old
    assert all(row["archived_at"] and row["ended_at"] for row in rows)
    audited = await desk.all("select object_id::text from public.audit_events where verb = 'session.archived'")
    assert sorted(audited) == sorted((session_id,) for session_id in old)


async def test_each_workspace_sets_its_own_age_and_states(desk: Desk) -> None:
    other, space = await desk.open_workspace()
    await desk.admin.execute("update public.workspaces set archive_after_days = 10 where id = $1", other)
    await desk.admin.execute(
        "update public.workspaces set archive_statuses = '{completed,cancelled}' where id = $1", WORKSPACE
    )
    expected = {
        await _session(desk, "completed", 91): "archived",
        await _session(desk, "failed", 91): "failed",
        await _session(desk, "failed", 11, space): "archived",
        await _session(desk, "timeout", 11, space): "archived",
        await _session(desk, "completed", 9, space): "completed",
    }

    assert await _archive(desk) == {"archived": 3, "workspaces": 2, "remaining": False}
    assert await _statuses(desk) == expected


async def test_the_oldest_sessions_of_a_workspace_are_archived_first(desk: Desk) -> None:
    young, oldest, old = [await _session(desk, "completed", days) for days in (100, 300, 200)]

    assert await _archive(desk, 2) == {"archived": 2, "workspaces": 1, "remaining": True}
    assert await _statuses(desk) == {young: "completed", oldest: "archived", old: "archived"}


async def test_the_limit_of_a_call_is_for_all_workspaces_together(desk: Desk) -> None:
    _, space = await desk.open_workspace()
    for days in (100, 200, 300):
        await _session(desk, "completed", days)
        await _session(desk, "completed", days, space)

    archived = [await _archive(desk, 4) for _ in range(3)]

    assert [(each["archived"], each["remaining"]) for each in archived] == [(4, True), (2, False), (0, False)]
    assert set((await _statuses(desk)).values()) == {"archived"}


async def test_a_late_answer_does_not_change_an_archived_session(desk: Desk) -> None:
    turn = await desk.start()
    await desk.admin.execute("update public.personas set session_policy = 'per_message'")
    await desk.end_session(turn["session_id"], "archived")
    state = "select status, status_before_archive, ended_at from public.sessions"
    before = await desk.one(state)
    assert (await desk.finish(turn, answer="late"))["changed"] is True
    assert await desk.one(state) == before
