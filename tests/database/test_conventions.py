"""The conventions of every table, function and enum, and that docs/database.md lists what exists."""

import re

import asyncpg
import pytest

from local.paths import REPOSITORY

DOCUMENT = (REPOSITORY / "docs" / "database.md").read_text()
OURS = "in ('public'::regnamespace, 'private'::regnamespace)"

UNINDEXED_KEYS = "select example from private.catalogue_findings() where name = 'keys_without_index'"

SEARCHING_FUNCTIONS = f"""
select p.oid::regprocedure::text
  from pg_proc p
 where p.pronamespace {OURS} and not coalesce(p.proconfig @> array['search_path=""'], false)
"""

UNCOMMENTED = f"""
select c.oid::regclass::text from pg_class c
 where c.relnamespace {OURS} and c.relkind in ('r', 'p', 'v', 'm')
   and coalesce(obj_description(c.oid, 'pg_class'), '') = ''
union all
select p.oid::regprocedure::text from pg_proc p
 where p.pronamespace {OURS} and coalesce(obj_description(p.oid, 'pg_proc'), '') = ''
union all
-- An enum's comment has the lifecycle of its values.
select t.typname || '.' || e.enumlabel from pg_type t join pg_enum e on e.enumtypid = t.oid
 where t.typnamespace {OURS} and coalesce(obj_description(t.oid, 'pg_type'), '') !~ ('\\m' || e.enumlabel || '\\M')
"""

RULES = {
    "every foreign key has an index that leads with its column": (
        UNINDEXED_KEYS,
        "drop index public.contacts_session_id_idx, public.jobs_event_id_idx",
        {"public.contacts.contacts_session_id_fkey", "public.jobs.jobs_event_id_fkey"},
    ),
    "every function names the schemas that it searches": (
        SEARCHING_FUNCTIONS,
        "alter function private.uuid7() reset search_path",
        {"private.uuid7()"},
    ),
    "every table, function and enum value has a comment": (
        UNCOMMENTED,
        "comment on function private.uuid7() is null; comment on table public.jobs is '';"
        " comment on type public.space_kind is 'embed'",
        {"private.uuid7()", "jobs", "space_kind.landing"},
    ),
}

# A heading of docs/database.md, and what the first column of its table lists.
LISTED = {
    "Security definer": f"select pronamespace::regnamespace || '.' || proname from pg_proc"
    f" where prosecdef and pronamespace {OURS}",
    "Tables": "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')",
    "Functions over the API": "select proname from pg_proc where pronamespace = 'public'::regnamespace",
    "Schedules": "select jobname from cron.job",
}


async def _names(connection: asyncpg.Connection, query: str) -> set[str]:
    return {row[0] for row in await connection.fetch(query)}


def _section(heading: str) -> str:
    return DOCUMENT.split(f"\n## {heading}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("rule", RULES)
async def test_the_database_follows_the_rule_and_an_exception_is_found(admin: asyncpg.Connection, rule: str) -> None:
    query, broken, found = RULES[rule]
    assert await _names(admin, query) == set()

    await admin.execute(broken)
    assert await _names(admin, query) == found


@pytest.mark.parametrize("heading", LISTED)
async def test_the_document_lists_what_exists(admin: asyncpg.Connection, heading: str) -> None:
    rows = [line.split("|")[1] for line in _section(heading).splitlines() if line.startswith("|")]
    assert {name for row in rows for name in re.findall(r"`([^`]+)`", row)} == await _names(admin, LISTED[heading])


@pytest.mark.parametrize("enum", ["session_status", "turn_status", "job_status"])
async def test_the_document_has_every_state_of_a_lifecycle(admin: asyncpg.Connection, enum: str) -> None:
    labels = await _names(admin, f"select unnest(enum_range(null::public.{enum}))::text")
    assert labels <= set(re.findall(r"\w+", _section("Lifecycles")))


async def test_what_every_turn_calls_is_planned_once(admin: asyncpg.Connection) -> None:
    # Before 18 a function in the language sql that sets search_path is planned anew in every statement that calls it.
    rows = await admin.fetch(
        "select p.pronamespace::regnamespace || '.' || p.proname as name, p.prosrc as body, l.lanname as language"
        f" from pg_proc p join pg_language l on l.oid = p.prolang where p.pronamespace {OURS}"
    )
    functions = {row["name"]: row for row in rows}
    # The ids of new rows are default values.
    reached, seen = {"public.start_turn", "public.finish_turn", "private.uuid7"}, set[str]()
    while reached - seen:
        name = (reached - seen).pop()
        seen.add(name)
        reached |= set(re.findall(r"\b(?:private|public)\.\w+(?=\()", functions[name]["body"])) & functions.keys()
    assert len(seen) > 20
    # Only called for a refusal, for a proof, for a member's own conversation or in a contact's name, or in a channel.
    rarely_called = {"limit_refusal", "breaker_refusal", "count_breaker_refusal", "turn_state", "is_signed"}
    rarely_called |= {"calling_user", "workspace_of", "call_function", "is_limited_key", "calling_actor"}
    planned_anew = {name.removeprefix("private.") for name in seen if functions[name]["language"] == "sql"}
    assert planned_anew == rarely_called
