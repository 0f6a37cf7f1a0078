"""Memories that are written, moved and forgotten at the same moment."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from tests.database.desk import JSON, PERSONA, WORKSPACE, Answer, Desk, on_a_turn, on_behalf, refusal, with_token
from tests.database.merging import made, merge
from tests.database.test_memories import EMAIL, remember, seat

Work = Callable[[], Awaitable[Any]]

STORED = "lock table public.audit_events in share mode"
"""While it is held, a write goes as far as its audit: its memory is stored, and invisible to others."""


async def meanwhile(desk: Desk, held: str, *works: Work) -> list[Any]:
    """What each returns, begun in this order while another transaction has done ``held``."""
    async with desk.as_owner() as other, asyncio.TaskGroup() as group, other.transaction():
        await other.execute(held)
        tasks = []
        for work in works:
            tasks.append(group.create_task(_awaited(work)))
            await desk.until_waiting(len(tasks))
    return [task.result() for task in tasks]


async def _awaited(work: Work) -> Any:
    return await work()


async def test_what_is_written_at_the_same_moment_is_one_memory(desk: Desk) -> None:
    admin = on_behalf(await desk.member())
    own = await desk.call("start_turn", admin, space_id=None, message="Hello", persona_id=PERSONA)
    contact = await made(desk, "telegram:1")
    (tea,) = await remember(desk, admin, "Likes tea", contact_id=contact)
    (opening,) = await remember(desk, admin, "Opens at nine", workspace_id=WORKSPACE)
    of_contact, of_workspace = {"contact_id": contact}, {"workspace_id": WORKSPACE}
    in_own: JSON = {"session_id": own["session_id"], "persona_id": None, "every_persona": True}
    for n, (one, where, other, there) in enumerate((
        ({}, of_contact, {}, of_contact),
        ({}, in_own, {}, of_workspace),
        ({}, of_contact, {"supersedes": tea["id"]}, {}),
        ({"supersedes": opening["id"]}, of_contact, {}, of_workspace),
    )):  # fmt: skip
        first, second = await meanwhile(
            desk, STORED,
            lambda: remember(desk, admin, {"content": f"Likes {n}", **one}, **where),  # noqa: B023
            lambda: remember(desk, admin, {"content": f"Likes {n}", **other}, **there),  # noqa: B023
        )  # fmt: skip
        assert [(stored["id"], stored["folded"]) for (stored,) in (first, second)] == [
            (first[0]["id"], False), (first[0]["id"], True),
        ], n  # fmt: skip


async def test_a_correction_follows_the_merge_of_its_contact(desk: Desk) -> None:
    await desk.believe_hmacs()
    admin = on_behalf(await desk.member())
    ann, bob = [(await desk.prove(f"{name}@example.test"))["contact_id"] for name in ("ann", "bob")]
    (tea,) = await remember(desk, admin, "Likes tea", contact_id=ann)
    correction = {"content": "Likes coffee", "supersedes": tea["id"]}
    await meanwhile(desk, STORED, lambda: remember(desk, admin, correction), lambda: merge(desk, ann, bob))
    assert await desk.count("memories", "contact_id = $1", bob) == 2


async def test_what_a_visitor_says_as_its_conversation_is_deleted_is_not_the_workspaces(desk: Desk) -> None:
    visitor = seat(with_token(await desk.register(EMAIL)))
    gone = f"delete from public.contacts where id = '{visitor['caller']['contact_id']}'"
    (refused,) = await meanwhile(desk, gone, lambda: refusal(remember(desk, visitor, "Is ill")))
    assert refused == (404, "conversation_not_found")
    assert await desk.count("memories") == 0


async def test_a_memory_that_is_forgotten_at_this_moment_is_left_out(desk: Desk) -> None:
    await desk.admin.execute("update public.personas set recall_limit = 5")
    turn = await desk.start()
    admin = on_behalf(await desk.member())
    await remember(desk, admin, "Likes tea", "Likes tea with milk", session_id=turn["session_id"])
    waiting = (await desk.call("memories_to_embed", on_a_turn(), max_memories=10))["memories"]
    vectors = [{**memory, "vector": str([1.0] + [0.0] * 383)} for memory in waiting]

    async def recall() -> Answer:
        return await desk.call("recall_for_turn", on_a_turn(), turn_id=turn["turn_id"], message="Tea?")

    async def embed() -> Answer:
        return await desk.call("store_embeddings", on_a_turn(), model="m", embeddings=vectors)

    async with desk.as_owner() as other, other.transaction():
        await other.execute("delete from public.memories where content = 'Likes tea'")
        recalled, stored = await asyncio.wait_for(recall(), 5), await asyncio.wait_for(embed(), 5)
    assert [memory["content"] for memory in recalled["memories"]] == ["Likes tea with milk"]
    assert (len(vectors), stored["stored"]) == (2, 1)
    assert await desk.count("memories_to_embed") == 0
