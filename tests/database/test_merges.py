"""Merging contacts: what moves, what collides, what old ids and old tokens are good for, and undoing all of it."""

import json
import uuid
from typing import Any

import pytest

from lib.fields import identities
from tests.database.desk import JSON, SPACE, WORKSPACE, Answer, Desk, Raised, claims, signed, user, with_token
from tests.database.merging import (
    OPERATOR,
    SECRET,
    belongings,
    holding,
    managing,
    member,
    merge,
    reading,
    unmerge,
)


async def proved(desk: Desk, email: str, **more: Any) -> Answer:
    """Register somebody with proof."""
    return await desk.register(email, email_hmac=signed(email, SECRET), **more)


async def resolve(desk: Desk, *texts: str, **more: Any) -> str:
    """The contact known by identities, made where nobody is."""
    named = tuple(identities.parse(text) for text in texts)
    more.setdefault("kind", identities.contact_kind(named))
    answer = await desk.call(
        "resolve_contact", OPERATOR, identities=identities.documents(named), workspace_id=WORKSPACE, make=True, **more
    )
    found: str = answer["contact"]["id"]
    return found


async def tag(desk: Desk, contact: str, *names: str) -> Answer:
    """Replace a contact's tags."""
    return await desk.call("set_contact_tags", OPERATOR, contact_id=contact, names=sorted(names))


async def refused(desk: Desk, function: str, token: JSON, **arguments: Any) -> tuple[int | None, str]:
    """How a call is refused."""
    with pytest.raises(Raised) as error:
        await desk.call(function, token, **arguments)
    return error.value.status, error.value.code


async def owner_of(desk: Desk, table: str, row_id: str) -> str:
    """Whose a row is."""
    return str(await desk.admin.fetchval(f"select contact_id from public.{table} where id = $1", row_id))


async def test_a_merge_moves_everything_and_undoing_it_restores_exactly(desk: Desk) -> None:
    await desk.believe_hmacs(SECRET)
    ann = await proved(desk, "ann@example.test", first_name="Ann", attributes={"plan": "free"})
    bob = await proved(
        desk, "bob@example.test", first_name="Bob", last_name="Lee", attributes={"plan": "pro", "seat": 2}
    )
    await desk.finish(await desk.start(with_token(ann), "from Ann"))
    await desk.finish(await desk.start(with_token(bob), "from Bob"))
    group = await resolve(desk, "telegram:-7")
    for who in ("ann", "bob"):
        await resolve(desk, f"email:{who}@example.test", group_id=group, group_role="member")
    await tag(desk, ann["contact_id"], "vip", "both")
    await tag(desk, bob["contact_id"], "late", "both")
    before = await belongings(desk)

    done = await merge(desk, bob["contact_id"], ann["contact_id"])
    assert done["changed"] is True
    assert done["preview"]["moves"] == {
        "identities": 1, "conversations": 1, "sessions": 1, "messages": 2, "tags": 1, "groups": 0,
    }  # fmt: skip
    assert done["preview"]["tags"] == ["late"]
    collides = done["preview"]["collides"]
    assert collides["name"] == {"kept": "Ann", "other": "Bob Lee"}
    assert [thread["thread_key"] for thread in collides["threads"]] == ["main"]
    assert (collides["attributes"], collides["tags"], collides["groups"]) == (["plan"], 1, 1)
    assert collides["session"] == {"kept": ann["session_id"], "other": bob["session_id"]}
    assert done["preview"]["takes_over"] == {"attributes": {"seat": 2}}
    standing = await desk.admin.fetchrow("select * from public.contacts where id = $1", ann["contact_id"])
    assert standing is not None
    assert (standing["first_name"], standing["last_name"], standing["attributes"]) == (
        "Ann",
        None,
        {"plan": "free", "seat": 2},
    )
    assert str(standing["session_id"]) == ann["session_id"]
    assert await desk.count("contact_identities", "contact_id = $1", ann["contact_id"]) == 2
    assert await desk.count("conversations", "contact_id = $1", bob["contact_id"]) == 0
    assert await owner_of(desk, "sessions", bob["session_id"]) == ann["contact_id"]
    # Who spoke stays who spoke.
    assert await desk.count("messages", "text = 'from Bob' and contact_id = $1", bob["contact_id"]) == 1

    assert (await unmerge(desk, bob["contact_id"]))["merge"]["undone_at"]
    assert await belongings(desk) == before


