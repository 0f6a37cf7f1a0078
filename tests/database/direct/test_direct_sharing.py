"""How calls share few direct connections: lanes, long calls, and connections that end."""

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from lib import errors
from lib.database import commands, postgres
from tests.database.direct.direct import ONCE, Direct


async def test_quick_calls_share_few_connections(
    direct: Direct, settings: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "LONG_SECONDS", 5)
    settings(SWITCHBOARD_DATABASE_CONNECTIONS="2")
    await direct.define("return to_jsonb(pg_backend_pid())")
    assert len(set(await asyncio.gather(*(direct.call() for _ in range(40))))) == 2
    assert len(await direct.backends()) == 2


@pytest.mark.parametrize(("connections", "lanes"), [("1", 1), ("2", 2), ("3", 2)])
async def test_what_starts_turns_keeps_to_connections_of_its_own(
    direct: Direct, settings: Callable[..., None], starting: None, connections: str, lanes: int
) -> None:
    settings(SWITCHBOARD_DATABASE_CONNECTIONS=connections)
    for name in ("do_it", "start"):
        await direct.define("return to_jsonb(pg_backend_pid())", name=name)
    found = [await direct.call(name) for _ in range(5) for name in ("start", "do_it", "do_it")]
    assert len(set(found[::3])) == 1
    assert len(set(found)) == lanes
    assert set(found[1::3]) == set(found[2::3])


@pytest.mark.parametrize("name", ["do_it", "start"])
async def test_no_connection_waits_while_a_call_does(
    direct: Direct, monkeypatch: pytest.MonkeyPatch, starting: None, name: str
) -> None:
    monkeypatch.setattr(postgres, "LONG_SECONDS", 5)
    await direct.define("perform pg_sleep(0.1); return to_jsonb(pg_backend_pid())", name=name)
    assert len(set(await asyncio.gather(*(direct.call(name) for _ in range(6))))) == 2


async def test_the_functions_that_start_turns_are_there(direct: Direct) -> None:
    query = "select count(*) from pg_proc where pronamespace = 'public'::regnamespace and proname = any($1)"
    assert await direct.owner.fetchval(query, list(postgres.STARTING)) == len(postgres.STARTING) > 0


