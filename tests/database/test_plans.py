"""Look-ups on the way of every message ask an index for all they know, under row-level security, on every version.

An operator that is not leakproof (an enum's equality) is no index condition beside a policy, and the newest Postgres
hides that by skipping through the index: hence all versions.
"""

from collections.abc import Callable

import asyncpg
import pytest

from tests.database.desk import WORKSPACE
from tests.servers import VERSIONS, Server

ONE = "'00000000-0000-4000-8000-000000000001'::uuid"

LOOK_UPS = {
    "an identity": (
        f"select from public.contact_identities where workspace_id = {ONE} and kind = 'email' and key = 'k'",
        ("workspace_id", "key"),
    ),
    "a contact's conversation": (
        f"select from public.conversations where contact_id = {ONE} and user_id is not distinct from null"
        " and thread_key = 'main'",
        ("contact_id",),
    ),
    "the owner's conversation": (
        f"select from public.conversations where contact_id is null and user_id = {ONE} and thread_key = 'main'",
        ("user_id",),
    ),
    "a first message": (
        f"select from public.conversations where space_id = {ONE} and thread_key = 'first:x'",
        ("space_id", "thread_key"),
    ),
    "a live session": (
        f"select from public.sessions where conversation_id = {ONE} and status in ('active', 'paused')",
        ("conversation_id",),
    ),
    "a repeated message": (
        f"select from public.turns where conversation_id = {ONE} and client_message_id = 'm'",
        ("conversation_id", "client_message_id"),
    ),
    "the history": (
        f"select from public.messages where conversation_id = {ONE} order by created_at desc, id desc limit 20",
        ("conversation_id",),
    ),
}


@pytest.mark.parametrize("version", VERSIONS)
async def test_every_look_up_is_an_index_condition(server: Callable[[int], Server], version: int) -> None:
    running = server(version)
    name = await running.migrated()
    connection = await asyncpg.connect(running.admin_url(name))
    try:
        async with connection.transaction():
            # An empty table would be read whole whatever its indexes.
            await connection.execute("set local enable_seqscan = off; set local enable_bitmapscan = off")
            await connection.execute("select set_config('switchboard.workspace_id', $1, true)", WORKSPACE)
            await connection.execute("set local role switchboard")
            for what, (query, columns) in LOOK_UPS.items():
                plan = "\n".join(row[0] for row in await connection.fetch("explain " + query))
                condition = plan.partition("Index Cond:")[2].partition("\n")[0]
                missing = [column for column in columns if column not in condition]
                assert not missing, f"{what} on {version}: {missing} not in the index condition\n{plan}"
    finally:
        await connection.close()
        await running.drop(name)


async def test_no_enum_stands_before_what_is_looked_up_in_an_index(admin: asyncpg.Connection) -> None:
    columns = await admin.fetchval("select pg_get_indexdef('public.contact_identities_key'::regclass)")
    assert columns.endswith("(workspace_id, key, kind)")
