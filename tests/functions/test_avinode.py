"""From a recorded event of Avinode to the session of its trip: the stand-in for its API has the objects."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from tests.functions.conftest import Workspace
from tests.functions.people import Staff
from tests.functions.test_senders import post
from tests.functions.test_sessions import session_of
from tests.senders import SENDERS
from tests.standins.avinode import ACCESS_TOKEN, API_TOKEN, Avinode

SENDER = SENDERS["avinode"]
RFQ = "rfqs/arfq-1000001"
RECEIVED = {"received": True, "duplicate": False}


@dataclass
class Trip:
    """A session that works on the trip, and Avinode's API."""

    client: aiohttp.ClientSession
    workspace: Workspace
    staff: Staff
    avinode: Avinode
    channel: str
    session: str

    async def happen(self, event: str, case: str | None = None, path: str = RFQ, **changed: Any) -> str:
        """An event arrives whose object is the recorded one; the status of its job."""
        if case is not None:
            self.avinode.hold(path, case, **changed)
        body = self.avinode.event(event)
        assert await post(self.client, SENDER, self.channel, body, path="/webhooks/avinode") == (200, RECEIVED)
        job = (await self.workspace.settled(later=False))[-1]
        return f"{job['status']} {job['last_error'] or ''}".strip()

    async def now(self) -> dict[str, Any]:
        """The session as members see it."""
        return await self.staff.admin.done("GET", f"/chat-sessions/{self.session}")

    async def quotes(self) -> dict[str, tuple[str, float | None, bool]]:
        """Status, amount and lateness of each operator's quote."""
        found = (await self.now())["quotes"]
        return {quote["operator"]: (quote["status"], quote.get("amount"), quote["late"]) for quote in found}


@pytest_asyncio.fixture
async def avinode() -> AsyncIterator[Avinode]:
    async with Avinode() as running:
        yield running


@pytest_asyncio.fixture
async def trip(client: aiohttp.ClientSession, workspace: Workspace, staff: Staff, avinode: Avinode) -> Trip:
    """A session that knows the trip by its id only, not yet by the code that events carry."""
    await workspace.allow_loopback()
    token = f"{API_TOKEN} {ACCESS_TOKEN}"
    channel = str(await workspace.add_channel("avinode", SENDER.secret, token, allowed_hosts=[avinode.host]))
    session = str((await session_of(workspace, staff.contact))["id"])
    await staff.admin.done("PUT", f"/chat-sessions/{session}/request", {"trip_id": "atrip-64956150"})
    return Trip(client, workspace, staff, avinode, channel, session)


async def test_an_event_of_a_trip_updates_its_sessions_quotes_step_and_journey(trip: Trip) -> None:
    assert await trip.happen("rfq", "asked") == "succeeded"
    path, headers = trip.avinode.received[-1]
    assert path == RFQ
    assert headers["x-avinode-apiversion"] == "v1.0"
    assert headers["x-avinode-product"] == "Switchboard"
    assert headers["x-avinode-senttimestamp"].endswith("Z")
    session = await trip.now()
    assert session["workflow_step"] == "requesting_quotes"
    assert session["quote_counts"] == {
        "expected": 1, "received": 0, "declined": 0, "expired": 0, "withdrawn": 0, "late": 0,
    }  # fmt: skip
    # From now on each of the trip's ids finds the session.
    for found_by in ("A1B2C3", "atrip-64956150", "arfq-1000001"):
        (item,) = (await trip.staff.owner.done("GET", f"/chat-sessions?external_id={found_by}"))["items"]
        assert item["id"] == trip.session
    (item,) = (await trip.staff.owner.done("GET", "/trips/A1B2C3/chat-sessions"))["items"]
    assert item["id"] == trip.session

    assert await trip.happen("rfq", "quoted") == "succeeded"
    session = await trip.now()
    assert session["primary_quote"] | {"id": ""} == {
        "id": "", "operator": "Alpine Jets", "amount": 11800.5, "currency": "EUR", "aircraft_type": "Pilatus PC-24",
    }  # fmt: skip
    (quote,) = session["quotes"]
    assert quote["external_id"] == "aquote-2000001"
    assert quote["details"]["report"]["message"] == "We are pleased to offer."
    assert await trip.happen("rfq", "declined", **{"tripId": "A1B2C3"}) == "succeeded"
    assert await trip.quotes() == {"Alpine Jets": ("received", 11800.5, False), "Bora Air": ("declined", None, False)}
    journey = await trip.staff.admin.done("GET", f"/contacts/{session['contact']['id']}/journey")
    events = [(event["event"], event.get("operator") or event.get("to_step")) for event in journey["items"]]
    # Those of one report have the same time.
    assert sorted(event for event in events if event[0].startswith(("quote.", "workflow."))) == [
        ("quote.declined", "Bora Air"), ("quote.message", "Alpine Jets"), ("quote.message", "Bora Air"),
        ("quote.received", "Alpine Jets"), ("quote.requested", "Alpine Jets"), ("workflow.step", "requesting_quotes"),
    ]  # fmt: skip


async def test_older_and_repeated_reports_change_nothing_and_newer_ones_do(trip: Trip) -> None:
    await trip.happen("rfq", "quoted")
    await trip.happen("rfq", "requoted")
    before = await trip.now()
    assert (before["quotes"][0]["amount"], before["quotes"][0]["external_id"]) == (11200, "aquote-2000002")
    for case in ("requoted", "quoted", "asked"):
        assert await trip.happen("rfq", case) == "succeeded"
        assert await trip.now() == before, "the same id comes with each change"
    await trip.happen("rfq", "cancelled")
    assert await trip.quotes() == {"Alpine Jets": ("withdrawn", 11200, False)}
    await trip.happen("rfq", "requoted", updatedAt="2026-11-30T15:00:00Z")
    assert await trip.quotes() == {"Alpine Jets": ("received", 11200, False)}
    await trip.happen("rfq", "requoted", updatedAt="2026-11-30T16:00:00Z", status="Declined", sellerLift=[])
    assert await trip.quotes() == {"Alpine Jets": ("withdrawn", 11200, False)}, "what was received is taken back"


