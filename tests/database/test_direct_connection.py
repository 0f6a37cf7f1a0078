"""Calls over a direct connection: what PostgREST does with a call, and what a connection of one's own may do wrong.

Against a real server of every version; `public.do_it` is a function of the test's, everything else is as migrated.
"""

import asyncio
import contextlib
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from pydantic import RootModel

from lib import auth, config, db, errors, postgres
from local import standins
from tests.servers import VERSIONS, Server

PASSWORD = "let-me-in"
SCOPE = auth.Scope(workspace_id=uuid4())
ONCE = db.Patience(tries=1, longest_pause=0, try_seconds=10, seconds=10)


class Anything(RootModel[Any]):
    """Whatever a function returns."""


class Direct:
    """A migrated database, reached as the functions reach it and as its owner."""

    def __init__(self, server: Server, database: str, owner: asyncpg.Connection) -> None:
        self.server = server
        self.database = database
        self.owner = owner
        self.url = server.cluster.url("switchboard_login", PASSWORD, database)

    async def define(self, body: str, arguments: str = "", returns: str = "jsonb", name: str = "do_it") -> None:
        """Make, or replace, a function that the role switchboard may call."""
        await self.owner.execute(
            f"create or replace function public.{name}({arguments}) returns {returns} language plpgsql volatile"
            f" as $_$ begin {body}; end $_$"
        )
        await self.owner.execute(f"grant execute on function public.{name} to switchboard")

    async def call(self, name: str = "do_it", /, *, patience: db.Patience = ONCE, **arguments: Any) -> Any:
        """What the functions get from a call; `repeatable` by name is the caller's promise."""
        repeatable = arguments.pop("repeatable", False)
        rpc = db.acting_as(auth.Anonymous(), SCOPE)
        return (await rpc.call(name, arguments, Anything, repeatable=repeatable, patience=patience)).root

    async def backends(self) -> list[int]:
        """The backends that serve the login in this database."""
        query = "select pid from pg_stat_activity where usename = 'switchboard_login' and datname = $1 order by pid"
        return [row["pid"] for row in await self.owner.fetch(query, self.database)]


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """The functions' settings, with no PostgREST anywhere; call it to set the direct connection's."""

    def change(**environment: str) -> None:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        config.settings.cache_clear()

    change(
        SUPABASE_URL="http://127.0.0.1:9",
        SUPABASE_ANON_KEY="x",
        SUPABASE_JWT_SECRET="a-secret-of-the-project-that-is-long-enough",
        CRON_SECRET="what-the-schedules-send",
    )
    yield change
    config.settings.cache_clear()


