"""Every function as every caller: who may run it, and what comes of it. The expectations are in functions_*.py."""

import re
from typing import Any

import pytest

from local.paths import REPOSITORY
from tests.database.access.callers import API_ROLES, CALLERS, Caller
from tests.database.access.functions_api import REQUESTS
from tests.database.access.functions_contacts import CONTACT_STEPS, KNOWN
from tests.database.access.functions_limits import LIMITS
from tests.database.access.functions_management import CHANGES, READS
from tests.database.access.functions_management_steps import MANAGEMENT_STEPS
from tests.database.access.functions_merges import MERGES
from tests.database.access.functions_queue import BACKGROUND
from tests.database.access.functions_sessions import SESSIONS
from tests.database.access.functions_statistics import STATISTICS
from tests.database.access.functions_steps import ACCESS
from tests.database.access.functions_takeover import TAKEOVER
from tests.database.access.functions_templates import TEMPLATES
from tests.database.access.functions_turns import TURNS
from tests.database.access.functions_work import WORK
from tests.database.access.functions_workflow import WORKFLOW
from tests.database.access.functions_workflow_steps import WORKFLOW_STEPS
from tests.database.access.matrix import Call, Fails, Findings, Function, Probe, cell, fits

FUNCTIONS: tuple[Function, ...] = (
    *REQUESTS, *BACKGROUND, *CHANGES, *READS, *MANAGEMENT_STEPS, *ACCESS, *WORK, *LIMITS, *TURNS, *SESSIONS,
    *KNOWN, *CONTACT_STEPS, *TEMPLATES, *TAKEOVER, *MERGES, *WORKFLOW, *WORKFLOW_STEPS, *STATISTICS,
)  # fmt: skip

_UNDECLARED = object()
_CALLS = [
    pytest.param(function, call, id=f"{function.name}-{number}")
    for function in FUNCTIONS
    for number, call in enumerate(function.calls, 1)
]


async def test_every_function_is_declared_and_nothing_else(probe: Probe) -> None:
    await probe.connection.execute("set search_path = ''")
    found = await probe.connection.fetch("""
        select p.oid::regprocedure::text as signature
          from pg_catalog.pg_proc p
          join pg_catalog.pg_namespace n on n.oid = p.pronamespace
         where n.nspname in ('public', 'private')
           and not exists (select from pg_catalog.pg_depend d where d.objid = p.oid and d.deptype = 'e')
    """)
    await probe.connection.execute("reset search_path")
    declared = [function.signature for function in FUNCTIONS]
    assert sorted(row["signature"] for row in found) == sorted(declared)


@pytest.mark.parametrize("function", FUNCTIONS, ids=[function.signature for function in FUNCTIONS])
async def test_exactly_the_declared_roles_may_execute_it(probe: Probe, function: Function) -> None:
    held = [
        role
        for role in (*API_ROLES, "authenticator", "public")
        if await probe.connection.fetchval("select has_function_privilege($1, $2, 'execute')", role, function.signature)
    ]
    assert sorted(held) == sorted(function.granted)


async def test_definer_functions_are_the_declared_ones_and_documented(probe: Probe) -> None:
    rows = await probe.connection.fetch("""
        select p.oid::regprocedure::text as signature, p.prosecdef, p.proconfig
          from pg_proc p
          join pg_namespace n on n.oid = p.pronamespace
         where n.nspname in ('public', 'private')
    """)
    names = {row["signature"].split("(")[0].split(".")[-1] for row in rows if row["prosecdef"]}
    assert names == {function.name for function in FUNCTIONS if function.definer}
    # Whoever owns a name on the search path could otherwise slip something under a function's feet.
    assert [row["signature"] for row in rows if 'search_path=""' not in (row["proconfig"] or [])] == []

    section = (REPOSITORY / "docs" / "database.md").read_text().split("## Security definer")[1].split("\n## ")[0]
    documented = re.findall(r"^\| `private\.(\w+)[^`]*` \| \S", section, re.MULTILINE)
    assert sorted(documented) == sorted(names)


async def test_what_takes_an_id_is_also_called_with_another_workspaces() -> None:
    without = [
        function.signature
        for function in FUNCTIONS
        if function.signature.startswith("public.")
        and "uuid" in function.signature
        and not any(call.foreign for call in function.calls)
    ]
    assert without == []


async def test_what_the_schedules_run_works_as_their_owner(probe: Probe) -> None:
    jobs = await probe.connection.fetch("select jobname, command from cron.job where username = 'postgres'")
    assert {job["jobname"] for job in jobs} >= {"switchboard-expire-turns", "switchboard-prune"}
    for job in jobs:
        await probe.connection.execute("begin; set local role postgres")
        try:
            await probe.connection.execute(job["command"])
        finally:
            await probe.connection.execute("rollback")


@pytest.mark.parametrize(("function", "call"), _CALLS)
async def test_a_call_gives_every_caller_exactly_what_is_declared(probe: Probe, function: Function, call: Call) -> None:
    findings = Findings()
    for caller in CALLERS:
        async with probe.acting(caller, enter=not function.enters):
            actual = await probe.answer(call.sql)
        if caller.role not in function.granted:
            right = _is_refused_by_grant(function, actual)
            expected: Any = "no grant"
        else:
            expected = _expected(call, caller)
            right = _is_right(expected, actual)
        if not right:
            findings.note(caller, f"expected {expected}, got {actual}")
    assert not findings.report(), f"{call.sql}\n{findings.report()}"


async def test_an_outcome_is_declared_for_exactly_the_callers_with_a_grant() -> None:
    for function in FUNCTIONS:
        for call in function.calls:
            for caller in CALLERS:
                declared = cell(call.outcome, caller, _UNDECLARED) is not _UNDECLARED
                assert declared == (caller.role in function.granted), f"{call.sql} as {caller.name}"


def _expected(call: Call, caller: Caller) -> Any:
    expected = cell(call.outcome, caller)
    return expected(caller) if callable(expected) else expected


def _is_refused_by_grant(function: Function, actual: Any) -> bool:
    return isinstance(actual, Fails) and actual in (
        Fails("42501", f"permission denied for function {function.name}"),
        Fails("42501", "permission denied for schema private"),
    )


def _is_right(expected: Any, actual: Any) -> bool:
    if isinstance(expected, Fails) or isinstance(actual, Fails):
        return (
            isinstance(expected, Fails)
            and isinstance(actual, Fails)
            and expected.sqlstate == actual.sqlstate
            and actual.message.startswith(expected.message)
        )
    return fits(expected if isinstance(expected, list) else [expected], actual)
