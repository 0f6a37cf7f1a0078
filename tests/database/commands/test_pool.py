"""How calls share connections, and what becomes of connections that end."""

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from lib import errors
from lib.auth import callers
from lib.database import commands
from lib.database.retries import BRIEF, PERSISTENT, Patience
from tests.database.commands import pgbouncer
from tests.database.commands.calls import ONCE, OURS, Database

IMPATIENT = Patience(tries=1, longest_pause=0, try_seconds=0.1, seconds=0.1)


async def test_calls_share_connections(database: Database, settings: Callable[..., None]) -> None:
    settings(SWITCHBOARD_DATABASE_CONNECTIONS="4")
    await database.define("perform pg_sleep(0.02); return to_jsonb(pg_backend_pid())")
    assert len({await database.call() for _ in range(5)}) == 1
    assert len(set(await asyncio.gather(*(database.call() for _ in range(40))))) == 4
    assert len(await database.backends()) == 4


async def test_calls_through_a_pooler_keep_apart_who_is_calling(anywhere: Database) -> None:
    """2,400 calls of 16 clients; a pooler has 3 connections for them."""
    await anywhere.define("return jsonb_build_array(current_user, private.claims() ->> 'sub', pg_backend_pid())")
    served = set()

    async def client(number: int) -> None:
        user = callers.User(uuid4(), None, "", token_claims=f'{{"sub": "{number}"}}')
        for _ in range(75):
            role, sub, pid = await anywhere.call(rpc=commands.reading_as(user))
            assert (role, sub) == ("authenticated", str(number))
            role, sub, pid = await anywhere.call()
            assert (role, sub) == ("switchboard", None)
            served.add(pid)

    await asyncio.gather(*(client(number) for number in range(16)))
    assert len(served) in (pgbouncer.BACKENDS, 10)


async def test_calls_that_wait_for_a_lock_hold_up_no_others(database: Database) -> None:
    await database.owner.execute(
        "create table scratch.locked (id int); grant select, update on scratch.locked to switchboard"
    )
    await database.define("lock table scratch.locked; return to_jsonb(1)", name="wait")
    await database.owner.execute("grant truncate on scratch.locked to switchboard")
    await database.define("return to_jsonb(2)")
    async with database.owner.transaction():
        await database.owner.execute("lock table scratch.locked")
        waiting = [asyncio.create_task(database.call("wait")) for _ in range(6)]
        # Long before they give up waiting for the lock.
        async with asyncio.timeout(5):
            assert [await database.call() for _ in range(5)] == [2] * 5
        assert not any(task.done() for task in waiting)
    assert await asyncio.gather(*waiting) == [1] * 6


async def test_a_restart_of_the_database_fails_no_call_that_may_be_repeated(anywhere: Database) -> None:
    await anywhere.define("perform pg_sleep(0.05); return to_jsonb(pg_backend_pid())")
    before = set(await asyncio.gather(*(anywhere.call() for _ in range(8))))
    for pid in before:
        await anywhere.cut(pid)
    after = await asyncio.gather(*(anywhere.call(repeatable=True, patience=BRIEF) for _ in range(8)))
    assert not before & set(after)


async def test_every_connection_comes_back_whatever_becomes_of_the_calls(anywhere: Database) -> None:
    """Calls that succeed, take long, are left by their callers, given up and cut, all at once."""
    await anywhere.define("perform pg_sleep(seconds); return to_jsonb(seconds)", "seconds float")
    user = commands.reading_as(callers.User(uuid4(), None, ""))
    chance = random.Random(7)  # noqa: S311 - to be repeatable

    async def call() -> None:
        seconds, patience = chance.choice((0.0, 0.01, 0.2)), chance.choice((ONCE, IMPATIENT))
        with contextlib.suppress(errors.BackendUnavailable):
            rpc = chance.choice((OURS, user))
            assert await anywhere.call(rpc=rpc, seconds=seconds, patience=patience) == seconds

    for _ in range(5):
        calls = [asyncio.create_task(call()) for _ in range(60)]
        for task in chance.sample(calls, 20):
            await asyncio.sleep(0.005)
            task.cancel()
        for pid in chance.sample(found := await anywhere.backends(), min(2, len(found))):
            await anywhere.cut(pid)
        for done in await asyncio.gather(*calls, return_exceptions=True):
            assert done is None or isinstance(done, asyncio.CancelledError), done
    pool = (await commands._database()).pool
    assert pool.get_idle_size() == pool.get_size() <= pool.get_max_size()
    later = [anywhere.call(seconds=0.01, repeatable=True, patience=PERSISTENT) for _ in range(20)]
    assert await asyncio.gather(*later) == [0.01] * 20


async def test_every_event_loop_has_connections_of_its_own(database: Database) -> None:
    await database.define("return to_jsonb(1)")

    async def once() -> Any:
        try:
            return await database.call()
        finally:
            await commands.close()

    assert await asyncio.to_thread(lambda: asyncio.run(once())) == 1
    assert await database.call() == 1