@pytest.fixture
def starting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function `start` that counts as one that starts turns; the real one does too much for a test."""
    monkeypatch.setattr(postgres, "STARTING", frozenset({"start"}))


@asynccontextmanager
async def opened(server: Server, settings: Callable[..., None]) -> AsyncIterator[Direct]:
    """A direct connection to a database of its own."""
    name = await server.migrated()
    owner = await asyncpg.connect(server.owner_url(name))
    try:
        await standins.let_in(server.owner_url(name), "switchboard_login", PASSWORD)
        direct = Direct(server, name, owner)
        settings(SWITCHBOARD_DATABASE_URL=direct.url, SWITCHBOARD_DATABASE_CONNECTIONS="2")
        yield direct
    finally:
        await db.close()
        await owner.close()
        await server.drop(name)


@pytest_asyncio.fixture(params=VERSIONS)
async def anywhere(
    request: pytest.FixtureRequest, server: Callable[[int], Server], settings: Callable[..., None]
) -> AsyncIterator[Direct]:
    """A direct connection on every version."""
    async with opened(server(request.param), settings) as direct:
        yield direct


@pytest_asyncio.fixture
async def direct(server_18: Server, settings: Callable[..., None]) -> AsyncIterator[Direct]:
    """A direct connection on the version of the local backend."""
    async with opened(server_18, settings) as found:
        yield found


async def test_a_call_is_made_as_switchboard_with_the_callers_claims_and_its_time_limits(anywhere: Direct) -> None:
    await anywhere.define(
        "return jsonb_build_array(current_user, session_user, current_setting('statement_timeout'),"
        " current_setting('lock_timeout'), private.claims())"
    )
    role, login, statement_timeout, lock_timeout, claims = await anywhere.call()
    assert (role, login) == ("switchboard", "switchboard_login")
    assert (statement_timeout, lock_timeout) == ("10s", "8s")
    assert claims["role"] == "switchboard"
    assert claims["scope"] == {"workspace_id": str(SCOPE.workspace_id)}
    assert claims["caller"] == {"kind": "anonymous"}


async def test_claims_end_with_their_call(anywhere: Direct) -> None:
    await anywhere.define("return private.claims()")
    await anywhere.call()
    async with asyncio.timeout(5):
        connection = await asyncpg.connect(anywhere.url)
    assert await connection.fetchval("select private.claims()::text") == "{}"
    await connection.close()
    (pool,) = postgres._all[asyncio.get_running_loop()].values()
    kept = pool.places.others.idle.take()
    assert kept is not None
    assert await kept.wire.fetchval("select private.claims()::text") == "{}"


async def test_arguments_arrive_as_their_types(anywhere: Direct) -> None:
    await anywhere.define(
        "return jsonb_build_object('id', an_id, 'text', a_text, 'list', to_jsonb(a_list), 'document', a_document,"
        " 'number', a_number, 'moment', a_moment, 'flag', a_flag, 'left_out', left_out)",
        "an_id uuid, a_text text, a_list text[], a_document jsonb, a_number bigint, a_moment timestamptz,"
        " a_flag boolean, left_out integer default 7",
    )
    an_id = uuid4()
    nasty = 'a "quoted" \\ line\n of \U0001f6eb, it\'s $1'
    given: dict[str, Any] = {
        "an_id": an_id,
        "a_text": nasty,
        "a_list": ["x,y", "{}", nasty],
        "a_document": {"deep": [None, True, 1.5, nasty]},
        "a_number": 2**62,
        "a_moment": "2026-11-21T18:00:00+01:00",
        "a_flag": None,
    }
    found = await anywhere.call(**given)
    assert found.pop("moment").startswith("2026-11-21T17:00:00")
    assert found == {
        "id": str(an_id),
        "text": nasty,
        "list": ["x,y", "{}", nasty],
        "document": {"deep": [None, True, 1.5, nasty]},
        "number": 2**62,
        "flag": None,
        "left_out": 7,
    }
    assert (await anywhere.call(**given, left_out=None))["left_out"] is None


@pytest.mark.parametrize(
    ("returns", "body", "answer"),
    [
        ("integer", "return 3", 3),
        ("text", "return 'a\"b'", 'a"b'),
        ("jsonb", "return null", None),
        ("integer", "return null", None),
    ],
)
async def test_a_result_that_is_no_document_or_nothing_comes_as_json(
    direct: Direct, returns: str, body: str, answer: object
) -> None:
    await direct.define(body, returns=returns)
    assert await direct.call() == answer


async def test_a_refusal_keeps_what_was_written_and_an_error_nothing(anywhere: Direct) -> None:
    await anywhere.owner.execute("create table public.kept (what text); grant insert on public.kept to switchboard")
    await anywhere.define(
        """insert into public.kept values ('refused');
        perform set_config('response.status', '429', true);
        return jsonb_build_object('title', 'Slow down.', 'code', 'rate_limited', 'retry_after', 7)"""
    )
    with pytest.raises(errors.Refused) as refused:
        await anywhere.call()
    problem = refused.value
    assert (problem.status, problem.code, problem.retry_after) == (429, "rate_limited", 7)

    await anywhere.define(
        """insert into public.kept values ('raised');
        raise sqlstate 'PT404' using message = 'space_not_found', detail = 'There is no such space.'"""
    )
    with pytest.raises(errors.Refused) as raised:
        await anywhere.call()
    problem = raised.value
    assert (problem.status, problem.code, problem.detail) == (404, "space_not_found", "There is no such space.")
    assert [row["what"] for row in await anywhere.owner.fetch("select what from public.kept")] == ["refused"]

    # The status of one call is not the next one's.
    await anywhere.define("return to_jsonb(1)")
    assert await anywhere.call() == 1


async def test_a_moved_contact_is_told_where_it_went(direct: Direct) -> None:
    await direct.define("raise sqlstate 'PT307' using message = 'contact_merged', hint = 'x'")
    with pytest.raises(errors.Moved):
        await direct.call()


@pytest.mark.parametrize(
    ("name", "arguments"), [("not_there", {}), ("do_it", {"unknown": 1}), ("read_session", {"session_id": uuid4()})]
)
async def test_what_cannot_be_called_is_our_mistake(direct: Direct, name: str, arguments: dict[str, Any]) -> None:
    """A function that is missing, an argument that is, and one that the role has no right to."""
    await direct.define("return to_jsonb(1)")
    with pytest.raises(errors.InternalError):
        await direct.call(name, **arguments)
    assert await direct.call() == 1


async def test_a_function_that_calls_one_that_is_missing_is_our_mistake(direct: Direct) -> None:
    await direct.define("return public.nowhere_to_be_found()")
    with pytest.raises(errors.InternalError):
        await direct.call()


async def test_a_function_may_be_replaced_while_it_is_in_use(direct: Direct) -> None:
    await direct.define("return to_jsonb(value)", "value integer")
    assert await direct.call(value=1) == 1
    await direct.define("return to_jsonb(value + 1)", "value integer")
    assert await direct.call(value=1) == 2
    await direct.owner.execute("drop function public.do_it(integer)")
    with pytest.raises(errors.InternalError):
        await direct.call(value=1)
    await direct.define("return to_jsonb(value || ' more')", "value text, other integer default 0")
    assert await direct.call(value="1") == "1 more"


async def test_a_deadlock_or_a_lock_that_is_not_got_is_asked_for_again(direct: Direct) -> None:
    await direct.owner.execute("create sequence public.tries; grant usage on sequence public.tries to switchboard")
    await direct.define(
        "if nextval('public.tries') < 3 then raise sqlstate '40P01'; end if; return to_jsonb('done'::text)"
    )
    assert await direct.call(patience=db.BRIEF) == "done"


async def test_a_connection_that_was_cut_while_unused_is_replaced(direct: Direct) -> None:
    await direct.define("return to_jsonb(pg_backend_pid())")
    before = await direct.call()
    await direct.owner.fetchval("select pg_terminate_backend($1)", before)
    async with asyncio.timeout(5):
        while before in await direct.backends():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert await direct.call(patience=db.BRIEF) != before


def gone(pid: int) -> bool:
    """Whether a process ends within five seconds, in which no event loop of ours reads anything."""
    for _ in range(500):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


async def test_a_farewell_that_was_not_read_yet_is_found_before_the_call(direct: Direct) -> None:
    await direct.define("return to_jsonb(pg_backend_pid())")
    before = await direct.call()
    await direct.owner.fetchval("select pg_terminate_backend($1)", before)
    assert gone(before)
    assert await direct.call() != before


@pytest.mark.parametrize("repeatable", [False, True])
async def test_a_call_that_is_cut_is_made_again_only_where_that_is_harmless(direct: Direct, repeatable: bool) -> None:
    await direct.owner.execute("create table public.done (at timestamptz); grant insert on public.done to switchboard")
    await direct.owner.execute("create sequence public.tries; grant usage on sequence public.tries to switchboard")
    await direct.define(
        "if nextval('public.tries') = 1 then perform pg_sleep(30); end if; insert into public.done values (now());"
        " return to_jsonb(1)"
    )
    calling = asyncio.create_task(direct.call(repeatable=repeatable, patience=db.BRIEF))
    async with asyncio.timeout(5):
        while not await direct.owner.fetchval("select is_called from public.tries"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    for pid in await direct.backends():
        await direct.owner.fetchval("select pg_terminate_backend($1)", pid)
    if repeatable:
        assert await calling == 1
    else:
        with pytest.raises(errors.BackendUnavailable):
            await calling
    assert await direct.owner.fetchval("select count(*) from public.done") == int(repeatable)


async def test_a_call_that_takes_too_long_is_given_up_and_its_connection_with_it(direct: Direct) -> None:
    await direct.define("perform pg_sleep(seconds); return to_jsonb(seconds)", "seconds float")
    impatient = db.Patience(tries=1, longest_pause=0, try_seconds=0.2, seconds=0.2)
    with pytest.raises(errors.BackendUnavailable):
        await direct.call(seconds=3.0, patience=impatient)
    # Whatever the first one still answers, it is not taken for this one's answer.
    assert await direct.call(seconds=0.0) == 0


async def test_a_caller_who_leaves_leaves_no_answer_behind(direct: Direct) -> None:
    await direct.define("perform pg_sleep(seconds); return to_jsonb(seconds)", "seconds float")
    leaving = asyncio.create_task(direct.call(seconds=0.3))
    await asyncio.sleep(0.1)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert [await direct.call(seconds=seconds) for seconds in (0.0, 0.5, 0.01)] == [0.0, 0.5, 0.01]


async def test_the_statement_timeout_ends_a_call(direct: Direct) -> None:
    await direct.owner.execute(
        "alter role switchboard_login in database " + direct.database + " set statement_timeout = 200"
    )
    await direct.define("perform pg_sleep(5); return to_jsonb(1)")
    with pytest.raises(errors.BackendUnavailable):
        await direct.call()


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
    async with asyncio.timeout(1):
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
    await direct.define("perform pg_sleep(1.5); return to_jsonb(pg_backend_pid())")
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
    impatient = db.Patience(tries=1, longest_pause=0, try_seconds=0.1, seconds=0.1)

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
    await db.close()
    with pytest.raises(errors.BackendUnavailable):
        await direct.call("start")


async def test_connections_that_nobody_uses_are_closed(direct: Direct, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "KEEP_SECONDS", 0.2)
    await direct.define("return to_jsonb(1)")
    await direct.call()
    assert await direct.backends()
    async with asyncio.timeout(5):
        while await direct.backends():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_a_connection_that_has_been_used_for_long_is_replaced(
    direct: Direct, monkeypatch: pytest.MonkeyPatch
) -> None:
    await direct.define("return to_jsonb(pg_backend_pid())")
    young = await direct.call()
    assert await direct.call() == young
    await db.close()

    monkeypatch.setattr(postgres, "LIFE_SECONDS", 0.3)
    first = await direct.call()
    assert await direct.call() == first
    await asyncio.sleep(0.3)
    # It is old when it is given back, and the next call has another one.
    assert await direct.call() == first
    assert await direct.call() != first


async def test_a_database_that_does_not_answer_is_told_and_found_again(
    direct: Direct, settings: Callable[..., None]
) -> None:
    await direct.define("return to_jsonb(1)")
    for wrong in (direct.url.replace(PASSWORD, "wrong"), "postgresql://switchboard_login:x@127.0.0.1:9/postgres"):
        settings(SWITCHBOARD_DATABASE_URL=wrong)
        with pytest.raises(errors.BackendUnavailable):
            await direct.call(patience=db.BRIEF)
    settings(SWITCHBOARD_DATABASE_URL=direct.url)
    assert await direct.call() == 1


async def test_every_event_loop_has_connections_of_its_own(direct: Direct) -> None:
    await direct.define("return to_jsonb(1)")

    async def once() -> Any:
        try:
            return await direct.call()
        finally:
            await db.close()

    assert await asyncio.to_thread(lambda: asyncio.run(once())) == 1
    assert await direct.call() == 1


async def test_readers_go_to_postgrest_with_their_own_token(direct: Direct) -> None:
    await direct.define("return to_jsonb(1)")
    reader = db.reading_as(auth.User(uuid4(), None, "the-users-own-token"))
    with pytest.raises(errors.BackendUnavailable):
        await reader.call("do_it", {}, Anything, patience=ONCE)


async def test_the_login_is_good_for_nothing_but_switchboard(anywhere: Direct) -> None:
    connection = await asyncpg.connect(anywhere.url)
    try:
        for role in ("postgres", "service_role", "authenticated", "contact", "anon", "authenticator"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"set role {role}")
        # Nothing was entered, so nothing is there.
        for table in ("workspaces", "contacts", "sessions", "messages"):
            assert await connection.fetchval(f"select count(*) from public.{table}") == 0
        with pytest.raises(asyncpg.PostgresError) as refused:
            await connection.fetchval("select public.read_session($1)", uuid4())
        assert isinstance(refused.value, asyncpg.InsufficientPrivilegeError)
        # Without the role it has nothing at all.
        await connection.execute("set role none")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetchval("select count(*) from public.contacts")
    finally:
        await connection.close()


def test_a_call_is_one_statement() -> None:
    statement = postgres._statement("f", {'a"b': "integer"}, is_json=True)
    assert statement.count(";") == 0
    assert 'public."f"("a""b" := a."a""b")' in statement
