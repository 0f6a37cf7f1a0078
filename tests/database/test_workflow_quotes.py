"""One quote per operator asked, in whatever order and however often it is told; counts are derived from the rows."""

import asyncio
import json
import random
from typing import Any

import pytest

from tests.database.desk import JSON, SYSTEM, WORKSPACE, Desk, member, own_token, with_token
from tests.database.test_sessions_states import change
from tests.database.test_workflow import end, quote, trip

STATUSES = ("requested", "received", "declined", "expired", "withdrawn")

NEXT = {
    "requested": {"received", "declined", "expired", "withdrawn"},
    "received": {"withdrawn", "expired"},
    "declined": {"received"},
    "expired": {"received"},
    "withdrawn": {"received"},
}


async def counted(desk: Desk, session_id: str) -> dict[str, int]:
    """The counts by counting."""
    rows = await desk.admin.fetch(
        "select q.status::text, q.late from public.quotes q join public.sessions s on s.request_id = q.request_id "
        "where s.id = $1",
        session_id,
    )
    by_status = {
        status: sum(row["status"] == status for row in rows)
        for status in ("received", "declined", "expired", "withdrawn")
    }
    return {"expected": len(rows), **by_status, "late": sum(row["late"] for row in rows)}


async def as_system(desk: Desk, session_id: str, operator: str, **news: Any) -> JSON:
    """A delivery from outside, which enters the session's workspace and takes the same step."""
    async with desk.admin.transaction():
        await desk.admin.execute("set local role switchboard")
        await desk.admin.execute("select set_config('request.jwt.claims', $1, true)", json.dumps(SYSTEM))
        await desk.admin.execute("select private.enter_workspace($1)", WORKSPACE)
        noted: JSON = await desk.admin.fetchval("select private.upsert_quote($1, $2, $3)", session_id, operator, news)
        return noted


@pytest.mark.parametrize("before", STATUSES)
@pytest.mark.parametrize("after", STATUSES)
async def test_a_quote_changes_as_the_lifecycle_says(desk: Desk, before: str, after: str) -> None:
    boss = await member(desk, "owner")
    session_id = (await desk.register("ann@example.test"))["session_id"]
    first = await quote(desk, boss, session_id, "acme", status=before)
    assert (first["quote"]["status"], first["quote"]["late"]) == (before, False)
    answer = await quote(desk, boss, session_id, "acme", status=after)
    if after in NEXT[before]:
        assert (answer.status, answer["quote"]["status"], answer["changed"]) == (200, after, True)
        assert answer["quote"]["id"] == first["quote"]["id"]
    elif after in (before, "requested"):
        # That it was asked for is older news than anything that came of it.
        assert (answer.status, answer["quote"]["status"], answer["changed"]) == (200, before, False)
    else:
        assert (answer.status, answer["code"], answer["quote_status"]) == (409, "transition_not_allowed", before)
        assert set(answer["allowed"]) == NEXT[before]
    assert await desk.count("quotes") == 1
    verbs = await desk.admin.fetch("select verb from public.audit_events where verb like 'quote.%' order by created_at")
    moved = [f"quote.{after}"] if after in NEXT[before] else []
    assert [row["verb"] for row in verbs] == [f"quote.{before}", *moved]


async def test_a_price_is_kept_corrected_and_survives_what_comes_late(desk: Desk) -> None:
    boss = await member(desk, "owner")
    session_id = (await desk.register("ann@example.test"))["session_id"]
    # Received before the asking is told.
    await quote(desk, boss, session_id, "acme", status="received", amount="12000.50", currency="EUR", external_id="q1")
    told = await quote(desk, boss, session_id, "acme", status="requested", operator="Acme Air")
    assert (told["quote"]["amount"], told["quote"]["operator"], told["quote"]["status"]) == (
        12000.5,
        "Acme Air",
        "received",
    )
    corrected = await quote(
        desk, boss, session_id, "acme", amount="11000", currency="CHF", details={"aircraft": "PC-24"}
    )
    assert (corrected["primary_quote"]["amount"], corrected["primary_quote"]["currency"]) == (11000, "CHF")
    assert corrected["quote"]["details"] == {"aircraft": "PC-24"}
    assert corrected["quote"]["external_id"] == "q1"
    assert (await quote(desk, boss, session_id, "acme", status="received"))["changed"] is False


async def test_a_session_has_a_primary_quote_as_long_as_one_stands(desk: Desk) -> None:
    boss = await member(desk, "owner")
    session_id = (await desk.register("ann@example.test"))["session_id"]

    async def primary(operator: str, **news: Any) -> str | None:
        answer = await quote(desk, boss, session_id, operator, **news)
        chosen = answer["primary_quote"]
        return None if chosen is None else str(chosen["operator"])

    assert await primary("acme", status="requested") is None
    assert await primary("jets", status="received") == "jets"
    assert await primary("acme", status="received") == "jets"
    assert await primary("acme", primary=True) == "acme"
    assert await primary("skye", status="received") == "acme"
    assert await primary("acme", status="expired") == "jets"
    assert await primary("jets", status="withdrawn") == "skye"
    assert await primary("skye", status="expired") is None
    refused = await quote(desk, boss, session_id, "skye", primary=True)
    assert (refused.status, refused["quote_status"]) == (409, "expired")


