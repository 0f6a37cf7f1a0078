"""The declared schema (supabase/schemas, supabase/policies), and the migrations that are written from it.

The schema files define the current state: each type, table, function and trigger once, in the order of the file names.
The policies folder has one file per table or view with its grants and policies. Function bodies may name what a later
file creates, so their check is off while the files are applied, as in a dump of pg_dump.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from local.migrations import MIGRATIONS, run
from local.paths import REPOSITORY
from local.statements import split

SUPABASE = REPOSITORY / "supabase"
CHANGELOG = REPOSITORY / "CHANGELOG.md"

_HEADER = """\
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;
"""
_BASELINE_DAY = "20261130"
_WRITTEN_BY_HAND = "-- Table changes (types, tables, columns, constraints, indexes), written by hand:"


class ReleasedError(Exception):
    """A baseline was asked for although its migrations are released, so that databases have applied them."""


def files(folder: Path = SUPABASE) -> list[Path]:
    """The files that declare the schema, in the order in which they apply."""
    return [*sorted((folder / "schemas").glob("*.sql")), *sorted((folder / "policies").glob("*.sql"))]


async def apply(url: str, folder: Path = SUPABASE, leave_out: Sequence[str] = ()) -> None:
    """Create the declared schema in an empty database, in one transaction. Raises MigrationError."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute("set local client_min_messages = warning; set local check_function_bodies = off")
            for file in files(folder):
                if not any(part in file.name for part in leave_out):
                    await run(connection, file, split(file.read_text()))
    finally:
        await connection.close()


def baseline(folder: Path = SUPABASE) -> dict[str, str]:
    """The migrations that create the declared schema, by file name: one per schema file, then one for all policies."""
    written = {}
    for file in sorted((folder / "schemas").glob("*.sql")):
        number, name = file.stem.split("_", 1)
        text = f"-- Generated from supabase/schemas/{file.name}.\n{_HEADER}\n{file.read_text()}"
        written[f"{_BASELINE_DAY}0{number[0]}0{number[1]}00_create_{name}.sql"] = text
    policies = "\n".join(file.read_text() for file in sorted((folder / "policies").glob("*.sql")))
    header = f"-- Generated from supabase/policies/.\n{_HEADER}"
    written[f"{_BASELINE_DAY}100000_create_policies.sql"] = f"{header}\n{policies}"
    return written


def write_baseline(migrations: Path = MIGRATIONS, changelog: Path = CHANGELOG) -> None:
    """Replace the migrations by a new baseline. Raises ReleasedError once the changelog has a release."""
    if changelog.exists() and re.search(r"^## \[?\d", changelog.read_text(), re.MULTILINE):
        raise ReleasedError("The baseline is released: write a migration instead (make migration NAME=verb_object).")
    for file in migrations.glob("*.sql"):
        file.unlink()
    for name, text in baseline().items():
        (migrations / name).write_text(text)


@dataclass(frozen=True)
class _Statement:
    """One statement of a schema or policy file, and the object that it defines or describes."""

    kind: str
    name: str
    text: str


_KINDS = (
    ("function", re.compile(r"create function ([\w.]+)\s*\(", re.IGNORECASE)),
    ("view", re.compile(r"create view ([\w.]+)", re.IGNORECASE)),
    ("trigger", re.compile(r"create (?:constraint )?trigger (\w+)", re.IGNORECASE)),
    ("policy", re.compile(r"create policy .*?\bon ([\w.]+)", re.IGNORECASE | re.DOTALL)),
    ("comment", re.compile(r"comment on (?:function|view) ([\w.]+)", re.IGNORECASE)),
    ("comment", re.compile(r"comment on column ([\w.]+)\.\w+", re.IGNORECASE)),
    ("grant", re.compile(r"grant (?!execute).*?\bon (?:table )?([\w.]+)\s+to", re.IGNORECASE | re.DOTALL)),
)
_LEADING_COMMENTS = re.compile(r"^(?:\s*--[^\n]*\n)+")


