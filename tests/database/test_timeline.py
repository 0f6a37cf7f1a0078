"""The timeline of a contact: its events in order, page by page, as far as the reader may see them.

The access matrix has the callers, test_hot_plans the cost of a page.
"""

from datetime import datetime

import pytest

from lib.contacts.timeline import TimelinePageRequest
from tests.database.desk import (
    JSON,
    PERSONA,
    WORKSPACE,
    Answer,
    Desk,
    on_behalf,
    own_token,
    refusal,
    with_token,
)
from tests.database.merging import merge, unmerge
from tests.database.test_templates import template
from tests.database.test_workflow import propose, quote


async def page(desk: Desk, reader: JSON, contact_id: str, after: str | None = None, size: int = 200) -> Answer:
    """A page as lib/contacts/timeline reads it: one event more tells whether there is a next page."""
    arguments = TimelinePageRequest(limit=size, cursor=after).arguments()
    return await desk.call("read_contact_timeline", own_token(reader), contact_id=contact_id, **arguments)


async def whole(desk: Desk, reader: JSON, contact_id: str, size: int = 200) -> list[JSON]:
    """The timeline, read in pages of this size."""
    found: list[JSON] = []
    while True:
        items = (await page(desk, reader, contact_id, found[-1]["cursor"] if found else None, size))["items"]
        found += items[:size]
        if len(items) <= size:
            assert len({event["cursor"] for event in found}) == len(found)
            return found


async def test_no_page_is_longer_than_the_longest_of_the_route(desk: Desk) -> None:
    boss, ann = await desk.member("owner"), await desk.register("ann@example.test")
    await desk.admin.execute(
        "insert into public.audit_events (workspace_id, verb, object_id)"
        " select $1, 'contact.registered', $2 from generate_series(1, 300)",
        WORKSPACE,
        ann["contact_id"],
    )
    for asked, got in ((1_000_000, 201), (-1, 1)):
        arguments = {"contact_id": ann["contact_id"], "page_size": asked}
        answer = await desk.call("read_contact_timeline", own_token(boss), **arguments)
        assert len(answer["items"]) == got


async def history(desk: Desk, boss: JSON) -> tuple[str, list[str]]:
    """Ann writes, proves her email, works on a trip with three quotes and a proposal, and is archived."""
    await template(desk, boss, name="Charter", workflow="charter", workflow_step="understanding_request")
    await desk.believe_hmacs()
    first = await desk.register("ann@example.test")
    await desk.finish(await desk.start(with_token(first)))
    await desk.change(boss, first["session_id"], "complete")
    # With proof it is another conversation.
    second = await desk.prove("ann@example.test")
    await desk.change(boss, second["session_id"], "cancel")
    ann = first["contact_id"]
    trip = await desk.start_session(on_behalf(boss), contact_id=ann, template="Charter", thread_key="trip")
    price = {"amount": 1200.5, "currency": "EUR"}
    for operator, *reports in (("Acme", "requested", "received"), ("Jets", "requested", "declined", "received")):
        for status in reports:
            await quote(
                desk, boss, trip["session_id"], operator, status=status, **(price if status == "received" else {})
            )
    await propose(desk, boss, trip["session_id"], status="sent", title="To Luton", amount=1500, currency="EUR")
    await desk.change(boss, trip["session_id"], "complete")
    await quote(desk, boss, trip["session_id"], "Skies", status="received", **price)
    await desk.admin.execute(
        "update public.sessions set status_before_archive = status, status = 'archived',"
        " archived_at = clock_timestamp() where id = $1",
        first["session_id"],
    )
    return ann, [arrival["session_id"] for arrival in (first, second, trip)]


def events(timeline: list[JSON]) -> list[tuple[str, str | None]]:
    return [(event["event"], event.get("session_id")) for event in timeline]


