"""Merging contacts: what moves and collides, where old ids and old tokens lead, and that an unmerge restores it all.

test_merges_lifecycle.py does this in any order against a model; tests/functions has the routes and their refusals.
"""

from tests.database.desk import (
    OPERATOR,
    SPACE,
    WORKSPACE,
    Answer,
    Desk,
    claims,
    managing,
    on_behalf,
    own_token,
    refusal,
    user,
    with_token,
)
from tests.database.merging import belongings, made, merge, rows_seen, unmerge


async def tag(desk: Desk, contact: str, *names: str) -> Answer:
    """Replace a contact's tags."""
    return await desk.call("set_contact_tags", OPERATOR, contact_id=contact, names=sorted(names))


async def test_a_merge_moves_everything_as_previewed_and_an_unmerge_restores_exactly(desk: Desk) -> None:
    await desk.believe_hmacs()
    ann = await desk.prove("ann@example.test", first_name="Ann", attributes={"plan": "free"})
    bob = await desk.prove("bob@example.test", first_name="Bob", last_name="Lee", attributes={"plan": "pro", "seat": 2})
    await desk.finish(await desk.start(with_token(ann), "from Ann"))
    await desk.finish(await desk.start(with_token(bob), "from Bob"))
    group = await made(desk, "telegram:-7")
    for email in ("ann@example.test", "bob@example.test"):
        await made(desk, f"email:{email}", group_id=group, group_role="member")
    await tag(desk, ann["contact_id"], "vip", "both")
    await tag(desk, bob["contact_id"], "late", "both")
    before, audited = await belongings(desk), await desk.count("audit_events")
    pair = bob["contact_id"], ann["contact_id"]

    previewed = await merge(desk, *pair, preview=True)
    assert await belongings(desk) == before
    assert (await desk.count("contact_merges"), await desk.count("audit_events")) == (0, audited)
    done = await merge(desk, *pair)
    assert (previewed["changed"], done["changed"]) == (False, True)
    preview = done["preview"]
    assert preview == previewed["preview"]
    assert preview["moves"] == {
        "identities": 1, "conversations": 1, "sessions": 1, "messages": 2, "tags": 1, "groups": 0,
        "memories": 0,
    }  # fmt: skip
    assert preview["tags"] == ["late"]
    collides = preview["collides"]
    assert collides["name"] == {"kept": "Ann", "other": "Bob Lee"}
    assert [thread["thread_key"] for thread in collides["threads"]] == ["main"]
    assert (collides["attributes"], collides["tags"], collides["groups"]) == (["plan"], 1, 1)
    assert collides["session"] == {"kept": ann["session_id"], "other": bob["session_id"]}
    assert preview["takes_over"] == {"attributes": {"seat": 2}}

    kept = await desk.row("contacts", ann["contact_id"])
    assert (kept["first_name"], kept["last_name"], kept["session_id"]) == ("Ann", None, ann["session_id"])
    assert kept["attributes"] == {"plan": "free", "seat": 2}
    assert await desk.count("contact_identities", "contact_id = $1", ann["contact_id"]) == 2
    for table, where, count in (
        ("conversations", "contact_id = $1", 0),
        ("sessions", "contact_id = $1", 0),
        # The sender of a message stays its sender.
        ("messages", "text = 'from Bob' and contact_id = $1", 1),
    ):
        assert await desk.count(table, where, bob["contact_id"]) == count, table

    assert (await unmerge(desk, bob["contact_id"]))["merge"]["undone_at"]
    assert await belongings(desk) == before


async def test_groups_are_merged_with_their_participants(desk: Desk) -> None:
    old, new = await made(desk, "telegram:-7"), await made(desk, "telegram:-1007")
    for person, groups in (("telegram:1", (old,)), ("telegram:2", (old, new))):
        for group in groups:
            await made(desk, person, group_id=group, group_role=f"in {group}")
    before = await belongings(desk)
    boss = await desk.member()
    await merge(desk, old, new, managing(boss))
    (shown,) = await desk.select(own_token(boss), "contact_details", "id = $1", new)
    assert len(shown["participants"]) == 2
    assert [one["contact_id"] for one in shown["merged"]] == [old]
    # A reference to the old group is one to the new.
    assert await made(desk, "telegram:3", group_id=old)
    assert await desk.count("group_participants", "group_id = $1", new) == 3
    await unmerge(desk, old)
    assert set(before["group_participants"]) <= set((await belongings(desk))["group_participants"])


async def test_every_way_to_find_a_contact_leads_to_the_one_that_it_was_merged_into(desk: Desk) -> None:
    await desk.believe_hmacs()
    ann, bob = await desk.prove("ann@example.test"), await desk.register("bob@example.test")
    phone = await made(desk, "telegram:5", verified_by="telegram")
    boss = await desk.member()
    signed_up = await desk.sign_up("carl@example.test")
    carl = await desk.start(claims(user(signed_up, "carl@example.test")))
    await desk.finish(carl)
    for old in (ann["contact_id"], phone, carl["contact_id"]):
        await merge(desk, old, bob["contact_id"])

    again = await desk.start(claims(user(signed_up, "carl@example.test")), client_message_id="2")
    assert again["conversation_id"] == carl["conversation_id"]
    found = [
        again["contact_id"],
        await made(desk, "email:ann@example.test"),
        await made(desk, "telegram:5"),
        (await desk.register("ann@example.test"))["contact_id"],
        (await desk.prove("ann@example.test"))["contact_id"],
        (await desk.start_session(on_behalf(boss), contact_id=phone, space_id=SPACE))["contact_id"],
    ]
    assert set(found) == {bob["contact_id"]}
    assert (await tag(desk, phone, "vip"))["tags"] == ["vip"]
    for table in ("tags", "contact_identities", "conversations", "sessions"):
        assert await desk.count(table, "contact_id is distinct from $1", bob["contact_id"]) == 0, table


