"""A visitor who proves a known email is merged with its contact unless they contradict; else a member decides."""

import asyncio
import uuid
from typing import Any

import pytest

from tests.database.desk import OPERATOR, SPACE, WORKSPACE, Answer, Desk, managing, own_token, with_token
from tests.database.merging import belongings, made, merge, rows_seen, unmerge

EMAIL = "ann@example.test"


async def visit(desk: Desk, message: str = "Hello") -> Answer:
    """Chat as an unknown visitor, to the end of the answer."""
    visitor = await desk.start(message=message, client_message_id=str(uuid.uuid4()))
    await desk.finish(visitor)
    return visitor


async def conflicts(desk: Desk, status: str = "open") -> list[tuple[Any, ...]]:
    """The pairs that wait for a member: contact, other contact, found by what."""
    columns = "contact_id::text, other_contact_id::text, found_by"
    return await desk.all(f"select {columns} from public.contact_conflicts where status::text = $1 order by id", status)


async def merged_into(desk: Desk, visitor: Answer) -> Any:
    """The contact that a visitor's contact was merged into, if any."""
    return (await desk.row("contacts", visitor["contact_id"]))["merged_into_id"]


async def test_a_visitor_who_proves_a_known_email_is_merged_with_its_contact(desk: Desk) -> None:
    await desk.believe_hmacs()
    ann = await desk.prove(EMAIL, first_name="Ann")
    visitor = await visit(desk, "before I told")
    before = await belongings(desk)
    told = await desk.prove(EMAIL, with_token(visitor))
    assert (told["contact_id"], told["conversation_id"]) == (ann["contact_id"], ann["conversation_id"])
    assert await merged_into(desk, visitor) == ann["contact_id"]
    assert await conflicts(desk) == []
    merged = await desk.one("select automatic, verified_by, merged_by from public.contact_merges")
    assert merged == (True, "hmac", None)
    # Each token is for its one conversation, and the visitor's shows nothing of Ann.
    again = await desk.start(with_token(visitor), "still my chat")
    assert again["conversation_id"] == visitor["conversation_id"]
    assert [message["text"] for message in again["history"]] == ["before I told", "Hi"]
    assert await rows_seen(desk, own_token(with_token(visitor)["caller"])) == {
        "contacts": 0, "conversations": 1, "sessions": 1, "messages": 3,
    }  # fmt: skip
    await desk.finish(again)

    await unmerge(desk, visitor["contact_id"], managing(await desk.member()))
    after = await belongings(desk)
    for table in ("contacts", "contact_identities", "conversations", "tags", "contact_conflicts"):
        assert after[table] == before[table], table
    assert await desk.count("messages", "contact_id = $1", visitor["contact_id"]) == 2
    # A pair that a member unmerged is not merged again.
    assert (await desk.prove(EMAIL, with_token(visitor)))["contact_id"] == ann["contact_id"]
    assert await merged_into(desk, visitor) is None
    assert await conflicts(desk) == [(visitor["contact_id"], ann["contact_id"], "hmac")]


@pytest.mark.parametrize(
    ("known", "typed", "merges"),
    [
        ({}, {}, True),
        ({}, {"first_name": "Mallory", "attributes": {"plan": "pro"}}, True),
        ({"first_name": "Ann"}, {"first_name": "ANN"}, True),
        ({"first_name": "Ann"}, {"first_name": "Mallory"}, False),
        ({"attributes": {"plan": "free"}}, {"attributes": {"plan": "pro"}}, False),
    ],
)
async def test_a_visitor_who_typed_the_email_before_is_merged_unless_they_contradict(
    desk: Desk, known: dict[str, Any], typed: dict[str, Any], *, merges: bool
) -> None:
    await desk.believe_hmacs()
    ann = await desk.prove(EMAIL, **known)
    visitor = await visit(desk)
    assert (await desk.register(EMAIL, with_token(visitor), **typed))["contact_id"] == visitor["contact_id"]
    pair = (visitor["contact_id"], ann["contact_id"], "asserted")
    assert await conflicts(desk) == [pair]
    before = (await belongings(desk))["conversations"]

    told = await desk.prove(EMAIL, with_token(visitor))
    assert (told["contact_id"], told["conversation_id"]) == (ann["contact_id"], ann["conversation_id"])
    assert await merged_into(desk, visitor) == (ann["contact_id"] if merges else None)
    if not merges:
        assert (await belongings(desk))["conversations"] == before
        assert await conflicts(desk) == [pair]
        await merge(desk, visitor["contact_id"], ann["contact_id"])
    # What was typed without proof is no part of the proven contact.
    standing = await desk.row("contacts", ann["contact_id"])
    assert (standing["first_name"], standing["attributes"]) == (known.get("first_name"), known.get("attributes", {}))
    # A merge settles the pair.
    assert await conflicts(desk) == []
    assert await conflicts(desk, "merged") == [pair]


