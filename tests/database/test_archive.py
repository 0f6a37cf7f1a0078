"""Old sessions are archived: which, when, in which order, and how many in a call; and how batches of them are recorded.

Archiving beside every other change of a session, and again, is test_sessions_lifecycle's; what is written, and crashes
in between, are tests/faults/test_archive_steps.py's.
"""

from typing import Any
from uuid import uuid4

import pytest

from tests.database.desk import SPACE, SYSTEM, WORKSPACE, Desk, Raised, on_a_turn, on_behalf

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


async def _take(desk: Desk, most: int = 1000) -> dict[str, Any]:
    return (await desk.call("take_archive_batch", SYSTEM, max_sessions=most, lease_seconds=60)).body


async def _read(desk: Desk, batch: dict[str, Any]) -> tuple[int, int]:
    """How many rows the sessions of a batch have, and the sum of their versions, as a run reads them."""
    query = "select count(*), sum(version)::bigint from public.session_rows where id = any ($1::uuid[])"
    return await desk.one(query, list(batch["sessions"]))


async def _record(desk: Desk, batch: dict[str, Any], read: tuple[int, int] | None = None) -> tuple[int, int, int]:
    """Record a batch as if it were stored, as it is or was read: the numbers of recorded and changed sessions and of
    dropped messages."""
    rows, versions = read or await _read(desk, batch)
    sessions = list(batch["sessions"])
    group = {"number": 0, "byte_offset": 4, "byte_length": 1, "sha256": "x", "session_ids": sessions}
    ones = [1] * len(sessions)
    answer = await desk.call(
        "record_archive",
        on_a_turn(),
        object_id=batch["object"]["id"],
        content={"sha256": "x", "size_bytes": 1, "row_count": rows, "footer": ""},
        row_groups=[group | {"row_counts": ones, "message_counts": ones}],
        versions=versions,
    )
    return answer["recorded"], answer["changed"], answer["dropped"]


async def _queued(desk: Desk, sessions: int = 1, retention: str = "drop") -> list[str]:
    """Archived sessions with a message each, which wait to be written."""
    await desk.admin.execute("update public.workspaces set archive_retention = $1 where id = $2", retention, WORKSPACE)
    made = [(await desk.start(email=f"{number}@example.test"))["session_id"] for number in range(sessions)]
    await desk.admin.execute(
        "update public.turns set status = 'completed', finished_at = now();"
        " update public.sessions set status = 'completed', ended_at = now() - interval '100 days'"
    )
    await _archive(desk)
    return sorted(made)


async def test_two_runs_take_different_sessions_until_a_lease_ends(desk: Desk) -> None:
    sessions = await _queued(desk, 3)
    first, second = await _take(desk, 2), await _take(desk, 2)
    assert [list(batch["sessions"]) for batch in (first, second)] == [sessions[:2], sessions[2:]]
    assert (await _take(desk))["object"] is None

    await desk.admin.execute("update public.archive_objects set lease_until = now() - interval '1 second'")
    again = await _take(desk)
    assert list(again["sessions"]) == sessions
    # The slow run comes too late, and its object is known as dead.
    assert await _record(desk, first) == (0, 2, 0)
    dead = (await desk.call("take_dead_objects", SYSTEM))["objects"]
    assert {each["id"] for each in dead} == {first["object"]["id"], second["object"]["id"]}
    assert await _record(desk, again) == (3, 0, 3)
    assert await _record(desk, again) == (3, 0, 0)  # a repeat
    assert await desk.count("messages") == 0


async def test_a_session_that_was_taken_three_times_in_vain_is_written_alone(desk: Desk) -> None:
    sessions = await _queued(desk, 2)
    for _ in range(3):
        batch = await _take(desk)
        assert list(batch["sessions"]) == sessions
        await desk.call("abandon_archive_batch", on_a_turn(), object_id=batch["object"]["id"])
    assert [list((await _take(desk))["sessions"]) for _ in sessions] == [[one] for one in sessions]


async def test_an_object_that_alone_has_the_messages_is_not_replaced(desk: Desk) -> None:
    await _queued(desk)
    assert await _record(desk, await _take(desk)) == (1, 0, 1)
    again = "insert into public.archive_queue (session_id, workspace_id, month)"
    await desk.admin.execute(f"{again} select id, workspace_id, '2026-01-01' from public.sessions")
    assert await _record(desk, await _take(desk)) == (0, 1, 0)
    assert (await desk.count("archive_queue"), await desk.count("session_archives", "messages_dropped")) == (0, 1)


