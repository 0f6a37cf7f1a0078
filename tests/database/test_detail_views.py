"""A view of details shows of each row what looking its parts up one by one shows, to every reader."""

import random
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.database.desk import JSON, PERSONA, SPACE, WORKSPACE, Connection, Desk, member, own_token

FOR_MEMBERS = ("assigned_user_id", "primary_quote_id", "taken_over_by", "taken_over_at", "workflow_state")

SESSION = (
    "id", "workspace_id", "conversation_id", "status", "persona_id", "contact_id", "user_id", "space_id", "channel",
    "turn_count", "message_count", "created_at", "last_activity_at", "ended_at", "archived_at", "error_message",
    "workflow", "workflow_step", "request_id",
)  # fmt: skip

QUOTES = ("expected", "received", "declined", "expired", "withdrawn", "late")

STATUSES = ("active", "paused", "completed", "failed", "timeout", "cancelled", "archived")


async def rows(connection: Connection, table: str, columns: str, where: str, *values: Any) -> list[JSON]:
    """What a reader sees of a table, as JSON has it."""
    found = await connection.fetch(
        f"select to_jsonb(x) as x from (select {columns} from public.{table} where {where}) x",
        *values,
    )
    return [row["x"] for row in found]


async def one(connection: Connection, table: str, columns: str, where: str, *values: Any) -> JSON | None:
    """The first of them, if any."""
    return next(iter(await rows(connection, table, columns, where, *values)), None)


async def shown(connection: Connection, session_id: str, token: Mapping[str, Any], workspaces: set[str]) -> JSON:
    """A session, looked up by itself with a statement for each thing that is shown of it."""
    of_contact = token["role"] == "contact"
    columns = SESSION if of_contact else SESSION + FOR_MEMBERS
    session = await one(connection, "sessions", ", ".join((*columns, "taken_over_at")), "id = $1", session_id)
    assert session is not None
    named = await one(connection, "contacts", "first_name, last_name", "id = $1", session["contact_id"]) or {}
    name = " ".join(part for part in (named.get("first_name"), named.get("last_name")) if part is not None)
    persona = None if of_contact else await one(connection, "personas", "name", "id = $1", session["persona_id"])
    conversation = await one(connection, "conversations", "thread_key, proof", "id = $1", session["conversation_id"])
    item: JSON = {
        **{name: session[name] for name in columns},
        "live": session["ended_at"] is None,
        "taken_over": session["taken_over_at"] is not None,
        "thread_key": conversation and conversation["thread_key"],
        "persona": {"id": session["persona_id"], "name": persona and persona["name"]},
        "contact": {"id": session["contact_id"], "name": name or None} if session["contact_id"] else None,
        "request": await one(
            connection, "requests", "id, origin, destination, departs_at, passengers", "id = $1", session["request_id"]
        ),
        "proposal": await one(
            connection, "proposals", "id, status", "session_id = $1 order by created_at desc, id desc", session_id
        ),
    }
    if of_contact:
        return item
    quotes = await rows(connection, "quotes", "status, late", "request_id = $1", session["request_id"])
    counts = {each: sum(quote["status"] == each for quote in quotes) for each in QUOTES}
    primary = "id, operator, amount, currency"
    return item | {
        "proof": conversation and conversation["proof"],
        "reader_is_member": session["workspace_id"] in workspaces,
        "primary_quote": await one(connection, "quotes", primary, "id = $1", session["primary_quote_id"]),
        "quote_counts": counts | {"expected": len(quotes), "late": sum(quote["late"] for quote in quotes)},
        "tags": [
            tag["name"] for tag in await rows(connection, "tags", "name", "session_id = $1 order by name", session_id)
        ],
    }


