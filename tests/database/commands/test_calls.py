"""One call of a SQL function: its role and claims, its arguments and result, and its end, however it ends.

`public.do_it` is a function of the test's, everything else is as migrated.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from lib import errors, log
from lib.auth import callers
from lib.database import commands
from lib.database.commands import Rpc
from lib.database.retries import BRIEF, Patience
from tests.database.commands.calls import LOGIN, OURS, PASSWORD, SCOPE, Database

USER = commands.reading_as(callers.User(uuid4(), None, "", token_claims='{"sub": "u", "role": "authenticated"}'))
CONTACT = commands.reading_as(
    callers.Contact(uuid4(), uuid4(), uuid4(), "asserted", "", token_claims='{"role": "contact"}')
)
NASTY = 'a "quoted" \\ line\n of \U0001f6eb, it\'s $1'


async def soon(condition: Callable[[], Any]) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(5):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("rpc", "role", "claims"),
    [
        (
            OURS,
            "switchboard",
            {
                "role": "switchboard",
                "scope": {"workspace_id": str(SCOPE.workspace_id)},
                "caller": {"kind": "anonymous"},
            },
        ),
        (USER, "authenticated", {"sub": "u", "role": "authenticated"}),
        (CONTACT, "contact", {"role": "contact"}),
    ],
)
async def test_a_call_has_its_role_and_claims_and_leaves_none_behind(
    anywhere: Database, rpc: Rpc, role: str, claims: dict[str, Any]
) -> None:
    await anywhere.define(
        "return jsonb_build_array(current_user, session_user, current_setting('statement_timeout'),"
        " current_setting('lock_timeout'), private.claims())"
    )
    assert await anywhere.call(rpc=rpc) == [role, LOGIN, "10s", "8s", claims]
    async with (await commands._database()).pool.acquire() as same_connection:
        after = await same_connection.fetchrow("select current_user::text, private.claims()::text")
    assert tuple(after or ()) == ("switchboard", "{}")


async def test_a_caller_may_call_only_what_its_own_role_may(anywhere: Database) -> None:
    await anywhere.define("return to_jsonb(current_user)")
    for rpc, role in ((CONTACT, "contact"), (USER, "authenticated"), (OURS, "switchboard")):
        await anywhere.owner.execute(f"revoke execute on function public.do_it from {role}")
        with pytest.raises(errors.InternalError if rpc is OURS else errors.Forbidden):
            await anywhere.call(rpc=rpc)
        await anywhere.owner.execute(f"grant execute on function public.do_it to {role}")
        assert await anywhere.call(rpc=rpc) == role


async def test_a_caller_reads_under_its_own_policies(anywhere: Database) -> None:
    user_id, workspace_id = uuid4(), uuid4()
    await anywhere.owner.execute("create table scratch.seen (workspace_id uuid, who uuid)")
    await anywhere.owner.execute("alter table scratch.seen enable row level security")
    await anywhere.owner.execute("grant select on scratch.seen to authenticated, switchboard")
    await anywhere.owner.execute(
        "create policy own on scratch.seen for select to authenticated using (who = (select auth.uid()))"
    )
    for who in (user_id, uuid4()):
        await anywhere.owner.execute("insert into scratch.seen values ($1, $2)", workspace_id, who)
    await anywhere.define("return (select jsonb_agg(who) from scratch.seen)")
    user = callers.User(user_id, None, "", token_claims=f'{{"sub": "{user_id}"}}')
    # In turn, so that a plan made for one role is not used for the other.
    for _ in range(3):
        assert await anywhere.call(rpc=commands.reading_as(user)) == [str(user_id)]
        assert await anywhere.call() is None


async def test_arguments_arrive_as_their_types(anywhere: Database) -> None:
    await anywhere.define(
        "return jsonb_build_object('id', an_id, 'text', a_text, 'list', to_jsonb(a_list), 'document', a_document,"
        " 'number', a_number, 'moment', a_moment, 'flag', a_flag, 'left_out', left_out)",
        "an_id uuid, a_text text, a_list text[], a_document jsonb, a_number bigint, a_moment timestamptz,"
        " a_flag boolean, left_out integer default 7",
    )
    same: dict[str, Any] = {
        "text": NASTY,
        "list": ["x,y", "{}", NASTY],
        "document": {"deep": [None, True, 1.5, NASTY]},
        "number": 2**62,
        "flag": None,
    }
    given = {f"a_{name}": value for name, value in same.items()} | {
        "an_id": (an_id := uuid4()),
        "a_moment": "2026-11-21T18:00:00+01:00",
    }
    found = await anywhere.call(**given)
    assert found.pop("moment").startswith("2026-11-21T17:00:00")
    assert found == same | {"id": str(an_id), "left_out": 7}
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
    database: Database, returns: str, body: str, answer: object
) -> None:
    await database.define(body, returns=returns)
    assert await database.call() == answer


@pytest.mark.parametrize("rpc", [OURS, USER], ids=["switchboard", "own"])
async def test_a_refusal_keeps_what_was_written_and_an_error_nothing(anywhere: Database, rpc: Rpc) -> None:
    await anywhere.owner.execute(
        "create table scratch.kept (what text); grant insert on scratch.kept to switchboard, authenticated"
    )
    outcomes = {
        "perform set_config('response.status', '429', true);"
        " return jsonb_build_object('code', 'rate_limited', 'retry_after', 7)": (429, 7),
        "raise sqlstate 'PT404' using message = 'space_not_found'": (404, None),
    }
    for body, (status, retry_after) in outcomes.items():
        await anywhere.define(f"insert into scratch.kept values ('{status}'); {body}")
        with pytest.raises(errors.Refused) as refused:
            await anywhere.call(rpc=rpc)
        assert (refused.value.status, refused.value.retry_after) == (status, retry_after)
    assert [row["what"] for row in await anywhere.owner.fetch("select what from scratch.kept")] == ["429"]

    # The status of one call is not the next one's.
    await anywhere.define("return to_jsonb(1)")
    assert await anywhere.call(rpc=rpc) == 1


@pytest.mark.parametrize(
    ("body", "name", "arguments"),
    [
        ("return to_jsonb(1)", "not_there", {}),
        ("return to_jsonb(1)", "do_it", {"unknown": 1}),
        ("return to_jsonb(1)", "follow_conversation", {"conversation_id": uuid4()}),
        ("return public.nowhere_to_be_found()", "do_it", {}),
    ],
    ids=["missing", "missing argument", "no right", "calls one that is missing"],
)
async def test_what_cannot_be_called_is_our_mistake(
    database: Database, body: str, name: str, arguments: dict[str, Any]
) -> None:
    await database.define(body)
    with pytest.raises(errors.InternalError):
        await database.call(name, **arguments)
    await database.define("return to_jsonb(1)")
    assert await database.call() == 1


async def test_what_postgres_says_of_an_error_is_not_logged(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(log, "_write", lines.append)
    await database.owner.execute("create table scratch.kept (email text unique); grant all on scratch.kept to public")
    await database.define("insert into scratch.kept values ('x@example.com'), ('x@example.com'); return null")
    with pytest.raises(errors.InternalError):
        await database.call()
    assert "23505" in lines[-1]
    assert "x@example.com" not in "".join(lines)


async def test_a_function_may_be_replaced_while_it_is_in_use(database: Database) -> None:
    await database.define("return to_jsonb(value)", "value integer")
    assert await database.call(value=1) == 1
    await database.define("return to_jsonb(value + 1)", "value integer")
    assert await database.call(value=1) == 2
    await database.owner.execute("drop function public.do_it(integer)")
    with pytest.raises(errors.InternalError):
        await database.call(value=1)
    await database.define("return to_jsonb(value || ' more')", "value text, other integer default 0")
    assert [await database.call(value="1", rpc=rpc) for rpc in (OURS, USER)] == ["1 more"] * 2


@pytest.mark.parametrize("repeatable", [False, True])
async def test_a_call_that_is_cut_is_made_again_only_where_that_is_harmless(
    anywhere: Database, repeatable: bool
) -> None:
    await anywhere.owner.execute(
        "create table scratch.done (at timestamptz); grant insert on scratch.done to switchboard"
    )
    await anywhere.owner.execute("create sequence scratch.tries; grant usage on sequence scratch.tries to switchboard")
    await anywhere.define(
        "if nextval('scratch.tries') = 1 then perform pg_sleep(30); end if; insert into scratch.done values (now());"
        " return to_jsonb(1)"
    )
    calling = asyncio.create_task(anywhere.call(repeatable=repeatable, patience=BRIEF))
    await soon(lambda: anywhere.owner.fetchval("select is_called from scratch.tries"))
    for pid in await anywhere.backends():
        await anywhere.cut(pid)
    if repeatable:
        assert await calling == 1
    else:
        with pytest.raises(errors.BackendUnavailable):
            await calling
    assert await anywhere.owner.fetchval("select count(*) from scratch.done") == int(repeatable)


@pytest.mark.parametrize("rpc", [OURS, USER], ids=["switchboard", "own"])
async def test_a_call_that_is_given_up_or_left_ends_in_the_database_and_leaves_no_answer(
    anywhere: Database, rpc: Rpc
) -> None:
    await anywhere.define("perform pg_sleep(seconds); return to_jsonb(seconds)", "seconds float")
    assert await anywhere.call(rpc=rpc, seconds=0.0) == 0
    impatient = Patience(tries=1, longest_pause=0, try_seconds=0.2, seconds=0.2)
    with pytest.raises(errors.BackendUnavailable):
        await anywhere.call(rpc=rpc, seconds=20.0, patience=impatient)
    leaving = asyncio.create_task(anywhere.call(rpc=rpc, seconds=20.0))
    await asyncio.sleep(0.2)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    query = "select not exists (select from pg_stat_activity where usename = $1 and state <> 'idle')"
    await soon(lambda: anywhere.owner.fetchval(query, LOGIN))
    assert [await anywhere.call(rpc=rpc, seconds=seconds) for seconds in (0.0, 0.3, 0.01)] == [0.0, 0.3, 0.01]


async def test_the_statement_timeout_ends_a_call(database: Database) -> None:
    limit = f"alter role {LOGIN} in database {database.name}"
    await database.owner.execute(f"{limit} set statement_timeout = 200")
    await database.define("perform pg_sleep(5); return to_jsonb(1)")
    with pytest.raises(errors.BackendUnavailable):
        await database.call()
    await database.owner.execute(f"{limit} reset statement_timeout")


@pytest.mark.parametrize(("part", "wrong"), [(f":{PASSWORD}@", ":wrong@"), (r":\d+/", ":9/")])
async def test_a_database_that_does_not_let_us_in_is_told_and_found_again(
    database: Database, settings: Callable[..., None], part: str, wrong: str
) -> None:
    await database.define("return to_jsonb(1)")
    settings(SWITCHBOARD_DATABASE_URL=re.sub(part, wrong, database.url))
    async with asyncio.timeout(2):
        with pytest.raises(errors.BackendUnavailable):
            await database.call(patience=BRIEF)
    await commands.close()
    settings(SWITCHBOARD_DATABASE_URL=database.url)
    assert await database.call() == 1


def test_a_call_is_one_statement() -> None:
    call = commands._Call("f", ('a"b',), "{}", "{}", None, shows_key=False)
    statement = commands._statement(call, {'a"b': "integer"}, is_json=True)
    assert statement.count(";") == 0
    assert 'public."f"("a""b" := a."a""b")' in statement
