"""Outgoing events: written with what causes them, for the subscriptions that want them. Sending is tests/functions'."""

from typing import Any

import pytest

from tests.database.desk import OPERATOR, PERSONA, WORKSPACE, Desk, claims, managing, on_a_turn, on_behalf, with_token
from tests.database.merging import merge
from tests.database.test_workflow import propose, quote, trip, work

TYPES = (
    "contact.registered", "contact.merged", "session.started", "session.completed", "session.timeout",
    "session.taken_over", "message.created", "workflow.step", "quote.received", "proposal.sent", "archive.completed",
)  # fmt: skip
SESSION = {"session_id", "conversation_id", "contact_id", "proof", "persona_id", "space_id", "channel"}
MESSAGE = {"message_id", "role", "text", "partial", "created_at"}
ENDED = {"turn_count", "message_count"}


async def subscribe(desk: Desk, *types: str, workspace: str = WORKSPACE) -> dict[str, Any]:
    """A subscription to these types."""
    settings = {"url": "https://example.test/events", "event_types": types}
    made = await desk.call("create_event_subscription", OPERATOR, workspace_id=workspace, settings=settings)
    return made.body


async def told(desk: Desk) -> list[tuple[str, dict[str, Any]]]:
    """Type and data of the events, in their order; all are forgotten."""
    events = [(kind, data) for kind, data in await desk.all("select type, data from public.events order by id")]
    await desk.admin.execute("delete from public.events; delete from public.jobs")
    return events


async def test_each_type_is_written_once_with_its_ids_and_public_facts(desk: Desk) -> None:
    await subscribe(desk, *TYPES)
    boss = await desk.member("owner")
    ann = await desk.register("ann@example.test")
    turn = await desk.start(with_token(ann), "Hello")
    await desk.finish(turn, answer="Hi")
    session_id = ann["session_id"]
    await work(desk, boss, session_id, step="understanding_request")
    await trip(desk, boss, session_id, origin="LSGG")
    await quote(desk, boss, session_id, "acme", status="requested")
    for amount in ("12000", "11000"):
        await quote(desk, boss, session_id, "acme", status="received", amount=amount, currency="EUR")
    await propose(desk, boss, session_id, status="draft", details={"margin": 3})
    await propose(desk, boss, session_id, status="sent", title="Geneva", amount="13000", currency="EUR")
    await desk.take_over(boss, session_id)
    await desk.say(boss, session_id, "A person here.")
    await desk.change(boss, session_id, "complete")
    other = with_token(await desk.register("bob@example.test"))
    await desk.admin.execute("update public.sessions set last_activity_at = now() - interval '9 days'")
    await desk.call("clean_up_sessions", managing(boss), workspace_id=WORKSPACE, max_age_hours=24)
    await desk.admin.execute(
        "update public.sessions set ended_at = now() - interval '99 days' where ended_at is not null"
    )
    await desk.call("archive_old_chat_sessions", OPERATOR)
    await merge(desk, other["caller"]["contact_id"], ann["contact_id"])

    events = await told(desk)
    assert [(kind, set(data)) for kind, data in events] == [
        ("session.started", SESSION | ENDED),
        ("contact.registered", {"contact_id"}),
        ("message.created", SESSION | MESSAGE | {"turn_id"}),
        ("message.created", SESSION | MESSAGE | {"turn_id"}),
        ("workflow.step", SESSION | {"workflow", "to_step", "user_id"}),
        ("quote.received", SESSION | {"quote_id", "request_id", "operator", "amount", "currency", "late"}),
        ("proposal.sent", SESSION | {"proposal_id", "request_id", "quote_id", "title", "amount", "currency"}),
        ("workflow.step", SESSION | {"workflow", "from_step", "to_step", "user_id"}),
        ("session.taken_over", SESSION | {"user_id"}),
        ("message.created", SESSION | MESSAGE | {"user_id"}),
        ("session.completed", SESSION | ENDED),
        ("session.started", SESSION | ENDED),
        ("contact.registered", {"contact_id"}),
        ("session.timeout", SESSION | ENDED),
        ("archive.completed", SESSION),
        ("archive.completed", SESSION),
        ("contact.merged", {"contact_id", "merged_contact_id", "automatic"}),
    ]
    assert {data["contact_id"] for _, data in events} == {ann["contact_id"], other["caller"]["contact_id"]}
    said = [(data["role"], data["text"], data["proof"]) for kind, data in events if kind == "message.created"]
    assert said == [
        (role, text, "asserted")
        for role, text in (("contact", "Hello"), ("persona", "Hi"), ("member", "A person here."))
    ]


