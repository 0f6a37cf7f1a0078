"""How a cell of the matrix is declared, and how it is tried: as its caller, in a transaction that is rolled back."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import asyncpg

from tests.database.access.callers import ONE, TWO, Caller
from tests.database.access.rows import NAMES, ROWS, Row, labels_of, uid

Cells = Mapping[Caller | tuple[Caller, ...], Any]
"""What each caller gets; a later entry overrules an earlier one."""


def cell(cells: Cells, caller: Caller, default: Any = None) -> Any:
    """The entry for a caller, the default where there is none."""
    found = default
    for callers, expected in cells.items():
        if caller in (callers if isinstance(callers, tuple) else (callers,)):
            found = expected
    return found


class Findings:
    """The cells that are not as declared; callers of whom the same is wrong share a line."""

    def __init__(self) -> None:
        self._callers: dict[str, list[str]] = {}

    def compare(self, caller: Caller, what: str, expected: object, actual: object) -> None:
        """Note a cell when what came is not what was expected."""
        if expected != actual:
            self.note(caller, f"{what}: expected {_shown(expected)}, got {_shown(actual)}")

    def note(self, caller: Caller, what: str) -> None:
        """Note a cell."""
        self._callers.setdefault(what, []).append(caller.name)

    def report(self) -> str:
        """Everything noted; empty when nothing is wrong."""
        return "\n".join(f"{what}\n    as {', '.join(callers)}" for what, callers in self._callers.items())


def _shown(outcome: object) -> object:
    if outcome is None:
        return "success"
    return sorted(outcome) if isinstance(outcome, frozenset) else outcome


@dataclass(frozen=True)
class Side:
    """The ids that a new row of one workspace names."""

    name: str
    workspace: str
    persona: str
    space: str
    contact: str
    conversation: str
    session: str
    turn: str
    event: str

    @classmethod
    def of(cls, name: str, space: str, label: str) -> "Side":
        """The side of a workspace whose space and contact (with their conversation and all) have these labels."""
        return cls(
            name,
            uid("workspaces", name),
            uid("personas", name),
            uid("spaces", space),
            uid("contacts", label),
            uid("conversations", label),
            uid("sessions", label),
            uid("turns", label),
            uid("inbound_events", name),
        )

    @property
    def other_workspace(self) -> str:
        """The workspace that this is not."""
        return TWO if self.workspace == ONE else ONE


SIDES = (Side.of("one", "chat", "a"), Side.of("two", "two", "c"))


@dataclass(frozen=True, repr=False)
class Table:
    """A table's row of the matrix.

    `select`, `update` and `delete` say which labelled rows a caller reaches, with blanks between the labels; "@one" is
    every row of workspace one, "@all" every row. `insert` says into which workspaces a caller may put a row: "@one",
    "@two" or "@all". "" is everywhere: granted, but no row. A caller without an entry has no grant.
    """

    name: str
    new: Callable[[Side], Row]
    """A row that could be inserted for a side; only ids may differ between the sides."""
    change: Row
    """One column and a value that no row has."""
    select: Cells
    insert: Cells
    update: Cells
    delete: Cells
    loose: Mapping[str, str] = field(default_factory=dict)
    """Columns of `new` that name a row without a foreign key, and why."""
    hidden: Mapping[str, str] = field(default_factory=dict)
    """By role, the columns that it may not read although it may read others."""

    def labels(self, text: str) -> frozenset[str]:
        """The labelled rows behind an entry of select, update or delete."""
        return frozenset[str]().union(
            *(
                frozenset(ROWS[self.name]) if word == "@all"
                else labels_of(self.name, word[1:]) if word[0] == "@"
                else {word}
                for word in text.split()
            )
        )  # fmt: skip

    @property
    def belongs(self) -> bool:
        """Whether its rows belong to a workspace."""
        return all("workspace_id" in row for row in ROWS[self.name].values())

    def mixed(self) -> dict[str, Row]:
        """Rows of workspace one that each name one thing of workspace two, by the column that does."""
        mine, theirs = (self.new(side) for side in SIDES)
        return {
            column: {**mine, column: theirs[column]}
            for column in mine
            if mine[column] != theirs[column] and column not in {"workspace_id", "id"}
        }


def workspaces(text: str) -> frozenset[str]:
    """The workspaces behind an entry of insert."""
    return frozenset({"@all": ("one", "two"), "@one": ("one",), "@two": ("two",), "": ()}[text])


@dataclass(frozen=True)
class Fails:
    """A call that ends in an error; the message is the whole of it or how it begins."""

    sqlstate: str
    message: str

    def __str__(self) -> str:
        return f"{self.sqlstate} {self.message}"


@dataclass(frozen=True, repr=False)
class Call:
    """One call of a function, as every caller.

    An outcome is what comes back: ids as "table.label", or "new" for one that nobody had; of an object only the members
    that are named; of a set a list, in any order. Or it is `Fails`, or a function of the caller that gives either. Only
    callers whose role may execute the function have one; everybody else is refused by the grant.
    """

    sql: str
    outcome: Cells
    foreign: bool = False
    """Whether it names something of workspace two, or as workspace two something of workspace one."""


@dataclass(frozen=True, repr=False)
class Function:
    """A function's row of the matrix: exactly these roles may execute it, with these calls."""

    signature: str
    granted: tuple[str, ...]
    calls: tuple[Call, ...]
    definer: bool = False
    enters: bool = False
    """Enters by itself, or comes before entering: it is then called without."""

    @property
    def name(self) -> str:
        """Without schema and arguments."""
        return self.signature.split("(")[0].split(".")[1]


