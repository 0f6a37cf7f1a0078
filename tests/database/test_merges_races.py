"""Merges beside merges, and beside whatever else is written for the contacts: nothing is half-done or left behind."""

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from lib.fields import identities
from tests.database.desk import JSON, SPACE, WORKSPACE, Answer, Desk, Raised, call, claims, signed, user, with_token
from tests.database.merging import OPERATOR, SECRET, belongings, managing, member, merge, unmerge

# What a merge must leave nothing of: rows of a contact that does not stand, sessions elsewhere than their conversation,
# a merge that is only half there, a circle.
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
    """As many as want to, at once."""
    await desk.believe_hmacs(SECRET)
    await desk.admin.execute("update public.spaces set arrivals_per_minute = 1000000")
    async with Desk(desk.gate_url, desk.admin_url, connections=10) as opened:
        yield opened


async def answered(ask: Callable[[], Awaitable[Answer]]) -> Answer | str:
    """The answer, or the code of a refusal; a rolled-back call is retried, as lib/database/commands.py does."""
    for _ in range(3):
        try:
            return await ask()
        except Raised as refused:
            if refused.status is not None:
                return refused.code
            # Nothing but a deadlock may come, of which somebody is always let through.
            if not str(refused).startswith("40P01"):
                raise
    raise AssertionError("rolled back three times")


async def people(desk: Desk, count: int, tries: int) -> list[Answer]:
    """Some who are registered, half of them with proof."""
    found = []
    for number in range(count):
        email = f"p{tries}-{number}@example.test"
        proof: JSON = {"email_hmac": signed(email, SECRET)} if number % 2 else {}
        found.append(await desk.register(email, **proof))
    return found


async def part_all(desk: Desk) -> None:
    """Undo every merge, from the ends of the chains."""
    while free := await desk.admin.fetchval(
        "select c.id from public.contacts c join public.contacts i on i.id = c.merged_into_id "
        "where i.merged_into_id is null limit 1"
    ):
        await unmerge(desk, str(free))


@pytest.mark.parametrize("tries", range(4))
async def test_merges_of_overlapping_contacts_at_once_are_one_after_the_other(
    desk: Desk, crowd: Desk, tries: int
) -> None:
    found = [one["contact_id"] for one in await people(desk, 4, tries)]
    before = await belongings(desk)
    pairs = [(one, other) for one in found for other in found if one != other]
    outcomes = await asyncio.gather(*(answered(functools.partial(merge, crowd, one, other)) for one, other in pairs))
    assert not await desk.admin.fetch(LEFT_BEHIND)
    refusals = {outcome for outcome in outcomes if isinstance(outcome, str)}
    assert refusals <= {"already_merged", "same_contact"}
    # All four are one, by three merges.
    assert await desk.count("contacts", "merged_into_id is null") == 1
    assert await desk.count("contact_merges", "undone_at is null") == 3
    await part_all(desk)
    assert await belongings(desk) == before