async def test_a_preview_says_what_a_merge_does_and_changes_nothing(desk: Desk) -> None:
    ann, bob = await desk.register("ann@example.test"), await desk.register("bob@example.test", last_name="Lee")
    before, audited = await belongings(desk), await desk.count("audit_events")
    said = await merge(desk, bob["contact_id"], ann["contact_id"], preview=True)
    assert said["changed"] is False
    assert said["preview"]["takes_over"] == {"last_name": "Lee"}
    assert [one["key"] for one in said["preview"]["identities"]] == ["bob@example.test"]
    assert await belongings(desk) == before
    assert (await desk.count("contact_merges"), await desk.count("audit_events")) == (0, audited)
    done = await merge(desk, bob["contact_id"], ann["contact_id"])
    assert done["preview"] == said["preview"]


async def test_the_same_merge_again_is_the_same_merge(desk: Desk) -> None:
    ann, bob, eve = [(await desk.register(f"{name}@example.test"))["contact_id"] for name in ("ann", "bob", "eve")]
    first, again = await merge(desk, bob, ann), await merge(desk, bob, ann)
    assert (first["merge"], again["changed"]) == (again["merge"], False)
    for contact, into, code in ((ann, bob, "same_contact"), (bob, eve, "already_merged"), (ann, ann, "same_contact")):
        assert await refused(desk, "merge_contacts", OPERATOR, contact_id=contact, into_id=into) == (409, code)
    assert await refused(desk, "unmerge_contact", OPERATOR, contact_id=ann) == (409, "not_merged")


async def test_merging_into_a_merged_contact_is_merging_into_the_one_that_stands(desk: Desk) -> None:
    ann, bob, eve = [(await desk.register(f"{name}@example.test"))["contact_id"] for name in ("ann", "bob", "eve")]
    await merge(desk, ann, bob)
    assert (await merge(desk, eve, ann))["merge"]["into_id"] == bob


async def test_a_chain_is_undone_from_its_end(desk: Desk) -> None:
    ann, bob, eve = [(await desk.register(f"{name}@example.test"))["contact_id"] for name in ("ann", "bob", "eve")]
    before = await belongings(desk)
    await merge(desk, ann, bob)
    between = await belongings(desk)
    await merge(desk, bob, eve)
    assert await desk.count("conversations", "contact_id = $1", eve) == 3
    assert await refused(desk, "unmerge_contact", OPERATOR, contact_id=ann) == (409, "merged_further")
    await unmerge(desk, bob)
    assert await belongings(desk) == between
    await unmerge(desk, ann)
    assert await belongings(desk) == before


@pytest.mark.parametrize("first", [0, 1])
async def test_two_merged_into_one_are_parted_in_any_order(desk: Desk, first: int) -> None:
    eve, *others = [(await desk.register(f"{name}@example.test"))["contact_id"] for name in ("eve", "ann", "bob")]
    before = await belongings(desk)
    for other in others:
        await merge(desk, other, eve)
    await unmerge(desk, others[first])
    await unmerge(desk, others[1 - first])
    assert await belongings(desk) == before


async def test_never_across_workspaces_and_never_a_person_with_a_group(desk: Desk) -> None:
    _, elsewhere = await desk.open_workspace()
    ann, far = await desk.register("ann@example.test"), await desk.register("ann@example.test", space=elsewhere)
    group = await resolve(desk, "telegram:-7")
    for one, other in ((ann, far), (far, ann)):
        assert await refused(
            desk, "merge_contacts", OPERATOR, contact_id=one["contact_id"], into_id=other["contact_id"]
        ) == (404, "contact_not_found")
    assert await refused(desk, "merge_contacts", OPERATOR, contact_id=ann["contact_id"], into_id=group) == (
        409,
        "kinds_differ",
    )
    assert await desk.count("contact_merges") == 0