def _statements(folder: Path) -> Iterable[_Statement]:
    for file in files(folder):
        for statement in split(file.read_text()):
            bare = _LEADING_COMMENTS.sub("", statement.text)
            for kind, pattern in _KINDS:
                if found := pattern.match(bare):
                    yield _Statement(kind, found[1], statement.text)
                    break


# Each query returns (name, definition, dropping statement) of one kind of object. A table's policies, and its grants,
# are one object: a change replaces them all, so that the migration shows them whole.
_OBJECTS = {
    "function": """
        select p.oid::regproc::text, pg_get_functiondef(p.oid) || coalesce(obj_description(p.oid, 'pg_proc'), ''),
               'drop function ' || p.oid::regprocedure
          from pg_proc p where pronamespace in ('public'::regnamespace, 'private'::regnamespace)
    """,
    "execute": """
        select p.oid::regproc::text, string_agg(a.grantee::regrole::text, ', ' order by a.grantee::regrole::text),
               'revoke execute on function ' || p.oid::regprocedure || ' from '
               || string_agg(a.grantee::regrole::text, ', ' order by a.grantee::regrole::text)
          from pg_proc p, aclexplode(p.proacl) a
         where pronamespace in ('public'::regnamespace, 'private'::regnamespace) and a.grantee <> p.proowner
         group by p.oid
    """,
    "view": """
        select c.oid::regclass::text,
               concat_ws(' ', pg_get_viewdef(c.oid), c.reloptions, obj_description(c.oid, 'pg_class'),
                         (select string_agg(concat_ws(' ', objsubid, description), ' ' order by objsubid)
                            from pg_description where objoid = c.oid and objsubid > 0)),
               'drop view ' || c.oid::regclass
          from pg_class c where relnamespace in ('public'::regnamespace, 'private'::regnamespace) and relkind = 'v'
    """,
    "trigger": """
        select tgname::text, pg_get_triggerdef(t.oid),
               'drop trigger ' || quote_ident(tgname) || ' on ' || tgrelid::regclass
          from pg_trigger t join pg_class c on c.oid = tgrelid
         where relnamespace in ('public'::regnamespace, 'private'::regnamespace) and not tgisinternal
    """,
    "policy": """
        select schemaname || '.' || tablename, string_agg(p::text, E'\n' order by policyname),
               string_agg(format('drop policy %I on %I.%I', policyname, schemaname, tablename), E';\n')
          from pg_policies p where schemaname in ('public', 'private') group by schemaname, tablename
    """,
    "grant": """
        select c.oid::regclass::text,
               string_agg(distinct concat_ws(' ', g.attname, a.grantee::regrole, a.privilege_type), ', '),
               'revoke all on ' || c.oid::regclass || ' from ' || string_agg(distinct a.grantee::regrole::text, ', ')
          from pg_class c
         cross join lateral (select null as attname, c.relacl as acl union all
                             select attname, attacl from pg_attribute where attrelid = c.oid and attacl is not null) g
         cross join aclexplode(g.acl) a
         where c.relnamespace in ('public'::regnamespace, 'private'::regnamespace) and relkind in ('r', 'v', 'p')
           and a.grantee <> c.relowner
         group by c.oid
    """,
    "table": """
        select c.oid::regclass || '.' || a.attname,
               concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated,
                         pg_get_expr(d.adbin, d.adrelid)), ''
          from pg_class c join pg_attribute a on a.attrelid = c.oid and attnum > 0 and not attisdropped
          left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
         where relnamespace in ('public'::regnamespace, 'private'::regnamespace) and relkind in ('r', 'p', 'c')
        union all
        select conrelid::regclass || '.' || conname, pg_get_constraintdef(oid), '' from pg_constraint
         where connamespace in ('public'::regnamespace, 'private'::regnamespace) and contype <> 'n'
        union all
        select indexrelid::regclass::text, pg_get_indexdef(indexrelid), ''
          from pg_index join pg_class c on c.oid = indexrelid
         where relnamespace in ('public'::regnamespace, 'private'::regnamespace)
        union all
        select t.oid::regtype::text, string_agg(enumlabel, ',' order by enumsortorder), ''
          from pg_type t join pg_enum on enumtypid = t.oid
         where typnamespace in ('public'::regnamespace, 'private'::regnamespace) group by t.oid
    """,
}