class Chaos:
    """Sessions that have, each by chance, all that a session may have."""

    def __init__(self, desk: Desk, seed: int) -> None:
        self.desk = desk
        self.chance = random.Random(seed)  # noqa: S311 (a test's choices, the same each time)

    def perhaps(self, value: Any, odds: float = 0.5) -> Any:
        """The value, or by chance None."""
        return value if self.chance.random() < odds else None

    async def insert(self, table: str, **values: Any) -> UUID:
        given = {name: value for name, value in values.items() if value is not None}
        places = ", ".join(f"${place}" for place in range(1, len(given) + 1))
        made: UUID = await self.desk.admin.fetchval(
            f"insert into public.{table} ({', '.join(given)}) values ({places}) returning id",
            *given.values(),
        )
        return made

    async def session(self, workspace: str, persona: str, people: list[JSON], contact: UUID | None) -> UUID:
        """One of a contact's or, without one, of a user's."""
        held_by, assigned, taker = (self.perhaps(self.chance.choice(people)["user_id"]) for _ in range(3))
        if contact is None:
            held_by = held_by or people[0]["user_id"]
        place = {
            "space_id": self.perhaps(SPACE if workspace == WORKSPACE else None),
            "channel": self.chance.choice(["web", "telegram"]),
        }
        conversation = await self.insert(
            "conversations",
            workspace_id=workspace,
            contact_id=contact,
            user_id=held_by if contact is None else None,
            persona_id=persona,
            **place,
            thread_key=str(uuid4()),
            proof=contact and self.chance.choice(["asserted", "verified"]),
        )
        status = self.chance.choice(STATUSES)
        session = await self.insert(
            "sessions",
            workspace_id=workspace,
            conversation_id=conversation,
            **place,
            contact_id=contact,
            user_id=held_by,
            persona_id=persona,
            assigned_user_id=assigned,
            turn_count=self.chance.randrange(9),
            error_message=self.perhaps("It broke."),
        )
        charter = self.perhaps("charter")
        await self.desk.admin.execute(
            "update public.sessions set status = $2::text::public.session_status, workflow = $3, workflow_step = $4,"
            " created_at = date_trunc('second', created_at) where id = $1",
            session, "active", charter, charter and "understanding_request",
        )  # fmt: skip
        await self.work(workspace, session)
        if status not in ("active", "paused"):
            await self.desk.admin.execute(
                "update public.sessions set status = $2::text::public.session_status, ended_at = now(), archived_at ="
                " case when $2 = 'archived' then now() end, status_before_archive ="
                " case when $2 = 'archived' then 'failed'::public.session_status end where id = $1",
                session, status,
            )  # fmt: skip
        elif taker is not None:
            await self.desk.admin.execute(
                "update public.sessions set taken_over_at = now(), taken_over_by = (select user_id from"
                " public.workspace_members where workspace_id = $2 and user_id = $3)"
                " where id = $1 and exists (select from public.workspace_members where workspace_id = $2"
                " and user_id = $3)",
                session, UUID(workspace), UUID(str(taker)),
            )  # fmt: skip
        return session

    async def work(self, workspace: str, session: UUID) -> None:
        """A request with its quotes, proposals and tags; or another session's request; or none."""
        of_workspace = await self.desk.admin.fetch("select id from public.requests where workspace_id = $1", workspace)
        request = self.perhaps(self.chance.choice(of_workspace)["id"], 0.3) if of_workspace else None
        if request is None and self.perhaps(1):
            request = await self.insert(
                "requests",
                workspace_id=workspace,
                session_id=session,
                origin=self.perhaps("ZRH"),
                passengers=self.perhaps(4),
            )
        if request is not None:
            quotes = []
            for number in range(self.chance.choice([0, 0, 1, 3, 6])):
                status = self.chance.choice(["requested", "received", "declined", "expired", "withdrawn"])
                made = await self.desk.admin.fetchval(
                    "insert into public.quotes (workspace_id, request_id, session_id, operator_key, operator,"
                    " status, amount, currency, late, received_at) values ($1, $2, $3, $4, 'Acme',"
                    " $5::text::public.quote_status, 1200.50, 'EUR', $6,"
                    " case when $5 <> 'requested' then now() end) returning id",
                    workspace, request, session, f"o{session}{number}", status, self.chance.random() < 0.3,
                )  # fmt: skip
                quotes.append(made)
            for _ in range(self.chance.choice([0, 1, 3])):
                await self.desk.admin.execute(
                    "insert into public.proposals (workspace_id, request_id, session_id, status, created_at)"
                    " values ($1, $2, $3, $4::text::public.proposal_status, date_trunc('day', now()))",
                    workspace, request, session, self.chance.choice(["draft", "sent", "accepted"]),
                )  # fmt: skip
            works_on = self.perhaps(request, 0.8)
            await self.desk.admin.execute(
                "update public.sessions set request_id = $2, primary_quote_id = $3 where id = $1",
                session, works_on, self.perhaps(self.chance.choice(quotes)) if quotes else None,
            )  # fmt: skip
        for name in self.chance.sample(["vip", "late", "angry", "Ünïcode", "zz"], self.chance.choice([0, 0, 1, 3])):
            await self.insert("tags", workspace_id=workspace, session_id=session, name=name)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_session_details_show_of_each_session_what_its_own_rows_say(desk: Desk, seed: int) -> None:
    chaos = Chaos(desk, seed)
    boss, agent, admin = [await member(desk, role) for role in ("owner", "agent", "admin")]
    stranger = {"kind": "user", "user_id": await desk.sign_up(None)}
    there, _ = await desk.open_workspace()
    elsewhere = await member(desk, "agent", there)
    persona_there = str(await desk.admin.fetchval("select id from public.personas where workspace_id = $1", there))
    people = [boss, agent, stranger, elsewhere]
    asking: list[JSON] = []
    for workspace, persona in ((WORKSPACE, PERSONA), (there, persona_there)):
        for number in range(4):
            contact = await chaos.insert(
                "contacts",
                workspace_id=workspace,
                first_name=chaos.perhaps(f"Ann{number}"),
                last_name=chaos.perhaps("Lee"),
            )
            for _ in range(4):
                session = await chaos.session(workspace, persona, people, contact)
                conversation = await desk.admin.fetchval(
                    "select conversation_id from public.sessions where id = $1", session
                )
                asking.append(
                    {"role": "contact", "sub": str(contact), "workspace_id": workspace, "contact_id": str(contact),
                     "conversation_id": str(conversation), "proof": chaos.chance.choice(["asserted", "verified"])}
                )  # fmt: skip
        for _ in range(6):
            await chaos.session(workspace, persona, people, None)
    asking += [own_token(caller) for caller in (boss, admin, agent, stranger, elsewhere)]
    compared: dict[str, int] = {}
    for token in asking:
        items = await desk.sessions(token)
        async with desk.reading(token) as connection:
            workspaces = set[str]()
            if token["role"] != "contact":
                mine = await connection.fetch(
                    "select workspace_id from public.workspace_members where user_id = $1", UUID(token["sub"])
                )
                workspaces = {str(row["workspace_id"]) for row in mine}
            for item in items:
                assert item == await shown(connection, item["id"], token, workspaces), token
        compared[token["sub"]] = compared.get(token["sub"], 0) + len(items)
    # Every reader saw some sessions, and they have everything that a list shows.
    readers = [caller["user_id"] for caller in (boss, admin, agent, stranger, elsewhere)]
    assert all(compared[reader] for reader in readers), compared
    everything = await desk.sessions(own_token(boss))
    for name in ("contact", "request", "proposal", "primary_quote", "tags", "taken_over", "workflow"):
        assert {bool(item[name]) for item in everything} == {True, False}, name
    assert any(item["quote_counts"]["late"] for item in everything)


