"""Calls over a direct connection: what PostgREST does with a call, and what a connection of one's own may do wrong.

Against a real server of every version; `public.do_it` is a function of the test's, everything else is as migrated.
"""

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from lib import errors
from lib.auth import callers
from lib.database import commands, postgres
from tests.database.direct.direct import ONCE, PASSWORD, SCOPE, Anything, Direct


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
    assert (problem.status, problem.code, problem.detail) == (404, "space_not_found", None)
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
    assert await direct.call(patience=commands.BRIEF) == "done"


async def test_a_connection_that_was_cut_while_unused_is_replaced(direct: Direct) -> None:
    await direct.define("return to_jsonb(pg_backend_pid())")
    before = await direct.call()
    await direct.owner.fetchval("select pg_terminate_backend($1)", before)
    async with asyncio.timeout(5):
        while before in await direct.backends():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert await direct.call(patience=commands.BRIEF) != before


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
    calling = asyncio.create_task(direct.call(repeatable=repeatable, patience=commands.BRIEF))
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
    impatient = commands.Patience(tries=1, longest_pause=0, try_seconds=0.2, seconds=0.2)
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


async def test_a_database_that_does_not_answer_is_told_and_found_again(
    direct: Direct, settings: Callable[..., None]
) -> None:
    await direct.define("return to_jsonb(1)")
    for wrong in (direct.url.replace(PASSWORD, "wrong"), "postgresql://switchboard_login:x@127.0.0.1:9/postgres"):
        settings(SWITCHBOARD_DATABASE_URL=wrong)
        with pytest.raises(errors.BackendUnavailable):
            await direct.call(patience=commands.BRIEF)
    settings(SWITCHBOARD_DATABASE_URL=direct.url)
    assert await direct.call() == 1


async def test_readers_go_to_postgrest_with_their_own_token(direct: Direct) -> None:
    await direct.define("return to_jsonb(1)")
    reader = commands.reading_as(callers.User(uuid4(), None, "the-users-own-token"))
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
