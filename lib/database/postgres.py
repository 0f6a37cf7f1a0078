"""SQL functions over a direct connection to Postgres, for a process that lives long (docs/libraries.md says when).

What PostgREST does with a call, in one statement of its own transaction: the caller's claims are set, the function runs
with its arguments by name, out of one JSON document, and what it said of its answer's status is read. The login takes
the role `switchboard` by itself and is good for nothing else (supabase/schemas/00_access.sql).

Calls share few connections. A backend that is used again and again finds its plans and caches warm; the same calls over
ten in turn cost Postgres half as much again (docs/measurements.md). What starts turns keeps to a part of them and
everything else to the others, as long as nobody waits: a backend that does one thing over and over is warmer still, and
starts of turns in one space would only wait for each other's commit. Calls that take long, because they wait for a lock
for instance, do not count among the few, so that they hold up nobody else.
"""

import asyncio
import collections
import json
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import asyncpg

from lib.database.postgrest import Answer
from lib.outbound.pool import Pool, silent
from lib.outbound.wire import Lost

KEEP_SECONDS = 60
"""How long an unused connection is kept."""

LIFE_SECONDS = 30 * 60
"""How long a connection is used at most, as long as PostgREST's are: what its backend has gathered ends with it, and so
does what it stands on, a password that was changed or a server that is no longer the first."""

LONG_SECONDS = 0.05
"""From when on a call is a long one, which does not count among the few: above what a call takes on a busy machine, far
below what a lock may."""

MOST_LONG = 8
"""How many long calls there are beyond the few, at most."""

STARTING = frozenset({"start_turn"})
"""The functions that half of the connections are for first of all, where there is more than one."""

Granted = TypeVar("Granted")

_SIGNATURE = """
select p.proargnames[:p.pronargs] as names,
       array(select format_type(t.type, null)
               from unnest(p.proargtypes::oid[]) with ordinality t (type, place) order by t.place) as types,
       p.prorettype in ('json'::regtype, 'jsonb'::regtype) as is_json
  from pg_catalog.pg_proc p
 where p.pronamespace = 'public'::regnamespace and p.proname = $1
"""


async def call(
    url: str,
    few: int,
    name: str,
    claims: str,
    arguments: str,
    names: Sequence[str],
    *,
    connect_seconds: float,
    seconds: float,
) -> Answer:
    """Call a SQL function of the schema public and read its answer, whatever its status.

    ``few`` connections are shared. ``claims`` and ``arguments`` are JSON objects, ``names`` the arguments' names. What
    Postgres raises comes back as PostgREST shapes it. ``seconds`` is for all of it, waiting for a connection included.
    Raises Lost. A call that is cancelled while it is under way hangs up.
    """
    connections = _connections(url, few)
    places = connections.places
    sent = False
    try:
        async with asyncio.timeout(seconds):
            place = await places.take(places.starting if name in STARTING else places.others)
            try:
                connection = await connections.take(place.lane, connect_seconds)
                good = False
                try:
                    place.begin()
                    sent = True
                    answer = await connections.run(connection, name, tuple(names), claims, arguments)
                    good = True
                finally:
                    connections.give(place.lane, connection, good)
            finally:
                somebody_waits = place.give()
    except asyncpg.InternalClientError as failure:
        # Nothing goes out where the server's farewell has come and the connection's end not yet.
        raise Lost(type(failure).__name__, sent=False) from failure
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as failure:
        raise Lost(type(failure).__name__, sent=sent) from failure
    if somebody_waits:
        await asyncio.sleep(0)  # the next call goes out before this one's answer is worked on
    return answer


async def close() -> None:
    """Close this event loop's unused connections. Only a process that outlives its loop needs it."""
    for connections in _all.pop(asyncio.get_running_loop(), {}).values():
        connections.empty()
    await asyncio.sleep(0)  # a transport closes in the loop's next round


