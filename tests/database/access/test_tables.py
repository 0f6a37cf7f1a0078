"""Every table as every caller: what is seen, and what can be written. The expectations are in tables.py."""

import json

import pytest

from tests.database.access.callers import API_ROLES, CALLERS
from tests.database.access.matrix import SIDES, Cells, Findings, Probe, Table, cell, workspaces
from tests.database.access.rows import ROWS, Row
from tests.database.access.tables import TABLES

BELONGING = tuple(table for table in TABLES if table.belongs)

every_table = pytest.mark.parametrize("table", TABLES, ids=[table.name for table in TABLES])

_DENIED = "no grant"


def _is_granted(cells: Cells, role: str) -> bool:
    return any(cell(cells, caller) is not None for caller in CALLERS if caller.role == role)


def _insert(table: Table, row: Row) -> str:
    values = json.dumps(row).replace("'", "''")
    columns = ", ".join(row)
    # The literal is typed in the from clause, which reads no table.
    return (
        f"insert into {table.name} ({columns}) "
        f"select {columns} from pg_catalog.jsonb_populate_record(null::{table.name}, '{values}')"
    )


async def test_every_table_is_declared_and_nothing_else(probe: Probe) -> None:
    relations = await probe.connection.fetch("""
        select format('%s.%s', n.nspname, c.relname) as name
          from pg_class c
          join pg_namespace n on n.oid = c.relnamespace
         where n.nspname in ('public', 'private')
           and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
           and not exists (select from pg_depend d where d.objid = c.oid and d.deptype in ('e', 'i'))
    """)
    names = sorted(row["name"] for row in relations)
    assert names == sorted(table.name for table in TABLES)
    assert names == sorted(ROWS)


async def test_nobody_but_operators_touches_a_sequence(probe: Probe) -> None:
    held = await probe.connection.fetch("""
        select format('%s %s', r.rolname, c.relname) as held
          from pg_class c
          join pg_namespace n on n.oid = c.relnamespace
         cross join pg_roles r
         where n.nspname in ('public', 'private')
           and c.relkind = 'S'
           and r.rolname in ('anon', 'contact', 'authenticated', 'switchboard')
           and has_sequence_privilege(r.oid, c.oid, 'usage, select, update')
    """)
    assert not held


async def test_there_is_no_schema_of_ours_beside_public_and_private(probe: Probe) -> None:
    schemas = await probe.connection.fetch("""
        select nspname::text as name from pg_namespace
         where nspowner = 'postgres'::regrole or nspname in ('public', 'private')
    """)
    assert {row["name"] for row in schemas} == {"public", "private", "extensions", "supabase_migrations"}


async def test_every_workspace_has_rows_in_every_table_that_belongs_to_one() -> None:
    for table in BELONGING:
        assert table.labels("@one"), table.name
        assert table.labels("@two"), table.name


async def test_row_level_security_is_on_everywhere(probe: Probe) -> None:
    for table in TABLES:
        assert await probe.connection.fetchval(
            "select relrowsecurity from pg_class where oid = $1::text::regclass", table.name
        ), table.name


@pytest.mark.parametrize("role", ["anon", "contact", "authenticated", "switchboard", "public"])
async def test_no_caller_may_truncate_or_hang_anything_on_a_table(probe: Probe, role: str) -> None:
    for table in TABLES:
        for privilege in ("truncate", "references", "trigger"):
            held = await probe.connection.fetchval(
                "select has_table_privilege($1, $2::text::regclass, $3)", role, table.name, privilege
            )
            assert not held, f"{role} has {privilege} on {table.name}"


async def test_no_caller_may_create_in_a_schema(probe: Probe) -> None:
    for role in (*API_ROLES, "public"):
        for schema in ("public", "private"):
            held = await probe.connection.fetchval("select has_schema_privilege($1, $2, 'create')", role, schema)
            assert not held, f"{role} may create in {schema}"


@every_table
async def test_select_and_count_show_exactly_the_declared_rows(probe: Probe, table: Table) -> None:
    findings = Findings()
    for caller in CALLERS:
        declared = cell(table.select, caller)
        expected = _DENIED if declared is None else table.labels(declared)
        async with probe.acting(caller):
            actual = await probe.outcome(probe.rows(table.name))
            findings.compare(caller, "select", expected, actual)
        async with probe.acting(caller):
            count = await probe.outcome(probe.connection.fetchval(f"select count(*) from {table.name}"))
            findings.compare(caller, "count", expected if expected == _DENIED else len(expected), count)
    assert not findings.report(), findings.report()


