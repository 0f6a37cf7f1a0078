"""One quote per operator, in any order and however often it is reported; the counts are the rows'.

The states of quotes and the primary one, in any order, are test_workflow_lifecycle's.
"""

import asyncio
import json
import random
from typing import Any

import pytest

from tests.database.desk import JSON, SYSTEM, WORKSPACE, Desk, own_token, with_token
from tests.database.test_workflow import quote, started, trip

STATUSES = ("requested", "received", "declined", "expired", "withdrawn")

NEXT = {
    "requested": {"received", "declined", "expired", "withdrawn"},
    "received": {"withdrawn", "expired"},
    "declined": {"received"},
    "expired": {"received"},
    "withdrawn": {"received"},
}


async def counted(desk: Desk, session_id: str) -> dict[str, int]:
    """The quote counts of a session, from the rows."""
    rows = await desk.all(
        "select q.status::text, q.late from public.quotes q join public.sessions s on s.request_id = q.request_id "
        "where s.id = $1",
        session_id,
    )
    by_status = {status: sum(each == status for each, _ in rows) for status in STATUSES[1:]}
    return {"expected": len(rows), **by_status, "late": sum(late for _, late in rows)}


async def deliver(desk: Desk, session_id: str, operator: str, **news: Any) -> JSON:
    """A provider's delivery, in the workspace that it names."""
    async with desk.admin.transaction():
        await desk.admin.execute("set local role switchboard")
        await desk.admin.execute("select set_config('request.jwt.claims', $1, true)", json.dumps(SYSTEM))
        await desk.admin.execute("select private.enter_workspace($1)", WORKSPACE)
        noted: JSON = await desk.admin.fetchval("select private.upsert_quote($1, $2, $3)", session_id, operator, news)
        return noted


async def test_each_change_of_a_quote_is_audited_and_a_refusal_names_the_allowed_ones(desk: Desk) -> None:
    boss, session_id = await started(desk)
    for before in STATUSES:
        for after in STATUSES:
            operator = f"{before} {after}"
            first = await quote(desk, boss, session_id, operator, status=before)
            answer = await quote(desk, boss, session_id, operator, status=after)
            moved = [f"quote.{after}"] if after in NEXT[before] else []
            if not moved and after not in (before, "requested"):
                found = answer.status, answer["code"], answer["quote_status"]
                assert found == (409, "transition_not_allowed", before)
                assert set(answer["allowed"]) == NEXT[before]
            else:
                assert (answer["quote"]["id"], answer["changed"]) == (first["quote"]["id"], bool(moved))
            verbs = [verb for verb, _ in await desk.audited(first["quote"]["id"])]
            assert verbs == [f"quote.{before}", *moved]
    assert await desk.count("quotes") == len(STATUSES) ** 2


async def test_a_price_is_corrected_and_survives_older_news(desk: Desk) -> None:
    boss, session_id = await started(desk)
    await quote(desk, boss, session_id, "acme", status="received", amount="12000.50", currency="EUR", external_id="q1")
    told = (await quote(desk, boss, session_id, "acme", status="requested", operator="Acme Air"))["quote"]
    assert (told["amount"], told["operator"], told["status"]) == (12000.5, "Acme Air", "received")
    news: JSON = {"amount": "11000", "currency": "CHF", "details": {"aircraft": "PC-24"}}
    corrected = await quote(desk, boss, session_id, "acme", **news)
    assert (corrected["primary_quote"]["amount"], corrected["primary_quote"]["currency"]) == (11000, "CHF")
    assert (corrected["quote"]["details"], corrected["quote"]["external_id"]) == (news["details"], "q1")
    assert (await quote(desk, boss, session_id, "acme", status="received"))["changed"] is False
    await quote(desk, boss, session_id, "acme", status="expired")
    refused = await quote(desk, boss, session_id, "acme", primary=True)
    assert (refused.status, refused["quote_status"]) == (409, "expired")