async def test_two_groups_are_merged_and_parted(desk: Desk) -> None:
    old, new = await resolve(desk, "telegram:-7"), await resolve(desk, "telegram:-1007")
    for person, groups in (("telegram:1", (old,)), ("telegram:2", (old, new))):
        for group in groups:
            await resolve(desk, person, group_id=group, group_role=f"in {group}")
    before = await belongings(desk)
    boss = await member(desk)
    await merge(desk, old, new, managing(boss))
    shown = await desk.call("read_contact", reading(boss), contact_id=new)
    assert len(shown["participants"]) == 2
    assert [one["contact_id"] for one in shown["merged"]] == [old]
    # Whoever names the old group means the one that stands for it.
    assert await resolve(desk, "telegram:3", group_id=old)
    assert await desk.count("group_participants", "group_id = $1", new) == 3
    await unmerge(desk, old)
    after = await belongings(desk)
    assert [row for row in after["participants"] if row in before["participants"]] == before["participants"]


async def test_only_owners_and_admins_of_the_workspace_merge_and_part(desk: Desk) -> None:
    other, _ = await desk.open_workspace()
    admin, agent = await member(desk, "owner"), await member(desk, "agent")
    stranger = await member(desk, "owner", other)
    ann, bob = await desk.register("ann@example.test"), await desk.register("bob@example.test")
    pair = {"contact_id": bob["contact_id"], "into_id": ann["contact_id"]}
    nobody = (404, "contact_not_found")
    for token, expected in (
        (managing(agent), (403, "forbidden")),
        (managing(stranger), nobody),
        (managing(str(uuid.uuid4())), nobody),
        (with_token(ann), nobody),
        (claims(), nobody),
    ):
        for preview in (False, True):
            assert await refused(desk, "merge_contacts", token, **pair, preview=preview) == expected
    await merge(desk, bob["contact_id"], ann["contact_id"], managing(admin))
    row = await desk.admin.fetchrow("select automatic, verified_by, merged_by::text from public.contact_merges")
    assert row is not None
    assert tuple(row) == (False, None, admin)
    for token, expected in ((managing(agent), (403, "forbidden")), (managing(stranger), nobody), (claims(), nobody)):
        assert await refused(desk, "unmerge_contact", token, contact_id=bob["contact_id"]) == expected
    await unmerge(desk, bob["contact_id"], managing(admin))
    assert str(await desk.admin.fetchval("select undone_by from public.contact_merges")) == admin


async def test_the_old_id_says_where_to_ask_instead_and_only_to_members(desk: Desk) -> None:
    other, _ = await desk.open_workspace()
    agent, stranger = await member(desk, "agent"), await member(desk, "owner", other)
    ann, bob, eve = [(await desk.register(f"{name}@example.test"))["contact_id"] for name in ("ann", "bob", "eve")]
    await merge(desk, ann, bob)
    await merge(desk, bob, eve)
    for function in ("read_contact", "read_contact_activity"):
        assert await refused(desk, function, reading(agent), contact_id=ann) == (307, "contact_merged")
        assert await refused(desk, function, reading(stranger), contact_id=ann) == (404, "contact_not_found")
    listed = await desk.call("list_contacts", reading(agent))
    assert [item["id"] for item in listed["items"]] == [eve]
    named = await desk.call("list_contacts", reading(agent), filters={"email_key": "ann@example.test"})
    assert [item["id"] for item in named["items"]] == [eve]


