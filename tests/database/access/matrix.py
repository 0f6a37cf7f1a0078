"""How a cell of the matrix is written, and how it is tried: as its caller, in a transaction that is rolled back."""

import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any

import asyncpg

from tests.database.access.callers import GROUPS, Caller
from tests.database.access.world import NAMES, ROWS

NO_GRANT = "no grant"
Cells = dict[str, str]
"""What each caller gets; a caller without an entry has no grant."""


def cells(text: str, macros: Mapping[str, str], groups: Mapping[str, set[str]] = GROUPS) -> Cells:
    """Read `group group: outcome; …`. An entry without a colon is a macro, `macro=x` one with x in place of its OK."""
    found: Cells = {}
    for entry in text.split(";") if text else ():
        names, colon, outcome = entry.partition(":")
        if not colon:
            macro, _, given = entry.strip().partition("=")
            found |= cells(macros[macro].replace("OK", given or "ok"), macros, groups)
            continue
        for name in names.split():
            found |= dict.fromkeys(groups[name], outcome.strip())
    return found


class Findings:
    """The cells that differ from the matrix; callers with the same difference share a line."""

    def __init__(self) -> None:
        self._callers: dict[str, list[str]] = defaultdict(list)

    def compare(self, caller: Caller, subject: str, expected: object, actual: object) -> None:
        """Note a cell whose outcome is not the expected one."""
        if expected != actual:
            self.note(caller, f"{subject}: expected {_shown(expected)}, got {_shown(actual)}")

    def note(self, caller: Caller, difference: str) -> None:
        """Note a difference for a caller."""
        self._callers[difference].append(caller.name)

    def report(self) -> str:
        """All differences; empty when the cells are right."""
        return "\n".join(f"{difference}\n    as {', '.join(names)}" for difference, names in self._callers.items())


def _shown(outcome: object) -> object:
    return sorted(outcome) if isinstance(outcome, frozenset) else outcome


class Probe:
    """Tries cells over one superuser connection. Every try is rolled back."""

    def __init__(self, connection: asyncpg.Connection, keys: Mapping[str, list[str]]) -> None:
        self.connection = connection
        self.keys = keys
        """The primary keys of the tables."""

    @classmethod
    async def over(cls, connection: asyncpg.Connection) -> "Probe":
        """A probe that knows the primary keys of the database's tables."""
        rows = await connection.fetch("""
            select format('%s.%s', relnamespace::regnamespace, relname) as name,
                   array_agg(a.attname::text order by a.attnum) as columns
              from pg_index i
              join pg_class c on c.oid = i.indrelid
              join pg_attribute a on a.attrelid = c.oid and a.attnum = any (i.indkey)
             where i.indisprimary and relnamespace in ('public'::regnamespace, 'private'::regnamespace)
             group by 1
        """)
        return cls(connection, {row["name"]: row["columns"] for row in rows})

    def labels(self, rows: str, found: list[Any]) -> frozenset[str]:
        """The labels of the found rows of a table; "?" and the key for a row without one."""
        key = self.keys[rows]
        known = {tuple(str(row[column]) for column in key): label for label, row in ROWS[rows].items()}
        keys = [tuple(_written(row[column]) for column in key) for row in found]
        return frozenset(known.get(values, f"?{'/'.join(values)}") for values in keys)

    @contextlib.asynccontextmanager
    async def acting(self, caller: Caller, *, enter: bool = True, unlinked: bool = False) -> AsyncIterator[None]:
        """A transaction in a caller's name; `unlinked` disables foreign keys, so that only rights can refuse."""
        replica = "set local session_replication_role = replica;" if unlinked else ""
        await self.connection.execute(f"begin; {replica} {caller.setup(enter=enter)}")
        try:
            yield
        finally:
            await self.connection.execute("rollback")

    async def select(self, table: str, rows: str, where: str = "true") -> frozenset[str] | str:
        """The labels that the present role sees, or what refused it."""
        try:
            found = await self.connection.fetch(f"select {', '.join(self.keys[rows])} from {table} where {where}")
        except asyncpg.PostgresError as error:
            return refusal(error)
        return self.labels(rows, found)

    async def attempt(self, statement: str) -> str | None:
        """Run a statement; None when it passes, otherwise what refused it."""
        try:
            # Some keys are checked only at the end of a transaction.
            await self.connection.execute(f"{statement}; set constraints all immediate; set constraints all deferred")
        except asyncpg.PostgresError as error:
            return refusal(error)
        return None

    async def columns(self, table: str, role: str, privilege: str) -> tuple[set[str], set[str]]:
        """The columns for which a role holds a privilege, and all columns."""
        rows = await self.connection.fetch(
            "select attname::text as name, has_column_privilege($2, attrelid, attnum, $3) as held from pg_attribute"
            " where attrelid = $1::text::regclass and attnum > 0 and not attisdropped",
            table, role, privilege,
        )  # fmt: skip
        return {row["name"] for row in rows if row["held"]}, {row["name"] for row in rows}

    async def answer(self, sql: str, key: str) -> tuple[str, set[tuple[str, str]]]:
        """What a call gives: an error's code, or what the answer says under a key; and the rows that it names."""
        try:
            found = [row[0] for row in await self.connection.fetch(f"select {sql}")]
        except asyncpg.PostgresError as error:
            return refusal(error), set()
        return _outcome(found[0] if len(found) == 1 else {"items": found}, key), set(_named(found))


_STATUS = {"_not_found": "PT404", "forbidden": "PT403", "_invalid": "PT401"}


def refusal(error: asyncpg.PostgresError) -> str:
    """The code of an error of ours whose status fits, what it proves about rights, or its SQLSTATE and message."""
    state, message = error.sqlstate or "", error.args[0]
    if state == "42501" and "permission denied for" in message:
        return NO_GRANT
    if state == "42501" and "row-level security" in message:
        return "policy"
    if state[:2] == "PT" and all(status == state for ending, status in _STATUS.items() if message.endswith(ending)):
        return str(message)
    return state if state == "23503" else f"{state} {message}"


def _outcome(answer: Any, key: str) -> str:
    if isinstance(answer, dict) and "code" in answer:
        return str(answer["code"])
    if key == "-":
        return "ok"
    *path, last = key.split(".")
    for name in path if isinstance(answer, dict) else ():
        answer = {} if answer.get(name) is None else answer[name]
    if isinstance(answer, dict):
        # The member, or that of each item of a list.
        lists = (value for value in answer.values() if isinstance(value, list))
        answer = answer[last] if last in answer else next(lists, None)
    if isinstance(answer, list):
        return " ".join(sorted(_outcome(item, last) for item in answer)) or "none"
    return _label(answer)


def _label(value: Any) -> str:
    text = str(value)
    if text in NAMES:
        return NAMES[text][1]
    return "new" if len(text) == 36 and text.count("-") == 4 else text


def _named(value: Any) -> list[tuple[str, str]]:
    if isinstance(value, dict | asyncpg.Record):
        return [name for member in value.values() for name in _named(member)]
    if isinstance(value, list):
        return [name for member in value for name in _named(member)]
    return [NAMES[str(value)]] if str(value) in NAMES else []


def _written(key: object) -> str:
    return key.isoformat() if isinstance(key, datetime) else str(key)
