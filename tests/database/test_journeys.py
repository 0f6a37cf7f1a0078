"""A contact's journey: one log of what became of them, in order, page by page, as far as its reader may see."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio

from tests.database.desk import (
    JSON,
    PERSONA,
    SPACE,
    SYSTEM,
    WORKSPACE,
    Answer,
    Desk,
    Raised,
    member,
    on_behalf,
    own_token,
    signed,
    user,
    with_token,
)
from tests.database.test_sessions_states import change
from tests.database.test_templates import template
from tests.servers import VERSIONS, Server

SECRET = "the-secret-of-the-customers-server"


async def page(desk: Desk, reader: JSON, contact_id: str, after: str | None = None, size: int = 200) -> Answer:
    return await desk.call(
        "read_contact_journey", own_token(reader), contact_id=contact_id, after=after, page_size=size
    )


async def whole(desk: Desk, reader: JSON, contact_id: str, size: int = 200) -> list[JSON]:
    """The journey, read in pages of this size; without the entries' places."""
    found: list[JSON] = []
    cursor: str | None = None
    while True:
        answer = await page(desk, reader, contact_id, cursor, size)
        found += answer["items"]
        cursor = answer["next_cursor"]
        if cursor is None:
            assert len({entry["cursor"] for entry in found}) == len(found)
            return [{name: value for name, value in entry.items() if name != "cursor"} for entry in found]
        assert len(answer["items"]) == size


async def travel(desk: Desk, boss: JSON) -> Answer:
    """Ann registers, proves it, writes, comes again, asks for a trip, and is archived; Answer of the registration."""
    await desk.believe_hmacs(SECRET)
    ann = await desk.register("ann@example.test")
    turn = await desk.start(with_token(ann), message="Hello")
    await desk.finish(turn)
    await change(desk, boss, ann["session_id"], "complete")
    # With proof it is another conversation.
    known = await desk.register("ann@example.test", email_hmac=signed("ann@example.test", SECRET))
    assert known["contact_id"] == ann["contact_id"]
    await change(desk, boss, known["session_id"], "cancel")
    trip = await desk.call(
        "start_session", on_behalf(boss), contact_id=ann["contact_id"], template="Charter", thread_key="trip"
    )
    for number, (status, received, late) in enumerate(
        (("requested", False, False), ("received", True, False), ("declined", False, False), ("received", True, True))
    ):
        await desk.admin.execute(
            "with request as (insert into public.requests (workspace_id, session_id) values ($1, $2) returning id), "
            "asked as (update public.sessions set request_id = (select id from request) where id = $2) "
            "insert into public.quotes (workspace_id, request_id, session_id, operator_key, operator, status,"
            " amount, currency, late, created_at, received_at, updated_at) select $1, id, $2, $3, $3, "
            "$4::text::public.quote_status, case when $5 then 1200.5 end, case when $5 then 'EUR' end, $6,"
            " clock_timestamp(), case when $5 then clock_timestamp() end, clock_timestamp() from request",
            WORKSPACE, trip["session_id"], f"Operator {number}", status, received, late,
        )  # fmt: skip
    await desk.admin.execute(
        "update public.sessions set last_activity_at = now() - interval '400 days' where id = $1", ann["session_id"]
    )
    await desk.call("archive_old_chat_sessions", SYSTEM, max_sessions=10)
    return Answer(200, None, {**ann.body, "known": known.body, "trip": trip.body, "turn": turn.body})


def events(journey: list[JSON]) -> list[tuple[str, str | None]]:
    return [(entry["event"], entry.get("session_id")) for entry in journey]


