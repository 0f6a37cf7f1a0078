"""What deleting leaves: nothing of a workspace in any table, and nobody who comes in the same moment half served."""

import asyncio
import uuid

import pytest

from tests.database.access import world
from tests.database.desk import PERSONA, SPACE, WORKSPACE, Desk, Raised, claims, managing, member, user

OWNED = """
select n.nspname || '.' || c.relname
  from pg_attribute a
  join pg_class c on c.oid = a.attrelid
  join pg_namespace n on n.oid = c.relnamespace
 where a.attname = 'workspace_id' and not a.attisdropped and c.relkind in ('r', 'p')
   and n.nspname in ('public', 'private')
"""


async def test_no_table_keeps_a_row_of_a_workspace_that_is_deleted(desk: Desk) -> None:
    await world.load(desk.admin, tuple(world.ROWS))
    one, two = (world.uid("workspaces", label) for label in ("one", "two"))
    owner = world.uid("users", "owner")
    tables = [row[0] for row in await desk.admin.fetch(OWNED)]

    async def held(workspace: str) -> dict[str, int]:
        return {
            table: await desk.admin.fetchval(f"select count(*) from {table} where workspace_id = $1", workspace)
            for table in tables
        }

    before, others = await held(one), await held(two)
    unlabelled = {table for table, count in before.items() if not count}
    assert not unlabelled & set(world.ROWS), "every table of the matrix has a row to lose"
    await desk.call("delete_workspace", managing(user(owner)), workspace_id=one, name="Workspace-one")
    # What marks a day for the statistics is without a foreign key; the next count forgets it.
    await desk.admin.execute("select private.count_past_sessions()")
    assert set((await held(one)).values()) == {0}
    assert {table: count for table, count in (await held(two)).items() if "session_stats" not in table} == {
        table: count for table, count in others.items() if "session_stats" not in table
    }


async def test_a_persona_that_a_space_takes_in_the_same_moment_stays_or_was_never_there(desk: Desk) -> None:
    owner = await member(desk, "owner")
    for _ in range(6):
        made = await desk.call(
            "create_in_workspace",
            managing(owner),
            kind="persona",
            workspace_id=WORKSPACE,
            settings={"kind": "demo", "name": "x"},
        )
        async with Desk(desk.gate_url, desk.admin_url) as crowd:
            ends = await asyncio.gather(
                crowd.call("delete_persona", managing(owner), persona_id=made["id"]),
                crowd.call(
                    "change_settings",
                    managing(owner),
                    kind="space",
                    object_id=SPACE,
                    changes={"persona_id": made["id"]},
                ),
                return_exceptions=True,
            )
        refused = [end for end in ends if isinstance(end, BaseException)]
        assert len(refused) == 1, ends
        named = await desk.admin.fetchval("select persona_id from public.spaces where id = $1", SPACE)
        there = await desk.count("personas", "id = $1", uuid.UUID(made["id"]))
        assert there == (str(named) == made["id"]) == (ends[0] is refused[0])


async def test_who_deletes_twice_at_once_is_told_so(desk: Desk) -> None:
    owner = await member(desk, "owner")
    space = await desk.call(
        "create_in_workspace",
        managing(owner),
        kind="space",
        workspace_id=WORKSPACE,
        settings={"kind": "embed", "name": "x", "persona_id": PERSONA},
    )
    async with Desk(desk.gate_url, desk.admin_url) as crowd:
        ends = await asyncio.gather(
            *(crowd.call("delete_space", managing(owner), space_id=space["id"]) for _ in range(3)),
            return_exceptions=True,
        )
    codes = sorted("deleted" if not isinstance(end, BaseException) else getattr(end, "code", "") for end in ends)
    assert codes == ["deleted", "space_not_found", "space_not_found"]
    assert await desk.count("audit_events", "verb = 'space.deleted'") == 1


async def test_a_token_for_a_chat_deletes_nothing(desk: Desk) -> None:
    owner = await member(desk, "owner")
    for function, arguments in (
        ("delete_space", {"space_id": SPACE}),
        ("delete_persona", {"persona_id": PERSONA}),
        ("delete_workspace", {"workspace_id": WORKSPACE, "name": "Demo"}),
    ):
        with pytest.raises(Raised) as refused:
            await desk.call(function, claims(owner), **arguments)
        assert refused.value.status == 404
