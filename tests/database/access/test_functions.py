"""Every function of the API as every caller, and who may execute the private ones. functions.py expects it."""

import functools
import re

import pytest

from tests.database.access.callers import API_ROLES, CALLERS
from tests.database.access.functions import CALLS, Call
from tests.database.access.matrix import NO_GRANT, Findings, Probe
from tests.database.access.tables import TABLES
from tests.database.access.world import NAMES, ROWS, workspace_of

_KNOWN_BY_ID = ("auth.users", "public.api_keys", "public.workspaces", "public.personas", "public.spaces")
"""Tables of which a caller may learn an id without reading the row."""

_WITHOUT_CALLER = {"leave_group", "admit_key"}
"""Granted to the functions' roles, although no function calls it: lib/database/commands.py calls the second."""


async def test_every_api_function_has_a_line_and_exactly_the_roles_of_its_section(probe: Probe) -> None:
    found = await probe.connection.fetch(
        """
        select format('%s.%s', pronamespace::regnamespace, proname) as name,
               array(select r from unnest($1::text[]) r where has_function_privilege(r, p.oid, 'execute')) as roles,
               'uuid'::regtype = any ((proargtypes::oid[])[0 : pronargs - pronargdefaults - 1]) as needs_id
          from pg_proc p
         where pronamespace in ('public'::regnamespace, 'private'::regnamespace)
           and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')
        """,
        [*API_ROLES, "authenticator", "public"],
    )
    granted = {row["name"]: set(row["roles"]) for row in found}
    declared = {call.name: set(call.roles) for call in CALLS}
    assert {name for name in granted if name.startswith("public.")} <= declared.keys() <= granted.keys()
    assert declared == {name: granted[name] for name in declared}
    # A function that needs an id is called with a row of workspace two as well.
    foreign = {call.name for call in CALLS if any(workspace_of(label) == "two" for _, label in call.names)}
    assert {row["name"] for row in found if row["needs_id"] and row["name"].startswith("public.")} <= foreign


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name.removeprefix("public."))
async def test_a_call_answers_every_caller_as_expected(probe: Probe, call: Call) -> None:
    findings = Findings()
    for caller in CALLERS.values():
        async with probe.acting(caller, enter=call.name.startswith("private.")):
            actual, named = await probe.answer(call.sql, call.key)
        expected = call.outcomes.get(caller.name, NO_GRANT)
        findings.compare(caller, call.sql, sorted(expected.split()), sorted(actual.split()))
        told = named - call.names - {("auth.users", "guest")}
        # An answer names no row of a workspace that the caller's token does not open, and none that it may not select.
        foreign = {row for row in told if workspace_of(row[1]) not in {*caller.workspaces, "none"}}
        findings.compare(caller, f"{call.sql}: rows of another workspace", set(), foreign)
        if caller.role in ("contact", "authenticated"):
            findings.compare(caller, f"{call.sql}: rows that it may not select", set(), told - _selects(caller.name))
    assert not findings.report(), findings.report()


@functools.cache
def _selects(caller: str) -> set[tuple[str, str]]:
    """The rows that a caller may select, the contacts of the conversations among them, and rows that are no secret."""
    known = {(name, label) for name in _KNOWN_BY_ID for label in ROWS[name]}
    rows = {(table.name, label) for table in TABLES for label in table.labels(table.select.get(caller, ""))}
    talking = {ROWS[name][label].get("contact_id") for name, label in rows if name == "public.conversations"}
    return known | rows | {NAMES[contact] for contact in talking if contact}


async def test_a_role_executes_a_private_function_only_where_something_that_it_reaches_calls_it(probe: Probe) -> None:
    """A grant on a private function is for its callers: policies, views, defaults, indexes, functions with invoker
    rights."""
    functions = await probe.connection.fetch(
        """
        select proname as name, pronamespace::regnamespace::text as schema, prosecdef as definer,
               coalesce(pg_get_function_sqlbody(p.oid), prosrc) as body,
               prorettype = 'trigger'::regtype as trigger,
               array(select r from unnest($1::text[]) r where has_function_privilege(r, p.oid, 'execute')) as roles
          from pg_proc p where pronamespace in ('public'::regnamespace, 'private'::regnamespace)
        """,
        [*API_ROLES, "public"],
    )
    expressions = await probe.connection.fetch(
        """
        select role, expression
          from (select unnest(case when '{public}' = roles then $1 else roles end), concat(qual, with_check)
                  from pg_policies
                union all
                select r, pg_get_viewdef(c.oid) from pg_class c cross join unnest($1::text[]) r
                 where relkind = 'v' and relnamespace in ('public'::regnamespace, 'private'::regnamespace)
                   and has_any_column_privilege(r, c.oid, 'select')
                union all
                select r, pg_get_expr(adbin, adrelid) from pg_attrdef cross join unnest($1::text[]) r
                 where has_column_privilege(r, adrelid, adnum, 'insert')
                union all
                select r, pg_get_indexdef(indexrelid) from pg_index cross join unnest($1::text[]) r
                 where has_any_column_privilege(r, indrelid, 'insert, update')
                union all
                select r, pg_get_triggerdef(t.oid) from pg_trigger t cross join unnest($1::text[]) r
                 where has_any_column_privilege(r, tgrelid, 'insert, update')
                    or has_table_privilege(r, tgrelid, 'delete')
               ) as reached (role, expression)
        """,
        [*API_ROLES],
    )
    for role in (*API_ROLES, "public"):
        held = {row["name"] for row in functions if row["schema"] == "private" and role in row["roles"]}
        reached = {name for row in expressions if row["role"] == role for name in _called(row["expression"])}
        entered = [row for row in functions if row["name"] in reached or row["schema"] == "public"]
        while entered:
            row = entered.pop()
            if row["definer"] or not (row["trigger"] or role in row["roles"]):
                continue  # It runs as its owner, or not at all.
            calls = _called(row["body"]) - reached
            reached |= calls
            entered += [other for other in functions if other["name"] in calls]
        assert held - reached <= _WITHOUT_CALLER, role


def _called(body: str) -> set[str]:
    return set(re.findall(r"\bprivate\.(\w+)\(", body))


async def test_the_scheduled_commands_run_as_their_owner(probe: Probe) -> None:
    jobs = await probe.connection.fetch("select jobname, command from cron.job where username = 'postgres'")
    assert {job["jobname"] for job in jobs} >= {"switchboard-expire-turns", "switchboard-prune"}
    for job in jobs:
        await probe.connection.execute(f"begin; set local role postgres; {job['command']}; rollback")