@pytest.mark.parametrize("tries", range(6))
async def test_what_is_written_beside_a_merge_is_not_left_behind(desk: Desk, crowd: Desk, tries: int) -> None:
    bob, ann = await people(desk, 2, tries)
    # Known by something and without any session: what is opened now is linked while it moves.
    named = (identities.parse("telegram:5"),)
    eve = await desk.call(
        "resolve_contact", OPERATOR, identities=identities.documents(named), workspace_id=WORKSPACE, make=True
    )
    carl = await desk.sign_up("carl@example.test")
    boss = await member(desk)
    first = await desk.start(claims(user(carl, "carl@example.test")))
    await desk.finish(first)
    old = ann["contact_id"]

    def added(name: str) -> Awaitable[Answer]:
        both = (identities.parse(f"email:p{tries}-1@example.test"), identities.parse(name))
        return crowd.call(
            "resolve_contact", OPERATOR, identities=identities.documents(both), workspace_id=WORKSPACE, make=True
        )

    email = f"p{tries}-1@example.test"
    opening: dict[str, Any] = {"role": "switchboard", "scope": {}, "caller": user(boss)}
    work: list[Callable[[], Awaitable[Answer]]] = [
        lambda: merge(crowd, old, bob["contact_id"]),
        lambda: merge(crowd, eve["contact"]["id"], bob["contact_id"]),
        lambda: merge(crowd, first["contact_id"], bob["contact_id"]),
        lambda: crowd.start(with_token(ann), "with a token"),
        lambda: crowd.start(email=email, message="on my word"),
        lambda: crowd.start(email=email, email_hmac=signed(email, SECRET), message="with proof", thread_key="offer"),
        lambda: crowd.start(claims(user(carl, "carl@example.test")), "as a user", thread_key="another"),
        lambda: crowd.register(email),
        lambda: crowd.register(email, email_hmac=signed(email, SECRET), first_name="Ann"),
        lambda: crowd.call("start_session", opening, contact_id=eve["contact"]["id"], space_id=SPACE),
        lambda: crowd.call("start_session", opening, contact_id=old, space_id=SPACE),
        lambda: crowd.call("set_contact_tags", OPERATOR, contact_id=old, names=["vip"]),
        lambda: added("omi:u1"),
        lambda: added("discord:1"),
        lambda: crowd.finish(first),
    ]
    turned = work[tries:] + work[:tries]
    outcomes = await asyncio.gather(*(answered(one) for one in turned))
    assert not [outcome for outcome in outcomes if isinstance(outcome, str)]
    assert not await desk.admin.fetch(LEFT_BEHIND)
    assert await desk.count("contacts", "merged_into_id is not null") == 3
    assert await desk.count("messages", "text in ('with a token', 'on my word', 'with proof', 'as a user')") == 4
    assert await desk.count("contact_identities", "key in ('u1', '1') and contact_id = $1", bob["contact_id"]) == 2
    assert await desk.count("tags", "contact_id = $1", bob["contact_id"]) == 1

    # And parting them beside what is said as much.
    work = [
        lambda: unmerge(crowd, old),
        lambda: unmerge(crowd, eve["contact"]["id"]),
        lambda: unmerge(crowd, first["contact_id"]),
        lambda: crowd.register(email),
        lambda: crowd.call("set_contact_tags", OPERATOR, contact_id=old, names=["late"]),
        lambda: added("omi:u2"),
        lambda: crowd.call("start_session", opening, contact_id=old, space_id=SPACE, thread_key="offer"),
    ]
    outcomes = await asyncio.gather(*(answered(one) for one in work))
    assert not [outcome for outcome in outcomes if isinstance(outcome, str)]
    assert not await desk.admin.fetch(LEFT_BEHIND)
    assert await desk.count("contacts", "merged_into_id is not null") == 0


async def test_a_message_waits_for_a_merge_and_goes_on_where_its_conversation_went(desk: Desk, crowd: Desk) -> None:
    ann, bob = await people(desk, 2, 0)
    async with desk._pool.acquire() as first:
        transaction = first.transaction()
        await transaction.start()
        await call(
            first,
            "merge_contacts",
            managing(await member(desk)),
            contact_id=ann["contact_id"],
            into_id=bob["contact_id"],
        )
        turn = asyncio.create_task(crowd.start(with_token(ann)))
        arrival = asyncio.create_task(crowd.register("p0-0@example.test"))
        await asyncio.sleep(0.3)
        assert not turn.done()
        assert not arrival.done()
        await transaction.commit()
    assert {(await turn)["contact_id"], (await arrival)["contact_id"]} == {bob["contact_id"]}
    assert not await desk.admin.fetch(LEFT_BEHIND)


async def test_a_merge_waits_for_a_message_and_takes_it_along(desk: Desk, crowd: Desk) -> None:
    ann, bob = await people(desk, 2, 0)
    async with desk._pool.acquire() as first:
        transaction = first.transaction()
        await transaction.start()
        turn = await call(first, "start_turn", with_token(ann), space_id=SPACE, message="first")
        done = asyncio.create_task(merge(crowd, ann["contact_id"], bob["contact_id"]))
        await asyncio.sleep(0.3)
        assert not done.done()
        await transaction.commit()
    assert (await done)["changed"] is True
    assert await desk.count("messages", "text = 'first'") == 1
    await desk.finish(turn)
    assert not await desk.admin.fetch(LEFT_BEHIND)
    assert (await desk.start(with_token(ann), "second"))["contact_id"] == bob["contact_id"]
