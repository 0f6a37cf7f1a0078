"""A run of the archive that is killed at any step loses nothing, and stores nothing twice."""

import asyncio
import math
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from lib import config
from lib.archive import archiver, object_cleanup, parquet, store
from lib.database import commands, copying
from local.stack import Stack
from tests.faults.archive_child import STEPS
from tests.faults.archiving import Archive

SESSIONS = 3


@pytest_asyncio.fixture
async def settings(stack: Stack, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """The settings of the stack's functions, in this process, which alone archives: the stack's schedule does not."""
    for name, value in stack.gateway_env(0).items():
        monkeypatch.setenv(name, value)
    config.settings.cache_clear()
    scheduled = "update cron.job set active = {} where jobname = 'switchboard-archive-jobs'; notify pg_cron"
    await database.execute(scheduled.format("false"))
    yield
    await database.execute(scheduled.format("true"))
    await commands.close()
    config.settings.cache_clear()


async def _until_blocked(database: asyncpg.Connection) -> int:
    """The backend of a functions' transaction that waits for a lock."""
    waiting = (
        "select pid from pg_stat_activity, pg_sleep(0.01)"
        " where wait_event_type = 'Lock' and query like '%record_archive%'"
    )
    async with asyncio.timeout(20):
        while (pid := await database.fetchval(waiting)) is None:
            pass
    return int(pid)


async def _kill(archive: Archive, step: str, *, with_backend: bool = False) -> None:
    """Kill a run at a step."""
    held = await asyncpg.connect(archive.stack.admin_url)
    lock = held.transaction()
    await lock.start()
    if step == "in record":
        await held.execute("select from public.sessions where workspace_id = $1 for update", archive.workspace_id)
    with archive.child(step) as child:
        if step == "in record":
            pid = await _until_blocked(archive.database)
            child.kill()
            if with_backend:
                await archive.database.execute("select pg_terminate_backend($1)", pid)
        code = await asyncio.to_thread(child.wait, 20)
    assert code == -9, step
    await lock.rollback()
    await held.close()


@pytest.mark.usefixtures("settings")
async def test_a_run_that_is_killed_at_any_step_loses_nothing_and_stores_nothing_twice(
    stack: Stack, database: asyncpg.Connection
) -> None:
    archives = [await Archive.new(stack, database, SESSIONS) for _ in (*STEPS, "in record")]
    expected = [await archive.rows() for archive in archives]
    assert all(len(rows) == SESSIONS for rows in expected)
    for archive in archives:
        await archive.queue()
    for number, (archive, step) in enumerate(zip(archives, (*STEPS, "in record"), strict=True)):
        await _kill(archive, step, with_backend=number == len(STEPS))
    # A transaction whose client died may still commit; it ends before its sessions are taken again.
    await database.execute("select from public.sessions for update")
    for archive, rows in zip(archives, expected, strict=True):
        await archive.expire_leases()
        await archiver.run(archive.store, end=math.inf, only_workspace=archive.workspace_id)
        await object_cleanup.delete_dead(archive.store)
        assert await archive.faults(rows) == []


@pytest.mark.usefixtures("settings")
async def test_a_run_works_on_several_batches_of_one_month_at_once(
    stack: Stack, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = await Archive.new(stack, database, archiver.AT_ONCE)
    await archive.queue()
    all_at_once = asyncio.Barrier(archiver.AT_ONCE)
    put = store.Folder.put_if_absent

    async def put_with_others(folder: store.Folder, key: str, content: bytes) -> bool:
        async with asyncio.timeout(20):
            await all_at_once.wait()
        return await put(folder, key, content)

    monkeypatch.setattr(store.Folder, "put_if_absent", put_with_others)
    report = await archiver.run(archive.store, end=math.inf, only_workspace=archive.workspace_id, batch_sessions=1)
    assert report.stored == archiver.AT_ONCE


@pytest.mark.usefixtures("settings")
async def test_sessions_that_are_too_long_for_one_part_are_read_in_several(
    stack: Stack, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = await Archive.new(stack, database, SESSIONS)
    expected = await archive.rows()
    await archive.queue()
    # One that is done by the time it is too long ends at once, too.
    for _ in range(20):
        async with asyncio.timeout(5):
            assert await copying.copy_csv(archive.workspace_id, "select 1", 1) is None
    monkeypatch.setattr(archiver, "PART_BYTES", 1)
    await archiver.run(archive.store, end=math.inf, only_workspace=archive.workspace_id)
    (key,) = [key async for key in archive.store.keys(f"workspace={archive.workspace_id}/")]
    assert len(list(parquet.read(await archive.store.get(key)))) == SESSIONS
    assert await archive.faults(expected) == []