async def test_a_journey_tells_everything_in_its_order(desk: Desk) -> None:
    boss = await member(desk, "owner")
    await template(desk, boss, name="Charter", workflow="charter", workflow_step="understanding_request")
    ann = await travel(desk, boss)
    journey = await whole(desk, boss, ann["contact_id"])
    first, second, trip = ann["session_id"], ann["known"]["session_id"], ann["trip"]["session_id"]
    assert events(journey) == [
        ("contact.created", None), ("contact.registered", None), ("contact.identified", None),
        ("session.opened", first), ("session.first_message", first), ("session.completed", first),
        ("contact.registered", None), ("contact.verified", None),
        ("session.opened", second), ("session.cancelled", second),
        ("session.opened", trip), ("workflow.step", trip),
        ("quote.requested", trip),
        ("quote.requested", trip), ("quote.received", trip),
        ("quote.requested", trip), ("quote.declined", trip),
        ("quote.requested", trip), ("quote.received", trip),
        ("session.archived", first),
    ]  # fmt: skip
    assert [entry["at"] for entry in journey] == sorted(entry["at"] for entry in journey)
    told = {entry["event"]: {**entry, "at": None} for entry in journey}
    assert told["contact.registered"]["actor_id"] == ann["contact_id"]
    assert told["contact.registered"]["verified_by"] == "hmac"
    assert told["contact.identified"]["identity"] == told["contact.verified"]["identity"] == "email:ann@example.test"
    assert (told["contact.identified"]["asserted_by"], told["contact.verified"]["verified_by"]) == ("contact", "hmac")
    assert told["session.opened"]["persona_id"] == PERSONA
    step = told["workflow.step"]
    assert (step["workflow"], step["to_step"], step["actor_id"]) == (
        "charter",
        "understanding_request",
        boss["user_id"],
    )
    received = [entry for entry in journey if entry["event"] == "quote.received"]
    assert [(each["operator"], each["amount"], each["currency"], each.get("late")) for each in received] == [
        ("Operator 1", 1200.5, "EUR", None), ("Operator 3", 1200.5, "EUR", True),
    ]  # fmt: skip
    # The message as it came in, and once.
    said = await desk.admin.fetchval(
        "select created_at from public.messages where turn_id = $1 and role = 'contact'", ann["turn"]["turn_id"]
    )
    noted = await desk.admin.fetchval("select first_message_at from public.sessions where id = $1", first)
    assert abs((noted - said).total_seconds()) < 0.5


@pytest.mark.parametrize("together", [False, True])
async def test_pages_of_any_size_are_the_whole(desk: Desk, together: bool) -> None:
    boss = await member(desk, "owner")
    await template(desk, boss, name="Charter", workflow="charter", workflow_step="understanding_request")
    ann = await travel(desk, boss)
    if together:
        # As if everything had happened in one moment: the places are told apart all the same.
        for table, columns in (
            ("contacts", ("created_at",)), ("contact_identities", ("created_at", "verified_at")),
            ("audit_events", ("created_at",)), ("workflow_steps", ("created_at",)),
            ("quotes", ("created_at", "received_at", "updated_at")),
            ("sessions", ("created_at", "first_message_at", "ended_at", "archived_at")),
        ):  # fmt: skip
            for column in columns:
                await desk.admin.execute(
                    f"update public.{table} set {column} = '2026-01-01 00:00:00.123456+00' where {column} is not null"
                )
    everything = await whole(desk, boss, ann["contact_id"])
    assert len(everything) == 20
    for size in (1, 2, 3, 7, 19):
        assert await whole(desk, boss, ann["contact_id"], size) == everything


async def test_what_happens_meanwhile_comes_at_the_end(desk: Desk) -> None:
    boss = await member(desk, "owner")
    ann = await desk.register("ann@example.test")
    before = await whole(desk, boss, ann["contact_id"])
    answer = await page(desk, boss, ann["contact_id"], size=3)
    await desk.finish(await desk.start(with_token(ann)))
    await change(desk, boss, ann["session_id"], "complete")
    rest = await page(desk, boss, ann["contact_id"], answer["next_cursor"])
    ids = ann["session_id"]
    assert events([*answer["items"], *rest["items"]]) == [
        *events(before), ("session.first_message", ids), ("session.completed", ids),
    ]  # fmt: skip