@dataclass(frozen=True, slots=True)
class _Connection:
    """One connection, one call at a time."""

    wire: asyncpg.Connection
    until: float
    """The event loop's time from which it is not used any more."""

    def quiet(self) -> bool:
        """Whether a call can be made; a server that goes away says so, which the loop may not have read yet."""
        # asyncpg has no other way to ask.
        return not self.wire.is_closed() and silent(self.wire._transport)  # type: ignore[attr-defined]

    def hang_up(self) -> None:
        """Close the connection, whatever is under way."""
        self.wire.terminate()

    async def run(self, statement: str | None, claims: str, arguments: str) -> Answer:
        """The answer of a call, or what was raised as PostgREST shapes it; None is a function that is not there."""
        if statement is None:
            return Answer(404, '{"code": "PGRST202", "message": "no such function, or not with these arguments"}')
        try:
            row = await self.wire.fetchrow(statement, claims, arguments)
        except asyncpg.PostgresError as raised:
            if self.wire.is_closed() or isinstance(raised, asyncpg.UndefinedFunctionError):
                raise
            return _raised(raised)
        if row is None:
            raise RuntimeError("a call is one row")
        content, status = row
        return Answer(int(status) if status else 200, "null" if content is None else content)


def _wake(waiting: collections.deque[asyncio.Future[Granted]], granted: Granted) -> bool:
    """Let the first of those who wait go on with what it is granted; whether somebody waited."""
    while waiting:
        if not (first := waiting.popleft()).done():
            first.set_result(granted)
            return True
    return False


class _Lane:
    """What one kind of calls has before others: some of the few places, who waits for them, and unused connections."""

    def __init__(self, few: int) -> None:
        self.few = few
        self.waiting: collections.deque[asyncio.Future[_Lane]] = collections.deque()
        self.idle: Pool[_Connection] = Pool(few + MOST_LONG, KEEP_SECONDS)


class _Places:
    """Who may call: few at a time, and besides them those whose call takes long.

    A place is for its lane's calls in the order in which they came. Where none of them waits, it is for the other's.
    """

    def __init__(self, few: int, most_long: int) -> None:
        apart = few // 2
        self.others = _Lane(few - apart)
        self.starting = _Lane(apart) if apart else self.others
        self.lanes = {self.others, self.starting}
        self.spare = most_long
        self.loop = asyncio.get_running_loop()

    async def take(self, lane: _Lane) -> "_Place":
        """Wait for a place among the few."""
        for each in (lane, *self.lanes):
            if each.few > 0:
                each.few -= 1
                return _Place(self, each)
        waiting: asyncio.Future[_Lane] = self.loop.create_future()
        lane.waiting.append(waiting)
        try:
            return _Place(self, await waiting)
        except asyncio.CancelledError:
            if not waiting.cancelled():  # it was given the place in this very moment
                self.give(waiting.result())
            raise

    def give(self, lane: _Lane) -> bool:
        """Give a place back; whether somebody who waited has it now."""
        if any(_wake(each.waiting, lane) for each in (lane, *self.lanes)):
            return True
        lane.few += 1
        return False


class _Place:
    """One call's place."""

    def __init__(self, places: _Places, lane: _Lane) -> None:
        self.lane = lane
        self._places = places
        self._long = False
        self._clock: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """The call goes out: look after a while whether it is a long one."""
        self._clock = self._places.loop.call_later(LONG_SECONDS, self._look)

    def give(self) -> bool:
        """Give it back; whether somebody who waited has it now."""
        if self._clock is not None:
            self._clock.cancel()
        if self._long:
            self._places.spare += 1
            return False
        return self._places.give(self.lane)

    def _look(self) -> None:
        """Give the place among the few back for one among the long calls, where there is one."""
        if self._places.spare > 0:
            self._places.spare -= 1
            self._long = True
            self._places.give(self.lane)
        else:
            self.begin()


