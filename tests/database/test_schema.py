"""supabase/schemas and supabase/policies define the database: migrations create it, and one command writes them."""

import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from local import migrations, schema
from local.schema import ReleasedError
from tests.database import catalogue
from tests.database.desk import Desk, with_token
from tests.servers import LEFT_OUT, Server

API_ROLES = ("anon", "authenticated", "member", "contact", "switchboard")

# A domain in the last release, and as it was changed since: each kind of object changed, added and removed.
RELEASED = """
create table public.notes (
    id uuid not null default private.uuid7(), text text not null, constraint notes_pkey primary key (id));
alter table public.notes enable row level security;
create function public.note_length(note public.notes) returns integer language sql stable set search_path = ''
as $$ select length(note.text); $$;
comment on function public.note_length is 'Characters.';
create function private.stamp_note() returns trigger language plpgsql set search_path = ''
as $$ begin return new; end; $$;
create function private.old_step() returns integer language sql set search_path = '' as $$ select 1; $$;
create trigger notes_stamp before insert on public.notes for each row execute function private.stamp_note();
create view public.note_list with (security_invoker = true) as select n.id from public.notes n;
grant execute on function public.note_length, private.stamp_note to switchboard;
"""
CHANGED = """
create table public.notes (
    id uuid not null default private.uuid7(), text text not null, author text, constraint notes_pkey primary key (id));
alter table public.notes enable row level security;
create function public.note_length(note public.notes, factor integer default 1)
    returns integer language sql stable set search_path = ''
as $$ select factor * length(note.text); $$;
comment on function public.note_length is 'Characters, times a factor.';
create function private.stamp_note() returns trigger language plpgsql set search_path = ''
as $$ begin new.author := 'changed'; return new; end; $$;
create function private.new_step() returns integer language sql set search_path = '' as $$ select 2; $$;
create trigger notes_stamp before insert or update on public.notes for each row execute function private.stamp_note();
create view public.note_list with (security_invoker = true) as select n.id, n.author from public.notes n;
comment on column public.note_list.author is 'Of a view.';
grant execute on function public.note_length, private.new_step to switchboard;
"""
RELEASED_POLICIES = {
    "notes": """
grant select on public.notes to authenticated;
create policy "Members read notes" on public.notes for select to authenticated using (true);
""",
    "note_list": "grant select on public.note_list to authenticated;",
}
CHANGED_POLICIES = {
    "notes": """
grant select (id, author) on public.notes to authenticated;
create policy "Members read their notes" on public.notes for select to authenticated using (author is not null);
""",
    "note_list": "grant select on public.note_list to authenticated, contact;",
}
BY_HAND = "alter table public.notes add column author text;"


def write_domain(folder: Path, tables: str, policies: dict[str, str]) -> None:
    """The product's declared schema and one more domain, in a folder of the test's own."""
    for part in ("schemas", "policies"):
        shutil.copytree(schema.SUPABASE / part, folder / part, dirs_exist_ok=True)
    (folder / "schemas" / "95_notes.sql").write_text(tables)
    for name, text in policies.items():
        (folder / "policies" / f"{name}.sql").write_text(text)


async def declared(server: Server, folder: Path = schema.SUPABASE) -> str:
    """A new database created from the declared schema. Its name."""
    name = await server.bare()
    await schema.apply(server.owner_url(name), folder, LEFT_OUT[server.major])
    return name


async def read(server: Server, name: str) -> catalogue.Catalogue:
    """The database's catalogue, without the history of migrations."""
    return await catalogue.read_database(server.admin_url(name), leave_out="history")


async def test_the_migrations_create_the_declared_schema(server_18: Server, migrated: str) -> None:
    name = await declared(server_18)
    try:
        created, expected = await read(server_18, migrated), await read(server_18, name)
    finally:
        await server_18.drop(name)

    for kind, rows in expected.items():
        assert created[kind] == rows, f"{kind}: write a migration (make migration NAME=verb_object)"