@pytest.mark.parametrize("reason", ["known by another email", "dismissed by a member"])
async def test_a_visitor_is_not_merged_without_a_decision(desk: Desk, reason: str) -> None:
    await desk.believe_hmacs()
    ann = await desk.prove(EMAIL)
    visitor = await visit(desk)
    if reason == "known by another email":
        await desk.register("typed@example.test", with_token(visitor))
    else:
        await desk.register(EMAIL, with_token(visitor))
        boss = await desk.member()
        conflict = await desk.admin.fetchval("select id from public.contact_conflicts")
        shown = await desk.call("dismiss_contact_conflict", managing(boss), conflict_id=conflict)
        assert (shown["status"], shown["closed_by"], shown["workspace_id"]) == (
            "dismissed", boss["user_id"], WORKSPACE,
        )  # fmt: skip
        unknown = await desk.refused("dismiss_contact_conflict", OPERATOR, conflict_id=uuid.uuid4())
        assert unknown == (404, "conflict_not_found")
    assert (await desk.prove(EMAIL, with_token(visitor)))["contact_id"] == ann["contact_id"]
    assert await merged_into(desk, visitor) is None
    found = [(visitor["contact_id"], ann["contact_id"], "hmac")] if reason == "dismissed by a member" else []
    assert await conflicts(desk) == found


async def test_a_merge_makes_nothing_proven_that_was_typed_without_proof(desk: Desk) -> None:
    await desk.believe_hmacs()
    one = await desk.register("one@example.test", first_name="Mallory", attributes={"plan": "pro"})
    two = await desk.register(EMAIL, attributes={"city": "Bonn"})
    await merge(desk, one["contact_id"], two["contact_id"])
    merged = await desk.row("contacts", two["contact_id"])
    assert (merged["first_name"], merged["attributes"]) == ("Mallory", {"plan": "pro", "city": "Bonn"})
    await desk.prove(EMAIL)
    proven = await desk.row("contacts", two["contact_id"])
    assert (proven["first_name"], proven["attributes"], proven["unproven"]) == (None, {}, {})


async def test_an_email_that_a_proven_contact_only_typed_is_the_visitors_who_proves_it(desk: Desk) -> None:
    await desk.believe_hmacs()
    mallory = await made(desk, "telegram:7", verified_by="telegram")
    assert await made(desk, "telegram:7", f"email:{EMAIL}") == mallory
    visitor = await visit(desk)
    told = await desk.prove(EMAIL, with_token(visitor))
    assert told["contact_id"] not in (mallory, visitor["contact_id"])
    assert await merged_into(desk, visitor) == told["contact_id"]
    assert await desk.count("contact_identities", "contact_id = $1", mallory) == 1


async def test_visitors_who_prove_one_email_at_once_are_all_merged(desk: Desk) -> None:
    await desk.believe_hmacs()
    ann = await desk.register(EMAIL)
    visitors = [await visit(desk) for _ in range(6)]
    async with desk.crowd(6) as crowd:
        told = await asyncio.gather(*(crowd.prove(EMAIL, with_token(visitor)) for visitor in visitors))
    assert {answer["contact_id"] for answer in told} == {ann["contact_id"]}
    assert len({answer["conversation_id"] for answer in told}) == 1
    assert {await merged_into(desk, visitor) for visitor in visitors} == {ann["contact_id"]}


async def test_a_refused_registration_merges_nothing(desk: Desk) -> None:
    await desk.believe_hmacs()
    await desk.prove(EMAIL)
    visitor = await visit(desk)
    await desk.admin.execute("update public.spaces set arrivals_per_minute = 1 where id = $1", SPACE)
    before = await belongings(desk)
    assert (await desk.prove(EMAIL, with_token(visitor))).status == 429
    assert await belongings(desk) == before


async def test_contacts_that_are_resolved_together_are_conflicts_in_pairs_until_they_are_merged(desk: Desk) -> None:
    names = [f"telegram:{number}" for number in (1, 2, 3)]
    people = [await made(desk, name) for name in names]
    for _ in range(2):
        with pytest.raises(KeyError):
            await made(desk, *names)
    first, *others = sorted(people)
    assert sorted(await conflicts(desk)) == [(first, other, "resolve") for other in others]
    for other in others:
        await merge(desk, other, first)
    assert await conflicts(desk) == []
    await unmerge(desk, others[-1])
    assert len(await conflicts(desk)) == 1