CHANGES = {
    "a new message": "insert into public.messages (workspace_id, conversation_id, session_id, role, contact_id, text)"
    " select workspace_id, conversation_id, session_id, role, contact_id, 'late' from public.messages limit 1",
    "another text": "update public.messages set text = 'x'",
    "a removed message": "delete from public.messages",
    "an attachment": "insert into public.attachments (message_id, place, workspace_id, conversation_id, kind)"
    " select id, 0, workspace_id, conversation_id, 'x' from public.messages limit 1",
    "a turn's error": "insert into public.turn_errors (turn_id, persona_id, workspace_id, conversation_id, detail)"
    " select t.id, s.persona_id, t.workspace_id, t.conversation_id, 'x' from public.turns t"
    " join public.sessions s on s.id = t.session_id",
    "a restore": "update public.sessions set status = 'completed', status_before_archive = null, archived_at = null",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_a_session_that_changed_since_it_was_read_is_not_recorded(desk: Desk, change: str) -> None:
    await _queued(desk)
    batch = await _take(desk)
    read = await _read(desk, batch)
    await desk.admin.execute(change)
    messages = await desk.count("messages")
    assert await _record(desk, batch, read) == (0, 1, 0)
    assert (await desk.count("messages"), await desk.count("session_archives")) == (messages, 0)
    if "status" not in change:
        assert await _record(desk, await _take(desk)) == (1, 0, messages)


async def test_a_session_whose_turn_is_under_way_waits(desk: Desk) -> None:
    (session_id,) = await _queued(desk)
    await desk.admin.execute("update public.turns set status = 'active', finished_at = null")
    assert (await _take(desk))["object"] is None
    await desk.admin.execute(
        "update public.turns set status = 'completed', finished_at = now();"
        " update public.archive_queue set next_attempt_at = now()"
    )
    assert list((await _take(desk))["sessions"]) == [session_id]


async def test_messages_that_were_kept_are_dropped_once_the_workspace_decides_so(desk: Desk) -> None:
    (session_id,) = await _queued(desk, retention="keep")
    assert await _record(desk, await _take(desk)) == (1, 0, 0)
    assert (await desk.count("messages"), (await _archive(desk))["archived"]) == (1, 0)
    assert (await _take(desk))["object"] is None
    await desk.admin.execute("update public.workspaces set archive_retention = 'drop'")
    assert (await _archive(desk))["archived"] == 0
    assert await _record(desk, await _take(desk)) == (1, 0, 1)
    assert await desk.count("messages") == 0
    current = "session_id = $1 and is_current and messages_dropped"
    assert await desk.count("session_archives", current, session_id) == 1
    assert await desk.count("archive_objects", "status = 'superseded'") == 1
    former = await desk.admin.fetchval("select id from public.archive_objects where status = 'superseded'")
    await desk.call("record_object_deleted", SYSTEM, object_id=str(former))
    assert (await desk.count("session_archives"), await desk.count("archive_objects")) == (1, 1)


async def test_a_restored_session_is_archived_again_after_the_archive_age(desk: Desk) -> None:
    (session_id,) = await _queued(desk, retention="keep")
    await _record(desk, await _take(desk))
    owner = await desk.member("owner")
    restored = await desk.call("restore_session", on_behalf(owner), session_id=session_id)
    assert (restored["status"], restored["changed"]) == ("completed", True)
    assert (await _archive(desk))["archived"] == 0
    await desk.admin.execute("update public.session_archives set restored_at = now() - interval '91 days'")
    assert (await _archive(desk))["archived"] == 1
    assert [row[0] for row in await desk.audited(session_id, "verb")][-3:] == [
        "session.archived", "session.restored", "session.archived",
    ]  # fmt: skip


async def test_dropped_messages_are_restored_from_their_current_object_only(desk: Desk) -> None:
    """What is dropped, or written anew, after a restore has looked it up is neither lost nor brought back."""
    (session_id,) = await _queued(desk)
    owner = on_behalf(await desk.member("owner"))

    async def restore(object_id: str | None) -> Any:
        try:
            return (await desk.call("restore_session", owner, session_id=session_id, object_id=object_id))["changed"]
        except Raised as refused:
            return str(refused)

    batch = await _take(desk)
    former, own = str(uuid4()), batch["object"]["id"]
    assert await _record(desk, batch) == (1, 0, 1)
    assert [await restore(each) for each in (None, former)] == ["PT409 archive_changed"] * 2
    erasure = await desk.admin.fetchval(
        "with e as (insert into public.erasures (workspace_id, contact_id, contact_ids)"
        " values ($1, $2, array[$2::uuid]) returning id, workspace_id)"
        " insert into public.jobs (workspace_id, kind, item_key)"
        " select workspace_id, 'erase_archive', id || ':' || $3::text from e returning id",
        WORKSPACE, former, own,
    )  # fmt: skip
    assert await restore(own) == "PT409 archive_changed"
    await desk.admin.execute("delete from public.jobs where id = $1", erasure)
    assert [await restore(each) for each in (own, own)] == [True, False]


async def test_an_archive_has_every_column_of_messages_and_turns(desk: Desk) -> None:
    columns = {
        table: {row[0] for row in await desk.all(
            "select attname from pg_attribute where attrelid = $1::text::regclass and attnum > 0 and not attisdropped",
            f"public.{table}",
        )}
        for table in ("session_rows", "messages", "turns")
    }  # fmt: skip
    renamed = {"id", "session_id", "workspace_id"}  # row_id, id; the workspace is the object's
    assert columns["messages"] | columns["turns"] <= columns["session_rows"] | renamed
    from lib.archive import parquet  # noqa: PLC0415 (brings pyarrow along)

    assert set(parquet.NAMES) == columns["session_rows"] - {"id", "version"} | {"session_id"}
