"""What the holder of the login's password can do."""

from collections.abc import Callable

import asyncpg
import pytest

from local import migrations, supabase_shim
from tests import servers
from tests.servers import LEFT_OUT, VERSIONS, Server

PASSWORD = "let-me-in"

HIJACK = """
create function pg_temp.runs_as(value anyelement) returns boolean language plpgsql as $$
begin
    raise exception 'ran as %', current_user;
end $$;
create domain pg_temp.uuid as pg_catalog.uuid check (pg_temp.runs_as(value));
"""
"""Makes a `uuid` in the body of a definer function run foreign code with its owner's rights."""


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_login_becomes_nobody_by_temporary_types(server: Callable[[int], Server], version: int) -> None:
    """In a database that the migrations ran in: a copy of one has what they granted on objects, not on the database."""
    one = server(version)
    name = await one.bare()
    owner_url = one.owner_url(name)
    await migrations.apply(owner_url, leave_out=LEFT_OUT[version])
    await supabase_shim.let_in(owner_url, "switchboard_login", PASSWORD)
    connection = await asyncpg.connect(one.cluster.url("switchboard_login", PASSWORD, name))
    owner = await asyncpg.connect(owner_url)
    try:
        for role in ("switchboard", "contact", "authenticated", "none"):
            await connection.execute(f"set role {role}")
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="temporary"):
                await connection.execute(HIJACK)
        for role in ("anon", "service_role", "authenticator", "postgres"):
            assert await owner.fetchval("select has_database_privilege($1, current_database(), 'temporary')", role)
        # It is this right alone that stands between them.
        await owner.execute(f"grant temporary on database {name} to switchboard")
        await connection.execute("set role switchboard")
        await connection.execute(HIJACK)
        with pytest.raises(asyncpg.RaiseError, match="ran as postgres"):
            await connection.execute("select private.enter_invitation(null)")
    finally:
        await connection.close()
        await owner.close()
        await one.drop(name)


async def test_the_login_has_only_the_rights_of_the_roles_that_it_takes(server_18: Server, migrated: str) -> None:
    await supabase_shim.let_in(server_18.owner_url(migrated), "switchboard_login", PASSWORD)
    connection = await asyncpg.connect(server_18.cluster.url("switchboard_login", PASSWORD, migrated))
    try:
        for role in ("postgres", "service_role", "anon", "authenticator"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"set role {role}")
        # Nothing was entered and there are no claims, so nothing is there.
        for role in ("switchboard", "contact", "authenticated"):
            await connection.execute(f"set role {role}")
            for table in ("conversations", "sessions", "messages"):
                assert await connection.fetchval(f"select count(*) from public.{table}") == 0
        await connection.execute("set role none")
        for statement in (
            "select from public.contacts",
            "select public.follow_conversation(null)",
            "select private.claims()",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()


async def test_the_login_is_closed_until_it_has_a_password() -> None:
    with servers.running(18) as fresh:
        name = await fresh.migrated()
        owner = await asyncpg.connect(fresh.owner_url(name))
        role = await owner.fetchrow(
            "select rolcanlogin, rolinherit, rolsuper, rolbypassrls, rolcreaterole from pg_roles"
            " where rolname = 'switchboard_login'"
        )
        await owner.close()
    assert role is not None
    assert not any(role.values())
