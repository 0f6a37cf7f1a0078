"""A deletion leaves nothing of a workspace in any table, and concurrent callers see either the row or its absence."""

import asyncio
import uuid

from tests.database.access import world
from tests.database.desk import PERSONA, SPACE, Desk, managing, user

OWNED = """
select n.nspname || '.' || c.relname
  from pg_attribute a
  join pg_class c on c.oid = a.attrelid
  join pg_namespace n on n.oid = c.relnamespace
 where a.attname = 'workspace_id' and not a.attisdropped and c.relkind in ('r', 'p')
   and n.nspname in ('public', 'private')
"""


async def test_no_table_keeps_a_row_of_a_deleted_workspace(desk: Desk) -> None:
    await world.load(desk.admin, tuple(world.ROWS))
    one, two = (world.uid("workspaces", label) for label in ("one", "two"))
    tables = [row[0] for row in await desk.admin.fetch(OWNED)]

    async def held(workspace: str) -> dict[str, int]:
        query = "select count(*) from {} where workspace_id = $1"
        return {table: await desk.admin.fetchval(query.format(table), workspace) for table in tables}

    before, others = await held(one), await held(two)
    unlabelled = {table for table, count in before.items() if not count}
    assert not unlabelled & set(world.ROWS), "every table of the matrix has a row to lose"
    owner = user(world.uid("users", "owner"))
    await desk.call("delete_workspace", managing(owner), workspace_id=one, name="Workspace-one")
    # The marks of the statistics have no foreign key; the next count removes them.
    await desk.admin.execute("select private.count_past_sessions()")
    # What names files in the store stays until the archive function has deleted them.
    assert {table for table, count in (await held(one)).items() if count} == {
        "public.archive_objects", "public.session_archives", "public.exports",
    }  # fmt: skip
    after = await held(two)
    assert {table for table in tables if after[table] != others[table] and "session_stats" not in table} == set()


async def test_a_persona_is_either_deleted_or_assigned_to_a_space(desk: Desk) -> None:
    owner = await desk.member("owner")
    for _ in range(6):
        persona = (await desk.create(owner, "persona", name="x", kind="demo"))["id"]
        assigned = {"kind": "space", "object_id": SPACE, "changes": {"persona_id": persona}}
        async with desk.crowd(5) as crowd:
            deletion, change = await asyncio.gather(
                crowd.call("delete_persona", managing(owner), persona_id=persona),
                crowd.call("change_settings", managing(owner), **assigned),
                return_exceptions=True,
            )
        assert isinstance(deletion, BaseException) != isinstance(change, BaseException), (deletion, change)
        named = await desk.admin.fetchval("select persona_id from public.spaces where id = $1", SPACE)
        there = bool(await desk.count("personas", "id = $1", uuid.UUID(persona)))
        assert there == (str(named) == persona) == isinstance(deletion, BaseException)


async def test_of_concurrent_deletions_one_succeeds(desk: Desk) -> None:
    owner = await desk.member("owner")
    space = (await desk.create(owner, "space", name="x", kind="embed", persona_id=PERSONA))["id"]
    async with desk.crowd(5) as crowd:
        deletions = await asyncio.gather(
            *(crowd.call("delete_space", managing(owner), space_id=space) for _ in range(3)), return_exceptions=True
        )
    codes = sorted(getattr(deletion, "code", "deleted") for deletion in deletions)
    assert codes == ["deleted", "space_not_found", "space_not_found"]
    assert await desk.count("audit_events", "verb = 'space.deleted'") == 1
