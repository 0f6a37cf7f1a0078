"""Outgoing events at a real receiver: signatures, order, retries, management. What is written is tests/database's, who
may call test_access's."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import standardwebhooks
import svix.webhooks
from aiohttp import web

from local.ports import free_port
from local.stack import Stack
from tests.functions.conftest import Visitor, Workspace, until
from tests.functions.people import Person, Staff, audit
from tests.functions.test_worker import work

Answer = tuple[int, dict[str, str], str]
OK: Answer = (200, {}, "thanks")


@dataclass
class Receiver:
    """A server that subscribes to events: it answers as planned, then always with 200."""

    port: int = 0
    planned: list[Answer] = field(default_factory=list)
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/events"

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.received]

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.received]

    async def receive(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received.append((headers, await request.read()))
        status, answered, text = self.planned.pop(0) if self.planned else OK
        return web.Response(status=status, headers=answered, text=text)

    async def got(self, count: int) -> None:
        """Wait for so many deliveries."""

        async def enough() -> bool:
            return len(self.received) >= count

        await until(enough)


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    server, application = Receiver(), web.Application()
    application.router.add_post("/events", server.receive)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.port = runner.addresses[0][1]
    yield server
    await runner.cleanup()


async def subscribe(staff: Staff, workspace: Workspace, url: str, *types: str) -> dict[str, Any]:
    """A subscription of the workspace, which may call this machine."""
    await workspace.allow_loopback()
    path, types = f"/workspaces/{workspace.id}/event-subscriptions", types or ("message.created",)
    return await staff.admin.done("POST", path, {"url": url, "eventTypes": list(types)})


async def deliveries(person: Person, subscription: dict[str, Any], query: str = "") -> list[dict[str, Any]]:
    path = f"/event-subscriptions/{subscription['id']}/deliveries{query}"
    items: list[dict[str, Any]] = (await person.done("GET", path))["items"]
    return items


async def run_again(
    workspace: Workspace, client: aiohttp.ClientSession, stack: Stack, attempts: int | None = None
) -> None:
    """Run the waiting jobs now, optionally as if so many attempts had failed before."""
    due = "update public.jobs set next_attempt_at = now(), attempts = coalesce($2, attempts) where workspace_id = $1"
    await workspace.database.execute(f"{due} and status = 'queued'", workspace.id, attempts)
    await work(client, stack)
    await workspace.settled(later=False)


async def test_what_a_receiver_gets_is_verified_by_the_standard_libraries(
    visitor: Visitor, workspace: Workspace, staff: Staff, receiver: Receiver
) -> None:
    made = await subscribe(staff, workspace, receiver.url, "session.started", "message.created")
    turn = (await visitor.say("Hello"))[0].data
    await receiver.got(3)
    assert [event["type"] for event in receiver.events] == ["session.started", "message.created", "message.created"]
    assert receiver.events[1]["data"]["text"] == "Hello"
    assert {event["data"]["conversation_id"] for event in receiver.events} == {turn["conversation_id"]}
    assert len(set(receiver.ids)) == 3
    for headers, body in receiver.received:
        assert headers["content-type"] == "application/json"
        assert standardwebhooks.Webhook(made["secret"]).verify(body, headers) == json.loads(body)
        svix.webhooks.Webhook(made["secret"]).verify(body, headers)

    # During the overlap a receiver may have either secret.
    rotate = f"/event-subscriptions/{made['id']}/secret"
    new = (await staff.owner.done("POST", rotate))["secret"]
    await visitor.say("Again")
    await receiver.got(5)
    for secret in (made["secret"], new):
        standardwebhooks.Webhook(secret).verify(receiver.received[-1][1], receiver.received[-1][0])
    newest, *_ = await deliveries(staff.admin, made, "?status=succeeded")
    shown = (
        newest["response_status"],
        newest["response_excerpt"],
        newest["attempts"],
        newest.get("error"),
    )
    assert shown == (200, "thanks", 1, None)
    assert (newest["type"], newest["data"]) == ("message.created", receiver.events[-1]["data"])


@pytest.mark.parametrize(
    ("answer", "least", "shown"),
    [
        ((500, {}, "x" * 2_000), 5, "x" * 1_000),
        ((302, {"Location": "/elsewhere"}, ""), 5, ""),
        ((404, {}, "no such page"), 5, "no such page"),
        ((429, {"Retry-After": "120"}, "later"), 120, "later"),
        ((503, {"Retry-After": f"Thu, {10**20} Jan 1970 00:00:00 GMT"}, "x"), 5, "x"),
        ((503, {"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}, "\x00"), 5, ""),
    ],
)
async def test_a_delivery_is_repeated_under_its_id_and_in_order_until_it_is_accepted(
    visitor: Visitor,
    workspace: Workspace,
    staff: Staff,
    receiver: Receiver,
    stack: Stack,
    answer: Answer,
    least: float,
    shown: str,
) -> None:
    made = await subscribe(staff, workspace, receiver.url)
    receiver.planned = [answer]
    await visitor.say("Hello")
    await receiver.got(1)
    await workspace.settled(later=False)
    answering, sending = await deliveries(staff.admin, made)
    assert (sending["status"], sending["response_status"], sending["response_excerpt"]) == ("pending", answer[0], shown)
    assert (answering["status"], answering["attempts"]) == ("pending", 0)
    (job, _) = (await staff.admin.done("GET", "/jobs?kind=deliver_event"))["items"][::-1]
    assert (job["status"], job["last_error"]) == ("queued", f"http_{answer[0]}")
    wait = (
        "select extract(epoch from next_attempt_at - now())::float8 as wait from public.jobs where id = $1::text::uuid"
    )
    assert least - 3 < (await workspace.row(wait, job["id"]))["wait"] <= least * 1.25

    await run_again(workspace, visitor.client, stack)
    await receiver.got(3)
    assert receiver.ids[0] == receiver.ids[1] != receiver.ids[2]
    assert [event["data"]["role"] for event in receiver.events] == ["contact", "contact", "persona"]
    assert {each["status"] for each in await deliveries(staff.admin, made)} == {"succeeded"}


async def test_after_its_last_failure_a_delivery_is_failed_the_next_goes_out_and_it_can_be_replayed(
    visitor: Visitor,
    workspace: Workspace,
    staff: Staff,
    receiver: Receiver,
    client: aiohttp.ClientSession,
    stack: Stack,
) -> None:
    made = await subscribe(staff, workspace, receiver.url)
    # Not before the test says so.
    receiver.planned = [(500, {"Retry-After": "600"}, "")] * 2
    await visitor.say("Hello")
    await receiver.got(1)
    await workspace.settled(later=False)
    await run_again(workspace, client, stack, attempts=8)
    await receiver.got(3)
    await workspace.settled(later=False)
    (failed,) = await deliveries(staff.admin, made, "?status=failed")
    assert (failed["data"]["role"], failed["response_status"], receiver.ids[0]) == ("contact", 500, receiver.ids[1])
    replayed = await staff.admin.done("POST", f"/event-deliveries/{failed['id']}/replay")
    assert (replayed["status"], replayed["attempts"], receiver.ids[3]) == ("succeeded", 3, receiver.ids[0])


async def test_a_delivery_whose_worker_was_killed_after_sending_is_sent_again_under_the_same_id(
    workspace: Workspace, staff: Staff, receiver: Receiver, client: aiohttp.ClientSession, stack: Stack
) -> None:
    made = await subscribe(staff, workspace, receiver.url)
    sent = await staff.admin.done("POST", f"/event-subscriptions/{made['id']}/test")
    assert (sent["type"], sent["status"], receiver.events[0]["type"]) == (
        "subscription.test",
        "succeeded",
        sent["type"],
    )
    # As if neither the answer nor the end of the job had been recorded.
    lost = "update public.jobs set status = 'running', finished_at = null, lease_until = now() where workspace_id = $1"
    await workspace.database.execute(lost, workspace.id)
    await workspace.database.execute("update public.event_deliveries set status = 'pending'")
    await work(client, stack)
    await receiver.got(2)
    await workspace.settled(later=False)
    # As if only the end of the job had not: it is not sent again.
    await workspace.database.execute(lost, workspace.id)
    await work(client, stack)
    await workspace.settled(later=False)
    assert receiver.ids == [receiver.ids[0]] * 2


async def test_a_server_that_is_gone_unreachable_or_not_allowed_is_shown_as_such(
    workspace: Workspace, staff: Staff, receiver: Receiver
) -> None:
    made = await subscribe(staff, workspace, receiver.url)
    path = f"/event-subscriptions/{made['id']}"
    receiver.planned = [(410, {}, "")]
    assert (await staff.admin.done("POST", f"{path}/test"))["status"] == "failed"
    gone = await staff.admin.done("GET", path)
    assert (gone["enabled"], gone["disabled_reason"]) == (False, "gone")
    assert (await staff.admin.done("POST", f"{path}/test"))["error"] == "subscription_disabled"
    closed = {"url": f"http://127.0.0.1:{free_port()}/", "enabled": True}
    assert (await staff.admin.done("PATCH", path, closed))["enabled"] is True
    refused = await staff.admin.done("POST", f"{path}/test")
    assert (refused["status"], refused["error"].partition(":")[0]) == ("pending", "unreachable")
    await workspace.database.execute("update public.workspaces set allowed_networks = '{}' where id = $1", workspace.id)
    assert (await staff.admin.done("POST", f"{path}/test"))["error"].startswith("address_refused")
    assert len(receiver.received) == 1


async def test_subscriptions_are_listed_changed_and_removed_with_their_deliveries(
    workspace: Workspace, staff: Staff, receiver: Receiver, visitor: Visitor, stack: Stack
) -> None:
    made = await subscribe(staff, workspace, receiver.url)
    listed, path = f"/workspaces/{workspace.id}/event-subscriptions", f"/event-subscriptions/{made['id']}"
    (item,) = (await staff.owner.done("GET", listed))["items"]
    assert item == await staff.owner.done("GET", path) == {name: made[name] for name in made if name != "secret"}
    unfit: tuple[dict[str, Any], ...] = (
        {"url": "ftp://x"},
        {"url": "https://u:p@x.test"},
        {"event_types": []},
        {"event_types": ["x"]},
        {"secret": "x"},
    )
    for changes in unfit:
        assert await staff.admin.refused("PATCH", path, changes) == (422, "invalid_body")
    assert await staff.admin.refused("POST", listed, {"url": "https://x.test"}) == (422, "invalid_body")

    receiver.planned = [(500, {}, "")]
    assert (await staff.owner.done("POST", f"{path}/test"))["status"] == "pending"
    assert await staff.owner.done("DELETE", path) == {}
    # A waiting job finds its delivery removed.
    await run_again(workspace, visitor.client, stack)
    assert (await staff.owner.done("GET", "/jobs?status=queued"))["items"] == []
    assert (await staff.owner.done("GET", "/jobs?status=dead"))["items"] == []
    assert (await staff.owner.done("GET", listed)) == {"items": []}
    verbs = [verb for verb, *_ in await audit(workspace)]
    assert [verb for verb in verbs if verb.startswith("event_subscription")] == [
        f"event_subscription.{verb}" for verb in ("created", "secret_rotated", "removed")
    ]