async def test_a_token_from_before_a_merge_serves_its_conversation_and_nothing_more(desk: Desk) -> None:
    await desk.believe_hmacs()
    ann, bob = await desk.prove("ann@example.test", first_name="Ann"), await desk.register("bob@example.test")
    await desk.finish(await desk.start(with_token(ann), "Ann's own"))
    await merge(desk, bob["contact_id"], ann["contact_id"])

    token = with_token(bob)
    turn = await desk.start(token, "still here")
    assert (turn["conversation_id"], turn["contact_id"]) == (bob["conversation_id"], ann["contact_id"])
    assert turn["history"] == []
    at_work = {**token, "scope": {"workspace_id": WORKSPACE}}
    assert (await desk.call("cancel_turn", at_work, turn_id=turn["turn_id"])).status == 200
    (listed,) = await desk.sessions(own_token(token["caller"]))
    assert (listed["id"], listed["contact"]["name"]) == (bob["session_id"], None)
    seen = await rows_seen(desk, own_token(token["caller"]))
    assert seen == {"contacts": 0, "conversations": 1, "sessions": 1, "messages": 1}
    # With proof it shows the contact that it names, and not the one that this was merged into.
    await merge(desk, ann["contact_id"], (await desk.register("eve@example.test"))["contact_id"])
    assert (await rows_seen(desk, own_token(with_token(ann)["caller"])))["contacts"] == 1


async def test_a_token_for_another_contacts_conversation_is_void_after_the_unmerge(desk: Desk) -> None:
    await desk.believe_hmacs()
    ann, bob = await desk.prove("ann@example.test"), await made(desk, "email:bob@example.test", verified_by="crm")
    await desk.finish(await desk.start(with_token(ann), "Ann's own"))
    await merge(desk, ann["contact_id"], bob)
    mixed = await desk.prove("bob@example.test")
    assert (mixed["contact_id"], mixed["conversation_id"]) == (bob, ann["conversation_id"])
    assert (await rows_seen(desk, own_token(with_token(mixed)["caller"])))["messages"] == 2

    await unmerge(desk, ann["contact_id"])
    assert (await rows_seen(desk, own_token(with_token(mixed)["caller"])))["messages"] == 0
    assert await refusal(desk.start(with_token(mixed))) == (404, "conversation_not_found")
    assert (await rows_seen(desk, own_token(with_token(ann)["caller"])))["messages"] == 2
    assert (await desk.start(with_token(ann)))["conversation_id"] == ann["conversation_id"]


async def test_sessions_and_messages_since_a_merge_return_with_their_conversation(desk: Desk) -> None:
    ann, bob = await desk.register("ann@example.test"), await desk.register("bob@example.test")
    await merge(desk, bob["contact_id"], ann["contact_id"])
    await desk.finish(await desk.start(with_token(bob), "while merged"))
    await desk.end_session(bob["session_id"], "completed")
    later = await desk.start(with_token(bob), "and in a new session")
    assert (await desk.row("sessions", later["session_id"]))["contact_id"] == ann["contact_id"]
    await unmerge(desk, bob["contact_id"])
    assert (await desk.row("sessions", later["session_id"]))["contact_id"] == bob["contact_id"]
    assert await desk.count("messages", "contact_id = $1", bob["contact_id"]) == 2
    assert await desk.count("messages", "contact_id = $1", ann["contact_id"]) == 0


async def test_a_contact_without_a_linked_session_takes_it_and_returns_it(desk: Desk) -> None:
    bob, ann = await desk.register("bob@example.test"), await made(desk, "telegram:5")
    linked = "select session_id::text from public.contacts where id = $1"
    for change, at_ann in ((merge(desk, bob["contact_id"], ann), True), (unmerge(desk, bob["contact_id"]), False)):
        await change
        assert await desk.admin.fetchval(linked, ann) == (bob["session_id"] if at_ann else None)
    assert await desk.admin.fetchval(linked, bob["contact_id"]) == bob["session_id"]


async def test_later_changes_stay_with_the_contact_that_was_merged_into(desk: Desk) -> None:
    ann, bob = await made(desk, "telegram:1"), await made(desk, "telegram:2", profile={"first_name": "Bob"})
    await tag(desk, bob, "vip")
    await merge(desk, bob, ann)
    await desk.admin.execute("update public.contacts set first_name = 'Annabel' where id = $1", ann)
    await tag(desk, ann, "late")
    await unmerge(desk, bob)
    rows = "select c.id::text, first_name, name from public.contacts c join public.tags t on t.contact_id = c.id"
    assert set(await desk.all(rows)) == {(ann, "Annabel", "late"), (bob, "Bob", "vip")}


async def test_a_merge_and_its_undoing_are_in_the_audit_of_both(desk: Desk) -> None:
    ann, bob = await made(desk, "telegram:1"), await made(desk, "telegram:2")
    boss = await desk.member()
    await merge(desk, bob, ann, managing(boss))
    await unmerge(desk, bob, managing(boss))
    events = "select object_id::text, verb, actor_id::text, code from public.audit_events where verb ~ 'merged$'"
    assert set(await desk.all(events)) == {
        (contact, verb, boss["user_id"], other)
        for contact, other in ((ann, bob), (bob, ann))
        for verb in ("contact.merged", "contact.unmerged")
    }
    row = await desk.one("select automatic, verified_by, merged_by::text, undone_by::text from public.contact_merges")
    assert row == (False, None, boss["user_id"], boss["user_id"])