async def test_a_timeline_has_everything_in_its_order_for_admins_and_the_rest_for_agents(desk: Desk) -> None:
    boss, agent = await desk.member("owner"), await desk.member("agent")
    ann, (first, second, trip) = await history(desk, boss)
    timeline = await whole(desk, boss, ann)
    assert events(timeline) == [
        ("contact.created", None), ("contact.registered", None), ("contact.identified", None),
        ("session.opened", first), ("session.first_message", first), ("session.completed", first),
        ("contact.registered", None), ("contact.verified", None),
        ("session.opened", second), ("session.cancelled", second),
        ("session.opened", trip), ("workflow.step", trip),
        ("quote.requested", trip), ("quote.received", trip),
        ("quote.requested", trip), ("quote.declined", trip), ("quote.received", trip),
        ("proposal.sent", trip), ("workflow.step", trip), ("session.completed", trip),
        ("quote.received", trip),
        ("session.archived", first),
    ]  # fmt: skip
    assert [event["at"] for event in timeline] == sorted(event["at"] for event in timeline)
    of = {event["event"]: event for event in timeline}
    for event, details in {
        "contact.registered": {"actor_id": ann, "verified_by": "hmac"},
        "contact.identified": {"identity": "email:ann@example.test", "asserted_by": "contact"},
        "contact.verified": {"identity": "email:ann@example.test", "verified_by": "hmac"},
        "session.opened": {"session_id": trip, "persona_id": PERSONA},
        "workflow.step": {
            "session_id": trip, "workflow": "charter", "from_step": "understanding_request",
            "to_step": "proposal_ready", "actor_id": boss["user_id"],
        },
        "quote.declined": {
            "session_id": trip, "quote_id": of["quote.declined"]["quote_id"], "operator": "Jets",
            "actor_id": boss["user_id"],
        },
        "proposal.sent": {
            "session_id": trip, "proposal_id": of["proposal.sent"]["proposal_id"], "title": "To Luton",
            "amount": 1500, "currency": "EUR", "actor_id": boss["user_id"],
        },
    }.items():  # fmt: skip
        assert of[event] == {"at": of[event]["at"], "event": event, "cursor": of[event]["cursor"], **details}
    received = [event for event in timeline if event["event"] == "quote.received"]
    assert [(each["operator"], each["amount"], each["currency"], each.get("late")) for each in received] == [
        ("Acme", 1200.5, "EUR", None), ("Jets", 1200.5, "EUR", None), ("Skies", 1200.5, "EUR", True),
    ]  # fmt: skip
    # The messages of a session that has ended: their number and the last one.
    said = await desk.all("select created_at from public.messages where session_id = $1 order by 1", first)
    ended = next(event for event in timeline if event["event"] == "session.completed")
    assert (ended["message_count"], datetime.fromisoformat(ended["last_message_at"])) == (2, said[-1][0])
    # The same moments as in the session's own timeline.
    async with desk.reading(own_token(boss)) as reader:
        offers = "select at, event from public.session_events($1) where event ~ '^(quote|proposal)' order by at"
        shown = [(row["at"], row["event"]) for row in await reader.fetch(offers, trip)]
    pattern = ("quote.", "proposal.")
    assert shown == [
        (datetime.fromisoformat(event["at"]), event["event"])
        for event in timeline
        if event["event"].startswith(pattern)
    ]

    of_contact = [event for event in timeline if "session_id" not in event]
    assert await whole(desk, agent, ann, 2) == of_contact
    for mine in (first, trip):
        await desk.admin.execute(
            "update public.sessions set assigned_user_id = case when id = $1 then $2::uuid end", mine, agent["user_id"]
        )
        expected = [event for event in timeline if event.get("session_id") in (None, mine)]
        assert await whole(desk, agent, ann, 3) == expected


@pytest.mark.parametrize("together", [False, True])
async def test_pages_of_any_size_are_the_whole(desk: Desk, together: bool) -> None:
    boss = await desk.member("owner")
    ann, _ = await history(desk, boss)
    if together:
        # With one time for all of them, events are still in one order.
        for table, columns in (
            ("contacts", ("created_at",)), ("contact_identities", ("created_at", "verified_at")),
            ("audit_events", ("created_at",)), ("workflow_steps", ("created_at",)),
            ("quotes", ("created_at", "received_at", "updated_at")),
            ("sessions", ("created_at", "first_message_at", "ended_at", "archived_at")), ("messages", ("created_at",)),
        ):  # fmt: skip
            for column in columns:
                await desk.admin.execute(
                    f"update public.{table} set {column} = '2026-01-01 00:00:00.123456+00' where {column} is not null"
                )
    everything = await whole(desk, boss, ann)
    assert len(everything) == 22
    for size in (1, 2, 3, 7, 21):
        assert await whole(desk, boss, ann, size) == everything


async def test_later_events_come_at_the_end(desk: Desk) -> None:
    boss, ann = await desk.member("owner"), await desk.register("ann@example.test")
    before = await whole(desk, boss, ann["contact_id"])
    await desk.finish(await desk.start(with_token(ann)))
    live = (await whole(desk, boss, ann["contact_id"]))[-1]
    assert (live["event"], live["message_count"]) == ("session.last_message", 2)
    await desk.change(boss, ann["session_id"], "complete")
    after = await page(desk, boss, ann["contact_id"], before[-2]["cursor"])
    assert events(after["items"]) == [
        *events(before[-1:]), ("session.first_message", ann["session_id"]), ("session.completed", ann["session_id"]),
    ]  # fmt: skip


async def test_merged_contacts_are_part_of_a_timeline_until_they_are_unmerged(desk: Desk) -> None:
    boss = await desk.member("owner")
    ann, bob, cid = [(await desk.register(f"{who}@example.test"))["contact_id"] for who in ("ann", "bob", "cid")]

    async def registered(contact_id: str) -> list[str]:
        timeline = await whole(desk, boss, contact_id, 1)
        return [event["actor_id"] for event in timeline if event["event"] == "contact.registered"]

    await merge(desk, ann, bob)
    await merge(desk, bob, cid)
    assert await registered(cid) == [ann, bob, cid]
    last = (await whole(desk, boss, cid))[-1]
    assert (last["event"], last["contact_id"]) == ("contact.merged", bob)
    assert await refusal(page(desk, boss, ann)) == (307, "contact_merged")
    await unmerge(desk, bob)
    assert (await registered(cid), await registered(bob)) == ([cid], [ann, bob])


async def test_only_a_contacts_message_is_a_first_message(desk: Desk) -> None:
    boss, ann = await desk.member("owner"), await desk.register("ann@example.test")
    await template(desk, boss)
    arguments = {"contact_id": ann["contact_id"], "template": "Trip", "thread_key": "x"}
    started = await desk.start_session(on_behalf(boss), **arguments)
    await desk.change(boss, started["session_id"], "pause")
    await desk.admin.execute("update public.sessions set status = 'timeout', ended_at = now()")
    await desk.call("recover_session", on_behalf(boss), session_id=started["session_id"])
    assert not any("first_message" in event["event"] for event in await whole(desk, boss, ann["contact_id"]))