_Objects = dict[str, dict[str, tuple[str, str]]]


async def _objects(url: str) -> _Objects:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("set search_path = ''")
        return {
            kind: {name: (definition, drop) for name, definition, drop in await connection.fetch(query)}
            for kind, query in _OBJECTS.items()
        }
    finally:
        await connection.close()


async def write_migration(
    migrated_url: str,
    declared_url: str,
    name: str,
    *,
    folder: Path = SUPABASE,
    migrations: Path = MIGRATIONS,
) -> Path | None:
    """Write the migration that takes the database of the migrations to the declared schema; None if they are equal.

    The file holds each changed function, view and trigger in full, and all grants and policies of a table where one of
    them changed. Changed types, tables, columns, constraints and indexes are listed in a comment: their statements are
    written by hand in that place.
    """
    before, after = await _objects(migrated_url), await _objects(declared_url)

    def changed(kind: str) -> list[str]:
        old, new = before[kind], after[kind]
        return sorted(each for each in old.keys() | new.keys() if old.get(each, ("",))[0] != new.get(each, ("",))[0])

    def source(kinds: set[str], names: Iterable[str]) -> list[str]:
        wanted = set(names)
        return [
            s.text + ";"
            for s in _statements(folder)
            if s.kind in kinds and (s.name in wanted or f"public.{s.name}" in wanted)
        ]

    def drops(kind: str, names: Iterable[str]) -> list[str]:
        return [before[kind][each][1] + ";" for each in names if each in before[kind]]

    functions, tables, triggers = changed("function"), changed("table"), changed("trigger")
    views, policies, grants = changed("view"), changed("policy"), changed("grant")
    if not any((functions, tables, triggers, views, policies, grants, changed("execute"))):
        return None
    # A function with other arguments or another result cannot be replaced; with another body it can, without drops.
    replaced = [each for each in functions if _signature(before, each) == _signature(after, each)]
    dropped = [each for each in functions if each not in replaced]
    created = source({"function"}, functions)
    created = [
        re.sub("create function", "create or replace function", text, count=1) if _defines(text) in replaced else text
        for text in created
    ]
    executes = sorted({*changed("execute"), *(each for each in dropped if each in after["execute"])})
    sections = [
        [f"-- {name.replace('_', ' ').capitalize()}.\n{_HEADER}".rstrip()],
        drops("policy", policies),
        drops("trigger", triggers),
        drops("view", reversed(views)),
        drops("function", dropped),
        [_WRITTEN_BY_HAND, *(f"--   {each}" for each in tables)] if tables else [],
        created,
        source({"view"}, views),
        source({"comment"}, [*functions, *views]),
        source({"trigger"}, triggers),
        drops("execute", (each for each in executes if each not in dropped)),
        [
            f"grant execute on function {each} to {after['execute'][each][0]};"
            for each in executes
            if each in after["execute"]
        ],
        drops("grant", (each for each in grants if each not in views)),
        source({"grant"}, {*grants, *views}),
        source({"policy"}, policies),
    ]
    target = migrations / f"{datetime.now(UTC):%Y%m%d%H%M%S}_{name}.sql"
    target.write_text("\n\n".join("\n".join(section) for section in sections if section) + "\n")
    return target


def _signature(objects: _Objects, function: str) -> str | None:
    """Arguments and result, which `create or replace` cannot change."""
    definition = objects["function"].get(function, (None,))[0]
    return None if definition is None else definition.split("\n LANGUAGE ", 1)[0]


def _defines(text: str) -> str | None:
    found = re.search(r"create function ([\w.]+)", text)
    return found[1] if found else None