class _Connections:
    """One event loop's connections to one database."""

    def __init__(self, url: str, few: int) -> None:
        self.places = _Places(few, MOST_LONG)
        self._most = few + MOST_LONG
        self._loop = asyncio.get_running_loop()
        self._url = url
        self._in_use = 0
        self._connecting = 0
        self._hoping: collections.deque[asyncio.Future[None]] = collections.deque()
        self._statements: dict[tuple[str, tuple[str, ...]], str] = {}

    async def take(self, lane: _Lane, connect_seconds: float) -> _Connection:
        """One of the lane's that was kept, or a new one; where no more can be had, any that is or gets free."""
        try:
            connection = lane.idle.take()
            while connection is None:
                if self._in_use + self._connecting + self._kept() < self._most:
                    try:
                        connection = await self._connect(connect_seconds)
                        break
                    except (OSError, asyncpg.PostgresError) as failure:
                        # One may have come back while this was refused.
                        if self._kept() == 0:
                            if isinstance(failure, OSError) or self._in_use == 0:
                                raise
                            self._hoping.append(hoping := self._loop.create_future())
                            await hoping
                connection = next(filter(None, (each.idle.take() for each in (lane, *self.places.lanes))), None)
        except BaseException:
            _wake(self._hoping, None)  # who hopes may have been told of what this one did not take
            raise
        self._in_use += 1
        return connection

    async def _connect(self, seconds: float) -> _Connection:
        self._connecting += 1
        try:
            async with asyncio.timeout(seconds):
                wire = await asyncpg.connect(
                    self._url, max_cached_statement_lifetime=0, server_settings={"application_name": "switchboard"}
                )
        finally:
            self._connecting -= 1
        return _Connection(wire, self._loop.time() + LIFE_SECONDS)

    def give(self, lane: _Lane, connection: _Connection, good: bool) -> None:
        """Keep a connection for the lane's next call, where it still is ``good`` for one and not too old."""
        self._in_use -= 1
        if good and self._loop.time() < connection.until:  # whether it is still there is asked when it is taken
            lane.idle.keep(connection)
        else:
            connection.hang_up()
        _wake(self._hoping, None)

    def empty(self) -> None:
        """Close the unused ones."""
        for lane in self.places.lanes:
            lane.idle.empty()

    def _kept(self) -> int:
        return sum(lane.idle.size for lane in self.places.lanes)

    async def run(
        self, connection: _Connection, name: str, names: tuple[str, ...], claims: str, arguments: str
    ) -> Answer:
        """The answer of a call. Where the function was replaced since by one of other arguments, that one's."""
        found = await self._statement(connection, name, names)
        try:
            return await connection.run(found, claims, arguments)
        except asyncpg.UndefinedFunctionError as missing:
            newer = await self._statement(connection, name, names, anew=True)
            if newer == found:
                return _raised(missing)
        return await connection.run(newer, claims, arguments)

    async def _statement(
        self, connection: _Connection, name: str, names: tuple[str, ...], *, anew: bool = False
    ) -> str | None:
        """The statement that calls a function with arguments of these names; None where there is no such function."""
        if not anew and (known := self._statements.get((name, names))) is not None:
            return known
        self._statements.pop((name, names), None)
        for found in await connection.wire.fetch(_SIGNATURE, name):
            types = dict(zip(found["names"] or (), found["types"], strict=True))
            if types.keys() >= set(names):
                statement = _statement(name, {argument: types[argument] for argument in names}, found["is_json"])
                self._statements[name, names] = statement
                return statement
        return None


def _statement(name: str, types: dict[str, str], is_json: bool) -> str:
    """The call as one statement: $1 is the claims, $2 the arguments.

    `case` is what makes Postgres evaluate one thing before another; `offset 0` keeps the status from being read first.
    """
    given = ", ".join(f"{_quoted(argument)} := a.{_quoted(argument)}" for argument in types)
    function = f"public.{_quoted(name)}({given})"
    answer = f"{function}::text" if is_json else f"pg_catalog.to_json({function})::text"
    columns = ", ".join(f"{_quoted(argument)} {type_}" for argument, type_ in types.items())
    source = f"pg_catalog.json_to_record($2::json) as a ({columns})" if types else "(select $2::json) as a"
    return f"""
        select called.answer, pg_catalog.current_setting('response.status', true)
          from (select case when pg_catalog.set_config('request.jwt.claims', $1, true) is not null then {answer} end
                  from {source} offset 0) as called (answer)
    """  # noqa: S608 (names and types of the catalogue, quoted)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _raised(error: asyncpg.PostgresError) -> Answer:
    """As PostgREST tells it, which takes a status out of codes that begin with PT."""
    code = error.sqlstate or ""
    document = {"code": code, "message": error.message, "details": error.detail, "hint": error.hint}
    return Answer(int(code[2:]) if code.startswith("PT") else 500, json.dumps(document))


_all: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, int], _Connections]] = (
    weakref.WeakKeyDictionary()
)


def _connections(url: str, few: int) -> _Connections:
    """One set of connections for each event loop, which is one for each process of a deployed function."""
    known = _all.setdefault(asyncio.get_running_loop(), {})
    if (connections := known.get((url, few))) is None:
        connections = known[url, few] = _Connections(url, few)
    return connections