@pytest.mark.parametrize("status", ["completed", "timeout", "archived"])
async def test_a_late_delivery_is_stored_and_counted_but_does_not_reopen_the_session(desk: Desk, status: str) -> None:
    boss, session_id = await started(desk)
    await quote(desk, boss, session_id, "acme", status="requested")
    await desk.end_session(session_id, status)
    kept = "select status, ended_at, archived_at, last_activity_at, workflow_step from public.sessions where id = $1"
    before = await desk.one(kept, session_id)

    noted = await deliver(desk, session_id, "acme", status="received", amount=9000, currency="EUR")
    assert (noted["status"], noted["late"], noted["changed"]) == ("received", True, True)
    assert (await deliver(desk, session_id, "acme", status="received"))["changed"] is False
    assert (await deliver(desk, session_id, "jets", status="received"))["late"] is True

    assert await desk.one(kept, session_id) == before
    (shown,) = await desk.sessions(own_token(boss), "s.id = $1", session_id)
    assert shown["quote_counts"] == await counted(desk, session_id)
    assert (shown["quote_counts"]["expected"], shown["quote_counts"]["late"]) == (2, 2)
    assert shown["primary_quote"]["operator"] == "acme"
    read_events = "select event, code from public.session_events($1) where event like 'quote.%' order by at"
    async with desk.reading(own_token(boss)) as reader:
        events = [tuple(row) for row in await reader.fetch(read_events, session_id)]
    assert events == [("quote.requested", None), ("quote.received", "late"), ("quote.received", "late")]
    # The contact does not see quotes.
    row = await desk.row("sessions", session_id)
    ids = {name: row[name] for name in ("contact_id", "conversation_id", "workspace_id")}
    async with desk.reading(own_token({"kind": "contact", "proof": "asserted", **ids})) as reader:
        assert await reader.fetch(read_events, session_id) == []


async def test_a_delivery_reaches_no_session_of_another_workspace(desk: Desk) -> None:
    _, space = await desk.open_workspace()
    theirs = (await desk.register("ann@example.test", space=space))["session_id"]
    with pytest.raises(Exception, match="session_not_found"):
        await deliver(desk, theirs, "acme", status="received")
    assert await desk.count("quotes") == 0


async def test_concurrent_reports_of_one_operator_are_one_quote(desk: Desk) -> None:
    boss = await desk.member("owner")
    for number in range(8):
        session_id = (await desk.register(f"a{number}@example.test"))["session_id"]
        statuses = ("requested", "received", "requested", "received", "received")
        answers = await asyncio.gather(*(quote(desk, boss, session_id, "acme", status=each) for each in statuses))
        ((quote_id, request_id),) = {(each["quote"]["id"], each["request"]["id"]) for each in answers}
        row = await desk.row("quotes", quote_id)
        assert (row["status"], row["received_at"] is not None, row["request_id"]) == ("received", True, request_id)
        assert await desk.count("audit_events", "verb = 'quote.received' and object_id = $1", quote_id) == 1


async def test_a_quote_is_late_exactly_when_its_session_ended_before_it(desk: Desk) -> None:
    boss = await desk.member("owner")
    for number in range(10):
        session_id = (await desk.register(f"a{number}@example.test"))["session_id"]
        await asyncio.gather(
            desk.change(boss, session_id, "complete"),
            *(quote(desk, boss, session_id, operator, status="received") for operator in ("acme", "jets")),
        )
        rows = await desk.all(
            "select q.late, q.created_at > s.ended_at from public.quotes q"
            " join public.sessions s on s.id = q.session_id where s.id = $1 and s.status = 'completed'",
            session_id,
        )
        assert len(rows) == 2
        assert all(late == after for late, after in rows)


async def test_concurrent_quotes_of_two_sessions_with_one_request_do_not_deadlock_and_none_is_lost(desk: Desk) -> None:
    boss, dice = await desk.member("owner"), random.Random(7)  # noqa: S311
    for number in range(5):
        ann = await desk.register(f"a{number}@example.test")
        request = (await trip(desk, boss, ann["session_id"], origin="LSZH"))["request"]["id"]
        await desk.end_session(ann["session_id"], "completed")
        sessions = [ann["session_id"], (await desk.start(with_token(ann), "Back again"))["session_id"]]
        tasks = [quote(desk, boss, dice.choice(sessions), f"operator {n % 4}", status="received") for n in range(8)]
        tasks.insert(dice.randrange(len(tasks)), trip(desk, boss, sessions[1], request_id=request))
        await asyncio.wait_for(asyncio.gather(*tasks), 30)
        rows = await desk.all(
            "select s.request_id::text, q.request_id::text, q.status::text from public.sessions s "
            "left join public.quotes q on q.id = s.primary_quote_id where s.id = any ($1)",
            sessions,
        )
        # Both sessions have a primary quote exactly if there is a received one.
        received = await desk.count("quotes", "request_id = $1 and status = 'received'", request)
        assert rows == [(request, request, "received") if received else (request, None, None)] * 2
