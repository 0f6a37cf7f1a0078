"""Lists of sessions over HTTP against a brute-force model, and the same rows read by the stock supabase-js client."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

import aiohttp
import pytest_asyncio

from lib.sessions.models import Session
from local.stack import Stack
from tests.functions.conftest import Workspace, add_workspace
from tests.functions.people import Person, Staff, staff_of, stock_client
from tests.functions.test_sessions import session_of

Row = dict[str, Any]

WORDS = ("refund", "luggage", "charter", "请问订单号")
STATUSES = ("active", "paused", "completed", "failed", "timeout", "cancelled")
NAMES = ("status", "workflow", "step", "tag", "external_id")
"""Filters whose values are compared without regard to case."""


@dataclass
class World:
    """Sessions of two workspaces that have, each by chance, everything that a filter asks for."""

    workspace: Workspace
    staff: Staff
    chance: random.Random
    rows: list[Row] = field(default_factory=list)
    start: datetime = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def perhaps(self, *values: Any) -> Any:
        """One of these values, or by chance None."""
        return self.chance.choice([*values, None])

    async def insert(self, table: str, **values: Any) -> UUID:
        """A row with the values that are given; its id."""
        given = {name: value for name, value in values.items() if value is not None}
        places = ", ".join(f"${number}" for number in range(1, len(given) + 1))
        statement = f"insert into public.{table} ({', '.join(given)}) values ({places}) returning id"
        made: UUID = await self.workspace.database.fetchval(statement, *given.values())
        return made

    async def add_session(self, workspace: Workspace, conversation: Row | None = None) -> None:
        """A session in a conversation of its own, or an ended one in this conversation."""
        chance, staff = self.chance, self.staff
        if conversation is None:
            conversation = {
                "workspace_id": workspace.id, "persona_id": workspace.persona_id,
                "space_id": self.perhaps(workspace.space_id, workspace.landing_id),
                "channel": chance.choice(["web", "whatsapp"]),
                "user_id": self.perhaps(staff.stranger.id, staff.agent.id),
            }  # fmt: skip
            contact = await self.insert("contacts", workspace_id=workspace.id)
            email = f"{chance.randrange(10**9)}@example.com"
            identity = {"workspace_id": workspace.id, "contact_id": contact, "key": email, "value": email}
            await self.insert("contact_identities", **identity, kind="email", evidence="asserted")
            self.emails[contact] = email
            keys = {"contact_id": contact, "thread_key": str(uuid4()), "proof": "verified"}
            conversation |= {"contact_id": contact, "id": await self.insert("conversations", **conversation, **keys)}
            status = chance.choice(STATUSES)
        else:
            status = chance.choice(STATUSES[2:])
        # Several were created at the same moment: the id decides.
        created_at = self.start + timedelta(hours=chance.randrange(30))
        step = self.perhaps("understanding_request", "proposal_ready")
        is_live = status in STATUSES[:2]
        row: Row = {name: value for name, value in conversation.items() if name != "id"} | {
            "conversation_id": conversation["id"], "status": status, "created_at": created_at,
            "last_activity_at": created_at + timedelta(minutes=chance.randrange(200)),
            "ended_at": None if is_live else created_at + timedelta(days=1),
            "workflow": step and "charter", "workflow_step": step,
            "assigned_user_id": self.perhaps(staff.agent.id) if workspace.id == self.workspace.id else None,
        }  # fmt: skip
        row["id"] = await self.insert("sessions", **row)
        belongs = {"workspace_id": workspace.id, "session_id": row["id"]}
        row |= {
            "words": [],
            "tags": chance.sample(["vip", "late"], chance.randrange(3)),
            "refs": [],
            "has_quote": False,
        }
        for name in row["tags"]:
            await self.insert("tags", **belongs, name=name)
        if ref := self.perhaps("atrip-1", "A1B2"):
            await self.insert("session_refs", **belongs, system="avinode", kind="trip", external_id=ref)
            row["refs"] = [ref]
        for _ in range(chance.randrange(3)):
            said = chance.sample(WORDS, 2)
            await self.insert(
                "messages", **belongs, conversation_id=conversation["id"], role="contact",
                contact_id=conversation["contact_id"], text=f"Hello, {said[0].upper()} or {said[1]}",
            )  # fmt: skip
            row["words"].append(said)
        await self._add_work(row, belongs)
        self.rows.append(row)

    async def _add_work(self, row: Row, belongs: Mapping[str, Any]) -> None:
        update = "update public.sessions set {} where id = $1"
        if self.perhaps(True):
            request = await self.insert("requests", **belongs)
            named = {"request_id": request, "operator_key": "acme", "operator": "Acme", "received_at": self.start}
            quote = await self.insert("quotes", **belongs, **named, status="received")
            changes = "request_id = $2, primary_quote_id = $3"
            await self.workspace.database.execute(update.format(changes), row["id"], request, quote)
            row["has_quote"] = True
        row["taken_over"] = (
            row["ended_at"] is None and bool(self.perhaps(True)) and row["workspace_id"] == self.workspace.id
        )
        if row["taken_over"]:
            changes = "taken_over_at = now(), taken_over_by = $2"
            await self.workspace.database.execute(update.format(changes), row["id"], self.staff.owner.id)

    def filters(self) -> Row:
        """Up to three filters, which some session may match."""
        row, chance = self.chance.choice(self.rows), self.chance
        given: Row = {name: row[name] for name in ("persona_id", "contact_id", "user_id", "space_id", "channel")}
        given |= {
            "status": ",".join(chance.sample(STATUSES, 3)), "workflow": row["workflow"], "step": row["workflow_step"],
            "tag": chance.choice(["vip", "late"]), "external_id": chance.choice(["atrip-1", "a1b2"]),
            "email": self.emails.get(row["contact_id"]), "assigned_user_id": row["assigned_user_id"],
            "unassigned": chance.choice([True, False]),
            "has_quote": chance.choice([True, False]), "taken_over": chance.choice([True, False]),
            "text": chance.choice([*WORDS, "refund luggage", "refund or charter", "refund 请问订单号"]),
            "created_after": row["created_at"], "created_before": row["created_at"],
            "active_after": row["last_activity_at"], "active_before": row["last_activity_at"],
        }  # fmt: skip
        names = chance.sample([name for name, value in given.items() if value is not None], chance.randrange(4))
        return {name: given[name] for name in names}

    def expected(self, name: str, filters: Row, moment: str = "created_at") -> list[str]:
        """The ids of the sessions that one of the staff finds, the latest first."""
        ours, own = self.workspace.id, {getattr(self.staff, name).id}
        found = []
        for row in self.rows:
            is_visible = {
                "owner": row["workspace_id"] == ours,
                "agent": row["workspace_id"] == ours and not own.isdisjoint((row["user_id"], row["assigned_user_id"])),
                "stranger": row["user_id"] in own,
                "contact": row["conversation_id"] == self.contact["id"],
            }[name]
            known = row | {"email": self.emails.get(row["contact_id"]), "unassigned": row["assigned_user_id"] is None}
            if is_visible and _matches(known, filters, is_member=name in ("owner", "agent")):
                found.append(row)
        return [str(row["id"]) for row in sorted(found, key=lambda row: (row[moment], row["id"]), reverse=True)]

    emails: dict[UUID, str] = field(default_factory=dict)
    contact: Row = field(default_factory=dict)
    """The conversation of staff.contact."""


def _matches(row: Row, filters: Row, *, is_member: bool) -> bool:
    """Whether a session has everything; what is for members only as far as its reader sees it."""
    hidden = {"tags": [], "refs": [], "has_quote": False, "email": None, "assigned_user_id": None, "unassigned": True}
    shown = row if is_member else row | hidden
    tests: dict[str, Callable[[Any], bool]] = {
        "status": lambda value: row["status"] in value.split(","),
        "step": lambda value: row["workflow_step"] == value,
        "tag": lambda value: value in shown["tags"],
        "external_id": lambda value: value in (ref.lower() for ref in shown["refs"]),
        "text": lambda value: any(
            any(word in said for word in value.split(" or ")) if " or " in value else set(value.split()) <= set(said)
            for said in row["words"]
        ),
        "created_after": lambda value: row["created_at"] >= value,
        "created_before": lambda value: row["created_at"] < value,
        "active_after": lambda value: row["last_activity_at"] >= value,
        "active_before": lambda value: row["last_activity_at"] < value,
    }
    return all(tests[name](value) if name in tests else shown[name] == value for name, value in filters.items())


@pytest_asyncio.fixture
async def world(client: aiohttp.ClientSession, workspace: Workspace, stack: Stack) -> World:
    """Forty sessions of the workspace, five of its registered contact, and ten of another workspace."""
    staff = await staff_of(client, workspace, stack)
    made = World(workspace, staff, random.Random(11))  # noqa: S311 (a test's choices)
    first = await session_of(workspace, staff.contact)
    made.contact = await workspace.row(
        "select workspace_id, persona_id, space_id, channel, user_id, contact_id, id from public.conversations"
        " where id = $1",
        first["conversation_id"],
    )
    await workspace.database.execute("delete from public.sessions where id = $1", first["id"])
    elsewhere = await add_workspace(workspace.database)
    for number in range(55):
        if number < 5:
            await made.add_session(workspace, made.contact)
        else:
            await made.add_session(workspace if number < 45 else elsewhere)
    return made


async def _pages(person: Person, filters: Row, limit: int) -> list[str]:
    """The ids of a list, read page by page."""
    pages = await person.pages(f"/chat-sessions?{urlencode(filters, doseq=True)}", limit)
    return [item["id"] for page in pages for item in page]


async def test_a_list_has_exactly_the_sessions_that_match_in_order(world: World) -> None:
    staff, chance = world.staff, world.chance
    counts = dict.fromkeys(("owner", "agent", "stranger", "contact"), 0)
    for _ in range(25):
        filters = world.filters()
        # Times are written out; names are found in capitals too.
        query = {
            name: value.isoformat() if isinstance(value, datetime) else value.upper() if name in NAMES else value
            for name, value in filters.items()
        }
        if "status" in query:
            # Several values are one list, as several parameters are.
            query["status"] = query["status"].split(",", 1)
        for name in counts:
            person, limit, offset = getattr(staff, name), chance.choice([3, 10, 200]), chance.randrange(1, 20)
            order = chance.choice(["created", "activity"])
            query["order"] = order
            expected = world.expected(name, filters, {"created": "created_at", "activity": "last_activity_at"}[order])
            assert await _pages(person, query, limit) == expected, (name, filters, order)
            asked = urlencode(query | {"limit": limit, "offset": offset}, doseq=True)
            page = await person.done("GET", f"/chat-sessions?{asked}")
            assert [item["id"] for item in page["items"]] == expected[offset : offset + limit], (name, filters, offset)
            assert ("next_cursor" in page) == (len(expected) > offset + limit)
            counts[name] += len(expected)
    assert min(counts.values()) > 20, counts


async def test_a_word_that_many_sessions_have_is_found_page_by_page(world: World) -> None:
    # So many messages have the word that the list is read in its order instead of by the index of words.
    for _ in range(12):
        await world.add_session(world.workspace)
    with_word = world.expected("owner", {})
    await world.workspace.database.execute(
        """
        insert into public.messages (workspace_id, conversation_id, session_id, role, contact_id, text)
        select workspace_id, conversation_id, id, 'contact', contact_id, 'It is everywhere'
          from public.sessions, generate_series(1, 100)
         where workspace_id = $1
        """,
        world.workspace.id,
    )
    for _ in range(12):
        await world.add_session(world.workspace)
    await world.workspace.database.execute("analyze public.messages")
    common = "select private.is_common_query($1, 'everywhere', 10000)"
    assert await world.workspace.database.fetchval(common, world.workspace.id)
    for filters in ({}, {"tag": "vip"}, {"has_quote": True}):
        expected = [found for found in world.expected("owner", filters) if found in with_word]
        assert await _pages(world.staff.owner, filters | {"text": "everywhere"}, 7) == expected
    page = await world.staff.owner.done("GET", "/chat-sessions?text=everywhere&limit=200&offset=3")
    assert [item["id"] for item in page["items"]] == with_word[3:]


async def test_a_merged_contact_is_found_by_each_of_its_ids(world: World) -> None:
    one, other = world.rows[0], world.rows[5]
    ids = (one["contact_id"], other["contact_id"])
    own = {str(row["id"]) for row in world.rows[:5]}
    for change in (
        "contacts set merged_into_id = $2 where id = $1",
        "sessions set contact_id = $2 where contact_id = $1",
    ):
        await world.workspace.database.execute(f"update public.{change}", *ids)
    for contact_id in ids:
        assert set(await _pages(world.staff.owner, {"contact_id": contact_id}, 50)) == {*own, str(other["id"])}
        # The contact finds its own by the id that its token has, and by the one that it is shown.
        assert set(await _pages(world.staff.contact, {"contact_id": contact_id}, 50)) == own
    assert await _pages(world.staff.contact, {"contact_id": world.rows[6]["contact_id"]}, 50) == []


async def test_the_stock_client_reads_the_same_rows_from_the_view(world: World, stack: Stack) -> None:
    for name, view in (
        ("owner", "session_details"),
        ("agent", "session_details"),
        ("contact", "contact_session_details"),
    ):
        person: Person = getattr(world.staff, name)
        filters = ("eq", "workspace_id", str(world.workspace.id)), ("in", "status", ["completed", "failed"])
        rows = await stock_client(stack, person, view, *filters)

        page = await person.done("GET", "/chat-sessions?status=completed,failed&limit=10")
        assert page["items"]
        assert [Session.model_validate(row).model_dump(mode="json", exclude_none=True) for row in rows] == page["items"]
