"""Merges beside merges, and beside everything else that is written for the contacts: nothing is half done."""

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from tests.database.desk import (
    JSON,
    OPERATOR,
    SECRET,
    SPACE,
    Answer,
    Desk,
    Raised,
    call,
    claims,
    managing,
    on_behalf,
    signed,
    user,
    with_token,
)
from tests.database.merging import belongings, made, merge, unmerge

# What no merge may leave: rows of a merged contact, a session whose contact is not its conversation's, half a merge,
# a circle of merges.
LEFT_BEHIND = """
select 'identity of a merged contact' from public.contact_identities i join public.contacts c on c.id = i.contact_id
 where c.merged_into_id is not null
union all
select 'conversation of a merged contact' from public.conversations v join public.contacts c on c.id = v.contact_id
 where c.merged_into_id is not null
union all
select 'session elsewhere' from public.sessions s join public.conversations v on v.id = s.conversation_id
 where s.contact_id is distinct from v.contact_id
union all
select 'half a merge' from public.contacts c
  full join (select * from public.contact_merges where undone_at is null) m on m.contact_id = c.id
 where c.merged_into_id is distinct from m.into_id
union all
select 'a circle' from public.contacts c
 where c.merged_into_id is not null
   and exists (with recursive up (id, step) as (
                   values (c.id, 0)
                    union all
                   select p.merged_into_id, step + 1 from up join public.contacts p on p.id = up.id where step < 30)
               select from up where step = 30 and id is not null)
"""


@pytest_asyncio.fixture
async def crowd(desk: Desk) -> AsyncIterator[Desk]:
    """Ten connections to the same database, without limits."""
    await desk.believe_hmacs()
    await desk.lift_limits()
    async with desk.crowd(10) as opened:
        yield opened


async def answered(ask: Callable[[], Awaitable[object]]) -> str | None:
    """The code of a refusal; a rolled-back call is retried, as lib/database/commands.py does."""
    for _ in range(3):
        try:
            await ask()
        except Raised as refused:
            if refused.status is not None:
                return refused.code
            # Only a deadlock may happen, of which one side always passes.
            if not str(refused).startswith("40P01"):
                raise
        else:
            return None
    raise AssertionError("rolled back three times")


async def all_answered(work: list[Callable[[], Awaitable[object]]]) -> set[str | None]:
    """Call everything at once; the refusals, and None for the rest."""
    return set(await asyncio.gather(*(answered(one) for one in work)))


async def people(desk: Desk, count: int) -> list[Answer]:
    """Registered contacts p0, p1, …, every other one with proof."""
    return [await (desk.prove if number % 2 else desk.register)(f"p{number}@example.test") for number in range(count)]


@pytest.mark.parametrize("_", range(3))
async def test_concurrent_merges_of_overlapping_contacts_are_serialised(desk: Desk, crowd: Desk, _: int) -> None:
    found = [one["contact_id"] for one in await people(desk, 4)]
    before = await belongings(desk)
    pairs = [(one, other) for one in found for other in found if one != other]
    refusals = await all_answered([functools.partial(merge, crowd, one, other) for one, other in pairs])
    assert refusals <= {"already_merged", "same_contact", None}
    assert not await desk.admin.fetch(LEFT_BEHIND)
    # All four are one contact, by three merges.
    assert await desk.count("contacts", "merged_into_id is null") == 1
    assert await desk.count("contact_merges", "undone_at is null") == 3
    # From the ends of the chains.
    while free := await desk.admin.fetchval(
        "select c.id from public.contacts c join public.contacts i on i.id = c.merged_into_id "
        "where i.merged_into_id is null limit 1"
    ):
        await unmerge(desk, str(free))
    assert await belongings(desk) == before


