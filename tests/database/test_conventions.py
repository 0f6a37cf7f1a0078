"""What every table, function and enum owes its reader, and that docs/database.md tells what there is."""

import re
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from local.paths import REPOSITORY
from tests.servers import Server

DOCUMENT = (REPOSITORY / "docs" / "database.md").read_text()

# The leading column must narrow the search down: workspace_id alone holds a whole tenant's rows.
UNINDEXED_KEYS = """
select c.conrelid::regclass::text || '.' || c.conname
  from pg_constraint c
 where c.contype = 'f'
   and c.connamespace in ('public'::regnamespace, 'private'::regnamespace)
   and not exists (select
                     from pg_index i
                    where i.indrelid = c.conrelid
                      and i.indisvalid
                      -- Rows that name nothing may be left out: who looks for a row names one.
                      and (i.indpred is null
                           or pg_get_expr(i.indpred, i.indrelid) = (select format('(%I IS NOT NULL)', attname)
                                                                      from pg_attribute
                                                                     where attrelid = c.conrelid
                                                                       and attnum = i.indkey[0]))
                      and i.indkey[0] = any (c.conkey)
                      and (i.indkey[0] <> (select attnum from pg_attribute
                                            where attrelid = c.conrelid and attname = 'workspace_id')
                           or c.conkey <@ (i.indkey::int2[])[0:array_length(c.conkey, 1) - 1]))
 order by 1
"""

LOOSE_FUNCTIONS = """
select p.oid::regprocedure::text
  from pg_proc p
 where p.pronamespace in ('public'::regnamespace, 'private'::regnamespace)
   and not coalesce(p.proconfig @> array['search_path=""'], false)
"""

SILENT = """
select 'table ' || c.oid::regclass
  from pg_class c
 where c.relnamespace in ('public'::regnamespace, 'private'::regnamespace) and c.relkind in ('r', 'p', 'v', 'm')
   and coalesce(obj_description(c.oid, 'pg_class'), '') = ''
union all
select 'function ' || p.oid::regprocedure
  from pg_proc p
 where p.pronamespace in ('public'::regnamespace, 'private'::regnamespace)
   and coalesce(obj_description(p.oid, 'pg_proc'), '') = ''
union all
select 'schema private' where coalesce(obj_description('private'::regnamespace, 'pg_namespace'), '') = ''
"""

ENUMS = """
select t.typname, obj_description(t.oid, 'pg_type') as comment,
       array(select e.enumlabel::text from pg_enum e where e.enumtypid = t.oid) as labels
  from pg_type t
 where t.typnamespace in ('public'::regnamespace, 'private'::regnamespace) and t.typtype = 'e'
"""

DEFINERS = """
select p.pronamespace::regnamespace || '.' || p.proname
  from pg_proc p
 where p.prosecdef and p.pronamespace in ('public'::regnamespace, 'private'::regnamespace)
"""


@pytest_asyncio.fixture
async def admin(server_18: Server, migrated: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a migrated database, in a transaction that is rolled back."""
    connection = await asyncpg.connect(server_18.admin_url(migrated))
    transaction = connection.transaction()
    await transaction.start()
    yield connection
    await transaction.rollback()
    await connection.close()


async def _names(connection: asyncpg.Connection, query: str) -> set[str]:
    return {row[0] for row in await connection.fetch(query)}


def _listed(heading: str) -> set[str]:
    """What the first column of the table under a heading of docs/database.md names in backticks."""
    section = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert section is not None, f"docs/database.md has no section {heading!r}"
    rows = [line.split("|")[1] for line in section[1].splitlines() if line.startswith("|")]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


async def test_every_foreign_key_has_an_index_that_leads_with_its_column(admin: asyncpg.Connection) -> None:
    assert await _names(admin, UNINDEXED_KEYS) == set()

    await admin.execute("drop index public.contacts_session_id_idx")
    await admin.execute("drop index public.jobs_event_id_idx")
    assert await _names(admin, UNINDEXED_KEYS) == {"contacts.contacts_session_id_fkey", "jobs.jobs_event_id_fkey"}


async def test_every_function_searches_no_schema_but_those_it_names(admin: asyncpg.Connection) -> None:
    assert await _names(admin, LOOSE_FUNCTIONS) == set()

    await admin.execute("alter function private.uuid7() reset search_path")
    assert await _names(admin, LOOSE_FUNCTIONS) == {"private.uuid7()"}


async def test_every_table_and_function_says_what_it_is_for(admin: asyncpg.Connection) -> None:
    assert await _names(admin, SILENT) == set()

    await admin.execute("comment on function private.uuid7() is null; comment on table public.jobs is ''")
    assert await _names(admin, SILENT) == {"function private.uuid7()", "table jobs"}


async def test_every_enums_comment_names_its_values(admin: asyncpg.Connection) -> None:
    enums = await admin.fetch(ENUMS)
    assert len(enums) >= 8

    for enum in enums:
        unnamed = set(enum["labels"]) - set(re.findall(r"\w+", enum["comment"] or ""))
        assert unnamed == set(), enum["typname"]


async def test_every_security_definer_function_is_listed_with_its_reason(admin: asyncpg.Connection) -> None:
    assert await _names(admin, DEFINERS) == _listed("Security definer")
    assert len(_listed("Security definer")) > 10


async def test_the_document_lists_the_tables_functions_and_schedules_that_there_are(admin: asyncpg.Connection) -> None:
    tables = "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')"
    functions = "select proname from pg_proc where pronamespace = 'public'::regnamespace"

    assert await _names(admin, tables) == _listed("Tables")
    assert await _names(admin, functions) == _listed("Functions over the API")
    assert await _names(admin, "select jobname from cron.job") == _listed("Schedules")


@pytest.mark.parametrize("enum", ["session_status", "turn_status", "job_status"])
async def test_the_document_tells_every_state_of_a_lifecycle(admin: asyncpg.Connection, enum: str) -> None:
    labels = await admin.fetchval(f"select array_agg(l::text) from unnest(enum_range(null::public.{enum})) l")
    section = DOCUMENT.split("## Lifecycles")[1].split("\n## ")[0]

    assert set(labels) <= set(re.findall(r"\w+", section))


async def test_what_every_turn_calls_is_planned_once(admin: asyncpg.Connection) -> None:
    # Before 18 a function in the language sql that sets search_path is planned anew in every statement that calls it.
    rows = await admin.fetch("""
        select p.pronamespace::regnamespace || '.' || p.proname as name, p.prosrc as body, l.lanname as language
          from pg_proc p
          join pg_language l on l.oid = p.prolang
         where p.pronamespace in ('public'::regnamespace, 'private'::regnamespace)
    """)
    functions = {row["name"]: row for row in rows}
    # The ids of new rows are default values.
    reached, seen = {"public.start_turn", "public.finish_turn", "private.uuid7"}, set[str]()
    while reached - seen:
        name = (reached - seen).pop()
        seen.add(name)
        reached |= set(re.findall(r"\b(?:private|public)\.\w+(?=\()", functions[name]["body"])) & functions.keys()
    assert len(seen) > 20
    # Only on the way of what is refused, or proven by an email's HMAC.
    seldom = {"limit_refusal", "breaker_refusal", "count_breaker_refusal", "turn_state", "email_is_signed"}
    planned_anew = {name.removeprefix("private.") for name in seen if functions[name]["language"] == "sql"}
    assert planned_anew == seldom