async def test_a_delivery_and_its_job_are_queued_for_each_subscription_that_wants_the_type(desk: Desk) -> None:
    wanting = [await subscribe(desk, "message.created", "contact.merged") for _ in range(2)]
    await subscribe(desk, "contact.merged")
    disabled = await subscribe(desk, "message.created")
    changes = {"kind": "event_subscription", "object_id": disabled["id"], "changes": {"enabled": False}}
    assert (await desk.call("change_settings", OPERATOR, **changes))["disabled_reason"] == "member"
    workspace, _ = await desk.open_workspace()
    await subscribe(desk, "message.created", workspace=workspace)

    ann = await desk.arrive()
    turn = await desk.start(ann, "Hello")
    queued = await desk.all(
        "select d.subscription_id::text, j.kind, j.ordering_key from public.jobs j"
        " join public.event_deliveries d on d.id::text = j.payload ->> 'delivery_id' order by 1"
    )
    keys = {each["id"]: f"events:{each['id']}:{turn['conversation_id']}" for each in wanting}
    assert queued == [(each, "deliver_event", keys[each]) for each in sorted(keys)]
    assert await desk.count("events") == 1
    # What is rolled back has no event.
    assert await desk.refused("start_turn", claims(), space_id=turn["turn_id"], message="x") == (404, "space_not_found")
    assert await desk.count("events") == 1


async def test_a_workspace_has_at_most_20_subscriptions(desk: Desk) -> None:
    made = [await subscribe(desk, "message.created") for _ in range(20)]
    again = {"url": made[0]["url"], "event_types": ["message.created"], "id": made[0]["id"]}
    arguments = {"workspace_id": WORKSPACE, "settings": again}
    assert (await desk.call("create_event_subscription", OPERATOR, **arguments))["id"] == made[0]["id"]
    del again["id"]
    refused = await desk.refused("create_event_subscription", OPERATOR, **arguments)
    assert refused == (409, "too_many_event_subscriptions")


async def test_nothing_is_written_without_a_subscription_or_of_what_a_member_says_to_a_persona(desk: Desk) -> None:
    await desk.finish(await desk.start(await desk.arrive(), "Hello"))
    await subscribe(desk, *TYPES)
    member = await desk.member("agent")
    own = await desk.call("start_turn", on_behalf(member), space_id=None, message="My own", persona_id=PERSONA)
    await desk.finish(own, answer="Yours")
    assert await told(desk) == []


async def test_a_secret_is_shown_once_and_goes_with_its_subscription(desk: Desk) -> None:
    first = await subscribe(desk, "message.created")
    assert first["secret"].startswith("whsec_")
    again = {"url": "https://example.test/other", "event_types": ["message.created"], "id": first["id"]}
    repeated = await desk.call("create_event_subscription", OPERATOR, workspace_id=WORKSPACE, settings=again)
    assert repeated.body == {name: value for name, value in first.items() if name != "secret"}

    rotation = {"slot": "signing", "owner_id": first["id"], "action": "rotate", "overlap_seconds": 60}
    second = (await desk.call("replace_secret", OPERATOR, **rotation))["secret"]
    queued = await desk.call("test_event_subscription", OPERATOR, event_subscription_id=first["id"])
    read = await desk.call("read_delivery", on_a_turn(), delivery_id=queued["delivery_id"])
    assert read["secrets"] == [second, first["secret"]]
    secrets = "select count(*) from vault.secrets where description like 'Switchboard: signing%'"
    assert await desk.admin.fetchval(secrets) == 2
    await desk.call("remove_event_subscription", OPERATOR, event_subscription_id=first["id"])
    assert await desk.admin.fetchval(secrets) == 0
    assert await desk.refused("read_delivery", on_a_turn(), delivery_id=queued["delivery_id"]) == (
        404, "event_delivery_not_found"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("outcome", "failing_for", "reason"),
    [
        ({"status": "pending", "response_status": 500}, None, None),
        ({"status": "pending", "response_status": 500}, "2 days", None),
        ({"status": "pending", "response_status": 500}, "4 days", "failing"),
        ({"status": "failed", "error": "unreachable"}, "4 days", "failing"),
        ({"status": "failed", "response_status": 410}, None, "gone"),
        ({"status": "succeeded", "response_status": 204}, "4 days", None),
    ],
)
async def test_a_subscription_is_switched_off_after_days_of_failure_or_when_its_server_says_so(
    desk: Desk, outcome: dict[str, Any], failing_for: str | None, reason: str | None
) -> None:
    made = await subscribe(desk, "message.created")
    since = "update public.event_subscriptions set failing_since = now() - $1::text::interval"
    await desk.admin.execute(since, failing_for)
    queued = await desk.call("test_event_subscription", OPERATOR, event_subscription_id=made["id"])
    arguments = {"delivery_id": queued["delivery_id"], "outcome": outcome}
    assert (await desk.call("record_delivery", on_a_turn(), **arguments))["status"] == outcome["status"]
    (row,) = await desk.select(OPERATOR, "event_subscription_settings")
    assert (row["enabled"], row["disabled_reason"]) == (reason is None, reason)
    assert (row["failing_since"] is None) == (outcome["status"] == "succeeded")
    disabled = [event for event in await desk.audited(made["id"], "verb, code") if event[0].endswith("disabled")]
    assert disabled == ([("event_subscription.disabled", reason)] if reason else [])
    changes = {"kind": "event_subscription", "object_id": made["id"], "changes": {"enabled": True}}
    if reason is not None:
        assert (await desk.call("change_settings", OPERATOR, **changes))["failing_since"] is None