async def test_every_look_up_lands_at_the_contact_that_stands(desk: Desk) -> None:
    await desk.believe_hmacs(SECRET)
    ann, bob = await proved(desk, "ann@example.test"), await desk.register("bob@example.test")
    phone = await resolve(desk, "telegram:5", verified_by="telegram")
    boss = await member(desk)
    signed_up = await desk.sign_up("carl@example.test")
    carl = await desk.start(claims(user(signed_up, "carl@example.test")))
    await desk.finish(carl)
    for old in (ann["contact_id"], phone, carl["contact_id"]):
        await merge(desk, old, bob["contact_id"])
    standing = bob["contact_id"]
    assert await resolve(desk, "email:ann@example.test") == standing
    assert await resolve(desk, "telegram:5") == standing
    assert (await desk.register("ann@example.test"))["contact_id"] == standing
    assert (await proved(desk, "ann@example.test"))["contact_id"] == standing
    again = await desk.start(claims(user(signed_up, "carl@example.test")), client_message_id="2")
    assert (again["contact_id"], again["conversation_id"]) == (standing, carl["conversation_id"])
    opened = await desk.call(
        "start_session", {"role": "switchboard", "scope": {}, "caller": user(boss)}, contact_id=phone, space_id=SPACE
    )
    assert opened["contact_id"] == standing
    assert (await tag(desk, phone, "vip"))["tags"] == ["vip"]
    assert await desk.count("tags", "contact_id = $1", standing) == 1
    for table in ("contact_identities", "conversations", "sessions"):
        assert await desk.count(table, "contact_id <> $1", standing) == 0


async def test_a_token_from_before_a_merge_serves_its_conversation_and_nothing_more(desk: Desk) -> None:
    await desk.believe_hmacs(SECRET)
    ann, bob = await proved(desk, "ann@example.test", first_name="Ann"), await desk.register("bob@example.test")
    await desk.finish(await desk.start(with_token(ann), "Ann's own"))
    await merge(desk, bob["contact_id"], ann["contact_id"])

    token = with_token(bob)
    turn = await desk.start(token, "still here")
    assert (turn["conversation_id"], turn["contact_id"]) == (bob["conversation_id"], ann["contact_id"])
    assert [one["text"] for one in turn["history"]] == []
    cancelled = await desk.call(
        "cancel_turn",
        {**token, "scope": {"workspace_id": WORKSPACE}},
        turn_id=turn["turn_id"],
    )
    assert cancelled.status == 200
    listed = await desk.call("list_sessions", holding(token))
    assert [item["id"] for item in listed["items"]] == [bob["session_id"]]
    assert listed["items"][0]["contact"]["name"] is None
    assert (await desk.call("read_session", holding(token), session_id=bob["session_id"]))["messages"]
    assert await refused(desk, "read_session", holding(token), session_id=ann["session_id"]) == (
        404,
        "session_not_found",
    )
    seen = await rows_seen(desk, holding(token))
    assert seen == {"contacts": 0, "conversations": 1, "sessions": 1, "messages": 1}
    # One with proof sees the contact that it names, and not the one that stands for it.
    await merge(desk, ann["contact_id"], (await desk.register("eve@example.test"))["contact_id"])
    assert (await rows_seen(desk, holding(with_token(ann))))["contacts"] == 1


async def test_a_token_for_somebody_elses_conversation_is_void_once_they_are_parted(desk: Desk) -> None:
    await desk.believe_hmacs(SECRET)
    ann, bob = await proved(desk, "ann@example.test"), await resolve(desk, "email:bob@example.test", verified_by="crm")
    await desk.finish(await desk.start(with_token(ann), "Ann's own"))
    await merge(desk, ann["contact_id"], bob)
    mixed = await proved(desk, "bob@example.test")
    assert (mixed["contact_id"], mixed["conversation_id"]) == (bob, ann["conversation_id"])
    assert (await rows_seen(desk, holding(with_token(mixed))))["messages"] == 2
    await unmerge(desk, ann["contact_id"])
    assert (await rows_seen(desk, holding(with_token(mixed))))["messages"] == 0
    assert await refused(desk, "start_turn", with_token(mixed), space_id=SPACE, message="Me again") == (
        404,
        "conversation_not_found",
    )
    assert (await rows_seen(desk, holding(with_token(ann))))["messages"] == 2
    assert (await desk.start(with_token(ann)))["conversation_id"] == ann["conversation_id"]


async def rows_seen(desk: Desk, token: JSON) -> dict[str, int]:
    """How many rows of some tables a token shows."""
    async with desk._pool.acquire() as connection, connection.transaction():
        await connection.execute(f"set local role {token['role']}")
        await connection.execute("select set_config('request.jwt.claims', $1, true)", json.dumps(token))
        return {
            table: await connection.fetchval(f"select count(*) from public.{table}")
            for table in ("contacts", "conversations", "sessions", "messages")
        }


