"""Commands: one SQL function a call, in one transaction, over a pool of connections to Postgres.

A function that only we may execute is called as the role `switchboard`, with the caller and the scope as its claims
(`acting_as`). A function that callers may execute themselves is called as their own role, `contact` or
`authenticated`, with the verified claims of their token (`reading_as`). Row-level security applies to both.

The login `switchboard_login` has no rights of its own: it takes the role `switchboard` as it connects. A call is then
one statement and one round trip, which also sets the claims for its own transaction. Postgres checks the right to
execute a function before a statement runs, so a caller's own role is set by a statement before the call.

A call is retried only if a repeat has no second effect: if it is idempotent (``repeatable``), if nothing was sent, or
if Postgres reports a rollback (deadlock, serialization failure, lock timeout; once also if a row or a function that the
call needs was just deleted). Any other connection failure is BackendUnavailable: it is then unknown whether the call
was executed.
"""

import asyncio
import contextlib
import json
import weakref
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from pydantic import BaseModel, ValidationError

from lib import config, errors, log
from lib.auth import callers
from lib.database import refusals, retries
from lib.database.failures import CALL_FAILED
from lib.database.refusals import SqlError
from lib.database.retries import BRIEF, Patience, Unreachable

Answer = TypeVar("Answer", bound=BaseModel)

CONNECT_SECONDS = 3

IDLE_SECONDS = 60
"""How long an unused connection is kept."""

RELEASE_SECONDS = 1
"""How long the cancellation of a call may take before its connection is closed."""

ROLLBACK_SECONDS = 15
"""Limit of a statement without its own, such as a rollback after the server has stopped to answer."""

_encode = json.JSONEncoder(default=str, allow_nan=False, separators=(",", ":")).encode

_SIGNATURE = """
select p.proargnames[:p.pronargs] as names,
       array(select format_type(t.type, null)
               from unnest(p.proargtypes::oid[]) with ordinality t (type, place) order by t.place) as types,
       p.prorettype in ('json'::regtype, 'jsonb'::regtype) as is_json
  from pg_catalog.pg_proc p
 where p.pronamespace = 'public'::regnamespace and p.proname = $1
"""


@dataclass(frozen=True)
class Rpc:
    """SQL functions, called for one caller. Made by acting_as and reading_as.

    With a scope they are called as ourselves, on the caller's behalf; without one as the caller.
    """

    caller: callers.Caller
    scope: callers.Scope | None

    async def call(
        self,
        name: str,
        arguments: Mapping[str, Any],
        returns: type[Answer],
        *,
        repeatable: bool = False,
        patience: Patience = BRIEF,
    ) -> Answer:
        """Call a SQL function with named arguments and read its jsonb result.

        ``repeatable`` declares the call idempotent. Raises Refused for an error or a refusal under a code of ours,
        BackendUnavailable when the database cannot be reached or gives up, and
        InternalError (logged) for every other failure, which is our own mistake. As the caller also TokenExpired and
        Forbidden.
        """
        call = _Call(name, tuple(arguments), _encode(arguments), *self._identity(), self._shows_key())

        async def once() -> Answer:
            status, content = await _run(call, patience.try_seconds)
            if status is not None:
                raise refusals.of_result(name, status, json.loads(content))
            if config.settings().switchboard_listen:
                from lib.database import announcements  # noqa: PLC0415 (of few deployments)

                announcements.after(name, arguments, content)
            try:
                return returns.model_validate_json(content)
            except ValidationError as unexpected:
                faults = unexpected.errors(include_input=False, include_url=False)
                log.error("backend_answer_unexpected", call=name, faults=[(f["loc"], f["type"]) for f in faults])
                raise errors.InternalError() from None

        return await retries.run(once, patience, repeatable=repeatable)

    def _identity(self) -> tuple[str, str | None]:
        """The claims, and the caller's own role for a call without a scope."""
        if self.scope is not None:
            return callers.switchboard_claims(self.caller, self.scope), None
        if isinstance(self.caller, callers.Contact | callers.User):
            return callers.own_claims(self.caller), self.caller.role
        raise TypeError("only a contact or a user has a role of their own")

    def _shows_key(self) -> bool:
        """Whether a key has to be admitted first. A command within a workspace continues one that was admitted: the
        answer to a message is stored even if the key is revoked meanwhile."""
        return isinstance(self.caller, callers.ApiKey) and (self.scope is None or self.scope.workspace_id is None)


def acting_as(caller: callers.Caller, scope: callers.Scope) -> Rpc:
    """The SQL functions that only we may execute, on behalf of this caller and no further than the scope."""
    return Rpc(caller, scope)


def reading_as(caller: callers.Contact | callers.User) -> Rpc:
    """The SQL functions that callers may execute themselves: their own role and claims, their row-level security."""
    return Rpc(caller, None)


@contextlib.asynccontextmanager
async def connection() -> AsyncIterator[PoolConnectionProxy]:
    """A connection of the pool, in the role `switchboard` and without claims: for lib/database/copying.py."""
    database = await _database()
    async with database.pool.acquire() as acquired:
        yield acquired


async def close() -> None:
    """Close this event loop's connections. Only a process that outlives its loop needs it."""
    if (database := _databases.pop(asyncio.get_running_loop(), None)) is not None:
        database.pool.terminate()
        await asyncio.sleep(0)  # a transport closes in the loop's next round


