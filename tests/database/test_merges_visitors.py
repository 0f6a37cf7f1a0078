"""Who proves a known email joins that contact where nothing contradicts it; all else is parked for a member."""

import asyncio
import uuid
from typing import Any

import pytest

from tests.database.desk import SPACE, WORKSPACE, Answer, Desk, Raised, claims, signed, user, with_token
from tests.database.merging import OPERATOR, SECRET, belongings, holding, managing, member, merge, unmerge
from tests.database.test_merges import proved, refused, resolve, rows_seen


async def visit(desk: Desk, message: str = "Hello") -> Answer:
    """Chat without saying who one is, to the answer's end."""
    visitor = await desk.start(message=message, client_message_id=str(uuid.uuid4()))
    await desk.finish(visitor)
    return visitor


async def prove(desk: Desk, visitor: Answer, email: str, **more: Any) -> Answer:
    """Register with the visitor's token and with proof."""
    return await desk.register(email, with_token(visitor), email_hmac=signed(email, SECRET), **more)


async def parked(desk: Desk, status: str = "open") -> list[tuple[str, str, str]]:
    """The pairs that wait for a member: contact, other contact, found by what."""
    rows = await desk.admin.fetch(
        "select contact_id::text, other_contact_id::text, found_by from public.contact_conflicts "
        "where status::text = $1 order by id",
        status,
    )
    return [tuple(row) for row in rows]


async def stands_for(desk: Desk, contact: str) -> str | None:
    """The contact that another was merged into."""
    into = await desk.admin.fetchval("select merged_into_id::text from public.contacts where id = $1", contact)
    return None if into is None else str(into)


async def test_who_proves_a_known_email_joins_with_what_they_said(desk: Desk) -> None:
    await desk.believe_hmacs(SECRET)
    ann = await proved(desk, "ann@example.test", first_name="Ann")
    visitor = await visit(desk, "before I told")
    before = await belongings(desk)
    told = await prove(desk, visitor, "ann@example.test")
    assert (told["contact_id"], told["conversation_id"]) == (ann["contact_id"], ann["conversation_id"])
    assert await stands_for(desk, visitor["contact_id"]) == ann["contact_id"]
    assert await parked(desk) == []
    row = await desk.admin.fetchrow("select automatic, verified_by, merged_by from public.contact_merges")
    assert row is not None
    assert tuple(row) == (True, "hmac", None)
    assert await desk.count("sessions", "contact_id = $1", ann["contact_id"]) == 2
    # Each token is for its one conversation, and the visitor's shows nothing of Ann.
    again = await desk.start(with_token(visitor), "still my chat")
    assert again["conversation_id"] == visitor["conversation_id"]
    assert [message["text"] for message in again["history"]] == ["before I told", "Hi"]
    assert await rows_seen(desk, holding(with_token(visitor))) == {
        "contacts": 0, "conversations": 1, "sessions": 1, "messages": 3,
    }  # fmt: skip
    await desk.finish(again)
    await unmerge(desk, visitor["contact_id"])
    after = await belongings(desk)
    for table in ("contacts", "identities", "conversations", "tags", "conflicts"):
        assert after[table] == before[table], table
    assert await desk.count("messages", "contact_id = $1", visitor["contact_id"]) == 2