@pytest.mark.parametrize("status", ["completed", "timeout", "archived"])
async def test_a_late_quote_is_kept_and_counted_and_revives_nothing(desk: Desk, status: str) -> None:
    boss = await member(desk, "owner")
    ann = with_token(await desk.register("ann@example.test"))
    session_id = str(await desk.admin.fetchval("select id from public.sessions"))
    await quote(desk, boss, session_id, "acme", status="requested")
    await end(desk, session_id, status)
    kept = "select status, ended_at, archived_at, last_activity_at, workflow_step from public.sessions where id = $1"
    before = await desk.admin.fetchrow(kept, session_id)

    noted = await as_system(desk, session_id, "acme", status="received", amount=9000, currency="EUR")
    assert (noted["status"], noted["late"], noted["changed"]) == ("received", True, True)
    assert (await as_system(desk, session_id, "acme", status="received"))["changed"] is False
    unasked = await as_system(desk, session_id, "jets", status="received")
    assert unasked["late"] is True

    assert await desk.admin.fetchrow(kept, session_id) == before
    (shown,) = await desk.sessions(own_token(boss), "s.id = $1", session_id)
    assert shown["quote_counts"] == await counted(desk, session_id)
    assert (shown["quote_counts"]["expected"], shown["quote_counts"]["late"]) == (2, 2)
    assert shown["primary_quote"]["operator"] == "acme"
    events = "select event, code from public.session_events($1) where event like 'quote.%' order by at"
    async with desk.reading(own_token(boss)) as reader:
        happened = [tuple(row) for row in await reader.fetch(events, session_id)]
    assert happened == [("quote.requested", None), ("quote.received", "late"), ("quote.received", "late")]
    async with desk.reading(own_token(ann["caller"])) as reader:
        assert await reader.fetch(events, session_id) == []


async def test_a_delivery_reaches_no_other_workspaces_session(desk: Desk) -> None:
    other_workspace, space = await desk.open_workspace()
    theirs = (await desk.register("ann@example.test", space=space))["session_id"]
    with pytest.raises(Exception, match="session_not_found"):
        await as_system(desk, theirs, "acme", status="received")
    assert await desk.count("quotes", "workspace_id = $1", other_workspace) == 0


async def test_quotes_of_one_operator_that_come_at_once_are_one(desk: Desk) -> None:
    boss = await member(desk, "owner")
    for number in range(8):
        session_id = (await desk.register(f"a{number}@example.test"))["session_id"]
        answers = await asyncio.gather(
            *(
                quote(desk, boss, session_id, "acme", status=status)
                for status in ("requested", "received", "requested", "received", "received")
            )
        )
        assert {answer["quote"]["id"] for answer in answers} == {answers[0]["quote"]["id"]}
        assert {answer["request"]["id"] for answer in answers} == {answers[0]["request"]["id"]}
        row = await desk.admin.fetchrow(
            "select status::text, received_at from public.quotes where session_id = $1", session_id
        )
        assert row is not None
        assert (row["status"], row["received_at"] is not None) == ("received", True)
        received = await desk.count("audit_events", "verb = 'quote.received' and object_id = $1", row_id(answers[0]))
        assert received == 1


async def test_a_quote_is_late_exactly_when_the_session_was_over_before_it(desk: Desk) -> None:
    boss = await member(desk, "owner")
    for number in range(10):
        session_id = (await desk.register(f"a{number}@example.test"))["session_id"]
        await asyncio.gather(
            change(desk, boss, session_id, "complete"),
            *(quote(desk, boss, session_id, operator, status="received") for operator in ("acme", "jets")),
        )
        rows = await desk.admin.fetch(
            "select q.late, q.created_at > s.ended_at as after from public.quotes q "
            "join public.sessions s on s.id = q.session_id where s.id = $1 and s.status = 'completed'",
            session_id,
        )
        assert len(rows) == 2
        assert [row["late"] for row in rows] == [row["after"] for row in rows]


def row_id(answer: Any) -> str:
    return str(answer["quote"]["id"])


async def test_many_operators_over_two_sessions_of_one_request_at_once(desk: Desk) -> None:
    """Quotes come for both sessions while the later one takes the request up: nothing is lost, nobody waits forever."""
    boss = await member(desk, "owner")
    dice = random.Random(7)  # noqa: S311
    for number in range(5):
        ann = await desk.register(f"a{number}@example.test")
        request = (await trip(desk, boss, ann["session_id"], origin="LSZH"))["request"]["id"]
        await end(desk, ann["session_id"], "completed")
        later = (await desk.start(with_token(ann), "Back again"))["session_id"]
        tasks = [
            quote(desk, boss, dice.choice((ann["session_id"], later)), f"operator {each % 4}", status="received")
            for each in range(8)
        ]
        tasks.insert(dice.randrange(len(tasks)), trip(desk, boss, later, request_id=request))
        await asyncio.wait_for(asyncio.gather(*tasks), 30)
        rows = await desk.admin.fetch(
            "select s.id, s.request_id, s.primary_quote_id, q.request_id as of, q.status::text from public.sessions s "
            "left join public.quotes q on q.id = s.primary_quote_id where s.id = any ($1)",
            [ann["session_id"], later],
        )
        assert {str(row["request_id"]) for row in rows} == {request}
        received = await desk.count("quotes", "request_id = $1 and status = 'received'", request)
        for row in rows:
            # One stands for it exactly when there is one.
            assert (row["primary_quote_id"] is not None) == (received > 0)
            if row["primary_quote_id"] is not None:
                assert (str(row["of"]), row["status"]) == (request, "received")