@dataclass(frozen=True, slots=True)
class _Call:
    """One call: ``claims`` and ``arguments`` are JSON objects, ``names`` the arguments' names, and ``shows_key`` means
    that the caller's API key is admitted first."""

    name: str
    names: tuple[str, ...]
    arguments: str
    claims: str
    role: str | None
    shows_key: bool

    @property
    def signature(self) -> tuple[str, tuple[str, ...], bool]:
        """What the statement depends on."""
        return self.name, self.names, self.shows_key


async def _run(call: _Call, seconds: float) -> tuple[int | None, str]:
    """The status that the function set for its result, None if it set none, and the result as JSON.

    ``seconds`` is for all of it, waiting for a connection included. A call that is cancelled under way is cancelled in
    Postgres too. Raises Unreachable, and what `refusals.of_error` makes of an error in SQL.
    """
    sent = False
    try:
        async with asyncio.timeout(seconds):
            database = await _database()
            connection = await database.pool.acquire()
            try:
                sent = True
                return await database.run(connection, call)
            except asyncpg.PostgresError as raised:
                error = SqlError(raised.sqlstate or "", raised.message, raised.detail, raised.hint)
            finally:
                await database.pool.release(connection, timeout=RELEASE_SECONDS)
    except CALL_FAILED as failure:
        harmless = not sent or isinstance(failure, asyncpg.InternalClientError)
        event = "backend_unreachable" if harmless else "backend_lost"
        log.warning(event, call=call.name, reason=type(failure).__name__)
        raise Unreachable(harmless=harmless) from None
    # Outside of the except block, so that no traceback is logged: Postgres's texts may quote a person's text.
    raise refusals.of_error(call.name, error, own_role=call.role is not None)


class _Database:
    """One event loop's connections, and the statements that call functions over them."""

    def __init__(self, settings: config.Settings) -> None:
        self.pool = asyncpg.create_pool(
            settings.switchboard_database_url.get_secret_value(),
            min_size=0,
            max_size=settings.switchboard_database_connections,
            max_inactive_connection_lifetime=IDLE_SECONDS,
            reset=_keep_as_it_is,
            timeout=CONNECT_SECONDS,
            command_timeout=ROLLBACK_SECONDS,
            statement_cache_size=200 if settings.switchboard_database_prepared_statements else 0,
            max_cached_statement_lifetime=0,
            server_settings={"application_name": "switchboard"},
        )
        self._statements: dict[tuple[str, tuple[str, ...], bool], str] = {}

    async def run(self, connection: PoolConnectionProxy, call: _Call) -> tuple[int | None, str]:
        """As `_run`, over this connection."""
        if call.role is None:
            return await self._send(connection, call)
        async with connection.transaction():
            await connection.execute(f"set local role {call.role}")
            return await self._send(connection, call)

    async def _send(self, connection: PoolConnectionProxy, call: _Call) -> tuple[int | None, str]:
        statement = await self._statement(connection, call)
        try:
            row = await connection.fetchrow(statement, call.claims, call.arguments)
        except asyncpg.UndefinedFunctionError:
            # The function may have been replaced by one with other arguments.
            self._statements.pop(call.signature, None)
            raise
        if row is None:
            raise RuntimeError("a call is one row")
        result, status = row
        return int(status) if status else None, "null" if result is None else result

    async def _statement(self, connection: PoolConnectionProxy, call: _Call) -> str:
        """The statement that calls the function with arguments of these names. Raises UndefinedFunctionError."""
        if (known := self._statements.get(call.signature)) is not None:
            return known
        for found in await connection.fetch(_SIGNATURE, call.name):
            types = dict(zip(found["names"] or (), found["types"], strict=True))
            if types.keys() >= set(call.names):
                statement = _statement(call, {name: types[name] for name in call.names}, found["is_json"])
                self._statements[call.signature] = statement
                return statement
        raise asyncpg.UndefinedFunctionError("no such function, or not with these arguments")


def _statement(call: _Call, types: Mapping[str, str], is_json: bool) -> str:
    """The call as one statement: $1 is the claims, $2 the arguments.

    `case` makes Postgres set the claims, and admit an API key, before the call; `offset 0` keeps the status from being
    read before it.
    """
    given = ", ".join(f"{_quoted(argument)} := a.{_quoted(argument)}" for argument in types)
    function = f"public.{_quoted(call.name)}({given})"
    result = f"{function}::text" if is_json else f"pg_catalog.to_json({function})::text"
    if call.shows_key:
        result = f"case when private.admit_key('{call.name}') then {result} end"
    columns = ", ".join(f"{_quoted(argument)} {type_}" for argument, type_ in types.items())
    source = f"pg_catalog.json_to_record($2::json) as a ({columns})" if types else "(select $2::json) as a"
    return f"""
        select called.result, pg_catalog.current_setting('response.status', true)
          from (select case when pg_catalog.set_config('request.jwt.claims', $1, true) is not null then {result} end
                  from {source} offset 0) as called (result)
    """  # noqa: S608 (names and types of the catalogue, quoted)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


async def _keep_as_it_is(connection: asyncpg.Connection) -> None:
    """Nothing to reset after a call: its settings ended with its transaction."""


_databases: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Database] = weakref.WeakKeyDictionary()


async def _database() -> _Database:
    """One pool for each event loop, which is one for each process of a deployed function."""
    loop = asyncio.get_running_loop()
    if (database := _databases.get(loop)) is None:
        database = _databases[loop] = _Database(config.settings())
        await database.pool  # opens no connection yet, so nothing is awaited in between
    return database