@pytest.mark.parametrize("turned", range(6))
async def test_everything_written_during_a_merge_follows_it(desk: Desk, crowd: Desk, turned: int) -> None:
    bob, ann = await people(desk, 2)
    # Eve has no session: the one that opens now is linked while it moves.
    eve = await made(desk, "telegram:5")
    carl = claims(user(await desk.sign_up("carl@example.test"), "carl@example.test"))
    boss = on_behalf(await desk.member())
    first = await desk.start(carl)
    await desk.finish(first)
    old, email = ann["contact_id"], "p1@example.test"
    proof: JSON = {"email": email, "email_hmac": signed(email, SECRET)}
    work: list[Callable[[], Awaitable[object]]] = [
        lambda: merge(crowd, old, bob["contact_id"]),
        lambda: merge(crowd, eve, bob["contact_id"]),
        lambda: merge(crowd, first["contact_id"], bob["contact_id"]),
        lambda: crowd.start(with_token(ann), "new: with a token"),
        lambda: crowd.start(email=email, message="new: without proof"),
        lambda: crowd.start(**proof, message="new: with proof", thread_key="offer"),
        lambda: crowd.start(carl, "new: as a user", thread_key="another"),
        lambda: crowd.register(email),
        lambda: crowd.prove(email, first_name="Ann"),
        lambda: crowd.call("start_session", boss, contact_id=eve, space_id=SPACE),
        lambda: crowd.call("start_session", boss, contact_id=old, space_id=SPACE),
        lambda: crowd.call("set_contact_tags", OPERATOR, contact_id=old, names=["vip"]),
        lambda: made(crowd, f"email:{email}", "omi:u1"),
        lambda: made(crowd, f"email:{email}", "discord:1"),
        lambda: crowd.finish(first),
    ]
    assert await all_answered(work[turned:] + work[:turned]) == {None}
    assert not await desk.admin.fetch(LEFT_BEHIND)
    assert await desk.count("contacts", "merged_into_id is not null") == 3
    assert await desk.count("messages", "text like 'new: %'") == 4
    assert await desk.count("contact_identities", "key in ('u1', '1') and contact_id = $1", bob["contact_id"]) == 2
    assert await desk.count("tags", "contact_id = $1", bob["contact_id"]) == 1

    work = [
        lambda: unmerge(crowd, old),
        lambda: unmerge(crowd, eve),
        lambda: unmerge(crowd, first["contact_id"]),
        lambda: crowd.register(email),
        lambda: crowd.call("set_contact_tags", OPERATOR, contact_id=old, names=["late"]),
        lambda: made(crowd, f"email:{email}", "omi:u2"),
        lambda: crowd.call("start_session", boss, contact_id=old, space_id=SPACE, thread_key="offer"),
    ]
    assert await all_answered(work) == {None}
    assert not await desk.admin.fetch(LEFT_BEHIND)
    assert await desk.count("contacts", "merged_into_id is not null") == 0


async def test_a_message_waits_for_a_merge_and_follows_its_conversation(desk: Desk, crowd: Desk) -> None:
    ann, bob = await people(desk, 2)
    boss = managing(await desk.member())
    pair = {"contact_id": ann["contact_id"], "into_id": bob["contact_id"]}
    async with desk._pool.acquire() as first, first.transaction():
        await call(first, "merge_contacts", boss, **pair)
        waiting = [asyncio.create_task(crowd.start(with_token(ann)))]
        waiting.append(asyncio.create_task(crowd.register("p0@example.test")))
        await desk.until_waiting(2)
    assert {(await answer)["contact_id"] for answer in waiting} == {bob["contact_id"]}
    assert not await desk.admin.fetch(LEFT_BEHIND)


async def test_a_merge_waits_for_a_message_and_moves_it(desk: Desk, crowd: Desk) -> None:
    ann, bob = await people(desk, 2)
    async with desk._pool.acquire() as first, first.transaction():
        turn = await call(first, "start_turn", with_token(ann), space_id=SPACE, message="first")
        merging = asyncio.create_task(merge(crowd, ann["contact_id"], bob["contact_id"]))
        await desk.until_waiting()
    assert (await merging)["changed"] is True
    assert await desk.count("messages", "text = 'first'") == 1
    await desk.finish(turn)
    assert not await desk.admin.fetch(LEFT_BEHIND)
    assert (await desk.start(with_token(ann), "second"))["contact_id"] == bob["contact_id"]