@pytest.mark.parametrize("seed", [4, 5])
async def test_contact_details_show_of_each_contact_what_its_own_rows_say(desk: Desk, seed: int) -> None:
    chaos = Chaos(desk, seed)
    boss, agent = await member(desk, "owner"), await member(desk, "agent")
    for number in range(12):
        contact = await chaos.insert("contacts", workspace_id=WORKSPACE, first_name=chaos.perhaps(f"Ann{number}"))
        if chaos.perhaps(1, 0.7):
            session = await chaos.session(WORKSPACE, PERSONA, [boss, agent], contact)
            await desk.admin.execute("update public.contacts set session_id = $2 where id = $1", contact, session)
        for kind in chaos.chance.sample(["email", "telegram", "external", "phone"], chaos.chance.choice([0, 1, 3])):
            await desk.admin.execute(
                "insert into public.contact_identities (workspace_id, contact_id, kind, key, value, evidence)"
                " values ($1, $2, $3::text::public.identity_kind, $4, $4, 'asserted')",
                WORKSPACE, contact, kind, f"{kind}{number}",
            )  # fmt: skip
        for name in chaos.chance.sample(["vip", "late", "Ünïcode"], chaos.chance.choice([0, 1, 3])):
            await chaos.insert("tags", workspace_id=WORKSPACE, contact_id=contact, name=name)
    linked = dict[str, int]()
    for reader in (boss, agent):
        async with desk.reading(own_token(reader)) as connection:
            items = await rows(connection, "contact_details", "*", "true")
            for item in items:
                row = await one(connection, "contacts", "first_name, session_id", "id = $1", item["id"]) or {}
                first = await one(connection, "sessions", "id", "id = $1", row["session_id"]) or {"id": None}
                of_contact = "contact_id = $1 order by"
                keys = await rows(connection, "contact_identities", "key", f"{of_contact} created_at, id", item["id"])
                tags = await rows(connection, "tags", "name", f"{of_contact} name", item["id"])
                assert (item["first_name"], item["session_id"]) == (row["first_name"], first["id"])
                assert [identity["key"] for identity in item["identities"]] == [each["key"] for each in keys]
                assert item["tags"] == [each["name"] for each in tags]
        linked[reader["user_id"]] = sum(item["session_id"] is not None for item in items)
    assert linked[boss["user_id"]] > linked[agent["user_id"]]
