"""Every table and view as every caller: the rows that are selected, and what can be written. tables.py expects it."""

import pytest

from tests.database.access.callers import API_ROLES, CALLERS
from tests.database.access.matrix import NO_GRANT, Findings, Probe
from tests.database.access.tables import HIDDEN, LOOSE, OF_MEMBERS, TABLES, Table
from tests.database.access.world import ROWS, Row, insert_statement, uid

WORKSPACES = {"one": "two", "two": "one"}
every_relation = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
every_table = pytest.mark.parametrize("table", [table for table in TABLES if not table.is_view], ids=lambda t: t.name)


async def test_every_relation_has_a_line_and_nothing_else(probe: Probe) -> None:
    relations = await probe.connection.fetch("""
        select format('%s.%s', relnamespace::regnamespace, relname) as name, relkind::text as kind, relrowsecurity,
               coalesce(reloptions @> array['security_invoker=true'], false) as invoker
          from pg_class c
         where relnamespace in ('public'::regnamespace, 'private'::regnamespace)
           and relkind in ('r', 'p', 'v', 'm', 'f', 'S')
           and not exists (select from pg_depend d where d.objid = c.oid and d.deptype in ('e', 'i'))
    """)
    assert sorted(row["name"] for row in relations) == sorted(table.name for table in TABLES)
    # A view shows its caller's rows, and a table only what its policies allow. There is no other kind of relation.
    assert {row["name"] for row in relations if row["kind"] == "v" and row["invoker"]} == {
        table.name for table in TABLES if table.is_view
    }
    assert all(row["relrowsecurity"] for row in relations if row["kind"] in "rp")
    assert {row["kind"] for row in relations} <= {"r", "p", "v"}


async def test_every_workspace_has_rows_in_every_table_that_belongs_to_one(probe: Probe) -> None:
    for table in TABLES:
        _, columns = await probe.columns(table.name, "postgres", "select")
        assert "workspace_id" not in columns or (table.labels("@one") and table.labels("@two")), table.name


async def test_callers_hold_no_other_privilege(probe: Probe) -> None:
    held = await probe.connection.fetch("""
        select r.rolname, c.relname::text, a.privilege_type
          from pg_class c
         cross join aclexplode(relacl) a
          join pg_roles r on a.grantee in (r.oid, 0)
         where relnamespace in ('public'::regnamespace, 'private'::regnamespace)
           and r.rolname in ('anon', 'contact', 'authenticated', 'member', 'switchboard')
           and (a.privilege_type not in ('SELECT', 'INSERT', 'UPDATE', 'DELETE') or a.grantee = 0 or relkind = 'S')
        union all
        select r.rolname, n.nspname::text, 'create'
          from pg_namespace n
         cross join pg_roles r
         where n.nspname in ('public', 'private')
           and r.rolname in ('anon', 'contact', 'authenticated', 'member', 'switchboard', 'service_role')
           and has_schema_privilege(r.oid, n.oid, 'create')
    """)
    assert [tuple(row) for row in held] == []
    ours = await probe.connection.fetch("select nspname::text from pg_namespace where nspowner = 'postgres'::regrole")
    assert {row[0] for row in ours} | {"public"} == {"public", "private", "extensions", "supabase_migrations"}


@every_relation
async def test_a_role_has_its_grants_on_all_columns_but_the_hidden_ones(probe: Probe, table: Table) -> None:
    for privilege, outcomes in (("select", table.select), ("insert", table.insert), ("update", table.update)):
        for role in (*API_ROLES, "member"):
            held, columns = await probe.columns(table.name, role, privilege)
            hidden = set(HIDDEN.get((table.name, role), "").split()) if privilege == "select" else set()
            assert held == (columns - hidden if role in table.granted(outcomes) else set()), (privilege, role)


@every_relation
async def test_no_contact_reads_a_column_of_members_by_token_or_signed_in(probe: Probe, table: Table) -> None:
    # The user of a conversation or session with a contact is the contact's own.
    members = {"assigned_user_id"} | ({"user_id"} if table.name == "public.messages" else set())
    for name, role in (("A", "contact"), ("guest", "authenticated")):
        held, _ = await probe.columns(table.name, role, "select")
        if role == "contact" or table.expected(table.select, name, ""):
            assert not {column for column in held if OF_MEMBERS.fullmatch(column)} | (held & members), role