@pytest.mark.parametrize("version", [15, 17, 18])
async def test_a_written_migration_takes_a_database_in_use_to_the_changed_schema(
    server: Callable[[int], Server], version: int, tmp_path: Path
) -> None:
    one, left_out = server(version), LEFT_OUT[version]
    write_domain(tmp_path, RELEASED, RELEASED_POLICIES)
    for file_name, text in schema.baseline(tmp_path).items():
        (tmp_path / file_name).write_text(text)
    used, unused = await one.bare(), await one.bare()
    for name in (used, unused):
        await migrations.apply(one.owner_url(name), tmp_path, left_out)
    await migrations.seed(one.owner_url(used))
    async with Desk(one.gate_url(used), one.admin_url(used)) as desk:
        ann = with_token(await desk.register("ann@example.test"))
        under_way = await desk.start(ann, "First")
        before = await desk.everything()

    write_domain(tmp_path, CHANGED, CHANGED_POLICIES)
    expected = await declared(one, tmp_path)
    urls = one.owner_url(unused), one.owner_url(expected)
    written = await schema.write_migration(*urls, "change_notes", folder=tmp_path, migrations=tmp_path)
    assert written is not None
    text = written.read_text()
    assert "--   public.notes.author" in text
    assert "start_turn" not in text, "only what changed"
    written.write_text(re.sub(r"(-- Table changes[^\n]*\n)(--   [^\n]*\n)+", rf"\1{BY_HAND}\n", text))
    for name in (used, unused):
        assert await migrations.apply(one.owner_url(name), tmp_path, left_out) == [written.name[:14]]

    assert await read(one, used) == await read(one, expected)
    assert await schema.write_migration(*urls, "again", folder=tmp_path, migrations=tmp_path) is None
    async with Desk(one.gate_url(used), one.admin_url(used)) as desk:
        after = await desk.everything()
        assert {table: after[table] for table in before} == before
        assert (await desk.finish(under_way, answer="It went on"))["status"] == "completed"
        assert (await desk.start(ann, "Second"))["session_id"] == under_way["session_id"]
    for name in (used, unused, expected):
        await one.drop(name)


def test_a_released_baseline_is_not_replaced(tmp_path: Path) -> None:
    changelog = tmp_path / "CHANGELOG.md"
    changelog.write_text("# Changelog\n\n## Unreleased\n")
    schema.write_baseline(tmp_path, changelog)
    assert {file.name for file in tmp_path.glob("*.sql")} == set(schema.baseline())

    changelog.write_text("# Changelog\n\n## 0.1.0 (2027-01-01)\n")
    with pytest.raises(ReleasedError):
        schema.write_baseline(tmp_path, changelog)


async def test_every_table_and_view_has_a_policies_file_of_its_own(admin: asyncpg.Connection) -> None:
    relations = await admin.fetch(
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v')"
    )
    files = {file.stem: file.read_text() for file in (schema.SUPABASE / "policies").glob("*.sql")}

    # A file that a server without an extension leaves out has the policies of its tables.
    apart = {
        table
        for file in (schema.SUPABASE / "schemas").glob("*.sql")
        if any(part in file.name for part in LEFT_OUT[15])
        for table in re.findall(r"create table public\.(\w+)", file.read_text())
    }
    assert {row["relname"] for row in relations} == files.keys() | apart
    for stem, text in files.items():
        assert {*re.findall(r"\bon public\.(\w+)", text)} == {stem}


async def test_each_role_has_one_permissive_policy_for_what_it_is_granted_and_no_other(
    admin: asyncpg.Connection,
) -> None:
    """A grant without a policy gives nothing, and neither does a policy without a grant: each is a mistake."""
    granted = await admin.fetch(
        # A grant on a table is one on its columns as well, except for deleting. Views have no policies.
        "select table_name, grantee, privilege_type from information_schema.role_column_grants "
        "where table_schema = 'public' and grantee = any($1) "
        "union select table_name, grantee, privilege_type from information_schema.role_table_grants "
        "where table_schema = 'public' and grantee = any($1) "
        "except select viewname, rolname, 'SELECT' from pg_views, pg_roles where schemaname = 'public'",
        API_ROLES,
    )
    policies = Counter(
        (row["tablename"], role, row["cmd"])
        for row in await admin.fetch(
            "select tablename, roles::text[], cmd from pg_policies where schemaname = 'public'"
        )
        for role in row["roles"]
    )

    assert policies == Counter(tuple(row) for row in granted)


def test_no_function_is_longer_than_a_hundred_lines() -> None:
    functions = [
        match
        for file in schema.files()
        for match in re.finditer(r"^create function (\S+)\(.*?^\$\$;$", file.read_text(), re.MULTILINE | re.DOTALL)
    ]
    assert len(functions) > 200
    assert [match[1] for match in functions if len(match[0].splitlines()) > 100] == []