@every_table
async def test_a_role_that_reads_a_table_reads_all_but_the_hidden_columns(probe: Probe, table: Table) -> None:
    for role in API_ROLES:
        readable, columns = await probe.columns(table.name, role, "select")
        expected = columns - set(table.hidden.get(role, "").split()) if _is_granted(table.select, role) else set()
        assert readable == expected, role


@every_table
@pytest.mark.parametrize("privilege", ["insert", "update"])
async def test_a_role_writes_all_columns_of_a_table_or_none(probe: Probe, table: Table, privilege: str) -> None:
    for role in API_ROLES:
        writable, columns = await probe.columns(table.name, role, privilege)
        granted = _is_granted(table.insert if privilege == "insert" else table.update, role)
        assert writable == (columns if granted else set()), role


@every_table
async def test_insert_reaches_only_the_declared_workspaces(probe: Probe, table: Table) -> None:
    findings = Findings()
    for caller in CALLERS:
        declared = cell(table.insert, caller)
        for side in SIDES:
            async with probe.acting(caller):
                stopped = await probe.attempt(_insert(table, table.new(side)))
            if declared is None:
                expected: str | None = _DENIED
            else:
                expected = None if side.name in workspaces(declared) else "policy"
            findings.compare(caller, f"insert into workspace {side.name}", expected, stopped)
    assert not findings.report(), findings.report()


@every_table
async def test_a_row_never_names_something_of_another_workspace(probe: Probe, table: Table) -> None:
    findings = Findings()
    for caller in CALLERS:
        declared = cell(table.insert, caller)
        for column, row in table.mixed().items():
            async with probe.acting(caller):
                stopped = await probe.attempt(_insert(table, row))
            if declared is None:
                expected: str | None = _DENIED
            elif "one" not in workspaces(declared):
                expected = "policy"
            else:
                expected = None if column in table.loose else "23503"
            findings.compare(caller, f"insert with {column} of workspace two", expected, stopped)
    assert not findings.report(), findings.report()


@every_table
async def test_update_changes_exactly_the_declared_rows(probe: Probe, table: Table) -> None:
    ((column, value),) = table.change.items()
    findings = Findings()
    for caller in CALLERS:
        declared = cell(table.update, caller)
        async with probe.acting(caller):
            stopped = await probe.attempt(f"update {table.name} set {column} = '{value}'")
            if stopped is None:
                await probe.connection.execute("reset role")
                actual: object = await probe.rows(table.name, f"{column} = '{value}'")
            else:
                actual = stopped
        expected = _DENIED if declared is None else table.labels(declared)
        findings.compare(caller, "update", expected, actual)
    assert not findings.report(), findings.report()


@pytest.mark.parametrize("table", BELONGING, ids=[table.name for table in BELONGING])
async def test_no_row_is_moved_into_another_workspace(probe: Probe, table: Table) -> None:
    findings = Findings()
    for caller in CALLERS:
        declared = cell(table.update, caller)
        for side in SIDES:
            async with probe.acting(caller, unlinked=True):
                # Without a condition, which would bring the policy for select to bear as well.
                stopped = await probe.attempt(f"update {table.name} set workspace_id = '{side.other_workspace}'")
            if declared is None:
                expected: str | None = _DENIED
            elif declared == "@all" or not table.labels(declared) & table.labels(f"@{side.name}"):
                expected = None
            else:
                expected = "policy"
            findings.compare(caller, f"move out of workspace {side.name}", expected, stopped)
    assert not findings.report(), findings.report()


@every_table
async def test_delete_takes_exactly_the_declared_rows(probe: Probe, table: Table) -> None:
    findings = Findings()
    every = frozenset(ROWS[table.name])
    for caller in CALLERS:
        declared = cell(table.delete, caller)
        async with probe.acting(caller, unlinked=True):
            stopped = await probe.attempt(f"delete from {table.name}")
            if stopped is None:
                await probe.connection.execute("reset role")
                actual: object = every - await probe.rows(table.name)
            else:
                actual = stopped
        expected = _DENIED if declared is None else table.labels(declared)
        findings.compare(caller, "delete", expected, actual)
    assert not findings.report(), findings.report()