async def test_a_trip_a_quote_and_a_message_reach_the_operators_that_were_asked(trip: Trip) -> None:
    await trip.happen("trip", "trip", "trips/atrip-64956150")
    assert await trip.quotes() == dict.fromkeys(("Alpine Jets", "Bora Air", "Cirrus One"), ("requested", None, False))
    # A quote that names only its RFQ is that operator's.
    await trip.happen("quote", "quote", "quotes/aquote-2000001")
    assert (await trip.quotes())["Alpine Jets"] == ("received", 10900, False)
    assert len(await trip.quotes()) == 3
    await trip.happen("seller_message", "seller_message", "tripmsgs/asellermsg-3000001")
    (quote,) = (each for each in (await trip.now())["quotes"] if each["operator"] == "Alpine Jets")
    assert (quote["status"], quote["details"]["report"]["message"]) == ("received", "Is a stop in Lyon possible?")
    async with trip.client.get(
        f"/chat-sessions/{trip.session}", headers={"Authorization": f"Bearer {trip.staff.contact.token}"}
    ) as seen:
        assert "Lyon" not in await seen.text(), "what operators write is not for the contact"


async def test_a_quote_for_an_ended_or_archived_session_is_stored_counted_and_late(trip: Trip) -> None:
    await trip.happen("rfq", "asked")
    for status in ("completed", "archived"):
        await trip.workspace.database.execute(
            "update public.sessions set status = $2::text::public.session_status, ended_at = now(),"
            " archived_at = case when $2 = 'archived' then now() end,"
            " status_before_archive = case when $2 = 'archived' then 'completed'::public.session_status end"
            " where id = $1",
            trip.session, status,
        )  # fmt: skip
        await trip.happen("rfq", "quoted" if status == "completed" else "declined")
    session = await trip.now()
    assert session["status"] == "archived", "it is not reopened"
    assert await trip.quotes() == {"Alpine Jets": ("received", 11800.5, True), "Bora Air": ("declined", None, True)}
    assert (session["quote_counts"]["late"], session["quote_counts"]["expected"]) == (2, 2)


async def test_an_event_of_a_trip_that_no_session_has_waits_for_one(trip: Trip) -> None:
    delete = "delete from public.session_refs where session_id = $1"
    await trip.workspace.database.execute(delete, trip.session)
    assert await trip.happen("rfq", "asked") == "queued trip_not_linked"
    await trip.staff.admin.done("PUT", f"/chat-sessions/{trip.session}/request", {"trip_code": "a1b2c3"})
    assert await trip.happen("rfq", "asked") == "queued", "in the order of the trip's events"


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (web.Response(status=500), "queued provider_unavailable"),
        (web.Response(status=429, headers={"Retry-After": "7"}), "queued provider_unavailable"),
        (web.Response(status=404), "dead provider_refused"),
        (web.Response(status=302, headers={"Location": "http://169.254.169.254/"}), "dead provider_refused"),
        (web.Response(body=b"<html>"), "dead provider_refused"),
        (web.Response(body=b" " * (2 * 1024 * 1024 + 1)), "dead provider_refused"),
        (web.Response(body=b"[" * 100_000), "dead provider_refused"),
        (web.Response(body=b"[]"), "succeeded"),
    ],
)
async def test_what_the_api_answers_otherwise_is_tried_again_or_given_up(
    trip: Trip, answer: web.Response, outcome: str
) -> None:
    trip.avinode._held[RFQ] = answer
    await trip.workspace.database.execute(
        "insert into public.session_refs (workspace_id, session_id, system, kind, external_id)"
        " values ($1, $2, 'avinode', 'trip', 'A1B2C3')", trip.workspace.id, trip.session,
    )  # fmt: skip
    assert await trip.happen("rfq") == outcome
    assert await trip.quotes() == {}


@pytest.mark.parametrize(
    "href",
    [
        "http://169.254.169.254/latest/meta-data/", "https://evil.example/api/rfqs/arfq-1", "ftp://{host}/api/x",
        "http://{host}@evil.example/", "http://evil.example\\@{host}/", "http://127.0.0.1/api/x", "file:///etc/passwd",
        "http://services.avinode.com/api/x", "https://services.avinode.com.evil.example/", "http://[::1]:{port}/",
        "{host}",
    ],
)  # fmt: skip
async def test_only_an_allowed_host_is_called(trip: Trip, href: str) -> None:
    await trip.workspace.database.execute(
        "update public.channels set config = $2 where id = $1",
        trip.channel, json.dumps({"allowed_hosts": [trip.avinode.host, "services.avinode.com"]}),
    )  # fmt: skip
    there = href.replace("{host}", trip.avinode.host).replace("{port}", str(trip.avinode.port))
    body = json.dumps({"id": "arfq-1", "href": there, "type": "rfqs", "tripId": "A1B2C3"}).encode()
    assert await post(trip.client, SENDER, trip.channel, body) == (200, RECEIVED)
    (job,) = await trip.workspace.settled()
    assert (job["status"], job["last_error"]) == ("dead", "address_refused")
    assert trip.avinode.received == []