async def test_a_member_elsewhere_reads_their_own_session_as_a_person_only(probe: Probe) -> None:
    guest, elsewhere = CALLERS["guest"], (uid("workspaces", "two"), uid("users", "guest"))
    async with probe.acting(guest):
        await probe.connection.execute("reset role")
        await probe.connection.execute(
            "insert into public.workspace_members (workspace_id, user_id, role) values ($1, $2, 'owner')", *elsewhere
        )
        for header, role in (("{}", "member"), ('{"read-as": "user"}', "authenticated")):
            await probe.connection.execute("reset role")
            await probe.connection.execute(f"set local request.headers = '{header}'; {guest.setup(enter=False)}")
            assert await probe.connection.fetchval("select current_user") == role
            for table in ("public.sessions", "public.messages", "public.requests", "public.proposals"):
                seen = await probe.select(table, table)
                assert ("guest" in seen) == (role == "authenticated"), (table, role)


@every_relation
async def test_select_shows_exactly_the_expected_rows(probe: Probe, table: Table) -> None:
    findings = Findings()
    for caller in CALLERS.values():
        async with probe.acting(caller):
            seen = await probe.select(table.name, table.rows)
        findings.compare(caller, "select", table.expected(table.select, caller.name, NO_GRANT), seen)
    assert not findings.report(), findings.report()


@every_table
async def test_insert_reaches_only_the_expected_workspaces(probe: Probe, table: Table) -> None:
    findings = Findings()
    # A row that names a row of the other workspace is refused by a composite foreign key.
    tries: list[tuple[str, str, Row, str | None]] = [
        (f"insert into workspace {workspace}", workspace, row, None) for workspace, row in table.new.items()
    ]
    for column, row in table.mixed().items():
        stopped = None if (table.name, column) in LOOSE else "23503"
        tries.append((f"insert with {column} of workspace two", "one", row, stopped))
    for subject, workspace, row, passes in tries:
        statement = await insert_statement(probe.connection, table.name, row)
        for caller in CALLERS.values():
            async with probe.acting(caller):
                stopped = await probe.attempt(statement)
            expected: str | None = NO_GRANT
            if (outcome := table.insert.get(caller.name)) is not None:
                expected = passes if outcome in ("@all", f"@{workspace}") else "policy"
            findings.compare(caller, subject, expected, stopped)
    assert not findings.report(), findings.report()


@every_table
async def test_update_and_delete_reach_exactly_the_expected_rows(probe: Probe, table: Table) -> None:
    column, value = table.change
    changed = f"{column} = '{value}'"
    for outcomes, statement, rows in (
        (table.update, f"update {table.name} set {changed}", changed),
        (table.delete, f"delete from {table.name}", ""),
    ):
        findings = Findings()
        for caller in CALLERS.values():
            async with probe.acting(caller, unlinked=not rows):
                reached: object = await probe.attempt(statement)
                if reached is None:
                    await probe.connection.execute("reset role")
                    found = await probe.select(table.name, table.rows, rows or "true")
                    assert isinstance(found, frozenset)
                    reached = found if rows else frozenset(ROWS[table.rows]) - found
            findings.compare(caller, statement, table.expected(outcomes, caller.name, NO_GRANT), reached)
        assert not findings.report(), findings.report()


@every_table
async def test_no_row_moves_into_another_workspace(probe: Probe, table: Table) -> None:
    _, columns = await probe.columns(table.name, "postgres", "select")
    findings = Findings()
    for workspace, other in WORKSPACES.items() if "workspace_id" in columns else ():
        moved = f"update {table.name} set workspace_id = '{ROWS['public.workspaces'][other]['id']}'"
        for caller in CALLERS.values():
            async with probe.acting(caller, unlinked=True):
                # Without a condition, which would apply the policy for select as well.
                stopped = await probe.attempt(moved)
            outcome = table.update.get(caller.name)
            reaches = outcome not in (None, "@all") and table.labels(outcome or "") & table.labels(f"@{workspace}")
            expected = NO_GRANT if outcome is None else "policy" if reaches else None
            findings.compare(caller, f"move out of workspace {workspace}", expected, stopped)
    assert not findings.report(), findings.report()