async def test_who_typed_a_known_email_before_joins_once_they_prove_it(desk: Desk) -> None:
    await desk.believe_hmacs(SECRET)
    ann = await desk.register("ann@example.test")
    visitor = await visit(desk)
    typed = await desk.register("ann@example.test", with_token(visitor))
    assert typed["contact_id"] == visitor["contact_id"]
    assert await parked(desk) == [(visitor["contact_id"], ann["contact_id"], "asserted")]
    told = await prove(desk, visitor, "ann@example.test")
    assert told["contact_id"] == ann["contact_id"]
    assert await stands_for(desk, visitor["contact_id"]) == ann["contact_id"]
    # With the merge the pair is settled.
    assert await parked(desk) == []
    assert len(await parked(desk, "merged")) == 1


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ({"first_name": "Mallory"}, {"first_name": "Ann"}),
        ({"attributes": {"plan": "pro"}}, {"attributes": {"plan": "free"}}),
    ],
)
async def test_who_contradicts_is_parked_and_nothing_moves(
    desk: Desk, mine: dict[str, Any], theirs: dict[str, Any]
) -> None:
    await desk.believe_hmacs(SECRET)
    ann = await proved(desk, "ann@example.test", **theirs)
    visitor = await visit(desk)
    await desk.register("ann@example.test", with_token(visitor), **mine)
    before = await belongings(desk)
    told = await prove(desk, visitor, "ann@example.test")
    assert (told["contact_id"], told["conversation_id"]) == (ann["contact_id"], ann["conversation_id"])
    assert await stands_for(desk, visitor["contact_id"]) is None
    after = await belongings(desk)
    assert after["conversations"] == before["conversations"]
    # It was parked when it was typed, and is so once.
    assert await parked(desk) == [(visitor["contact_id"], ann["contact_id"], "asserted")]
    await merge(desk, visitor["contact_id"], ann["contact_id"])
    assert await parked(desk) == []


async def test_names_that_differ_only_in_case_contradict_nothing(desk: Desk) -> None:
    await desk.believe_hmacs(SECRET)
    ann = await proved(desk, "ann@example.test", first_name="Ann")
    visitor = await visit(desk)
    await desk.register("ann@example.test", with_token(visitor), first_name="ANN")
    await prove(desk, visitor, "ann@example.test")
    assert await stands_for(desk, visitor["contact_id"]) == ann["contact_id"]


async def test_who_is_known_by_something_is_never_joined_in_passing(desk: Desk) -> None:
    await desk.believe_hmacs(SECRET)
    ann = await proved(desk, "ann@example.test")
    visitor = await visit(desk)
    known = await desk.register("typed@example.test", with_token(visitor))
    assert known["contact_id"] == visitor["contact_id"]
    told = await prove(desk, visitor, "ann@example.test")
    assert told["contact_id"] == ann["contact_id"]
    assert await stands_for(desk, visitor["contact_id"]) is None
    # A user whose new email somebody else has proved stays who they are.
    carl = await desk.sign_up("carl@example.test")
    await desk.finish(await desk.start(claims(user(carl, "carl@example.test"))))
    await desk.admin.execute("update auth.users set email = 'ann@example.test' where id = $1", carl)
    for _ in range(2):
        registered = await desk.register("ann@example.test", claims(user(carl, "ann@example.test")))
    assert await parked(desk) == [(registered["contact_id"], ann["contact_id"], "supabase_auth")]
    assert await desk.count("contact_merges") == 0


async def test_a_pair_that_a_member_parted_is_not_joined_again_in_passing(desk: Desk) -> None:
    await desk.believe_hmacs(SECRET)
    ann, visitor = await proved(desk, "ann@example.test"), await visit(desk)
    await prove(desk, visitor, "ann@example.test")
    await unmerge(desk, visitor["contact_id"], managing(await member(desk)))
    told = await prove(desk, visitor, "ann@example.test")
    assert told["contact_id"] == ann["contact_id"]
    assert await stands_for(desk, visitor["contact_id"]) is None
    assert await parked(desk) == [(visitor["contact_id"], ann["contact_id"], "hmac")]


async def test_a_pair_that_a_member_dismissed_is_not_joined_in_passing(desk: Desk) -> None:
    await desk.believe_hmacs(SECRET)
    await proved(desk, "ann@example.test")
    visitor = await visit(desk)
    await desk.register("ann@example.test", with_token(visitor))
    conflict = await desk.admin.fetchval("select id from public.contact_conflicts")
    await desk.call("dismiss_contact_conflict", OPERATOR, conflict_id=conflict)
    await prove(desk, visitor, "ann@example.test")
    assert await stands_for(desk, visitor["contact_id"]) is None
    assert await parked(desk, "open") != []