def named(value: Any) -> Any:
    """An answer with known ids by their names and all other ids as "new"."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = UUID(value) if len(value) == 36 else value
    if isinstance(value, UUID):
        return NAMES.get(str(value), "new")
    if isinstance(value, dict | asyncpg.Record):
        return {name: named(member) for name, member in value.items()}
    if isinstance(value, list):
        return [named(member) for member in value]
    return value.hex() if isinstance(value, bytes) else value


def fits(expected: Any, actual: Any) -> bool:
    """Whether an answer is the expected one, as `Call` says."""
    if isinstance(expected, dict):
        return isinstance(actual, dict) and all(
            name in actual and fits(member, actual[name]) for name, member in expected.items()
        )
    if isinstance(expected, list):
        if not isinstance(actual, list) or len(expected) != len(actual):
            return False
        left = list(actual)
        for member in expected:
            match = next((index for index, candidate in enumerate(left) if fits(member, candidate)), None)
            if match is None:
                return False
            left.pop(match)
        return True
    return type(expected) is type(actual) and bool(expected == actual)


class Probe:
    """Tries cells over one superuser connection. Everything it does is rolled back."""

    def __init__(self, connection: asyncpg.Connection, keys: Mapping[str, list[str]]) -> None:
        self.connection = connection
        self.keys = keys
        self._labels = {
            table: {tuple(str(row[column]) for column in keys[table]): label for label, row in labelled.items()}
            for table, labelled in ROWS.items()
            if table in keys
        }

    @classmethod
    async def over(cls, connection: asyncpg.Connection) -> "Probe":
        """A probe that knows the primary keys of the database's tables."""
        rows = await connection.fetch("""
            select format('%s.%s', n.nspname, c.relname) as name,
                   array_agg(a.attname::text order by a.attnum) as columns
              from pg_index i
              join pg_class c on c.oid = i.indrelid
              join pg_namespace n on n.oid = c.relnamespace
              join pg_attribute a on a.attrelid = c.oid and a.attnum = any (i.indkey)
             where i.indisprimary and n.nspname in ('public', 'private')
             group by 1
        """)
        return cls(connection, {row["name"]: row["columns"] for row in rows})

    def label(self, table: str, key: tuple[str, ...]) -> str:
        """The label of the row with this primary key; "?" and the key for a row that has none."""
        return self._labels[table].get(key, f"?{'/'.join(key)}")

    @contextlib.asynccontextmanager
    async def acting(self, caller: Caller, *, enter: bool = True, unlinked: bool = False) -> AsyncIterator[None]:
        """A transaction in a caller's name; `unlinked` puts foreign keys aside, so that only rights can stop it."""
        aside = "set local session_replication_role = replica;" if unlinked else ""
        await self.connection.execute(f"begin; {aside} {caller.setup(enter=enter)}")
        try:
            yield
        finally:
            await self.connection.execute("rollback")

    async def outcome(self, tried: Awaitable[Any]) -> Any:
        """What came of it, or what stopped it: "no grant", "policy", or the sqlstate."""
        try:
            return await tried
        except asyncpg.PostgresError as error:
            return refusal(error)

    async def attempt(self, statement: str) -> str | None:
        """Run a statement that gives nothing; None when it passes, else as `outcome`."""

        async def run() -> None:
            # As a commit would: some keys are checked only at the end.
            await self.connection.execute(f"{statement}; set constraints all immediate; set constraints all deferred")

        return cast("str | None", await self.outcome(run()))

    async def rows(self, table: str, where: str = "true") -> frozenset[str]:
        """The labels of the rows that the present role sees."""
        columns = ", ".join(self.keys[table])
        found = await self.connection.fetch(f"select {columns} from {table} where {where}")
        return frozenset(self.label(table, tuple(_written(value) for value in row)) for row in found)

    async def columns(self, table: str, role: str, privilege: str) -> tuple[set[str], set[str]]:
        """The columns for which a role holds a privilege, and all columns."""
        rows = await self.connection.fetch(
            "select attname::text as name, has_column_privilege($2, attrelid, attnum, $3) as held from pg_attribute"
            " where attrelid = $1::text::regclass and attnum > 0 and not attisdropped",
            table,
            role,
            privilege,
        )
        return {row["name"] for row in rows if row["held"]}, {row["name"] for row in rows}

    async def answer(self, sql: str) -> Any:
        """What a function call gives, by names; a list for a set, and `Fails` for an error."""
        try:
            found = await self.connection.fetch(f"select {sql} as answer")
        except asyncpg.PostgresError as error:
            return Fails(error.sqlstate or "", error.args[0])
        return [named(row["answer"]) for row in found]


def _written(key: object) -> str:
    return key.isoformat() if isinstance(key, datetime) else str(key)


def refusal(error: asyncpg.PostgresError) -> str:
    """What an error proves about rights."""
    if error.sqlstate == "42501" and "permission denied for" in str(error):
        return "no grant"
    if error.sqlstate == "42501" and "row-level security" in str(error):
        return "policy"
    return error.sqlstate or str(error)