async def test_the_next_call_goes_out_before_an_answer_is_worked_on(
    direct: Direct, settings: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings(SWITCHBOARD_DATABASE_CONNECTIONS="1")
    await direct.define("return to_jsonb(number)", "number int")
    await direct.call(number=0)
    seen = []
    run = postgres._Connection.run

    async def noted(self: postgres._Connection, statement: str, claims: str, arguments: str) -> Any:
        seen.append("out")
        return await run(self, statement, claims, arguments)

    async def call(number: int) -> None:
        await direct.call(number=number)
        seen.append("worked on")

    monkeypatch.setattr(postgres._Connection, "run", noted)
    await asyncio.gather(*(call(number) for number in range(3)))
    assert seen == ["out", "out", "worked on", "out", "worked on", "worked on"]


async def test_calls_that_wait_for_a_lock_hold_up_nobody_else(direct: Direct) -> None:
    await direct.owner.execute(
        "create table public.locked (id int); grant select, update on public.locked to switchboard"
    )
    await direct.owner.execute("insert into public.locked values (1)")
    await direct.define("perform from public.locked for update; return to_jsonb(1)", name="wait")
    await direct.define("return to_jsonb(2)")
    transaction = direct.owner.transaction()
    await transaction.start()
    await direct.owner.execute("select from public.locked for update")
    waiting = [asyncio.create_task(direct.call("wait")) for _ in range(6)]
    await asyncio.sleep(1)
    # Long before the others give up waiting for the lock.
    async with asyncio.timeout(5):
        assert [await direct.call() for _ in range(5)] == [2] * 5
    assert not any(task.done() for task in waiting)
    await transaction.rollback()
    assert await asyncio.gather(*waiting) == [1] * 6


async def test_there_is_an_end_to_connections(direct: Direct, starting: None) -> None:
    for name in ("do_it", "start"):
        await direct.define("perform pg_sleep(0.4); return to_jsonb(1)", name=name)
    most = 0
    # One kind after the other, and both at once.
    for names in (("do_it",), ("start",), ("do_it", "start")):
        calls = [asyncio.create_task(direct.call(name)) for name in names for _ in range(20)]
        while not all(task.done() for task in calls):
            most = max(most, len(await direct.backends()))
            await asyncio.sleep(0.05)
        assert [task.result() for task in calls] == [1] * len(calls)
    assert 2 < most <= 2 + postgres.MOST_LONG


async def test_where_there_is_no_room_for_more_connections_calls_wait_for_the_few(direct: Direct) -> None:
    await direct.define("perform pg_sleep(0.15); return to_jsonb(1)")
    assert await asyncio.gather(*(direct.call() for _ in range(2))) == [1] * 2
    # As many as there are now, the owner's included.
    await direct.owner.execute(f"alter database {direct.database} connection limit 3")
    assert await asyncio.gather(*(direct.call() for _ in range(20))) == [1] * 20
    # And every place was given back.
    await direct.owner.execute(f"alter database {direct.database} connection limit -1")
    # Until all of them have connected.
    await direct.define("perform pg_sleep(3); return to_jsonb(pg_backend_pid())")
    assert len(set(await asyncio.gather(*(direct.call() for _ in range(10))))) == 2 + postgres.MOST_LONG


async def test_where_there_is_no_room_one_kind_of_calls_takes_the_connections_of_the_other(
    direct: Direct, starting: None
) -> None:
    await direct.define("return to_jsonb(pg_backend_pid())", name="start")
    await direct.define("perform pg_sleep(0.2); return to_jsonb(pg_backend_pid())")
    await direct.owner.execute(f"alter database {direct.database} connection limit 2")  # the owner's and one more
    one = await direct.call()
    assert await direct.call("start") == one  # it lay idle
    assert await direct.call() == one
    mixed = await asyncio.gather(direct.call(), direct.call("start"), direct.call())
    assert list(mixed) == [one] * 3


async def test_every_place_comes_back_whatever_becomes_of_the_calls(direct: Direct, starting: None) -> None:
    """Calls that succeed, take long, are left by their callers, given up and cut, all at once."""
    for name in ("do_it", "start"):
        await direct.define("perform pg_sleep(seconds); return to_jsonb(seconds)", "seconds float", name=name)
    chance = random.Random(7)  # noqa: S311 - to be repeatable
    impatient = commands.Patience(tries=1, longest_pause=0, try_seconds=0.1, seconds=0.1)

    async def call() -> None:
        patience = chance.choice((ONCE, impatient))
        seconds = chance.choice((0.0, 0.01, 0.2))
        with contextlib.suppress(errors.BackendUnavailable):
            name = chance.choice(("do_it", "start"))
            assert await direct.call(name, seconds=seconds, patience=patience) == seconds

    for _ in range(5):
        calls = [asyncio.create_task(call()) for _ in range(60)]
        for task in chance.sample(calls, 20):
            await asyncio.sleep(0.005)
            task.cancel()
        for pid in chance.sample(found := await direct.backends(), min(2, len(found))):
            await direct.owner.fetchval("select pg_terminate_backend($1)", pid)
        for done in await asyncio.gather(*calls, return_exceptions=True):
            assert done is None or isinstance(done, asyncio.CancelledError), done
    (connections,) = postgres._all[asyncio.get_running_loop()].values()
    assert [lane.few for lane in (connections.places.starting, connections.places.others)] == [1, 1]
    assert (connections.places.spare, connections._in_use) == (postgres.MOST_LONG, 0)
    assert await direct.call(seconds=0.0) == 0


async def test_who_cannot_connect_takes_what_the_other_kind_of_calls_has_left(
    direct: Direct, starting: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("do_it", "start"):
        await direct.define("return to_jsonb(pg_backend_pid())", name=name)
    one = await direct.call()

    async def refused(*_: object) -> asyncpg.Connection:
        raise ConnectionRefusedError

    monkeypatch.setattr(postgres._Connections, "_connect", refused)
    assert await direct.call("start") == one
    await commands.close()
    with pytest.raises(errors.BackendUnavailable):
        await direct.call("start")


async def test_connections_that_nobody_uses_are_closed(direct: Direct, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "KEEP_SECONDS", 1)
    await direct.define("return to_jsonb(1)")
    await direct.call()
    assert await direct.backends()
    async with asyncio.timeout(10):
        while await direct.backends():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_a_connection_that_has_been_used_for_long_is_replaced(
    direct: Direct, monkeypatch: pytest.MonkeyPatch
) -> None:
    await direct.define("return to_jsonb(pg_backend_pid())")
    young = await direct.call()
    assert await direct.call() == young
    await commands.close()

    monkeypatch.setattr(postgres, "LIFE_SECONDS", 1)
    first = await direct.call()
    assert await direct.call() == first
    await asyncio.sleep(1)
    # It is old when it is given back, and the next call has another one.
    assert await direct.call() == first
    assert await direct.call() != first


async def test_every_event_loop_has_connections_of_its_own(direct: Direct) -> None:
    await direct.define("return to_jsonb(1)")

    async def once() -> Any:
        try:
            return await direct.call()
        finally:
            await commands.close()

    assert await asyncio.to_thread(lambda: asyncio.run(once())) == 1
    assert await direct.call() == 1