async def test_a_typed_email_of_somebody_proven_belongs_to_the_visitor_who_proves_it(desk: Desk) -> None:
    await desk.believe_hmacs(SECRET)
    mallory = await resolve(desk, "telegram:7", verified_by="telegram")
    assert await resolve(desk, "telegram:7", "email:ann@example.test") == mallory
    visitor = await visit(desk, "mine")
    told = await prove(desk, visitor, "ann@example.test")
    assert told["contact_id"] not in (mallory, visitor["contact_id"])
    assert await stands_for(desk, visitor["contact_id"]) == told["contact_id"]
    assert await desk.count("contact_identities", "contact_id = $1", mallory) == 1


async def test_two_visitors_who_prove_one_email_at_once_both_join(desk: Desk) -> None:
    await desk.believe_hmacs(SECRET)
    ann = await desk.register("ann@example.test")
    visitors = [await visit(desk) for _ in range(6)]
    async with Desk(desk.gate_url, desk.admin_url, connections=6) as crowd:
        told = await asyncio.gather(*(prove(crowd, visitor, "ann@example.test") for visitor in visitors))
    assert {answer["contact_id"] for answer in told} == {ann["contact_id"]}
    assert len({answer["conversation_id"] for answer in told}) == 1
    assert {await stands_for(desk, visitor["contact_id"]) for visitor in visitors} == {ann["contact_id"]}


async def test_a_refused_registration_joins_nobody(desk: Desk) -> None:
    await desk.believe_hmacs(SECRET)
    await proved(desk, "ann@example.test")
    visitor = await visit(desk)
    await desk.admin.execute("update public.spaces set arrivals_per_minute = 1 where id = $1", SPACE)
    before = await belongings(desk)
    assert (await prove(desk, visitor, "ann@example.test")).status == 429
    assert await belongings(desk) == before


async def test_identities_that_are_brought_together_are_parked_in_pairs_once(desk: Desk) -> None:
    names = [f"telegram:{number}" for number in (1, 2, 3)]
    people = [await resolve(desk, name) for name in names]
    for _ in range(2):
        with pytest.raises(KeyError):
            await resolve(desk, *names)
    pairs = await parked(desk)
    first = min(people)
    assert {(one, by) for one, _, by in pairs} == {(first, "resolve")}
    assert {other for _, other, _ in pairs} == set(people) - {first}
    # Once all three are one, nothing is left to decide.
    for other in set(people) - {first}:
        await merge(desk, other, first)
    assert await parked(desk) == []
    await unmerge(desk, max(people))
    assert len(await parked(desk)) == 1


async def test_only_admins_of_the_workspace_dismiss(desk: Desk) -> None:
    other, _ = await desk.open_workspace()
    ann, visitor = await desk.register("ann@example.test"), await visit(desk)
    await desk.register("ann@example.test", with_token(visitor))
    conflict = await desk.admin.fetchval("select id from public.contact_conflicts")
    nobody = (404, "conflict_not_found")
    for token, expected in (
        (managing(await member(desk, "agent")), (403, "forbidden")),
        (managing(await member(desk, "owner", other)), nobody),
        (with_token(ann), nobody),
        (claims(), nobody),
    ):
        assert await refused(desk, "dismiss_contact_conflict", token, conflict_id=conflict) == expected
    boss = await member(desk)
    shown = await desk.call("dismiss_contact_conflict", managing(boss), conflict_id=conflict)
    assert (shown["status"], shown["closed_by"], shown["workspace_id"]) == ("dismissed", boss, WORKSPACE)
    with pytest.raises(Raised):
        await desk.call("dismiss_contact_conflict", managing(boss), conflict_id=uuid.uuid4())