async def test_who_was_merged_into_a_contact_is_part_of_its_journey_until_they_are_parted(desk: Desk) -> None:
    boss = await member(desk, "owner")
    ann, bob, cid = [(await desk.register(f"{who}@example.test"))["contact_id"] for who in ("ann", "bob", "cid")]

    async def audit(verb: str, contact_id: str, other: str) -> None:
        for object_id, code in ((contact_id, other), (other, contact_id)):
            await desk.admin.execute(
                "insert into public.audit_events (workspace_id, verb, object_id, code, created_at)"
                " values ($1, $2, $3, $4, clock_timestamp())",
                WORKSPACE, verb, object_id, code,
            )  # fmt: skip

    async def registered(contact_id: str) -> list[str]:
        journey = await whole(desk, boss, contact_id, 1)
        return [entry["actor_id"] for entry in journey if entry["event"] == "contact.registered"]

    await audit("contact.merged", ann, bob)
    await audit("contact.merged", bob, cid)
    assert await registered(cid) == [ann, bob, cid]
    last = (await whole(desk, boss, cid))[-1]
    assert (last["event"], last["contact_id"]) == ("contact.merged", bob)
    await audit("contact.unmerged", bob, cid)
    assert await registered(cid) == [cid]
    assert await registered(bob) == [ann, bob]


async def test_an_agent_is_told_what_their_sessions_tell_and_nothing_of_the_others(desk: Desk) -> None:
    boss, agent = await member(desk, "owner"), await member(desk, "agent")
    await template(desk, boss, name="Charter", workflow="charter", workflow_step="understanding_request")
    ann = await travel(desk, boss)
    of_contact = ["contact.created", "contact.registered", "contact.identified"]
    of_contact += ["contact.registered", "contact.verified"]
    seen = await whole(desk, agent, ann["contact_id"], 2)
    assert [entry["event"] for entry in seen] == of_contact
    everything = await whole(desk, boss, ann["contact_id"])
    for mine in (ann["session_id"], ann["trip"]["session_id"]):
        await desk.admin.execute(
            "update public.sessions set assigned_user_id = case when id = $1 then $2::uuid end", mine, agent["user_id"]
        )
        assert await whole(desk, agent, ann["contact_id"], 3) == [
            entry for entry in everything if entry.get("session_id") in (None, mine)
        ]


async def test_a_contact_that_is_not_theirs_is_none(desk: Desk) -> None:
    boss = await member(desk, "owner")
    other, space = await desk.open_workspace()
    foreign = await desk.register("x@example.test", space=space)
    stranger, former = user(await desk.sign_up(None)), await member(desk, "owner", other)
    ann = await desk.register("ann@example.test")
    for reader, contact_id in (
        (boss, foreign["contact_id"]), (boss, str(uuid4())), (stranger, ann["contact_id"]), (former, ann["contact_id"]),
    ):  # fmt: skip
        with pytest.raises(Raised) as refused:
            await page(desk, reader, contact_id)
        assert (refused.value.status, refused.value.code) == (404, "contact_not_found")


async def test_only_what_comes_in_is_a_first_message(desk: Desk) -> None:
    boss = await member(desk, "owner")
    ann = await desk.register("ann@example.test")
    await template(desk, boss)
    started = await desk.call(
        "start_session", on_behalf(boss), contact_id=ann["contact_id"], template="Trip", thread_key="x"
    )
    await change(desk, boss, started["session_id"], "pause")
    await desk.admin.execute("update public.sessions set status = 'timeout', ended_at = now()")
    await desk.call("recover_session", on_behalf(boss), session_id=started["session_id"])
    assert not any("first_message" in entry["event"] for entry in await whole(desk, boss, ann["contact_id"]))


# Thousands of sessions ------------------------------------------------------------------------------------------------

SESSIONS = 4_000
MEMBER = "00000000-0000-4000-8000-0000000000aa"
ANN = "00000000-0000-4000-8000-0000000000bb"