async def test_what_was_said_since_goes_back_with_its_conversation(desk: Desk) -> None:
    ann, bob = await desk.register("ann@example.test"), await desk.register("bob@example.test")
    await merge(desk, bob["contact_id"], ann["contact_id"])
    await desk.finish(await desk.start(with_token(bob), "said while we were one"))
    ended = await desk.admin.execute(
        "update public.sessions set status = 'completed', ended_at = now() where id = $1", bob["session_id"]
    )
    assert ended == "UPDATE 1"
    later = await desk.start(with_token(bob), "and in a new session")
    assert await owner_of(desk, "sessions", later["session_id"]) == ann["contact_id"]
    await unmerge(desk, bob["contact_id"])
    assert await owner_of(desk, "sessions", later["session_id"]) == bob["contact_id"]
    assert await desk.count("messages", "contact_id = $1", bob["contact_id"]) == 2
    assert await desk.count("messages", "contact_id = $1", ann["contact_id"]) == 0
    await desk.finish(later)
    assert (await desk.start(with_token(bob), "as before"))["contact_id"] == bob["contact_id"]


async def test_the_standing_contact_takes_the_linked_session_where_it_has_none_and_gives_it_back(desk: Desk) -> None:
    bob = await desk.register("bob@example.test")
    ann = await resolve(desk, "telegram:5")
    await merge(desk, bob["contact_id"], ann)
    link = "select session_id::text from public.contacts where id = $1"
    assert await desk.admin.fetchval(link, ann) == bob["session_id"]
    await unmerge(desk, bob["contact_id"])
    assert await desk.admin.fetchval(link, ann) is None
    assert await desk.admin.fetchval(link, bob["contact_id"]) == bob["session_id"]


async def test_what_was_changed_since_stays_with_the_standing_contact(desk: Desk) -> None:
    ann, bob = await resolve(desk, "telegram:1"), await resolve(desk, "telegram:2", profile={"first_name": "Bob"})
    await tag(desk, bob, "vip")
    await merge(desk, bob, ann)
    await desk.admin.execute("update public.contacts set first_name = 'Annabel' where id = $1", ann)
    await tag(desk, ann, "late")
    await unmerge(desk, bob)
    names = {
        row["id"]: row["first_name"]
        for row in await desk.admin.fetch("select id::text, first_name from public.contacts")
    }
    assert names == {ann: "Annabel", bob: "Bob"}
    tags = {(str(row["contact_id"]), row["name"]) for row in await desk.admin.fetch("select * from public.tags")}
    assert tags == {(ann, "late"), (bob, "vip")}


async def test_an_identity_that_somebody_proved_since_is_theirs(desk: Desk) -> None:
    ann = await resolve(desk, "telegram:1", verified_by="telegram")
    bob = await resolve(desk, "telegram:2", verified_by="telegram")
    await resolve(desk, "telegram:2", "email:typed@example.test")
    await merge(desk, bob, ann)
    owner = await resolve(desk, "email:typed@example.test", verified_by="crm")
    assert owner not in (ann, bob)
    await merge(desk, owner, ann)
    await unmerge(desk, bob)
    await unmerge(desk, owner)
    rows = await desk.admin.fetch("select key, contact_id::text as whose from public.contact_identities")
    assert {row["key"]: row["whose"] for row in rows} == {"1": ann, "2": bob, "typed@example.test": owner}


async def test_a_merge_and_its_undoing_are_in_both_logs(desk: Desk) -> None:
    ann, bob = await resolve(desk, "telegram:1"), await resolve(desk, "telegram:2")
    boss = await member(desk)
    await merge(desk, bob, ann, managing(boss))
    await unmerge(desk, bob, managing(boss))
    rows = await desk.admin.fetch(
        "select object_id::text, verb, actor_id::text, code from public.audit_events where verb ~ 'merged$' order by id"
    )
    assert {tuple(row) for row in rows} == {
        (whose, verb, boss, other)
        for whose, other in ((ann, bob), (bob, ann))
        for verb in ("contact.merged", "contact.unmerged")
    }