FILL = f"""
set session_replication_role = replica;
insert into auth.users (id, email, email_confirmed_at) values ('{MEMBER}', 'member@example.test', now());
insert into public.workspace_members (workspace_id, user_id, role) values ('{WORKSPACE}', '{MEMBER}', 'admin');
insert into public.contacts (id, workspace_id, created_at) values ('{ANN}', '{WORKSPACE}', now() - interval '1 year');
insert into public.contacts (workspace_id) select '{WORKSPACE}' from generate_series(1, 3000);
insert into public.conversations (workspace_id, contact_id, persona_id, space_id, thread_key, proof)
select '{WORKSPACE}', id, '{PERSONA}', '{SPACE}', 'main', 'verified' from public.contacts;
insert into public.sessions (workspace_id, conversation_id, contact_id, persona_id)
select workspace_id, id, contact_id, persona_id from public.conversations where contact_id <> '{ANN}';
insert into public.sessions (workspace_id, conversation_id, contact_id, persona_id, status, status_before_archive,
                             turn_count, message_count, created_at, first_message_at, last_activity_at, ended_at,
                             archived_at)
select workspace_id, c.id, contact_id, persona_id, 'archived', 'completed', 1, 2, at, at + interval '1 minute',
       at + interval '1 minute', at + interval '2 minutes', at + interval '90 days'
  from public.conversations c
 cross join (select now() - interval '1 year' + n * interval '1 hour' as at from generate_series(1, {SESSIONS}) n) n
 where contact_id = '{ANN}';
insert into public.audit_events (workspace_id, verb, object_id, created_at)
select '{WORKSPACE}', 'contact.registered', '{ANN}', now() - interval '1 year' + n * interval '1 hour'
  from generate_series(1, {SESSIONS}) n;
reset session_replication_role;
analyze;
"""


@pytest_asyncio.fixture(params=VERSIONS)
async def crowded(server: Callable[[int], Server], request: pytest.FixtureRequest) -> AsyncIterator[asyncpg.Connection]:
    """A database of that version with a contact of thousands of sessions."""
    running = server(request.param)
    name = await running.migrated()
    connection = await asyncpg.connect(running.admin_url(name))
    await connection.execute(FILL)
    yield connection
    await connection.close()
    await running.drop(name)


async def _read(connection: asyncpg.Connection, after: str | None) -> tuple[dict[str, Any], int]:
    """A page of 50, and how many rows of the big tables were read for it."""
    counted = (
        "select sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint from pg_stat_xact_user_tables"
        " where schemaname = 'public' and relname in ('sessions', 'conversations', 'audit_events', 'quotes',"
        " 'contact_identities', 'workflow_steps')"
    )
    async with connection.transaction():
        before = await connection.fetchval(counted)
        await connection.execute(
            "select set_config('request.jwt.claims', $1, true)", json.dumps({"role": "authenticated", "sub": MEMBER})
        )
        await connection.execute("set local role authenticated")
        answer = json.loads(await connection.fetchval("select public.read_contact_journey($1, $2, 50)", ANN, after))
        await connection.execute("reset role")
        return answer, await connection.fetchval(counted) - before


async def test_a_page_reads_what_it_shows_however_many_sessions_there_are(crowded: asyncpg.Connection) -> None:
    # From the beginning, from the middle, and near the end, where only the archive has more to tell.
    places = await crowded.fetchrow(
        "select extract(epoch from min(created_at) + interval '60 days') * 1000000,"
        " extract(epoch from max(archived_at) - interval '10 days') * 1000000"
        " from public.sessions where status = 'archived'"
    )
    assert places is not None
    middle, end = map(int, places)
    for start in (None, f"{middle}.5.{ANN}", f"{end}.0.{ANN}"):
        cursor = start
        for _ in range(3):
            answer, rows = await _read(crowded, cursor)
            assert len(answer["items"]) == 50
            # Five kinds of entries have so many, and each is read for one page: nothing near the thousands there are.
            assert 50 <= rows < 600
            cursor = answer["next_cursor"]
    await crowded.execute("drop index public.sessions_contact_opened_idx")
    _, rows = await _read(crowded, None)
    assert rows > SESSIONS, "the count would tell"
